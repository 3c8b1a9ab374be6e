"""The OSC port of a running engine, with real datagrams."""

from __future__ import annotations

import json
import random
import shutil
import socket
import struct
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from live import Live, assert_same, stereo, tone
from waiting import wait_until

from pyengine import Engine, _native, addresses, messages, osc, replies
from pyengine.commands import Create, EngineSync, Gate, SetParam
from pyengine.errors import PortInUseError
from pyengine.events import EVENTS
from pyengine.messages import build
from pyengine.osc import Reply
from pyengine.replies import Field
from pyengine.specs import registry


class Wire:
    """A UDP socket of its own."""

    def __init__(self, port: int) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self.socket.connect(("127.0.0.1", port))
        self.socket.settimeout(20)

    def send(self, datagram: bytes) -> None:
        self.socket.send(datagram)

    def receive(self) -> Reply:
        return osc.decode_reply(self.socket.recv(65536))

    def ask(self, datagram: bytes) -> Reply:
        self.send(datagram)
        return self.receive()

    def say(self, address: str, *args: Any) -> Reply:
        return self.ask(build(address, args))

    def is_quiet(self) -> bool:
        """True when no answer is waiting."""
        self.socket.setblocking(False)
        try:
            self.socket.recv(65536)
        except BlockingIOError:
            return True
        finally:
            self.socket.settimeout(20)
        return False


@pytest.fixture
def wire(live: Live) -> Iterator[Wire]:
    wire = Wire(live.client.port)
    yield wire
    wire.socket.close()


@pytest.fixture(scope="module")
def shared_wire(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wire]:
    """A wire to an engine with osc1 and filt1, for requests that change nothing."""
    with Live(tmp_path_factory.mktemp("shared"), is_recorded=False) as live:
        wire = Wire(live.client.port)
        wire.say("/patch/create", "osc1", "simple_sine")
        wire.say("/patch/create", "filt1", "biquad_filter")
        yield wire
        wire.socket.close()


def bundle(*elements: bytes, tag: int = 1) -> bytes:
    return b"#bundle\0" + struct.pack(">Q", tag) + b"".join(struct.pack(">i", len(e)) + e for e in elements)


def is_alive(wire: Wire) -> bool:
    return wire.say("/engine/sync").ok


def osc_status(live: Live) -> dict[str, Any]:
    status: dict[str, Any] = live.status()["osc"]
    return status


# ---- what is sound


def test_every_address_of_the_table_is_answered_to_its_sender_and_to_nobody_else(live: Live, wire: Wire) -> None:
    other = Wire(live.client.port)
    script: list[tuple[Any, ...]] = [
        ("/patch/create", "osc1", "simple_sine"),
        ("/patch/create", "env1", "adsr"),
        ("/patch/create", "gone", "adsr"),
        ("/patch/connect", "osc1", "env1"),
        ("/patch/disconnect", "osc1", "env1"),
        ("/patch/connect", "osc1", "env1"),
        ("/patch/delete", "gone"),
        ("/patch/commit", "crossfade", 10.0, "allow_silence", 1, "timeout", 20000.0),
        ("/mod/osc1/frequency", 330.0),
        ("/mod/osc1/gain", 1),
        ("/gate/env1", "off"),
        ("/gate/env1", True),
        ("/patch/abort",),
        ("/patch/clear",),
        ("/patch/dump",),
        ("/patch/undo", "allow_silence", 1, "discard", 1),
        ("/record/status",),
        ("/record/stop",),
        ("/record/start", "by-osc.wav", "24"),
        ("/session/start", "by-osc"),
        ("/session/status",),
        ("/session/stop",),
        ("/engine/status",),
        ("/engine/modules",),
        ("/engine/commands", "under", "/patch"),
        ("/engine/listen", 0.05),
        ("/engine/sync",),
        ("/notify", 1, "commits"),
        ("/notify", 0),
    ]
    for address, *args in script:
        reply = wire.say(address, *args)
        assert (reply.ok, reply.address) == (True, address), reply
        row = addresses.find(address)
        assert row is not None
        check_fields(row[0], reply)
    said = {address for address, *_ in script}
    for route in addresses.TABLE:  # all others as in their examples: done, or refused with a reason
        if not route.in_address and route.address not in said:
            address, *words = route.example.split(" ")
            reply = wire.say(address, *map(typed, words))
            assert reply.address == address and (reply.ok or reply.args)
            if reply.ok:
                check_fields(route, reply)
    assert wire.is_quiet() and other.is_quiet()
    other.socket.close()


