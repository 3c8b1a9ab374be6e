"""OSC over TCP: the same commands, in order, answers of any size, and no harm from anybody."""

from __future__ import annotations

import json
import logging
import shutil
import socket
import struct
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from live import Live
from waiting import wait_until

from pyengine import Client, Engine, commands, osc, streams
from pyengine.errors import CommandError, EngineError, NoReplyError, PortInUseError
from pyengine.framing import Deframer, framed
from pyengine.messages import build
from pyengine.osc import Reply


class Stream:
    """A TCP connection of its own."""

    def __init__(self, live: Live, framing: str = "length") -> None:
        assert live.engine.osc_tcp_port
        self.framing = framing
        self.socket = socket.create_connection(("127.0.0.1", live.engine.osc_tcp_port), timeout=20)
        self._deframer = Deframer(1 << 26)
        self._packets: list[bytes] = []

    def send(self, *packets: bytes) -> None:
        self.socket.sendall(b"".join(framed(packet, self.framing) for packet in packets))

    def receive(self) -> Reply:
        while not self._packets:
            data = self.socket.recv(65536)
            if not data:
                raise EOFError
            self._packets += [packet.data for packet in self._deframer.feed(data)]
        return osc.decode_reply(self._packets.pop(0))

    def say(self, address: str, *args: Any) -> Reply:
        self.send(build(address, args))
        return self.receive()

    def is_closed(self) -> bool:
        try:
            while self.socket.recv(65536):
                pass
        except ConnectionError:
            pass
        return True

    def close(self) -> None:
        self.socket.close()


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Live]:
    with Live(tmp_path, is_recorded=False, osc_tcp_port=0) as live:
        yield live


@pytest.fixture(params=["length", "slip"])
def stream(live: Live, request: pytest.FixtureRequest) -> Iterator[Stream]:
    stream = Stream(live, request.param)
    yield stream
    stream.close()


def tcp_status(live: Live) -> dict[str, Any]:
    status: dict[str, Any] = live.status()["osc"]["tcp"]
    return status


def test_a_patch_is_built_and_played_over_a_stream_of_either_framing(live: Live, stream: Stream) -> None:
    assert stream.say("/patch/create", "osc1", "simple_sine").ok
    stream.send(build("/patch/commit", ()))
    assert json.loads(str(stream.receive().args[0]))["new"] == ["osc1"]
    assert stream.say("/mod/osc1/freq", 330.0) == Reply(True, "/mod/osc1/freq", (330.0,))
    assert "nearest" not in str(stream.say("/mod/osc1/frek", 1.0).args) and stream.say("/engine/sync").ok
    assert live.client.dump()["committed"]["nodes"][0]["params"]["freq"] == 330.0
    told = tcp_status(live)
    assert (told["connections"], told["accepted"], told["packets"]) == (1, 1, 5)
    assert live.status()["osc"]["short_requests"] == 0


def test_what_comes_over_a_stream_takes_effect_and_is_answered_in_its_order(live: Live, stream: Stream) -> None:
    live.client.create("osc1", "simple_sine")
    live.commit()
    stream.send(*[build("/mod/osc1/freq", [float(n)]) for n in range(3000)])
    stream.send(*[build("/patch/create", [f"x{n}", "adsr"]) for n in range(3)], build("/patch/abort", ()))
    assert [stream.receive().args for _ in range(3000)] == [(float(n),) for n in range(3000)]
    assert [stream.receive().address for _ in range(4)] == ["/patch/create"] * 3 + ["/patch/abort"]
    assert live.client.dump()["committed"]["nodes"][0]["params"]["freq"] == 2999.0


def test_streams_and_datagrams_for_the_same_module_keep_their_order(live: Live) -> None:
    live.client.create("osc1", "simple_sine")
    live.commit()
    stream = Stream(live)
    for n in range(200):
        stream.say("/mod/osc1/gain", n / 400)
        live.client.set("osc1", "gain", n / 400 + 1 / 800)
        gain = live.client.dump()["committed"]["nodes"][0]["params"]["gain"]
        assert gain == n / 400 + 1 / 800
    stream.close()


