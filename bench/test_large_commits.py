"""Commits of 100, 1,000 and 10,000 nodes while a tone plays, on the real-time clock without a device.

What must be reached: commit received to ready within 50 ms for 1,000 nodes and 500 ms for 10,000, cost that grows in a
straight line, and no late block: no more than bare threads miss in the same run, the engine's clock and one of the
bench's own. A late block is one that nobody had (an underrun), or that the other slot had instead, of the same patch
(hedged) or of the one before (a fallback), from the commit to the end of its probation and the other slot's join.

A machine that cannot play 10,000 nodes at 48 kHz refuses them as too slow; then all is done at the first of the lower
rates that it can play them at, where blocks of as many frames last longer, and the lines say so.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from control import Pacer

import pyengine
from pyengine.commands import Clear, Command, Connect, Create, SetParam
from pyengine.supervisor import CLOCK_PRIORITY

RATES_HZ, BLOCK_FRAMES, ROUNDS = (48000.0, 24000.0, 8000.0), 64, 7
SIZES, LIMITS_MS = (100, 1000, 10_000), {1000: 50.0, 10_000: 500.0}
LATE = ("none_reads", "frames_underrun", "hedged_blocks", "late_swaps", "fallbacks")
MISSED = "clock_missed_periods"  # by the engine's clock, which does no more than the bare thread
TAKES = 10  # of the largest patch out of silence
CHUNK = 150  # messages of one bundle: as many answers as wait in a socket
Tell = Callable[[str], None]


def patch_commands(n_nodes: int, name: str) -> list[Command]:
    """Return what makes the pending patch a tone that goes on, and voices of three modules up to n_nodes."""
    made: list[Command] = [Clear(), Create("tone", "simple_sine"), SetParam("tone", "gain", 0.1)]
    n_voices = (n_nodes - 1) // 3
    for i in range(n_voices):
        osc, env, filt = (f"{kind}{name}{i}" for kind in ("osc", "env", "filt"))
        made += [Create(osc, "simple_sine"), Create(env, "adsr"), Create(filt, "biquad_filter")]
        made += [Connect(osc, env), Connect(env, filt)]
        made += [SetParam(osc, "freq", 60.0 + i * 37 % 1900), SetParam(osc, "gain", 0.2 / n_voices)]
    return made


def patch_of(made: list[Command]) -> pyengine.Patch:
    patch = pyengine.Patch()
    for command in made:
        if isinstance(command, Create):
            patch.create(command.module_id, command.module_type)
        elif isinstance(command, Connect):
            patch.connect(command.source, command.dest)
        elif isinstance(command, SetParam):
            patch.set(command.module_id, command.param, command.value)
    return patch


def submit(engine: pyengine.Engine, made: list[Command]) -> float:
    """Make the edits; return what one took, in us."""
    start = time.perf_counter()
    for future in engine.submit_bundle(made):
        future.result(60)
    return 1e6 * (time.perf_counter() - start) / len(made)


def settle(engine: pyengine.Engine) -> None:
    """Wait until both workers play the patch."""
    deadline = time.monotonic() + 30
    while not engine.status()["is_redundant"]:
        assert time.monotonic() < deadline, "the second worker does not join"
        time.sleep(0.02)


@contextmanager
def engine_that_plays(n_nodes: int, recordings: Path) -> Iterator[tuple[pyengine.Engine, float]]:
    """An engine at the highest rate at which it can play so many nodes, a tone playing; and the rate."""
    for rate_hz in RATES_HZ:
        with pyengine.Engine(
            "none", sample_rate=rate_hz, block_frames=BLOCK_FRAMES, osc_port=0, probation_ms=100, recordings=recordings
        ) as engine:
            try:
                submit(engine, patch_commands(n_nodes, "try"))
                engine.commit(timeout_ms=20_000)
            except pyengine.CommitRefused as refused:
                if refused.reason != "too slow" or rate_hz == RATES_HZ[-1]:
                    raise
                continue
            settle(engine)
            yield engine, rate_hz
            return


def replaced(engine: pyengine.Engine) -> tuple[int, int]:
    """Return of what is heard: what is silence for want of blocks, and what comes from the patch before."""
    counters = engine.status()["counters"]
    return counters["frames_underrun"], counters["fallbacks"]


def is_right(engine: pyengine.Engine, rate_hz: float, recordings: Path, take: int) -> bool | None:
    """Commit the largest patch out of silence: is it heard, bit for bit, from the frame told? None: blocks were not
    there in time, and nothing was heard instead, or the silence before it.
    """
    before = replaced(engine)
    submit(engine, [Clear()])
    engine.commit(allow_silence=True, crossfade_ms=0)
    settle(engine)
    made = patch_commands(SIZES[-1], f"take{take}x")[1:]  # it is empty, and handles go on
    started = engine.record_start(f"take{take}.wav")
    submit(engine, made)
    report = engine.commit(crossfade_ms=0)
    settle(engine)
    engine.record_stop()
    if replaced(engine) != before:
        return None
    heard = soundfile.read(recordings / f"take{take}.wav", dtype="float32")[0][:, 0]
    heard = heard[report["frame"] - started["first_frame"] :][:8192]
    return len(heard) > 1000 and np.array_equal(
        pyengine.render(patch_of(made), frames=len(heard), sample_rate=rate_hz)[:, 0], heard
    )


def one_round(engine: pyengine.Engine, commit: Callable[[], dict[str, Any]], n: int, name: str) -> dict[str, float]:
    """Commit n new nodes beside the tone, then one more; return their figures."""
    edit_us = submit(engine, patch_commands(n, name))
    report = commit()
    settle(engine)
    submit(engine, [Create("one_more", "simple_sine"), SetParam("one_more", "gain", 0.01)])
    more = commit()
    settle(engine)
    return {"ready_ms": report["ready_ms"], "more_ms": more["ready_ms"], "edit_us": edit_us}


def late_counts(engine: pyengine.Engine) -> dict[str, int]:
    counters = engine.status()["counters"]
    return {name: counters[name] for name in (*LATE, MISSED)}


def since(before: dict[str, int], after: dict[str, int]) -> dict[str, int]:
    return {name: after[name] - count for name, count in before.items()}


def checkpoint_us(engine: pyengine.Engine, rate_hz: float) -> tuple[float, float]:
    """Return what a checkpoint, or its hash, takes in all, and how long one kept a block waiting at most: of the worker
    that spends more.
    """

    def spent() -> list[tuple[int, int, int]]:
        slots = engine.status()["slots"]
        return [(s["pid"], s["counters"]["checkpoint_ns"], s["counters"]["blocks"]) for s in slots]

    before = spent()
    time.sleep(3)
    edges = [max(1.0, (b[2] - a[2]) * BLOCK_FRAMES / rate_hz / 0.25) for a, b in zip(before, spent(), strict=True)]
    worst_us = max(s["counters"]["worst_checkpoint_ns"] / 1e3 for s in engine.status()["slots"])
    return max((b[1] - a[1]) / 1e3 / n for a, b, n in zip(before, spent(), edges, strict=True)), worst_us


def late_blocks(late: dict[str, int]) -> int:
    return -(-late["frames_underrun"] // BLOCK_FRAMES) + late["hedged_blocks"] + late["fallbacks"]


def is_on_time(late: dict[str, int], control: Pacer) -> bool:
    """True where the machine alone explains what was late."""
    return late_blocks(late) <= control.missed_periods + late[MISSED]


def told_late(late: dict[str, int], control: Pacer) -> str:
    """Return what was late, and whether the machine alone explains it."""
    counts = ", ".join(f"{name} {late[name]}" for name in LATE)
    missed = f"(a bare thread missed {control.missed_periods} periods, the clock {late[MISSED]})"
    return f"{counts} {missed}: {'reached' if is_on_time(late, control) else 'NOT REACHED'}"


def test_running_patch_at_48_khz(benchmark: Any, tmp_path: Path, tell: Tell) -> None:
    """Here it matters only that a tone plays on: a commit that is refused as too slow was built and primed as well."""
    took_ms: dict[int, list[float]] = {n: [] for n in SIZES}
    with pyengine.Engine("none", block_frames=BLOCK_FRAMES, probation_ms=100, recordings=tmp_path) as engine:
        submit(engine, patch_commands(1, ""))
        engine.commit()
        settle(engine)
        before = late_counts(engine)
        control = Pacer(1e9 * BLOCK_FRAMES / RATES_HZ[0], CLOCK_PRIORITY)
        n_refused = 0

        def rounds() -> None:
            nonlocal n_refused
            for number in range(ROUNDS):
                for n in SIZES:
                    submit(engine, patch_commands(n, f"r{number}x"))
                    start = time.perf_counter()
                    try:
                        engine.commit()
                    except pyengine.CommitRefused as refused:
                        assert refused.reason == "too slow" and n == SIZES[-1]
                        n_refused += 1
                    took_ms[n].append(1e3 * (time.perf_counter() - start))
                    settle(engine)

        benchmark.pedantic(rounds, rounds=1)
        control.close()
        late = since(before, late_counts(engine))
    answered = ", ".join(f"{n}: {np.median(ms):.1f} ms" for n, ms in took_ms.items())
    tell(f"large    48 kHz, {ROUNDS} rounds, commit to answer (median), {answered}; {n_refused} refused as too slow")
    tell(f"large    48 kHz, while a tone plays on: {told_late(late, control)}")
    figures = {f"answer_ms_{n}": float(np.median(ms)) for n, ms in took_ms.items()}
    figures |= {f"late_{name}": float(count) for name, count in late.items()}
    figures |= {"control_missed_periods": float(control.missed_periods), "refused_too_slow": float(n_refused)}
    benchmark.extra_info["figures"] = figures


def test_large_commits(benchmark: Any, tmp_path: Path, tell: Tell) -> None:
    figures: dict[str, float] = {}
    with engine_that_plays(SIZES[-1], tmp_path) as (engine, rate_hz), pyengine.Client(port=engine.osc_port) as client:
        period_ns = 1e9 * BLOCK_FRAMES / rate_hz
        before = late_counts(engine)
        with Pacer(period_ns, CLOCK_PRIORITY) as control:
            answers = [is_right(engine, rate_hz, tmp_path, take) for take in range(TAKES)]
        in_takes = since(before, late_counts(engine))
        tell(f"large    {TAKES} commits of {SIZES[-1]} nodes out of silence: {told_late(in_takes, control)}")
        assert False not in answers, "what is heard is not what was committed"
        assert True in answers, f"in none of {TAKES} takes all blocks were there in time"
        assert is_on_time(in_takes, control), told_late(in_takes, control)
        rows: dict[int, list[dict[str, float]]] = {n: [] for n in SIZES}
        submit(engine, patch_commands(1, ""))
        engine.commit()
        settle(engine)
        before = late_counts(engine)
        control = Pacer(period_ns, CLOCK_PRIORITY)

        def rounds() -> None:
            for number in range(ROUNDS):
                for n in SIZES:
                    commit = engine.commit if number % 2 else client.commit
                    rows[n].append(one_round(engine, commit, n, f"r{number}x"))

        benchmark.pedantic(rounds, rounds=1)
        control.close()
        late = since(before, late_counts(engine))
        whole_us, worst_us = checkpoint_us(engine, rate_hz)
    period_us = period_ns / 1e3
    tell(f"large    all at {rate_hz:g} Hz, blocks of {BLOCK_FRAMES} frames ({period_us:.0f} us), {ROUNDS} rounds")
    for n in SIZES:
        ready, more, edit = ([row[key] for row in rows[n]] for key in ("ready_ms", "more_ms", "edit_us"))
        figures |= {f"ready_ms_{n}": float(np.median(ready)), f"ready_worst_ms_{n}": max(ready)}
        figures |= {f"more_ready_ms_{n}": float(np.median(more)), f"edit_us_{n}": float(np.median(edit))}
        limit = LIMITS_MS.get(n)
        verdict = (
            "" if limit is None else f"; required, {limit:g}: {'reached' if max(ready) <= limit else 'NOT REACHED'}"
        )
        tell(
            f"large    {n:6} nodes: received to ready {np.median(ready):6.2f} ms median {max(ready):6.2f} worst"
            f"{verdict}; one more {np.median(more):6.2f}; an edit {np.median(edit):5.1f} us"
        )
    figures |= {f"late_{name}": float(count) for name, count in late.items()}
    figures |= {
        "control_missed_periods": float(control.missed_periods),
        "checkpoint_us_10000": whole_us,
        "checkpoint_worst_wait_us": worst_us,
        "checkpoint_worst_wait_share_of_period": worst_us / period_us,
        "growth_1000_to_10000": figures["ready_ms_10000"] / figures["ready_ms_1000"],
        "sample_rate_hz": rate_hz,
    }
    tell(
        f"large    ten times the nodes: {figures['growth_1000_to_10000']:.1f} times as long to ready; a checkpoint of "
        f"{SIZES[-1]} nodes: {whole_us:.0f} us in all, of which a block waited for {worst_us:.0f} us at most, "
        f"{100 * worst_us / period_us:.0f} % of the period"
    )
    tell(f"large    while the tone and the patches before play on: {told_late(late, control)}")
    benchmark.extra_info["figures"] = figures
