"""What this machine does: voices, offline renders, commits; each checked before it is timed.

The voice is a sine through an envelope through a low-pass; bench/ times the same ones.
"""

from __future__ import annotations

import os
import platform
import re
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pyengine import _native
from pyengine.engine import Engine
from pyengine.errors import EngineError
from pyengine.offline import render
from pyengine.patch import Patch
from pyengine.plan import new_plan, prime

RATE_HZ = 48000.0
BLOCK_FRAMES = 64
CHECKED_FRAMES = 4800
ROUNDS = 5
TOLERANCE = 2e-6  # of one voice, whose peak is 0.2; a voice that is missing is off by 0.1 and more
VOICES = (1, 16, 64, 256, 1024)
COMMITS = 20


def freq_hz(voice: int) -> float:
    return 55.0 + 7.0 * (voice % 512) + 0.003 * voice


def cutoff_hz(voice: int) -> float:
    return 400.0 + 11.0 * (voice % 1024)


def voices_patch(n: int) -> Patch:
    """Return n voices, all different, all heard."""
    patch = Patch()
    for i in range(n):
        patch.create(f"osc{i}", "simple_sine").create(f"env{i}", "adsr").create(f"filt{i}", "biquad_filter")
        patch.connect(f"osc{i}", f"env{i}").connect(f"env{i}", f"filt{i}")
        patch.set(f"osc{i}", "freq", freq_hz(i)).set(f"filt{i}", "cutoff", cutoff_hz(i))
    return patch


def reference(n: int, n_frames: int) -> npt.NDArray[np.float64]:
    """Return the same in float64: the adsr's defaults, and RBJ Audio EQ Cookbook, LPF, with q 1; all voices at once."""
    hz = np.array([freq_hz(i) for i in range(n)])
    w = 2 * np.pi * np.array([cutoff_hz(i) for i in range(n)]) / RATE_HZ
    alpha, c = np.sin(w) / 2, np.cos(w)
    b0, a1, a2 = (1 - c) / 2 / (1 + alpha), -2 * c / (1 + alpha), (1 - alpha) / (1 + alpha)
    envelope = 0.2 * np.interp(np.arange(n_frames), [0, 480, 480 + 2400], [0, 1, 0.7])
    total = np.zeros(n_frames)
    s1, s2 = np.zeros(n), np.zeros(n)  # transposed direct form II
    for frame in range(n_frames):
        x = envelope[frame] * np.sin(2 * np.pi * (frame * hz / RATE_HZ))
        y = b0 * x + s1
        s1 = 2 * b0 * x - a1 * y + s2
        s2 = b0 * x - a2 * y
        total[frame] = y.sum()
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
        return statistics.median(self.rounds_ns(n_frames, rounds))

    def rounds_ns(self, n_frames: int, rounds: int) -> list[float]:
        """Return what a block takes, by round."""
        out, took = np.zeros((n_frames, 1), np.float32), []
        for _ in range(rounds):
            start = time.thread_time_ns()
            self.plan.render(self._none, 0, n_frames, BLOCK_FRAMES, out)
            took.append((time.thread_time_ns() - start) * BLOCK_FRAMES / n_frames)
        assert np.isfinite(out).all()
        return took

    def __enter__(self) -> Bank:
        return self

    def __exit__(self, *exc: object) -> None:
        self.plan.close()


