from __future__ import annotations

import math
import pickle
import re
from pathlib import Path

import pytest
from strategies import REGISTRY

from pyengine import specs
from pyengine.errors import ParamRangeError, UnknownNameError
from pyengine.limits import MAX_CABLES, MAX_NODES
from pyengine.specs import nearest_name, number_text, parse_gate, registry

API_H = Path(__file__).parents[1] / "csrc" / "api.h"


def _constant(name: str) -> int:
    match = re.search(rf"#define {name} (\d+)", API_H.read_text())
    assert match, name
    return int(match[1])


def test_the_flags_and_limits_are_those_of_the_c_header() -> None:
    names = ("RAMPED", "NYQUIST", "GATE", "INTEGER", "CABLE")
    mine = (specs._RAMPED, specs._NYQUIST, specs._GATE, specs._INTEGER, specs._CABLE)
    looks = (_constant("PE_CABLE_FRAMES"), _constant("PE_CABLE_EVENT_FRAMES"))
    assert looks == (specs._CABLE_FRAMES, specs._CABLE_EVENT_FRAMES)
    assert mine == tuple(_constant(f"PE_PARAM_{name}") for name in names)
    assert (_constant("PE_MAX_NODES"), _constant("PE_MAX_CABLES")) == (MAX_NODES, MAX_CABLES)


def test_a_maximum_that_follows_nyquist_is_ten_hertz_below_it() -> None:
    cutoff = REGISTRY["biquad_filter"].param("cutoff")
    assert cutoff.range_at(48_000) == (10, 23_990)
    assert cutoff.range_at(None) == (10, math.inf)
    assert REGISTRY["biquad_filter"].param("q").range_at(48_000) == (0.1, 20)


def test_an_alias_names_the_same_parameter() -> None:
    spec = REGISTRY["biquad_filter"]
    assert spec.param("resonance") is spec.param("q")
    assert spec.param("q").index == 1
    with pytest.raises(UnknownNameError, match="did you mean 'cutoff'"):
        spec.param("cutof")
    with pytest.raises(UnknownNameError):
        spec.param("")


def test_an_unknown_type_gets_the_nearest_name_whatever_its_case() -> None:
    for wrong in ("simple_sin", "Simple_Sine", "sin", "SIMPLESINE"):
        with pytest.raises(UnknownNameError) as caught:
            REGISTRY.get(wrong)
        assert caught.value.nearest == "simple_sine"
        assert "did you mean 'simple_sine'" in str(caught.value)
    with pytest.raises(UnknownNameError, match="must be a string"):
        REGISTRY.get(3)  # type: ignore[arg-type]


def test_the_registry_is_a_mapping_in_order_and_can_be_pickled() -> None:
    assert list(REGISTRY)[:3] == ["simple_sine", "adsr", "biquad_filter"]
    assert len(REGISTRY) == len(set(REGISTRY)) and "adsr" in REGISTRY and "nothing" not in REGISTRY
    assert [module.index for module in REGISTRY.modules] == list(range(len(REGISTRY)))
    assert pickle.loads(pickle.dumps(REGISTRY)) == REGISTRY


def test_a_listing_shows_unit_range_and_default() -> None:
    listing = REGISTRY["biquad_filter"].as_dict(48_000)
    cutoff = listing["params"][0]
    assert (cutoff["unit"], cutoff["min"], cutoff["max"], cutoff["default"]) == ("Hz", 10, 23_990, 2000)
    assert cutoff["range"] == "10..23990 Hz (Nyquist - 10 at 48000 Hz)"
    assert REGISTRY["biquad_filter"].as_dict()["params"][0]["max"] is None
    assert listing["params"][2]["choices"][7] == "allpass"


@pytest.mark.parametrize("value", [0, 0.0, -0.0, False, "off", "OFF", "false", "False"])
def test_a_gate_is_off_for(value: object) -> None:
    assert parse_gate(value) == 0


@pytest.mark.parametrize("value", [1, 1.0, True, "on", "On", "true", "TRUE"])
def test_a_gate_is_on_for(value: object) -> None:
    assert parse_gate(value) == 1


