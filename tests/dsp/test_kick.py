"""kick against its own definition in float64: envelopes in closed form, the phase as the sum of the frequencies."""

from __future__ import annotations

from typing import Any

import drive
import drums
import numpy as np
import pytest
from drive import RATE_HZ, Command
from drums import STRIKE
from hypothesis import given, settings
from hypothesis import strategies as st

# sin is off by 1.2e-7 (csrc/dsp/approx.h), the output rounded to 6e-8; drive makes the quiet parts that much louder.
ATOL = 5e-7
DEFAULTS = {
    "freq": 50.0, "pitch": 0.0, "sweep": 2.5, "sweep_time": 25.0, "decay": 500.0,
    "click": 0.2, "drive": 6.0, "gain": 0.5, "velocity": 1.0,
}  # fmt: skip


def model(n: int, **values: float) -> np.ndarray:
    v = {**DEFAULTS, **values}
    seconds = np.arange(n) / RATE_HZ
    octaves = v["pitch"] / 12 + v["sweep"] * np.exp(-seconds / (v["sweep_time"] / 1000))
    hz = np.clip(v["freq"] * 2**octaves, 0, RATE_HZ / 2 - 10)
    turns = np.concatenate([[0.0], np.cumsum(hz)[:-1]]) / RATE_HZ
    body = np.sin(2 * np.pi * turns) * 1000 ** (-seconds / (v["decay"] / 1000))
    k = 10 ** (v["drive"] / 20) - 1
    click = v["click"] * np.exp(-seconds / 0.002) * drums.white(n, 0)
    return np.asarray(v["gain"] * v["velocity"] * (body * (1 + k) / (1 + k * np.abs(body)) + click))


def struck(n: int, *commands: Command, **values: Any) -> drive.Samples:
    return drums.struck("kick", n, *commands, **values)


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"sweep": 0.0, "click": 0.0, "drive": 0.0, "gain": 1.0},
        {"freq": 80.0, "pitch": 7.0, "decay": 100.0, "sweep_time": 5.0, "sweep": 5.0},
        {"freq": 20.0, "click": 1.0, "drive": 40.0, "velocity": 0.3},
        {"freq": 20000.0, "pitch": 12.0, "gain": 16.0},
    ],
    ids=["defaults", "a plain sine", "short", "driven", "beyond Nyquist"],
)
def test_a_strike_is_the_model(values: dict[str, float]) -> None:
    n = 24000
    scale = max(1.0, values.get("gain", 0.5)) * 10 ** (values.get("drive", 6.0) / 20)
    out = struck(n, STRIKE, **values)
    np.testing.assert_allclose(out, model(n, **values), atol=scale * ATOL)


def test_nothing_sounds_before_the_first_strike() -> None:
    assert not np.any(struck(5000))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 3000), st.lists(st.integers(1, 300), min_size=1, max_size=5))
def test_a_cable_strikes_at_the_very_frame_at_which_it_rises_to_a_half(at: int, splits: list[int]) -> None:
    cable = np.zeros(6000, np.float32)
    cable[at:] = 0.5
    out = struck(6000, cables={"gate": cable}, splits=splits)
    assert not np.any(out[:at])
    np.testing.assert_array_equal(out[at:], struck(6000 - at, STRIKE))


def test_a_cable_that_stays_high_strikes_once_and_each_rise_strikes_again() -> None:
    cable = np.zeros(30000, np.float32)
    cable[0:20000] = 1.0
    np.testing.assert_array_equal(struck(20000, cables={"gate": cable}), struck(20000, STRIKE))
    cable[9999] = 0.49  # down for one frame
    np.testing.assert_array_equal(
        struck(20000, cables={"gate": cable}), struck(20000, STRIKE, Command(10000, "gate", 1))
    )


def test_a_command_strikes_beside_a_cable_and_0_strikes_nothing() -> None:
    cables = {"gate": np.zeros(9000, np.float32)}
    struck_late = struck(9000, Command(4000, "gate", 1), Command(5000, "gate", 0), cables=cables)
    np.testing.assert_array_equal(struck_late, struck(9000, Command(4000, "gate", 1)))


def test_velocity_is_taken_when_the_strike_comes() -> None:
    n, at = 12000, 5000
    velocity = np.full(n, -0.75, np.float32)
    velocity[at:] = 0.0
    gate = np.zeros(n, np.float32)
    gate[100:200] = gate[at : at + 10] = 1.0
    out = struck(n, cables={"gate": gate, "velocity": velocity})
    np.testing.assert_allclose(out[100:at], 0.25 * struck(at - 100, STRIKE), atol=1e-7)
    late = out[at + 2000 :]  # when what was left of the first has faded
    np.testing.assert_allclose(late, struck(n - at, STRIKE)[2000:], atol=1e-7)


def test_striking_again_makes_no_step_of_its_own() -> None:
    """Without click and drive the largest step of two strikes is no larger than twice that of the first alone."""
    quiet = {"click": 0.0, "drive": 0.0, "gain": 1.0}
    once = np.abs(np.diff(struck(9000, STRIKE, **quiet).astype(float))).max()
    for at in range(2000, 3000, 97):
        twice = struck(9000, STRIKE, Command(at, "gate", 1), **quiet)
        assert np.abs(np.diff(twice.astype(float))).max() < 2 * once


def test_after_its_decay_it_is_at_rest_and_exactly_silent() -> None:
    out = struck(60000, STRIKE, decay=100.0)
    audible = np.flatnonzero(out)
    # -160 dB at 60 dB in 100 ms: 267 ms; what the end cuts off is below -140 dB.
    assert 0.26 * RATE_HZ < audible[-1] < 0.27 * RATE_HZ
    assert np.abs(out[audible[-1] - 500 : audible[-1]]).max() < 1e-7


@pytest.mark.parametrize("cables", [{}, {"velocity": np.full(512, -1.0, np.float32)}], ids=["alone", "velocity at 0"])
def test_warm_up_hears_it_with_the_gate_closed(cables: dict[str, drive.Samples]) -> None:
    out = struck(512, Command(0, kind="open"), cables=cables)
    assert np.sqrt(np.mean(out[-64:].astype(float) ** 2)) > 0.01  # 0.001 is asked for
