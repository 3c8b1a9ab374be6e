"""Which frequencies there are: brightness, and the strongest partials."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from pyengine.ears.sound import TINY, Mono, Sound, hann, note_of, peak_place, power_of_two, windows

WINDOW_S = 0.085
LONG_S = 0.34
ROLLOFF = 0.85
N_PARTIALS = 8
PROMINENCE_DB = 18.0  # of a partial above what lies around it
RANGE_DB = 60.0  # below the strongest one
LOWEST_HZ = 16.0


def brightness(sound: Sound) -> dict[str, Any]:
    """Return centroid_hz, the mean frequency by amplitude; rolloff_hz, below which 85 % of the energy lies; and
    flatness, 0 for tones to 1 for white noise. None without sound. Of the whole sound, all channels.
    """
    size = power_of_two(WINDOW_S * sound.rate_hz)
    power = _mean_power(sound, size)
    hz = np.arange(len(power)) * sound.rate_hz / size
    power, hz = power[hz >= LOWEST_HZ], hz[hz >= LOWEST_HZ]
    total = float(power.sum()) if len(power) else 0.0
    if total <= TINY:
        return {"centroid_hz": None, "rolloff_hz": None, "flatness": None}
    amplitude = np.sqrt(power)
    below = np.cumsum(power) / total
    flatness = math.exp(float(np.mean(np.log(power + 1e-12 * total / len(power))))) / (total / len(power))
    return {
        "centroid_hz": round(float(np.dot(hz, amplitude) / amplitude.sum()), 1),
        "rolloff_hz": round(float(hz[int(np.searchsorted(below, ROLLOFF))]), 1),
        "flatness": round(min(1.0, flatness), 4),
    }


def _mean_power(sound: Sound, size: int) -> Mono:
    total = np.zeros(size // 2 + 1)
    for c in range(sound.n_channels):
        total += mean_power(sound.channel(c), size)
    return total


def mean_power(x: Mono, size: int) -> Mono:
    """Return the power spectrum, the mean of Hann windows that overlap by half (Welch); a sine of amplitude 1 has 1
    in its bin.
    """
    window = hann(size)
    total, n_rows = np.zeros(size // 2 + 1), 0
    for rows in windows(x, size, size // 2, is_centred=False):
        total += (np.abs(np.fft.rfft(rows * window, axis=1)) ** 2).sum(axis=0)
        n_rows += len(rows)
    mean: Mono = total / max(1, n_rows) * (2 / window.sum()) ** 2
    return mean


def partials(sound: Sound) -> list[dict[str, Any]]:
    """Return the strongest partials of the main channel: hz, dbfs (a steady sine of amplitude 1 has 0; one that does
    not sound all the time has less) and note. At most 8, no more than 60 dB below the first.
    """
    size = power_of_two(LONG_S * sound.rate_hz)
    while size > 256 and size > sound.n_frames:
        size //= 2
    level = 10 * np.log10(np.maximum(mean_power(sound.main, size), 1e-30))
    if len(level) < 8 or level.max() < -140:
        return []
    is_top = (level[1:-1] > level[:-2]) & (level[1:-1] >= level[2:]) & (level[1:-1] > level.max() - RANGE_DB)
    found = []
    for i in (np.flatnonzero(is_top) + 1).tolist():
        reach = max(8, i // 8)
        if level[i] - np.median(level[max(0, i - reach) : i + reach + 1]) < PROMINENCE_DB:
            continue
        at, height = peak_place(*level[i - 1 : i + 2])
        hz = (i + at) * sound.rate_hz / size
        if hz >= LOWEST_HZ:
            found.append((float(height), float(hz)))
    found = sorted(found, reverse=True)[:N_PARTIALS]
    return [{"hz": round(hz, 2), "dbfs": round(height, 1), "note": note_of(hz)[0]} for height, hz in found]
