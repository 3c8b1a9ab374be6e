"""A live engine that logs its session: what was recorded is, bit for bit, what the replay of the log gives."""

from __future__ import annotations

import contextlib
import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from live import RATE_HZ, Live, Samples, assert_same, chain, stereo, tone
from logs import logged_rig
from test_commit import add
from test_live_equals_offline import build, command_and_op, schedule
from waiting import wait_until

from pyengine import CommitRefused, Engine, Patch, SessionError, _native, replay, session, session_file
from pyengine._native import Record
from pyengine.commands import Commit, SetParam
from pyengine.plan import new_plan
from pyengine.session import SessionLog


def replayed(path: Path, **options: Any) -> Samples:
    """Return the replay of a whole log."""
    samples, facts = replay(path, **options)
    assert facts.warnings == [] and not facts.is_cut and not facts.is_damaged
    return samples


def assert_replayed(path: Path, recorded: Samples, first: int = 0) -> None:
    """first: frame of the recording that the log begins with."""
    samples = replayed(path)
    n = min(len(samples), len(recorded) - first)
    assert n > 128
    assert_same(samples[:n], recorded[first : first + n])


# ---- from the start of the engine


@pytest.mark.parametrize("block_frames", [32, 64, 100, 1024])
@pytest.mark.parametrize("lead_blocks", [1, 8])
def test_a_session_of_everything_is_replayed_as_it_was_recorded(
    tmp_path: Path, block_frames: int, lead_blocks: int
) -> None:
    """Commands, time tags, commits with and without a crossfade, deletes, aborts, undo, refusals."""
    path = tmp_path / "a.session"
    rng = random.Random(block_frames + lead_blocks)
    with Live(tmp_path, session=path, block_frames=block_frames, lead_blocks=lead_blocks) as live:
        build(live, chain(3))
        for step in range(24):
            play_something(live, rng, step)
            live.advance(rng.randrange(1, 4000))
        live.client.sync()
        live.await_redundancy()
        live.advance(3 * block_frames)
        x = live.samples()
        frames, commits = live.engine.frames, live.status()["commits"]
    assert commits > 5
    assert_replayed(path, x)
    assert len(replayed(path)) >= frames


def play_something(live: Live, rng: random.Random, step: int) -> None:
    client = live.client
    kind = step % 8
    if kind in (0, 3):
        for _ in range(rng.randrange(1, 6)):
            client.send(command_and_op(rng)[0])
    elif kind == 1:
        begin = live.engine.frames + 8 * live.engine.options.block_frames + 2000
        schedule(live, rng, sorted(rng.sample(range(begin, begin + 9000), 12)), begin)
    elif kind == 2:
        client.create(f"new{step}", "simple_sine")
        client.set(f"new{step}", "freq", 100.0 + step)
        client.set(f"new{step}", "gain", 0.05)
        live.commit(crossfade_ms=rng.choice([0.0, 1.0, 20.0]), allow_silence=True)
        client.set(f"new{step}", "freq", 200.0 + step)
    elif kind == 4:
        client.create("gone", "adsr")
        client.abort()
    elif kind == 5:
        client.delete(f"new{step - 3}")
        live.commit(allow_silence=True)
    elif kind == 6:
        client.undo(crossfade_ms=rng.choice([0.0, 5.0]), allow_silence=True)
    else:
        client.clear()
        client.create("silent", "simple_sine")
        client.set("silent", "gain", 0.0)
        with pytest.raises(CommitRefused, match="silent"):
            live.commit()
        client.abort()


def test_a_session_of_one_patch_is_what_render_makes(tmp_path: Path) -> None:
    path = tmp_path / "a.session"
    rng = random.Random(5)
    with Live(tmp_path, is_recorded=False, session=path) as live:
        patch = chain(3)
        first = build(live, patch)
        begin = live.engine.frames + 2000
        events = schedule(live, rng, sorted(rng.sample(range(begin, begin + 20_000), 40)), first)
        live.advance(30_000)
    x = replayed(path)
    assert_same(x[first:], stereo(patch, len(x) - first, events=events))


def test_settings_that_wait_for_a_commit_are_in_the_log(tmp_path: Path) -> None:
    path = tmp_path / "a.session"
    with Live(tmp_path, session=path) as live:
        live.client.create("osc1", "simple_sine")
        futures = live.engine.submit_bundle([Commit(), SetParam("osc1", "freq", 333.0), SetParam("osc1", "gain", 0.7)])
        wait_until(lambda: all(future.done() for future in futures))
        live.advance(9600)
        x = live.samples()
    assert_replayed(path, x)
    assert float(np.abs(x).max()) > 0.69


