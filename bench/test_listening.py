"""What listening costs: the callback, which keeps what it puts out; the engine's loop, while it is listened to; and
how long a description takes.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from figures import Figures, at_least, at_most
from references import RATE_HZ, play_three_modules

import pyengine
from pyengine import _native, commands
from pyengine._native import ffi, lib

REQUEST_FRAMES = 64
KEEP_TARGETS = {"more_percent": at_most(0.1)}  # of the period of a request
LOOP_TARGETS = {"listened_over_idle_ratio": at_most(3)}
SPEED_TARGETS = {"speed_x_real_time": at_least(3)}


def test_what_the_callback_pays_for_keeping(figures: Figures) -> None:
    """Requests that find no block, with 30 s kept and without, in turn: the least of each, which nobody disturbed."""
    config = _native.Config(sample_rate_hz=RATE_HZ)
    segments = [_native.Segment.create(config) for _ in range(2)]
    outputs = [_native.Output(segment) for segment in segments]
    outputs[1].keep(30 * round(RATE_HZ))
    buffer, took_ns = ffi.new("float[]", REQUEST_FRAMES * config.n_channels), ([], [])
    for _ in range(1000):
        for output, times in zip(outputs, took_ns, strict=True):
            start = time.perf_counter_ns()
            for _ in range(50):
                lib.pe_output_process(output.pointer, buffer, REQUEST_FRAMES)
            times.append((time.perf_counter_ns() - start) / 50)
    without, kept = (float(np.min(times)) for times in took_ns)
    period_ns = 1e9 * REQUEST_FRAMES / RATE_HZ
    figures(
        f"listening: a request of {REQUEST_FRAMES} frames takes {kept - without:.0f} ns more where 30 s are kept",
        more_ns=kept - without,
        more_percent=100 * (kept - without) / period_ns,
    )
    figures.want(KEEP_TARGETS)
    for output, segment in zip(outputs, segments, strict=True):
        output.close()
        segment.close()


def test_what_the_loop_notices_of_a_description(figures: Figures, tmp_path: Path) -> None:
    """Status asked for over and over, while 5 s are described again and again and while nothing is, in turn."""
    with pyengine.Engine("none", recordings=tmp_path, prime_timeout_ms=20_000) as engine:
        play_three_modules(engine)
        while engine.frames < 6 * RATE_HZ:
            time.sleep(0.1)
        took_ms: dict[bool, list[float]] = {True: [], False: []}
        answers: list[float] = []
        for _ in range(5):
            start = time.perf_counter()
            future = engine.submit(commands.EngineListen(5.0))
            took_ms[True] += _asked(engine, lambda f=future: f.done())
            answers.append(time.perf_counter() - start)
            assert future.result()["frames"] == 5 * RATE_HZ
            until = time.perf_counter() + 1.0
            took_ms[False] += _asked(engine, lambda u=until: time.perf_counter() > u)
        listened, idle = (float(np.median(took_ms[which])) for which in (True, False))
        figures(
            f"listening: /engine/status takes {listened:.2f} ms while 5 s are described, {idle:.2f} ms else; "
            f"the description {np.median(answers):.2f} s",
            listened_over_idle_ratio=listened / idle,
            answer_s=float(np.median(answers)),
        )
        figures.want(LOOP_TARGETS)


def _asked(engine: pyengine.Engine, is_over: object) -> list[float]:
    times = []
    while not is_over():  # type: ignore[operator]
        start = time.perf_counter()
        engine.status()
        times.append(1e3 * (time.perf_counter() - start))
        time.sleep(0.002)
    return times


@pytest.mark.parametrize("seconds", [5, 30])
def test_how_long_a_description_takes(seconds: int, figures: Figures) -> None:
    rng = np.random.default_rng(1)
    at = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    tone = 0.2 * np.sin(2 * np.pi * 220 * at)[:, None] + 0.02 * rng.standard_normal((len(at), 2))
    samples = tone.astype(np.float32)
    found = pyengine.describe(samples, RATE_HZ)
    assert found.pitch is not None and found.pitch["note"] == "A3"
    times = []
    for _ in range(5):
        start = time.perf_counter()
        pyengine.describe(samples, RATE_HZ)
        times.append(time.perf_counter() - start)
    took_s = float(np.median(times))
    figures(
        f"listening: {seconds} s of stereo are described in {took_s:.2f} s",
        speed_x_real_time=seconds / took_s,
        took_s=took_s,
    )
    figures.want(SPEED_TARGETS)