def test_a_dump_that_fits_no_datagram_comes_whole_over_a_stream_and_udp_says_so(live: Live, tmp_path: Path) -> None:
    many = [commands.Create(f"oscillator{n:04}", "simple_sine") for n in range(2000)]
    live.client.send_all(many)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as plain:  # a Client would ask over TCP by itself
        plain.settimeout(30)
        plain.sendto(build("/patch/dump", []), ("127.0.0.1", live.engine.osc_port or 0))
        told = osc.decode_reply(plain.recv(65536))
    assert not told.ok and f"does not fit a datagram; ask over TCP, port {live.engine.osc_tcp_port}" in str(
        told.args[0]
    )
    with Client(port=live.engine.osc_tcp_port or 0, timeout_s=30, transport="tcp") as client:
        assert [node["id"] for node in client.dump()["pending"]["nodes"]] == [c.module_id for c in many]
        report = client.commit(allow_silence=True)
        assert len(report["new"]) == 2000 and "n_new" not in report
        client.set("oscillator*", "gain", 0.0)
        assert [reply.ok for reply in client.send_all(many[:300][::-1] and [commands.EngineSync()] * 300)] == [
            True
        ] * 300
        with pytest.raises(CommandError):
            client.send(commands.EngineCommands("nothing"))
        assert repr(client).endswith("open>")


def test_a_client_finds_out_that_nothing_listens_or_that_the_engine_has_gone(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        with pytest.raises(NoReplyError, match="start the engine with a TCP port"):
            Client(port=probe.getsockname()[1], transport="tcp")
    with pytest.raises(EngineError, match="none of udp, tcp"):
        Client(transport="http")
    with Engine("free", osc_port=0, osc_tcp_port=0, recordings=tmp_path) as engine:
        client = Client(port=engine.osc_tcp_port or 0, transport="tcp")
        client.abort()
    with pytest.raises(EngineError, match="closed the connection|Connection reset|Broken pipe"):
        client.abort()
    client.close()
    client.close()


def test_a_port_that_is_taken_is_refused_before_anything_starts(live: Live, tmp_path: Path) -> None:
    with pytest.raises(PortInUseError, match="cannot listen for OSC over TCP"):
        Engine("free", osc_port=0, osc_tcp_port=live.engine.osc_tcp_port, recordings=tmp_path)
    with pytest.raises(CommandError, match="TCP is beside UDP"):
        Engine("free", osc_tcp_port=0)
    with pytest.raises(CommandError, match="osc_tcp_port=70000 is outside"):
        Engine("free", osc_port=0, osc_tcp_port=70000)


def test_whoever_closes_his_side_still_gets_all_his_answers(live: Live, stream: Stream) -> None:
    stream.send(build("/patch/create", ["osc1", "simple_sine"]), build("/patch/commit", ()), build("/engine/sync", ()))
    stream.socket.shutdown(socket.SHUT_WR)
    assert {stream.receive().address for _ in range(3)} == {"/patch/create", "/patch/commit", "/engine/sync"}
    with pytest.raises(EOFError):
        stream.receive()
    wait_until(lambda: tcp_status(live)["connections"] == 0)


@pytest.mark.parametrize(
    ("garbage", "text"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "begins with the byte 0x47"),
        (struct.pack(">I", 70_000) + b"x", "a packet of 70000 bytes; the longest taken has 65507"),
        (b"\xc0" + b"/" * 200_000, "the longest taken has 65507"),
    ],
)
def test_a_stream_that_cannot_be_read_is_told_why_and_closed(live: Live, garbage: bytes, text: str) -> None:
    stream = Stream(live)
    stream.socket.sendall(garbage)
    reply = stream.receive()
    assert not reply.ok and text in str(reply.args[0])
    assert stream.is_closed()
    stream.close()
    assert live.client.sync() and tcp_status(live)["connections"] == 0


