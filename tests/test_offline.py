"""render(): what a user of the Python API relies on."""

from __future__ import annotations

import inspect
import math
import re
import shutil
import subprocess
import sys
import textwrap
import tracemalloc
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from strategies import SAMPLE_RATE_HZ, patches

import pyengine
from pyengine import EngineError, Patch, PatchError, _core, render
from pyengine.errors import CommandError, ParamRangeError, UnknownNameError
from pyengine.offline import Event

ROOT = Path(__file__).resolve().parents[1]


def tone(**params: float) -> Patch:
    patch = Patch().create("osc1", "simple_sine")
    for name, value in params.items():
        patch.set("osc1", name, value)
    return patch


def switch() -> Patch:
    """An envelope that is 1 from the frame its gate opens at and 0 from the frame it closes at; closed."""
    patch = Patch().create("env1", "adsr").gate("env1", 0).set("env1", "sustain", 1)
    for name in ("attack", "decay", "release"):
        patch.set("env1", name, 0)
    return patch


def voice() -> Patch:
    patch = Patch().create("osc1", "simple_sine").create("env1", "adsr").create("filt1", "biquad_filter")
    return patch.connect("osc1", "env1").connect("env1", "filt1").connect("osc1", "filt1.q")


def same_bits(a: NDArray[np.float32], b: NDArray[np.float32]) -> bool:
    return a.shape == b.shape and a.tobytes() == b.tobytes()


def shipped(patch: Patch) -> Patch:
    """Return the patch with the module types of the C registry."""
    return Patch.from_json(patch.to_json())


# ---- shape, length, channels, rates --------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 2, 3, 8])
@pytest.mark.parametrize("frames", [1, 63, 64, 65, 1000])
def test_the_result_is_float32_frames_by_channels_all_channels_alike(frames: int, channels: int) -> None:
    x = render(tone(), frames=frames, channels=channels)
    assert x.shape == (frames, channels)
    assert x.dtype == np.float32
    assert x.flags.c_contiguous and x.flags.owndata and x.flags.writeable
    assert all(same_bits(x[:, c], x[:, 0]) for c in range(channels))
    assert same_bits(x[:, :1], render(tone(), frames=frames))


def test_channels_none_is_one() -> None:
    assert render(tone(), frames=10, channels=None).shape == (10, 1)


@pytest.mark.parametrize(
    ("seconds", "rate_hz", "frames"),
    [(1, 48000, 48000), (0.5, 44100, 22050), (1e-5, 48000, 0), (1.05e-5, 48000, 1), (0.1, 11025, 1103), (0, 8000, 0)],
)
def test_seconds_are_rounded_to_the_nearest_frame(seconds: float, rate_hz: float, frames: int) -> None:
    assert len(render(tone(), seconds, sample_rate=rate_hz)) == frames
    assert len(render(tone(), seconds=seconds, sample_rate=rate_hz)) == frames


@pytest.mark.parametrize("rate_hz", [8000, 11025, 22050, 44100, 48000, 88200, 96000, 192000, 44099.5])
def test_a_tone_has_its_pitch_and_level_at_every_rate(rate_hz: float) -> None:
    x = render(tone(freq=1000, gain=0.5), frames=4000, sample_rate=rate_hz)[:, 0]
    expected = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(4000) / rate_hz)
    assert abs(x - expected).max() < 1e-6  # the sine's error is 1.2e-7, of 0.5, and float32 has 6e-8


@pytest.mark.parametrize("rate_hz", [8000, 44100, 192000])
def test_times_are_times_at_every_rate(rate_hz: int) -> None:
    patch = switch().set("env1", "attack", 50).gate("env1", 1)
    x = render(patch, 0.1, sample_rate=rate_hz)[:, 0]
    full = round(0.05 * rate_hz)
    assert x[full] == 1.0 and x[full - 1] < 1.0
    assert np.allclose(x[:full], np.arange(full) / full, atol=1e-7)


def test_a_value_valid_at_one_rate_is_refused_at_a_lower_one() -> None:
    patch = tone(freq=5000)
    assert render(patch, frames=1).shape == (1, 1)
    with pytest.raises(ParamRangeError, match=r"node 'osc1': freq=5000 Hz is outside 0\.\.3990 Hz .*at 8000 Hz"):
        render(patch, frames=1, sample_rate=8000)
    event = (0.0, ("mod", "osc1", "freq", 5000))
    with pytest.raises(ParamRangeError, match="outside"):
        render(tone(), frames=1, sample_rate=8000, events=[event])


