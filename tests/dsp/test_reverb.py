"""reverb: its decay against what it says, and what a room must be: stable, dense, the same power on both sides."""

from __future__ import annotations

import drive
import numpy as np
import pytest
from drive import RATE_HZ, Command, Samples
from scipy import signal

RATE = int(RATE_HZ)


def reverb(
    left: Samples,
    right: Samples | None,
    *changes: Command,
    rate_hz: float = RATE_HZ,
    splits: tuple[int, ...] = (64,),
    **values: float,
) -> list[Samples]:
    at_once = [Command(0, name, value, True) for name, value in {"mix": 1.0, **values}.items()]
    return drive.run(
        "reverb", len(left), inputs=[left, right], commands=[*at_once, *changes], rate_hz=rate_hz, splits=splits
    ).outputs


def impulse(n_frames: int) -> Samples:
    x = np.zeros(n_frames, np.float32)
    x[0] = 1
    return x


def t60_ms(x: np.ndarray, rate_hz: float = RATE_HZ) -> float:
    """Return the reverberation time, from -5 to -35 dB of Schroeder's backward integral."""
    energy_db = 10 * np.log10(np.cumsum(x[::-1].astype(float) ** 2)[::-1] + 1e-300)
    energy_db -= energy_db[0]
    first, last = np.argmax(energy_db < -5), np.argmax(energy_db < -35)
    return float(2 * (last - first) / rate_hz * 1000)


def band(x: Samples, low_hz: float, high_hz: float, rate_hz: float = RATE_HZ) -> np.ndarray:
    sections = signal.butter(4, [low_hz, high_hz], "bandpass", fs=rate_hz, output="sos")
    return np.asarray(signal.sosfilt(sections, x.astype(float)))


@pytest.mark.parametrize("decay_ms", [300.0, 1000.0, 4000.0])
@pytest.mark.parametrize("size", [0.1, 0.6, 1.0])
@pytest.mark.parametrize("rate_hz", [44100.0, 48000.0, 96000.0])
def test_low_frequencies_fall_by_60_db_in_the_decay(decay_ms: float, size: float, rate_hz: float) -> None:
    x = impulse(int((decay_ms + 500) * rate_hz / 1000))
    for out in reverb(x, x, decay=decay_ms, size=size, damping=0, modulation=0, rate_hz=rate_hz):
        # A decay is seen through an echo pattern of up to 78 ms.
        assert t60_ms(band(out, 100, 1500, rate_hz), rate_hz) == pytest.approx(decay_ms, rel=0.05, abs=40)


def test_a_moving_room_decays_as_fast_as_one_that_stands() -> None:
    x = impulse(3 * RATE)
    for out in reverb(x, x, decay=2000, damping=0, modulation=1):
        assert t60_ms(band(out, 100, 1500)) == pytest.approx(2000, rel=0.06)


def test_damping_shortens_high_frequencies_and_hardly_low_ones() -> None:
    x = impulse(3 * RATE)
    out = reverb(x, x, decay=2000, damping=0.3, modulation=0)[0]
    assert t60_ms(band(out, 80, 200)) == pytest.approx(2000, rel=0.1)
    assert t60_ms(band(out, 6000, 9000)) < 600


def test_the_longest_decay_never_grows() -> None:
    rng = np.random.default_rng(1)
    x = np.zeros(10 * RATE, np.float32)
    x[:4800] = rng.uniform(-1, 1, 4800)
    for out in reverb(x, x, decay=60000, damping=0, modulation=0, predelay=0):
        power = np.mean(band(out, 100, 1500)[RATE:].reshape(9, -1) ** 2, axis=1)
        np.testing.assert_array_less(power[1:], power[:-1] * 1.02)  # a part of a decay fluctuates
        assert power[-1] > 0.1 * power[0]


def test_it_stays_bounded_whatever_comes_in_and_moves() -> None:
    rng = np.random.default_rng(2)
    n = 2 * RATE
    x = (1e6 * rng.choice([-1.0, 1.0], n)).astype(np.float32)
    cables = {
        name: rng.uniform(-1, 1, n).astype(np.float32) * span
        for name, span in (("size", 1), ("modulation", 1), ("predelay", 80), ("decay", 60000))
    }
    result = drive.run(
        "reverb",
        n,
        inputs=[x, -x],
        cables=cables,
        commands=[Command(0, "decay", 60000, True), Command(0, "mix", 1, True)],
    )
    for out in result.outputs:
        assert np.abs(out).max() <= 1e6


