"""Drums and what is behind them, in patches: committed while nothing strikes, struck by gates and cables, killed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from live import Live, assert_same, stereo

import pyengine
from pyengine.specs import registry

DRUMS = [
    m.name
    for m in registry().modules
    if not m.data and any(p.name == "gate" and p.default == 0 for p in m.params)  # with data: test_samples.py
]
every_drum = pytest.mark.parametrize("drum", DRUMS)


def alone(drum: str) -> pyengine.Patch:
    return pyengine.Patch().create("d", drum)


@every_drum
def test_a_commit_takes_a_drum_that_nothing_strikes_and_nothing_is_heard_of_it(drum: str) -> None:
    with pyengine.Engine("free", osc_port=0) as engine:
        engine.create("d", drum)
        assert engine.commit()["warmup"]["max_rms"] > 0.001
    assert not np.any(pyengine.render(alone(drum), seconds=0.5))


@every_drum
def test_a_gate_strikes_it_at_its_frame(drum: str) -> None:
    sound = pyengine.render(alone(drum), seconds=0.5, events=[(0.25, ("gate", "d", None, 1))])
    assert not np.any(sound[:12000])
    assert np.abs(sound[12000:13000]).max() > 0.05


@every_drum
def test_a_cable_strikes_it_as_often_as_it_rises(drum: str) -> None:
    """A sine of 4 Hz and gain 1 is at 0.5 a twelfth of its period in: 1000 frames, then every 12000."""
    patch = alone(drum).create("lfo", "simple_sine").set("lfo", "freq", 4.0).set("lfo", "gain", 1.0)
    patch.connect("lfo", "d.gate")
    sound = pyengine.render(patch, seconds=1.0)
    gates = [(f / 48000, ("gate", "d", None, 1)) for f in range(1000, 48000, 12000)]
    np.testing.assert_array_equal(sound, pyengine.render(alone(drum), seconds=1.0, events=gates))


def test_a_hihat_is_struck_open_by_its_other_gate_and_choked_by_the_first() -> None:
    opened = pyengine.render(alone("hihat"), seconds=1.0, events=[(0.0, ("mod", "d", "open", 1))])
    choked = pyengine.render(
        alone("hihat"), seconds=1.0, events=[(0.0, ("mod", "d", "open", 1)), (0.25, ("gate", "d", None, 1))]
    )
    assert np.abs(opened[24000:]).max() > 0.005
    assert np.abs(choked[24000:]).max() < 1e-6


def test_a_beat_through_compressor_and_limiter_loses_no_bit_to_the_deaths_of_its_workers(tmp_path: Path) -> None:
    """Envelopes, noise, filters and the limiter's look-ahead go on from checkpoints, in the middle of strikes."""
    modules = {
        "d": "kick",
        "s": "snare",
        "h": "hihat",
        "f": "svf",
        "c": "compressor",
        "l": "limiter",
        "lfo": "simple_sine",
    }
    settings = [("lfo", "freq", 9.0), ("lfo", "gain", 2.0), ("l", "gain", 8.0)]
    cables = [
        ("lfo", "d.gate"), ("lfo", "h.open"), ("lfo", "s.gate"), ("lfo", "f.shift"),
        ("h", "f"), ("f.band", "c.left"), ("s", "c.left"), ("d", "c.left"), ("c.left", "l.left"),
    ]  # fmt: skip
    patch = pyengine.Patch()
    with Live(tmp_path) as live:
        for to in (patch, live.client):
            for id, type in modules.items():
                to.create(id, type)
            for id, param, value in settings:
                to.set(id, param, value)
            for source, dest in cables:
                to.connect(source, dest)
        first = int(live.commit(crossfade_ms=0)["frame"])
        live.await_redundancy()
        for n in range(4):
            live.advance(3000 + 777 * n)
            live.await_redundancy()
            live.kill(n % 2)
        live.await_redundancy()
        live.advance(9600)
        x, counters = live.samples(), live.counters()
    expected = stereo(patch, len(x) - first)
    assert np.abs(expected).max() > 0.5
    assert_same(x[first:], expected)
    assert counters["frames_underrun"] == 0
