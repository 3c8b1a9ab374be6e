from __future__ import annotations

import json
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pyengine import addresses, messages, osc
from pyengine.client import Client
from pyengine.commands import Abort, Command, Gate, SetParam
from pyengine.engine import Engine
from pyengine.errors import (
    CommandError,
    CommitRefused,
    EngineError,
    NoReplyError,
    ParamRangeError,
    PatchError,
    RecordingError,
    SessionError,
)
from pyengine.osc import Group, Request

Answer = Callable[[Request], list[bytes]]


def done(request: Request) -> list[bytes]:
    """Answer as an engine does where all goes well."""
    command = request.command
    if isinstance(command, SetParam):
        return [osc.encode_reply(True, request.address, command.value)]
    if isinstance(command, Gate):
        return [osc.encode_reply(True, request.address, command.value)]
    if request.address.split("/")[1] in ("engine", "record", "session") or request.address.endswith(("commit", "dump")):
        return [osc.encode_reply(True, request.address, json.dumps({"asked": request.address}))]
    return [osc.encode_reply(True, request.address)]


class Responder:
    """A real UDP port that decodes what comes and answers with `answer`."""

    def __init__(self) -> None:
        self.answer: Answer = done
        self.groups: list[Group] = []
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def commands(self) -> list[Command | None]:
        return [request.command for group in self.groups for request in group.requests]

    def close(self) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
            end.sendto(b"end", ("127.0.0.1", self.port))
        self._thread.join(5)
        self._socket.close()

    def _run(self) -> None:
        while True:
            datagram, sender = self._socket.recvfrom(65536)
            if datagram == b"end":
                return
            for group in osc.decode(datagram):
                self.groups.append(group)
                for request in group.requests:
                    for reply in self.answer(request):
                        self._socket.sendto(reply, sender)


@pytest.fixture
def engine() -> Iterator[Responder]:
    responder = Responder()
    yield responder
    responder.close()


@pytest.fixture
def client(engine: Responder) -> Iterator[Client]:
    with Client(port=engine.port, timeout_s=2) as made:
        yield made


def test_every_method_sends_its_command_and_returns_the_answer(engine: Responder, client: Client) -> None:
    client.create("osc1", "simple_sine")
    client.connect("osc1", "env1")
    client.disconnect("osc1", "env1")
    client.delete("osc1")
    assert client.commit(crossfade_ms=5) == {"asked": "/patch/commit"}
    assert client.undo() == {}
    client.abort()
    client.clear()
    client.set("osc1", "freq", 880.0)
    client.gate("env1", "off")
    assert client.record_start("a.wav") == {"asked": "/record/start"}
    assert client.record_status() and client.record_stop()
    assert client.session_start("a") == {"asked": "/session/start"}
    assert client.session_status() and client.session_stop()
    assert client.status() == {"asked": "/engine/status"}
    client.levels()
    assert client.subscribe("commits") == {} and client.events() == []
    client.unsubscribe()
    assert client.levels() == {"asked": "/engine/levels"}
    assert client.listen(1.0) == {"asked": "/engine/listen"}
    assert client.modules() == {"modules": []} and client.commands() == []
    assert client.dump() == {"asked": "/patch/dump"}
    assert client.listen(2.0) == {"asked": "/engine/listen"}
    assert client.sync() == {"asked": "/engine/sync"}
    assert client.sample("s1", "kick.wav") == {}
    client.voices("poly", 8)
    client.sequence("seq1", pattern="x", notes="C4", velocities="1", division=4, lanes={"a.b": "1"}, targets=["k"])
    client.sequence("seq1", clock="clock1")
    client.clear_sequence("seq1")
    assert client.sequences() == {"asked": "/seq/dump"}
    client.note_on("poly", "C4", 0.5)
    client.note_off("poly", 60)
    client.all_off("poly")
    assert client.send(SetParam("osc1", "freq", 880.0)).args == (880.0,)
    assert {type(command) for command in engine.commands} == {route.command for route in addresses.TABLE}
    assert Gate("env1", 0) in engine.commands


@pytest.mark.parametrize(
    ("ask", "error"),
    [
        (lambda c: c.create("a", "b"), PatchError),
        (lambda c: c.set("a", "b", 1), PatchError),
        (lambda c: c.gate("a", 1), PatchError),
        (lambda c: c.record_start("a"), RecordingError),
        (lambda c: c.session_start("a"), SessionError),
        (lambda c: c.status(), CommandError),
        (lambda c: c.commit(), CommitRefused),
    ],
)
def test_a_refusal_is_raised_with_the_engines_text(
    engine: Responder, client: Client, ask: Callable[[Client], object], error: type[EngineError]
) -> None:
    engine.answer = lambda request: [osc.encode_reply(False, request.address, "commit refused (silent): why")]
    with pytest.raises(error, match="why") as caught:
        ask(client)
    assert not isinstance(caught.value, CommitRefused) or caught.value.reason == "silent"


def test_other_answers_and_rubbish_are_passed_over(engine: Responder, client: Client) -> None:
    def answer(request: Request) -> list[bytes]:
        other = osc.encode_reply(False, "/gate/other", "not for you")
        return [b"rubbish", other, *done(request)]

    engine.answer = answer
    client.clear()