@pytest.mark.parametrize("value", [2, -1, 0.5, math.nan, math.inf, "yes", "1", "", None, [], b"on", 1j])
def test_a_gate_refuses(value: object) -> None:
    with pytest.raises(ParamRangeError, match="neither on nor off; give 0, 1, true, false, 'on' or 'off'"):
        parse_gate(value)


@pytest.mark.parametrize("value", [True, None, "440", math.nan, math.inf, -math.inf, [], 10**400, 1j])
def test_a_plain_parameter_refuses(value: object) -> None:
    with pytest.raises(ParamRangeError):
        REGISTRY["simple_sine"].param("gain").parse(value)


def test_a_choice_is_taken_by_name_or_whole_number() -> None:
    mode = REGISTRY["biquad_filter"].param("mode")
    assert mode.parse("notch") == mode.parse(3) == mode.parse(3.0) == 3.0
    with pytest.raises(ParamRangeError, match="did you mean 'notch'"):
        mode.parse("Notsch")
    with pytest.raises(ParamRangeError, match="not a whole number"):
        mode.parse(1.5)
    with pytest.raises(ParamRangeError, match=r"outside 0\.\.7; lower it"):
        mode.parse(8)


@pytest.mark.parametrize(
    ("wrong", "nearest"),
    [
        ("ocs", "osc"),  # letters that changed places, before what has more letters in common
        ("sine", "simple_sine"),  # a word of it, before what is spelt alike
        ("filter", "biquad_filter"),
        ("pluk", "pluck"),
        ("sampel", "sampler"),
        ("lowpass", ""),
        ("bass", ""),
    ],
)
def test_the_nearest_name_is_one_that_was_meant_or_none(wrong: str, nearest: str) -> None:
    assert nearest_name(wrong, registry().names) == nearest
    assert nearest_name("osc", ["bass", "bass.osc", "bass.env"]) == "bass.osc"


def test_an_unknown_type_is_told_all_that_there_are() -> None:
    with pytest.raises(UnknownNameError) as caught:
        registry().get("lowpass")
    assert all(name in str(caught.value) for name in registry().names)


@pytest.mark.parametrize(
    ("module", "param", "value", "said"),
    [
        ("osc", "freq", "A2", "give a number, 0..23990 Hz (Nyquist - 10 at 48000 Hz); the note A2 is 110.00 Hz"),
        ("osc", "freq", "500hz", "freq='500hz' is not a number; give a number, 0..23990 Hz"),
        ("reverb", "decay", 4, "decay=4 ms is outside 100..60000 ms; raise it (4 s are 4000 ms)"),
        ("kick", "velocity", 100, r"lower it (100 of MIDI's 127 is 0.787, 100 % is 1)"),
        ("mixer", "level1", 127, r"lower it (127 of MIDI's 127 is 1)"),
        ("seq", "accent", 50.5, "accent=50.5 is outside 0..4; lower it"),
        ("biquad_filter", "q", 64, "q=64 is outside 0.1..20; lower it"),
        ("reverb", "decay", 4e9, "decay=4000000000 ms is outside 100..60000 ms; lower it"),
    ],
)
def test_a_value_of_another_unit_is_told_what_it_would_be(module: str, param: str, value: object, said: str) -> None:
    with pytest.raises(ParamRangeError) as caught:
        registry()[module].param(param).parse(value, 48000)
    assert said in str(caught.value)


def test_the_search_for_a_name_is_quick_among_many() -> None:
    names = [f"osc{number}" for number in range(20_000)]
    assert nearest_name("osc", []) == ""
    assert nearest_name("osx12", names).startswith("osc")
    assert nearest_name("x" * 100_000, names) == ""


def test_numbers_are_written_without_losing_digits() -> None:
    assert [number_text(v) for v in (24_000.0, 0.1, 1234567.0, 23_990.0000001)] == [
        "24000",
        "0.1",
        "1234567",
        "23990.0000001",
    ]
