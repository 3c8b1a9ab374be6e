"""mixer: a sum of levels times inputs."""

from __future__ import annotations

import drive
import numpy as np
import pytest
from drive import Command

N = 2000
INPUTS = list(np.random.default_rng(2).uniform(-1, 1, (8, N)).astype(np.float32))
LEVELS = [0.0, 0.1, 0.2, 0.5, 0.7, 1.0, 1.5, 16.0]


def test_the_output_is_the_sum_of_levels_times_inputs_times_gain() -> None:
    commands = [Command(0, f"level{k + 1}", level, True) for k, level in enumerate(LEVELS)]
    out = drive.run("mixer", N, commands=[*commands, Command(0, "gain", 0.5, True)], inputs=INPUTS).out
    expected = 0.5 * sum(level * x.astype(float) for level, x in zip(LEVELS, INPUTS, strict=True))
    # Eight products and three additions in float32, of numbers up to 16: 4 roundings of 2^-24 x 20 on the way.
    np.testing.assert_allclose(out, expected, atol=5e-6)


@pytest.mark.parametrize("present", [{0}, {7}, {1, 4}, {0, 3, 5, 6}, set(range(8))])
def test_with_levels_at_1_it_sums_as_cables_do(present: set[int]) -> None:
    """DESIGN.md, same bits: cable i goes to accumulator i of 16, these are added in halves."""
    out = drive.run("mixer", N, inputs=[x if k in present else None for k, x in enumerate(INPUTS)]).out
    sums = [np.float32(0) + INPUTS[k] if k in present else np.zeros(N, np.float32) for k in range(8)]
    for stride in (4, 2, 1):
        sums = [sums[k] + sums[k + stride] for k in range(stride)]
    np.testing.assert_array_equal(out.view(np.uint32), sums[0].view(np.uint32))


def test_without_inputs_there_is_silence() -> None:
    assert not np.any(drive.run("mixer", N).out)


@pytest.mark.parametrize("k", range(8))
def test_each_level_ramps_its_own_input_in_240_frames(k: int) -> None:
    ones = [np.ones(N, np.float32) if i == k else None for i in range(8)]
    out = drive.run("mixer", N, commands=[Command(500, f"level{k + 1}", 0.25)], inputs=ones).out
    # Rounding to float32: half a unit of 2^-24 at most.
    np.testing.assert_allclose(out, np.interp(np.arange(N), [500, 740], [1.0, 0.25]), atol=2**-24)
    assert out[739] > np.float32(0.25) == out[740]
