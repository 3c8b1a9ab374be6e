"""Voices: a sine, an envelope and a low-pass each, all different, all summed.

python bench/voices.py 1 64 1024    prints what they cost, as JSON; PYENGINE_ISA in the environment chooses
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from references import RATE_HZ, envelope
from scipy import signal

sys.path[:0] = [str(Path(__file__).resolve().parents[1])]

from pyengine import _native  # noqa: E402
from pyengine.patch import Patch  # noqa: E402
from pyengine.plan import new_plan, prime  # noqa: E402

BLOCK_FRAMES = 64
CHECKED_FRAMES = 4800
ROUNDS = 5
TOLERANCE = 2e-6  # of one voice, whose peak is 0.2; a voice that is missing is off by 0.1 and more


def freq_hz(voice: int) -> float:
    return 55.0 + 7.0 * (voice % 512) + 0.003 * voice


def cutoff_hz(voice: int) -> float:
    return 400.0 + 11.0 * (voice % 1024)


def voices_patch(n: int) -> Patch:
    patch = Patch()
    for i in range(n):
        patch.create(f"osc{i}", "simple_sine").create(f"env{i}", "adsr").create(f"filt{i}", "biquad_filter")
        patch.connect(f"osc{i}", f"env{i}").connect(f"env{i}", f"filt{i}")
        patch.set(f"osc{i}", "freq", freq_hz(i)).set(f"filt{i}", "cutoff", cutoff_hz(i))
    return patch


def reference(n: int, n_frames: int) -> npt.NDArray[np.float64]:
    """The same in float64; RBJ Audio EQ Cookbook, LPF, with q 1."""
    total, time_s, shape = np.zeros(n_frames), np.arange(n_frames) / RATE_HZ, 0.2 * envelope(n_frames)
    for i in range(n):
        w = 2 * np.pi * cutoff_hz(i) / RATE_HZ
        alpha, c = np.sin(w) / 2, np.cos(w)
        b, a = np.array([(1 - c) / 2, 1 - c, (1 - c) / 2]) / (1 + alpha), np.array([1 + alpha, -2 * c, 1 - alpha])
        total += signal.lfilter(b, a / (1 + alpha), shape * np.sin(2 * np.pi * freq_hz(i) * time_s))
    return total


class Bank:
    """A plan of a patch, rendered on and on in blocks of 64 frames; a context manager."""

    def __init__(self, patch: Patch) -> None:
        started = time.perf_counter_ns()
        self.plan = new_plan(patch, sample_rate_hz=RATE_HZ, max_block_frames=BLOCK_FRAMES, n_channels=1)
        self.build_ms = (time.perf_counter_ns() - started) / 1e6
        prime(self.plan, patch, patch.ops(), RATE_HZ)
        self._none = _native.commands([])

    def render(self, n_frames: int, records: Sequence[_native.Record] = ()) -> npt.NDArray[np.float32]:
        """Return the next frames; the frames of records count from here."""
        out = np.zeros((n_frames, 1), np.float32)
        self.plan.render(_native.commands(list(records)), len(records), n_frames, BLOCK_FRAMES, out)
        return out[:, 0]

    def block_ns(self, n_frames: int, rounds: int = ROUNDS) -> float:
        """Return what a block of the next frames takes of the thread's CPU time: the median of some rounds."""
        out, took = np.zeros((n_frames, 1), np.float32), []
        for _ in range(rounds):
            start = time.thread_time_ns()
            self.plan.render(self._none, 0, n_frames, BLOCK_FRAMES, out)
            took.append(time.thread_time_ns() - start)
        assert np.isfinite(out).all()
        return statistics.median(took) * BLOCK_FRAMES / n_frames

    def __enter__(self) -> Bank:
        return self

    def __exit__(self, *exc: object) -> None:
        self.plan.close()


def frames_for(n_voices: int) -> int:
    """Return how many frames to time at once: some milliseconds of work, and whole blocks."""
    return 4800 * max(1, min(20, 2_000_000 // (4800 * n_voices)))


def check(bank: Bank, n: int) -> None:
    """Raise unless the first frames of n voices are what they must be."""
    error = np.abs(bank.render(CHECKED_FRAMES) - reference(n, CHECKED_FRAMES)).max()
    if not error < TOLERANCE * n:
        raise AssertionError(f"{n} voices are off by {error:g}, more than {TOLERANCE * n:g}: not worth timing")


def costs(counts: list[int]) -> dict[int, float]:
    """Return ns per voice-sample for each number of voices; each is checked first."""
    found = {}
    for n in counts:
        with Bank(voices_patch(n)) as bank:
            check(bank, n)
            found[n] = bank.block_ns(frames_for(n)) / (BLOCK_FRAMES * n)
    return found


def costs_in_child(counts: list[int], environment: dict[str, str]) -> dict[int, float]:
    """The same in a process of its own. Raises RuntimeError with what the child said."""
    command = [sys.executable, str(Path(__file__).resolve()), *map(str, counts)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"the child that renders voices has failed: {done.stderr.strip()[-500:]}")
    answer: dict[str, Any] = json.loads(done.stdout)
    return {int(n): float(ns) for n, ns in answer.items()}


if __name__ == "__main__":
    print(json.dumps(costs([int(n) for n in sys.argv[1:]])))