def test_a_late_answer_is_not_taken_for_the_next_one(engine: Responder, client: Client) -> None:
    engine.answer = lambda request: [*done(request), osc.encode_reply(False, request.address, "stale")]
    client.clear()
    assert select.select([client._link._socket], [], [], 10)[0]  # it has come
    engine.answer = done
    client.clear()


def test_silence_is_an_error_with_advice(engine: Responder) -> None:
    engine.answer = lambda request: []
    text = r"no answer to /patch/clear .* check that the engine runs"
    with Client(port=engine.port, timeout_s=0.05) as client, pytest.raises(NoReplyError, match=text):
        client.clear()


def test_a_port_where_nothing_listens_is_an_error_with_advice(engine: Responder) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    with (
        Client(port=port, timeout_s=0.2) as client,
        pytest.raises(NoReplyError, match="check|start the engine"),
    ):
        client.clear()


def test_a_bundle_is_sent_as_one_with_its_time_and_answered(engine: Responder, client: Client) -> None:
    at = time.time() + 5
    sent: list[Command] = [
        Gate("env1", 1),
        SetParam("osc1", "freq", 1.0),
        SetParam("osc1", "freq", 2.0),
        Abort(),
    ]
    replies = client.send_bundle(sent, at=at)
    assert [reply.args for reply in replies] == [(1,), (1.0,), (2.0,), ()]
    [group] = engine.groups
    assert group.time_tag == messages.time_tag_from_unix(at)
    assert [request.command for request in group.requests] == sent
    assert client.send_bundle([]) == []


def test_a_bundle_with_refusals_raises_after_all_are_answered(engine: Responder, client: Client) -> None:
    engine.answer = lambda r: [osc.encode_reply(isinstance(r.command, Abort), r.address, "no")]
    with pytest.raises(PatchError, match="^no$"):
        client.send_bundle([Gate("env1", 1), Abort()])
    with pytest.raises(EngineError, match=r"2 refused: \[/gate/a\] no \[/gate/b\] no"):
        client.send_bundle([Gate("a", 1), Gate("b", 1)])


def test_what_cannot_be_asked_is_refused_without_sending(engine: Responder, client: Client) -> None:
    with pytest.raises(ParamRangeError, match="neither on nor off"):
        client.gate("env1", 2)
    with pytest.raises(CommandError):
        client.commit(crossfade_ms=-1)
    assert engine.groups == []


def test_a_client_closes_twice_without_harm_and_says_what_it_is(engine: Responder) -> None:
    client = Client(port=engine.port)
    assert repr(client) == f"<Client 127.0.0.1:{engine.port} open>"
    client.close()
    client.close()
    assert repr(client).endswith("closed>")
    with pytest.raises(EngineError, match="cannot talk to"):
        client.clear()


@pytest.mark.parametrize(("host", "port"), [("a..b", 5005), ("127.0.0.1", 70_000), ("", -1)])
def test_an_address_that_makes_no_sense_is_an_error(host: str, port: int) -> None:
    with pytest.raises(EngineError, match="check host and port"):
        Client(host, port)


def test_many_answers_may_take_longer_than_one(engine: Responder, client: Client) -> None:
    def slowly(request: Request) -> list[bytes]:
        time.sleep(0.1)
        return done(request)

    engine.answer = slowly
    start_s = time.monotonic()
    assert len(client.send_all([SetParam("osc1", "freq", 100.0 + n) for n in range(25)])) == 25
    assert time.monotonic() - start_s > client.timeout_s
    engine.answer = lambda request: slowly(request) if len(engine.commands) < 30 else []
    with pytest.raises(NoReplyError, match="no answer to /mod/osc1/freq"):
        client.send_all([SetParam("osc1", "freq", 100.0 + n) for n in range(25)])


def test_thousands_of_commands_are_sent_no_faster_than_their_answers_are_taken(tmp_path: Path) -> None:
    """They would not all find room in the client's socket."""
    with (
        Engine("free", osc_port=0, recordings=tmp_path) as engine,
        Client(port=engine.osc_port, timeout_s=30) as client,
    ):
        client.create("osc1", "simple_sine")
        replies = client.send_all([SetParam("osc1", "freq", float(n)) for n in range(1, 5001)])
        assert [reply.args for reply in replies] == [(float(n),) for n in range(1, 5001)]


def test_a_question_whose_answer_fits_no_datagram_is_asked_again_over_tcp(tmp_path: Path) -> None:
    with Engine("free", osc_port=0, osc_tcp_port=0, recordings=tmp_path) as engine:
        for n in range(800):
            engine.create(f"{n}-{'x' * 50}", "simple_sine")
        with Client(port=engine.osc_port or 0, timeout_s=30) as client:
            assert len(client.dump()["pending"]["nodes"]) == 800
            reply = client.ask("/patch/dump")
            assert reply.ok and len(str(reply.args[0])) > 65507
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as plain:
            plain.settimeout(30)
            plain.sendto(messages.build("/patch/dump", []), ("127.0.0.1", engine.osc_port or 0))
            told = osc.decode_reply(plain.recv(65536))
        assert not told.ok and f"does not fit a datagram; ask over TCP, port {engine.osc_tcp_port}" in str(told.args[0])