@pytest.mark.parametrize("channels", [1, 2])
def test_zero_frames_give_an_empty_array(channels: int) -> None:
    x = render(tone(), frames=0, channels=channels, events=[(0, ("mod", "osc1", "gain", 1))])
    assert x.shape == (0, channels) and x.dtype == np.float32


def test_an_empty_patch_is_silence() -> None:
    x = render(Patch(), frames=1000, channels=2)
    assert x.shape == (1000, 2) and not x.any()


def test_a_patch_is_not_changed_by_rendering_and_renders_the_same_again() -> None:
    patch = voice().set("filt1", "cutoff", 900)
    text, structure, handle = patch.to_json(), patch.structure(), patch.next_handle
    events: list[Event] = [(0.01, ("mod", "filt1", "cutoff", 3000)), (0.02, ("gate", "env1", None, 0))]
    first = render(patch, 0.05, events=events)
    assert same_bits(first, render(patch, 0.05, events=events))
    assert (patch.to_json(), patch.structure(), patch.next_handle) == (text, structure, handle)
    assert same_bits(first, render(patch.copy(), 0.05, events=iter(events)))


# ---- events ----------------------------------------------------------------------------------------------


def random_op(draw: st.DrawFn, patch: Patch) -> Sequence[object]:
    id = draw(st.sampled_from(list(patch.nodes)))
    param = draw(st.sampled_from(patch.spec(id).params))
    low, high = param.range_at(SAMPLE_RATE_HZ)
    if param.is_gate:
        return ("gate", id, None, draw(st.integers(0, 1)))
    value = draw(st.integers(int(low), int(high)) if param.is_integer else st.floats(low, high))
    return ("mod", id, param.name, value)


@st.composite
def jobs(draw: st.DrawFn) -> tuple[Patch, list[Event], int]:
    """Return a random patch, events in no order, and a number of frames."""
    patch = shipped(draw(patches()))
    n_frames = draw(st.integers(1, 2000))
    n_events = draw(st.integers(0, 12)) if patch.nodes else 0
    frames = st.integers(0, n_frames + 10)
    return patch, [(draw(frames) / SAMPLE_RATE_HZ, random_op(draw, patch)) for _ in range(n_events)], n_frames


@settings(max_examples=120)
@given(job=jobs(), is_immediate=st.booleans(), blocks=st.lists(st.integers(1, 8192), min_size=1, max_size=3))
def test_every_block_size_gives_the_same_bits(
    job: tuple[Patch, list[Event], int], is_immediate: bool, blocks: list[int]
) -> None:
    patch, events, n_frames = job
    whole = render(patch, frames=n_frames, events=events, immediate=is_immediate)
    assert np.isfinite(whole).all()
    for block in (1, *blocks):
        part = render(patch, frames=n_frames, events=events, block_frames=block, immediate=is_immediate)
        assert same_bits(part, whole), f"block_frames={block}"


@settings(max_examples=60)
@given(job=jobs(), shorter=st.integers(0, 2000))
def test_a_shorter_render_is_the_beginning_of_a_longer_one(job: tuple[Patch, list[Event], int], shorter: int) -> None:
    patch, events, n_frames = job
    n = min(shorter, n_frames)
    assert same_bits(render(patch, frames=n, events=events), render(patch, frames=n_frames, events=events)[:n])


@pytest.mark.parametrize("block", [1, 7, 64, 100, 8192])
@pytest.mark.parametrize("rate_hz", [8000, 44100, 48000, 192000])
def test_a_gate_at_frame_n_changes_sample_n_and_none_before(rate_hz: int, block: int) -> None:
    for n in (0, 1, 62, 63, 64, 65, 127, 128, 999, 4095, 4409):
        x = render(
            switch(),
            frames=4410,
            events=[(n / rate_hz, ("gate", "env1", None, 1))],
            sample_rate=rate_hz,
            block_frames=block,
        )[:, 0]
        assert not x[:n].any()
        assert (x[n:] == 1).all()