def typed(word: str) -> float | str:
    """Return a word of an example as it is sent."""
    try:
        return float(word)
    except ValueError:
        return word


def check_fields(route: addresses.Route, reply: Reply) -> None:
    """The answer has the fields of the table, of their types, and no others."""
    if not route.reply:
        assert reply.args == ()
    elif route.is_json:
        [text] = reply.args
        check_object(json.loads(str(text)), route.reply, route.address)
    else:
        assert len(reply.args) == len(route.reply)


TYPES = {
    "integer": int,
    "number": (int, float),
    "string": str,
    "boolean": bool,
    "list": list,
    "object": (dict, type(None)),
}


def check_object(told: dict[str, Any], fields: tuple[Field, ...], where: str) -> None:
    optional = {"is_locked", "is_realtime", "is_limited", "processors"} if where.endswith("slots") else set()
    assert set(told) - optional == {field.name for field in fields} - optional, where
    for field in fields:
        value = told.get(field.name)
        assert value is None or isinstance(value, TYPES[field.kind]), f"{where} {field.name}={value!r}"
        for inner in ([] if value is None else value if isinstance(value, list) else [value]) if field.nested else []:
            check_object(inner, field.nested, f"{where} {field.name}")


def test_the_counters_that_are_listed_are_those_of_the_core() -> None:
    assert tuple(field.name for field in replies.COUNTERS) == _native.COUNTER_NAMES
    assert tuple(field.name for field in replies.SLOT_COUNTERS) == _native.SLOT_COUNTER_NAMES


def test_the_engine_lists_its_own_commands_in_pages_that_hold_all_of_the_table(live: Live, wire: Wire) -> None:
    assert live.client.commands() == json.loads(json.dumps(addresses.describe()))
    rows: list[Any] = []
    first = 0
    while first >= 0:
        wire.send(build("/engine/commands", ["first", first]))
        datagram = wire.socket.recv(65536)
        assert len(datagram) < 40_000
        page = json.loads(str(osc.decode_reply(datagram).args[0]))
        rows, first = [*rows, *page["commands"]], page["next"]
    assert [row["address"] for row in rows] == [row.address for row in (*addresses.TABLE, *EVENTS)]
    patch = live.client.commands("/patch")
    assert [r["address"] for r in patch] == [r.address for r in addresses.TABLE if r.address.startswith("/patch")]
    for row in rows[: len(addresses.TABLE)]:
        for argument in row["arguments"]:
            assert argument["help"] and argument["type"] in addresses.KINDS
            assert argument["type"] not in ("number", "integer") or argument["min"] < argument["max"]
    for ask, text in [(("under", "/patches"), "did you mean '/patch"), (("first", 99), "is behind the last of")]:
        reply = wire.say("/engine/commands", *ask)
        assert not reply.ok and text in str(reply.args[0])
    assert [m["name"] for m in live.client.modules()["modules"]] == list(registry())
    [adsr] = json.loads(str(wire.say("/engine/modules", "type", "adsr").args[0]))["modules"]
    assert adsr["params"][0]["unit"] == "ms"


def test_a_setting_is_answered_with_its_value(wire: Wire) -> None:
    wire.say("/patch/create", "osc1", "simple_sine")
    wire.say("/patch/create", "filt1", "biquad_filter")
    wire.say("/patch/create", "env1", "adsr")
    assert wire.say("/mod/osc1/freq", 220.5).args == (220.5,)
    assert wire.say("/mod/filt1/filter_mode", "notch").args == (3.0,)
    assert wire.say("/gate/env1", "on").args == (1,)
    assert wire.say("/gate/env1", False).args == (0,)


def test_bundles_are_answered_message_by_message_and_empty_ones_are_harmless(wire: Wire) -> None:
    wire.send(bundle())
    wire.send(bundle(tag=0))
    wire.send(bundle(bundle(), bundle(bundle())))
    inner = bundle(osc.encode(Create("osc2", "simple_sine")))
    wire.send(bundle(osc.encode(Create("osc1", "simple_sine")), inner, osc.encode(SetParam("osc1", "gain", 0.5))))
    replies = [wire.receive() for _ in range(3)]
    assert all(reply.ok for reply in replies)
    assert [reply.address for reply in replies] == ["/patch/create", "/mod/osc1/gain", "/patch/create"]
    dump = json.loads(str(wire.say("/patch/dump").args[0]))
    assert [node["id"] for node in dump["pending"]["nodes"]] == ["osc1", "osc2"]


