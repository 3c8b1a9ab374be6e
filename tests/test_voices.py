"""Voices: who gets a note, what becomes of the notes that are stolen, and the modules they own."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from live import frequency_hz, rms, same_bits, second_difference

from pyengine import Patch, render
from pyengine.errors import CommandError, PatchError
from pyengine.notes import note_name, parse_note
from pyengine.plan import Blueprint
from pyengine.playing import all_off, note_hz, note_off, note_on

RATE_HZ = 48000
Event = tuple[float, tuple[Any, ...]]


def levels(n_voices: int) -> Patch:
    """Return voices whose sound is a constant: the velocity, as long as the gate is open."""
    patch = Patch().create("poly", "voices").give("poly", {"voices": n_voices})
    patch.create("poly.env", "adsr").create("poly.level", "gain").connect("poly.env", "poly.level")
    for name, value in {"attack": 0, "decay": 0, "sustain": 1, "release": 0}.items():
        patch.set("poly.env", name, value)
    patch.connect("poly.gate", "poly.env.gate").connect("poly.velocity", "poly.level.gain")
    return patch


def synth(n_voices: int, **env: float) -> Patch:
    patch = Patch().create("poly", "voices").give("poly", {"voices": n_voices})
    patch.create("poly.osc", "simple_sine").create("poly.env", "adsr").connect("poly.osc", "poly.env")
    patch.connect("poly.freq", "poly.osc.freq").connect("poly.gate", "poly.env.gate")
    for name, value in env.items():
        patch.set("poly.env", name, value)
    return patch


# ---- who gets a note


@dataclass
class Allocator:
    """The rule of csrc/dsp/voices.c, in words: the same note; at rest; released; held by the pedal; held."""

    n: int
    tail_s: float = 1.0
    pedal: bool = False
    note: list[float | None] = field(init=False)
    since: list[float] = field(init=False)
    state: list[str] = field(init=False)

    def __post_init__(self) -> None:
        self.note, self.since, self.state = [None] * self.n, [-1.0] * self.n, ["never"] * self.n

    def rank(self, voice: int, now: float) -> tuple[int, float, int]:
        state = self.state[voice]
        is_at_rest = state == "never" or (state == "released" and now - self.since[voice] >= self.tail_s)
        order = 0 if is_at_rest else ["released", "pedalled", "held"].index(state) + 1
        return order, self.since[voice], voice

    def on(self, note: float, now: float) -> int:
        same = [v for v in range(self.n) if self.note[v] == note]
        voice = same[0] if same else min(range(self.n), key=lambda v: self.rank(v, now))
        self.note[voice], self.since[voice], self.state[voice] = note, now, "held"
        return voice

    def release(self, voices: list[int], now: float, state: str = "released") -> None:
        for voice in voices:
            self.state[voice], self.since[voice] = state, now

    def off(self, note: float, now: float) -> None:
        voices = [v for v in range(self.n) if self.note[v] == note and self.state[v] == "held"]
        self.release(voices, now, "pedalled" if self.pedal else "released")

    def all_off(self, now: float) -> None:
        self.release([v for v in range(self.n) if self.state[v] in ("held", "pedalled")], now)

    def set_pedal(self, is_on: bool, now: float) -> None:
        self.pedal = is_on
        if not is_on:
            self.release([v for v in range(self.n) if self.state[v] == "pedalled"], now)

    @property
    def sounding(self) -> set[float]:
        return {
            note
            for note, state in zip(self.note, self.state, strict=True)
            if note is not None and state in ("held", "pedalled")
        }


STEP_S = 0.05
DEEDS = st.one_of(
    st.tuples(st.just("on"), st.integers(40, 51)),
    st.tuples(st.just("off"), st.integers(40, 51)),
    st.tuples(st.just("pedal"), st.integers(0, 1)),
    st.tuples(st.just("wait"), st.integers(1, 30)),
    st.tuples(st.just("panic"), st.just(0)),
)


@settings(max_examples=80, deadline=None)
@given(n_voices=st.integers(1, 6), deeds=st.lists(DEEDS, max_size=40), tail_ms=st.sampled_from([0, 200, 1000]))
def test_the_notes_that_sound_are_those_of_the_model(n_voices: int, deeds: list[tuple[str, int]], tail_ms: int) -> None:
    model, patch = Allocator(n_voices, tail_ms / 1000), levels(n_voices).set("poly", "tail", tail_ms)
    events: list[Event] = []
    wanted: list[tuple[float, set[float]]] = []
    step = 1
    for deed, value in deeds:
        now = step * STEP_S
        if deed == "on":
            model.on(value, now)
            events += [(now, op) for op in note_on(patch, "poly", value, 2.0 ** -(value - 39))]
        elif deed == "off":
            model.off(value, now)
            events += [(now, op) for op in note_off(patch, "poly", value)]
        elif deed == "pedal":
            model.set_pedal(bool(value), now)
            events.append((now, ("mod", "poly", "sustain", value)))
        elif deed == "panic":
            model.all_off(now)
            events += [(now, op) for op in all_off(patch, "poly")]
        else:
            step += value
        step += 1
        wanted.append((step * STEP_S - 0.01, set(model.sounding)))
    x = render(patch, seconds=(step + 1) * STEP_S, events=events)[:, 0]
    for at_s, notes in wanted:
        level = sum(2.0 ** -(note - 39) for note in notes)
        assert x[round(at_s * RATE_HZ)] == np.float32(level), (at_s, notes)


# ---- what is heard of it


def test_one_voice_sounds_like_the_same_modules_by_themselves() -> None:
    alone = Patch().create("osc", "simple_sine").create("env", "adsr").connect("osc", "env").gate("env", 0)
    alone.set("osc", "freq", note_hz(69))
    x = render(alone, seconds=1, events=[(0.1, ("gate", "env", None, 1)), (0.5, ("gate", "env", None, 0))])
    on, off = [(0.1, op) for op in note_on(alone, "env", "A4")], [(0.5, op) for op in note_off(alone, "env", "A4")]
    assert same_bits(render(alone, seconds=1, events=[*on, *off]), x)
    poly = synth(1).set("poly.osc", "freq", note_hz(69))
    y = render(poly, seconds=1, events=[(0.1, ("mod", "poly", "note_on", 69)), (0.5, ("mod", "poly", "note_off", 69))])
    assert same_bits(x, y)


@pytest.mark.parametrize("note", [21, 60, 69, 69.5, 108])
def test_a_note_has_its_frequency(note: float) -> None:
    x = render(synth(4, attack=0), seconds=1.0, events=[(0.0, ("mod", "poly", "note_on", note))])[4800:, 0]
    assert frequency_hz(x) == pytest.approx(440 * 2 ** ((note - 69) / 12), rel=1e-6)


def test_a_stolen_voice_does_not_click() -> None:
    """Two notes on one voice: the largest second difference is that of the tones and of the attack's own corner."""
    quiet = synth(1, attack=5, release=50)
    for gap in (0.0001, 0.003, 0.05):
        events: list[Event] = [(0.1, ("mod", "poly", "note_on", 45)), (0.3 + gap, ("mod", "poly", "note_on", 57))]
        x = render(quiet, seconds=0.6, events=events)[:, 0]
        clean = render(quiet, seconds=0.6, events=[(0.1, ("mod", "poly", "note_on", 57))])[:, 0]
        assert second_difference(x) <= 1.5 * second_difference(clean)
        assert frequency_hz(x[round(0.4 * RATE_HZ) :]) == pytest.approx(220, rel=1e-3)


