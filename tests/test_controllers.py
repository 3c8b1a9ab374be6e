"""Controllers of MIDI: how they are written, and where they turn a parameter to."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_voices import levels

from pyengine import Patch, registry
from pyengine.controllers import Controller, op_at, parse_controllers, resolve, value_at
from pyengine.errors import CommandError, PatchError
from pyengine.midi import MidiEvent, Routes, ops_of

RATE_HZ = 48000
PARAMS = [(spec.name, param) for spec in registry().modules for param in spec.params if not param.is_event]


def test_a_mapping_has_a_number_a_parameter_and_perhaps_a_channel_and_a_range() -> None:
    assert parse_controllers(["74=filt1.cutoff", "2:7=a.gain=0..0.5", "pressure=p.filt.q=-1e2..3", "1=a.b=9..-2"]) == (
        Controller(74, "filt1.cutoff"),
        Controller(7, "a.gain", 2, 0.0, 0.5),
        Controller("pressure", "p.filt.q", 0, -100.0, 3.0),
        Controller(1, "a.b", 0, 9.0, -2.0),
    )


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "maps no controller"),
        ("74", "maps no controller"),
        ("74=filt1", "maps no controller"),
        ("x=filt1.cutoff", "maps no controller"),
        ("-1=filt1.cutoff", "maps no controller"),
        ("74=filt1.cutoff=1", "maps no controller"),
        ("128=filt1.cutoff", "0..127"),
        ("0:1=filt1.cutoff", "1..16"),
        ("17:1=filt1.cutoff", "1..16"),
        ("1=filt1.cutoff=a..b", "no range"),
        ("1=filt1.cutoff=nan..1", "no range"),
        ("1=filt1.cutoff=0..inf", "no range"),
    ],
)
def test_what_is_no_mapping_is_refused(text: str, why: str) -> None:
    with pytest.raises(CommandError, match=why):
        parse_controllers([text])


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("1=nobody.cutoff", "unknown module id 'nobody'"),
        ("1=filt1.cutof", "did you mean 'cutoff'"),
        ("1=filt1.cutoff=1..90000", "outside 10..23990 Hz"),
        ("1=poly.note_on", "is a deed"),
    ],
)
def test_what_a_patch_has_not_is_told(text: str, why: str) -> None:
    patch = levels(1).create("filt1", "biquad_filter")
    (controller,) = parse_controllers([text])
    with pytest.raises(PatchError, match=why):
        resolve(patch, controller, RATE_HZ)


@pytest.mark.parametrize(("type", "param"), PARAMS, ids=[f"{type}.{param.name}" for type, param in PARAMS])
def test_every_parameter_is_turned_from_one_end_of_its_range_to_the_other(type: str, param: object) -> None:
    patch = Patch().create("a", type)
    controller = Controller(1, f"a.{param.name}")  # type: ignore[attr-defined]
    _, spec, low, high = resolve(patch, controller, RATE_HZ)
    values = [value_at(spec, n / 127, low, high) for n in range(128)]
    assert (values[0], values[-1]) == (low, high)
    assert values == sorted(values)
    for n in range(128):
        kind, id, name, value = op_at(patch, controller, n / 127, RATE_HZ)
        assert spec.parse(value, RATE_HZ) == value  # it is one that the engine takes
        assert (kind, id, name) == (("gate", "a", None) if spec.is_gate else ("mod", "a", spec.name))


@given(st.floats(0, 1), st.floats(10, 23990), st.floats(10, 23990))
def test_a_range_of_its_own_is_kept_to_and_may_be_turned_round(place: float, low: float, high: float) -> None:
    spec = registry()["biquad_filter"].param("cutoff")
    value = value_at(spec, place, low, high, is_own=False)
    assert min(low, high) <= value <= max(low, high)
    assert value == value_at(spec, 1.0 - place, high, low, is_own=False) or place in (0, 1) or 1 - (1 - place) != place
    middle = value_at(spec, 0.5, 100, 10000, is_own=False)
    assert middle == pytest.approx(1000)  # as the ear has it


def test_a_controller_that_is_mapped_turns_that_and_nothing_else() -> None:
    patch = levels(2).create("filt1", "biquad_filter")
    pedal = MidiEvent(0.0, 3, "sustain", 0, 1.0)
    assert ops_of(patch, Routes({}, "poly"), pedal) == [("mod", "poly", "sustain", 1.0)]
    one = parse_controllers(["3:64=filt1.q", "64=poly.env.gate", "4:64=filt1.cutoff"])
    assert ops_of(patch, Routes({}, "poly"), pedal, one) == [("mod", "filt1", "q", 20.0), ("gate", "poly.env", None, 1)]
    wheel = MidiEvent(0.0, 1, "control", 1, 0.0)
    assert ops_of(patch, Routes({}, "poly"), wheel, one) == []