def test_a_bundle_of_a_good_and_a_bad_message_does_the_good_one(wire: Wire) -> None:
    wire.send(bundle(osc.encode(Create("osc1", "simple_sine")), osc.encode(Create("osc2", "sine"))))
    replies = [wire.receive(), wire.receive()]
    assert sorted(reply.ok for reply in replies) == [False, True]
    assert len(json.loads(str(wire.say("/patch/dump").args[0]))["pending"]["nodes"]) == 1


# ---- what is not


def test_truncated_messages_are_refused_at_every_length(wire: Wire) -> None:
    wire.say("/patch/create", "osc1", "simple_sine")
    for whole in (osc.encode(SetParam("osc1", "freq", 330.0)), build("/patch/delete", ["osc1"])):
        for length in range(len(whole)):
            reply = wire.ask(whole[:length])
            assert not reply.ok and reply.args, (length, reply)
    dump = json.loads(str(wire.say("/patch/dump").args[0]))
    assert dump["pending"]["nodes"] == [{"id": "osc1", "type": "simple_sine", "params": {}}]


def test_truncated_bundles_are_refused_or_do_what_is_whole_in_them(wire: Wire) -> None:
    wire.say("/patch/create", "osc1", "simple_sine")
    set_freq = osc.encode(SetParam("osc1", "freq", 330.0))
    whole = bundle(set_freq, set_freq)
    for length in range(8, len(whole)):
        if length in (16, 16 + 4 + len(set_freq)):
            continue  # cut between two elements: a sound bundle
        replies = [wire.ask(whole[:length])]
        while replies[-1].ok:
            replies.append(wire.receive())
        assert "cut off" in str(replies[-1].args) or "damaged" in str(replies[-1].args)
    assert is_alive(wire)


def test_random_bytes_are_each_answered_with_a_reason_and_change_nothing(live: Live, wire: Wire) -> None:
    rng = random.Random(1)
    before = live.client.dump()
    for _ in range(1000):
        reply = wire.ask(rng.randbytes(rng.randrange(200)))
        assert not reply.ok and reply.args
    mutated = bytearray(bundle(osc.encode(SetParam("osc1", "freq", 330.0)), osc.encode(Gate("env1", 1))))
    for _ in range(1000):
        copy = bytearray(mutated)
        for _ in range(rng.randrange(1, 5)):
            copy[rng.randrange(len(copy))] = rng.randrange(256)
        wire.send(bytes(copy))  # some hold several messages, some none
    end = Wire(live.client.port)
    assert is_alive(end)
    end.socket.close()
    assert live.client.dump() == before
    assert live.status()["worker_deaths"] == 0


