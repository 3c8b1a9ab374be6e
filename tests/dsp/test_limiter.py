"""limiter: no sample above the ceiling whatever comes in; what is below it passes unchanged; what a peak costs."""

from __future__ import annotations

from typing import Any

import drive
import numpy as np
import pytest
from drive import RATE_HZ, Command, decibels
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import signal

LATENCY = 240  # frames of the default look-ahead, 5 ms
DEFAULTS = {"ceiling": -1.0, "gain": 1.0, "release": 100.0, "lookahead": 5.0, "peak": 0.0}


def limited(left: drive.Samples, right: drive.Samples | None = None, *commands: Command, **values: Any) -> Any:
    """Return (left, right)."""
    options = {name: values.pop(name) for name in ("cables", "splits", "rate_hz") if name in values}
    sets = [Command(0, name, float(value), is_immediate=True) for name, value in values.items()]
    return drive.run("limiter", len(left), commands=[*sets, *commands], inputs=[left, right], **options).outputs


def sine(freq_hz: float, n: int, loudness: float = 1.0, phase: float = 0.0) -> drive.Samples:
    return (loudness * np.sin(2 * np.pi * (freq_hz * np.arange(n) / RATE_HZ + phase))).astype(np.float32)


def ceiling_of(db: Any) -> Any:
    return 10.0 ** (np.asarray(db, float) / 20) * (1 + 1e-12)  # what float64 may be off by here and there