@pytest.mark.parametrize("first", [21, 33, 57, 93])
@pytest.mark.parametrize("second", [24, 45, 69, 96])
@pytest.mark.parametrize("module", ["simple_sine", "osc"])
def test_a_stolen_voice_has_its_new_pitch_within_a_millisecond_and_does_not_click(
    module: str, first: int, second: int
) -> None:
    """A mono line does not chirp: a sine is x[n+1] + x[n-1] = 2 cos(w) x[n], and so it is from 1 ms on, held or released."""
    patch = Patch().create("poly", "voices").give("poly", {"voices": 1}).create("poly.osc", module)
    patch.connect("poly.freq", "poly.osc.freq").set("poly.osc", "gain", 1)
    if module == "osc":
        patch.set("poly.osc", "shape", "sine")
    patch.create("poly.env", "adsr").connect("poly.osc", "poly.env").connect("poly.gate", "poly.env.gate")
    for name, value in {"attack": 0, "decay": 0, "sustain": 1, "release": 60_000}.items():
        patch.set("poly.env", name, value)
    step = 2 * np.pi * note_hz(second) / RATE_HZ
    for at in (14_400, 14_431, 14_602):  # where the first one's phase is another
        events: list[Event] = [(0.0, ("mod", "poly", "note_on", first)), (at / RATE_HZ, ("mod", "poly", "note_on", second))]
        x = render(patch, frames=20_000, events=events)[:, 0].astype(np.float64)
        after = x[at + 52 :]  # 1 ms, and the frames that osc is late by
        assert np.abs(after[2:] + after[:-2] - 2 * np.cos(step) * after[1:-1]).max() < 1e-6  # float32 rounds by 6e-8
        slope = np.abs(np.diff(x[at - 2 : at + 56], 2)).max()  # no kink: that of the tones, and a 1 ms bend between them
        tones = 2 * np.pi / RATE_HZ * np.array([note_hz(first), note_hz(second)])
        assert slope <= 1.1 * (tones.max() ** 2 + abs(tones[1] - tones[0]) / 48)