@pytest.mark.parametrize(
    ("address", "args", "text"),
    [
        ("/patch/create", ("x", "simple_sin"), "simple_sine"),
        ("/patch/create", ("osc1", "adsr"), "taken"),
        ("/patch/create", ("a/b", "adsr"), "not valid"),
        ("/patch/create", ("x",), "usage"),
        ("/patch/create", (1, 2), "must be a string"),
        ("/patch/delete", ("osc",), "osc1"),
        ("/patch/connect", ("filt1", "filt1"), "itself"),
        ("/patch/connect", ("osc1", "env1"), "env1"),
        ("/patch/connect", ("osc1", "filt1.cutof"), "cutoff"),
        ("/patch/connect", ("filt1", "osc1"), "no input"),
        ("/patch/disconnect", ("osc1", "filt1"), "no cable"),
        ("/patch/comit", (), "/patch/commit"),
        ("/patch/commit", ("crosfade", 1.0), "crossfade"),
        ("/patch/commit", ("crossfade", -1.0), "0..1000"),
        ("/patch/commit", ("crossfade",), "pairs"),
        ("/mod/osc/freq", (1.0,), "osc1"),
        ("/mod/osc1/frq", (1.0,), "freq"),
        ("/mod/osc1/freq", (24000.0,), "23990"),
        ("/mod/osc1/freq", (-1.0,), "0..23990"),
        ("/mod/osc1/freq", (float("nan"),), "not finite"),
        ("/mod/osc1/freq", (float("inf"),), "not finite"),
        ("/mod/osc1/freq", (float("-inf"),), "not finite"),
        ("/mod/osc1/freq", ("high",), "number"),
        ("/mod/osc1/freq", (True,), "true or false"),
        ("/mod/osc1/freq", (None,), "nil"),
        ("/mod/osc1/freq", (), "1 argument"),
        ("/mod/osc1/freq", (1.0, 2.0), "1 argument"),
        ("/mod/osc1", (1.0,), "/mod/osc1"),
        ("/mod/z*/freq", (1.0,), "unknown module id 'z*'"),
        ("/mod/*/frq", (1.0,), "unknown parameter of the 2 modules that match '*' 'frq'; did you mean 'freq'"),
        ("/mod/*/freq", (24000.0,), "1 of the 1 parameters that match do not take it, so none is set"),
        ("/mod/*/gain", ("loud",), "is not a number"),
        ("/mod/osc[1/freq", (1.0,), "has no ']' behind it"),
        ("/mod/osc{1,2/freq", (1.0,), "has no '}' behind it"),
        ("/mod/" + "{a,b}" * 7 + "/freq", (1.0,), "more than 64 forms"),
        ("/gate/*", (1,), "2 modules match '*', and none has a gate"),
        ("/patch/*", (), "matches nothing; an address pattern stands for names of modules"),
        ("/engine/s*", (), "matches nothing"),
        ("/mod/filt1/mode", ("lopass",), "lowpass"),
        ("/gate/osc1", (1,), "gate"),
        ("/gate/nobody", (1,), "nobody"),
        ("/gate/filt1", (0.5,), "0.5"),
        ("/gate/filt1", ("maybe",), "on"),
        ("/record/start", ("../../etc/passwd.wav",), "leads out"),
        ("/record/start", ("take.mp3",), ".wav"),
        ("/", (), "unknown address"),
        ("/nothing/like/it", (), "unknown address"),
    ],
)
def test_a_request_that_is_wrong_is_refused_with_what_would_be_right(
    shared_wire: Wire, address: str, args: tuple[Any, ...], text: str
) -> None:
    reply = shared_wire.say(address, *args)
    assert (reply.ok, reply.address) == (False, address)
    assert text in str(reply.args[0])


@pytest.mark.parametrize("n_bytes", [300, 8_000, 60_000])
def test_an_address_of_60_kb_is_refused_with_its_beginning(wire: Wire, n_bytes: int) -> None:
    reply = wire.ask(b"/" + b"a" * (n_bytes - 1) + b"\0" * 4)
    assert not reply.ok and reply.address.startswith("/aaaa") and len(reply.address) < 100
    assert str(n_bytes) in str(reply.args[0])
    reply = wire.ask(build("/patch/create", ["x" * n_bytes, "simple_sine"]))
    assert not reply.ok and len(str(reply.args[0])) < 1000


def test_blobs_and_deeply_nested_bundles_are_refused(wire: Wire) -> None:
    reply = wire.ask(b"/mod/osc1/freq\0\0,b\0\0" + struct.pack(">i", 4) + b"abcd")
    assert not reply.ok and "blob" in str(reply.args[0])
    nested = osc.encode(Create("deep", "adsr"))
    for _ in range(1000):
        nested = bundle(nested)
    reply = wire.ask(nested)
    assert not reply.ok and "nested" in str(reply.args[0])


def test_a_bundle_of_more_messages_than_a_block_takes_is_refused_whole(wire: Wire) -> None:
    reply = wire.ask(bundle(*[b"/x\0\0"] * 5000))
    assert not reply.ok and "4096" in str(reply.args[0])
    assert wire.is_quiet()


def test_refusals_are_counted(live: Live, wire: Wire) -> None:
    before = osc_status(live)
    for _ in range(7):
        wire.say("/patch/delete", "nobody")
    after = osc_status(live)
    assert after["refused"] - before["refused"] == 7
    assert after["requests"] - before["requests"] == 8  # and the status itself
    assert after["replies_lost"] == 0