def test_a_free_running_clock_and_a_flood_of_settings_are_logged_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.session"
    with Live(tmp_path, session=path) as live:
        build(live, chain(3))
        live.engine.run_free()
        for n in range(300):
            live.client.send_bundle([SetParam("osc1", "freq", 100.0 + n), SetParam("filt1", "cutoff", 500.0 + n)])
        for _ in range(3):
            live.client.create("osc2", "simple_sine")
            live.commit()
            live.client.delete("osc2")
            live.commit(crossfade_ms=50)
        status = live.client.session_status()
        x = live.samples()
    assert status["is_logging"] and status["error"] == "" and status["records"] > 600
    assert_replayed(path, x)


def test_the_real_time_clock_is_logged_with_its_underruns(tmp_path: Path) -> None:
    path = tmp_path / "a.session"
    with Engine("none", recordings=tmp_path, session=path, prime_timeout_ms=20_000) as engine:
        engine.record_start("a.wav")
        engine.create("osc1", "simple_sine")
        engine.commit()
        wait_until(lambda: engine.frames > 24_000)
        engine.set("osc1", "freq", 880.0)
        wait_until(lambda: engine.frames > 48_000)
        report = engine.record_stop()
        silent = engine.status()["counters"]["frames_underrun"]
    x, _ = soundfile.read(tmp_path / "a.wav", dtype="float32", always_2d=True)
    samples, facts = replay(path)
    first = report["first_frame"]
    assert_same(samples[first : first + len(x)], x)
    assert facts.silent_frames >= silent or silent == 0


@pytest.mark.parametrize("is_from_start", [True, False])
def test_underruns_on_the_real_time_clock_are_replayed_with_every_declick(tmp_path: Path, is_from_start: bool) -> None:
    path = tmp_path / "a.session"
    options: dict[str, Any] = {"session": path} if is_from_start else {}
    with Engine("none", recordings=tmp_path, prime_timeout_ms=20_000, probation_ms=0, **options) as engine:
        engine.record_start("a.wav")
        engine.create("osc1", "simple_sine")
        engine.commit()
        wait_until(lambda: engine.status()["is_redundant"])  # else the old patch, at rest, is heard instead
        if not is_from_start:
            engine.session_start("a")
        for n in range(4):
            stop_both_until_silent(engine)
            engine.set("osc1", "freq", 300.0 + n)
            frames = engine.frames
            wait_until(lambda at=frames: engine.frames > at + 2000)
        engine.session_stop()
        first = engine.record_stop()["first_frame"]
    x, _ = soundfile.read(tmp_path / "a.wav", dtype="float32", always_2d=True)
    samples, facts = replay(path)
    assert facts.warnings == [] and facts.silent_frames > 0
    begin = facts.first_frame - first  # of the log, in the recording
    recorded, samples = (x[begin:], samples) if begin >= 0 else (x, samples[-begin:])
    n_both = min(len(recorded), len(samples))
    assert_same(recorded[:n_both], samples[:n_both])


def stop_both_until_silent(engine: Engine) -> None:
    before = engine.status()["counters"]["frames_underrun"]
    pids = [slot["pid"] for slot in engine.status()["slots"] if slot["pid"]]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        wait_until(lambda: engine.status()["counters"]["frames_underrun"] > before)
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


# ---- deaths


@pytest.mark.parametrize("victim", ["active", "standby"])
def test_the_death_of_a_worker_leaves_the_log_whole(tmp_path: Path, victim: str) -> None:
    path = tmp_path / "a.session"
    with Live(tmp_path, session=path) as live:
        build(live, chain(3))
        for n in range(4):
            live.client.set("osc1", "freq", 300.0 + n)
            active = live.status()["active_slot"]
            live.kill(active if victim == "active" else 1 - active)
            live.advance(700)
            live.client.gate("env1", n % 2)
            live.await_redundancy()
        live.client.create("osc2", "simple_sine")
        live.commit(crossfade_ms=3)
        live.advance(9600)
        x = live.samples()
    assert_replayed(path, x)


