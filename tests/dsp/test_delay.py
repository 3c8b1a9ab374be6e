"""delay against closed forms: echoes at exact frames, a geometric series, and a sinusoid that comes later."""

from __future__ import annotations

import drive
import numpy as np
import pytest
from drive import RATE_HZ, Command, Samples, decibels

RATE = int(RATE_HZ)


def run(
    x: Samples, *changes: Command, cable: Samples | None = None, rate_hz: float = RATE_HZ, **values: float
) -> Samples:
    at_once = [Command(0, name, value, True) for name, value in values.items()]
    cables = {} if cable is None else {"time": cable}
    return drive.run("delay", len(x), inputs=[x], commands=[*at_once, *changes], cables=cables, rate_hz=rate_hz).out


def impulse(n_frames: int) -> Samples:
    x = np.zeros(n_frames, np.float32)
    x[0] = 1
    return x


def sine(freq_hz: float, n_frames: int, delay_frames: float = 0.0) -> np.ndarray:
    return np.sin(2 * np.pi * freq_hz / RATE_HZ * (np.arange(n_frames) - delay_frames))


@pytest.mark.parametrize(
    ("time_ms", "rate_hz"), [(0.1, 48000), (10, 48000), (350, 48000), (2500, 48000), (2500, 44100), (2500, 96000)]
)
def test_the_first_echo_comes_at_its_very_frame(time_ms: float, rate_hz: float) -> None:
    frames = time_ms * rate_hz / 1000
    out = run(impulse(int(frames) + 100), time=time_ms, feedback=0, mix=1, rate_hz=rate_hz)
    if frames == int(frames):
        assert np.flatnonzero(out).tolist() == [int(frames)] and out[int(frames)] == 1
    else:  # between two frames: six taps around it
        assert abs(float(np.dot(out, np.arange(len(out)))) - frames) < 1e-3


def test_echoes_are_a_geometric_series_to_the_bit() -> None:
    out = run(impulse(RATE), time=50, feedback=0.5, damping=0, mix=1)
    expected = np.zeros(RATE, np.float32)
    expected[2400::2400] = 0.5 ** np.arange(19)
    np.testing.assert_array_equal(out, expected)


def test_damping_is_the_low_pass_it_says_once_a_round() -> None:
    n, damping, feedback = 24000, 0.5, 0.8
    out = run(impulse(n), time=100, feedback=feedback, damping=damping, mix=1).astype(float)
    keep = 1 / (1 + damping**2 * RATE_HZ / 1000)
    once = feedback * keep * (1 - keep) ** np.arange(4800)
    twice = feedback * np.convolve(once, keep * (1 - keep) ** np.arange(4800))[:4800]
    assert out[4800] == 1
    np.testing.assert_allclose(out[9600:14400], once, atol=1e-6)  # float32 in the recursion
    np.testing.assert_allclose(out[14400:19200], twice, atol=1e-6)


def test_mix_goes_from_the_input_alone_to_the_echoes_alone() -> None:
    x = np.random.default_rng(1).uniform(-1, 1, 9600).astype(np.float32)
    dry, wet, half = (run(x, time=20, feedback=0, mix=mix) for mix in (0, 1, 0.5))
    np.testing.assert_array_equal(dry, x)
    np.testing.assert_array_equal(wet[960:], x[:-960])
    np.testing.assert_allclose(half, (dry + wet) / 2, atol=1e-7)  # one rounding each


@pytest.mark.parametrize(("freq_hz", "bound_db"), [(100.0, -110), (1000.0, -100), (5000.0, -65), (10000.0, -30)])
def test_a_delay_between_frames_delays_a_tone_by_that_much(freq_hz: float, bound_db: float) -> None:
    out = run(sine(freq_hz, 9600).astype(np.float32), time=480.5 / 48, feedback=0, mix=1).astype(float)
    error = out[4800:] - sine(freq_hz, 9600, 480.5)[4800:]
    assert decibels(float(np.abs(error).max())) < bound_db  # the droop of six taps half-way, and below 1 kHz rounding


