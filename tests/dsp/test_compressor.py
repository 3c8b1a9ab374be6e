"""compressor against the paper's equations in float64: static curve, time constants, side chain, and all of it."""

from __future__ import annotations

from typing import Any

import drive
import numpy as np
import pytest
from drive import RATE_HZ, Command

DEFAULTS = {
    "threshold": -18.0, "ratio": 4.0, "knee": 6.0, "attack": 10.0, "release": 100.0, "makeup": 0.0, "mix": 1.0,
}  # fmt: skip


def compressed(
    left: drive.Samples, right: drive.Samples | None = None, side: drive.Samples | None = None, **values: Any
) -> list[drive.Samples]:
    """Return [left, right]."""
    options = {name: values.pop(name) for name in ("cables", "splits") if name in values}
    sets = [Command(0, name, float(value), is_immediate=True) for name, value in values.items()]
    return drive.run("compressor", len(left), commands=sets, inputs=[left, right, side], **options).outputs


def taken_db(level_db: np.ndarray, threshold: float, ratio: float, knee: float) -> np.ndarray:
    """What the static curve takes away. Giannoulis, Massberg, Reiss 2012, eq. 4: x_G - y_G."""
    over = level_db - threshold
    with np.errstate(divide="ignore", invalid="ignore"):
        y = np.where(
            2 * over < -knee,
            level_db,
            np.where(
                2 * np.abs(over) <= knee,
                level_db + (1 / ratio - 1) * (over + knee / 2) ** 2 / (2 * knee) if knee else threshold,
                threshold + over / ratio,
            ),
        )
    return np.asarray(level_db - y)


def model(key: np.ndarray, **values: float) -> np.ndarray:
    """The gain for each frame of the key. Eq. 17: smooth, decoupled."""
    v = {**DEFAULTS, **values}
    keep = {name: np.exp(-1 / max(v[name] * RATE_HZ / 1000, 1.0)) if v[name] else 0.0 for name in ("attack", "release")}
    now = taken_db(20 * np.log10(np.maximum(np.abs(key), 1e-30)), v["threshold"], v["ratio"], v["knee"])
    gain, peak, smooth = np.zeros(len(key)), 0.0, 0.0
    for i, x in enumerate(now):
        peak = max(x, keep["release"] * peak + (1 - keep["release"]) * x)
        smooth = keep["attack"] * smooth + (1 - keep["attack"]) * peak
        gain[i] = 1 + v["mix"] * (10 ** ((v["makeup"] - smooth) / 20) - 1)
    return gain


def level(db: float, n: int) -> drive.Samples:
    return np.full(n, 10 ** (db / 20), np.float32)


@pytest.mark.parametrize("knee", [0.0, 6.0, 24.0])
@pytest.mark.parametrize("ratio", [1.0, 1.5, 4.0, 100.0])
def test_its_static_curve_is_the_papers(ratio: float, knee: float) -> None:
    for db in np.arange(-60.0, 12.1, 1.5):
        x = level(db, 4000)
        y = compressed(x, threshold=-20.0, ratio=ratio, knee=knee, attack=0.1)[0]
        heard_db = 20 * np.log10(float(y[-1]) / float(x[-1]))
        expected_db = -float(taken_db(20 * np.log10(np.array([x[-1]], float)), -20.0, ratio, knee)[0])
        assert heard_db == pytest.approx(expected_db, abs=2e-6), db  # float32: 5e-7 dB in each of the two


def test_a_tone_is_compressed_by_its_peak() -> None:
    """A sine's level falls between its peaks; with a release of many periods it hardly does."""
    n = 48000
    tone = np.sin(2 * np.pi * 1000 * np.arange(n) / RATE_HZ)
    for db in (-30.0, -12.0, -6.0, 0.0):
        x = (10 ** (db / 20) * tone).astype(np.float32)
        y = compressed(x, threshold=-20.0, ratio=4.0, knee=0.0, release=500.0)[0]
        heard_db = 20 * np.log10(np.abs(y[-4800:]).max() / np.abs(x[-4800:]).max())
        expected_db = -float(taken_db(np.array([db]), -20.0, 4.0, 0.0)[0])
        assert heard_db == pytest.approx(expected_db, abs=0.3)