@settings(max_examples=200)
@given(at_s=st.floats(0, 0.02), rate_hz=st.sampled_from([8000, 44100, 48000, 96000]))
def test_an_event_lands_on_the_nearest_frame(at_s: float, rate_hz: int) -> None:
    n_frames = round(0.02 * rate_hz) + 2
    x = render(switch(), frames=n_frames, events=[(at_s, ("gate", "env1", None, 1))], sample_rate=rate_hz)[:, 0]
    landed = int(np.flatnonzero(x)[0])
    distance = abs(landed - Fraction(at_s) * rate_hz)
    assert distance <= Fraction(1, 2) + Fraction(1, 10**9)  # the product is rounded to a double


def test_events_of_one_frame_take_effect_in_the_order_given() -> None:
    open_, close = ("gate", "env1", None, 1), ("gate", "env1", None, 0)
    n = 100 / 48000
    assert render(switch(), frames=200, events=[(n, close), (n, open_)])[100:].all()
    assert not render(switch(), frames=200, events=[(n, open_), (n, close)]).any()
    louder, softer = ("mod", "osc1", "gain", 0.9), ("mod", "osc1", "gain", 0.3)
    last = render(tone(gain=0.5), frames=200, events=[(n, softer)], immediate=True)
    assert same_bits(render(tone(gain=0.5), frames=200, events=[(n, louder), (n, softer)], immediate=True), last)


def test_events_whose_times_round_to_one_frame_keep_their_order() -> None:
    open_, close = ("gate", "env1", None, 1), ("gate", "env1", None, 0)
    late, early = 100.3 / 48000, 99.7 / 48000
    assert not render(switch(), frames=200, events=[(late, open_), (early, close)]).any()


def test_events_out_of_order_in_the_list_are_put_in_order() -> None:
    events: list[Event] = [
        (0.001 * n, ("mod", "filt1", "cutoff", 200.0 + 300 * n) if n % 3 else ("gate", "env1", None, n % 2))
        for n in range(40)
    ]
    ordered = render(voice(), 0.05, events=events)
    assert same_bits(render(voice(), 0.05, events=events[::-1]), ordered)
    assert same_bits(render(voice(), 0.05, events=events[1::2] + events[::2]), ordered)


def test_immediate_leaves_out_the_ramp() -> None:
    events: list[Event] = [(100 / 48000, ("mod", "osc1", "gain", 1.0))]
    one = render(tone(gain=1), frames=2000)[:, 0]
    at_once = render(tone(gain=0), frames=2000, events=events, immediate=True)[:, 0]
    ramped = render(tone(gain=0), frames=2000, events=events)[:, 0]
    assert not at_once[:100].any() and not ramped[:101].any()
    assert same_bits(at_once[100:], one[100:])
    n_ramp = 240  # 5 ms
    assert same_bits(ramped[100 + n_ramp :], one[100 + n_ramp :])
    weight = np.arange(n_ramp) / n_ramp
    assert np.allclose(ramped[100 : 100 + n_ramp], weight * one[100 : 100 + n_ramp], atol=1e-6)


def test_an_event_at_frame_0_is_as_if_set_before() -> None:
    events: list[Event] = [(0, ("mod", "filt1", "cutoff", 500)), (0.0, ("gate", "env1", None, "off"))]
    set_before = voice().set("filt1", "cutoff", 500).gate("env1", 0)
    assert same_bits(render(voice(), frames=500, events=events), render(set_before, frames=500))


def test_events_beyond_the_end_are_ignored_but_checked() -> None:
    plain = render(tone(), frames=480)
    for at_s in (480 / 48000, 0.5, 3600.0, 86400):
        assert same_bits(render(tone(), frames=480, events=[(at_s, ("mod", "osc1", "gain", 0))]), plain)
    with pytest.raises(UnknownNameError, match="osc9"):
        render(tone(), frames=480, events=[(100, ("mod", "osc9", "gain", 0))])


def test_aliases_choices_and_gate_words_are_taken_in_events() -> None:
    for op, same in [
        (("mod", "filt1", "resonance", 5), ("mod", "filt1", "q", 5.0)),
        (["mod", "filt1", "filter_mode", "highpass"], ("mod", "filt1", "mode", 1)),
        (("gate", "env1", None, "off"), ("mod", "env1", "gate", 0)),
        (("gate", "env1", None, False), ["gate", "env1", None, 0]),
    ]:
        a, b = (render(voice(), frames=500, events=[[0.005, o]]) for o in (op, same))  # type: ignore[list-item]
        assert same_bits(a, b)
        assert not same_bits(a, render(voice(), frames=500))