def test_deaths_on_a_running_clock_are_replayed_with_what_was_heard_of_them(tmp_path: Path) -> None:
    path = tmp_path / "a.session"
    with Live(tmp_path, session=path) as live:
        build(live, chain(2))
        live.engine.run_free()
        for n in range(4):
            live.await_redundancy()
            pid = live.status()["slots"][n % 2]["pid"]
            with contextlib.suppress(ProcessLookupError):  # it may have fallen behind and been replaced,
                if pid is not None:  # or be about to be
                    os.kill(pid, signal.SIGKILL)
            live.client.set("osc1", "freq", 200.0 + 10 * n)
        live.await_redundancy()
        x = live.samples()
    assert_replayed(path, x)


@pytest.mark.parametrize("is_running_free", [False, True])
def test_the_death_of_both_workers_is_replayed_with_all_that_was_heard_of_it(
    tmp_path: Path, is_running_free: bool
) -> None:
    path = tmp_path / "a.session"
    with Live(tmp_path, session=path) as live:
        build(live, chain(3))
        live.advance(3000)
        if is_running_free:
            live.engine.run_free()
        for pid in (live.pid(0), live.pid(1)):
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: live.status()["worker_deaths"] >= 2, 20)
        live.client.set("osc1", "freq", 333.0)
        live.await_redundancy()
        if not is_running_free:
            live.advance(9600)
        live.client.sync()
        x = live.samples()
    assert_replayed(path, x)


@pytest.mark.parametrize("ending", ["killed", "second death", "crash", "NaN"])
def test_what_happens_on_probation_is_replayed_as_it_was_heard(more_modules: None, tmp_path: Path, ending: str) -> None:
    """The patch before for a while, then the new one again, or never again."""
    path = tmp_path / "a.session"
    with Live(tmp_path, session=path, probation_ms=60_000) as live:
        add(live, "osc1", "simple_sine")
        add(live, "env1", "adsr")
        live.client.connect("osc1", "env1")
        live.commit()
        live.advance(3000)
        add(live, "osc2", "simple_sine", freq=700.0)
        add(live, "bad1", "test_poison" if ending == "NaN" else "test_crash", level=0.05)
        live.commit()
        live.advance(2000)
        live.client.set("osc1", "freq", 300.0)
        if ending in ("crash", "NaN"):
            live.client.set("bad1", "armed", 1.0)
            wait_until(lambda: live.advance(64) and live.status()["rollbacks"] == 1, 30)
        for _ in range({"killed": 1, "second death": 2}.get(ending, 0)):
            live.kill(live.status()["active_slot"])
            wait_until(lambda: live.advance(64) and not {"dead", "joining", "ready"} & states_of(live), 30)
        live.client.set("osc1", "freq", 500.0)
        live.advance(9600)
        assert live.status()["rollbacks"] == (ending != "killed")
        x = live.samples()
    assert_replayed(path, x)


def states_of(live: Live) -> set[str]:
    return {slot["state"] for slot in live.status()["slots"]}


@pytest.mark.parametrize("blocks", [300.0, 1500.0])
def test_a_patch_that_kills_and_what_came_in_its_place_is_replayed(
    more_modules: None, tmp_path: Path, blocks: float
) -> None:
    """From its newest states, or where there were none yet afresh; then the patch before it."""
    path = tmp_path / "a.session"
    with Live(tmp_path, session=path) as live:
        build(live, chain(2))
        live.advance(3000)
        add(live, "bad1", "test_crash_soon", level=0.05, blocks=blocks)
        live.commit()
        live.await_redundancy()
        live.client.set("osc1", "freq", 300.0)
        for restarts in (1, 2):
            wait_until(lambda n=restarts: live.advance(6400) and live.status()["restarts"] >= n, 60)  # type: ignore[misc]
            live.await_redundancy()
            live.client.set("osc1", "freq", 300.0 + 100 * restarts)
        live.advance(9600)
        assert [node["id"] for node in live.client.dump()["committed"]["nodes"]] == ["osc1", "env1"]
        x = live.samples()
    assert_replayed(path, x)


HOST = """
import sys
from pyengine import Engine
with Engine("free", session=sys.argv[1], prime_timeout_ms=20000) as engine:
    engine.create("osc1", "simple_sine")
    print(engine.commit(crossfade_ms=0)["frame"], flush=True)
    engine.run_free()
    n = 0
    while True:
        n += 1
        engine.set("osc1", "freq", 200.0 + n % 1000)
"""


