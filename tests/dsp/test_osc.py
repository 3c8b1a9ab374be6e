"""osc against Fourier series, and what it puts out beside them: aliases.

Tones are whole numbers of cycles in N frames, and that number is odd: then all that is no harmonic is alias or noise.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import blep_design
import drive
import numpy as np
import pytest
from drive import RATE_HZ, Command, decibels
from numpy.typing import NDArray

N = 1 << 15
DELAY = 3
SHAPES = ["saw", "square", "triangle", "sine"]
CYCLES = [75, 301, 683, 1365, 2731, 5461, 9001]  # 110 Hz to 13 kHz
Array = NDArray[np.float64]


def osc(
    shape: str,
    n_frames: int,
    *commands: Command,
    sync: drive.Samples | None = None,
    cables: Mapping[str, drive.Samples] | None = None,
    splits: Sequence[int] = (8192,),
    **values: float,
) -> Array:
    values = {"gain": 1.0, "shape": SHAPES.index(shape), **values}
    at_once = [Command(0, name, value, True) for name, value in values.items()]
    run = drive.run("osc", n_frames, commands=[*at_once, *commands], inputs=[sync], cables=cables, splits=splits)
    return run.out.astype(float)


def hz(cycles: float) -> float:
    return cycles * RATE_HZ / N


def spectrum(x: Array) -> Array:
    """Return the amplitudes of the last N frames, bin by bin."""
    return np.abs(np.fft.rfft(x[-N:])) / N * 2


def loudest_alias_db(amplitudes: Array, cycles: int, below_hz: float = 20000.0) -> float:
    """Return what is loudest and no harmonic, in dB of the loudest harmonic."""
    rest = amplitudes.copy()
    rest[::cycles] = 0.0
    return decibels(rest[: int(below_hz / hz(1))].max() / amplitudes[::cycles].max())


def fourier(shape: str, h: Array, width: float = 0.5) -> Array:
    """Return the amplitude of harmonic h of the ideal shape."""
    if shape == "saw":
        return 2 / (np.pi * h)
    if shape == "square":
        return 4 / (np.pi * h) * np.abs(np.sin(np.pi * h * width))
    if shape == "triangle":
        return np.where(h % 2 == 1, 8 / (np.pi * h) ** 2, 0)
    return np.where(h == 1, 1.0, 0.0)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("cycles", CYCLES)
def test_below_20_khz_aliases_lie_100_db_below_the_tone(shape: str, cycles: int) -> None:
    amplitudes = spectrum(osc(shape, 2 * N, freq=hz(cycles), width=0.3))
    assert loudest_alias_db(amplitudes, cycles) < -100


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("width", [0.5, 0.3, 0.01])
@pytest.mark.parametrize("cycles", CYCLES)
def test_harmonics_up_to_20_khz_are_those_of_the_shape(shape: str, width: float, cycles: int) -> None:
    amplitudes = spectrum(osc(shape, 2 * N, freq=hz(cycles), width=width))[::cycles]
    h = np.arange(1, int(20000 / hz(cycles)) + 1)
    # The low-pass falls by 0.02 dB up to 20 kHz.
    np.testing.assert_allclose(amplitudes[h], fourier(shape, h, width), rtol=0.003, atol=1e-5)


@pytest.mark.parametrize("width", [0.0, 0.01, 0.3, 0.5, 0.99, 1.0])
def test_a_square_has_no_mean_at_any_width_and_is_silent_without_one(width: float) -> None:
    out = osc("square", 2 * N, freq=hz(301), width=width)
    assert abs(out[-N:].mean()) < 1e-5
    assert (np.abs(out).max() < 1e-6) == (width in (0.0, 1.0))


@pytest.mark.parametrize("shape", SHAPES)
def test_away_from_its_edges_the_output_is_the_shape_three_frames_ago(shape: str) -> None:
    out = osc(shape, 8000, freq=20.0, width=0.3)
    turns = (np.arange(8000) - DELAY) * 20.0 / RATE_HZ % 1.0
    ideal = {
        "saw": 2 * turns - 1,
        "square": np.where(turns < 0.3, 1.4, -0.6),
        "triangle": np.interp(turns, [0, 0.25, 0.75, 1], [0, 1, -1, 0]),
        "sine": np.sin(2 * np.pi * turns),
    }[shape]
    edges = {"saw": [0.0], "square": [0.0, 0.3], "triangle": [0.25, 0.75], "sine": []}[shape]
    away = np.all([(turns - edge + 4 * 20.0 / RATE_HZ) % 1.0 > 36 * 20.0 / RATE_HZ for edge in edges], axis=0) & (
        np.arange(8000) >= 40
    )
    # The polynomials are off by 4e-6, and a step is twice or four times what they are scaled for.
    np.testing.assert_allclose(out[away], ideal[away], atol=2e-5)


def test_a_sine_is_exact_and_begins_at_phase_zero_behind_three_frames_of_silence() -> None:
    out = osc("sine", 5000, freq=440.0)
    assert not np.any(out[:DELAY])
    expected = np.sin(2 * np.pi * 440.0 / RATE_HZ * np.arange(5000 - DELAY))
    np.testing.assert_allclose(out[DELAY:], expected, atol=2e-7)  # 1.2e-7 from the polynomial, and rounding


@pytest.mark.parametrize(("pitch", "detune"), [(12.0, 0.0), (-12.0, 0.0), (7.0, 0.0), (0.0, 50.0), (-24.5, -50.0)])
def test_pitch_and_detune_move_the_frequency_in_semitones_and_cents(pitch: float, detune: float) -> None:
    out = osc("sine", 20000, freq=440.0, pitch=pitch, detune=detune)
    freq_hz = 440.0 * 2 ** ((pitch + detune / 100) / 12)
    expected = np.sin(2 * np.pi * freq_hz / RATE_HZ * np.arange(20000 - DELAY))
    np.testing.assert_allclose(out[DELAY:], expected, atol=3e-7)  # as above; 2^x is off by 2e-16


def test_a_cable_on_pitch_moves_the_frequency_at_that_very_frame() -> None:
    octave = np.where(np.arange(4000) < 1234, 0.0, 12.0).astype(np.float32)
    out = osc("sine", 4000, freq=440.0, cables={"pitch": octave})
    turns = np.concatenate([[0.0], np.cumsum(440.0 / RATE_HZ * 2 ** (octave.astype(float) / 12))])
    np.testing.assert_allclose(out[DELAY:], np.sin(2 * np.pi * turns[: 4000 - DELAY]), atol=3e-7)


def test_the_frequency_never_passes_its_limit() -> None:
    out = osc("sine", 4000, freq=20000.0, pitch=24.0)
    np.testing.assert_array_equal(out, osc("sine", 4000, freq=23990.0))


def test_a_cable_on_phase_modulates_the_phase() -> None:
    cable = (1.5 * np.sin(2 * np.pi * 300 / RATE_HZ * np.arange(4000))).astype(np.float32)
    out = osc("sine", 4000, freq=440.0, phase=0.25, cables={"phase": cable})
    turns = 440.0 / RATE_HZ * np.arange(4000) + 0.25 + cable.astype(float)
    np.testing.assert_allclose(out[DELAY:], np.sin(2 * np.pi * turns)[: 4000 - DELAY], atol=2e-7)


@pytest.mark.parametrize("shape", SHAPES[:3])
@pytest.mark.parametrize("param", ["phase", "width"])
def test_modulation_by_a_cable_leaves_aliases_80_db_below(shape: str, param: str) -> None:
    """Modulator and carrier in the ratio 1 to 2, deep enough for the phase to run backwards."""
    cycles = 151
    cable = (0.4 * np.sin(2 * np.pi * cycles * np.arange(3 * N) / N)).astype(np.float32)
    depth = 2 if param == "phase" else 1
    amplitudes = spectrum(osc(shape, 3 * N, freq=hz(2 * cycles), cables={param: depth * cable}))
    assert loudest_alias_db(amplitudes, cycles) < -80


@pytest.mark.parametrize(("shape", "limit_db"), [("saw", -85), ("square", -85), ("triangle", -85), ("sine", -60)])
@pytest.mark.parametrize("cycles", [75, 301, 683, 1365])
def test_synced_to_a_sine_of_up_to_2_khz_aliases_stay_low(shape: str, limit_db: float, cycles: int) -> None:
    master = np.sin(2 * np.pi * ((np.arange(3 * N) * cycles) % N) / N + 0.3).astype(np.float32)
    out = osc(shape, 3 * N, freq=hz(2.37 * cycles), width=0.3, sync=master)
    np.testing.assert_allclose(out[-N:], out[-2 * N : -N], atol=1e-5)  # the master's period, whatever its own
    assert loudest_alias_db(spectrum(out), cycles) < limit_db


def test_a_gate_at_sync_begins_a_cycle_at_that_frame() -> None:
    gate = np.zeros(8000, np.float32)
    gate[3001:3500] = 1.0  # rises from 0 at frame 3000
    out = osc("sine", 8000, freq=100.0, sync=gate)
    since = np.arange(8000) - DELAY - 3000
    away = since > 32
    # The sine's curvature makes no step; what it leaves behind the sync is over within 32 frames.
    np.testing.assert_allclose(out[away], np.sin(2 * np.pi * 100.0 / RATE_HZ * since[away]), atol=1e-5)


def test_a_sync_input_that_never_rises_changes_no_bit() -> None:
    silent = np.zeros(5000, np.float32)
    for shape in SHAPES:
        np.testing.assert_array_equal(osc(shape, 5000, sync=silent), osc(shape, 5000))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("freq", [0.0, 55.0, 2000.1, 23990.0])
@pytest.mark.parametrize("width", [0.0, 0.3, 1.0])
def test_a_tone_that_stands_has_the_bits_of_one_that_might_move(shape: str, freq: float, width: float) -> None:
    zero = np.zeros(5000, np.float32)
    moving = osc(shape, 5000, freq=freq, width=width, phase=0.1, cables={"phase": zero, "freq": zero, "width": zero})
    np.testing.assert_array_equal(osc(shape, 5000, freq=freq, width=width, phase=0.1), moving)


def test_the_table_is_what_its_design_says() -> None:
    text = (drive.ROOT / "csrc" / "dsp" / "blep_table.h").read_text()
    for line, designed in zip(text.splitlines(), blep_design.header().splitlines(), strict=True):
        numbers, expected = (np.array(re.findall(r"-?\d[\d.e+-]*(?=f)", x), float) for x in (line, designed))
        np.testing.assert_allclose(numbers, expected, atol=2e-6)  # another FFT rounds differently
        assert re.sub(r"-?\d[\d.e+-]*f", "", line) == re.sub(r"-?\d[\d.e+-]*f", "", designed)
