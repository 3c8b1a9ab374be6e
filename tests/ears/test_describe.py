"""Sounds whose description is known, and everything that is no sound."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pyloudnorm
import pytest
import scipy.signal
from hypothesis import given, settings
from hypothesis import strategies as st
from sounds import RATE_HZ, at_places, kick, noise, pink, saw, shaped, sine, times

import pyengine
from pyengine.ears import describe
from pyengine.ears.loudness import k_weighted, loudness, weighting
from pyengine.ears.sound import as_sound, note_of
from pyengine.errors import CommandError

MINUS_12 = 10 ** (-12 / 20)


def described(samples: Any, rate_hz: float = RATE_HZ, **options: Any) -> dict[str, Any]:
    """Return the description as it comes out of its JSON."""
    return dict(json.loads(describe(samples, rate_hz, **options).as_json()))


def going_on(samples: Any) -> dict[str, Any]:
    return described(samples, is_preceded_by_silence=False)


# ---- loudness and level ---------------------------------------------------------------------------------


def gain_at(hz: float, rate_hz: float) -> float:
    """Return the K-weighting's gain in dB, by scipy."""
    gain = 1.0
    for b, a in weighting(rate_hz):
        gain *= abs(scipy.signal.freqz(b, a, [2 * np.pi * hz / rate_hz])[1][0])
    return 20 * math.log10(gain)


@pytest.mark.parametrize("hz", [60, 440, 1000, 6000])
@pytest.mark.parametrize("rate_hz", [44100, 48000, 96000])
def test_the_loudness_of_a_sine_is_that_of_the_closed_form(hz: float, rate_hz: int) -> None:
    found = described(sine(hz, 2.0, MINUS_12, rate_hz), rate_hz)
    expected = -0.691 + 10 * math.log10(MINUS_12**2 / 2) + gain_at(hz, rate_hz)
    assert found["loudness"]["integrated_lufs"] == pytest.approx(expected, abs=0.05)
    assert found["loudness"]["momentary_max_lufs"] == pytest.approx(expected, abs=0.1)


def test_a_full_scale_tone_of_997_hz_in_both_channels_has_0_lufs_and_in_one_3_less() -> None:
    """ITU-R BS.1770-4: 0 dBFS in one front channel reads -3.01."""
    tone = sine(997, 5.0, 1.0)
    both, one = np.stack([tone, tone], 1), np.stack([tone, 0 * tone], 1)
    assert described(both)["loudness"]["integrated_lufs"] == pytest.approx(0.0, abs=0.02)
    assert described(one)["loudness"]["integrated_lufs"] == pytest.approx(-3.01, abs=0.02)


def test_the_weighting_at_48_khz_is_the_table_of_the_standard() -> None:
    (shelf_b, shelf_a), (high_b, high_a) = weighting(48000)
    assert shelf_b == pytest.approx([1.53512485958697, -2.69169618940638, 1.19839281085285], abs=1e-9)
    assert shelf_a == pytest.approx([1.0, -1.69065929318241, 0.73248077421585], abs=1e-9)
    assert high_b == [1.0, -2.0, 1.0]
    assert high_a == pytest.approx([1.0, -1.99004745483398, 0.99007225036621], abs=1e-9)


@pytest.mark.parametrize("n_frames", [1, 100, 48000, 600_000])
def test_the_weighting_in_frequency_is_the_one_in_time(n_frames: int) -> None:
    x = noise(13.0)[:n_frames]
    expected = x
    for b, a in weighting(RATE_HZ):
        expected = scipy.signal.lfilter(b, a, expected)
    assert np.abs(k_weighted(x, RATE_HZ) - expected).max() < 1e-12