def test_a_log_whose_engine_was_killed_is_replayed_up_to_there(tmp_path: Path) -> None:
    path = tmp_path / "a.session"
    host = subprocess.Popen([sys.executable, "-c", HOST, str(path)], stdout=subprocess.PIPE, text=True)
    try:
        assert host.stdout is not None
        first = int(host.stdout.readline())
        wait_until(lambda: path.stat().st_size > 100_000, 60)
    finally:
        host.kill()
        host.wait()
        host.stdout.close()
    samples, facts = replay(path)
    assert facts.is_cut and not facts.is_damaged and len(facts.warnings) == 1
    log = session_file.read(path)
    commands = log.commands()
    freqs = commands[commands["kind"] == _native.PARAM]
    blocks = dict(reversed([(seq, block) for block, seq in log.decisions]))
    decided = [
        next((blocks[s] for s in range(int(c["seq"]), int(c["seq"]) + 5000) if s in blocks), None) for c in freqs
    ]
    events = [
        ((block * 64 - first) / RATE_HZ, ("mod", "osc1", "freq", float(c["value"])))
        for c, block in zip(freqs, decided, strict=True)
        if block is not None
    ]
    assert len(events) > 100 and len(samples) > 48_000
    assert_same(samples[first:], stereo(tone(), len(samples) - first, events=events))


# ---- in the middle of what plays


def begin_midway(live: Live) -> int:
    """Play, start the log, and return the frame of the recording that it begins with."""
    build(live, chain(3))
    live.client.set("osc1", "freq", 321.0)
    live.send_at(live.engine.frames + 30_000, SetParam("osc1", "gain", 0.5))  # waits in the schedule
    live.advance(12_345)
    report = live.client.session_start("mid")
    assert report["is_logging"] and report["name"] == "mid.session"
    return int(report["first_frame"])


def test_a_log_that_starts_while_a_patch_plays_begins_with_its_states(tmp_path: Path) -> None:
    with Live(tmp_path) as live:
        first = begin_midway(live)
        live.client.set("filt1", "cutoff", 700.0)
        live.advance(40_000)
        live.client.create("osc2", "simple_sine")
        live.commit(crossfade_ms=30)
        live.advance(9000)
        live.client.undo()
        live.advance(9000)
        report = live.client.session_stop()
        live.client.set("osc1", "freq", 4000.0)
        live.advance(5000)
        x = live.samples()
    assert not report["is_logging"] and report["error"] == "" and report["frames"] > 58_000
    samples = replayed(tmp_path / "mid.session")
    assert first > 12_000 and len(samples) == report["frames"]
    assert_replayed(tmp_path / "mid.session", x, first)


def test_logs_may_start_and_stop_again_and_again_on_a_running_clock(tmp_path: Path) -> None:
    begun = []
    with Live(tmp_path) as live:
        build(live, chain(3))
        live.engine.run_free()
        for n in range(6):
            live.engine.submit(SetParam("osc1", "freq", 300.0 + n))
            begun.append(live.client.session_start(f"take{n}.session")["first_frame"])
            for m in range(20):
                live.client.set("filt1", "cutoff", 400.0 + 10 * m)
            if n % 2:
                live.client.create("osc2", "simple_sine")
                live.commit(crossfade_ms=2)
                live.client.delete("osc2")
                live.commit(crossfade_ms=0)
            live.client.session_stop()
        x = live.samples()
    for n, first in enumerate(begun):
        assert_replayed(tmp_path / f"take{n}.session", x, first)


def test_a_log_may_start_while_a_commit_is_on_its_way_and_before_anything_plays(tmp_path: Path) -> None:
    with Live(tmp_path) as live:
        futures = live.engine.submit_bundle([session_start("empty")])
        wait_until(futures[0].done)
        first = futures[0].result()["first_frame"]
        live.client.create("osc1", "simple_sine")
        live.client.session_stop()
        commit, start = live.engine.submit_bundle([Commit(), session_start("commit")])
        wait_until(lambda: commit.done() and start.done())
        live.advance(5000)
        live.client.set("osc1", "freq", 550.0)
        live.advance(5000)
        live.client.session_stop()
        x = live.samples()
    assert first >= 0 and not replayed(tmp_path / "empty.session").any()
    assert_replayed(tmp_path / "commit.session", x, start.result()["first_frame"])


def session_start(name: str) -> Any:
    from pyengine.commands import SessionStart

    return SessionStart(name)


