"""Settings that need no Python, in a whole engine: they are what the long way would have made of them."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import statistics
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from live import Live, assert_same, chain, stereo, tone
from waiting import wait_until

from pyengine import Client, Engine, _native, osc, replay
from pyengine.commands import Commit, Create, Delete, Gate, SetParam
from pyengine.errors import CommandError
from pyengine.messages import build

RATE_HZ = 48000


def sent_short(live: Live) -> int:
    return int(live.status()["osc"]["short_requests"])


def params(live: Live, which: str = "committed") -> dict[str, dict[str, float]]:
    return {node["id"]: node["params"] for node in live.client.dump()[which]["nodes"]}


def stream(engine: Engine) -> list[_native.Record]:
    segment = engine._supervisor.segment  # type: ignore[union-attr]
    return _native.stream_records(segment, 1)


# ---- the same as by the long way


def test_a_setting_changes_the_sound_and_the_pending_copy_and_is_kept_by_a_commit(live: Live) -> None:
    live.client.create("osc1", "simple_sine")
    first = live.commit(crossfade_ms=0)["frame"]
    live.await_redundancy()
    before = sent_short(live)
    live.client.set("osc1", "freq", 660.0)
    assert sent_short(live) == before + 1
    applied = live.engine._supervisor.segment.render_head(0) * 64  # type: ignore[union-attr]
    live.advance(4800)
    assert params(live) == params(live, "pending") == {"osc1": {"freq": 660.0}}
    live.client.create("env1", "adsr")
    live.client.connect("osc1", "env1")
    second = live.commit(crossfade_ms=0)["frame"]
    live.advance(2400)
    x = live.samples()
    events = [((applied - first) / RATE_HZ, ("mod", "osc1", "freq", 660.0))]
    assert_same(x[first:second], stereo(tone(), second - first, events=events))
    assert params(live)["osc1"] == {"freq": 660.0}


def test_the_answers_have_the_bytes_that_python_gives(live: Live) -> None:
    live.client.create("osc1", "simple_sine")
    live.client.create("env1", "adsr")
    live.commit(allow_silence=True)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as wire:
        wire.connect(("127.0.0.1", live.client.port))
        wire.settimeout(20)
        for command, value in [
            (SetParam("osc1", "freq", 440), 440.0),
            (SetParam("osc1", "freq", 0.1), 0.1),
            (SetParam("osc1", "gain", 0.5), 0.5),
            (SetParam("env1", "gate", 1), 1.0),
            (Gate("env1", 0), 0),
        ]:
            before = sent_short(live)
            wire.send(osc.encode(command))
            assert wire.recv(65536) == osc.encode_reply(True, osc.address_of(command), value)
            assert sent_short(live) == before + 1
        wire.send(osc.encode_bundle([SetParam("osc1", "freq", 1.0), Gate("env1", 1)], None))
        assert [osc.decode_reply(wire.recv(65536)).args for _ in range(2)] == [(1.0,), (1,)]


def test_undo_gives_what_was_set_the_short_way_right_before_the_commit(live: Live) -> None:
    live.client.create("osc1", "simple_sine")
    live.commit()
    live.client.set("osc1", "freq", 550.0)
    live.client.delete("osc1")
    live.client.create("osc2", "simple_sine")
    live.commit()
    live.client.undo()
    assert params(live) == {"osc1": {"freq": 550.0}}


def test_a_setting_right_behind_a_commit_reaches_what_is_new_with_its_first_frame_and_what_stays_at_once(
    live: Live,
) -> None:
    live.client.create("osc1", "simple_sine")
    live.commit(crossfade_ms=0)
    new = [Create("osc2", "simple_sine"), Delete("osc1"), Commit(0.0), SetParam("osc2", "freq", 880.0)]
    first = json.loads(str(live.client.send_all(new)[2].args[0]))["frame"]
    live.await_redundancy()
    live.advance(2400)
    assert_same(live.samples()[first : first + 1200], stereo(tone(880.0), 1200))
    assert params(live) == {"osc2": {"freq": 880.0}}


def test_an_id_that_a_commit_on_its_way_has_anew_is_set_in_both(live: Live) -> None:
    """Deleted and created again it is another module: a setting meanwhile is for the one that plays and the new one."""
    live.client.create("osc1", "simple_sine")
    live.commit(crossfade_ms=0)
    replies = live.client.send_all(
        [Delete("osc1"), Create("osc1", "simple_sine"), Commit(0.0), SetParam("osc1", "freq", 990.0)]
    )
    assert all(reply.ok for reply in replies)
    live.await_redundancy()
    live.client.sync()
    handles = {record.handle for record in stream(live.engine) if record.value == 990.0}
    assert len(handles) == 2
    assert params(live) == params(live, "pending") == {"osc1": {"freq": 990.0}}


def test_what_is_deleted_is_unknown_from_the_swap_on_and_refused_with_the_nearest(live: Live) -> None:
    live.client.create("osc1", "simple_sine")
    live.commit()
    live.client.clear()
    live.commit(allow_silence=True)
    before = sent_short(live)
    with pytest.raises(Exception, match="unknown module id 'osc1'"):
        live.client.set("osc1", "freq", 1.0)
    assert sent_short(live) == before


def test_a_loop_that_is_busy_holds_nobody_up_but_those_who_wait_for_it(live: Live) -> None:
    live.client.create("osc1", "simple_sine")
    live.client.create("env1", "adsr")
    live.commit()
    live.engine.run_free()
    go_on = threading.Event()
    live.engine._loop.call(lambda: go_on.wait(60) and None)
    with Client(port=live.client.port, timeout_s=20) as other, Client(port=live.client.port, timeout_s=0.2) as waits:
        try:
            other.set("osc1", "freq", 123.0)
            newest = live.engine._supervisor.segment.newest  # type: ignore[union-attr]
            with pytest.raises(Exception, match="no answer"):
                waits.status()
            with pytest.raises(Exception, match="no answer"):
                waits.set("osc1", "freq", 234.0)  # behind its own question
            assert live.engine._supervisor.segment.newest == newest  # type: ignore[union-attr]
            other.set("env1", "attack", 5.0)
        finally:
            go_on.set()
    wait_until(lambda: params(live) == {"osc1": {"freq": 234.0}, "env1": {"attack": 5.0}})


def test_order_of_arrival_is_order_of_effect_over_both_ways(live: Live) -> None:
    """A choice by its name goes the long way, by its number the short way."""
    live.client.create("osc1", "simple_sine")
    live.client.create("filt1", "biquad_filter")
    live.client.connect("osc1", "filt1")
    live.commit()
    names = ["lowpass", "highpass", "bandpass", "notch"]
    rng = random.Random(5)
    sent = [rng.randrange(4) for _ in range(400)]
    n_before = len(stream(live.engine))
    commands = [SetParam("filt1", "mode", names[n] if rng.random() < 0.3 else float(n)) for n in sent]
    assert all(reply.ok for reply in live.client.send_all(commands))
    assert [record.value for record in stream(live.engine)[n_before:]] == sent
    assert params(live)["filt1"] == {"mode": sent[-1]}
    assert 0 < sent_short(live) < len(sent)


class Flood:
    """Sends rising numbers to parameters from a thread of its own, until it is told to stop."""

    def __init__(self, port: int, addresses: list[str]) -> None:
        self.n_sent = 0
        self._addresses = addresses
        self._wire = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._wire.connect(("127.0.0.1", port))
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._is_over.is_set():
            for _ in range(8):
                self.n_sent += 1
                for address in self._addresses:
                    self._wire.send(build(address, [self.n_sent / 64]))
            time.sleep(0.0005)

    def stop(self) -> float:
        """Return the number that was sent last."""
        self._is_over.set()
        self._thread.join()
        self._wire.close()
        return self.n_sent / 64


def test_no_setting_is_lost_or_misplaced_while_modules_come_and_go(live: Live) -> None:
    """The table changes with every commit, abort and undo, in the midst of a flood for what stays and what goes."""
    live.client.record_stop()
    live.client.create("stays", "simple_sine")
    live.client.create("comes", "simple_sine")
    live.commit()
    live.engine.run_free()
    flood = Flood(live.client.port, ["/mod/stays/freq", "/mod/comes/freq"])
    try:
        for n in range(25):
            if n % 5 == 4:
                live.client.undo()
                continue
            live.client.delete("comes")
            if n % 5 == 3:
                live.client.abort()
                continue
            live.client.create("comes", "simple_sine")
            live.client.create(f"more{n}", "adsr")
            live.commit(allow_silence=True)
    finally:
        last = flood.stop()
    wait_until(lambda: live.status()["osc"]["waiting"] <= 1)  # the question itself
    live.client.sync()
    status, nodes = live.status(), params(live)
    assert status["osc"]["dropped_by_kernel"] == status["osc"]["lost"] == 0
    assert nodes["stays"]["freq"] == nodes["comes"]["freq"] == last
    assert params(live, "pending")["stays"]["freq"] == last
    handle = live.engine._supervisor.desk.committed.nodes["stays"].handle  # type: ignore[union-attr]
    newest = status["commands_sent"]
    records = _native.stream_records(live.engine._supervisor.segment, max(1, newest - 60_000))  # type: ignore[union-attr]
    mine = [record.value for record in records if record.handle == handle]
    assert mine == [mine[0] + k / 64 for k in range(len(mine))]  # every one, in order
    assert status["osc"]["short_requests"] > 0


# ---- on a clock


@pytest.fixture
def real(tmp_path: Path) -> Any:
    with (
        Engine(
            "none", osc_port=0, recordings=tmp_path, prime_timeout_ms=20_000, session=tmp_path / "a.session"
        ) as engine,
        Client(port=engine.osc_port or 0, timeout_s=30) as client,
    ):
        yield engine, client, tmp_path


def test_messages_keep_their_distances_to_the_sample_and_none_is_late(
    real: tuple[Engine, Client, Path],
) -> None:
    engine, client, _ = real
    client.create("osc1", "simple_sine")
    client.commit()
    client.set("osc1", "freq", 1.0)
    rng = random.Random(3)
    sent_ns, n_before = [], len(stream(engine))
    raised = client.status()["stamps_raised"]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as wire:
        wire.connect(("127.0.0.1", client.port))
        for n in range(200):
            time.sleep(rng.uniform(0.001, 0.004))
            sent_ns.append(time.monotonic_ns())
            wire.send(osc.encode(SetParam("osc1", "freq", 100.0 + n)))
    client.sync()
    records = [record for record in stream(engine)[n_before:] if record.value >= 100.0]
    assert [record.value for record in records] == [100.0 + n for n in range(200)]
    frames = [record.frame for record in records]
    assert frames == sorted(frames) and frames[0] > 0
    apart = [frame - ns * RATE_HZ / 1e9 for frame, ns in zip(frames, sent_ns, strict=True)]
    middle = statistics.median(apart)
    status = client.status()
    n_raised = status["stamps_raised"] - raised  # the machine was away behind the kernel's stamp, and says so
    assert sum(abs(a - middle) <= 3 for a in apart) >= (200 - n_raised) / 2  # or between the look and the sending
    assert max(slot["counters"]["late_commands"] for slot in status["slots"]) == 0
    assert status["latency"] == "constant" and status["latency_frames"] == 3 * 64 + 13
    assert status["latency_ms"] == round(1e3 * status["latency_frames"] / RATE_HZ, 3)


def test_what_was_held_up_too_long_is_stamped_anew_counted_and_not_late(real: tuple[Engine, Client, Path]) -> None:
    engine, client, _ = real
    client.create("osc1", "simple_sine")
    client.commit()
    inbox = engine._supervisor.inbox  # type: ignore[union-attr]
    inbox.hold()
    held = threading.Timer(0.1, inbox.release)
    held.start()
    client.set("osc1", "freq", 100.0)
    held.join()
    client.sync()
    status = client.status()
    assert status["stamps_raised"] >= 1
    assert max(slot["counters"]["late_commands"] for slot in status["slots"]) == 0


def test_sync_waits_for_the_frame_of_what_came_before_it(real: tuple[Engine, Client, Path]) -> None:
    engine, client, _ = real
    client.create("osc1", "simple_sine")
    client.commit()
    segment = engine._supervisor.segment  # type: ignore[union-attr]
    for n in range(20):
        client.set("osc1", "freq", 100.0 + n)
        client.sync()
        frame = stream(engine)[-2].frame
        assert segment.render_head(segment.active_slot) * 64 > frame > 0


def test_settings_from_python_and_from_the_wire_take_effect_in_their_order(real: tuple[Engine, Client, Path]) -> None:
    engine, client, _ = real
    client.create("osc1", "simple_sine")
    client.commit()
    n_before = len(stream(engine))
    for n in range(0, 40, 2):
        client.set("osc1", "freq", 100.0 + n)
        engine.set("osc1", "freq", 101.0 + n)
    records = stream(engine)[n_before:]
    assert [record.value for record in records] == [100.0 + n for n in range(40)]
    frames = [record.frame for record in records]
    assert frames == sorted(frames) and min(frames) > 0


def test_a_session_of_stamped_settings_is_replayed_bit_for_bit(real: tuple[Engine, Client, Path]) -> None:
    engine, client, folder = real
    for id, type in (("osc1", "simple_sine"), ("env1", "adsr"), ("filt1", "biquad_filter")):
        client.create(id, type)
    client.connect("osc1", "env1")
    client.connect("env1", "filt1")
    client.record_start("take.wav")
    client.commit()
    rng = random.Random(4)
    for n in range(150):
        client.set("osc1", "freq", rng.uniform(100, 1000))
        if n % 10 == 0:
            client.gate("env1", n % 20 == 0)
        if n % 30 == 0:
            client.set("filt1", "mode", rng.choice(["lowpass", "notch"]))
    client.sync()
    take = client.record_stop()
    engine.close()
    assert take["lost_frames"] == 0
    heard, _ = soundfile.read(folder / "take.wav", dtype="float32", always_2d=True)
    sound, facts = replay(folder / "a.session")
    assert facts.records >= 165
    start = take["first_frame"]
    assert_same(sound[start : start + len(heard)], heard)
    assert np.abs(heard).max() > 0.05


@pytest.mark.parametrize("is_logged", [False, True])
def test_a_flood_loses_nothing_while_workers_are_killed(tmp_path: Path, is_logged: bool) -> None:
    options: dict[str, Any] = {"session": tmp_path / "a.session"} if is_logged else {}
    with (
        Engine("none", osc_port=0, recordings=tmp_path, prime_timeout_ms=20_000, probation_ms=0, **options) as engine,
        Client(port=engine.osc_port or 0, timeout_s=30) as client,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as wire,
    ):
        wire.connect(("127.0.0.1", client.port))
        client.create("osc1", "simple_sine")
        client.create("env1", "adsr")
        client.commit()
        before = client.status()
        n_bundles, size = 600, 50
        for n in range(n_bundles):
            if n % 200 == 100:
                status = engine.status()
                pid = status["slots"][status["active_slot"]]["pid"]
                if pid:
                    os.kill(pid, signal.SIGKILL)
            wire.send(osc.encode_bundle([SetParam("osc1", "freq", 100.0 + n + k / 64) for k in range(size)], None))
            wire.send(osc.encode(SetParam("env1", "attack", 1.0 + n)))
        client.sync()
        status = client.status()
        delta = status["osc"]["short_requests"] - before["osc"]["short_requests"]
        assert status["osc"]["dropped_by_kernel"] == status["osc"]["lost"] == 0
        assert delta == n_bundles * (size + 1)
        assert status["commands_sent"] - before["commands_sent"] == delta + 1
        nodes = {node["id"]: node["params"] for node in client.dump()["committed"]["nodes"]}
        assert nodes == {"osc1": {"freq": 100.0 + n_bundles - 1 + 49 / 64}, "env1": {"attack": float(n_bundles)}}
        assert status["worker_deaths"] >= 1
    if is_logged:
        _, facts = replay(tmp_path / "a.session")
        assert facts.records == status["commands_sent"] and not facts.is_damaged


# ---- the latency that is asked for


@pytest.mark.parametrize(("latency", "told"), [("asap", 0), (20.0, 960), (0.001, 205), ("shortest", 205)])
def test_the_latency_is_what_was_asked_for_or_the_shortest_there_is(latency: Any, told: int, tmp_path: Path) -> None:
    with Engine("none", latency=latency, recordings=tmp_path) as engine:
        status = engine.status()
        assert (status["latency_frames"], status["latency"]) == (told, "constant" if told else "asap")
        engine.create("osc1", "simple_sine")
        engine.commit()
        engine.set("osc1", "freq", 100.0)
        assert (stream(engine)[-1].frame >= 0) == bool(told)


def test_on_the_free_running_clock_there_is_no_time_and_settings_take_effect_as_soon_as_they_are_read(
    live: Live,
) -> None:
    live.client.create("osc1", "simple_sine")
    live.commit()
    live.client.set("osc1", "freq", 100.0)
    assert stream(live.engine)[-1].frame == -1
    assert (live.status()["latency"], live.status()["latency_ms"]) == ("asap", 0.0)


@pytest.mark.parametrize("latency", ["soon", 0.0, -1.0, 1001.0, float("nan"), float("inf")])
def test_a_latency_that_makes_no_sense_is_refused(latency: Any) -> None:
    with pytest.raises(CommandError, match="latency="):
        Engine("none", latency=latency)


def test_chains_sound_the_same_whichever_way_their_settings_came(live: Live) -> None:
    patch = chain(3)
    for node in patch.nodes.values():
        live.client.create(node.id, node.type)
    live.client.connect("osc1", "env1")
    live.client.connect("env1", "filt1")
    first = live.commit(crossfade_ms=0)["frame"]
    live.await_redundancy()
    events = []
    for name, value in [("cutoff", 500.0), ("mode", "notch"), ("mode", 1), ("q", 4.0)]:
        live.client.set("filt1", name, value)
        at = live.engine._supervisor.segment.render_head(0) * 64  # type: ignore[union-attr]
        events.append(((at - first) / RATE_HZ, ("mod", "filt1", name, value)))
        live.advance(960)
    x = live.samples()
    assert_same(x[first:], stereo(patch, len(x) - first, events=events))


def test_a_setting_behind_the_first_commit_is_not_late_though_the_engine_rested(tmp_path: Path) -> None:
    """Workers without a patch sleep, and play_block is behind the time: what is said meanwhile wakes them first."""
    with Engine("none", osc_port=0, recordings=tmp_path) as engine:
        wait_until(lambda: all(slot["is_at_rest"] for slot in engine.status()["slots"]))
        engine.create("osc1", "simple_sine")
        done = engine.submit(Commit())
        settings = [engine.submit(SetParam("osc1", "freq", 100.0 + n)) for n in range(200)]
        while not done.done():  # held while it is primed, sent while it is switched to
            settings.append(engine.submit(SetParam("osc1", "freq", 500.0)))
            settings[-1].result(20)
        assert all(setting.result(20) is not None for setting in settings)
        engine.sync()
        assert max(slot["counters"]["late_commands"] for slot in engine.status()["slots"]) == 0
