"""Subscriptions: what is told, to whom, how much of it, and that the sound does not mind."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from live import Live
from waiting import wait_until

from pyengine import Client, commands, notify, osc
from pyengine.errors import EngineError
from pyengine.events import EVENTS, TOPICS, TROUBLE
from pyengine.messages import build
from pyengine.osc import Event


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Live]:
    with Live(tmp_path, is_recorded=False, osc_tcp_port=0) as live:
        yield live


@pytest.fixture(params=["udp", "tcp"])
def listener(live: Live, request: pytest.FixtureRequest) -> Iterator[Client]:
    port = live.engine.osc_tcp_port if request.param == "tcp" else live.engine.osc_port
    with Client(port=port or 0, timeout_s=30, transport=request.param) as client:
        yield client


class Told:
    """What a client was told so far."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.events: list[Event] = []

    def wait(self, address: str, n: int = 1) -> list[Any]:
        """Wait for so many events of this address; return their arguments, JSON as data."""

        def is_there() -> bool:
            self.events += self.client.events(0.02)
            return len(self.found(address)) >= n

        wait_until(is_there, 30)
        return self.found(address)

    def found(self, address: str) -> list[Any]:
        is_json = next(event.is_json for event in EVENTS if event.address == address)
        args = [event.args for event in self.events if event.address == address]
        return [json.loads(str(a[0])) for a in args] if is_json else args


def test_a_commit_is_told_with_what_stayed_and_what_is_new(live: Live, listener: Client) -> None:
    told = Told(listener)
    assert listener.subscribe("commits")["topics"] == ["commits"]
    live.client.create("osc1", "simple_sine")
    report = live.commit()
    live.client.create("osc2", "simple_sine")
    live.commit()
    first, second = told.wait("/event/commit", 2)
    assert first == {name: report[name] for name in first} and first["new"] == ["osc1"]
    assert (second["carried"], second["new"], second["gone"]) == (["osc1"], ["osc2"], [])
    assert {event.address for event in told.events} == {"/event/commit"}


def fall_over(live: Live) -> int:
    """Let the active worker die, so that the other slot is heard; return the slot that was.

    On a busy machine its successor may be there before the clock wants the blocks: then it dies too.
    """
    struck: list[int] = []

    def has_moved() -> bool:
        live.await_redundancy()
        struck.append(live.status()["active_slot"])
        os.kill(live.pid(struck[-1]), signal.SIGKILL)
        live.advance(4800)
        return bool(live.status()["active_slot"] != struck[-1])

    wait_until(has_moved, 60)
    return struck[-1]


def test_a_fail_over_is_told_with_every_state_of_the_slots(live: Live, listener: Client) -> None:
    live.client.create("osc1", "simple_sine")
    live.commit()
    live.await_redundancy()
    told = Told(listener)
    listener.subscribe("slots")
    told.wait("/event/slot", 2)
    assert sorted(s for _, s, _ in told.found("/event/slot")) == ["active", "replica"]
    active = fall_over(live)
    live.await_redundancy()
    [(heard, _, generation)] = told.wait("/event/fallback")
    assert (heard, generation) == (1 - active, 1)
    wait_until(lambda: bool(told.wait("/event/slot", 3)) and told.found("/event/slot")[-1][1] == "replica")
    states = [state for slot, state, _ in told.found("/event/slot")[2:] if slot == active]
    deaths = [at for at, state in enumerate(states) if state == "dead"]
    assert states[deaths[-1] :] == ["dead", "joining", "replica"]
    told.wait("/event/slot", 3)
    assert (1 - active, "active") in [(slot, state) for slot, state, _ in told.found("/event/slot")]


