"""adsr against the same envelope in float64, frame by frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import drive
import numpy as np
import pytest
from drive import Command
from hypothesis import given, settings
from hypothesis import strategies as st

# The level is exact to 1e-15 in double; rounding to float32 leaves half a unit of 2^-24 below 1.
ATOL = 2.0**-24
DEFAULTS = {"attack": 10.0, "decay": 50.0, "sustain": 0.7, "release": 200.0, "gate": 1.0}
A, D, R = 480, 2400, 9600  # the default segments in frames at 48 kHz


class Model:
    """The envelope as defined: start + (end - start) * i / n, each segment from the level it begins at."""

    def __init__(self) -> None:
        self.params = dict(DEFAULTS)
        self.stage, self.is_open = "closed", False
        self.start = self.end = 0.0
        self.i = self.n = 0

    def level(self) -> float:
        return self.end if self.i >= self.n else self.start + (self.end - self.start) * self.i / self.n

    def begin(self, stage: str, end: float, ms: float) -> None:
        n = int(np.floor(ms * drive.RATE_HZ / 1000 + 0.5))
        self.start, self.end, self.stage, self.i, self.n = self.level(), end, stage, 0, n

    def set(self, param: str, value: float) -> None:
        self.params[param] = value
        if param == "sustain" and self.stage == "decay" and self.i < self.n:
            self.begin("decay", value, (self.n - self.i) * 1000 / drive.RATE_HZ)
        elif param == "sustain" and self.stage in ("decay", "sustain"):
            self.begin("sustain", value, 5.0)

    def frame(self, is_high: bool, is_retriggered: bool) -> float:
        if is_high and (not self.is_open or is_retriggered):
            self.begin("attack", 1.0, self.params["attack"])
        if self.is_open and not is_high:
            self.begin("release", 0.0, self.params["release"])
        self.is_open = is_high
        if self.stage == "attack" and self.i >= self.n:
            self.begin("decay", self.params["sustain"], self.params["decay"])
        if self.stage == "decay" and self.i >= self.n:
            self.stage = "sustain"
        level = self.level()
        self.i += 1
        return level


def model(n_frames: int, commands: Sequence[Command], gate: np.ndarray | None = None) -> np.ndarray:
    m, out = Model(), np.zeros(n_frames)
    for f in range(n_frames):
        is_retriggered = False
        for c in (c for c in commands if c.frame == f):
            m.set(c.param, c.value)
            if c.param == "gate":
                is_retriggered = c.value >= 0.5
        is_high = m.params["gate"] >= 0.5 if gate is None else bool(gate[f] >= 0.5)
        out[f] = m.frame(is_high, is_retriggered and gate is None)
    return out


def envelope(n_frames: int, *commands: Command, cables: Mapping[str, np.ndarray] | None = None) -> drive.Samples:
    return drive.run("adsr", n_frames, commands=commands, cables=cables).out


def gate(frame: int, value: float) -> Command:
    return Command(frame, "gate", value)


def test_a_new_module_attacks_decays_and_holds_exact_to_the_frame() -> None:
    out = envelope(A + D + 1000)
    np.testing.assert_allclose(out[: A + 1], np.arange(A + 1) / A, atol=ATOL)
    assert out[A] == 1.0 and out[A - 1] < 1.0 and out[A + 1] < 1.0
    np.testing.assert_allclose(out[A : A + D + 1], 1 - 0.3 * np.arange(D + 1) / D, atol=ATOL)
    assert out[A + D - 1] > np.float32(0.7) and np.all(out[A + D :] == np.float32(0.7))


def test_release_falls_from_sustain_to_exactly_zero_in_its_time() -> None:
    at = 5000
    out = envelope(at + R + 100, gate(at, 0))
    np.testing.assert_allclose(out[at : at + R + 1], 0.7 * (1 - np.arange(R + 1) / R), atol=ATOL)
    assert out[at + R - 1] > 0.0 and not np.any(out[at + R :])


def test_release_in_the_middle_of_the_attack_takes_its_full_time_from_there() -> None:
    at = 120
    out = envelope(at + R + 100, gate(at, 0))
    np.testing.assert_allclose(out[at : at + R + 1], 0.25 * (1 - np.arange(R + 1) / R), atol=ATOL)
    assert out[at + R - 1] > 0.0 and not np.any(out[at + R :])


@pytest.mark.parametrize("at", [100, A, 1000, 5000])
def test_gate_1_while_open_attacks_anew_from_the_present_level(at: int) -> None:
    out = envelope(at + A + 100, gate(at, 1))
    before = envelope(at + 1)[at]
    line = before + (1 - before) * np.arange(A + 1) / A
    np.testing.assert_allclose(out[at : at + A + 1], line, atol=2 * ATOL)  # before is rounded as well
    assert out[at + A] == 1.0 and out[at + A + 1] < 1.0


def test_gate_1_during_release_attacks_from_the_present_level() -> None:
    commands = [gate(5000, 0), gate(5000 + R // 2, 1)]
    out = envelope(15000, *commands)
    np.testing.assert_allclose(out, model(15000, commands), atol=ATOL)
    assert out[5000 + R // 2] == np.float32(0.35)


def test_gate_0_while_released_changes_nothing() -> None:
    twice = envelope(20000, gate(5000, 0), gate(6000, 0))
    np.testing.assert_array_equal(twice, envelope(20000, gate(5000, 0)))


def test_a_gate_closed_before_the_start_stays_closed_until_it_opens() -> None:
    out = envelope(3000, gate(0, 0), gate(1000, 1))
    assert not np.any(out[:1000])
    np.testing.assert_array_equal(out[1000:], envelope(2000))


@pytest.mark.parametrize("names", ["attack", "decay", "attack decay", "attack decay release"])
def test_segments_of_no_length_jump_at_once(names: str) -> None:
    zero = names.split()
    commands = [*(Command(0, name, 0.0) for name in zero), gate(4000, 0)]
    out = envelope(15000, *commands)
    np.testing.assert_allclose(out, model(15000, commands), atol=ATOL)
    assert out[0] == (0.0 if "attack" not in zero else np.float32(0.7) if "decay" in zero else 1.0)
    assert "release" not in zero or not np.any(out[4000:])


def test_a_changed_time_waits_for_the_next_segment() -> None:
    out = envelope(3000, Command(100, "attack", 1.0), Command(100, "decay", 1.0))
    assert out[A] == 1.0 and out[A - 1] < 1.0
    assert out[A + 47] > np.float32(0.7) and out[A + 48] == np.float32(0.7)
    late = envelope(3000, Command(A, "decay", 1.0))  # at the very frame at which the decay begins
    np.testing.assert_array_equal(late, out)


def test_sustain_glides_in_240_frames_while_it_is_held() -> None:
    at = 5000
    out = envelope(6000, Command(at, "sustain", 0.2))
    np.testing.assert_allclose(out[at : at + 241], 0.7 - 0.5 * np.arange(241) / 240, atol=ATOL)
    assert np.all(out[at + 240 :] == np.float32(0.2))


def test_sustain_changed_in_the_decay_is_reached_when_the_decay_ends() -> None:
    at, end = A + 1200, A + D
    out = envelope(4000, Command(at, "sustain", 0.2))
    np.testing.assert_allclose(out[at : end + 1], 0.85 - 0.65 * np.arange(1201) / 1200, atol=ATOL)
    assert out[end - 1] > np.float32(0.2) and np.all(out[end:] == np.float32(0.2))


def test_a_cable_on_the_gate_decides_alone_at_that_very_frame() -> None:
    n_frames = 20000
    cable = np.zeros(n_frames, np.float32)
    cable[777:4001] = 0.5
    cable[15001:] = 1.0
    expected = model(n_frames, [], cable)
    for commands in ([], [gate(0, 0)], [gate(1000, 1), gate(2000, 0), gate(6000, 1)]):
        np.testing.assert_allclose(envelope(n_frames, *commands, cables={"gate": cable}), expected, atol=ATOL)
    assert not np.any(expected[:778]) and expected[778] > 0.0


def test_the_input_is_multiplied_by_the_envelope() -> None:
    x = np.random.default_rng(1).uniform(-1, 1, 4000).astype(np.float32)
    np.testing.assert_array_equal(drive.run("adsr", 4000, inputs=[x]).out, x * envelope(4000))


@pytest.mark.parametrize(("sustain", "level"), [(0.7, 0.7), (0.0, 1.0)])
def test_warm_up_holds_the_gate_open_at_sustain_whatever_comes(sustain: float, level: float) -> None:
    commands = [gate(0, 0), Command(0, "sustain", sustain), Command(0, kind="open"), gate(9, 0)]
    closed = {"gate": np.zeros(500, np.float32)}
    for cables in ({}, closed):
        assert np.all(envelope(500, *commands, cables=cables) == np.float32(level))


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 1999),
            st.one_of(
                st.tuples(st.just("gate"), st.sampled_from([0.0, 1.0])),
                st.tuples(st.sampled_from(["attack", "decay", "release"]), st.floats(0, 20)),
                st.tuples(st.just("sustain"), st.floats(0, 1)),
            ),
        ),
        max_size=12,
        unique_by=lambda c: c[0],
    )
)
def test_any_script_of_commands_follows_the_model(script: list[tuple[int, tuple[str, float]]]) -> None:
    commands = sorted((Command(frame, *change) for frame, change in script), key=lambda c: c.frame)
    # Levels stay exact to 1e-13 over some segments, then float32 rounding.
    np.testing.assert_allclose(envelope(2000, *commands), model(2000, commands), atol=1.01 * ATOL)


def test_a_cable_opens_and_closes_the_gate_at_any_frame_and_in_any_split() -> None:
    """Pulses down to one frame, in the middle of attacks and releases, against the model; and halves count as open."""
    rng = np.random.default_rng(3)
    runs = np.concatenate([rng.integers(1, 4, 40), rng.integers(1, 900, 40)])
    rng.shuffle(runs)
    cable = np.repeat(np.arange(len(runs)) % 2, runs).astype(np.float32)
    cable[cable == 1] = rng.choice([0.5, 1.0, 7.0], int(cable.sum()))
    cable[cable == 0] = rng.choice([0.0, 0.49, -3.0, np.nan], int((cable == 0).sum()))
    expected = model(len(cable), [], cable)
    for splits in ([64], [1], [7, 300]):
        out = drive.run("adsr", len(cable), cables={"gate": cable}, splits=splits).out
        np.testing.assert_allclose(out, expected, atol=1.01 * ATOL)
