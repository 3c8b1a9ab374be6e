"""pluck: its tuning, its decay and its burst against what its parameters say."""

from __future__ import annotations

import drive
import numpy as np
import pytest
from drive import RATE_HZ, Command, Samples, decibels

RATE = int(RATE_HZ)


def pluck(n_frames: int, *, strikes: tuple[int, ...] = (0,), rate_hz: float = RATE_HZ, **values: float) -> Samples:
    at_once = [Command(0, name, value, True) for name, value in values.items()]
    gates = [Command(at, "gate", 1) for at in strikes]
    return drive.run("pluck", n_frames, commands=[*at_once, *gates], rate_hz=rate_hz).out


def frequency(x: Samples, near_hz: float, rate_hz: float = RATE_HZ) -> float:
    """Return the frequency of the partial near near_hz, from the phase it gains."""
    n = len(x) // 2
    window = np.hanning(n)
    turn = np.exp(-2j * np.pi * near_hz * np.arange(len(x)) / rate_hz)
    first, second = (np.sum((x * turn)[at : at + n] * window) for at in (0, n))
    return near_hz + float(np.angle(second / first)) / (2 * np.pi) * rate_hz / n


def level_db(x: Samples, freq_hz: float, at: int, rate_hz: float = RATE_HZ) -> float:
    n = 4800
    window = np.hanning(n)
    return decibels(abs(np.sum(x[at : at + n] * np.exp(-2j * np.pi * freq_hz * np.arange(n) / rate_hz) * window)))


@pytest.mark.parametrize("freq_hz", [27.5, 82.41, 110.0, 440.0, 659.26, 1234.5, 2000.0])
@pytest.mark.parametrize("damping", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("rate_hz", [44100.0, 48000.0])
def test_it_is_in_tune_within_a_cent(freq_hz: float, damping: float, rate_hz: float) -> None:
    x = pluck(RATE * 2, freq=freq_hz, damping=damping, decay=6000, rate_hz=rate_hz).astype(float)
    cents = 1200 * np.log2(frequency(x[9600:], freq_hz, rate_hz) / freq_hz)
    assert abs(cents) < 0.1  # 1 is asked for; the interpolation's phase is what is left


@pytest.mark.parametrize("freq_hz", [55.0, 220.0, 440.1, 2000.0])
@pytest.mark.parametrize("decay_ms", [500.0, 4000.0])
@pytest.mark.parametrize("damping", [0.0, 1.0])
def test_the_fundamental_falls_by_60_db_in_its_decay(freq_hz: float, decay_ms: float, damping: float) -> None:
    x = pluck(RATE, freq=freq_hz, decay=decay_ms, damping=damping).astype(float)
    at, later = 4800, 4800 + 14400
    fallen_db = level_db(x, freq_hz, at) - level_db(x, freq_hz, later)
    expected_db = 60 * (later - at) / RATE_HZ / (decay_ms / 1000)
    # Other partials reach into the window; at 2 kHz between frames six taps take 1e-6 a round, 0.1 %.
    assert fallen_db == pytest.approx(expected_db, rel=0.01)


def test_damping_takes_overtones_first() -> None:
    bright, dull = (pluck(RATE, freq=110, damping=d, decay=4000).astype(float) for d in (0, 1))
    for x, falls in ((bright, False), (dull, True)):
        first = level_db(x, 110, 4800) - level_db(x, 110, 24000)
        thirtieth = level_db(x, 3300, 4800) - level_db(x, 3300, 24000)
        assert (thirtieth > first + 10) == falls


def test_the_place_of_the_pick_takes_overtones_that_have_a_node_there() -> None:
    x = pluck(RATE, freq=100, position=0.25, damping=0, decay=20000, brightness=1).astype(float)
    spectrum = np.abs(np.fft.rfft(x[4800:] * np.hanning(RATE - 4800)))
    hz = RATE_HZ / (RATE - 4800)
    level = [spectrum[int(k * 100 / hz) - 2 : int(k * 100 / hz) + 4].max() for k in range(1, 13)]
    nodes, others = level[3::4], [v for k, v in enumerate(level, 1) if k % 4]
    assert max(nodes) < 0.05 * np.median(others)


def test_velocity_makes_it_louder_and_brighter() -> None:
    loud, soft = (pluck(9600, velocity=v, brightness=0.8).astype(float) for v in (1.0, 0.2))
    assert np.sqrt(np.mean(loud**2)) > 4 * np.sqrt(np.mean(soft**2))

    def centre(x: np.ndarray) -> float:
        power = np.abs(np.fft.rfft(x * np.hanning(len(x)))) ** 2
        return float(np.sum(power * np.arange(len(power))) / np.sum(power))

    assert centre(loud) > 1.3 * centre(soft)
    assert not np.any(pluck(9600, velocity=0))


def test_it_sounds_when_it_is_struck_and_not_before() -> None:
    x = pluck(4800, strikes=(1234,))
    assert not np.any(x[:1234]) and x[1234] != 0


def test_a_cable_strikes_where_it_rises() -> None:
    gate = np.zeros(9600, np.float32)
    gate[1000:1500] = gate[5000:5001] = 1
    x = drive.run("pluck", 9600, cables={"gate": gate}, commands=[Command(0, "decay", 50, True)]).out
    assert not np.any(x[:1000]) and x[1000] != 0
    assert np.abs(x[5000:5300]).max() > 100 * np.abs(x[4700:5000]).max()


def test_the_seed_and_the_number_of_the_strike_make_the_noise() -> None:
    same, again, other = (pluck(4800, seed=s) for s in (3, 3, 4))
    np.testing.assert_array_equal(same, again)
    assert np.any(same != other)
    two = pluck(96000, strikes=(0, 48000), decay=100)
    assert np.any(two[48000:52800] != two[:4800])


def test_a_hundred_strikes_do_not_pile_up() -> None:
    once = np.abs(pluck(48000, freq=110, decay=60000)).max()
    many = np.abs(pluck(48000, freq=110, decay=60000, strikes=tuple(range(0, 48000, 480)))).max()
    assert many < 2 * once


def test_a_note_that_is_struck_begins_with_its_own_pitch() -> None:
    commands = [
        Command(0, "freq", 110, True),
        Command(0, "gate", 1),
        Command(24000, "freq", 220),
        Command(24000, "gate", 1),
    ]
    x = drive.run("pluck", 48000, commands=commands).out.astype(float)
    assert abs(1200 * np.log2(frequency(x[24000 + 600 : 24000 + 4600], 220) / 220)) < 1  # a ramp of 10 ms is not heard


def test_it_dies_to_true_zero_and_then_writes_nothing() -> None:
    x = drive.run("pluck", 96000, commands=[Command(0, "decay", 100, True), Command(0, "gate", 1)])
    assert np.any(x.out[:4800]) and not np.any(x.out[48000:])
    n_params = len(drive.modules()["pluck"].params)
    assert int(np.frombuffer(x.state, np.uint64, offset=-(-24 * n_params // 16) * 16)[0]) < 60000


def test_above_an_eighth_of_the_sample_rate_the_pitch_stays() -> None:
    x = pluck(RATE, freq=15000, damping=0, decay=4000).astype(float)
    assert frequency(x[4800:], 6000) == pytest.approx(6000, rel=1e-4)