def test_a_voice_that_was_released_long_ago_is_tuned_at_once_and_one_just_released_by_a_ramp() -> None:
    patch = synth(1, attack=0, release=10).set("poly", "tail", 100)
    events: list[Event] = [
        (0.0, ("mod", "poly", "note_on", 33)),
        (0.2, ("mod", "poly", "note_off", 33)),
        (0.5, ("mod", "poly", "note_on", 93)),
    ]
    x = render(patch, seconds=0.6, events=events)[round(0.5 * RATE_HZ) :, 0]
    assert frequency_hz(x[:480]) == pytest.approx(1760, rel=1e-3)  # from the first frame on


def test_bend_moves_notes_that_sound_and_those_to_come() -> None:
    events: list[Event] = [(0.0, ("mod", "poly", "note_on", 57)), (0.2, ("mod", "poly", "bend", 12))]
    x = render(synth(2, attack=0), seconds=0.6, events=events)[:, 0]
    assert frequency_hz(x[1000:9000]) == pytest.approx(220, rel=1e-3)
    assert frequency_hz(x[round(0.3 * RATE_HZ) :]) == pytest.approx(440, rel=1e-3)


@settings(max_examples=15, deadline=None)
@given(block=st.integers(1, 500), seed=st.integers(0, 1000))
def test_any_split_into_blocks_gives_the_same_bits(block: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    patch = synth(5, attack=3, release=40)
    events = [
        (
            float(rng.uniform(0, 0.5)),
            ("mod", "poly", str(rng.choice(["note_on", "note_off"])), int(rng.integers(40, 50))),
        )
        for _ in range(40)
    ]
    assert same_bits(
        render(patch, seconds=0.6, events=events, block_frames=block), render(patch, seconds=0.6, events=events)
    )


def test_voices_are_rendered_in_banks() -> None:
    with Blueprint.of(synth(16)).plan(sample_rate_hz=48000, max_block_frames=64, n_channels=1) as plan:
        assert plan.n_banked == 32


def test_voices_rest_until_a_note_comes() -> None:
    assert not render(synth(8), seconds=0.2).any()


def test_a_sequence_plays_chords_on_voices() -> None:
    patch = levels(4).create("clock1", "clock").create("seq1", "seq").set("seq1", "length", 1.0)
    patch.give("seq1", {"pattern": "x-.x", "notes": "C4+E4+G4 C4", "velocities": "0.25 0.5", "targets": ["poly"]})
    x = render(patch, seconds=0.5)[:, 0]
    assert [float(x[at + 3000]) for at in range(0, 24_000, 6000)] == [0.75, 0.75, 0, 0.5]


# ---- cables


def test_cables_within_are_copied_out_of_it_added_up_and_into_it_shared() -> None:
    patch = synth(3, attack=0, decay=0, sustain=1).create("lfo", "simple_sine").create("out", "gain")
    patch.connect("lfo", "poly.osc.freq", 50).connect("poly.env", "out").set("lfo", "freq", 5)
    notes = (50, 60, 70)
    x = render(patch, seconds=0.5, events=[(0.0, ("mod", "poly", "note_on", note)) for note in notes])
    parts = []
    for note in notes:
        one = Patch().create("osc", "simple_sine").create("lfo", "simple_sine").set("lfo", "freq", 5)
        one.connect("lfo", "osc.freq", 50).set("osc", "freq", note_hz(note))
        parts.append(render(one, seconds=0.5))
    assert rms(x - sum(parts)) < 1e-4 * rms(x)


def test_a_setting_goes_to_all_voices() -> None:
    patch = synth(4, attack=0)
    x = render(patch.copy().set("poly.osc", "gain", 0.05), seconds=0.3, events=[(0.0, ("mod", "poly", "note_on", 60))])
    y = render(
        patch, seconds=0.3, events=[(0.0, ("mod", "poly.osc", "gain", 0.05)), (0.0, ("mod", "poly", "note_on", 60))]
    )
    assert same_bits(x, y)
    assert x.any()


def test_feedback_within_a_voice_stays_in_it() -> None:
    patch = synth(2, attack=0).create("poly.fb", "gain")
    patch.connect("poly.osc", "poly.fb").connect("poly.fb", "poly.osc.freq", 100, feedback=True)
    alone = patch.copy().give("poly", {"voices": 1})
    events: list[Event] = [(0.0, ("mod", "poly", "note_on", 60))]
    assert same_bits(render(patch, seconds=0.2, events=events)[:, 0], render(patch, seconds=0.2, events=events)[:, 0])
    assert rms(render(alone, seconds=0.2, events=events)) > 0


# ---- refusals


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda p: p.create("pol.osc", "simple_sine"), "pol.osc needs voices pol, created before it"),
        (lambda p: p.create("poly.a.b", "simple_sine"), "is not valid"),
        (lambda p: p.create("poly.freq", "simple_sine"), "poly.freq is what its modules follow"),
        (lambda p: p.create("poly.seq", "seq"), "seq cannot belong to poly"),
        (lambda p: p.give("poly", {"voices": 65}), "voices=65 is no number of voices; give a whole number, 1..64"),
        (lambda p: p.give("poly", {"voices": 0}), "voices=0 is no number of voices"),
        (lambda p: p.give("poly", {"voice": 4}), "did you mean 'voices'?"),
        (lambda p: p.connect("poly", "poly.osc.freq"), "say what of poly is to be followed: poly.freq"),
        (lambda p: p.connect("poly.freq", "poly.env"), "poly.env cannot follow poly.freq"),
        (lambda p: p.connect("poly.freq", "out.gain"), "out.gain cannot follow poly.freq"),
        (lambda p: p.connect("poly.frek", "poly.osc.freq"), "did you mean 'freq'?"),
        (lambda p: p.connect("poly.freq", "poly.osc.gain", feedback=True), "needs no feedback"),
        (lambda p: p.connect("poly.osx", "out"), "unknown output of voices 'osx'"),
        (lambda p: p.set("poly", "note_on", 60), "note_on is a deed, not a value"),
        (lambda p: p.set("poly.osx", "freq", 60), "unknown module id 'poly.osx'; did you mean 'poly.osc'?"),
    ],
)
def test_what_voices_cannot_do_is_refused_and_changes_nothing(edit: Any, message: str) -> None:
    patch = synth(2).create("out", "gain")
    before = patch.to_json()
    with pytest.raises(PatchError) as error:
        edit(patch)
    assert message in str(error.value)
    assert patch.to_json() == before