def test_thousands_of_events_in_one_block_all_count() -> None:
    n_events = 20_000  # more than a live schedule holds, and all within one block of 8192 frames
    frames = [n % 8000 + 100 for n in range(n_events)]
    events: list[Event] = [(f / 48000, ("mod", "osc1", "gain", n / n_events)) for n, f in enumerate(frames)]
    x = render(tone(freq=5000, gain=0), frames=8192, events=events, block_frames=8192, immediate=True)[:, 0]
    unit = render(tone(freq=5000, gain=1), frames=8192)[:, 0]
    gain = np.zeros(8192)
    for n in sorted(range(n_events), key=lambda n: frames[n]):  # stable: of one frame the last counts
        gain[frames[n] :] = n / n_events
    assert same_bits(x, gain.astype(np.float32) * unit + np.float32(0))  # the output's sum begins at +0.0


# ---- numbers of numpy and others --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind", [np.float64, np.float32, np.float16, np.int64, np.int32, np.uint8, Fraction, int, float]
)
def test_a_number_of_any_kind_is_taken_where_a_number_is(kind: Any) -> None:
    patch = tone(freq=kind(100), gain=kind(1))
    x = render(patch, kind(1), sample_rate=np.float32(8000), events=[(kind(1), ("mod", "osc1", "freq", kind(50)))])
    assert same_bits(x, render(tone(freq=100, gain=1), 1, sample_rate=8000))
    events: list[Event] = [(0.5, ("mod", "osc1", "freq", kind(50))), (0.25, ("mod", "osc1", "gain", kind(0)))]
    plain: list[Event] = [(0.5, ("mod", "osc1", "freq", 50)), (0.25, ("mod", "osc1", "gain", 0))]
    assert same_bits(render(patch, 1, events=events), render(patch, 1, events=plain))


@pytest.mark.parametrize("kind", [np.int64, np.int16, np.uint8, int])
def test_a_whole_number_of_any_kind_is_taken_where_one_is(kind: Any) -> None:
    x = render(tone(), frames=kind(100), block_frames=kind(10), channels=kind(2), immediate=np.True_)  # type: ignore[arg-type]
    assert same_bits(x, render(tone(), frames=100, channels=2))


def test_a_float32_time_is_not_rounded_twice() -> None:
    at_s = np.float32(1.3)  # the product in float32 would be off by up to 1 / 256 frame: here 62400.0 from 62399.998
    x = render(switch(), frames=70_000, events=[(at_s, ("gate", "env1", None, np.int64(1)))])[:, 0]
    assert np.flatnonzero(x)[0] == math.floor(float(at_s) * 48000 + 0.5)


# ---- bad input -----------------------------------------------------------------------------------------------

NAN, INF = math.nan, math.inf
BAD_ARGUMENTS = [
    (dict(), "either seconds or frames, and not both"),
    (dict(seconds=1, frames=1), "either seconds or frames, and not both"),
    (dict(seconds=-1), r"seconds=-1 is outside 0\.\.86400 s"),
    (dict(seconds=86401), "seconds=86401 is outside"),
    (dict(seconds=NAN), "seconds=nan is outside"),
    (dict(seconds=INF), "seconds=inf is outside"),
    (dict(seconds=10**400), "seconds=1000.* is outside"),
    (dict(seconds=True), "seconds=True is not a number"),
    (dict(seconds="1"), "seconds='1' is not a number; give 0..86400 s"),
    (dict(seconds=1j), "seconds=1j is not a number"),
    (dict(seconds=np.ones(2)), "is not a number"),
    (dict(frames=-1), "frames=-1 is outside"),
    (dict(frames=2.0), "frames=2.0 is not a whole number"),
    (dict(frames=True), "frames=True is outside"),
    (dict(frames="64"), "frames='64' is not a whole number"),
    (dict(frames=10**12), "frames=1000000000000 is outside"),
    (dict(frames=np.ones(2, int)), "is not a whole number"),
    (dict(frames=int), "is not a whole number"),
    (dict(frames=1, sample_rate=999), r"sample_rate=999 is outside 1000\.\.768000 Hz"),
    (dict(frames=1, sample_rate=768001), "sample_rate=768001 is outside"),
    (dict(frames=1, sample_rate=NAN), "sample_rate=nan is outside"),
    (dict(frames=1, sample_rate=None), "sample_rate=None is not a number"),
    (dict(frames=1, sample_rate="48k"), "sample_rate='48k' is not a number"),
    (dict(frames=1, sample_rate=True), "sample_rate=True is not a number"),
    (dict(frames=1, block_frames=0), r"block_frames=0 is outside 1\.\.8192"),
    (dict(frames=1, block_frames=8193), "block_frames=8193 is outside"),
    (dict(frames=1, block_frames=64.0), "block_frames=64.0 is not a whole number"),
    (dict(frames=1, block_frames=None), "block_frames=None is not a whole number"),
    (dict(frames=1, channels=0), r"channels=0 is outside 1\.\.8"),
    (dict(frames=1, channels=9), "channels=9 is outside"),
    (dict(frames=1, channels="stereo"), "channels='stereo' is not a whole number"),
    (dict(frames=1, immediate="off"), "immediate='off' is neither True nor False"),
    (dict(frames=1, immediate=1), "immediate=1 is neither True nor False"),
    (dict(frames=1, events=None), r"events must be a list of \(seconds, op\), not None"),
    (dict(frames=1, events=7), "events must be a list"),
]