def test_the_tail_dies_to_true_zero_and_then_nothing_is_written() -> None:
    x = impulse(3 * RATE)
    result = drive.run("reverb", len(x), inputs=[x, None], commands=[Command(0, "decay", 200, True)])
    for out in result.outputs:
        assert np.any(out[1000:24000]) and not np.any(out[2 * RATE :])
    n_params = len(drive.modules()["reverb"].params)
    assert int(np.frombuffer(result.state, np.uint64, offset=24 * n_params)[0]) < 2.5 * RATE


def test_echoes_are_dense_and_gaussian_after_100_ms() -> None:
    x = impulse(RATE)
    for out in reverb(x, None, decay=2000, damping=0, modulation=0, predelay=0):
        part = out[4800:9600].astype(float)
        part /= np.sqrt(np.mean(part**2))
        # Of Gaussian noise 31.7 % lies beyond one standard deviation (Abel and Huang 2006: normalised echo density).
        assert np.mean(np.abs(part) > 1) / 0.3173 > 0.75


def test_both_sides_sound_alike_loud_and_differ() -> None:
    x = impulse(2 * RATE)
    left, right = (out.astype(float) for out in reverb(x, x, decay=2000))
    powers = np.mean(left**2), np.mean(right**2)
    assert 0.5 < powers[0] / powers[1] < 2
    assert abs(np.corrcoef(left[2400:], right[2400:])[0, 1]) < 0.2


def test_a_side_alone_is_heard_on_both() -> None:
    x = np.random.default_rng(3).uniform(-1, 1, RATE).astype(np.float32)
    zeros = np.zeros(RATE, np.float32)
    for left, right in ((x, zeros), (zeros, x)):
        outs = [np.mean(out[9600:].astype(float) ** 2) for out in reverb(left, right)]
        assert 0.3 < outs[0] / outs[1] < 3


def test_with_nothing_in_right_left_comes_from_both_sides() -> None:
    x = np.random.default_rng(4).uniform(-1, 1, 9600).astype(np.float32)
    for alone, both in zip(reverb(x, None, mix=0.3), reverb(x, x, mix=0.3), strict=True):
        np.testing.assert_array_equal(alone, both)


def test_nothing_is_heard_before_the_predelay() -> None:
    x = impulse(RATE)
    first = [int(np.flatnonzero(reverb(x, x, predelay=ms, modulation=0)[0])[0]) for ms in (0, 25, 80)]
    assert np.diff(first).tolist() == [25 * 48, 55 * 48]


def test_wet_and_dry_are_about_alike_loud() -> None:
    x = np.random.default_rng(5).uniform(-1, 1, 3 * RATE).astype(np.float32)
    out = reverb(x, x, damping=0)[0].astype(float)
    gain = np.sqrt(np.mean(out[RATE:] ** 2) / np.mean(x.astype(float) ** 2))
    assert 0.3 < gain < 3


@pytest.mark.parametrize(("param", "value"), [("size", 0.1), ("size", 1.0), ("predelay", 60.0)])
def test_a_new_size_glides_without_a_click(param: str, value: float) -> None:
    tone = np.sin(2 * np.pi * 300 * np.arange(3 * RATE) / RATE).astype(np.float32)
    out = reverb(tone, tone, Command(RATE, param, value), modulation=0)[0].astype(float)
    steps = np.abs(np.diff(out, 2))
    # While it glides it shifts what goes round by a quarter a round, up to twice the pitch or so in all; a jump in any
    # line would stand out a hundred times more.
    assert steps[RATE - 10 :].max() < np.abs(out).max() * (2 * np.pi * 3 * 300 / RATE) ** 2


def test_no_denormal_is_left_in_the_state() -> None:
    x = impulse(RATE)
    state = drive.run(
        "reverb", RATE, inputs=[x, x], commands=[Command(0, "decay", 100, True), Command(0, "damping", 1, True)]
    ).state
    low = np.abs(np.frombuffer(state, np.float32, count=8, offset=24 * 6 + 8 * 13))
    assert np.all((low == 0) | (low >= 1e-20))