def test_a_cable_moves_the_time_as_a_tape_head_moves() -> None:
    n = 48000
    frames = 960 + 200 * np.sin(2 * np.pi * 1.0 * np.arange(n) / RATE)  # 0.026 frames a frame at most
    cable = ((frames - 960) * 1000 / RATE).astype(np.float32)
    out = run(sine(440, n).astype(np.float32), time=20, feedback=0, mix=1, cable=cable).astype(float)
    expected = np.sin(2 * np.pi * 440 / RATE_HZ * (np.arange(n) - frames))
    # The cable is float32: half a bit of 4 ms is 1e-5 frames, times 2 pi 440 / 48000.
    assert np.abs(out - expected)[2000:].max() < 2e-6


def second_difference(x: Samples) -> float:
    return float(np.abs(np.diff(x.astype(float), 2)).max())


@pytest.mark.parametrize("feedback", [0.0, 0.9])
def test_a_new_time_is_faded_to_without_a_click(feedback: float) -> None:
    x = sine(440, 96000).astype(np.float32)
    steady = run(x, time=200, feedback=feedback, mix=1)
    changes = [Command(40000 + 2003 * k, "time", ms) for k, ms in enumerate([37, 411, 3, 222, 223, 224])]
    moved = run(x, *changes, time=200, feedback=feedback, mix=1)
    # The fade's own curvature: 6 / 960^2 of at most the difference of two echoes, and its slope times theirs.
    bound = second_difference(steady[30000:]) + 2 * np.abs(moved).max() * (
        6 / 960**2 + 2 * 1.5 / 960 * 2 * np.pi * 440 / RATE
    )
    assert second_difference(moved[30000:]) < bound
    jump = np.abs(np.diff(np.concatenate([x[:40000], x[:40000]]).astype(float), 2)).max()
    assert jump > bound  # a cut would be seen


@pytest.mark.parametrize("shape", ["steps", "square", "noise"])
def test_a_wild_cable_makes_no_click(shape: str) -> None:
    n, rng = 96000, np.random.default_rng(3)
    cables = {
        "steps": np.repeat(rng.uniform(-190, 300, n // 480 + 1), 480)[:n],
        "square": 100 * np.sign(np.sin(np.arange(n) * 0.01)),
        "noise": rng.uniform(-190, 300, n),
    }
    out = run(sine(220, n).astype(np.float32), time=200, feedback=0.5, mix=1, cable=cables[shape].astype(np.float32))
    # As above, and a head that follows by half a frame a frame bends the tone by that much of its slope at once.
    slope = 2 * np.pi * 220 / RATE
    assert (
        second_difference(out[30000:]) < 2 * np.abs(out).max() * (6 / 960**2 + 2 * 1.5 / 960 * slope + slope**2) + slope
    )


def test_the_new_time_holds_after_twenty_milliseconds() -> None:
    x = np.random.default_rng(4).uniform(-1, 1, 48000).astype(np.float32)
    out = run(x, Command(20000, "time", 30), time=100, feedback=0, mix=1)
    np.testing.assert_array_equal(out[4800:20000], x[: 20000 - 4800])
    np.testing.assert_array_equal(out[20960:], x[20960 - 1440 : -1440])


def test_the_loudest_feedback_stays_bounded_and_dies_to_true_zero() -> None:
    x = np.zeros(400 * 480, np.float32)
    x[:4800] = 1e6
    out = run(x, time=10, feedback=0.99, damping=0, mix=1)
    assert np.abs(out).max() <= 1e6
    x[:4800] = np.random.default_rng(5).uniform(-1, 1, 4800)
    out = run(x, time=2, feedback=0.7, damping=0.1, mix=1)
    assert np.any(out[:20000]) and not np.any(out[60000:])  # 0.7^n is below -400 dB after 130 echoes


def test_at_rest_nothing_is_written_and_it_begins_again_as_new() -> None:
    x = np.zeros(400000, np.float32)
    x[0] = x[300000] = 1
    out = run(x, time=100, feedback=0, damping=0, mix=1)
    assert np.flatnonzero(out).tolist() == [4800, 304800]
    state = drive.run("delay", 400000, inputs=[np.zeros(400000, np.float32)]).state
    n_params = len(drive.modules()["delay"].params)
    count = int(np.frombuffer(state, np.uint64, offset=24 * n_params)[0])
    assert count < 400000  # once the line is full of zeros it stands still