@pytest.mark.parametrize(("arguments", "text"), BAD_ARGUMENTS, ids=lambda value: str(value)[:50])
def test_a_malformed_argument_gives_a_command_error(arguments: dict[str, Any], text: str) -> None:
    with pytest.raises(CommandError, match=text):
        render(tone(), **arguments)


@pytest.mark.parametrize("patch", [None, "osc1", {"version": 1, "nodes": []}, tone().to_json(), Patch])
def test_what_is_no_patch_gives_a_command_error_that_names_from_json(patch: Any) -> None:
    with pytest.raises(
        CommandError, match=r"patch must be a Patch, not .*; Patch\.from_json\(\) reads one, load_patch\(\) a file"
    ):
        render(patch, 1)


BAD_EVENTS = [
    (("gate", "env1", None, 1), r"is no event; give \(seconds, op\)"),
    ("gate", "'gate' is no event"),
    (None, "None is no event"),
    ((), "is no event"),
    ((0,), "is no event"),
    ({0: ("gate", "env1", None, 1)}, "is no event"),
    ((-0.001, ("gate", "env1", None, 1)), "time of an event=-0.001 is outside 0..86400 s"),
    ((NAN, ("gate", "env1", None, 1)), "time of an event=nan is outside"),
    ((INF, ("gate", "env1", None, 1)), "time of an event=inf is outside"),
    ((10**400, ("gate", "env1", None, 1)), "is outside"),
    (("0", ("gate", "env1", None, 1)), "time of an event='0' is not a number"),
    ((None, ("gate", "env1", None, 1)), "time of an event=None is not a number"),
    ((True, ("gate", "env1", None, 1)), "time of an event=True is not a number"),
    ((np.zeros(3), ("gate", "env1", None, 1)), "is not a number"),
    ((0, ()), r"\(\) is no op; give \('mod', id, param, value\)"),
    ((0, None), "None is no op"),
    ((0, "gate"), "'gate' is no op"),
    ((0, ("mod", "osc1", "freq")), "is no op"),
    ((0, ("mod", "osc1", "freq", 1, 2)), "is no op"),
    ((0, np.zeros(4)), "is no op"),
    ((0, ("set", "osc1", "freq", 1)), "op 'set' is unknown; use 'mod' or 'gate'"),
    ((0, (None, "osc1", "freq", 1)), "op None is unknown"),
    ((0, (np.zeros(3), "osc1", "freq", 1)), "is unknown"),
    ((0, ("mod", 1, "freq", 1)), "the id of an op must be a string, not 1"),
    ((0, ("mod", "osc1", 1, 1)), "the parameter of a 'mod' op must be a string, not 1"),
    ((0, ("mod", "osc1", None, 1)), "the parameter of a 'mod' op must be a string"),
    ((0, ("gate", "env1", "gate", 1)), "a 'gate' op has None in third place"),
]


@pytest.mark.parametrize(("event", "text"), BAD_EVENTS, ids=lambda value: str(value)[:50])
def test_a_malformed_event_gives_a_command_error(event: Any, text: str) -> None:
    with pytest.raises(CommandError, match=text):
        render(voice(), frames=1, events=[event])


