"""Offline rendering of the three-module patch, and what the import costs."""

from __future__ import annotations

import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from machine import compiled_environment
from references import RATE_HZ, envelope, lowpass_sections, sine, three_modules
from scipy import signal

import pyengine

Tell = Callable[[str], None]


def with_scipy(seconds: float) -> np.ndarray[Any, Any]:
    """The same job, whole arrays at once."""
    n = round(seconds * RATE_HZ)
    return np.asarray(signal.sosfilt(lowpass_sections(), sine(n) * envelope(n)).astype(np.float32))


@pytest.mark.parametrize("seconds", [1, 10])
@pytest.mark.parametrize("how", ["pyengine.render", "numpy and scipy"])
def test_render(seconds: int, how: str, benchmark: Any, tell: Tell) -> None:
    patch = three_modules()
    error = np.abs(pyengine.render(patch, seconds=seconds)[:, 0] - with_scipy(seconds)).max()
    assert error < 2e-6, f"off by {error:g}: not worth timing"
    function = with_scipy if how != "pyengine.render" else lambda s: pyengine.render(patch, seconds=s)
    benchmark.pedantic(function, args=(seconds,), rounds=10, warmup_rounds=2)
    stats = benchmark.stats.stats
    speeds = f"{seconds / stats.median:6.0f} x real time, worst of 10 {seconds / stats.max:6.0f} x"
    tell(f"render   {seconds:3} s of sine, adsr, biquad, {how:16}: {speeds}, {1e3 * stats.median:.2f} ms")


IMPORTS = {
    "import numpy": "import numpy",
    "import pyengine": "import pyengine",
    "import pyengine; pyengine.render": "import pyengine; pyengine.render",
}


def test_import_time(tmp_path: Path, tell: Tell) -> None:
    """Each in a fresh interpreter, in turn, so that a busy spell hits all alike."""
    took: dict[str, list[float]] = {name: [] for name in IMPORTS}
    environment = compiled_environment(str(tmp_path))
    for _ in range(12):  # the first one fills the cache of compiled modules
        for name, code in IMPORTS.items():
            timed = f"import time; t = time.perf_counter(); {code}; print(time.perf_counter() - t)"
            command = [sys.executable, "-c", timed]
            found = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
            took[name].append(float(found.stdout))
    median = {name: statistics.median(times[1:]) for name, times in took.items()}
    for name, seconds in median.items():
        tell(f"import   {name:34} {1e3 * seconds:7.1f} ms, {seconds / median['import numpy']:.2f} x import numpy")
