"""svf against the analogue filter by scipy's bilinear transform, and under modulation at every sample."""

from __future__ import annotations

from itertools import product
from typing import Any

import drive
import numpy as np
import pytest
from drive import RATE_HZ, Command, decibels
from scipy import signal

OUTPUTS = ["low", "band", "high", "notch"]
MAX_HZ = RATE_HZ / 2 - 10


def section(output: str, cutoff_hz: float, q: float) -> tuple[Any, Any]:
    """Return (b, a) of ... / (s^2 + w s / q + w^2) by the bilinear transform; the band-pass peaks at 0 dB."""
    w = 2 * RATE_HZ * np.tan(np.pi * cutoff_hz / RATE_HZ)
    top = {"low": [w * w], "band": [w / q, 0], "high": [1, 0, 0], "notch": [1, 0, w * w]}[output]
    return signal.bilinear(top, [1, w / q, w * w], RATE_HZ)


def settings_of(cutoff_hz: float, q: float, shift: float = 0.0) -> list[Command]:
    values = {"cutoff": cutoff_hz, "q": q, "shift": shift}
    return [Command(0, name, value, is_immediate=True) for name, value in values.items()]


def filtered(x: drive.Samples, commands: list[Command], **options: Any) -> dict[str, drive.Samples]:
    outputs = drive.run("svf", len(x), commands=commands, inputs=[x], **options).outputs
    return dict(zip(OUTPUTS, outputs, strict=True))


def noise(n_frames: int, loudness: float = 0.5) -> drive.Samples:
    return np.random.default_rng(7).uniform(-loudness, loudness, n_frames).astype(np.float32)


def sine(freq_hz: float, n_frames: int) -> drive.Samples:
    return np.asarray(np.sin(2 * np.pi * freq_hz * np.arange(n_frames) / RATE_HZ), np.float32)


@pytest.mark.parametrize("output", OUTPUTS)
def test_each_output_is_scipys_bilinear_filter_in_time(output: str) -> None:
    x = noise(6000)
    for cutoff_hz, q in product([63.0, 200.0, 1000.0, 5000.0, 12000.0, 20000.0], [0.1, 0.7071, 2.0, 20.0, 40.0]):
        y = filtered(x, settings_of(cutoff_hz, q), splits=[6000])[output]
        reference = signal.lfilter(*section(output, cutoff_hz, q), x.astype(float))
        # Rounding the output to float32 comes to -144 dB; scipy's direct form loses the rest at low cutoffs.
        assert decibels(np.abs(y - reference).max() / np.abs(reference).max()) < -120, (cutoff_hz, q)


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize(("cutoff_hz", "q"), [(300.0, 0.7071), (1000.0, 5.0), (8000.0, 0.3), (MAX_HZ, 1.0)])
def test_its_responses_are_the_analogue_ones_in_db(output: str, cutoff_hz: float, q: float) -> None:
    impulse = np.zeros(32768, np.float32)
    impulse[0] = 1.0
    heard = np.abs(np.fft.rfft(filtered(impulse, settings_of(cutoff_hz, q))[output].astype(float)))
    turns = np.fft.rfftfreq(len(impulse))
    _, expected = signal.freqz(*section(output, cutoff_hz, q), worN=2 * np.pi * turns)
    audible = np.abs(expected) > 1e-3
    # Rounding each sample to float32 adds up to some 1e-7 of full scale: 1e-4 of what is at -60 dB, 0.001 dB.
    assert np.abs(20 * np.log10(heard[audible] / np.abs(expected[audible]))).max() < 2e-3


def test_high_and_low_make_the_notch_and_with_the_band_the_input() -> None:
    x = noise(4000)
    y = filtered(x, settings_of(700.0, 3.0))
    np.testing.assert_allclose(y["low"] + y["high"], y["notch"], atol=1e-6)
    np.testing.assert_allclose(y["notch"] + y["band"], x, atol=1e-6)


def test_a_shift_of_one_octave_doubles_the_cutoff_and_the_sum_stays_in_range() -> None:
    x = noise(4000)
    for octaves in (-3.0, -1.0, 1.0, 2.0):
        shifted = filtered(x, settings_of(1000.0, 2.0, octaves))["low"]
        np.testing.assert_array_equal(shifted, filtered(x, settings_of(1000.0 * 2.0**octaves, 2.0))["low"])
    top = filtered(x, settings_of(1000.0, 2.0, 10.0))["low"]
    np.testing.assert_array_equal(top, filtered(x, settings_of(MAX_HZ, 2.0))["low"])