def frames_for(n_voices: int) -> int:
    """Return how many frames to time at once: some milliseconds of work, and whole blocks."""
    return 4800 * max(1, min(20, 2_000_000 // (4800 * n_voices)))


def check(bank: Bank, n: int) -> None:
    """Raise EngineError unless the first frames of n voices are what they must be."""
    error = np.abs(bank.render(CHECKED_FRAMES) - reference(n, CHECKED_FRAMES)).max()
    if not error < TOLERANCE * n:
        raise EngineError(f"{n} voices are off by {error:g}, more than {TOLERANCE * n:g}: not worth timing")


# ---- what `pyengine bench` tells --------------------------------------------------------------------------


def voices(n: int) -> dict[str, Any]:
    """Return what one of n voices costs, from the thread's CPU time: median, and the range of the rounds."""
    with Bank(voices_patch(n)) as bank:
        check(bank, n)
        took = [ns / (BLOCK_FRAMES * n) for ns in bank.rounds_ns(frames_for(n), 3 * ROUNDS)]
    median = statistics.median(took)
    return {
        "voices": n,
        "ns_per_voice_sample": median,
        "lowest": min(took),
        "highest": max(took),
        "core_percent": 100 * median * n * RATE_HZ / 1e9,
    }


def offline_times_real_time() -> dict[str, Any]:
    """Return how fast render() is, Python's share included: one voice, one second, by the clock on the wall."""
    patch, took = voices_patch(1), []
    render(patch, 1.0)
    for _ in range(3 * ROUNDS):
        start = time.perf_counter()
        render(patch, 1.0)
        took.append(time.perf_counter() - start)
    return {"times_real_time": 1 / statistics.median(took), "lowest": 1 / max(took), "highest": 1 / min(took)}


def commits() -> dict[str, Any]:
    """Return what a start and a commit of three modules take in a real engine on the real-time clock, and what its
    callback took and missed meanwhile.
    """
    start = time.perf_counter()
    with Engine("none", osc_port=None, probation_ms=20) as engine:
        ready_s = time.perf_counter() - start
        reports = []
        engine.create("first", "simple_sine")
        engine.commit()  # comes upon an engine at rest
        for number in range(COMMITS):
            engine.clear()
            engine.create(f"osc{number}", "simple_sine")
            engine.create(f"env{number}", "adsr")
            engine.create(f"filt{number}", "biquad_filter")
            engine.connect(f"osc{number}", f"env{number}")
            engine.connect(f"env{number}", f"filt{number}")
            reports.append(engine.commit())
        status = engine.status()
    counters = status["counters"]
    ready_ms = [report["ready_ms"] for report in reports]
    rate_hz = status["sample_rate"]
    heard_ms = [1e3 * (report["frame"] - report["received_frame"]) / rate_hz for report in reports]
    return {
        "start_s": ready_s,
        "commits": len(reports),
        "ready_ms": statistics.median(ready_ms),
        "ready_worst_ms": max(ready_ms),
        "heard_ms": statistics.median(heard_ms),
        "heard_worst_ms": max(heard_ms),
        "callbacks": counters["callbacks"],
        "worst_callback_us": counters["worst_callback_ns"] / 1e3,
        "block_us": 1e6 * status["block_frames"] / rate_hz,
        "frames_requested": counters["frames_requested"],
        "frames_underrun": counters["frames_underrun"],
        "is_realtime": status["is_realtime_clock"],
    }


def machine() -> dict[str, Any]:
    """Return what the figures were measured on."""
    info = _text_of("/proc/cpuinfo")
    model = re.search(r"^model name\s*:\s*(.*)$", info, re.MULTILINE)
    return {
        "processor": model[1] if model else platform.processor() or platform.machine(),
        "processors": os.cpu_count(),
        "is_virtual": " hypervisor " in info.replace("\n", " "),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "instruction_set": _native.isa_name(),
        "load": os.getloadavg()[0],
        "sample_rate": RATE_HZ,
        "block_frames": BLOCK_FRAMES,
    }


def all_of_it(say: Callable[[str], None]) -> dict[str, Any]:
    """Measure; say what is being measured before each part."""
    found: dict[str, Any] = {"machine": machine(), "voices": []}
    for n in VOICES:
        say(f"{n} voices")
        found["voices"].append(voices(n))
    say("offline render")
    found["offline"] = offline_times_real_time()
    say(f"{COMMITS} commits")
    found["engine"] = commits()
    return found


def _text_of(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