def test_damaged_packets_are_refused_and_what_follows_is_read(live: Live, stream: Stream) -> None:
    stream.send(b"/patch", b"/gate/a\0,i\0\0\0\0\0\7", build("/patch/abort", ()))
    assert [stream.receive().ok for _ in range(3)] == [False, False, True]
    stream.send(b"/")
    assert not stream.receive().ok


def test_more_connections_than_allowed_are_turned_away_and_one_that_goes_makes_room(live: Live) -> None:
    held = [Stream(live) for _ in range(streams.MAX_CONNECTIONS)]
    assert all(stream.say("/patch/abort").ok for stream in held)
    late = Stream(live)
    assert late.is_closed()
    assert tcp_status(live)["turned_away"] == 1
    held[0].close()
    wait_until(lambda: tcp_status(live)["connections"] < streams.MAX_CONNECTIONS)
    again = Stream(live)
    assert again.say("/patch/abort").ok
    for stream in [late, again, *held]:
        stream.close()
    wait_until(lambda: tcp_status(live)["connections"] == 0)


def test_who_takes_no_answers_is_dropped_and_costs_bounded_memory_while_the_sound_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(streams, "STALL_S", 0.5)
    caplog.set_level(logging.WARNING, "pyengine.streams")
    with Live(tmp_path, is_recorded=False, osc_tcp_port=0) as live:
        live.client.create("osc1", "simple_sine")
        live.commit()
        greedy, polite = Stream(live), Stream(live)
        asked = framed(build("/engine/modules", ()), "length") * 1000

        def pour() -> None:
            try:
                while True:
                    greedy.socket.sendall(asked)
            except OSError:
                pass

        thread = threading.Thread(target=pour)
        thread.start()
        worst = 0
        while not (told := tcp_status(live))["dropped"]:
            worst = max(worst, told["unsent_bytes"])
            assert polite.say("/mod/osc1/gain", 0.1).ok
            live.advance(480)
        greedy.socket.close()
        thread.join(20)
        # Not read beyond 1 MB of answers; those to what had been read by then are bounded too.
        assert worst < streams.MAX_UNSENT_BYTES and told["connections"] == 1
        assert "it has taken nothing for" in caplog.text or "bytes wait for it" in caplog.text
        counters = live.counters()
        assert counters["frames_underrun"] == 0 and counters["frames_requested"] == counters["frames_delivered"]
        polite.close()


def test_a_flood_from_eight_streams_loses_no_answer_and_no_frame(live: Live) -> None:
    live.client.create("osc1", "simple_sine")
    live.commit()
    n = 1500
    results: list[list[Any]] = []

    def play(k: int) -> None:
        stream = Stream(live, "slip" if k % 2 else "length")
        packets = [build("/mod/osc1/freq", [float(100 * k + i % 100)]) for i in range(n)]
        threading.Thread(target=lambda: stream.send(*packets)).start()
        results.append([k, [stream.receive().args[0] for _ in range(n)]])
        stream.close()

    players = [threading.Thread(target=play, args=(k,)) for k in range(8)]
    for player in players:
        player.start()
    while any(player.is_alive() for player in players):
        live.advance(480)
    assert sorted(k for k, _ in results) == list(range(8))
    for k, told in results:
        assert told == [float(100 * k + i % 100) for i in range(n)]
    counters = live.counters()
    assert counters["frames_underrun"] == 0 and counters["frames_requested"] == counters["frames_delivered"]
    assert live.status()["commands_sent"] >= 8 * n


@pytest.mark.skipif(shutil.which("oscsend") is None, reason="needs oscsend (Debian: liblo-tools)")
@pytest.mark.parametrize("protocol", ["osc.tcp", "osc.udp"])
def test_oscsend_is_understood(live: Live, protocol: str) -> None:
    port = live.engine.osc_tcp_port if protocol == "osc.tcp" else live.engine.osc_port
    url = f"{protocol}://127.0.0.1:{port}/"
    subprocess.run(["oscsend", url, "/patch/create", "ss", "osc1", "simple_sine"], check=True, timeout=20)
    wait_until(lambda: [n["id"] for n in live.client.dump()["pending"]["nodes"]] == ["osc1"])
