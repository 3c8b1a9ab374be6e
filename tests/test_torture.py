"""kill -9 and SIGSTOP at random moments, many times; `make torture` runs the full counts."""

from __future__ import annotations

import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from live import Live, assert_same
from test_deaths import nothing_left  # noqa: F401  (no test may leave a process or a name in shared memory)
from torture import (
    DECLICK_FRAMES,
    FREE_SPEED,
    SEED,
    Committing,
    Settings,
    Watched,
    deaths,
    many,
    play,
    strike,
    torture_patch,
    while_it_runs,
)
from waiting import wait_until

from pyengine import Client
from pyengine.commands import SetParam

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
    with Watched(tmp_path) as watched:
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
