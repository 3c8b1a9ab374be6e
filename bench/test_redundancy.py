"""What the redundancy costs: the hot standby, the checkpoints, the journal."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from figures import Figures, at_most
from machine import ROOT, cpu_ns, flags
from references import play_three_modules

import pyengine
from pyengine.commands import Command, Create

SECONDS, ROUNDS, ROUND_S = 4.0, 12, 2.0
PERIOD_US = 1e6 * 64 / 48000


STANDBY_TARGETS = {"hot_over_cold_ratio": at_most(2.1)}
CHECKPOINT_TARGETS = {"active_cpu_percent": at_most(1), "replica_cpu_percent": at_most(1)}


def play_sines(engine: pyengine.Engine, n: int, slot: int | None = None) -> None:
    """Three modules, and sines up to n nodes; heard from a slot, if one is given."""
    play_three_modules(engine)
    creates: list[Command] = [Create(f"sine{i}", "simple_sine") for i in range(n - 3)]
    for future in engine.submit_bundle(creates):
        future.result(30)
    if creates:
        engine.commit(timeout_ms=20_000)
    if slot not in (None, engine.status()["active_slot"]):
        engine.commit(timeout_ms=20_000)
    deadline = time.monotonic() + 10
    while engine.status()["is_on_probation"] or not engine._supervisor.crew.is_reserve_ready:  # type: ignore[union-attr]
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert engine.status()["nodes"] == n
    time.sleep(0.3)


def shares(standby: str, n: int, slot: int, tmp_path: Path) -> dict[str, float]:
    """Return the share of one processor that each process takes, where a slot is heard."""
    with pyengine.Engine("none", standby=standby, probation_ms=100, recordings=tmp_path) as engine:
        play_sines(engine, n, slot)
        supervisor: Any = engine._supervisor
        active = engine.status()["active_slot"]
        assert active == slot
        workers, reserve = supervisor.crew.workers, supervisor.crew.reserves[0]
        pids = {"active": workers[active].pid, "standby": workers[1 - active].pid, "reserve": reserve.pid}
        before, start = {name: cpu_ns(pid) for name, pid in pids.items()}, time.monotonic_ns()
        time.sleep(ROUND_S)
        used = {name: cpu_ns(pid) - before[name] for name, pid in pids.items()}
        took = time.monotonic_ns() - start
    return {name: 100 * ns / took for name, ns in used.items()}


@pytest.mark.skipif(not hasattr(time, "pthread_getcpuclockid"), reason="needs the CPU clock of another process")
@pytest.mark.parametrize("n", [3, 100])
def test_hot_against_cold_standby(n: int, tmp_path: Path, figures: Figures) -> None:
    """CPU of all workers, as a share of one processor, in turn: many starts of either, and each slot heard in every
    other one, since a worker costs half as much again on a processor that it alone wakes, and not the clock too.
    """
    rows: dict[str, list[dict[str, float]]] = {"hot": [], "cold": []}
    for number in range(ROUNDS):
        for standby, row in rows.items():
            row.append(shares(standby, n, number % 2, tmp_path))
    together = {}
    for standby, row in rows.items():
        mean = {name: np.mean([r[name] for r in row]) for name in row[0]}
        told = ", ".join(f"{name} worker {share:.2f} %" for name, share in mean.items())
        together[standby] = float(sum(mean.values()))
        figures(
            f"standby  {n:4} nodes, {standby:4}: CPU, of one processor: {told}; together {together[standby]:.2f} %",
            **{f"{standby}_percent": together[standby]},
        )
    figures("", hot_over_cold_ratio=together["hot"] / together["cold"])
    figures.want(STANDBY_TARGETS)


@pytest.mark.parametrize("n", [3, 100, 1000])
def test_checkpoints(n: int, tmp_path: Path, figures: Figures) -> None:
    """The time that checkpoints take of each worker's processor: one worker writes them, the other tells their hash."""
    with pyengine.Engine("none", probation_ms=100, recordings=tmp_path) as engine:
        play_sines(engine, n)
        before = engine.status()
        time.sleep(SECONDS)
        after = engine.status()
    seconds = (after["play_block"] - before["play_block"]) * PERIOD_US / 1e6
    for slot in range(2):
        was, now = before["slots"][slot], after["slots"][slot]
        assert was["pid"] == now["pid"] and was["state"] == now["state"]
        delta = {name: now["counters"][name] - was["counters"][name] for name in now["counters"]}
        us, n_written = delta["checkpoint_ns"] / 1e3, delta["checkpoints"]
        looks = round(seconds / 0.25)
        what = f"{n_written} written" if n_written else f"{looks} hashed"
        figures(
            f"checkpts {n:4} nodes, {now['state']:7} worker: {us / seconds:8.1f} us a second ({what}, "
            f"{us / max(1, n_written or looks):.1f} us each, {100 * us / max(1, n_written or looks) / PERIOD_US:.1f} % "
            f"of a block's period)",
            **{
                f"{now['state']}_us_per_s": us / seconds,
                f"{now['state']}_cpu_percent": us / seconds / 1e4,
                f"{now['state']}_each_us": us / max(1, n_written or looks),
            },
        )
    figures.want(CHECKPOINT_TARGETS)


def test_journal_decision(tmp_path: Path, figures: Figures) -> None:
    """bench/journal.c: pe_journal_decide in a loop, compiled with the flags of the extension."""
    program = tmp_path / "journal"
    sources = [ROOT / "bench" / "journal.c", *sorted((ROOT / "csrc").rglob("*.c"))]
    folders = [f"-I{ROOT / 'csrc'}", f"-I{ROOT / 'tests' / 'c'}", "-D_GNU_SOURCE"]
    command = ["cc", *flags().split(), *folders, *map(str, sources), "-o", str(program), "-lpthread", "-ldl", "-lm"]
    subprocess.run(command, check=True)
    out = subprocess.run([str(program)], check=True, capture_output=True, text=True).stdout
    names = {"first": "who decides", "second": "who obeys", "together": "two threads at once"}
    for line in out.splitlines():
        name, median, worst = line.split()
        figures(
            f"journal  {names[name]:20}: {median} ns a decision, median of chunks of 256 (worst {worst}), "
            f"{float(median) / PERIOD_US / 10:.4f} % of a block's period",
            **{f"{name}_ns": float(median), f"{name}_worst_ns": float(worst)},
        )
