"""Replay of a session log, and what the logging costs the file system."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from figures import Figures
from references import RATE_HZ, three_modules

import pyengine
from pyengine.commands import SetParam


@pytest.mark.parametrize("settings_a_second", [0, 10, 1000])
def test_replay(settings_a_second: int, tmp_path: Path, benchmark: Any, figures: Figures) -> None:
    """A minute of three modules, played on the free-running clock."""
    seconds, path = 60, tmp_path / "a.session"
    with pyengine.Engine("free", session=path, prime_timeout_ms=20_000) as engine:
        for node in (patch := three_modules()).nodes.values():
            engine.create(node.id, node.type)
        for cable in patch.cables:
            engine.connect(*patch.cable_text(cable))
        engine.commit()
        if settings_a_second:
            for _ in range(10 * seconds):
                engine.advance(0.1)
                for n in range(settings_a_second // 10):
                    engine.submit(SetParam("filt1", "cutoff", 500.0 + n))
        else:
            engine.advance(float(seconds))
    sound, facts = pyengine.replay(path)
    assert facts.warnings == [] and len(sound) >= seconds * RATE_HZ
    benchmark.pedantic(pyengine.replay, args=(path,), rounds=5, warmup_rounds=1)
    stats = benchmark.stats.stats
    speed = len(sound) / RATE_HZ / stats.median
    size = f"{path.stat().st_size / 1e3:.0f} kB"
    what = f"{seconds} s of sine, adsr, biquad, {settings_a_second:4} settings a s"
    figures(
        f"replay   {what}: {speed:6.0f} x real time, log of {size}",
        speed_x_real_time=speed,
        log_kb=path.stat().st_size / 1e3,
    )
