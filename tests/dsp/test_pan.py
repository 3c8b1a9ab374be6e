"""pan against the law of equal power."""

from __future__ import annotations

import drive
import numpy as np
import pytest
from drive import Command

N = 2000
ONES = np.ones(N, np.float32)


def pan(position: float) -> list[drive.Samples]:
    return drive.run("pan", N, commands=[Command(0, "position", position, True)], inputs=[ONES]).outputs


def test_a_new_module_stands_in_the_middle_3_db_down_on_both_sides() -> None:
    left, right = drive.run("pan", N, inputs=[ONES]).outputs
    np.testing.assert_array_equal(left, right)
    assert np.all(left == np.float32(np.sqrt(0.5)))


@pytest.mark.parametrize(("position", "sides"), [(-1.0, (1.0, 0.0)), (1.0, (0.0, 1.0))])
def test_at_a_side_the_other_one_gets_nothing_at_all(position: float, sides: tuple[float, float]) -> None:
    left, right = pan(position)
    assert np.all(left == sides[0]) and np.all(right == sides[1])


def test_left_and_right_follow_cosine_and_sine_and_their_power_is_1() -> None:
    position = np.linspace(-1.2, 1.2, N).astype(np.float32)
    left, right = drive.run("pan", N, inputs=[ONES], cables={"position": position}).outputs
    angle = (np.clip(position.astype(float), -1, 1) + 1) * np.pi / 4
    # Rounding to float32: half a unit of 2^-24 at most.
    np.testing.assert_allclose(left, np.cos(angle), atol=2**-24)
    np.testing.assert_allclose(right, np.sin(angle), atol=2**-24)
    np.testing.assert_allclose(left.astype(float) ** 2 + right.astype(float) ** 2, 1.0, atol=2**-22)


@pytest.mark.parametrize("position", [-1.0, -0.3, 0.0, 0.8])
def test_the_input_is_multiplied_whatever_the_position(position: float) -> None:
    x = np.random.default_rng(1).uniform(-1, 1, N).astype(np.float32)
    outs = drive.run("pan", N, commands=[Command(0, "position", position, True)], inputs=[x]).outputs
    for out, factor in zip(outs, pan(position), strict=True):
        np.testing.assert_array_equal(out, x * factor)


def test_position_reaches_its_target_after_exactly_480_frames() -> None:
    left, right = drive.run("pan", N, commands=[Command(500, "position", 1.0)], inputs=[ONES]).outputs
    assert left[979] > 0.0 and not np.any(left[980:]) and np.all(right[980:] == 1.0)
