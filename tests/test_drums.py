"""Modules that are struck, in patches: committed while nothing strikes them, struck by gates and by cables."""

from __future__ import annotations

import numpy as np
import pytest

import pyengine
from pyengine.specs import registry

DRUMS = [m.name for m in registry().modules if any(p.name == "gate" and p.default == 0 for p in m.params)]
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
