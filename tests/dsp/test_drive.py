"""drive against its curves in float64, and what it puts out beside the harmonics of a tone: aliases.

Tones are whole numbers of cycles in N frames, and that number is odd: then all that is no harmonic is alias or noise.
"""

from __future__ import annotations

import drive
import numpy as np
import pytest
from drive import RATE_HZ, Command, decibels
from numpy.typing import NDArray

N = 1 << 15
LATENCY = 37
CURVES = ["tanh", "soft", "hard", "fold"]
Array = NDArray[np.float64]


def driven(x: Array, curve: str = "tanh", drive_db: float = 12.0, **values: float) -> Array:
    values = {"curve": CURVES.index(curve), "drive": drive_db, **values}
    commands = [Command(0, name, value, True) for name, value in values.items()]
    return drive.run("drive", len(x), commands=commands, inputs=[x.astype(np.float32)], splits=[8192]).out.astype(float)


def tone(cycles: int, n_frames: int = 2 * N) -> Array:
    return np.sin(2 * np.pi * ((np.arange(n_frames) * cycles) % N) / N)


def ideal(curve: str, u: Array) -> Array:
    if curve == "tanh":
        return np.tanh(u)
    if curve == "soft":
        u = np.clip(u, -1.5, 1.5)
        return u - 4 / 27 * u**3
    if curve == "hard":
        return np.clip(u, -1, 1)
    return np.abs((u + 1) % 4 - 2) * -1 + 1


def loudest_alias_db(x: Array, cycles: int, below_hz: float = 20000.0) -> float:
    """Return what is loudest and no harmonic, in dB of the loudest harmonic."""
    amplitudes = np.abs(np.fft.rfft(x[-N:]))
    top = amplitudes[::cycles].max()
    amplitudes[::cycles] = 0.0
    return decibels(amplitudes[: int(below_hz * N / RATE_HZ)].max() / top)


def test_a_quiet_sound_comes_out_as_it_is_37_frames_late() -> None:
    click = np.zeros(512)
    click[100] = 1e-3
    out = driven(click, drive_db=0.0) * 1e3
    assert np.argmax(out) == 100 + LATENCY
    np.testing.assert_allclose(out[137:200], out[137:74:-1], atol=1e-6)  # symmetric but for the curve's cubic part
    response = np.abs(np.fft.rfft(out))
    passed = np.fft.rfftfreq(512, 1 / RATE_HZ) <= 20000
    assert np.abs(20 * np.log10(response[passed])).max() < 0.01


@pytest.mark.parametrize("curve", CURVES)
@pytest.mark.parametrize("drive_db", [0.0, 6.0, 20.0, 40.0])
def test_a_low_tone_takes_the_form_of_the_curve(curve: str, drive_db: float) -> None:
    x = tone(75)
    out = driven(x, curve, drive_db)[N:]
    expected = np.fft.rfft(ideal(curve, 10 ** (drive_db / 20) * tone(75, N)))
    turn = np.exp(-2j * np.pi * np.arange(N // 2 + 1) * LATENCY / N)
    h = np.arange(75, int(10000 * N / RATE_HZ), 75)
    error = np.abs(np.fft.rfft(out)[h] - (expected * turn)[h]) / N * 2
    # What is expected is not oversampled: where the curve has corners its own aliases are in it.
    assert error.max() < (
        5e-4 if curve in ("hard", "fold") or drive_db > 20 else 6e-5
    )  # the filters ripple by 0.0005 dB


# The table of csrc/dsp/drive.c: of a full sine of about 1, 4 and 10 kHz.
STATED_DB = {
    ("tanh", 24.0): (-125, -107, -92),
    ("soft", 24.0): (-123, -106, -89),
    ("hard", 24.0): (-121, -106, -87),
    ("fold", 24.0): (-85, -68, -52),
    ("fold", 36.0): (-59, -43, -22),
    ("tanh", 60.0): (-103, -88, -82),
    ("soft", 60.0): (-102, -88, -82),
    ("hard", 60.0): (-102, -88, -82),
}


@pytest.mark.parametrize(("curve", "drive_db"), STATED_DB)
def test_aliases_of_a_full_sine_lie_where_they_are_stated(curve: str, drive_db: float) -> None:
    for cycles, limit_db in zip((683, 2731, 6827), STATED_DB[curve, drive_db], strict=True):
        plain = loudest_alias_db(ideal(curve, 10 ** (drive_db / 20) * tone(cycles)), cycles)
        level = loudest_alias_db(driven(tone(cycles), curve, drive_db), cycles)
        assert level < limit_db and level < plain - 20


@pytest.mark.parametrize("cycles", [301, 683, 1365, 2731])
def test_aliases_of_a_tone_of_up_to_4_khz_driven_by_12_db(cycles: int) -> None:
    assert loudest_alias_db(driven(tone(cycles), "tanh", 12.0), cycles) < -120
    assert loudest_alias_db(driven(tone(cycles), "soft", 12.0), cycles) < -118
    assert loudest_alias_db(driven(tone(cycles), "hard", 12.0), cycles) < -115
    assert loudest_alias_db(driven(tone(cycles), "fold", 12.0), cycles) < -94


@pytest.mark.parametrize("curve", CURVES)
def test_a_curve_that_is_changed_while_it_sounds_takes_over_at_that_frame(curve: str) -> None:
    x = tone(75, 4000).astype(np.float32)
    change = [Command(0, "drive", 20.0, True), Command(2000, "curve", CURVES.index(curve))]
    out = drive.run("drive", len(x), commands=change, inputs=[x], splits=[64]).out
    np.testing.assert_array_equal(out[:2000], driven(x, drive_db=20.0)[:2000].astype(np.float32))
    after = driven(x, curve, 20.0)[2100:]
    np.testing.assert_array_equal(out[2100:], after.astype(np.float32))


def test_mix_0_is_the_input_37_frames_late_and_mix_is_linear() -> None:
    x = np.random.default_rng(6).uniform(-1, 1, 2000)
    dry, wet = driven(x, mix=0.0), driven(x, mix=1.0)
    np.testing.assert_array_equal(dry[LATENCY:], x.astype(np.float32)[:-LATENCY])
    np.testing.assert_allclose(driven(x, mix=0.25), 0.75 * dry + 0.25 * wet, atol=3e-7)  # rounding to float32, thrice


def test_gain_scales_the_output() -> None:
    x = np.random.default_rng(7).uniform(-1, 1, 2000)
    np.testing.assert_array_equal(driven(x, gain=0.5), 0.5 * driven(x))


def test_a_cable_on_drive_adds_to_it_in_db() -> None:
    x = 1e-3 * tone(301)
    cable = np.full(len(x), 6.0, np.float32)
    run = drive.run("drive", len(x), inputs=[x.astype(np.float32)], cables={"drive": cable}, splits=[8192])
    np.testing.assert_array_equal(run.out, driven(x, drive_db=18.0).astype(np.float32))


def test_it_gets_over_what_is_not_a_number() -> None:
    x = tone(301)
    x[1000:1003] = np.nan, np.inf, -np.inf
    out = driven(x)
    assert np.isfinite(out).all()
    np.testing.assert_array_equal(out[2000:], driven(tone(301))[2000:])