def test_a_port_in_use_is_told_clearly_and_costs_no_worker(live: Live) -> None:
    port = live.client.port
    with pytest.raises(PortInUseError, match=f"OSC port {port} on 127.0.0.1 is in use.*another port") as caught:
        Engine("free", osc_port=port)
    assert isinstance(caught.value, OSError)
    with pytest.raises(PortInUseError, match="192.0.2.1"):
        Engine("free", osc_port=0, osc_host="192.0.2.1")


def test_a_sender_that_has_gone_harms_nobody(live: Live, wire: Wire) -> None:
    for n in range(200):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as gone:
            gone.sendto(osc.encode(Create(f"x{n}", "adsr")), ("127.0.0.1", live.client.port))
    wait_until(lambda: osc_status(live)["datagrams"] >= 200)
    assert len(live.client.dump()["pending"]["nodes"]) == 200
    assert is_alive(wire)


# ---- time


def test_a_time_tag_in_the_future_lands_on_its_sample_and_one_in_the_past_is_at_once_and_late(
    live: Live, wire: Wire
) -> None:
    live.client.create("osc1", "simple_sine")
    first = live.commit(crossfade_ms=0)["frame"]
    live.await_redundancy()
    future, past = live.engine.frames + 1001, first + 5
    tag = messages.time_tag_from_unix(live.time_of(future))
    assert wire.ask(osc.encode(SetParam("osc1", "freq", 880.0), tag)).args == (880.0,)
    tag = messages.time_tag_from_unix(live.time_of(past))
    assert wire.ask(osc.encode(SetParam("osc1", "gain", 0.5), tag)).args == (0.5, "late")
    applied = live.engine._supervisor.segment.render_head(0) * 64  # type: ignore[union-attr]
    live.advance(4800)
    status = live.status()
    x = live.samples()[first:]
    events = [
        ((applied - first) / 48000, ("mod", "osc1", "gain", 0.5)),
        ((future - first) / 48000, ("mod", "osc1", "freq", 880.0)),
    ]
    assert_same(x, stereo(tone(), len(x), events=events))
    assert status["commands_late"] == 1
    assert [slot["counters"]["late_commands"] for slot in status["slots"]] == [1, 1]


def test_a_bundle_in_the_future_does_not_hold_up_what_comes_after_it(live: Live, wire: Wire) -> None:
    live.client.create("osc1", "simple_sine")
    live.commit()
    tag = messages.time_tag_from_unix(live.time_of(live.engine.frames + 48_000 * 60))
    wire.ask(osc.encode(SetParam("osc1", "freq", 880.0), tag))
    assert wire.say("/mod/osc1/gain", 0.1).ok
    assert is_alive(wire)


# ---- order and load


def test_sync_is_answered_when_all_before_it_was_rendered_by_the_active_slot(live: Live, wire: Wire) -> None:
    live.client.create("osc1", "simple_sine")
    first = live.commit(crossfade_ms=0)["frame"]
    live.await_redundancy()
    for n in range(100):
        wire.send(osc.encode(SetParam("osc1", "gain", n / 128)))
    wire.send(osc.encode(EngineSync()))
    replies = [wire.receive() for _ in range(101)]
    assert [reply.address for reply in replies] == ["/mod/osc1/gain"] * 100 + ["/engine/sync"]
    answer = json.loads(str(replies[-1].args[0]))
    status = live.status()
    active = status["slots"][status["active_slot"]]
    assert active["applied"] >= answer["seq"] >= 101
    at = active["render_head"] * 64  # from there on at the latest; the ramp is 5 ms
    live.advance(4800)
    x = live.samples()[:, 0]
    assert abs(x[at + 240 :]).max() == pytest.approx(99 / 128, rel=1e-3)
    assert first < answer["frames"] <= at


def test_sync_inside_a_bundle_waits_for_the_whole_bundle(live: Live, wire: Wire) -> None:
    live.client.create("osc1", "simple_sine")
    live.commit()
    wire.send(bundle(osc.encode(EngineSync()), osc.encode(SetParam("osc1", "gain", 0.5))))
    assert [wire.receive().address for _ in range(2)] == ["/mod/osc1/gain", "/engine/sync"]


def test_sync_with_nothing_before_it_is_answered(wire: Wire) -> None:
    for _ in range(20):
        assert is_alive(wire)


