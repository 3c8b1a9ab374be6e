"""kill -9 and SIGSTOP at random moments, many times; `make torture` runs the full counts."""

from __future__ import annotations

import random
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from live import Live, assert_same
from test_deaths import nothing_left  # noqa: F401  (no test may leave a process or a name in shared memory)
from torture import (
    FREE_SPEED,
    SEED,
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
