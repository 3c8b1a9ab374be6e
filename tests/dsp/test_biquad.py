"""biquad_filter against the RBJ Audio EQ Cookbook: scipy.signal.sosfilt in time, the response in dB."""

from __future__ import annotations

from itertools import product
from typing import Any

import drive
import numpy as np
import pytest
from drive import RATE_HZ, Command, decibels
from scipy import signal

MODES = ["lowpass", "highpass", "bandpass", "notch", "peak", "lowshelf", "highshelf", "allpass"]
every_mode = pytest.mark.parametrize("mode", MODES)


def cookbook(mode: str, cutoff_hz: float, q: float, gain_db: float) -> Any:
    """Return the second-order section (b0, b1, b2, 1, a1, a2). RBJ Audio EQ Cookbook."""
    w0 = 2 * np.pi * cutoff_hz / RATE_HZ
    c, alpha, a = np.cos(w0), np.sin(w0) / (2 * q), 10 ** (gain_db / 40)
    r = 2 * np.sqrt(a) * alpha
    low = 2 * np.sin(w0 / 2) ** 2  # 1 - cos(w0) without the cancellation
    up, down = (a + 1) + (a - 1) * c, (a + 1) - (a - 1) * c
    up_1, down_1 = (a - 1) + (a + 1) * c, (a - 1) - (a + 1) * c
    plain = (1 + alpha, -2 * c, 1 - alpha)
    b, den = {
        "lowpass": ((low / 2, low, low / 2), plain),
        "highpass": (((1 + c) / 2, -(1 + c), (1 + c) / 2), plain),
        "bandpass": ((alpha, 0.0, -alpha), plain),
        "notch": ((1.0, -2 * c, 1.0), plain),
        "peak": ((1 + alpha * a, -2 * c, 1 - alpha * a), (1 + alpha / a, -2 * c, 1 - alpha / a)),
        "lowshelf": ((a * (down + r), 2 * a * down_1, a * (down - r)), (up + r, -2 * up_1, up - r)),
        "highshelf": ((a * (up + r), -2 * a * up_1, a * (up - r)), (down + r, 2 * down_1, down - r)),
        "allpass": ((1 - alpha, -2 * c, 1 + alpha), plain),
    }[mode]
    return np.array([*b, *den]) / den[0]


def settings_of(mode: str, cutoff_hz: float, q: float, gain_db: float = 0.0) -> list[Command]:
    values = {"mode": MODES.index(mode), "cutoff": cutoff_hz, "q": q, "gain_db": gain_db}
    return [Command(0, name, float(value), is_immediate=True) for name, value in values.items()]


def filtered(x: drive.Samples, commands: list[Command], **options: Any) -> drive.Samples:
    return drive.run("biquad_filter", len(x), commands=commands, inputs=[x], **options).out


def noise(n_frames: int, loudness: float = 0.5) -> drive.Samples:
    return np.random.default_rng(7).uniform(-loudness, loudness, n_frames).astype(np.float32)


def sine(freq_hz: float, n_frames: int) -> drive.Samples:
    turns = freq_hz * np.arange(n_frames) / RATE_HZ
    return np.asarray(np.sin(2 * np.pi * turns), np.float32)


@every_mode
def test_it_is_sosfilt_with_the_cookbooks_coefficients_in_time(mode: str) -> None:
    x = noise(6000)
    cutoffs_hz = [20.0, 63.0, 200.0, 1000.0, 5000.0, 12000.0, 16000.0, 20000.0]
    qs = [0.1, 0.5, 0.7071, 2.0, 8.0, 20.0]
    gains_db = [-40.0, -6.0, 0.0, 12.0, 40.0] if mode in ("peak", "lowshelf", "highshelf") else [0.0]
    for point in product(cutoffs_hz, qs, gains_db):
        y = filtered(x, settings_of(mode, *point), splits=[6000])
        reference = signal.sosfilt(cookbook(mode, *point)[None], x.astype(float))
        error = np.abs(y - reference).max() / np.abs(reference).max()
        # -120 dB is the requirement; rounding the output to float32 alone comes to -144 dB.
        assert decibels(error) < -120, point


@every_mode
@pytest.mark.parametrize(("cutoff_hz", "q"), [(300.0, 0.7071), (1000.0, 5.0), (8000.0, 0.3), (23990.0, 1.0)])
def test_its_response_is_the_cookbooks_in_db(mode: str, cutoff_hz: float, q: float) -> None:
    impulse = np.zeros(32768, np.float32)
    impulse[0] = 1.0
    y = filtered(impulse, settings_of(mode, cutoff_hz, q, 9.0)).astype(float)
    turns = np.fft.rfftfreq(len(impulse))
    _, expected = signal.sosfreqz(cookbook(mode, cutoff_hz, q, 9.0)[None], worN=2 * np.pi * turns)
    heard = np.abs(np.fft.rfft(y))
    audible = np.abs(expected) > 1e-3
    error_db = 20 * np.log10(heard[audible] / np.abs(expected[audible]))
    # Rounding each sample to float32 adds up to some 1e-7 of full scale: 1e-4 of what is at -60 dB, 0.001 dB.
    assert np.abs(error_db).max() < 2e-3


