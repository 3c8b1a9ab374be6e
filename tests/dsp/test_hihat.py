"""hihat against its own definition in float64: rounded squares and noise through scipy's band-passes."""

from __future__ import annotations

from typing import Any

import drive
import drums
import numpy as np
import pytest
from drive import RATE_HZ, Command, decibels
from drums import STRIKE
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import signal

DEFAULTS = {
    "freq": 205.3, "pitch": 0.0, "decay": 120.0, "open_decay": 900.0, "noise": 0.3, "cutoff": 9000.0, "q": 1.0,
    "gain": 0.5, "velocity": 1.0, "seed": 0.0,
}  # fmt: skip
SQUARES_HZ = np.array([205.3, 304.4, 369.6, 522.7, 540.0, 800.0])  # of the TR-808's cymbal
OPEN = Command(0, "open", 1)


def rounding(turns: np.ndarray, per_frame: float) -> np.ndarray:
    """polyBLEP of a step from -1 to 1 at turns = 0."""
    after, before = turns / per_frame, (turns - 1) / per_frame
    return np.where(after < 1, 2 * after - after**2 - 1, np.where(before >= -1, before**2 + 2 * before + 1, 0.0))


def square(hz: float, n: int, begin: int, is_rounded: bool = True) -> np.ndarray:
    increment = int(hz / RATE_HZ * 2**32)
    turns = (begin + increment * np.arange(n, dtype=object)) % 2**32
    at = turns.astype(float) / 2**32
    y = np.where(at < 0.5, 1.0, -1.0)
    per_frame = increment / 2**32
    return y + rounding(at, per_frame) - rounding((at + 0.5) % 1, per_frame) if is_rounded else y


def model(n: int, *, is_open: bool = False, **values: float) -> np.ndarray:
    v = {**DEFAULTS, **values}
    hz = SQUARES_HZ / 205.3 * v["freq"] * 2 ** (v["pitch"] / 12)
    metal = sum(square(f, n, k * 0x9E3779B9 % 2**32) for k, f in enumerate(np.minimum(hz, RATE_HZ / 2 - 10))) / 6
    x = 6 * (1 - v["noise"]) * metal + v["noise"] * drums.seeded(n, int(v["seed"]))
    w = 2 * RATE_HZ * np.tan(np.pi * v["cutoff"] / RATE_HZ)
    for _ in range(2):
        x = signal.lfilter(*signal.bilinear([w / v["q"], 0], [1, w / v["q"], w * w], RATE_HZ), x)
    fall = 1000 ** (-np.arange(n) / RATE_HZ / (v["open_decay" if is_open else "decay"] / 1000))
    return np.asarray(v["gain"] * v["velocity"] * fall * x)


def struck(n: int, *commands: Command, **values: Any) -> drive.Samples:
    return drums.struck("hihat", n, *commands, **values)


@pytest.mark.parametrize(
    "values",
    [{}, {"noise": 0.0}, {"noise": 1.0, "seed": 3.0}, {"pitch": 12.0, "q": 4.0, "cutoff": 5000.0, "velocity": 0.4}],
    ids=["defaults", "squares", "noise", "another"],
)
@pytest.mark.parametrize("is_open", [False, True], ids=["closed", "open"])
def test_a_strike_is_the_model(values: dict[str, float], is_open: bool) -> None:
    out = struck(12000, OPEN if is_open else STRIKE, **values)
    np.testing.assert_allclose(
        out, model(12000, is_open=is_open, **values), atol=1e-6
    )  # scipy's direct form and float32


def test_a_closed_strike_chokes_an_open_one() -> None:
    at, n = 6000, 30000
    left_open = struck(n, OPEN).astype(float)
    choked = struck(n, OPEN, Command(at, "gate", 1)).astype(float)
    np.testing.assert_array_equal(choked[:at], left_open[:at])

    def level(x: np.ndarray) -> float:
        return decibels(float(np.sqrt(np.mean(x[at + 9600 : at + 12000] ** 2))))

    assert level(choked) < level(left_open) - 60  # 200 ms behind it: 100 dB down instead of 13, from a fresh 0
    assert np.abs(np.diff(choked))[at - 1] < 2 * np.abs(np.diff(left_open)).max()


def test_with_both_gates_at_one_frame_it_is_closed() -> None:
    np.testing.assert_array_equal(struck(9000, OPEN, STRIKE), struck(9000, STRIKE))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.lists(st.integers(1, 300), min_size=1, max_size=5))
def test_cables_on_both_gates_strike_as_commands_at_their_rises_do(seed: int, splits: list[int]) -> None:
    rng = np.random.default_rng(seed)
    cables, commands = {}, []
    for name in ("gate", "open"):
        runs = rng.choice([1, 2, 30, 64, 500], 40)
        cables[name] = np.repeat(np.arange(len(runs)) % 2, runs)[:4000].astype(np.float32)
        cables[name] = np.pad(cables[name], (0, 4000 - len(cables[name])))
        rises = np.flatnonzero(np.diff(cables[name], prepend=0) > 0)
        commands += [Command(int(f), name, 1) for f in rises]
    np.testing.assert_array_equal(struck(4000, cables=cables, splits=splits), struck(4000, *commands))


def test_the_band_passes_leave_nothing_of_the_squares_own_frequencies() -> None:
    y = struck(48000, OPEN, noise=0.0, open_decay=20000.0).astype(float)
    spectrum = np.abs(np.fft.rfft(y * np.hanning(len(y)))) ** 2
    hz = np.fft.rfftfreq(len(y), 1 / RATE_HZ)
    below_db = 10 * np.log10(spectrum[hz < 1000].sum() / spectrum.sum())
    assert below_db < -25
    assert 7000 < (spectrum * hz).sum() / spectrum.sum() < 12000  # around its cutoff


def test_rounded_edges_alias_less_than_plain_ones() -> None:
    """What is not a harmonic, up to 10 kHz, has folded over. Of the model's square, which the module's equals."""
    n, hz = 48000, 1013.0
    windowed = {kind: square(hz, n, 0, kind == "rounded") * np.blackman(n) for kind in ("rounded", "plain")}
    frequencies = np.fft.rfftfreq(n, 1 / RATE_HZ)
    off = (np.abs((frequencies + hz / 2) % hz - hz / 2) > 15) & (frequencies < 10000)
    folded = {kind: np.sum(np.abs(np.fft.rfft(x))[off] ** 2) for kind, x in windowed.items()}
    assert 10 * np.log10(folded["rounded"] / folded["plain"]) < -10


def test_after_its_decay_it_is_at_rest_and_exactly_silent() -> None:
    audible = np.flatnonzero(struck(60000, STRIKE, decay=100.0))
    assert 0.26 * RATE_HZ < audible[-1] < 0.27 * RATE_HZ  # -160 dB at 60 dB in 100 ms


def test_warm_up_hears_it_with_its_gates_closed_and_the_velocity_at_0() -> None:
    cables = {"velocity": np.full(512, -1.0, np.float32)}
    out = struck(512, Command(0, kind="open"), cables=cables)
    assert np.sqrt(np.mean(out[-64:].astype(float) ** 2)) > 0.01  # 0.001 is asked for
