"""sampler: it plays what it is given, to the bit where nothing lies between frames, and without clicks."""

from __future__ import annotations

import drive
import numpy as np
import pytest
from drive import RATE_HZ, Command, Samples, decibels

from pyengine.samples import encode

RATE = int(RATE_HZ)


def play(
    sound: Samples,
    n_frames: int,
    *changes: Command,
    strikes: tuple[int, ...] = (0,),
    cables: dict[str, Samples] | None = None,
    **values: float,
) -> list[Samples]:
    at_once = [Command(0, name, value, True) for name, value in values.items()]
    gates = [Command(at, "gate", 1) for at in strikes]
    data = encode(sound.reshape(len(sound), -1))
    return drive.run("sampler", n_frames, commands=[*at_once, *changes, *gates], cables=cables, data=data).outputs


def tone(freq_hz: float, n_frames: int) -> Samples:
    return np.sin(2 * np.pi * freq_hz / RATE_HZ * np.arange(n_frames)).astype(np.float32)


def noise(n_frames: int, n_channels: int = 1) -> Samples:
    return np.random.default_rng(1).uniform(-1, 1, (n_frames, n_channels)).astype(np.float32)


def second_difference(x: Samples) -> float:
    return float(np.abs(np.diff(x.astype(float), 2)).max())


def test_at_its_own_pitch_it_plays_the_very_samples() -> None:
    sound = noise(9600, 2)
    for channel, out in enumerate(play(sound, 12000)):
        np.testing.assert_array_equal(out[: 9600 - 96], sound[: 9600 - 96, channel])  # the last 2 ms are faded
        assert not np.any(out[9600:])


def test_mono_is_heard_on_both_sides() -> None:
    left, right = play(noise(4800), 4800)
    np.testing.assert_array_equal(left, right)
    assert np.any(left)


@pytest.mark.parametrize("semitones", [-24.0, -7.0, -0.37, 5.0])
@pytest.mark.parametrize("freq_hz", [220.0, 3000.0, 10000.0, 16000.0])
def test_between_frames_distortion_lies_75_db_below(semitones: float, freq_hz: float) -> None:
    n, ratio = 24000, 2 ** (semitones / 12)
    out = play(tone(freq_hz, 60000), n, pitch=semitones)[0].astype(float)[200:]
    turns = 2 * np.pi * freq_hz * ratio / RATE_HZ * np.arange(len(out))
    basis = np.stack([np.sin(turns), np.cos(turns)], axis=1)
    fitted = basis @ np.linalg.lstsq(basis, out, rcond=None)[0]
    # Images and distortion of 16 taps that are off by less than -81 dB below 0.34 of the sample rate; and the step,
    # which is rounded to 2^-32 of a frame.
    assert decibels(float(np.abs(out - fitted).max())) < -75
    assert decibels(float(np.abs(fitted).max())) == pytest.approx(0, abs=0.01)


# What is heard of tones that the pitch lifts to 28 kHz and more, which without a filter fold back below 20 kHz: in
# dB of what they are. csrc/dsp/sampler_read.h says what the filter does.
ALIAS_DB = -90


@pytest.mark.parametrize("semitones", [0.7, 7.0, 12.0, 36.0, 60.0])
@pytest.mark.parametrize("n_channels", [1, 2])
def test_pitched_up_it_gives_the_same_bits_for_any_instruction_set_and_split(semitones: float, n_channels: int) -> None:
    """Weights are kept from frame to frame within a call, and vectors are of 4, 8 or 16 taps."""
    commands = [Command(0, "pitch", semitones, True), Command(0, "loop", 1, True), Command(0, "gate", 1)]
    data = encode(noise(5000, n_channels))
    runs = [
        drive.run("sampler", 1200, commands=commands, data=data, splits=splits, isa=isa).outputs
        for isa in range(drive.n_isas())
        for splits in ([1200], [1, 7, 64])
    ]
    assert np.any(runs[0])
    for outputs in runs[1:]:
        np.testing.assert_array_equal(np.asarray(outputs).view(np.uint32), np.asarray(runs[0]).view(np.uint32))


