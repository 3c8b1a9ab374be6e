"""The clock and the sequences: where every onset lies, to the sample, and what becomes of it when things change."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from live import same_bits

from pyengine import Patch, render
from pyengine.errors import CommandError, PatchError
from pyengine.sequence import Step, parse_division, parse_lane, parse_notes, parse_pattern, parse_velocities

RATE_HZ = 48000
TEN_MINUTES = 600 * RATE_HZ
BEAT_PART = Fraction(1, 2**32)  # the clock counts beats in these
Event = tuple[float, tuple[Any, ...]]


def gated(pattern: str, *, bpm: float = 120, params: dict[str, object] | None = None, **data: Any) -> Patch:
    """Return a patch whose sound is the gate itself: an envelope without slopes, 1 while it is open."""
    patch = Patch().create("clock1", "clock").create("env1", "adsr").create("seq1", "seq")
    for name, value in {"attack": 0, "decay": 0, "sustain": 1, "release": 0}.items():
        patch.set("env1", name, value)
    patch.set("clock1", "bpm", bpm)
    for name, value in (params or {}).items():
        patch.set("seq1", name, value)
    return patch.give("seq1", {"pattern": pattern, "targets": ["env1"], **data})


def edges(x: npt.NDArray[Any], rises: bool = True) -> list[int]:
    """Return the frames at which the gate opens, or closes."""
    is_open = np.concatenate([[False], x > 0.5])
    found = ~is_open[:-1] & is_open[1:] if rises else is_open[:-1] & ~is_open[1:]
    return [int(frame) for frame in np.flatnonzero(found)]


def onsets(patch: Patch, n_frames: int, **options: Any) -> list[int]:
    return edges(render(patch, frames=n_frames, **options)[:, 0])


def rounded(x: Fraction) -> int:
    return math.floor(x + Fraction(1, 2))


def exact(
    hits: str, n_frames: int, bpm: float, rate_hz: int = RATE_HZ, division: Fraction = Fraction(4), swing: float = 0.0
) -> list[int]:
    """Return where the hits of a pattern lie, by fractions."""
    found: list[int] = []
    step = 0
    while True:
        beat = (step + (Fraction(swing) if step % 2 else 0)) / division
        frame = rounded(beat * 60 * rate_hz / Fraction(bpm))
        if frame >= n_frames:
            return found
        if hits[step % len(hits)] != ".":
            found.append(frame)
        step += 1


# ---- exactness


@pytest.mark.parametrize(
    ("bpm", "division", "rate_hz"),
    [
        (120, "4", 48000),
        (133.33, "4", 48000),
        (97.3, "3", 44100),
        (174.999, "8", 48000),
        (61.7, "4/3", 96000),
        (20, "1/2", 44100),
    ],
)
def test_of_all_onsets_of_ten_minutes_none_is_off_by_a_sample(bpm: float, division: str, rate_hz: int) -> None:
    n_frames = 600 * rate_hz
    num, den = parse_division(division)
    patch = gated("x..x.x", bpm=bpm, division=division)
    found = onsets(patch, n_frames, sample_rate=rate_hz)
    assert found == exact("x..x.x", n_frames, bpm, rate_hz, Fraction(num, den))
    assert len(found) >= 50


def test_a_tie_in_rounding_goes_up_and_is_no_error() -> None:
    """128 bpm, 8 steps to a beat: 2812.5 frames a step, every second onset lies between two frames."""
    found = onsets(gated("x", bpm=128, division=8), TEN_MINUTES)
    assert found == exact("x", TEN_MINUTES, 128, division=Fraction(8))
    assert found[1] == 2813


CHANGES: list[Event] = [
    (0.3, ("mod", "clock1", "bpm", 151.5)),
    (0.70001, ("mod", "clock1", "swing", 0.4)),
    (0.9, ("mod", "seq1", "probability", 0.5)),
    (1.1, ("mod", "clock1", "position", 2.0)),
    (1.3, ("gate", "clock1", None, 0)),
    (1.45678, ("gate", "clock1", None, 1)),
    (1.6, ("mod", "seq1", "length", 0.9)),
    (1.8, ("mod", "clock1", "swing", 0.0)),
]


@settings(max_examples=30, deadline=None)
@given(block=st.integers(1, 700), bpm=st.floats(20, 999), pattern=st.text("Xx.-5", min_size=1, max_size=12))
def test_any_split_into_blocks_gives_the_same_bits(block: int, bpm: float, pattern: str) -> None:
    patch = gated(pattern, bpm=bpm, lanes={"env1.sustain": "1 0.8 . 0.6 0.9"})
    whole = render(patch, seconds=2.2, events=CHANGES)
    assert same_bits(render(patch, seconds=2.2, events=CHANGES, block_frames=block), whole)


# ---- tempo, swing, position


def model(tempi: Sequence[tuple[int, float]], n_frames: int, division: int = 4) -> list[int]:
    """Return the onsets of every step, the tempo being another from certain frames on; the beat goes on from there."""
    anchor_frame, anchor_beat = 0, Fraction(0)
    found = []
    step = 0
    bpm = Fraction(tempi[0][1])
    for until, following in [*[(f, Fraction(t)) for f, t in tempi[1:]], (n_frames, Fraction(0))]:
        while True:
            frame = anchor_frame + rounded((Fraction(step, division) - anchor_beat) * 60 * RATE_HZ / bpm)
            if frame >= until:
                break
            found.append(frame)
            step += 1
        beat = anchor_beat + (until - anchor_frame) * bpm / (60 * RATE_HZ)
        anchor_beat, anchor_frame, bpm = rounded(beat / BEAT_PART) * BEAT_PART, until, following
    return found


def test_a_change_of_tempo_keeps_the_beat() -> None:
    tempi = [(0, 120.0), (30_001, 90.5), (77_777, 180.0), (140_000, 45.25), (300_003, 999.0)]
    events = [(frame / RATE_HZ, ("mod", "clock1", "bpm", bpm)) for frame, bpm in tempi[1:]]
    found = onsets(gated("x", bpm=120), 330_000, events=events)
    assert found == model(tempi, 330_000)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 90_000), st.floats(20, 400)), max_size=12))
def test_no_change_of_tempo_loses_a_step_or_plays_one_twice(changes: list[tuple[int, float]]) -> None:
    by_frame = sorted({frame: bpm for frame, bpm in changes}.items())
    events = [(frame / RATE_HZ, ("mod", "clock1", "bpm", bpm)) for frame, bpm in by_frame]
    found = onsets(gated("x", bpm=200, params={"length": 0.01}), 96_000, events=events, block_frames=37)
    assert found == model([(0, 200.0), *by_frame], 96_000)


@pytest.mark.parametrize("swing", [0.0, 0.25, 1 / 3, 0.75])
def test_swing_delays_every_second_step_by_its_share(swing: float) -> None:
    patch = gated("x", bpm=117, params={"length": 0.1}).set("clock1", "swing", swing)
    kept = rounded(Fraction(swing) / BEAT_PART) * BEAT_PART
    assert onsets(patch, 200_000) == exact("x", 200_000, 117, swing=float(kept))


def test_swing_leaves_tracks_of_fewer_than_two_steps_to_a_beat_alone() -> None:
    for division in ("1", "1/4", "3/2"):
        patch = gated("x", bpm=300, division=division, params={"length": 0.1}).set("clock1", "swing", 0.5)
        wanted = exact("x", 400_000, 300, division=Fraction(division))
        assert onsets(patch, 400_000) == wanted


def test_a_new_swing_in_the_middle_drops_no_step() -> None:
    events: list[Event] = [(at / 10, ("mod", "clock1", "swing", (at % 4) / 4)) for at in range(1, 40)]
    straight = exact("x", 4 * RATE_HZ, 140)
    found = onsets(gated("x", bpm=140, params={"length": 0.05}), 5 * RATE_HZ, events=events)[: len(straight)]
    step = 60 * RATE_HZ / 140 / 4
    assert len(found) == len(straight)
    assert all(0 <= a - b <= 0.75 * step + 1 for a, b in zip(found, straight, strict=True))


def test_the_beat_is_held_while_the_clock_stands_and_goes_on_from_there() -> None:
    events: list[Event] = [
        (20_000 / RATE_HZ, ("gate", "clock1", None, 0)),
        (50_000 / RATE_HZ, ("gate", "clock1", None, 1)),
    ]
    found = onsets(gated("x", bpm=120), 100_000, events=events)
    assert found == [f if f < 20_000 else f + 30_000 for f in range(0, 70_000, 6000)]


def test_a_position_is_gone_to_at_its_frame() -> None:
    events: list[Event] = [(10_000 / RATE_HZ, ("mod", "clock1", "position", 0.0))]
    assert onsets(gated("x...", bpm=120), 60_000, events=events) == [0, 10_000, 34_000, 58_000]


def test_a_position_beyond_the_present_one_plays_nothing_of_what_lies_between() -> None:
    events: list[Event] = [(10_000 / RATE_HZ, ("mod", "clock1", "position", 1000.75))]
    assert onsets(gated("x...", bpm=120), 40_000, events=events) == [0, 16_000, 40_000][:2]


# ---- what a pattern says


def test_ties_and_length_say_how_long_a_gate_is_open() -> None:
    x = render(gated("x--.x...", bpm=120, params={"length": 0.25}), frames=48_000)[:, 0]
    assert edges(x) == [0, 24_000]
    assert edges(x, rises=False) == [12_000 + 1500, 24_000 + 1500]


def test_what_is_held_at_the_end_goes_on_into_the_beginning() -> None:
    x = render(gated("--..x--.x-", bpm=120, params={"length": 0.5}), frames=120_000)[:, 0]
    assert edges(x) == [24_000, 48_000, 84_000, 108_000]
    assert edges(x, rises=False) == [24_000 + 15_000, 48_000 + 21_000, 84_000 + 15_000]


def test_a_gate_that_notes_open_is_closed_at_the_start() -> None:
    x = render(gated("....x...", bpm=120), frames=30_000)[:, 0]
    assert edges(x) == [24_000]


def velocities_heard(patch: Patch, n_frames: int) -> list[float]:
    """Return the level at each onset of a gate whose velocity goes to a gain behind it."""
    patch.create("level", "gain").connect("env1", "level")
    patch.give("seq1", {**patch.nodes["seq1"].data, "targets": ["env1", "level.gain=velocity"]})
    x = render(patch, frames=n_frames, immediate=True)[:, 0]
    return [round(float(x[frame + 2000]), 4) for frame in edges(np.where(x > 0, 1.0, 0.0))]


def test_accents_digits_and_velocities_say_how_loud() -> None:
    patch = gated("Xx9x", bpm=120, params={"accent": 1.5, "velocity": 0.5})
    assert velocities_heard(patch, 24_000) == [0.75, 0.5, 1.0, 0.5]


def test_velocities_have_a_length_of_their_own_and_belong_to_hits() -> None:
    patch = gated("x.X.", bpm=120, params={"accent": 0.5}, velocities="0.2 0.4 0.6")
    assert velocities_heard(patch, 6 * 12_000) == [0.2, 0.2, 0.6, 0.1, 0.4, 0.3]


def frequencies_set(patch: Patch, n_frames: int) -> list[float]:
    """Return the frequency in each step of 6000 frames, by counting turns of a sine that never stops."""
    patch.create("osc1", "simple_sine").set("osc1", "gain", 1.0)
    patch.delete("env1")
    patch.give("seq1", {**patch.nodes["seq1"].data, "targets": ["osc1.freq"]})
    x = render(patch, frames=n_frames)[:, 0].astype(np.float64)
    found = []
    for at in range(0, n_frames, 6000):
        piece = x[at : at + 6000]
        turn = np.angle(np.exp(1j * np.angle(analytic(piece)[1001:5000] / analytic(piece)[1000:4999])))
        found.append(round(float(np.median(turn)) / (2 * np.pi) * RATE_HZ, 1))
    return found


def analytic(x: npt.NDArray[Any]) -> npt.NDArray[Any]:
    from scipy.signal import hilbert

    return np.asarray(hilbert(x))


def test_each_hit_takes_the_next_note_whatever_the_length_of_the_pattern() -> None:
    patch = gated("x.x", bpm=120, notes="A3 A4 | A5 E4", params={"transpose": 12})
    wanted = [440.0, 440.0, 880.0, 1760.0, 1760.0, 659.3, 440.0, 440.0, 880.0]
    assert frequencies_set(patch, 9 * 6000) == wanted


def test_a_lane_moves_with_every_step_and_leaves_the_value_at_a_dot() -> None:
    patch = gated("x...", bpm=120, params={"length": 1.0}, lanes={"env1.sustain": "0.6 . 0.9"})
    patch.give("seq1", {**patch.nodes["seq1"].data, "pattern": "x" + "-" * 15})
    x = render(patch, frames=9 * 6000)[:, 0]
    assert [round(float(x[at + 3000]), 3) for at in range(0, 9 * 6000, 6000)] == [0.6, 0.6, 0.9] * 3


def test_a_muted_track_goes_on_silently() -> None:
    events: list[Event] = [(0.4, ("mod", "seq1", "mute", 1)), (0.9, ("mod", "seq1", "mute", 0))]
    found = onsets(gated("x.x", bpm=120, notes="A4"), 96_000, events=events)
    assert found == [f for f in exact("x.x", 96_000, 120) if not 0.4 * RATE_HZ <= f < 0.9 * RATE_HZ]


# ---- probability


def passes(seed: int, step: int, probability: float) -> bool:
    mask = 2**64 - 1
    x = ((seed << 32 ^ seed) + (step + 1) * 0x9E3779B97F4A7C15) & mask
    x = ((x ^ x >> 30) * 0xBF58476D1CE4E5B9) & mask
    x = ((x ^ x >> 27) * 0x94D049BB133111EB) & mask
    return ((x ^ x >> 31) >> 11) * 2.0**-53 < probability


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), probability=st.floats(0, 1))
def test_which_hits_pass_is_a_function_of_seed_and_step(seed: int, probability: float) -> None:
    patch = gated("x", bpm=600, params={"seed": seed, "probability": probability, "length": 0.1})
    found = onsets(patch, 200 * 1200)
    assert found == [step * 1200 for step in range(200) if passes(seed, step, probability)]


def test_the_share_of_hits_that_pass_is_the_probability() -> None:
    n = sum(passes(7, step, 0.3) for step in range(100_000))
    assert abs(n - 30_000) < 4 * math.sqrt(100_000 * 0.3 * 0.7)


# ---- text


@given(st.text("Xx.-_19| \n", max_size=60))
def test_a_pattern_has_a_step_for_every_sign_that_is_not_for_the_eye(text: str) -> None:
    signs = [sign for sign in text if sign not in "| \n"]
    steps = parse_pattern(text)
    assert len(steps) == len(signs)
    for at, (step, sign) in enumerate(zip(steps, signs, strict=True)):
        held = 0
        while held < len(signs) - 1 and signs[(at + held + 1) % len(signs)] in "-_":
            held += 1
        assert step == (
            Step() if sign in ".-_" else Step(True, sign == "X", held, int(sign) / 9 if sign.isdigit() else None)
        )


@given(before=st.text("Xx.-|", max_size=20), sign=st.characters(exclude_characters="Xx.-_|123456789"))
def test_an_unknown_sign_is_refused_with_its_position(before: str, sign: str) -> None:
    if sign.isspace():
        parse_pattern(before + sign)
        return
    with pytest.raises(CommandError, match=f"at position {len(before) + 1} of the pattern"):
        parse_pattern(before + sign + "x.x")


def test_notes_are_names_numbers_chords_and_rests() -> None:
    assert parse_notes("C4 Eb3 F#5 | 60.5 . C4+E4+G4 c-1 G9") == [
        [60],
        [51],
        [78],
        [60.5],
        [],
        [60, 64, 67],
        [0],
        [127],
    ]


@pytest.mark.parametrize(
    ("read", "text", "message"),
    [
        (parse_notes, "C4 H2", "notes, word 2: 'H2' is no note"),
        (parse_notes, "C4 G#9", "notes, word 2: note 'G#9' is outside 0..127"),
        (parse_notes, "C4+C4+C4+C4+C4+C4+C4+C4+C4", "9 notes at once, the most is 8"),
        (parse_notes, "nan", "notes, word 1: 'nan' is no note"),
        (parse_velocities, "0.5 1.1", "velocities, word 2: '1.1' is no velocity"),
        (parse_velocities, "nan", "word 1: 'nan' is no velocity"),
        (parse_pattern, "x" * 1025, "1025 steps, the most is 1024"),
        (parse_division, "0", "is no division"),
        (parse_division, 2.5, "is no division"),
        (parse_division, "4/0", "is no division"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_place(read: Any, text: Any, message: str) -> None:
    with pytest.raises(CommandError) as error:
        read(text)
    assert message in str(error.value)


def test_a_lane_takes_what_its_parameter_takes() -> None:
    patch = Patch().create("filt1", "biquad_filter")
    cutoff, mode = patch.spec("filt1").param("cutoff"), patch.spec("filt1").param("mode")
    assert parse_lane("400 800", cutoff) == [400, 800]
    assert parse_lane(f"{mode.choices[1]} {mode.choices[0]}", mode) == [1, 0]
    with pytest.raises(CommandError, match="the lane of cutoff, word 2: cutoff=1 Hz is outside"):
        parse_lane("400 1", cutoff)
    with pytest.raises(CommandError, match="is not a number"):
        parse_lane("400 loud", cutoff)


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"patern": "x"}, "a seq takes no 'patern'; did you mean 'pattern'?"),
    ({"pattern": "x?"}, "'?' at position 2"),
    ({"pattern": 5}, "pattern must be text, not 5"),
    ({"targets": ["kick"]}, "unknown module to play 'kick'"),
    ({"targets": ["filt1"]}, "filt1 (biquad_filter) has no gate, freq or velocity to play"),
    ({"targets": ["env1.gaet"]}, "did you mean 'gate'?"),
    ({"targets": ["env1=gaet"]}, "a role is one of note, velocity, gate"),
    ({"targets": 7}, "targets must be a list of names"),
    ({"lanes": {"filt1": "1 2"}}, "names no parameter"),
    ({"lanes": {"filt1.cutoff": "1 x"}}, "the lane of cutoff, word 1"),
    ({"lanes": {"clock1.position": "1 2"}}, "clock1.position is a deed, not a value"),
    ({"lanes": ["a"]}, "lanes must be an object"),
    ({"clock": "env1"}, "unknown clock 'env1'"),
    ({"division": 65}, "division=65 is no division"),
]


@pytest.mark.parametrize(("data", "message"), REFUSED)
def test_data_that_mean_nothing_are_refused_and_nothing_changes(data: dict[str, Any], message: str) -> None:
    patch = gated("x").create("filt1", "biquad_filter")
    before = patch.to_json()
    with pytest.raises(PatchError) as error:
        patch.give("seq1", data)
    assert message in str(error.value)
    assert "seq1" in str(error.value) or error.value.faults[0].node
    assert patch.to_json() == before


def test_a_patch_whose_sequence_has_lost_its_clock_or_target_is_refused() -> None:
    with pytest.raises(PatchError, match="there is no clock to follow"):
        gated("x").delete("clock1").validate()
    with pytest.raises(PatchError, match="unknown module to play 'env1'"):
        gated("x").delete("env1").validate()


def test_a_deed_is_no_value_of_a_patch() -> None:
    with pytest.raises(PatchError, match="position is a deed, not a value"):
        gated("x").set("clock1", "position", 1.0)


def test_a_sequence_survives_the_way_through_json() -> None:
    patch = gated(
        "X..x", notes="C4 E4+G4", velocities="1 .5", division="4/3", lanes={"env1.sustain": "1 . 0.5"}, clock="clock1"
    )
    again = Patch.from_json(patch.to_json())
    assert again == patch
    assert again.nodes["seq1"].data == {
        "pattern": "X..x",
        "division": "4/3",
        "notes": "C4 E4+G4",
        "velocities": "1 .5",
        "lanes": {"env1.sustain": "1 . 0.5"},
        "targets": ["env1"],
        "clock": "clock1",
    }


def test_a_flood_of_events_is_cut_off_counted_and_leaves_the_sound_whole() -> None:
    """999 bpm, 64 steps to a beat at 1 kHz: more than one step to a frame, with lanes for all of it."""
    lanes = {"env1.sustain": "1 0.5", "env1.attack": "0 1", "env1.decay": "0 1"}
    x = render(gated("x", bpm=999, division=64, lanes=lanes), frames=3000, sample_rate=1000)
    assert np.isfinite(x).all()
    assert x.any()