@pytest.mark.parametrize("seed", range(3))
def test_loudness_and_range_agree_with_pyloudnorm(seed: int) -> None:
    level = np.repeat(np.random.default_rng(seed).uniform(0.003, 0.5, 20), 3 * RATE_HZ)
    x = np.stack([noise(60.0, 0.3, seed), pink(60.0, 0.3, seed)], 1) * level[:, None]
    meter = pyloudnorm.Meter(RATE_HZ, filter_class="DeMan")
    found = loudness(as_sound(x, RATE_HZ)).figures()
    assert found["integrated_lufs"] == pytest.approx(meter.integrated_loudness(x), abs=0.05)
    if hasattr(meter, "loudness_range"):  # which adds 1.5 s of silence
        found = loudness(as_sound(np.pad(x, ((0, 3 * RATE_HZ // 2), (0, 0))), RATE_HZ)).figures()
        assert found["range_lu"] == pytest.approx(meter.loudness_range(x), abs=0.3)


def test_two_levels_that_change_every_10_s_have_the_range_between_them() -> None:
    """EBU Tech 3342, test signal 1: 1 kHz, 20 s at -20 dBFS and 20 s at -30: 10 LU, within 1."""
    tone = np.concatenate([sine(1000, 20.0, 0.1), sine(1000, 20.0, 10**-1.5)])
    assert described(np.stack([tone, tone], 1))["loudness"]["range_lu"] == pytest.approx(10.0, abs=1.0)


def test_what_is_too_short_or_too_quiet_for_a_loudness_says_so() -> None:
    short = described(sine(440, 0.3))["loudness"]
    assert short["integrated_lufs"] is None
    assert "0.4 s" in short["reason"]
    quiet = described(sine(440, 2.0, 1e-5))["loudness"]
    assert quiet["integrated_lufs"] is None
    assert "-70 LUFS" in quiet["reason"]
    some = described(sine(440, 5.0))["loudness"]
    assert some["range_lu"] is None
    assert "6 s" in some["reason"]


def test_the_level_of_a_sine_is_known() -> None:
    level = described(sine(440, 5.0, MINUS_12))["level"]
    assert level["peak_dbfs"] == pytest.approx(-12.0, abs=0.01)
    assert level["rms_dbfs"] == pytest.approx(-15.01, abs=0.01)
    assert level["crest_db"] == pytest.approx(3.01, abs=0.01)
    assert level["channels"] == [{"peak_dbfs": level["peak_dbfs"], "rms_dbfs": level["rms_dbfs"]}]


def test_the_peak_between_samples_is_found() -> None:
    """A quarter of the rate, 45 degrees off: every sample lies 3.01 dB below the wave's top."""
    wave = 0.5 * np.sin(2 * np.pi * 12000 * times(1.0) + np.pi / 4)
    level = described(shaped(wave))["level"]
    assert level["peak_dbfs"] == pytest.approx(20 * math.log10(0.5 * math.sqrt(0.5)), abs=0.01)
    assert level["true_peak_dbtp"] == pytest.approx(20 * math.log10(0.5), abs=0.1)


def test_a_fade_shows_in_the_course_and_in_words() -> None:
    found = described(sine(440, 4.0) * np.linspace(1, 0.01, 4 * RATE_HZ))
    course = found["level"]["course_dbfs"]
    assert course == sorted(course, reverse=True)
    assert "quieter" in found["summary"]


# ---- pitch, notes, brightness ---------------------------------------------------------------------------


@pytest.mark.parametrize("rate_hz", [8000, 22050, 44100, 48000, 192000])
@pytest.mark.parametrize("hz", [41.203, 110.0, 440.0, 1234.5])
def test_the_pitch_of_a_sine_is_within_a_cent(hz: float, rate_hz: int) -> None:
    pitch = described(sine(hz, 1.0, MINUS_12, rate_hz), rate_hz)["pitch"]
    assert abs(1200 * math.log2(pitch["hz"] / hz)) < 1.0
    assert pitch["confidence"] > 0.95
    assert pitch["share"] > 0.9


@pytest.mark.parametrize("hz", [32.7, 55.0, 98.0, 261.63, 880.0, 3520.0])
def test_the_pitch_of_a_saw_is_its_first_partial(hz: float) -> None:
    found = going_on(saw(hz, 1.0))
    assert abs(1200 * math.log2(found["pitch"]["hz"] / hz)) < 1.0
    assert found["onsets"]["n"] == 0
    assert found["clicks"]["n"] == 0


def test_a_pitch_is_named_with_its_cents() -> None:
    pitch = described(sine(440 * 2 ** (0.3 / 12), 1.0))["pitch"]
    assert pitch["note"] == "A4"
    assert pitch["cents"] == pytest.approx(30.0, abs=0.5)
    assert [note_of(hz)[0] for hz in (16.352, 261.63, 277.18, 987.77)] == ["C0", "C4", "C#4", "B5"]


def test_the_notes_of_a_melody_come_in_order_with_their_times() -> None:
    parts = [shaped(sine(hz, 0.5)) for hz in (440.0, 659.255)]
    found = described(np.concatenate(parts))
    notes = found["notes"]["list"]
    assert [note["note"] for note in notes] == ["A4", "E5"]
    assert [note["hz"] for note in notes] == pytest.approx([440.0, 659.255], rel=1e-4)
    assert notes[0]["begin_s"] == pytest.approx(0.0, abs=0.01)
    assert notes[1]["begin_s"] == pytest.approx(0.5, abs=0.01)
    assert "A4 E5" in found["summary"]


def test_notes_without_a_gap_are_told_apart_and_so_is_a_note_that_is_struck_again() -> None:
    legato = described(np.concatenate([sine(440, 0.5), sine(494, 0.5), sine(440, 0.5)]))
    assert [note["note"] for note in legato["notes"]["list"]] == ["A4", "B4", "A4"]
    again = described(np.concatenate([shaped(saw(220, 0.4)), shaped(saw(220, 0.4))]))
    assert [note["note"] for note in again["notes"]["list"]] == ["A3", "A3"]


def test_vibrato_is_one_note_and_a_glide_tells_where_from_and_to() -> None:
    t = times(3.0)
    vibrato = going_on(0.3 * np.sin(2 * np.pi * 440 * t + 440 * 0.02 / 5 * np.sin(2 * np.pi * 5 * t)))
    assert vibrato["notes"]["n"] == 1
    assert abs(vibrato["pitch"]["cents"]) < 10
    glide = going_on(0.3 * np.sin(2 * np.pi * np.cumsum(300 * 2 ** (t / 3)) / RATE_HZ))
    assert glide["notes"]["n"] == 1
    only = glide["notes"]["list"][0]
    assert only["from_hz"] == pytest.approx(300, rel=0.08)
    assert only["to_hz"] == pytest.approx(600, rel=0.08)
    assert "glides" in glide["summary"]


@pytest.mark.parametrize("make", [noise, pink])
@pytest.mark.parametrize("seed", range(3))
def test_noise_has_no_pitch_no_onset_and_no_click(make: Any, seed: int) -> None:
    found = going_on(make(10.0, seed=seed))
    assert found["pitch"] is None
    assert found["onsets"]["n"] == 0
    assert found["clicks"]["n"] == 0
    assert found["partials"] == []
    assert not found["dc"]["is_steady"]


def test_white_noise_is_flat_and_pink_noise_is_not() -> None:
    white, rosy = going_on(noise(5.0))["brightness"], going_on(pink(5.0))["brightness"]
    assert white["flatness"] > 0.95
    assert white["centroid_hz"] == pytest.approx(12000, rel=0.02)
    assert white["rolloff_hz"] == pytest.approx(0.85 * 24000, rel=0.02)
    assert rosy["flatness"] < 0.6
    assert rosy["centroid_hz"] < 0.75 * white["centroid_hz"]
    assert going_on(sine(1000, 2.0))["brightness"]["centroid_hz"] == pytest.approx(1000, rel=0.01)


def test_the_partials_of_a_saw_are_its_harmonics_6_db_an_octave() -> None:
    found = going_on(saw(220, 3.0))["partials"]
    assert [p["hz"] for p in found] == pytest.approx([220 * k for k in range(1, 9)], rel=1e-3)
    fall = [p["dbfs"] - found[0]["dbfs"] for p in found]
    assert fall == pytest.approx([-20 * math.log10(k) for k in range(1, 9)], abs=0.3)
    assert found[0]["dbfs"] == pytest.approx(20 * math.log10(0.3 * 2 / np.pi), abs=0.3)


def test_a_chord_is_not_taken_for_the_note_that_its_notes_have_in_common() -> None:
    found = going_on(sum(sine(hz, 2.0, 0.2) for hz in (261.63, 329.63, 392.0)))
    assert "several notes" in found["summary"]
    assert sorted(p["note"] for p in found["partials"]) == ["C4", "E4", "G4"]


# ---- onsets and tempo ------------------------------------------------------------------------------------


def test_the_clicks_of_a_train_are_found_to_the_sample() -> None:
    places = [12345 + 9000 * k for k in range(20)]
    found = described(at_places(np.array([0.5]), places, 5 * RATE_HZ))
    assert [click["frame"] for click in found["clicks"]["list"]] == places
    assert found["onsets"]["times_s"] == pytest.approx([place / RATE_HZ for place in places], abs=1e-6)
    assert found["tempo"]["period_s"] == pytest.approx(9000 / RATE_HZ, abs=1e-5)


@pytest.mark.parametrize("gain", [0.8, 0.01])
def test_kicks_at_120_bpm_are_onsets_and_no_clicks(gain: float) -> None:
    places = [24000 * k for k in range(10)]
    found = described(at_places(kick(gain), places, 5 * RATE_HZ))
    assert found["onsets"]["times_s"] == pytest.approx([place / RATE_HZ for place in places], abs=1e-3)
    assert found["tempo"]["bpm"] == pytest.approx(120.0, abs=0.05)
    assert found["clicks"]["n"] == 0
    assert found["dropouts"]["n"] == 0
    assert "120 bpm" in found["summary"]


def test_kicks_and_hats_over_a_saw_are_onsets_and_no_clicks() -> None:
    hat = shaped(noise(0.05, 0.3) * np.exp(-80 * times(0.05)), 1 / RATE_HZ, 0.01)
    n = 4 * RATE_HZ
    drums = at_places(kick(), [24000 * k for k in range(8)], n)
    drums += at_places(hat, [12000 + 24000 * k for k in range(8)], n)
    found = described(drums + saw(110, 4.0, 0.2))
    assert found["onsets"]["times_s"] == pytest.approx([0.25 * k for k in range(16)], abs=5e-3)
    assert found["tempo"]["bpm"] == pytest.approx(120.0, abs=0.2)
    assert found["clicks"]["n"] == 0


def test_a_pattern_with_gaps_lies_on_the_grid_of_its_steps() -> None:
    places = [6000 * step for step in range(64) if "X..X..X...X.X.X."[step % 16] == "X"]
    found = described(at_places(kick(0.5), places, 400_000))
    assert found["onsets"]["n"] == len(places)
    assert found["tempo"]["period_s"] == pytest.approx(0.25, abs=1e-3) or found["tempo"]["period_s"] == pytest.approx(
        0.125, abs=1e-3
    )
    assert found["tempo"]["bpm"] == pytest.approx(120.0, abs=0.5)


def test_echoes_off_the_beat_leave_its_tempo() -> None:
    places = sorted(24000 * k + late for k in range(8) for late in (0, 17_400))
    found = described(at_places(kick(0.5), places, 5 * RATE_HZ))
    assert found["onsets"]["n"] == len(places)
    assert found["tempo"]["bpm"] == pytest.approx(120.0, abs=0.5)
    assert found["tempo"]["period_s"] == pytest.approx(0.5, abs=2e-3)


def test_onsets_without_a_grid_have_no_tempo() -> None:
    places = [int(RATE_HZ * x) for x in (0.1, 0.63, 0.97, 1.71, 2.02, 2.9, 3.13, 4.4)]
    found = described(at_places(kick(), places, 5 * RATE_HZ))
    assert found["onsets"]["n"] == len(places)
    assert found["tempo"] is None


def test_a_note_that_ends_is_no_onset_and_one_that_was_there_before_does_not_begin() -> None:
    found = going_on(np.concatenate([sine(440, 1.0), np.zeros(RATE_HZ)]))
    assert found["onsets"]["n"] == 0
    assert described(sine(440, 1.0))["onsets"]["times_s"] == pytest.approx([0.0], abs=1e-3)
    assert going_on(sine(440, 1.0))["onsets"]["n"] == 0


# ---- faults ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hz", [55.0, 220.0, 440.0, 997.0])
@pytest.mark.parametrize("place", [40_000, 100_003])
def test_a_step_of_one_sample_in_a_tone_is_a_click(hz: float, place: int) -> None:
    """A sample is played twice, where the wave is steep."""
    tone = sine(hz, 3.0)
    near = place + int(np.argmax(np.abs(np.diff(tone[place : place + 2000]))))
    found = going_on(np.concatenate([tone[:near], tone[near - 1 : -1]]))
    assert [click["frame"] for click in found["clicks"]["list"]] == pytest.approx([near], abs=1)
    assert found["onsets"]["n"] == 0
    assert found["notes"]["n"] == 1
    assert "click" in found["summary"]
    assert going_on(tone)["clicks"]["n"] == 0


@pytest.mark.parametrize("size", [0.02, 0.3])
def test_one_wrong_sample_is_a_click_and_its_channel_is_told(size: float) -> None:
    x = np.stack([sine(330, 3.0), sine(330, 3.0)], 1)
    x[77_777, 1] += size
    found = going_on(x)
    click = found["clicks"]["list"][0]
    assert found["clicks"]["n"] == 1
    assert (click["frame"], click["channel"]) == (77_777, 1)
    assert click["step"] == pytest.approx(size, abs=0.015)


def test_a_tone_that_is_cut_off_clicks_and_one_that_fades_does_not() -> None:
    tone = sine(300, 1.0)[:-40]
    assert going_on(np.concatenate([tone, np.zeros(RATE_HZ)]))["clicks"]["n"] == 1
    assert going_on(np.concatenate([shaped(tone), np.zeros(RATE_HZ)]))["clicks"]["n"] == 0


def test_clicks_near_each_other_are_all_found() -> None:
    x = sine(220, 2.0)
    places = [30_000, 30_480, 31_500, 60_000]
    x[places] += 0.2
    assert [click["frame"] for click in going_on(x)["clicks"]["list"]] == places


def test_a_clipped_sine_is_clipped_and_one_at_full_scale_is_not() -> None:
    clipped = described(np.clip(sine(440, 1.0, 1.5), -1, 1))
    assert clipped["clipping"]["runs"] == 880
    assert clipped["clipping"]["samples_over_full_scale"] == 0
    assert "clipped" in clipped["summary"]
    assert described(sine(441, 1.0, 1.0))["clipping"]["runs"] == 0
    over = described(sine(440, 1.0, 1.5))["clipping"]
    assert over["runs"] == 0
    assert over["samples_over_full_scale"] > 20_000


def test_dc_is_told_per_channel_and_rumble_is_none() -> None:
    x = np.stack([sine(440, 2.0), sine(440, 2.0) + 0.05], 1)
    found = described(x)
    assert found["dc"]["channels"] == pytest.approx([0.0, 0.05], abs=1e-4)
    assert found["dc"]["is_steady"]
    assert "DC offset of +0.0500" in found["summary"]
    brown = np.cumsum(noise(5.0, 1.0))
    assert not described(0.3 * brown / np.abs(brown).max())["dc"]["is_steady"]


def test_silence_is_silence() -> None:
    found = described(np.zeros((RATE_HZ, 2)))
    assert found["silence"] == {"share": 1.0, "n": 1, "stretches_s": [[0.0, 1.0]]}
    assert found["level"]["peak_dbfs"] is None
    assert found["pitch"] is None
    assert "silence" in found["summary"].lower()
    found = described(np.concatenate([shaped(sine(440, 1.0)), np.zeros(RATE_HZ // 2), shaped(sine(440, 1.0))]))
    assert found["silence"]["stretches_s"] == [pytest.approx([1.0, 1.5], abs=0.005)]


@pytest.mark.parametrize("n_frames", [16, 480, 2400])
def test_a_hole_in_a_sound_is_a_dropout_and_a_rest_is_none(n_frames: int) -> None:
    x = saw(220, 3.0)
    x[72_000 : 72_000 + n_frames] = 0
    found = going_on(x)
    assert found["dropouts"]["n"] == 1
    assert found["dropouts"]["list"][0]["at_s"] == pytest.approx(1.5, abs=1e-4)
    assert found["dropouts"]["list"][0]["ms"] == pytest.approx(1e3 * n_frames / RATE_HZ, abs=0.05)
    assert (found["clicks"]["n"], found["onsets"]["n"]) == (0, 0)
    rest = np.concatenate([shaped(sine(440, 0.5)), np.zeros(n_frames), shaped(sine(440, 0.5))])
    assert described(rest)["dropouts"]["n"] == 0


@pytest.mark.parametrize(("left", "right", "balance"), [(1.0, 1.0, 0.0), (1.0, 0.5, -6.02), (0.25, 1.0, 12.04)])
def test_where_a_sound_is_panned_is_told(left: float, right: float, balance: float) -> None:
    tone = sine(440, 1.0)
    field = described(np.stack([left * tone, right * tone], 1))["stereo"]
    assert field["balance_db"] == pytest.approx(balance, abs=0.01)
    assert field["correlation"] == pytest.approx(1.0, abs=1e-4)
    assert field["width"] == pytest.approx(abs(left - right) / (left + right), abs=1e-3)


def test_unrelated_turned_over_and_missing_channels_are_told() -> None:
    a, b = noise(2.0, seed=1), noise(2.0, seed=2)
    field = described(np.stack([a, b], 1))["stereo"]
    assert abs(field["correlation"]) < 0.02
    assert field["width"] == pytest.approx(1.0, abs=0.03)
    turned = described(np.stack([a, -a], 1))
    assert turned["stereo"]["correlation"] == -1.0
    assert "cancel" in turned["summary"]
    assert described(np.stack([a, 0 * a], 1))["stereo"]["only"] == "left"
    assert described(a)["stereo"] is None


def test_channels_that_cancel_are_still_heard() -> None:
    tone = sine(440, 1.0)
    assert described(np.stack([tone, -tone], 1))["pitch"]["note"] == "A4"


# ---- what is no sound, and every sound ---------------------------------------------------------------------


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_samples_that_are_not_finite_are_told(value: float) -> None:
    x = np.stack([sine(440, 1.0)] * 2, 1)
    x[4800:4803, 1] = value
    found = described(x)
    assert found["not_finite"] == {"samples": 3, "first_s": 0.1}
    assert "not finite" in found["summary"]
    assert found["pitch"]["note"] == "A4"


@pytest.mark.parametrize(
    ("samples", "rate_hz", "text"),
    [
        (np.zeros(10, np.int16), 48000, "int16; give floats, nominally from -1 to 1: these divided by 32768"),
        ("take.wav", 48000, "'take.wav' is no array; read the file first"),
        (np.zeros((2, 48000)), 48000, "wrong way round"),
        (np.zeros((2, 2, 2)), 48000, "shape"),
        (np.zeros((10, 0)), 48000, "0 channels"),
        (["a"], 48000, "floats"),
        (np.zeros(10, complex), 48000, "complex"),
        (np.zeros(10), 0, "1000..768000"),
        (np.zeros(10), math.nan, "1000..768000"),
        (np.zeros(10), "48000", "not a number"),
        (np.zeros(10), True, "not a number"),
        (np.broadcast_to(np.float32(0), (1 << 25, 2)), 48000, "at most 350 s"),
    ],
)
def test_what_is_no_sound_is_refused(samples: Any, rate_hz: Any, text: str) -> None:
    with pytest.raises(CommandError, match=text.replace("..", r"\.\.")):
        describe(samples, rate_hz)


def test_the_package_has_it_and_it_is_the_same_each_time() -> None:
    x = np.stack([noise(1.0), saw(100, 1.0)], 1).astype(np.float32)
    first = pyengine.describe(x, 48000)
    assert first == pyengine.describe(x.copy(), 48000)
    assert first.as_dict()["frames"] == 48000


KINDS = ("zeros", "ones", "noise", "sine", "impulse", "steps", "tiny", "huge", "spiky")


@settings(max_examples=120, deadline=None)
@given(
    kind=st.sampled_from(KINDS),
    n_frames=st.one_of(st.integers(0, 40), st.integers(0, 30_000)),
    n_channels=st.integers(1, 8),
    rate_hz=st.one_of(st.sampled_from([8000, 11025, 44100, 192000]), st.floats(1000, 768000)),
    seed=st.integers(0, 1000),
    is_preceded_by_silence=st.booleans(),
)
def test_every_finite_sound_is_described(
    kind: str, n_frames: int, n_channels: int, rate_hz: float, seed: int, is_preceded_by_silence: bool
) -> None:
    rng = np.random.default_rng(seed)
    x = {
        "zeros": lambda: np.zeros((n_frames, n_channels)),
        "ones": lambda: np.ones((n_frames, n_channels)),
        "noise": lambda: rng.standard_normal((n_frames, n_channels)),
        "sine": lambda: np.sin(np.arange(n_frames)[:, None] * rng.uniform(0.001, 3, n_channels)),
        "impulse": lambda: (rng.random((n_frames, n_channels)) > 0.999) * 1.0,
        "steps": lambda: np.repeat(rng.uniform(-1, 1, (n_frames // 50 + 1, n_channels)), 50, axis=0)[:n_frames],
        "tiny": lambda: 1e-38 * rng.standard_normal((n_frames, n_channels)),
        "huge": lambda: 3e38 * rng.uniform(-1, 1, (n_frames, n_channels)),
        "spiky": lambda: rng.standard_normal((n_frames, n_channels)) ** 9,
    }[kind]()
    found = describe(x.astype(np.float32), rate_hz, is_preceded_by_silence=is_preceded_by_silence)
    text = found.as_json()
    assert len(text) < 20_000
    assert json.loads(text)["frames"] == n_frames
    assert found.summary.endswith(".")
    for at in (*found.onsets["times_s"], *(click["at_s"] for click in found.clicks["list"])):
        assert 0 <= at <= n_frames / rate_hz + 1e-5
    ends = [0.0]
    for note in found.notes["list"]:
        assert ends[-1] <= note["begin_s"] < note["end_s"] <= n_frames / rate_hz + 1e-5
        ends.append(note["end_s"])
