"""Offline rendering of the three-module patch, and what the import costs."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from figures import Figures, at_least, at_most
from machine import compiled_environment
from references import RATE_HZ, envelope, lowpass_sections, sine, three_modules
from scipy import signal

import pyengine
from pyengine import _native
from pyengine.plan import new_plan

RENDER_TARGETS = {"speed_x_real_time": at_least(1000)}
IMPORT_TARGETS = {"pyengine_over_numpy_ratio": at_most(1.3), "pyengine_render_over_numpy_ratio": at_most(1.3)}


def with_scipy(seconds: float) -> np.ndarray[Any, Any]:
    """The same job, whole arrays at once."""
    n = round(seconds * RATE_HZ)
    return np.asarray(signal.sosfilt(lowpass_sections(), sine(n) * envelope(n)).astype(np.float32))


@pytest.mark.parametrize("seconds", [1, 10])
@pytest.mark.parametrize("how", ["pyengine.render", "numpy and scipy"])
def test_render(seconds: int, how: str, benchmark: Any, figures: Figures) -> None:
    """Sine, envelope, filter: how often as fast as it sounds."""
    patch = three_modules()
    error = np.abs(pyengine.render(patch, seconds=seconds)[:, 0] - with_scipy(seconds)).max()
    assert error < 2e-6, f"off by {error:g}: not worth timing"
    function = with_scipy if how != "pyengine.render" else lambda s: pyengine.render(patch, seconds=s)
    benchmark.pedantic(function, args=(seconds,), rounds=10, warmup_rounds=2)
    stats = benchmark.stats.stats
    speeds = f"{seconds / stats.median:6.0f} x real time, worst of 10 {seconds / stats.max:6.0f} x"
    figures(
        f"render   {seconds:3} s of sine, adsr, biquad, {how:16}: {speeds}, {1e3 * stats.median:.2f} ms",
        speed_x_real_time=seconds / stats.median,
        worst_x_real_time=seconds / stats.max,
        took_ms=1e3 * stats.median,
    )
    if how == "pyengine.render":
        figures.want(RENDER_TARGETS)


def test_share_of_python(figures: Figures) -> None:
    """A render of one second, and the C function in it that renders; in turn."""
    patch, out = three_modules(), np.zeros((round(RATE_HZ), 1), np.float32)
    whole_us, core_us = [], []
    for _ in range(60):
        start = time.perf_counter_ns()
        sound = pyengine.render(patch, seconds=1)
        whole_us.append((time.perf_counter_ns() - start) / 1e3)
        with new_plan(patch, sample_rate_hz=RATE_HZ, max_block_frames=64, n_channels=1) as plan:
            start = time.perf_counter_ns()
            plan.render(_native.commands([]), 0, len(out), 64, out)
            core_us.append((time.perf_counter_ns() - start) / 1e3)
        assert np.array_equal(out, sound)
    whole, core = statistics.median(whole_us), statistics.median(core_us)
    figures(
        f"render   1 s of sine, adsr, biquad: {whole:.0f} us, of which C {core:.0f} us; the rest is Python's share",
        whole_us=whole,
        core_us=core,
        python_us=whole - core,
        python_percent=100 * (whole - core) / whole,
        speed_x_real_time=1e6 / whole,
    )
    figures.want(RENDER_TARGETS)


IMPORTS = {
    "numpy": "import numpy",
    "pyengine": "import pyengine",
    "pyengine_render": "import pyengine; pyengine.render",
}


def test_import_time(tmp_path: Path, figures: Figures) -> None:
    """Each in a fresh interpreter, in turn, so that a busy spell hits all alike.

    pyengine_render: with all that `pyengine.render` needs, numpy too; names are imported when first used.
    """
    took: dict[str, list[float]] = {name: [] for name in IMPORTS}
    environment = compiled_environment(str(tmp_path))
    for _ in range(12):  # the first one fills the cache of compiled modules
        for name, code in IMPORTS.items():
            timed = f"import time; t = time.perf_counter(); {code}; print(time.perf_counter() - t)"
            command = [sys.executable, "-c", timed]
            found = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
            took[name].append(1e3 * float(found.stdout))
    median = {name: statistics.median(times[1:]) for name, times in took.items()}
    for name, code in IMPORTS.items():
        ratio = median[name] / median["numpy"]
        numbers = {f"{name}_ms": median[name]}
        if name != "numpy":
            numbers[f"{name}_over_numpy_ratio"] = ratio
        figures(f"import   {code:34} {median[name]:7.1f} ms, {ratio:.2f} x import numpy", **numbers)
    figures.want(IMPORT_TARGETS)