def hostile(rng: np.random.Generator, n: int) -> drive.Samples:
    """Pieces of everything that hurts: clicks, squares, noise, steps, full tones, infinities and NaN."""
    pieces: list[np.ndarray] = []
    while sum(map(len, pieces)) < n:
        k = int(rng.integers(1, 700))
        loud = 10.0 ** rng.uniform(-3, 7)
        click = np.zeros(k)
        click[rng.integers(k)] = loud
        pieces.append(
            [
                click,
                loud * np.sign(np.sin(np.arange(k) * rng.uniform(0.01, 3.1))),
                loud * rng.uniform(-1, 1, k),
                np.full(k, -loud),
                loud * np.sin(np.arange(k) * rng.uniform(0.01, 3.1)),
                np.zeros(k),
                rng.choice([np.inf, -np.inf, np.nan, 3e38, 1.0], k),
            ][rng.integers(7)]
        )
    return np.concatenate(pieces)[:n].astype(np.float32)


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    ceiling=st.sampled_from([0.0, -0.1, -1.0, -6.0, -60.0]),
    lookahead=st.sampled_from([1.0, 2.3, 5.0, 10.0]),
    peak=st.integers(0, 1),
    rate_hz=st.sampled_from([8000.0, 48000.0, 192000.0, 768000.0]),
)
def test_no_sample_is_ever_above_the_ceiling(
    seed: int, ceiling: float, lookahead: float, peak: int, rate_hz: float
) -> None:
    rng = np.random.default_rng(seed)
    n = 6000
    commands = []
    for frame in rng.integers(0, n, 8):
        name = rng.choice(["gain", "release", "lookahead", "peak"])
        high = {"gain": 16, "release": 5000, "lookahead": 10, "peak": 1}[name]
        commands.append(Command(int(frame), name, float(round(rng.uniform(0, high))), bool(rng.integers(2))))
    outputs = limited(
        hostile(rng, n),
        hostile(rng, n),
        *commands,
        ceiling=ceiling,
        lookahead=lookahead,
        peak=peak,
        rate_hz=rate_hz,
        splits=list(rng.integers(1, 400, 5)),
    )
    assert all(np.abs(out).max() <= ceiling_of(ceiling) for out in outputs)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_nor_while_the_ceiling_moves_at_every_sample(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = 6000
    cable = rng.choice([np.sin(np.arange(n) * rng.uniform(0, 1)), rng.uniform(-1, 1, n)]).astype(np.float32) * 30
    outputs = limited(hostile(rng, n), hostile(rng, n), ceiling=-30.0, cables={"ceiling": cable})
    ceiling = ceiling_of(np.clip(-30.0 + cable.astype(float), -60, 0))
    assert all(np.all(np.abs(out) <= ceiling) for out in outputs)


@pytest.mark.parametrize("lookahead", [1.0, 2.5, 5.0, 10.0])
@pytest.mark.parametrize("peak", [0, 1])
def test_below_the_ceiling_every_bit_passes_late_by_the_lookahead(lookahead: float, peak: int) -> None:
    rng = np.random.default_rng(1)
    left, right = (rng.uniform(-0.4, 0.4, 9000).astype(np.float32) for _ in range(2))
    late = round(lookahead * RATE_HZ / 1000)
    for x, y in zip((left, right), limited(left, right, lookahead=lookahead, peak=peak), strict=True):
        assert not np.any(y[:late])
        np.testing.assert_array_equal(y[late:], x[:-late])


def test_right_takes_left_where_it_has_no_cable() -> None:
    x = sine(300.0, 4000, 2.0)
    left, right = limited(x)
    np.testing.assert_array_equal(left, right)
    assert np.abs(right).max() > 0.5


@pytest.mark.parametrize("over_db", [1.0, 6.0, 20.0, 60.0])
def test_a_loud_tone_comes_out_at_the_ceiling_and_stays_a_tone(over_db: float) -> None:
    n = 48000
    y = limited(sine(997.0, n, 10 ** (over_db / 20)), ceiling=-3.0, release=200.0)[0][n // 2 :].astype(float)
    peak = np.abs(y).max()
    assert -3.1 < decibels(peak) <= -3.0 + 1e-9
    basis = np.exp(2j * np.pi * 997.0 * np.arange(len(y)) / RATE_HZ) * np.hanning(len(y))
    fundamental = np.abs(np.vdot(basis, y)) / basis.__abs__().sum() * 2
    rest = np.fft.rfft(y * np.hanning(len(y)))
    bins = np.abs(np.fft.rfftfreq(len(y), 1 / RATE_HZ) - 997.0) > 20
    distortion = np.sqrt(np.sum(np.abs(rest[bins]) ** 2) / np.sum(np.abs(rest) ** 2))
    assert abs(fundamental - peak) / peak < 0.02
    assert decibels(float(distortion)) < -60  # cut off at the ceiling it would have -13 dB at 20 dB over


def test_the_gain_is_down_before_the_peak_in_a_straight_line_and_both_sides_share_it() -> None:
    n, at = 4000, 2000
    left, right = np.full(n, 0.1, np.float32), np.full(n, -0.1, np.float32)
    left[at] = 2.0
    y_left, y_right = limited(left, right, ceiling=0.0, release=5000.0)
    gain = y_right.astype(float) / -0.1
    assert np.all(gain[LATENCY : at + 6] > 1 - 1e-6)  # until the look-ahead sees it: 5 ms before, less 6 frames
    window = LATENCY - 6 + 1
    line = 1 - 0.5 * np.arange(1, window + 1) / window
    np.testing.assert_allclose(gain[at + 6 : at + 6 + window], line, atol=1e-3)  # it releases a little meanwhile
    assert abs(gain[at + LATENCY] - 0.5) < 1e-3 and y_left[at + LATENCY] <= 1.0
    np.testing.assert_allclose(y_left[at + 20 : at + LATENCY] / 0.1, gain[at + 20 : at + LATENCY], rtol=1e-5)


def test_it_is_the_gain_that_limits_and_not_the_cut_at_the_ceiling() -> None:
    """Both sides keep their ratio at every sample: a cut would fall on the louder one alone."""
    rng = np.random.default_rng(2)
    n = 24000
    loudness = np.repeat(10.0 ** rng.uniform(-1, 2, n // 100), 100)
    x = (rng.uniform(-1, 1, n) * loudness).astype(np.float32)
    left, right = (y.astype(float) for y in limited(x, (x * np.float32(0.5)), release=1.0))
    np.testing.assert_allclose(left, 2 * right, rtol=1e-6)


@pytest.mark.parametrize("release", [20.0, 100.0, 500.0])
def test_the_gain_comes_back_by_1_e_in_the_release(release: float) -> None:
    n, at = 96000, 4000
    x = np.full(n, 0.1, np.float32)
    x[at] = 2.0
    missing = 1 - limited(x, ceiling=0.0, release=release)[0].astype(float) / 0.1
    start = at + 2 * LATENCY + 100  # when both windows are past the peak: an exponential from here on
    frames = round(release * RATE_HZ / 1000)
    assert missing[start + frames] / missing[start] == pytest.approx(np.exp(-1), rel=0.01)


@pytest.mark.parametrize("freq_hz", [5000.0, 10000.0, 12000.0, 16000.0])
def test_with_true_peak_what_lies_between_the_samples_is_below_the_ceiling_too(freq_hz: float) -> None:
    """Seen at 16 times the rate; the phase puts the tops between the samples where the frequency divides the rate."""
    x = sine(freq_hz, 24000, 4.0, phase=0.125)

    def top(peak: int) -> float:
        y = limited(x, ceiling=-1.0, peak=peak)[0][2000:].astype(float)
        return decibels(np.abs(signal.resample_poly(y, 16, 1, window=("kaiser", 12.0))[500:-500]).max())

    assert top(1) < -1.0 + 0.5
    if freq_hz == 12000.0:
        assert top(0) > -1.0 + 2.9 and top(1) < -1.0 + 0.1  # at a quarter of the rate the samples miss 3 dB


def test_a_change_of_the_lookahead_fades_out_and_in_without_a_click() -> None:
    n, at = 24000, 8000
    x = sine(200.0, n, 0.5)
    y = limited(x, None, Command(at, "lookahead", 10.0))[0].astype(float)
    own = np.abs(np.diff(x.astype(float))).max()
    # The fade moves the level by 1/240 a frame.
    assert np.abs(np.diff(y)).max() < own + 0.5 / 240
    assert np.any(y[at + 300 : at + 500] == 0) and np.abs(y[at + 2000 :]).max() > 0.49
    np.testing.assert_array_equal(y[at + 2000 :], x[at + 2000 - 480 : n - 480])


def test_it_comes_back_from_a_blast() -> None:
    n = 48000
    x = sine(300.0, n, 0.3)
    x[1000:1100] = np.inf
    y = limited(x, release=10.0)[0]
    np.testing.assert_array_equal(y[30000:], x[30000 - LATENCY : n - LATENCY])


def test_warm_up_hears_at_once_what_comes_in() -> None:
    x = sine(440.0, 256, 0.3)
    np.testing.assert_array_equal(limited(x, None, Command(0, kind="open"))[0], x)