BAD_OPS = [
    (("mod", "osc2", "freq", 1), UnknownNameError, "unknown module id 'osc2'; did you mean 'osc1'"),
    (("mod", "", "freq", 1), UnknownNameError, "unknown module id ''"),
    (("gate", "osc2", None, 1), UnknownNameError, "did you mean 'osc1'"),
    (("gate", "osc1", None, 1), PatchError, "simple_sine has no gate; module types with one: adsr"),
    (("gate", "env1", None, 0.5), ParamRangeError, "gate=0.5 is neither on nor off"),
    (("gate", "env1", None, "maybe"), ParamRangeError, "gate='maybe' is neither on nor off"),
    (("gate", "env1", None, None), ParamRangeError, "gate=None is neither on nor off"),
    (("mod", "osc1", "frek", 1), UnknownNameError, "did you mean 'freq'"),
    (("mod", "osc1", "freq", -1), ParamRangeError, r"freq=-1 Hz is outside 0\.\.23990 Hz .*raise it"),
    (("mod", "osc1", "freq", 24000), ParamRangeError, "lower it or raise the sample rate"),
    (("mod", "osc1", "freq", NAN), ParamRangeError, "freq=nan is not finite"),
    (("mod", "osc1", "freq", INF), ParamRangeError, "freq=inf is not finite"),
    (("mod", "osc1", "freq", 10**400), ParamRangeError, "is not finite"),
    (("mod", "osc1", "freq", True), ParamRangeError, "freq=True is not a number"),
    (("mod", "osc1", "freq", "440"), ParamRangeError, "freq='440' is not a number"),
    (("mod", "osc1", "freq", None), ParamRangeError, "freq=None is not a number"),
    (("mod", "osc1", "freq", [1]), ParamRangeError, "is not a number"),
    (("mod", "osc1", "freq", np.ones(2)), ParamRangeError, "is not a number"),
    (("mod", "filt1", "mode", 1.5), ParamRangeError, "mode=1.5 is not a whole number"),
    (("mod", "filt1", "mode", "lowpas"), ParamRangeError, "did you mean 'lowpass'"),
    (("mod", "filt1", "mode", 8), ParamRangeError, r"mode=8 is outside 0\.\.7"),
]


@pytest.mark.parametrize(("op", "kind", "text"), BAD_OPS, ids=lambda value: str(value)[:50])
def test_an_op_that_the_patch_does_not_take_gives_a_patch_error(op: Any, kind: type[PatchError], text: str) -> None:
    with pytest.raises(kind, match=text) as caught:
        render(voice(), frames=1, events=[(0, op)])
    assert isinstance(caught.value, EngineError) and isinstance(caught.value, ValueError)


def test_all_faults_of_the_patch_are_reported_at_once_before_anything_is_rendered() -> None:
    patch = tone().set("osc1", "freq", 1e6).create("f1", "biquad_filter").create("f2", "biquad_filter")
    patch.connect("f1", "f2").connect("f2", "f1").set("f1", "cutoff", 1e5)
    with pytest.raises(PatchError) as caught:
        render(patch, 86400)
    assert len(caught.value.faults) == 3
    assert re.search(r"cycle: f1 -> f2 -> f1", str(caught.value))


# ---- size, memory, threads ---------------------------------------------------------------------------------


def test_10000_nodes_render() -> None:
    patch = Patch()
    for n in range(5000):
        patch.create(f"osc{n}", "simple_sine").create(f"filt{n}", "biquad_filter").connect(f"osc{n}", f"filt{n}")
        patch.set(f"osc{n}", "freq", 100 + n).set(f"osc{n}", "gain", 0.001)
    x = render(patch, frames=256)
    assert x.shape == (256, 1) and np.isfinite(x).all() and x.any()
    assert same_bits(x, render(patch, frames=256, block_frames=256))


def resident_kb() -> int:
    text = Path("/proc/self/status").read_text(encoding="ascii")
    return int(re.search(r"VmRSS:\s+(\d+)", text)[1])  # type: ignore[index]


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the resident size from /proc")
def test_a_thousand_renders_leave_no_memory_behind() -> None:
    patch = voice()
    events: list[Event] = [(0.0001 * n, ("mod", "osc1", "freq", 100.0 + n)) for n in range(20)]

    def some(n: int) -> None:
        for _ in range(n):
            render(patch, frames=2000, events=events, block_frames=8192, channels=8)  # 0.5 MB in C alone

    some(50)
    before_kb = resident_kb()
    tracemalloc.start()
    some(50)
    python_before = tracemalloc.get_traced_memory()[0]
    some(950)
    python_after = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert python_after - python_before < 100_000
    assert resident_kb() - before_kb < 20_000  # a leak of one buffer of 8192 frames would be 32 MB