def test_a_log_from_the_middle_begins_with_the_patchs_values_at_another_rate(tmp_path: Path) -> None:
    with Live(tmp_path) as live:
        begin_midway(live)
        live.advance(20_000)
        live.client.session_stop()
    x, facts = replay(tmp_path / "mid.session", sample_rate=96_000)
    (warning,) = facts.warnings
    assert "begins with the patch's values" in warning
    assert_same(x[:9600], stereo(chain(3, freq=321.0, gain=0.5), 9600, sample_rate=96_000))


def test_a_log_of_states_of_another_version_begins_with_the_patchs_values(tmp_path: Path) -> None:
    with Live(tmp_path) as live:
        begin_midway(live)
        live.advance(5000)
        live.client.session_stop()
    path = tmp_path / "mid.session"
    lines = path.read_bytes().splitlines(keepends=True)
    head = session_file.decode(lines[0])
    head["modules"]["adsr"] += 1
    path.write_bytes(b"".join([session_file.encode(head), *lines[1:]]))
    x, facts = replay(path)
    assert "states of adsr in the log are of another version" in facts.warnings[0]
    assert_same(x[:4000], stereo(chain(3, freq=321.0, gain=0.5), 4000))


# ---- refusals and status


def test_what_cannot_be_logged_is_refused_with_the_reason(live: Live) -> None:
    client = live.client
    with pytest.raises(SessionError, match="no session is being logged"):
        client.session_stop()
    for name, reason in [("../a", "leads out of the recordings folder"), ("/a", "leads out"), ("a/", "folder|leads")]:
        with pytest.raises(SessionError, match=reason):
            client.session_start(name)
    report = client.session_start("a")
    assert report["is_logging"] and not report["is_starting"]
    with pytest.raises(SessionError, match="'a.session' is being logged already; stop that one first"):
        client.session_start("b")
    live.advance(640)
    assert client.session_stop()["frames"] >= 320  # it began a few blocks ahead
    with pytest.raises(SessionError, match="'a.session' exists already; 'a-2.session' is free"):
        client.session_start("a")
    with pytest.raises(SessionError, match="no session is being logged"):
        client.session_stop()
    assert not live.status()["session"]["is_logging"]
    assert live.status()["session"]["name"] == "a.session"


def test_an_engine_does_not_write_over_a_log(tmp_path: Path) -> None:
    path = tmp_path / "a.session"
    path.write_text("precious")
    with pytest.raises(SessionError, match="exists already; a log never overwrites"):
        Engine("free", session=path)
    assert path.read_text() == "precious"
    with pytest.raises(SessionError, match="is no folder|Not a directory"):
        Engine("free", session=path / "b.session")


def test_a_start_that_finds_no_checkpoint_is_refused_and_leaves_no_file(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "START_TIMEOUT_S", 0.1)
    supervisor: Any = live.engine._supervisor
    monkeypatch.setattr(supervisor.session, "_look", lambda: None)
    with pytest.raises(SessionError, match="cannot log the session into 'a.session': no checkpoint within 0.1 s"):
        live.client.session_start("a")
    wait_until(lambda: not (live.folder / "a.session").exists())
    monkeypatch.undo()
    assert live.client.session_start("a")["is_logging"]


@contextlib.contextmanager
def small_files() -> Iterator[None]:
    """Limit the size of files to 64 kB. Python ignores SIGXFSZ from its start."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_ends_the_log_and_neither_sound_nor_engine(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "a.session"
    with Live(tmp_path, is_recorded=False, session=path) as live, small_files():
        first = build(live, tone())
        live.engine.run_free()
        n = 0
        while live.client.session_status()["is_logging"]:
            n += 1
            live.client.send_bundle([SetParam("osc1", "freq", 200.0 + (n + m) % 1000) for m in range(100)])
            assert n < 2000
        status = live.client.session_status()
        assert status["error"] == "File too large" and not status["is_logging"]
        assert any("session log ended" in r.getMessage() and "File too large" in r.getMessage() for r in caplog.records)
        before = live.engine.frames
        live.client.create("osc2", "simple_sine")
        live.commit()
        wait_until(lambda: live.engine.frames > before + 48_000)
        with pytest.raises(SessionError, match="ended early: File too large"):
            live.client.session_stop()
        assert live.counters()["frames_underrun"] == 0
        os.unlink(path)
        live.client.session_start("b")  # there is room for another one
        assert live.client.session_stop()["error"] == ""
    assert first > 0


def test_a_disk_that_is_full_already_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    with Live(tmp_path, is_recorded=False) as live:
        build(live, tone())
        before = sorted(tmp_path.iterdir())
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
        try:
            with pytest.raises(SessionError, match=r"cannot log the session into 'b\.session': File too large"):
                live.client.session_start("b")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert sorted(tmp_path.iterdir()) == before and not live.client.session_status()["is_logging"]
        live.engine.run_free()
        live.client.session_start("b")
        assert live.client.session_stop()["error"] == ""


def test_what_a_full_disk_left_is_replayed_up_to_there(tmp_path: Path) -> None:
    path = tmp_path / "a.session"
    with Live(tmp_path, is_recorded=False, session=path) as live, small_files():
        first = build(live, tone())
        live.advance(9600)
        while live.client.session_status()["is_logging"]:
            live.client.send_bundle([SetParam("osc1", "gain", 0.2) for _ in range(100)])
            live.client.sync()
    samples, facts = replay(path)
    assert facts.is_cut and not facts.is_damaged
    assert len(samples) >= 9600
    assert_same(samples[first:9600], stereo(tone(), 9600 - first))


def test_a_journal_that_was_lapped_and_events_that_were_lost_end_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, fault in enumerate(("lapped", "lost", "disk")):
        with logged_rig(tmp_path / f"{number}.session") as rig:
            rig.advance(6400)
            rig.drain()
            with monkeypatch.context() as patching:
                if fault == "lapped":
                    patching.setattr(_native, "journal_changes", refuse)
                elif fault == "lost":
                    patching.setattr(rig.segment, "counter", lambda name: 1)
                else:
                    patching.setattr(session, "MAX_QUEUED", -1)
                rig.advance(6400)
                time.sleep(2 * session.WRITE_S)
                rig.drain()
            status = rig.log.status()
            assert (
                not status["is_logging"]
                and {"lapped": "lapped", "lost": "lost", "disk": "keep up"}[fault] in status["error"]
            )
            rig.advance(640)
        samples, facts = replay(tmp_path / f"{number}.session")
        assert len(samples) == 6400 and facts.is_cut


def refuse(*_: object) -> None:
    raise _native.NativeError("cannot read the journal", status=1)


def test_the_journal_is_read_in_bulk_and_a_lap_is_seen(tmp_path: Path) -> None:
    with logged_rig(tmp_path / "a.session") as rig:
        rig.segment.send([Record(0, 0, 0.0, is_mark=True)])
        rig.advance(64 * 2000)
        pairs, block = _native.journal_changes(rig.segment, 0, 1500, 0)
        assert block == 1500 and len(pairs) == 1 and pairs[0][1] == 1
        pairs, block = _native.journal_changes(rig.segment, 0, 10_000, 7)
        assert 2000 <= block < 2010 and pairs[0][0] == 0
        assert _native.stream_records(rig.segment, 1) == [Record(0, 0, 0.0, is_mark=True)]
        assert _native.stream_records(rig.segment, 2) == []
    small = _native.Segment.create(_native.Config(n_journal=1024, n_commands=8192, tap_frames=64))
    worker, output = _native.Worker(small, 0), _native.Output(small)
    worker.start(0)
    empty = new_plan(Patch(), sample_rate_hz=48000, max_block_frames=64, n_channels=2)
    worker.join(_native.Join(empty, 0), 5000)
    small.set_playable(0, True)
    wait_until(lambda: output.process(64) and small.play_block > 1500, 30, step_s=0)
    worker.close()
    with pytest.raises(_native.NativeError, match="cannot read the journal: it came too late"):
        _native.journal_changes(small, 0, 1500, 0)
    assert _native.journal_changes(small, 1400, 1500, 0) == ([], 1500)
    output.close()
    small.close()


def test_a_session_log_closes_twice_and_says_what_it_is(tmp_path: Path) -> None:
    segment = _native.Segment.create(_native.Config())
    output = _native.Output(segment)
    log = SessionLog(
        segment, output, tmp_path, look=lambda: None, drain=lambda: None, after=lambda seconds, action: None
    )
    assert repr(log) == "<SessionLog idle>"
    log.begin(tmp_path / "a.session")
    assert "logging" in repr(log) and log.status()["is_logging"]
    log.close()
    log.close()
    assert repr(log) == "<SessionLog idle>"
    assert replayed(tmp_path / "a.session").shape == (0, 2)
    output.close()
    segment.close()


def test_a_command_is_as_large_for_numpy_as_for_c() -> None:
    assert np.dtype(_native.COMMAND_DTYPE).itemsize == _native.ffi.sizeof("PeCommand")
