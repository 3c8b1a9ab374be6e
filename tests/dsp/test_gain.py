"""gain: out = in x gain x cv."""

from __future__ import annotations

import drive
import numpy as np
from drive import Command

N = 2000
RNG = np.random.default_rng(1)
X = RNG.uniform(-1, 1, N).astype(np.float32)
CV = RNG.uniform(-1, 1, N).astype(np.float32)


def gain(value: float = 1.0, *, x: drive.Samples | None = X, cv: drive.Samples | None = None) -> drive.Samples:
    return drive.run("gain", N, commands=[Command(0, "gain", value, True)], inputs=[x, cv]).out


def test_a_new_module_lets_its_input_through_bit_for_bit() -> None:
    np.testing.assert_array_equal(drive.run("gain", N, inputs=[X, None]).out, X)


def test_input_gain_and_cv_are_multiplied() -> None:
    np.testing.assert_array_equal(gain(0.3, cv=CV), X * np.float32(0.3) * CV)
    np.testing.assert_array_equal(gain(0.3), X * np.float32(0.3))


def test_without_an_input_there_is_silence_whatever_the_cv() -> None:
    assert not np.any(gain(2.0, x=None, cv=CV))


def test_gain_reaches_its_target_after_exactly_240_frames() -> None:
    ones = np.ones(N, np.float32)
    out = drive.run("gain", N, commands=[Command(500, "gain", 0.25)], inputs=[ones, None]).out
    # Rounding to float32: half a unit of 2^-24 at most.
    np.testing.assert_allclose(out, np.interp(np.arange(N), [500, 740], [1.0, 0.25]), atol=2**-24)
    assert out[739] > np.float32(0.25) == out[740]


def test_a_cable_on_gain_adds_to_the_setting_and_stays_within_the_range() -> None:
    cable = np.linspace(-2, 20, N).astype(np.float32)
    out = drive.run("gain", N, inputs=[np.ones(N, np.float32), None], cables={"gain": cable}).out
    np.testing.assert_array_equal(out, np.clip(1.0 + cable.astype(float), 0, 16).astype(np.float32))