def test_recordings_refusals_and_values_of_anybody_are_told(live: Live, listener: Client) -> None:
    live.client.create("osc1", "simple_sine")
    live.client.create("env1", "adsr")
    live.commit(allow_silence=True)
    told = Told(listener)
    assert listener.subscribe()["topics"] == sorted(TOPICS)
    live.client.record_start("a.wav")
    assert [r["is_recording"] for r in told.wait("/event/recording", 2)] == [False, True]
    live.client.record_stop()
    assert [r["is_recording"] for r in told.wait("/event/recording", 3)] == [False, True, False]
    live.client.session_start("s")
    assert [r["is_logging"] for r in told.wait("/event/session", 2)] == [False, True]
    live.client.session_stop()
    assert [r["is_logging"] for r in told.wait("/event/session", 3)] == [False, True, False]
    live.client.set("osc1", "freq", 220.0)  # the short way
    live.client.set("osc1", "freq", 330.0)
    live.client.send(commands.SetParam("osc*", "gain", 0.5))
    live.engine.gate("env1", 0)
    wait_until(lambda: {("osc1", "gain", 0.5), ("env1", "gate", 0.0)} <= set(told.wait("/event/value", 3)))
    assert ("osc1", "freq", 330.0) in told.found("/event/value")
    with pytest.raises(EngineError):
        live.client.set("osc1", "freq", 1e6)
    with pytest.raises(EngineError):
        live.engine.set("nobody", "freq", 1.0)
    refused = told.wait("/event/refused", 2)
    assert [address for address, _ in refused] == ["/mod/osc1/freq", "/mod/nobody/freq"]
    assert "outside" in refused[0][1]
    [counters] = told.wait("/event/counters")
    assert set(counters) == {field.name for field in TROUBLE}


def test_counters_of_trouble_are_told_when_they_go_up(live: Live, listener: Client) -> None:
    live.client.create("osc1", "simple_sine")
    live.commit()
    told = Told(listener)
    listener.subscribe("counters")
    [before] = told.wait("/event/counters")
    fall_over(live)
    wait_until(lambda: told.wait("/event/counters", 2)[-1]["hedged_blocks"] > before["hedged_blocks"])
    assert told.found("/event/counters")[-1]["frames_underrun"] == 0


def test_a_rolled_back_commit_is_told(more_modules: None, tmp_path: Path) -> None:
    with Live(tmp_path, is_recorded=False, probation_ms=60_000) as live:
        live.client.create("osc1", "simple_sine")
        live.commit()
        live.client.subscribe("commits")
        live.client.create("bad", "test_crash")
        live.client.set("bad", "level", 0.0)
        live.commit()
        live.client.set("bad", "armed", 1.0)
        wait_until(lambda: live.advance(64) and live.status()["rollbacks"] == 1, 30, step_s=0.001)
        told = Told(live.client)
        [(generation, why)] = told.wait("/event/rollback")
        assert generation == 2 and "bad" in why


def test_what_is_set_faster_than_it_is_told_is_told_by_its_newest_value(live: Live, listener: Client) -> None:
    live.client.create("osc1", "simple_sine")
    live.commit()
    told = Told(listener)
    listener.subscribe("values")
    n = 20_000
    for start in range(0, n, 100):
        live.client.send_bundle([commands.SetParam("osc1", "freq", float(start + k)) for k in range(100)])
    wait_until(lambda: told.wait("/event/value")[-1] == ("osc1", "freq", float(n - 1)))
    assert len(told.events) < n / 10
    assert live.status()["notify"] == {"subscribers": 1, "lost": 0}


def test_more_than_can_be_told_is_lost_and_said_so_and_the_sound_goes_on(live: Live) -> None:
    """Refusals by the thousand to one who listens: a bounded number is told, the rest is counted, exactly."""
    live.client.create("osc1", "simple_sine")
    live.commit()
    with Client(port=live.engine.osc_tcp_port or 0, timeout_s=30, transport="tcp") as listener:
        told = Told(listener)
        listener.subscribe("refusals")
        n = 12_000
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as flood:
            flood.connect(("127.0.0.1", live.engine.osc_port or 0))
            for start in range(0, n, 1000):
                packets = [osc.encode(commands.Delete(f"x{start + k}")) for k in range(1000)]
                parts = [len(p).to_bytes(4, "big") + p for p in packets]
                flood.send(b"#bundle\0" + (1).to_bytes(8, "big") + b"".join(parts))
        told.wait("/event/lost")

        def n_told() -> int:
            told.events += listener.events(0.05)
            return len(told.found("/event/refused")) + sum(count for (count,) in told.found("/event/lost"))

        wait_until(lambda: n_told() >= n, 30)
        assert n_told() == n
        live.advance(4800)
        counters = live.counters()
        assert counters["frames_underrun"] == 0 and counters["frames_requested"] == counters["frames_delivered"]