def power_db(x: np.ndarray) -> float:
    return decibels(float(np.sqrt(np.mean(x.astype(float) ** 2))))


@pytest.mark.parametrize("semitones", [7.0, 12.0, 24.0, 36.0])
@pytest.mark.parametrize("backwards", [False, True])
def test_pitched_up_what_would_fold_back_is_not_heard(semitones: float, backwards: bool) -> None:
    ratio = 2 ** (semitones / 12)
    for freq_hz in np.linspace(28000 / ratio, 23900, 9):
        sound = tone(float(freq_hz), int(9600 * ratio))
        out = play(sound, 9000, pitch=semitones, rate=-1.0 if backwards else 1.0)[0][200:]
        assert power_db(out) - power_db(sound) < ALIAS_DB


@pytest.mark.parametrize("semitones", [0.5, 7.0, 12.0, 24.0, 36.0])
@pytest.mark.parametrize("heard_hz", [300.0, 5000.0, 16100.0])
def test_pitched_up_what_is_heard_is_as_loud_as_it_was_and_in_its_place(semitones: float, heard_hz: float) -> None:
    ratio = 2 ** (semitones / 12)
    out = play(tone(heard_hz / ratio, int(9600 * ratio)), 9000, pitch=semitones)[0]
    # The step is rounded to 2^-32 of a frame, so the phase drifts a little; level and place within 0.001 dB.
    assert np.abs(out - tone(heard_hz, 9000))[100:].max() < 3e-4


def test_noise_pitched_up_by_an_octave_is_the_noise_below_half_the_rate_resampled() -> None:
    sound = noise(1 << 15)[:, 0]
    out = play(sound, 1 << 14, pitch=12.0)[0].astype(float)
    spectrum = np.fft.rfft(sound.astype(float))
    half = np.fft.irfft(spectrum[: (1 << 13) + 1], 1 << 14) / 2  # an ideal filter, and every other frame
    error = np.fft.rfft((out - half)[1000:-1000] * np.hanning((1 << 14) - 2000))
    audible = int(0.39 * ((1 << 14) - 2000))
    assert power_db(np.abs(error[:audible])) - power_db(np.abs(spectrum)) < -60  # the ends of the noise ring in both


@pytest.mark.parametrize("middle", [0.0, 12.0])
def test_a_pitch_that_sweeps_across_octaves_does_not_click(middle: float) -> None:
    n = 48000
    semitones = (14 * np.sin(2 * np.pi * 1.3 * np.arange(n) / RATE_HZ)).astype(np.float32)
    out = play(tone(110, 6 * n), n, cables={"pitch": semitones}, pitch=middle)[0].astype(float)
    steps = 2 ** (np.clip(semitones.astype(float) + middle, -60, 60) / 12)
    expected = np.sin(2 * np.pi * 110 / RATE_HZ * np.concatenate([[0.0], np.cumsum(steps)[:-1]]))
    assert np.abs(out - expected)[100:].max() < 2e-3  # the steps' own rounding adds up
    # Below a step of 1 the taps are off by up to -81 dB, and a second difference weighs that four times.
    assert np.abs(np.diff(out - expected, 2))[100:].max() < 4 * 10 ** (-81 / 20)


def test_noise_that_sweeps_through_its_own_pitch_changes_without_a_step() -> None:
    n = 24000
    cable = np.linspace(-0.5, 1.5, n).astype(np.float32)
    sound = noise(2 * n)[:, 0]
    out = play(sound, n, cables={"pitch": cable})[0].astype(float)
    powers = 10 * np.log10(np.mean(out.reshape(-1, 2000) ** 2, axis=1))
    assert np.abs(np.diff(powers)).max() < 1.0


