"""lfo against its shapes in float64."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import drive
import numpy as np
import pytest
from drive import RATE_HZ, Command
from numpy.typing import NDArray

AT_ONCE = True
SHAPES = ["sine", "triangle", "saw", "square", "random", "smooth"]
N = 20000
ATOL = 2e-7  # the sine's polynomial is off by 1.2e-7 at most, and the output is rounded to float32
Array = NDArray[np.float64]


def lfo(
    shape: str,
    freq_hz: float,
    *commands: Command,
    cables: Mapping[str, drive.Samples] | None = None,
    splits: Sequence[int] = (64,),
    n_frames: int = N,
) -> drive.Samples:
    first = [Command(0, "shape", SHAPES.index(shape)), Command(0, "freq", freq_hz, AT_ONCE)]
    return drive.run("lfo", n_frames, commands=[*first, *commands], cables=cables, splits=splits).out


def ideal(shape: str, turns: Array) -> Array:
    t = turns % 1.0
    return {
        "sine": np.sin(2 * np.pi * t),
        "triangle": np.interp(t, [0, 0.25, 0.75, 1], [0, 1, -1, 0]),
        "saw": 2 * t - 1,
        "square": np.where(t < 0.5, 1.0, -1.0),
    }[shape]


@pytest.mark.parametrize("shape", SHAPES[:4])
@pytest.mark.parametrize("freq_hz", [0.001, 1.0, 7.31, 200.0])
def test_a_shape_repeats_at_its_frequency(shape: str, freq_hz: float) -> None:
    turns = np.arange(N) * (freq_hz / RATE_HZ)
    out = lfo(shape, freq_hz)
    edge = np.abs(turns * 2 - np.round(turns * 2)) < 1e-9  # a step may fall on either side of a frame it meets exactly
    assert edge.mean() < 0.01
    np.testing.assert_allclose(out[~edge], ideal(shape, turns)[~edge], atol=ATOL)


def test_a_cycle_of_a_thousand_seconds_takes_a_thousand_seconds() -> None:
    n_frames = 1000 * int(RATE_HZ) + 2
    out = lfo("saw", 0.001, splits=[8192], n_frames=n_frames)
    assert np.flatnonzero(np.diff(out) < -1).tolist() in ([n_frames - 3], [n_frames - 2])


@pytest.mark.parametrize(("shape", "is_smooth"), [("random", False), ("smooth", True)])
def test_random_takes_a_value_for_each_cycle_and_smooth_goes_from_one_to_the_next(shape: str, is_smooth: bool) -> None:
    freq_hz = RATE_HZ / 512  # exact in 2^64ths of a turn
    values = lfo("random", freq_hz)[::512].astype(float)
    assert len(set(values.tolist())) == len(values) and np.abs(values).max() < 1
    turns = np.arange(N - 1024) / 512
    cycle, t = np.floor(turns).astype(int), turns % 1
    expected = values[cycle] + (values[cycle + 1] - values[cycle]) * t * t * (3 - 2 * t) * is_smooth
    np.testing.assert_allclose(lfo(shape, freq_hz)[: N - 1024], expected, atol=ATOL)


def test_seeds_make_different_random_values_and_equal_seeds_equal_ones() -> None:
    one, other, again = (lfo("random", 100.0, Command(0, "seed", seed)) for seed in (1, 2, 1))
    np.testing.assert_array_equal(one, again)
    assert not np.any(one == other)


def test_depth_offset_and_unipolar_scale_the_shape() -> None:
    turns = np.arange(N) * (5.0 / RATE_HZ)
    scaled = [Command(0, "depth", 300.0, AT_ONCE), Command(0, "offset", -1000.0, AT_ONCE)]
    # The shape's error times 300, and rounding of numbers of about 1000.
    np.testing.assert_allclose(lfo("sine", 5.0, *scaled), -1000 + 300 * ideal("sine", turns), atol=300 * ATOL + 7e-5)
    one_sided = lfo("sine", 5.0, *scaled, Command(0, "unipolar", 1))
    np.testing.assert_allclose(one_sided, -850 + 150 * ideal("sine", turns), atol=150 * ATOL + 7e-5)


def test_phase_puts_the_output_ahead_and_a_cable_adds_to_it() -> None:
    turns = np.arange(N) * (5.0 / RATE_HZ)
    np.testing.assert_allclose(
        lfo("sine", 5.0, Command(0, "phase", 0.25, AT_ONCE)), ideal("sine", turns + 0.25), atol=ATOL
    )
    cable = np.linspace(-0.2, 0.9, N).astype(np.float32)
    out = lfo("triangle", 5.0, Command(0, "phase", 0.25, AT_ONCE), cables={"phase": cable})
    ahead = np.clip(0.25 + cable.astype(float), 0, 1)
    np.testing.assert_allclose(out, ideal("triangle", turns + ahead), atol=ATOL)


def test_a_phase_beyond_the_cycle_shows_the_next_random_value() -> None:
    freq_hz = RATE_HZ / 512
    now, ahead = lfo("random", freq_hz), lfo("random", freq_hz, Command(0, "phase", 0.5, AT_ONCE))
    np.testing.assert_array_equal(now[256:], ahead[:-256])


@pytest.mark.parametrize("by_cable", [False, True])
def test_sync_starts_a_cycle_at_that_very_frame(by_cable: bool) -> None:
    at = [1000, 1337, 9000]
    cable = np.zeros(N, np.float32)
    for frame in at:
        cable[frame : frame + 100] = 0.5
    commands = [] if by_cable else [Command(frame, "sync", 1) for frame in at]
    out = lfo("saw", 3.0, *commands, cables={"sync": cable} if by_cable else None)
    since = np.arange(N) - np.array([0, *at])[np.searchsorted(at, np.arange(N), side="right")]
    np.testing.assert_allclose(out, ideal("saw", since * (3.0 / RATE_HZ)), atol=ATOL)


def test_sync_takes_the_next_random_value() -> None:
    out = lfo("random", 0.001, Command(500, "sync", 1), Command(700, "sync", 1))
    assert len(set(out.tolist())) == 3 and np.flatnonzero(np.diff(out)).tolist() == [499, 699]