def test_defaults_are_a_lowpass_at_2_khz_with_q_1() -> None:
    x = noise(4000)
    np.testing.assert_array_equal(filtered(x, []), filtered(x, settings_of("lowpass", 2000.0, 1.0)))


def test_a_peak_or_shelf_of_0_db_passes_the_input_unchanged() -> None:
    x = noise(4000)
    for mode in ("peak", "lowshelf", "highshelf"):
        np.testing.assert_array_equal(filtered(x, settings_of(mode, 3000.0, 2.0)), x)


@pytest.mark.parametrize("name", ["cutoff", "q"])
def test_a_change_arrives_after_25_ms(name: str) -> None:
    """The ramp is seen through a cable: a filter driven along the same straight line gives the same sound."""
    at, ramp, n_frames = 1000, 1200, 6000
    low, high = {"cutoff": (2000.0, 8000.0), "q": (1.0, 9.0)}[name]
    x = noise(n_frames)
    line = np.interp(np.arange(n_frames), [at, at + ramp], [0.0, high - low]).astype(np.float32)
    ramped = filtered(x, [Command(at, name, high)])
    # The cable is float32: 2^-24 of 6000 Hz or 8, so 1e-7 of the coefficients, times q in the output.
    np.testing.assert_allclose(ramped, filtered(x, [], cables={name: line}), atol=5e-6)
    assert np.abs(ramped - filtered(x, [Command(at, name, high, is_immediate=True)]))[at:].max() > 0.01


@pytest.mark.parametrize("start", MODES)
@pytest.mark.parametrize("end", MODES)
def test_a_change_of_mode_makes_no_click(start: str, end: str) -> None:
    at, n_frames = 9600, 19200
    x = sine(500.0, n_frames)
    change = Command(at, "mode", MODES.index(end))
    y = filtered(x, [*settings_of(start, 2000.0, 1.0, 6.0), change])
    steps = np.abs(np.diff(y.astype(float)))
    settled = max(steps[at - 500 : at - 1].max(), steps[-500:].max())
    # Each frame of the 5 ms moves the mix by 1/240 of the way; twice that, as the states move too.
    assert steps[at - 1 :].max() <= settled + 2 * np.abs(y).max() / 240


def test_a_change_of_mode_is_over_after_5_ms_and_an_immediate_one_at_once() -> None:
    x = noise(4000)
    lowpass = settings_of("lowpass", 2000.0, 1.0)
    faded = filtered(x, [*lowpass, Command(1000, "mode", 1)]).astype(float)
    at_once = filtered(x, [*lowpass, Command(1000, "mode", 1, is_immediate=True)]).astype(float)
    highpass = filtered(x, settings_of("highpass", 2000.0, 1.0)).astype(float)
    # Only mixes differ between these two modes, so the states are those of the highpass throughout.
    np.testing.assert_array_equal(at_once[1000:], highpass[1000:])
    assert np.all(np.abs(faded - highpass)[1000:1005] > 0) and faded[1239] != highpass[1239]
    np.testing.assert_array_equal(faded[1240:], highpass[1240:])


def test_a_mode_set_before_the_first_frame_is_not_faded_in() -> None:
    x = noise(1000)
    np.testing.assert_array_equal(
        filtered(x, [Command(0, "mode", 1)]), filtered(x, [Command(0, "mode", 1, is_immediate=True)])
    )


@every_mode
def test_extreme_modulation_stays_finite(mode: str) -> None:
    n_frames = 48000
    rng = np.random.default_rng(3)
    names = ("cutoff", "q", "gain_db")
    wild = {name: rng.choice([-5e5, 5e5], n_frames).astype(np.float32) for name in names}
    y = filtered(noise(n_frames, 1.0), settings_of(mode, 2000.0, 1.0), cables=wild)
    assert np.all(np.abs(y) <= 1e6)  # PE_SAMPLE_LIMIT


@every_mode
def test_inputs_of_ten_to_the_ten_stay_finite_and_are_forgotten(mode: str) -> None:
    x = np.where(np.arange(48000) % 97 < 48, 1e10, -1e10).astype(np.float32)
    x[24000:] = 0.0
    changes = [Command(f, "mode", float(f // 100 % 8)) for f in range(0, 24000, 100)]
    changes += [Command(f, "cutoff", [10.0, 23990.0][f // 700 % 2]) for f in range(0, 24000, 700)]
    y = filtered(x, [*settings_of(mode, 2000.0, 1.0, 40.0), *changes, *settings_at(24000, mode)])
    assert np.all(np.abs(y) <= 1e6)  # PE_SAMPLE_LIMIT
    assert np.abs(y[-1000:]).max() < 1e-6  # 0.48 s at 2 kHz and q 1: the states have long died away


def settings_at(frame: int, mode: str) -> list[Command]:
    return [Command(frame, c.param, c.value, True) for c in settings_of(mode, 2000.0, 1.0)]


def test_without_an_input_it_rings_out_into_silence() -> None:
    assert not np.any(drive.run("biquad_filter", 500).out)