def test_nobody_is_told_after_he_left(live: Live, listener: Client) -> None:
    listener.subscribe("values", "refusals")
    listener.unsubscribe()
    listener.events()
    live.client.create("osc1", "simple_sine")
    live.client.set("osc1", "gain", 0.1)
    live.client.sync()
    assert live.status()["notify"]["subscribers"] == 0
    time.sleep(3 * notify.TICK_S)  # that nothing comes has no signal
    assert listener.events() == []


def test_a_connection_that_closes_is_forgotten(live: Live) -> None:
    listener = Client(port=live.engine.osc_tcp_port or 0, timeout_s=30, transport="tcp")
    assert listener.subscribe()["expires_s"] is None
    assert live.status()["notify"]["subscribers"] == 1
    listener.close()
    wait_until(lambda: live.status()["notify"]["subscribers"] == 0)


def test_a_sender_of_datagrams_is_told_until_it_expires_and_asking_again_renews_it(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Client(port=live.engine.osc_port or 0, timeout_s=30) as listener:
        told = Told(listener)
        assert listener.subscribe("values")["expires_s"] == 60.0
        monkeypatch.setattr(notify, "EXPIRES_S", 0.4)
        began = time.monotonic()
        while time.monotonic() - began < 0.8:
            listener.subscribe("commits", "values")
            time.sleep(0.1)
        assert told.found("/event/expired") == [] and live.status()["notify"]["subscribers"] == 1
        told.wait("/event/expired")
        assert live.status()["notify"]["subscribers"] == 0


@pytest.mark.skipif(shutil.which("oscdump") is None, reason="needs oscdump (Debian: liblo-tools)")
def test_oscdump_understands_what_is_told(live: Live) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        asker.bind(("127.0.0.1", 0))
        port = asker.getsockname()[1]
        asker.sendto(build("/notify", [1, "commits", "values"]), ("127.0.0.1", live.engine.osc_port or 0))
        asker.recv(65536)
    dump = subprocess.Popen(["oscdump", "-L", str(port)], stdout=subprocess.PIPE, text=True)
    lines: list[str] = []
    reader = threading.Thread(target=lambda: lines.extend(dump.stdout or ()))
    reader.start()
    live.client.create("osc1", "simple_sine")
    live.commit()

    def is_told(n: int) -> bool:
        live.client.set("osc1", "freq", 200.0 + n)  # again and again: oscdump does not say when it listens
        return any("/event/value" in line for line in lines)

    numbers = iter(range(10_000))
    wait_until(lambda: is_told(next(numbers)), 30, step_s=0.02)
    dump.terminate()
    dump.wait()
    reader.join(20)
    assert dump.stdout is not None
    dump.stdout.close()
    told = next(line for line in lines if "/event/value" in line)
    assert told.split()[1:5] == ["/event/value", "ssf", '"osc1"', '"freq"']


def test_more_subscribers_than_allowed_are_refused(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notify, "MAX_SUBSCRIBERS", 2)
    clients = [Client(port=live.engine.osc_port or 0, timeout_s=30) for _ in range(3)]
    for client in clients[:2]:
        client.subscribe()
    with pytest.raises(EngineError, match="2 subscribers are told already"):
        clients[2].subscribe()
    clients[0].unsubscribe()
    assert clients[2].subscribe("slots")["topics"] == ["slots"]
    for client in clients:
        client.close()


@pytest.mark.parametrize(
    ("args", "text"),
    [
        ((), "takes 1 arguments or more"),
        ((2,), "on=2 is neither on nor off"),
        ((1, "commit"), "is 'commit', none of commits, slots, recording"),
        ((1, 5), "must be a string"),
    ],
)
def test_a_wrong_subscription_says_what_would_be_right(live: Live, args: tuple[Any, ...], text: str) -> None:
    reply = osc.decode(build("/notify", args))[0].requests[0]
    assert text in reply.fault
    with pytest.raises(EngineError, match="needs somebody to tell"):
        live.engine.do(commands.Notify(1))


def test_every_topic_and_field_of_the_events_is_listed_by_the_engine(live: Live) -> None:
    rows = live.client.commands("/event")
    assert [row["address"] for row in rows] == [event.address for event in EVENTS]
    assert {row["topic"] for row in rows} - {""} == set(TOPICS)
    assert all(field["help"] and field["type"] for row in rows for field in row["reply_fields"])