@pytest.mark.parametrize("attack", [0.5, 10.0, 80.0])
def test_the_gain_goes_down_exponentially_by_the_attack(attack: float) -> None:
    at, frames = 2000, round(attack * RATE_HZ / 1000)
    x = np.concatenate([level(-60, at), level(0, 12 * frames)])
    y = compressed(x, threshold=-20.0, ratio=4.0, knee=0.0, attack=attack)[0]
    taken = 20 * np.log10(x.astype(float) / y)[at:]
    np.testing.assert_allclose(taken, 15 * (1 - np.exp(-np.arange(1, len(taken) + 1) / frames)), atol=1e-5)
    assert taken[frames - 1] == pytest.approx(15 * (1 - np.exp(-1)), abs=1e-5)


@pytest.mark.parametrize("release", [20.0, 100.0, 1000.0])
def test_the_gain_comes_back_by_the_release_behind_the_attack(release: float) -> None:
    attack, at = 5.0, 9600
    a, r = attack * RATE_HZ / 1000, release * RATE_HZ / 1000
    x = np.concatenate([level(0, at), level(-60, round(4 * r))])
    y = compressed(x, threshold=-20.0, ratio=4.0, knee=0.0, attack=attack, release=release)[0]
    taken = 20 * np.log10(x.astype(float) / y)[at:]
    n = np.arange(1, len(taken) + 1)
    # Two exponentials in a row, in continuous time; frame by frame it differs by less than a frame of the attack.
    expected = 15 * (r * np.exp(-n / r) - a * np.exp(-n / a)) / (r - a)
    np.testing.assert_allclose(taken, expected, atol=15 / a)
    late = round(r)
    assert taken[2 * late] / taken[late] == pytest.approx(np.exp(-1), rel=0.02 + np.exp(-late / a))


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"knee": 0.0, "ratio": 100.0},
        {"attack": 0.0, "release": 1.0, "makeup": 12.0},
        {"mix": 0.4, "threshold": -50.0},
    ],
    ids=["defaults", "a limiter", "fast", "in parallel"],
)
def test_it_is_the_model_frame_by_frame_and_both_sides_share_the_gain(values: dict[str, float]) -> None:
    rng = np.random.default_rng(4)
    n = 12000
    loudness = np.repeat(10 ** rng.uniform(-3, 0, n // 400), 400)
    left, right = ((rng.uniform(-1, 1, n) * loudness).astype(np.float32) for _ in range(2))
    gain = model(np.maximum(np.abs(left), np.abs(right)), **values)
    y_left, y_right = compressed(left, right, **values)
    np.testing.assert_allclose(y_left, left * gain, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(y_right, right * gain, rtol=1e-5, atol=1e-6)


def test_the_side_chain_decides_alone_where_it_has_a_cable() -> None:
    n = 9600
    x = np.random.default_rng(8).uniform(-1, 1, n).astype(np.float32)
    np.testing.assert_array_equal(compressed(x, side=np.zeros(n, np.float32))[0], x)
    key = np.zeros(n, np.float32)
    key[3000:6000] = 1.0
    y = compressed(x, side=key)[0]
    np.testing.assert_allclose(y, x * model(key), atol=1e-6)
    assert np.array_equal(y[:3000], x[:3000]) and np.abs(y[5000:6000]).max() < 0.25


def test_right_takes_left_where_it_has_no_cable() -> None:
    x = np.random.default_rng(8).uniform(-1, 1, 3000).astype(np.float32)
    left, right = compressed(x)
    np.testing.assert_array_equal(left, right)


@pytest.mark.parametrize("values", [{"ratio": 1.0}, {"mix": 0.0, "makeup": 20.0}, {"threshold": 20.0, "knee": 0.0}])
def test_where_it_has_nothing_to_do_every_bit_passes(values: dict[str, float]) -> None:
    x = np.random.default_rng(8).uniform(-1, 1, 3000).astype(np.float32)
    np.testing.assert_array_equal(compressed(x, **values)[0], x)


def test_a_nan_and_an_infinity_are_over_with_the_release() -> None:
    x = np.random.default_rng(8).uniform(-0.05, 0.05, 48000).astype(np.float32)
    x[100], x[101] = np.nan, np.inf
    y = compressed(x, release=5.0)[0]
    assert np.isfinite(y).all()
    np.testing.assert_array_equal(y[-20000:], x[-20000:])
