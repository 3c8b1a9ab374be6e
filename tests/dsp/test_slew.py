"""slew against its difference equation in float64."""

from __future__ import annotations

import drive
import numpy as np
import pytest
from drive import RATE_HZ, Command
from numpy.typing import NDArray
from scipy import signal

N = 8000
RNG = np.random.default_rng(4)
STEPS = np.repeat(RNG.uniform(-1, 1, 20), 400).astype(np.float32)
SHAPES = {"exponential": 0, "linear": 1}


def slew(
    x: drive.Samples, shape: str, rise_ms: float, fall_ms: float, *commands: Command, **cables: drive.Samples
) -> drive.Samples:
    times = [Command(0, "rise", rise_ms, True), Command(0, "fall", fall_ms, True), Command(0, "shape", SHAPES[shape])]
    return drive.run("slew", len(x), commands=[*times, *commands], inputs=[x], cables=cables).out


def model(x: drive.Samples, shape: str, rise_ms: NDArray[np.float64], fall_ms: NDArray[np.float64]) -> list[float]:
    value, out = 0.0, []
    for target, rise, fall in zip(x.astype(float), rise_ms, fall_ms, strict=True):
        frames = (rise if target > value else fall) * RATE_HZ / 1000
        if frames == 0:
            value = target
        elif shape == "linear":
            value += np.clip(target - value, -1 / frames, 1 / frames)
        else:
            value += (1 - np.exp(-1 / frames)) * (target - value)
        out.append(value)
    return out


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("times", [(1.0, 1.0), (0.0, 5.0), (30.0, 0.0), (3.0, 60000.0)])
def test_it_rises_and_falls_each_in_its_own_time(shape: str, times: tuple[float, float]) -> None:
    expected = model(STEPS, shape, np.full(N, times[0]), np.full(N, times[1]))
    np.testing.assert_allclose(slew(STEPS, shape, *times), expected, atol=2**-24)  # rounding to float32


def test_exponential_with_equal_times_is_a_one_pole_low_pass() -> None:
    part = 1 - np.exp(-1 / (0.010 * RATE_HZ))
    expected = signal.lfilter([part], [1, part - 1], STEPS.astype(float))
    np.testing.assert_allclose(drive.run("slew", N, inputs=[STEPS]).out, expected, atol=2**-24)  # rounding to float32


def test_linear_goes_by_1_in_exactly_its_time() -> None:
    ones = np.ones(N, np.float32)
    out = slew(ones, "linear", 10.0, 10.0)
    np.testing.assert_allclose(out[:481], np.minimum(1, np.arange(1, 482) / 480), atol=2**-24)  # rounding to float32
    assert out[478] < 1.0 and np.all(out[480:] == 1.0)


@pytest.mark.parametrize("shape", SHAPES)
def test_at_0_ms_it_is_its_input(shape: str) -> None:
    np.testing.assert_array_equal(slew(STEPS, shape, 0.0, 0.0), STEPS)


@pytest.mark.parametrize("shape", SHAPES)
def test_cables_on_the_times_act_at_each_frame(shape: str) -> None:
    cable = (5 * np.sin(np.arange(N) / 100)).astype(np.float32)
    times = np.clip(3 + cable.astype(float), 0, None)
    expected = model(STEPS, shape, times, times)
    np.testing.assert_allclose(slew(STEPS, shape, 3.0, 3.0, rise=cable, fall=cable), expected, atol=2**-24)  # rounding


def test_a_changed_shape_goes_on_from_the_present_value() -> None:
    ones = np.ones(N, np.float32)
    out = slew(ones, "linear", 100.0, 100.0, Command(2400, "shape", 0))
    left = 1 - out[2399].astype(float)
    np.testing.assert_allclose(1 - out[2400:], left * np.exp(-np.arange(1, N - 2399) / 4800), atol=2**-24)  # rounding


def test_it_gets_over_what_is_not_a_number() -> None:
    x = STEPS.copy()
    x[100] = np.nan
    x[200] = np.inf
    out = slew(x, "exponential", 1.0, 1.0)
    assert np.isfinite(out).all()
    np.testing.assert_allclose(out[4000:], slew(STEPS, "exponential", 1.0, 1.0)[4000:], atol=1e-6)
