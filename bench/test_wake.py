"""What it costs when the audio callback wakes the workers, against timed looks of their own (DESIGN 5).

Two engines, one after the other and over again: same patch, same clock, same machine; only PeConfig.is_free_running
differs. With it the callback wakes both workers by a futex; without it they look by themselves (csrc/pace.c).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any
from unittest.mock import patch as replaced

import numpy as np
import pytest
from control import Pacer
from figures import Figures
from machine import cpu_ns
from references import RATE_HZ, play_three_modules

import pyengine
from pyengine import _native, supervisor
from pyengine.board import Board
from pyengine.supervisor import CLOCK_PRIORITY

BLOCK_FRAMES = 64
SECONDS, ROUNDS, LOOKS = 4.0, 2, 15


@dataclass(frozen=True)
class Case:
    lead: int
    request_frames: int

    period_ns = property(lambda self: 1e9 * self.request_frames / RATE_HZ)
    left_ns = property(lambda self: self.period_ns * (1 + (self.lead - 1) * BLOCK_FRAMES // self.request_frames))
    effective_lead = property(lambda self: -(-self.request_frames // BLOCK_FRAMES) - 1 + self.lead)


class PacerDriver:
    """A driver that is the bench's own thread: like the real-time clock, with every call timed."""

    kind, description, latency_s, is_alive, clock = "realtime", "bench", 0.0, True, None

    def __init__(self, output: _native.Output, case: Case, looks: int) -> None:
        self.request_frames = case.request_frames
        self.pacer = Pacer(
            case.period_ns,
            CLOCK_PRIORITY,
            output=output,
            n_frames=case.request_frames,
            lead_blocks=case.effective_lead,
            looks=looks,
            seconds=SECONDS + 3,
        )
        self.is_realtime = self.pacer.is_realtime

    switches = 0

    def look(self) -> None:
        """It is no device that could go."""

    def close(self) -> bool:
        self.pacer.close()
        return True


@contextmanager
def engine_with(is_waking: bool, case: Case, looks: int) -> Iterator[tuple[pyengine.Engine, Pacer]]:
    """Yield an engine that plays three modules, and the thread that is its clock."""
    config_of = Board._config
    drivers: list[PacerDriver] = []

    def open_driver(device: str, output: _native.Output, **_: Any) -> PacerDriver:
        drivers.append(PacerDriver(output, case, looks))
        return drivers[0]

    with (
        replaced.object(Board, "_config", lambda self: replace(config_of(self), is_free_running=is_waking)),
        replaced.object(supervisor, "Outlet", open_driver),
        pyengine.Engine("none", block_frames=BLOCK_FRAMES, sample_rate=RATE_HZ, lead_blocks=case.lead) as engine,
    ):
        play_three_modules(engine)
        time.sleep(0.3)
        yield engine, drivers[0].pacer


def run(is_waking: bool, case: Case) -> dict[str, float | np.ndarray[Any, Any]]:
    with engine_with(is_waking, case, 0) as (engine, pacer):
        pids = [slot["pid"] for slot in engine.status()["slots"]]
        first_block = engine.status()["play_block"]
        heartbeats = [slot["heartbeat"] for slot in engine.status()["slots"]]
        first, n_before, start = sum(map(cpu_ns, pids)), pacer.n_periods, time.monotonic_ns()
        time.sleep(SECONDS)
        used, took = sum(map(cpu_ns, pids)) - first, time.monotonic_ns() - start
        status = engine.status()
        took_ns = pacer.took_ns[n_before:].copy()
    turns = sum(s["heartbeat"] - h for s, h in zip(status["slots"], heartbeats, strict=True)) / 2
    return {
        "took_ns": took_ns,
        "cpu_share": used / took / 2,
        "turns_per_block": turns / (status["play_block"] - first_block),
        "none_reads": status["counters"]["none_reads"],
        "missed": pacer.missed_periods,
    }


def margins(is_waking: bool, case: Case) -> np.ndarray[Any, Any]:
    """Time from the callback to both rings being full again, on a grid of 1/16 period."""
    with engine_with(is_waking, case, LOOKS) as (_, pacer):
        n_before = pacer.n_periods
        time.sleep(SECONDS)
        return pacer.filled_ns[n_before : pacer.n_periods - 1].copy()


@pytest.mark.skipif(not hasattr(time, "pthread_getcpuclockid"), reason="needs the CPU clock of another process")
@pytest.mark.parametrize(
    "case", [Case(1, 64), Case(2, 64), Case(2, 512)], ids=lambda c: f"lead {c.lead}, {c.request_frames} frames"
)
def test_waking_from_the_callback_against_timed_looks(case: Case, figures: Figures) -> None:
    """Waking: the callback wakes both workers. Looking: they look by themselves."""
    rows: dict[bool, list[dict[str, Any]]] = {True: [], False: []}
    for _ in range(ROUNDS):
        for is_waking in (True, False):
            rows[is_waking].append(run(is_waking, case))
    left_us = case.left_ns / 1e3
    for is_waking, name in ((True, "callback wakes"), (False, "timed looks")):
        took = np.concatenate([r["took_ns"] for r in rows[is_waking]]) / 1e3
        filled = margins(is_waking, case) / 1e3
        cpu = 100 * np.mean([r["cpu_share"] for r in rows[is_waking]])
        turns = np.mean([r["turns_per_block"] for r in rows[is_waking]])
        none_reads, missed = (sum(r[key] for r in rows[is_waking]) for key in ("none_reads", "missed"))
        p50, p99 = np.percentile(took, [50, 99])
        full50, full99 = np.percentile(filled, [50, 99])
        short = "waking" if is_waking else "looking"
        figures(
            f"wake     lead {case.lead}, requests of {case.request_frames:3}, {name:14}: "
            f"callback {p50:6.2f} us median {p99:6.2f} p99 {took.max():7.1f} worst; "
            f"a worker's CPU {cpu:.2f} %, {turns:.2f} turns per block; rings full again after {full50:5.0f} us median "
            f"{full99:5.0f} p99, of {left_us:.0f}; none-reads {none_reads:.0f}, periods missed {missed:.0f}",
            **{
                f"{short}_callback_median_us": p50,
                f"{short}_callback_p99_us": p99,
                f"{short}_worker_cpu_percent": cpu,
                f"{short}_full_again_p99_us": full99,
            },
        )
