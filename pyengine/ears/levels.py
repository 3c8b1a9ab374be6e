"""How large the samples are: peak, RMS, DC, clipping, silence, dropouts, and where in the stereo field."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from pyengine.ears.sound import TINY, Mono, Sound, db, hann, mean_square, rms, runs, seconds

MAX_LISTED = 32
FULL_SCALE = 1 - 2**-15  # the largest sample of 16 bits
CLIPPED_FRAMES = 3
SILENT = 10 ** (-80 / 20)
SILENCE_S = 0.1
DC_LEAST, DC_PARTS = 0.002, 8
STEPS = 24  # of the course of the level
DROPOUT_FRAMES, DROPOUT_S = 8, 0.1
SAME_LEVEL = 4.0  # at most, between both sides of a dropout
AROUND_S = 0.01  # of a dropout: sound on both sides
AUDIBLE = 10 ** (-60 / 20)
_TAPS, _PHASES = 32, 4


def levels(sound: Sound) -> dict[str, Any]:
    """Return peak and RMS in dB below full scale; a sine of amplitude 1 has an RMS of -3.01.

    crest_db: peak above RMS, of the loudest channel. course_dbfs: the RMS of each step_s.
    """
    peaks = np.abs(sound.samples).max(axis=0, initial=0.0)
    powers = [mean_square(sound.channel(c)) for c in range(sound.n_channels)]
    loudest = int(np.argmax(powers))
    peak, level = float(peaks[loudest]), math.sqrt(powers[loudest])
    step = sound.frames_of(max(0.05, sound.n_frames / sound.rate_hz / STEPS))
    return {
        "peak_dbfs": db(sound.peak),
        "true_peak_dbtp": db(true_peak(sound)),
        "rms_dbfs": db(math.sqrt(sum(powers) / len(powers))),
        "crest_db": round(20 * math.log10(peak / level), 2) if level > TINY else None,
        "channels": [
            {"peak_dbfs": db(float(p)), "rms_dbfs": db(math.sqrt(power))}
            for p, power in zip(peaks, powers, strict=True)
        ],
        "step_s": seconds(step, sound.rate_hz),
        "course_dbfs": course(sound, step),
    }


def course(sound: Sound, step: int) -> list[float | None]:
    """Return the RMS, over all channels, of one step after the other."""
    parts = (sound.samples[at : at + step].astype(np.float64) for at in range(0, sound.n_frames, step))
    return [db(math.sqrt(float(np.mean(part * part))), 1) for part in parts]


def true_peak(sound: Sound) -> float:
    """Return the peak between the samples, at four times their rate (BS.1770-4, annex 2)."""
    at = np.arange(-_TAPS // 2, _TAPS // 2) + 0.5
    peak = sound.peak
    for c in range(sound.n_channels):
        x = np.pad(sound.channel(c), _TAPS)
        for phase in range(1, _PHASES):
            place = at + 0.5 - phase / _PHASES
            taps = np.sinc(place) * np.kaiser(_TAPS + 1, 8.0)[:-1]
            peak = max(peak, float(np.abs(np.convolve(x, taps / taps.sum(), "same")).max()))
    return peak


def dc(sound: Sound) -> dict[str, Any]:
    """Return the offset of each channel, windowed, so that a low tone that is cut off does not look like one; and
    is_steady: whether it is one all the time, not what a rumble happens to add up to.
    """
    offsets = [_offset(sound.channel(c)) for c in range(sound.n_channels)]
    worst = int(np.argmax(np.abs(offsets)))
    step = max(1, sound.n_frames // DC_PARTS)
    x = sound.channel(worst)
    parts = [_offset(x[at : at + step]) for at in range(0, step * DC_PARTS, step) if at + step <= len(x)]
    is_steady = abs(offsets[worst]) > max(DC_LEAST, max(parts, default=0.0) - min(parts, default=0.0))
    return {"channels": [round(offset, 6) for offset in offsets], "is_steady": is_steady}


def _offset(x: Mono) -> float:
    window = hann(len(x)) if len(x) > 64 else np.ones(len(x))
    return float(np.dot(window, x) / window.sum()) if len(x) else 0.0


def clipping(sound: Sound) -> dict[str, Any]:
    """Return runs: stretches of equal samples at full scale, in one channel; and what goes beyond full scale, which
    a device clips.
    """
    found: list[tuple[int, int]] = []
    n_over = 0
    for c in range(sound.n_channels):
        x = sound.samples[:, c]
        n_over += int(np.count_nonzero(np.abs(x) > 1.0))
        is_flat = (np.abs(x[1:]) >= FULL_SCALE) & (x[1:] == x[:-1])
        found += [(begin, end + 1) for begin, end in runs(is_flat, CLIPPED_FRAMES - 1)]
    found.sort()
    return {
        "runs": len(found),
        "frames": sum(end - begin for begin, end in found),
        "longest_ms": round(1e3 * max((e - b for b, e in found), default=0) / sound.rate_hz, 3),
        "first_s": seconds(found[0][0], sound.rate_hz) if found else None,
        "samples_over_full_scale": n_over,
    }


def silence(sound: Sound) -> dict[str, Any]:
    """Return the stretches of at least 0.1 s in which nothing goes above -80 dBFS."""
    is_quiet = np.abs(sound.samples).max(axis=1) < SILENT if sound.n_frames else np.zeros(0, bool)
    found = runs(is_quiet, min(sound.frames_of(SILENCE_S), max(1, sound.n_frames)))
    total = sum(end - begin for begin, end in found)
    return {
        "share": round(total / max(1, sound.n_frames), 4),
        "n": len(found),
        "stretches_s": [[seconds(b, sound.rate_hz), seconds(e, sound.rate_hz)] for b, e in found[:MAX_LISTED]],
    }


def dropouts(sound: Sound) -> list[tuple[int, int]]:
    """Return runs of exact zeros, in all channels, that break off a sound which goes on behind them."""
    if sound.n_frames == 0:
        return []
    around = sound.frames_of(AROUND_S, 16)
    is_zero = (sound.samples == 0).all(axis=1)
    found = []
    for begin, end in runs(is_zero, DROPOUT_FRAMES):
        if end - begin > sound.frames_of(DROPOUT_S) or begin < around or end + around > sound.n_frames:
            continue
        before = _level_beside(sound, is_zero, begin - around, begin, begin - 4 * around)
        after = _level_beside(sound, is_zero, end, end + around, end + 4 * around)
        if min(before, after) > 0 and max(before, after) < SAME_LEVEL * min(before, after):
            found.append((begin, end))
    return found


def _level_beside(sound: Sound, is_zero: Any, begin: int, end: int, far: int) -> float:
    """Return the RMS next to a gap; 0 where there is no sound, or one that has faded against what lies further off."""
    if np.count_nonzero(is_zero[begin:end]) > (end - begin) // 2:
        return 0.0
    near, wide = (
        math.sqrt(float(np.mean(part.astype(np.float64) ** 2)))
        for part in (sound.samples[begin:end], sound.samples[max(0, min(begin, far)) : max(end, far)])
    )
    return near if near > max(AUDIBLE, 0.2 * wide) else 0.0


def stereo(sound: Sound) -> dict[str, Any] | None:
    """Return how two channels lie to each other; None for another number of channels.

    balance_db: right above left. correlation: 1 the same, 0 unrelated, -1 turned over. width: RMS of the difference
    against that of the sum, 0 mono, 1 unrelated channels, above 1 turned over. None: where a channel is silent.
    """
    if sound.n_channels != 2 or sound.n_frames == 0:
        return None
    left, right = sound.channel(0), sound.channel(1)
    l_rms, r_rms = rms(left), rms(right)
    both = l_rms > TINY and r_rms > TINY
    if not both:
        only = "neither" if l_rms <= TINY and r_rms <= TINY else "left" if r_rms <= TINY else "right"
        return {"balance_db": None, "correlation": None, "width": None, "only": only}
    product = float(np.dot(left, right) / len(left))
    return {
        "balance_db": round(20 * math.log10(r_rms / l_rms), 2),
        "correlation": round(max(-1.0, min(1.0, product / (l_rms * r_rms))), 4),
        "width": _width(left, right),
        "only": "",
    }


def _width(left: Mono, right: Mono) -> float | None:
    middle, side = rms(left + right), rms(left - right)
    return round(side / middle, 4) if middle > 1e-9 * side and middle > TINY else None
