"""What pyengine's own modules play, heard by pyengine's own ears: where both are right, they agree."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import pyengine
from pyengine import Patch

Event = tuple[float, tuple[Any, ...]]


def heard(patch: Patch, seconds: float, events: list[Event]) -> pyengine.ears.Description:
    sound = pyengine.render(patch, seconds=seconds, events=sorted(events, key=lambda event: event[0]), channels=2)
    return pyengine.describe(sound, 48000)


def hits(module: str, times_s: list[float]) -> list[Event]:
    return [(at + hold, ("gate", module, None, gate)) for at in times_s for hold, gate in ((0.0, 1), (0.05, 0))]


def beat(step_s: float, seconds: float) -> list[float]:
    return [float(at) for at in np.arange(0, seconds, step_s)]


@pytest.mark.parametrize("drum", ["kick", "snare", "hihat"])
def test_drums_are_struck_to_the_sample_and_do_not_click(drum: str) -> None:
    found = heard(Patch().create("drum", drum).set("drum", "gate", 0), 4.0, hits("drum", beat(0.5, 4.0)))
    assert found.onsets["times_s"] == pytest.approx(beat(0.5, 4.0), abs=5e-4)
    assert found.tempo is not None
    assert found.tempo["bpm"] == pytest.approx(120, abs=0.05)
    assert (found.clicks["n"], found.dropouts["n"]) == (0, 0)


def test_a_drum_kit_over_a_bass_is_a_grid_and_a_note() -> None:
    patch = Patch().create("k", "kick").create("s", "snare").create("h", "hihat")
    for drum in "ksh":
        patch = patch.set(drum, "gate", 0)
    patch = patch.create("bass", "osc").create("low", "svf").connect("bass", "low")
    patch = (
        patch.set("bass", "shape", "saw").set("bass", "freq", 55.0).set("bass", "gain", 0.2).set("low", "cutoff", 900.0)
    )
    events = hits("k", [0.0, 1.0, 2.0, 3.0]) + hits("s", [0.5, 1.5, 2.5, 3.5]) + hits("h", beat(0.25, 4.0))
    found = heard(patch, 4.0, events)
    assert found.onsets["times_s"] == pytest.approx(beat(0.25, 4.0), abs=1e-3)
    assert found.pitch is not None
    assert found.pitch["note"] == "A1"
    assert found.clicks["n"] == 0
    assert "120 bpm" in found.summary


def test_a_melody_of_the_oscillator_and_the_envelope_is_heard_note_by_note() -> None:
    patch = Patch().create("osc", "osc").create("env", "adsr").connect("osc", "env").set("env", "gate", 0)
    patch = patch.set("osc", "shape", "saw").set("osc", "gain", 0.2)
    events: list[Event] = []
    for number, hz in enumerate((220.0, 261.63, 329.63, 440.0)):
        at = 0.5 * number
        events += [
            (at, ("mod", "osc", "freq", hz)),
            (at, ("gate", "env", None, 1)),
            (at + 0.25, ("gate", "env", None, 0)),
        ]
    found = heard(patch, 2.2, events)
    assert [note["note"] for note in found.notes["list"]] == ["A3", "C4", "E4", "A4"]
    assert [note["begin_s"] for note in found.notes["list"]] == pytest.approx([0.0, 0.5, 1.0, 1.5], abs=5e-3)
    assert found.clicks["n"] == 0


@pytest.mark.parametrize(("color", "least", "most"), [("white", 0.9, 1.0), ("pink", 0.1, 0.8), ("brown", 0.0, 0.3)])
def test_noise_has_its_colour_and_no_pitch(color: str, least: float, most: float) -> None:
    found = heard(Patch().create("noise", "noise").set("noise", "color", color), 4.0, [])
    assert found.pitch is None
    assert least <= found.brightness["flatness"] <= most
    assert found.clicks["n"] == 0