@pytest.mark.parametrize(("rate", "semitones"), [(1.0, 12.0), (2.0, 0.0), (0.5, 0.0), (1.0, -12.0), (4.0, -24.0)])
def test_rate_and_pitch_multiply(rate: float, semitones: float) -> None:
    out = play(tone(300, 48000), 9600, rate=rate, pitch=semitones)[0]
    expected = tone(300 * rate * 2 ** (semitones / 12), 9600)
    assert np.abs(out - expected)[50:].max() < 2e-4


def test_backwards_it_plays_from_the_end() -> None:
    sound = noise(9600)
    out = play(sound, 12000, rate=-1)[0]
    np.testing.assert_array_equal(out[96 : 9600 - 97], sound[::-1, 0][96 : 9600 - 97])
    assert not np.any(out[9600:])


def test_start_is_a_part_of_the_whole() -> None:
    sound = noise(9600)
    out = play(sound, 4800, start=0.5)[0]
    np.testing.assert_array_equal(out[100 : 4800 - 100], sound[4900 : 9600 - 100, 0])
    assert abs(out[0]) < 0.02  # it fades in, within the sound


def test_velocity_is_that_of_the_strike_and_gain_that_of_now() -> None:
    sound = np.ones(48000, np.float32)
    out = play(sound, 9600, Command(4800, "velocity", 0.1), Command(4800, "gain", 0.5), velocity=0.5)[0]
    assert out[100] == 0.5 and out[9000] == 0.25


@pytest.mark.parametrize("every", [4000, 700, 130])
def test_a_strike_on_what_sounds_does_not_click(every: int) -> None:
    sound = tone(110, 48000)
    strikes = tuple(range(0, 24000, every))
    out = play(sound, 24000, strikes=strikes)[0]
    # A sine begins with a kink of its own; a fade over 96 frames adds its slope, and half of it at its corners.
    slope = 2 * np.pi * 110 / RATE_HZ
    assert second_difference(out) < slope + 2 / 96 + 2 * slope / 96 + slope**2
    at_once = np.concatenate([sound[:every]] * 2)
    if every == 700:
        assert second_difference(at_once) > 5 * second_difference(out)


def test_the_gate_stops_it_softly_in_mode_gate_and_not_at_all_otherwise() -> None:
    sound = tone(110, 48000)
    gate = np.zeros(24000, np.float32)
    gate[1000:9000] = 1
    stopped = play(sound, 24000, strikes=(), cables={"gate": gate}, mode=1, release=20)[0]
    shot = play(sound, 24000, strikes=(), cables={"gate": gate})[0]
    np.testing.assert_array_equal(shot[1000:], sound[: 24000 - 1000])
    np.testing.assert_array_equal(stopped[1000:9000], sound[:8000])
    fade = np.linspace(1, 0, 961)[:960]
    np.testing.assert_allclose(stopped[9000:9960], sound[8000:8960] * fade, atol=1e-3)
    assert not np.any(stopped[9961:])


def test_a_loop_without_a_crossfade_goes_round_to_the_bit() -> None:
    sound = noise(4800)
    out = play(sound, 48000, loop=1, loop_start=0.25, loop_end=0.75, loop_fade=0)[0]
    expected = np.concatenate([sound[:3600, 0], np.tile(sound[1200:3600, 0], 20)])
    np.testing.assert_array_equal(out, expected[:48000])


@pytest.mark.parametrize(("semitones", "rate"), [(-5.3, 1.0), (7.0, 1.0), (24.0, 1.0), (36.0, 1.0), (19.1, -1.0)])
def test_a_cycle_that_loops_is_a_clean_tone_at_any_pitch(semitones: float, rate: float) -> None:
    cycle = tone(RATE / 64, 64)
    out = play(cycle, 24000, loop=1, loop_fade=0, pitch=semitones, rate=rate)[0].astype(float)[200:]
    turns = 2 * np.pi * 2 ** (semitones / 12) / 64 * np.arange(len(out))
    basis = np.stack([np.sin(turns), np.cos(turns)], axis=1)
    fitted = basis @ np.linalg.lstsq(basis, out, rcond=None)[0]
    assert decibels(float(np.abs(out - fitted).max())) < -75  # the taps reach over the seam into the loop