def test_more_nodes_than_a_patch_may_have_are_counted_voice_by_voice() -> None:
    patch = Patch().create("poly", "voices").give("poly", {"voices": 64})
    for number in range(260):
        patch.create(f"poly.m{number}", "simple_sine")
    with pytest.raises(PatchError, match="16641 nodes and feedback cables are more than the 16384"):
        patch.validate()


@pytest.mark.parametrize(
    ("note", "message"),
    [
        (128, "note 128 is outside 0..127"),
        (-0.5, "note -0.5 is outside 0..127"),
        ("H4", "'H4' is no note"),
        ("C", "'C' is no note"),
        ("A9", "note 'A9' is outside 0..127"),
        (True, "True is no note"),
        (None, "None is no note"),
        (float("nan"), "outside 0..127"),
    ],
)
def test_what_is_no_note_is_refused(note: Any, message: str) -> None:
    with pytest.raises(CommandError) as error:
        note_on(synth(1), "poly", note)
    assert message in str(error.value)


@given(st.integers(0, 127))
def test_the_name_of_a_note_is_read_as_that_note(note: int) -> None:
    assert parse_note(note_name(note)) == note


def test_a_module_without_a_gate_plays_no_notes() -> None:
    with pytest.raises(
        PatchError, match="simple_sine plays no notes: it has no gate; modules here that do: poly, poly.env"
    ):
        note_on(synth(1), "poly.osc", 60)


def test_voices_and_what_they_own_go_together() -> None:
    patch = synth(2).create("out", "gain").connect("poly.env", "out")
    assert list(patch.delete("poly").nodes) == ["out"]
    assert not patch.cables


def test_voices_survive_the_way_through_json() -> None:
    patch = (
        synth(7).create("out", "gain").connect("poly.env", "out").connect("poly.velocity", "poly.osc.gain", 0.3, 0.1)
    )
    again = Patch.from_json(patch.to_json())
    assert again == patch
    assert again.copies("poly.osc") == 7