def test_a_burst_of_20000_messages_ends_with_the_last_value(live: Live, wire: Wire) -> None:
    live.client.record_stop()  # nothing is measured in it
    live.client.create("osc1", "simple_sine")
    live.commit()
    live.engine.run_free()
    n_messages = 20_000
    before = osc_status(live)
    for n in range(n_messages):
        wire.send(osc.encode(SetParam("osc1", "freq", 100.0 + n / 2)))
    wait_until(lambda: total(osc_status(live)) - total(before) >= n_messages, 60, step_s=0.01)
    live.client.sync()
    status = live.status()
    freq = live.client.dump()["committed"]["nodes"][0]["params"]["freq"]
    assert status["commands_lost"] == 0 and status["counters"]["frames_underrun"] == 0
    if status["osc"]["dropped_by_kernel"] == 0:
        assert freq == 100.0 + (n_messages - 1) / 2
    live.client.set("osc1", "freq", 440.0)
    assert live.client.dump()["committed"]["nodes"][0]["params"]["freq"] == 440.0


def total(status: dict[str, Any]) -> int:
    return int(status["datagrams"] + status["dropped_by_kernel"])


def test_what_the_kernel_drops_is_counted(live: Live, wire: Wire) -> None:
    """The engine's loop is held up until its socket has overflown."""
    if not hasattr(socket, "SO_RXQ_OVFL") and not Path("/proc/self/task").exists():
        pytest.skip("this system does not tell what it drops")
    before = osc_status(live)
    go_on = threading.Event()
    live.engine._loop.call(lambda: go_on.wait(60) and None)
    n_messages = 20_000
    datagram = b"/x\0\0" + bytes(4000)
    try:
        for _ in range(n_messages):
            wire.send(datagram)
    finally:
        go_on.set()
    after = osc_status(live)
    assert after["dropped_by_kernel"] > 0
    # of each datagram it is known: taken, or dropped (the two requests for the status were taken)
    assert total(after) - total(before) == n_messages + 1
    assert is_alive_after_flood(live)


def is_alive_after_flood(live: Live) -> bool:
    return bool(live.client.sync()["seq"])


# ---- liblo's tools


def needs(program: str) -> str:
    path = shutil.which(program)
    if path is None:
        pytest.skip(f"{program} is not installed (apt install liblo-tools)")
    return path


def test_oscsend_builds_a_patch_and_plays_it(live: Live) -> None:
    oscsend = needs("oscsend")

    def send(*words: str) -> None:
        subprocess.run([oscsend, "localhost", str(live.client.port), *words], check=True, timeout=20)

    send("/patch/create", "ss", "osc1", "simple_sine")
    send("/patch/create", "ss", "env1", "adsr")
    send("/patch/connect", "ss", "osc1", "env1")
    send("/patch/commit")
    wait_until(lambda: live.status()["commits"] == 1)
    send("/mod/osc1/freq", "f", "880")
    send("/mod/osc1/gain", "d", "0.25")
    send("/gate/env1", "F")
    send("/gate/env1", "s", "off")
    wait_until(lambda: live.client.dump()["committed"]["nodes"][1]["params"] == {"gate": 0})
    assert live.client.dump()["committed"]["nodes"][0]["params"] == {"freq": 880, "gain": 0.25}
    assert osc_status(live)["refused"] == 0


def test_oscdump_reads_the_engine_s_answers(live: Live, wire: Wire) -> None:
    oscdump = needs("oscdump")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    dump = subprocess.Popen([oscdump, "-L", str(port)], stdout=subprocess.PIPE, text=True)
    with dump, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as relay:
        lines: list[str] = []
        assert dump.stdout
        reader = threading.Thread(target=lambda: lines.extend(iter(dump.stdout.readline, "")))  # type: ignore
        reader.start()
        wire.send(osc.encode(Create("osc1", "simple_sine")))
        answers = [wire.socket.recv(65536)]
        wire.send(osc.encode(Create("osc1", "simple_sine")))
        answers.append(wire.socket.recv(65536))

        def relayed() -> bool:
            for answer in answers:
                relay.sendto(answer, ("127.0.0.1", port))
            return any("/done" in line for line in lines) and any("/fail" in line for line in lines)

        wait_until(relayed, 20, step_s=0.05)
        dump.terminate()
        reader.join(10)
    assert any('/done s "/patch/create"' in line for line in lines)
    assert any('/fail ss "/patch/create"' in line and "taken" in line for line in lines)
