"""sample_hold against numpy."""

from __future__ import annotations

import drive
import numpy as np
import pytest
from drive import RATE_HZ, Command

N = 5000
X = np.random.default_rng(5).uniform(-1, 1, N).astype(np.float32)


def held(x: drive.Samples, at: list[int]) -> drive.Samples:
    """Return the value at the newest of these frames, 0 before the first."""
    newest = np.searchsorted(at, np.arange(N), side="right")
    return np.concatenate([[0.0], x[at]]).astype(np.float32)[newest]


def test_it_takes_a_value_where_the_trigger_rises_through_a_half_and_nowhere_else() -> None:
    trigger = np.zeros(N, np.float32)
    trigger[700:720] = 0.5
    trigger[719] = 0.4999
    trigger[720:900] = 1.0
    trigger[1000] = 0.4999
    trigger[4999] = 2.0
    np.testing.assert_array_equal(drive.run("sample_hold", N, inputs=[X, trigger]).out, held(X, [700, 720, 4999]))


def test_a_trigger_that_is_high_from_the_start_takes_the_first_value() -> None:
    out = drive.run("sample_hold", N, inputs=[X, np.ones(N, np.float32)]).out
    assert np.all(out == X[0])


def test_without_a_trigger_and_a_clock_it_stays_at_0() -> None:
    assert not np.any(drive.run("sample_hold", N, inputs=[X, None]).out)


@pytest.mark.parametrize("rate_hz", [11.3, 99.7, 7777.0, 23989.3])
def test_the_clock_ticks_at_once_and_then_at_its_rate(rate_hz: float) -> None:
    start = 123
    out = drive.run("sample_hold", N, commands=[Command(start, "rate", rate_hz)], inputs=[X, None]).out
    periods = np.arange(int(N * rate_hz / RATE_HZ) + 1) * RATE_HZ / rate_hz
    ticks = start + np.ceil(periods).astype(int)
    assert np.all(np.abs(periods[1:] - np.round(periods[1:])) > 1e-9)  # none falls on a frame exactly
    np.testing.assert_array_equal(out, held(X, ticks[ticks < N].tolist()))


def test_a_clock_that_was_stopped_ticks_at_once_when_it_starts_again() -> None:
    rates = [Command(0, "rate", 93.75), Command(1000, "rate", 0.0), Command(2500, "rate", 46.875)]
    out = drive.run("sample_hold", N, commands=rates, inputs=[X, None]).out
    np.testing.assert_array_equal(out, held(X, [0, 512, 2500, 3524, 4548]))


def test_a_cable_on_the_rate_adds_to_it() -> None:
    cable = np.where(np.arange(N) < 1024, 0.0, 93.75).astype(
        np.float32
    )  # from a tick every 512 frames to one every 256
    run = drive.run("sample_hold", N, commands=[Command(0, "rate", 93.75)], inputs=[X, None], cables={"rate": cable})
    np.testing.assert_array_equal(run.out, held(X, [0, 512, *range(1024, N, 256)]))


def test_trigger_and_clock_work_beside_each_other() -> None:
    trigger = (np.arange(N) % 1000 == 300).astype(np.float32)
    out = drive.run("sample_hold", N, commands=[Command(0, "rate", 93.75)], inputs=[X, trigger]).out
    np.testing.assert_array_equal(out, held(X, sorted([*range(0, N, 512), *range(300, N, 1000)])))