def test_modulation_at_every_sample_is_the_filter_with_that_frames_coefficients() -> None:
    n = 3000
    x, rng = noise(n), np.random.default_rng(11)
    cables = {
        "cutoff": (900.0 * np.sin(np.arange(n) * 0.9)).astype(np.float32),
        "shift": rng.uniform(-2, 2, n).astype(np.float32),
        "q": rng.uniform(0, 9, n).astype(np.float32),
    }
    y = filtered(x, settings_of(1000.0, 0.7), cables=cables)
    s1 = s2 = 0.0
    for i in range(n):
        hz = np.clip(1000.0 + float(cables["cutoff"][i]), 10, MAX_HZ) * 2.0 ** float(cables["shift"][i])
        g, k = np.tan(np.pi * np.clip(hz, 10, MAX_HZ) / RATE_HZ), 1 / (0.7 + float(cables["q"][i]))
        v1 = (s1 + g * (float(x[i]) - s2)) / (1 + g * (g + k))  # Zavalishin's loop solved for the band-pass
        v2 = s2 + g * v1
        s1, s2 = 2 * v1 - s1, 2 * v2 - s2
        expected = {"low": v2, "band": k * v1, "high": x[i] - k * v1 - v2, "notch": x[i] - k * v1}
        for name, value in expected.items():
            assert abs(y[name][i] - value) < 1e-6


def test_it_dies_away_while_everything_is_modulated_as_hard_as_it_can_be() -> None:
    """Hostile cables for a second: without input the sum of the squares of the states must never grow."""
    n = 48000
    x = noise(n)
    x[1000:] = 0.0
    rng = np.random.default_rng(5)
    cables = {
        "cutoff": rng.choice([-2e4, 0.0, 2e4], n).astype(np.float32),
        "shift": rng.choice([-10.0, 0.0, 10.0], n).astype(np.float32),
        "q": rng.choice([0.0, 40.0], n).astype(np.float32),
    }
    states = []
    for frames in (1000, 1100, 2000, 8000, n):
        state = drive.run("svf", frames, inputs=[x], cables=cables).state
        own = np.frombuffer(state[-64:], np.float64)
        states.append(own[0] ** 2 + own[1] ** 2)
    assert states[0] > 0 and all(after <= before for before, after in zip(states, states[1:], strict=False))
    y = filtered(x, [], cables=cables)
    assert max(np.abs(out).max() for out in y.values()) < 200  # a whole second of it stays below q times the input


@pytest.mark.parametrize("name", ["cutoff", "shift", "q"])
def test_a_change_glides_along_a_straight_line(name: str) -> None:
    at, ramp, n = 1000, {"cutoff": 480, "shift": 480, "q": 1200}[name], 6000
    low, high = {"cutoff": (1000.0, 4000.0), "shift": (0.0, 3.0), "q": (1.0, 9.0)}[name]
    x = noise(n)
    start = Command(0, name, low, is_immediate=True)
    line = np.interp(np.arange(n), [at, at + ramp], [0.0, high - low]).astype(np.float32)
    # The cable is float32: 1e-7 of the coefficients, times q in the output.
    np.testing.assert_allclose(
        filtered(x, [start, Command(at, name, high)])["low"],
        filtered(x, [start], cables={name: line})["low"],
        atol=5e-6,
    )


def test_a_tone_swept_over_four_octaves_20_times_a_second_makes_no_click() -> None:
    """Seen in the second differences, beside the same sweep held for 64 frames, as a control rate would have it."""
    n = 48000
    x = sine(200.0, n)
    sweep = (2 * np.sin(2 * np.pi * 20 * np.arange(n) / RATE_HZ)).astype(np.float32)

    def corner(cable: drive.Samples) -> float:
        y = filtered(x, settings_of(1000.0, 1.0), cables={"shift": cable})["low"].astype(float)
        return float(np.abs(np.diff(y[1000:], 2)).max())

    tone = np.abs(np.diff(x.astype(float), 2)).max()
    assert corner(sweep) < 2 * tone
    assert corner(np.repeat(sweep[::64], 64)) > 4 * tone


def test_a_nan_and_an_infinity_at_the_input_are_over_with_the_sound() -> None:
    x = noise(48000)
    x[100], x[101], x[2000:] = np.nan, np.inf, 0.0
    y = filtered(x, settings_of(2000.0, 0.7))
    assert all(np.isfinite(out).all() and np.abs(out[-1000:]).max() < 1e-20 for out in y.values())
