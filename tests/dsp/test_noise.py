"""noise: its spectra against 1, 1/f and 1/f^2, its numbers against SplitMix64."""

from __future__ import annotations

from functools import cache

import drive
import numpy as np
import pytest
from drive import Command
from numpy.typing import NDArray
from scipy import signal

AT_ONCE = True
COLORS = {"white": 0, "pink": 1, "brown": 2}


@cache
def noise(color: str, seed: int = 0, n_frames: int = 1 << 22) -> drive.Samples:
    commands = [Command(0, "color", COLORS[color], AT_ONCE), Command(0, "seed", seed), Command(0, "gain", 1.0, AT_ONCE)]
    return drive.run("noise", n_frames, commands=commands, splits=[8192]).out


def splitmix64(z: NDArray[np.uint64]) -> NDArray[np.uint64]:
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def white_model(seed: int, n_frames: int) -> NDArray[np.float32]:
    start = splitmix64(np.array([seed + 1], np.uint64) * np.uint64(0xD1342543DE82EF95))
    bits = splitmix64(start + np.arange(n_frames, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15))
    odd = (bits >> np.uint64(39)).astype(np.int64) | 1
    return ((odd - 2**24) / 2**24).astype(np.float32)


def response_db(color: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return (frequency in parts of the rate, dB) of a colour's filter: the noise against the white it is made of."""
    white, colored = (noise(c, 3).astype(float) for c in ("white", color))
    f, cross = signal.csd(white, colored, nperseg=1 << 16)
    _, power = signal.welch(white, nperseg=1 << 16)
    return f[1:], 20 * np.log10(np.abs(cross / power))[1:]


@pytest.mark.parametrize("seed", [0, 1, 16777215])
def test_white_noise_is_splitmix64_of_seed_and_count(seed: int) -> None:
    np.testing.assert_array_equal(noise("white", seed, 5000), white_model(seed, 5000))


def test_white_noise_is_uniform_and_its_spectrum_flat() -> None:
    x = noise("white").astype(float)
    # 4 million numbers: five standard deviations of their mean, variance and of a bin's count.
    assert abs(x.mean()) < 5 / np.sqrt(3 * len(x))
    assert abs(x.var() - 1 / 3) < 5 * np.sqrt(4 / 45 / len(x))
    counts, _ = np.histogram(x, 64, (-1, 1))
    assert np.abs(counts - len(x) / 64).max() < 5 * np.sqrt(len(x) / 64)
    power = (np.abs(np.fft.rfft(x)[1:]) ** 2 / len(x)).reshape(64, -1).mean(axis=1)
    assert np.abs(power * 3 - 1).max() < 5 / np.sqrt(len(x) / 128)


def test_different_seeds_are_uncorrelated_at_any_lag() -> None:
    a, b = (np.fft.rfft(noise("white", seed).astype(float)) for seed in (0, 1))
    correlation = np.fft.irfft(a * b.conj()) / (len(noise("white")) / 3)
    assert np.abs(correlation).max() < 6.5 / np.sqrt(len(noise("white")))  # of 4 million, the largest is near 5.2


def test_pink_noise_is_1_over_f_within_a_twentieth_of_a_db() -> None:
    f, db = response_db("pink")
    error = (db + 10 * np.log10(f))[(f > 1 / 8192) & (f < 0.48)]
    assert np.ptp(error) / 2 < 0.05  # the filter's 0.02 dB, and what the window lets through


def test_brown_noise_is_1_over_f_squared_within_half_a_db() -> None:
    f, db = response_db("brown")
    error = (db + 20 * np.log10(f))[(f > 1 / 1024) & (f < 0.46)]
    assert np.ptp(error) / 2 < 0.4


@pytest.mark.parametrize("color", COLORS)
def test_all_colours_have_the_same_rms(color: str) -> None:
    x = noise(color).astype(float)
    # 4 million frames of brown noise hold a few thousand stretches that know nothing of each other.
    assert np.sqrt(np.mean(x**2)) == pytest.approx(np.sqrt(1 / 3), rel=0.06)


def test_another_seed_starts_the_noise_anew_at_that_frame() -> None:
    for color in COLORS:
        commands = [Command(0, "color", COLORS[color]), Command(0, "gain", 1.0, AT_ONCE), Command(1234, "seed", 7)]
        out = drive.run("noise", 5000, commands=commands).out
        np.testing.assert_array_equal(out[:1234], noise(color, 0, 5000)[:1234])
        np.testing.assert_array_equal(out[1234:], noise(color, 7, 5000)[: 5000 - 1234])