def test_threads_may_render_at_once() -> None:
    """cffi drops the GIL in the call, and the core has no mutable globals."""
    patch = voice()
    events: list[Event] = [(0.01 * n, ("mod", "filt1", "cutoff", 300.0 + 100 * n)) for n in range(20)]
    rates = [44100, 48000, 96000, 48000]
    alone = [render(patch, 0.5, events=events, sample_rate=rate) for rate in rates]
    with ThreadPoolExecutor(4) as pool:
        futures = [pool.submit(render, patch, 0.5, events=events, sample_rate=rate) for rate in rates * 10]
        assert all(same_bits(f.result(), alone[n % 4]) for n, f in enumerate(futures))


COMPILERS_OWN = ("_cffi_exports", "__cpu_model", "__cpu_features2")  # cffi's; libgcc's table of the processor


def test_the_core_has_no_mutable_globals() -> None:
    nm = shutil.which("nm")
    done = subprocess.run([nm, _core.__file__], capture_output=True, text=True) if nm else None
    if done is None or not done.stdout:
        pytest.skip("nm shows no symbols here")
    written = [line.split()[-1] for line in done.stdout.splitlines() if re.search(r" [bBC] ", line)]
    own = [name for name in written if name not in COMPILERS_OWN and not name.startswith("completed.")]
    assert own == []


# ---- the package from outside ---------------------------------------------------------------------------------


def test_the_public_names_are_there_documented_and_the_same_for_type_checkers() -> None:
    for name in pyengine.__all__:
        assert inspect.getdoc(getattr(pyengine, name)), name
    source = (ROOT / "pyengine" / "__init__.py").read_text(encoding="utf-8")
    typed = re.findall(r"^    from pyengine\.(\w+) import (\w+) as \2$", source, re.MULTILINE)
    assert {name: home for home, name in typed} == pyengine._HOMES
    with pytest.raises(AttributeError, match="module 'pyengine' has no attribute 'rendr'"):
        _ = pyengine.rendr  # type: ignore[attr-defined]


USER_PROGRAM = """
import numpy as np
import numpy.typing as npt
import pyengine

patch = pyengine.Patch().create("osc1", "simple_sine").set("osc1", "freq", 220)
samples: npt.NDArray[np.float32] = pyengine.render(patch, seconds=1.0, events=[(0.5, ("mod", "osc1", "freq", 440))])
reveal_type(samples)

def play(engine: pyengine.Engine, client: pyengine.Client) -> float:
    engine.create("osc1", "simple_sine")
    client.set("osc1", "freq", 440.0)
    try:
        engine.commit()
    except (pyengine.CommitRefused, pyengine.PatchError, pyengine.CommandError) as error:
        why: pyengine.EngineError = error
    reveal_type(engine.status())
    return engine.frames / 48000

for name in pyengine.registry():
    reveal_type(pyengine.registry()[name].params[0].max)
"""


def test_a_users_program_type_checks_strictly_against_the_package(tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    program = tmp_path / "program.py"
    program.write_text(USER_PROGRAM + "\npyengine.rendr(patch)\npyengine.render(patch, seconds='1')\n")
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--cache-dir", str(tmp_path), "program.py"]
    environment = {"MYPYPATH": str(ROOT), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        [*command, "--follow-imports=silent"], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    errors = [line for line in done.stdout.splitlines() if ": error:" in line]
    revealed = re.findall(r'Revealed type is "(.*)"', done.stdout)
    assert len(revealed) == 3 and not any(text == "Any" for text in revealed), done.stdout
    assert "float32" in revealed[0] or "floating" in revealed[0]
    assert len(errors) == 2, done.stdout  # the two deliberate ones: a misspelt name is no Any
    assert "rendr" in errors[0] and 'incompatible type "str"' in errors[1]


def test_render_loads_no_audio_library_server_or_plotting() -> None:
    program = textwrap.dedent(
        """
        import sys, pyengine
        pyengine.render(pyengine.Patch().create("osc1", "simple_sine"), frames=10)
        print([name for name in ("sounddevice", "soundfile", "pythonosc", "matplotlib") if name in sys.modules])
        """
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr
