"""kill -9 and SIGSTOP at random moments, many times; `make torture` runs the full counts."""

from __future__ import annotations

import random
import re
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from live import Live, assert_same, smallest_peak
from test_deaths import nothing_left  # noqa: F401  (no test may leave a process or a name in shared memory)
from torture import (
    DECLICK_FRAMES,
    FREE_SPEED,
    LONG,
    SEED,
    Committing,
    Settings,
    Watched,
    deaths,
    is_whole,
    many,
    play,
    strike,
    torture_patch,
    while_it_runs,
)
from waiting import wait_until

from pyengine import Client, Engine
from pyengine.commands import Commit, SetParam

Tell = Callable[[str], None]


def torment(live: Live, rng: random.Random, n: int, victim: str, how: signal.Signals) -> dict[str, Any]:
    """End n workers at random moments while the clock runs free and settings arrive; return the status."""
    settings = Settings(live, rng, play(live.client, torture_patch())["frame"])
    live.await_redundancy()
    while deaths(live.engine) < n:
        settings.send(rng.randrange(3))
        n_frames, before = rng.randrange(1100, 12_000), deaths(live.engine)
        after_s = rng.uniform(0, 1.2 * n_frames / FREE_SPEED)
        with while_it_runs(lambda: strike(live.engine, victim, how), after_s) as struck:
            live.client.send(SetParam("mute1", "cutoff", rng.uniform(100, 9000)))
            live.advance(n_frames)
            live.client.send(SetParam("mute1", "cutoff", rng.uniform(100, 9000)))
        wait_until(lambda before=before, struck=struck: deaths(live.engine) == before + struck[0], 30)  # type: ignore[misc]
        if rng.random() < 0.8:  # else the next one dies before or while its successor joins
            live.await_redundancy()
    settings.play_out()
    live.await_redundancy()
    status = live.status()
    x = live.samples()
    assert_same(x[settings.first :], settings.offline(len(x) - settings.first, torture_patch()))
    return status


def assert_nothing_missing(status: dict[str, Any]) -> None:
    counters = status["counters"]
    names = ("frames_underrun", "declicks", "fallbacks", "diverged_blocks", "events_lost")
    assert [counters[name] for name in names] == [0] * len(names)
    assert (status["states_diverged"], status["restarts"], status["commands_lost"]) == (0, 0, 0)


@pytest.mark.parametrize(("victim", "n"), [("active", many(40, 1000)), ("standby", many(15, 1000))])
def test_killed_at_random_moments_of_the_free_running_clock_no_bit_changes(
    victim: str, n: int, tmp_path: Path, tell: Tell
) -> None:
    with Live(tmp_path) as live:
        status = torment(live, random.Random(f"{victim} {SEED}"), n, victim, signal.SIGKILL)
    assert_nothing_missing(status)
    tell(f"free clock: {n} x kill -9 of the {victim} worker in {status['frames']} frames: same bits, 0 frames missing")


@pytest.mark.parametrize("victim", ["active", "standby"])
def test_stopped_at_random_moments_of_the_free_running_clock_no_bit_changes(
    victim: str, tmp_path: Path, tell: Tell
) -> None:
    """A worker that stands still costs the free-running clock 20 ms a request until it is replaced, and no frame."""
    n = many(3, 50)
    with Live(tmp_path, stall_ms=200) as live:
        status = torment(live, random.Random(f"{victim} {SEED}"), n, victim, signal.SIGSTOP)
    assert_nothing_missing(status)
    tell(f"free clock: {n} x SIGSTOP of the {victim} worker in {status['frames']} frames: same bits, 0 frames missing")


def test_both_killed_at_once_on_the_free_running_clock_no_bit_changes(tmp_path: Path, tell: Tell) -> None:
    n = many(8, 50)
    with Live(tmp_path) as live:
        status = torment(live, random.Random(f"both {SEED}"), 2 * n, "both", signal.SIGKILL)
    assert_nothing_missing(status)
    tell(f"free clock: {n} x kill -9 of both workers in {status['frames']} frames: same bits, 0 frames missing")


# ---- on the real-time clock


def torment_in_real_time(watched: Watched, rng: random.Random, n: int, victim: str, how: signal.Signals) -> None:
    engine, before = watched.engine, 0
    while before < n:
        if rng.random() < 0.5:
            watched.send(("mod", "osc1", "freq", float(rng.randrange(100, 4000))))
        engine.set("mute1", "cutoff", rng.uniform(100, 9000))
        with while_it_runs(lambda: strike(engine, victim, how), rng.uniform(0, 0.02)) as struck:
            pass
        wait_until(lambda before=before, struck=struck: deaths(engine) == before + struck[0], 30)  # type: ignore[misc]
        before = deaths(engine)
        watched.settle(4800)


def told(counters: dict[str, int]) -> str:
    missed = counters["clock_missed_periods"]
    return f"{counters['frames_underrun']} frames missing (the clock's thread missed {missed} periods)"


@pytest.mark.parametrize(
    ("victim", "how", "n"),
    [
        ("active", signal.SIGKILL, many(4, 100)),
        ("standby", signal.SIGKILL, many(4, 100)),
        ("active", signal.SIGSTOP, many(2, 20)),
        ("standby", signal.SIGSTOP, many(2, 20)),
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_in_real_time_no_bit_changes_but_for_silences_that_are_declicked_and_counted(
    victim: str, how: signal.Signals, n: int, tmp_path: Path, tell: Tell
) -> None:
    """Silences come only from a machine that takes the processor away: they are told, not judged."""
    with Watched(tmp_path, stall_ms=200) as watched:
        torment_in_real_time(watched, random.Random(f"{victim} {how} {SEED}"), n, victim, how)
        counters = watched.assert_right()
        status = watched.engine.status()
    assert (counters["diverged_blocks"], status["states_diverged"], status["restarts"]) == (0, 0, 0)
    tell(f"real-time clock: {n} x {how.name} of the {victim} worker: same bits, {told(counters)}")


def test_both_killed_at_once_in_real_time_the_sound_comes_back_where_it_stopped(tmp_path: Path, tell: Tell) -> None:
    n = many(4, 50)
    with Watched(tmp_path, lead_blocks=2) as watched:  # 2.7 ms: a longer lead may bridge it all
        torment_in_real_time(watched, random.Random(f"both {SEED}"), 2 * n, "both", signal.SIGKILL)
        counters = watched.assert_right()
        status = watched.engine.status()
        longest_ms = max(frames for _, frames in watched.silences) / 48
    assert (counters["diverged_blocks"], status["states_diverged"], status["restarts"]) == (0, 0, 0)
    tell(f"real-time clock: {n} x kill -9 of both workers: same bits but for declicked silences, {told(counters)}")
    tell(f"real-time clock: the longest silence {longest_ms:.1f} ms of {len(watched.silences)}")


# ---- in the middle of a commit


PHASES = [  # when the blow falls, and how long after that at most
    ("_prime", 0.003),
    ("on_primed", 0.002),
    ("on_swap", 0.0),
    ("probation", 0.05),
    ("_prime", 0.003),
    ("on_primed", 0.002),
    ("priming", 0.003),
    ("none", 0.01),
]


def test_killed_in_any_phase_of_a_commit_it_happens_or_not_and_nothing_else_is_heard(
    tmp_path: Path, tell: Tell
) -> None:
    """Every frame is the old tone or the new one, but for the crossfade and the declicks of that trial."""
    n, rng = many(24, 400), random.Random(f"commits {SEED}")
    seen: Counter[str] = Counter()
    trials = []
    with Live(tmp_path, probation_ms=60) as live:
        committing = Committing(live)
        answers = committing.begin(440.0)
        committing.settle(answers)
        committing.conclude(440.0, answers)
        for k in range(n):
            before, freq = live.counters(), float(rng.randrange(300, 3000))
            old, first, n_dead = committing.sounding, live.engine.frames, deaths(live.engine)
            phase, longest_s = PHASES[k % len(PHASES)]
            victim, after_s = rng.choice(["active", "active", "standby", "standby", "both"]), rng.uniform(0, longest_s)
            if phase in ("_prime", "on_primed", "on_swap"):
                committing.strike_behind(phase, after_s, victim)
                answers = committing.begin(freq)
                struck = [{"_prime": "building", "on_primed": "switching", "on_swap": "swapping"}[phase]]
                wait_until(lambda: live.advance(128) and answers and deaths(live.engine) > n_dead, 30)  # noqa: B023
            else:
                answers = committing.begin(freq)
                with while_it_runs(partial(committing.strike_at, phase, after_s, victim, answers), 0.0) as struck:
                    wait_until(lambda: live.advance(128) and answers and deaths(live.engine) > n_dead, 30)  # noqa: B023
            committing.settle(answers)
            outcome = committing.conclude(freq, answers)
            live.advance(2400)
            seen[f"{struck[0]}: {outcome}"] += 1
            declicks = live.counters()["declicks"] - before["declicks"]
            trials.append((old, committing.sounding, first, live.engine.frames, declicks))
        status = live.status()
        x = live.samples()
    for old, now, first, last, declicks in trials:
        part = x[first:last]
        assert now.is_heard(part[-2000:], last - 2000).all(), (old, now, first, last)
        is_one = old.is_heard(part, first) | now.is_heard(part, first)
        assert np.count_nonzero(~is_one) <= DECLICK_FRAMES * (1 + declicks), (old, now, first, last, declicks)
        steepest = 0.2 * 2 * np.pi * max(old.freq_hz, now.freq_hz) / 48000
        assert np.abs(np.diff(part, axis=0)).max() <= steepest + 2 * 0.4 / DECLICK_FRAMES
    counters = status["counters"]
    assert [counters[name] for name in ("frames_underrun", "diverged_blocks", "events_lost")] == [0, 0, 0]
    assert (status["states_diverged"], status["restarts"]) == (0, 0)
    for what in sorted(seen):
        tell(f"killed while a commit was {what}, {seen[what]} x")
    tell(f"{n} commits disturbed in {len(x)} frames: 0 missing, every frame of the old patch, the new one or a fade")


# ---- the clock on the wall


def test_a_stepped_wall_clock_neither_moves_the_sound_nor_loses_a_command(tmp_path: Path, tell: Tell) -> None:
    """Time-tagged settings over OSC before and after every step; each takes effect at the frame it is meant for."""
    n, rng, wall_step_s = many(6, 40), random.Random(f"wall {SEED}"), 0.0
    with Watched(tmp_path, osc_port=0) as watched:
        time_base: Any = watched.supervisor.time_base
        time_base._wall_s = lambda: time.time() + wall_step_s
        frame_of, frames = time_base.frame_of, []
        time_base.frame_of = lambda wall_s: frames.append(frame_of(wall_s)) or frames[-1]  # what it is taken for
        with Client(port=watched.engine.osc_port, timeout_s=30) as client:
            for k in range(2 * n):
                wall_step_s += rng.choice([-7200.0, 3600.0, 86_400.0, -1.5]) if k % 2 else 0.0
                at_s = time.time() + wall_step_s + 1.5  # as a client sees it whose clock was stepped too
                client.send_bundle([SetParam("osc1", "freq", 300.0 + 10 * k)], at=at_s)
                watched.expect(frames[-1], ("mod", "osc1", "freq", 300.0 + 10 * k))
        latched_again = watched.engine.status()["time_origin_latched_again"]
        counters = watched.assert_right()
        status = watched.engine.status()
    assert latched_again >= n and len(frames) == 2 * n
    assert status["commands_late"] == status["commands_lost"] == 0
    tell(f"wall clock stepped {n} x: {2 * n} time-tagged commands, all at their frame; {told(counters)}")


# ---- patches that kill


POISONS = {  # what a worker that renders it ends with
    "test_crash": "SIGSEGV",
    "test_abort": "SIGABRT",
    "test_exit": "code 3",
    "test_hang": "SIGXCPU|stalled|in time",
    "test_poison": "NaN",
    "test_slow": "SIGXCPU|stalled|in time",
}


def poisons(in_real_time: tuple[str, ...], but: tuple[str, ...] = ()) -> list[tuple[str, str]]:
    """Return all kinds on both clocks; in the quick tests only a few of those in real time. (On the free-running clock
    nothing is too slow.)
    """
    free = [(type, "free") for type in POISONS if type != "test_slow"]
    return free + [(type, "none") for type in POISONS if type not in but and (LONG or type in in_real_time)]


@contextmanager
def poisoned(folder: Path, device: str, type: str, probation_ms: float) -> Iterator[tuple[Engine, list[Any]]]:
    """An engine that plays a tone, and beside it a module that has just been told to do its worst. The list gets the
    answers to the commit of that module.
    """
    options: dict[str, Any] = {"recordings": folder, "probation_ms": probation_ms, "stall_ms": 500}
    with Engine(device, prime_timeout_ms=20_000, **options) as engine:
        engine.create("osc1", "simple_sine")
        engine.commit()
        engine.create("bad1", type)
        engine.set("bad1", "level", 0.0)
        answers: list[Any] = []
        commands = [(Commit(timeout_ms=20_000), answers.append)]
        engine._loop.call(lambda: engine._dispatcher.group(commands, time.monotonic(), None))  # type: ignore[union-attr, arg-type]
        wait_until(lambda: answers, 30)
        if probation_ms == 0:
            wait_until(lambda: is_whole(engine), 30)
        if device == "free":
            engine.run_free()
        else:  # there is a checkpoint
            after = engine.frames
            wait_until(lambda: engine.frames > after + 24_000, 30)
        name, value = ("us", 5000.0) if type == "test_slow" else ("armed", 1.0)
        engine.set("bad1", name, value)
        yield engine, answers


def has_peace(engine: Engine, seconds: float) -> bool:
    """Wait; True if no worker has died meanwhile."""
    before, until = deaths(engine), time.monotonic() + seconds
    wait_until(lambda: deaths(engine) > before or time.monotonic() > until, 2 * seconds)
    return deaths(engine) == before


def assert_plays_on(engine: Engine, n_nodes: tuple[int, ...]) -> dict[str, Any]:
    """The tone is there, whole, and nothing happens any more; return the status."""
    wait_until(lambda: is_whole(engine), 60)
    before = engine.status()
    engine.record_start("after.wav")
    after = engine.frames
    wait_until(lambda: engine.frames > after + 48_000, 60)
    name = engine.record_stop()["name"]
    status = engine.status()
    assert [status[key] - before[key] for key in ("worker_deaths", "restarts", "rollbacks")] == [0, 0, 0]
    assert status["nodes"] in n_nodes and status["is_redundant"]
    x, _ = soundfile.read(engine.options.recordings / name, dtype="float32", always_2d=True)
    if status["counters"]["frames_underrun"] == before["counters"]["frames_underrun"]:
        assert smallest_peak(x[:, 0], 480) > 0.19
        assert np.abs(x).max() < 0.21
    assert 0.19 < np.abs(x).max() < 0.61  # a declick adds the step that it smooths: at most twice the tone's level
    return status


@pytest.mark.parametrize(("type", "device"), poisons(in_real_time=("test_hang",), but=("test_slow",)))
def test_a_command_that_kills_after_probation_ends_in_a_patch_that_plays(
    type: str, device: str, more_modules: None, tmp_path: Path, tell: Tell
) -> None:
    """The patch with the command left out; or where checkpoints hold what it did, the patch before."""
    with poisoned(tmp_path, device, type, 0) as (engine, answers):
        wait_until(lambda: engine.status()["restarts"] > 0, 60)
        if type == "test_poison":  # it is in the states
            wait_until(lambda: engine.status()["restarts"] == 2, 60)
        status = assert_plays_on(engine, (1,) if type == "test_poison" else (2,))
    assert len(answers) == 1 and status["rollbacks"] == 0
    assert re.search(POISONS[type], status["last_fault"]["cause"])
    assert status["last_fault"]["node"] == ("" if type == "test_poison" else "bad1")
    silent_ms = status["counters"]["frames_underrun"] / 48
    tell(f"{type} after probation, clock {device}: restarts {status['restarts']}, silent for {silent_ms:.0f} ms")


@pytest.mark.parametrize(("type", "device"), poisons(in_real_time=("test_slow",)))
def test_a_command_that_kills_on_probation_is_rolled_back(
    type: str, device: str, more_modules: None, tmp_path: Path, tell: Tell
) -> None:
    with poisoned(tmp_path, device, type, 60_000) as (engine, answers):
        wait_until(lambda: engine.status()["rollbacks"] > 0, 60)
        status = assert_plays_on(engine, (1,))
        pending = [node["id"] for node in engine.dump()["pending"]["nodes"]]
    assert answers[1].reason == "rolled back" and re.search(POISONS[type], answers[1].detail)
    assert pending == ["osc1", "bad1"] and (status["rollbacks"], status["restarts"]) == (1, 0)
    silent_ms = status["counters"]["frames_underrun"] / 48
    tell(f"{type} on probation, clock {device}: rolled back, silent for {silent_ms:.0f} ms")


@pytest.mark.skipif(not LONG, reason="it takes as long as the machine likes: make torture runs it")
def test_a_patch_that_is_too_slow_for_the_clock_gives_way(more_modules: None, tmp_path: Path, tell: Tell) -> None:
    """Where threads run at real-time priority, workers that never wait are ended by their CPU limit. Elsewhere they
    play on, slowly.
    """
    with poisoned(tmp_path, "none", "test_slow", 0) as (engine, _):
        if not all(slot["is_realtime"] for slot in engine.status()["slots"]):
            pytest.skip("no real-time priority here, and so no limit")
        wait_until(lambda: engine.status()["restarts"] > 0, 60)
        wait_until(lambda: engine.status()["nodes"] == 1 or has_peace(engine, 8.0), 120)
        status = assert_plays_on(engine, (1, 2))
    assert re.search(POISONS["test_slow"], status["last_fault"]["cause"])
    silent_ms = status["counters"]["frames_underrun"] / 48
    tell(f"test_slow after probation, clock none: restarts {status['restarts']}, {silent_ms:.0f} ms of silence in all")