@pytest.mark.parametrize("rate", [1.0, 0.77, -1.3])
def test_a_loop_with_a_crossfade_does_not_click(rate: float) -> None:
    sound = tone(110, 48000)
    out = play(sound, 96000, loop=1, loop_start=0.3, loop_end=0.6037, loop_fade=20, rate=rate)[0]
    slope = 2 * np.pi * 110 / RATE_HZ * abs(rate)
    fade = 20e-3 * RATE_HZ / abs(rate)
    assert second_difference(out[500:]) < slope**2 + 4 * slope / fade + 2 / fade  # the corners of the fade
    assert np.abs(out[60000:]).max() > 0.5


def test_a_loop_that_is_moved_is_gone_on_with_softly() -> None:
    sound = tone(110, 48000)
    changes = [Command(20000, "loop_end", 0.2), Command(20000, "loop_start", 0.1), Command(40000, "loop_start", 0.0)]
    out = play(sound, 60000, *changes, loop=1, loop_start=0.3, loop_end=0.6, loop_fade=20)[0]
    slope = 2 * np.pi * 110 / RATE_HZ
    assert second_difference(out[10:]) < 2 / 96 + slope
    assert np.abs(out[50000:]).max() > 0.5


def test_a_loop_that_is_switched_off_ends_with_the_sample() -> None:
    out = play(noise(9600), 48000, Command(20000, "loop", 0), loop=1, loop_end=0.5, loop_fade=0)[0]
    assert np.any(out[19000:20000]) and not np.any(out[30000:])


def test_pitch_and_strike_at_one_frame_need_no_ramp() -> None:
    sound = tone(440, 48000)
    changes = [Command(5000, "pitch", 12)]
    out = play(sound, 9600, *changes, strikes=(5000,))[0]
    np.testing.assert_allclose(out[5100:9600], tone(880, 4600)[100:], atol=2e-4)


def test_without_a_sample_or_with_a_damaged_one_it_is_silent() -> None:
    commands = [Command(0, "gate", 1)]
    whole = encode(noise(4800))
    for data in (b"", whole[:40], whole[:-4], b"x" * 4000, whole[:8] + bytes(8) + whole[16:]):
        outs = drive.run("sampler", 4800, commands=commands, data=data).outputs
        assert not np.any(outs)


def test_the_warm_up_hears_the_loudest_place() -> None:
    sound = np.zeros(48000, np.float32)
    sound[30000:31000] = 0.5
    outs = drive.run("sampler", 512, commands=[Command(0, kind="open")], data=encode(sound[:, None])).outputs
    assert np.abs(outs[0]).max() > 0.4


def test_it_stays_bounded_and_the_same_for_any_split_while_all_moves() -> None:
    rng = np.random.default_rng(2)
    data = encode(noise(3000, 2) * 1e6)
    for _ in range(20):
        names = [p for p in drive.modules()["sampler"].params]
        commands = []
        for frame in sorted(rng.integers(0, 6000, 60)):
            p = names[rng.integers(len(names))]
            value = rng.uniform(p.low, p.high)
            commands.append(
                Command(int(frame), p.name, float(round(value)) if p.is_integer or p.is_gate else float(value))
            )
        cables = {"rate": rng.uniform(-9, 9, 6000).astype(np.float32)} if rng.integers(2) else {}
        whole = drive.run("sampler", 6000, commands=commands, data=data, cables=cables, splits=[6000])
        parts = drive.run("sampler", 6000, commands=commands, data=data, cables=cables, splits=[1, 7, 64])
        for a, b in zip(whole.outputs, parts.outputs, strict=True):
            np.testing.assert_array_equal(a.view(np.uint32), b.view(np.uint32))
            assert np.abs(a).max() <= 1e6
        assert whole.state == parts.state
