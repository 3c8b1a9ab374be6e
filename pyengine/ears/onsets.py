"""When things begin: onsets to the sample, and the tempo where they are regular.

An onset is a peak of the spectral flux, the sum over third-octave bands of how much louder they have become (after
S. Böck and G. Widmer, Maximum filter vibrato suppression for onset detection, 2013). Its sample is where what a
linear prediction from the sound before misses changes its variance most clearly (Akaike's criterion).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from pyengine.ears.sound import Mono, Sound, hann, power_of_two, rms, windows

WINDOW_S, HOP_S = 0.021, 0.005
BANDS_PER_OCTAVE = 4
LOWEST_HZ = 40.0
RANGE_DB = 60.0  # of a band, below the loudest band of the sound
LAGS = (2, 3, 4)  # hops back that a band must be louder than
LEAST_DB = 25.0  # of flux, summed over the bands
LOCAL_S = 0.25  # on either side, for the threshold
DEVIATIONS = 6.0
APART_S = 0.04
SAME = (3, 11)  # hops from one edge of a low tone to the next
BEFORE_S, AFTER_S = 0.04, 0.02  # around an onset, for its sample
ORDER = 16
RISE_DB = 6.0
MIN_BPM, MAX_BPM = 60.0, 180.0
MIN_BEAT_S, MAX_BEAT_S = 0.05, 2.0
ON_THE_GRID = 0.04  # of a period: how far onsets may be off, root mean square


def onsets(sound: Sound, is_preceded_by_silence: bool) -> list[int]:
    """Return the frames at which something begins, in order.

    is_preceded_by_silence: whether a sound at the very first frame begins there, or is cut out of a longer one.
    """
    if sound.n_frames < 16 or sound.peak < 1e-7:
        return []
    lead = sound.frames_of(0.1)
    x = np.pad(sound.main, lead, "symmetric")  # what lies beyond an edge is not known, and no onset
    if is_preceded_by_silence:
        x[:lead] = 0
    hop = sound.frames_of(HOP_S)
    bands = band_levels(x, sound.rate_hz, hop)
    first = -hop if is_preceded_by_silence else sound.frames_of(WINDOW_S)
    found: list[int] = []
    for peak in _peaks(_flux(bands)):
        place = _refined(x, peak * hop, sound.rate_hz)
        frame = place - lead
        if not first <= frame < sound.n_frames or _ends(x, bands, place, hop, sound.rate_hz):
            continue
        if not found or frame - found[-1] >= sound.frames_of(APART_S):
            found.append(max(0, frame))
    return found


def band_levels(x: Mono, rate_hz: float, hop: int) -> Mono:
    """Return (frames, bands): dB above RANGE_DB below the loudest band there is, at least 0."""
    size = power_of_two(WINDOW_S * rate_hz)
    window = hann(size)
    edges = band_edges(size, rate_hz)
    parts = [
        np.add.reduceat(np.abs(np.fft.rfft(rows * window, axis=1)) ** 2, edges, axis=1)
        for rows in windows(x, size, hop)
    ]
    power = np.concatenate(parts)
    floor = max(float(power.max()), 1e-30) * 10 ** (-RANGE_DB / 10)
    levels: Mono = 10 * np.log10(1 + power / floor)
    return levels


def band_edges(size: int, rate_hz: float) -> Any:
    """Return the first bin of each band of a spectrum."""
    octaves = math.log2(max(2.0, rate_hz / 2 / LOWEST_HZ))
    hz = LOWEST_HZ * 2 ** np.arange(0, octaves, 1 / BANDS_PER_OCTAVE)
    return np.unique(np.minimum(np.maximum(1, np.round(hz * size / rate_hz)), size // 2).astype(np.int64))


def _flux(bands: Mono) -> Mono:
    """Return how many dB, summed over the bands, each frame is louder than those before it."""
    n = len(bands)
    wide = np.pad(bands, ((max(LAGS), 0), (1, 1)), "edge")
    wide = np.maximum(np.maximum(wide[:, :-2], wide[:, 1:-1]), wide[:, 2:])
    before = np.maximum.reduce([wide[max(LAGS) - lag : max(LAGS) - lag + n] for lag in LAGS])
    flux: Mono = np.maximum(0.0, bands - before).sum(axis=1)
    return flux


def _peaks(flux: Mono) -> list[int]:
    reach, apart = round(LOCAL_S / HOP_S), round(APART_S / HOP_S)
    padded = np.pad(flux, reach, "reflect" if len(flux) > reach else "constant")
    view = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1)
    found: list[int] = []
    for i in np.flatnonzero(flux > LEAST_DB):
        near = flux[max(0, i - apart // 2) : i + apart // 2 + 1]
        if flux[i] < near.max() or (found and i - found[-1] < apart):
            continue
        middle = float(np.median(view[i]))
        spread = 1.4826 * float(np.median(np.abs(view[i] - middle)))
        if flux[i] > middle + DEVIATIONS * spread + LEAST_DB and not _is_periodic(flux, int(i)):
            found.append(int(i))
    return found


def _is_periodic(flux: Mono, i: int) -> bool:
    """Whether a peak has others like it right before and behind: an edge of a low tone, which is no onset."""
    before, after = flux[max(0, i - SAME[1]) : max(0, i - SAME[0])], flux[i + SAME[0] + 1 : i + SAME[1] + 1]
    return bool(flux[i] < 1.5 * min(before.max(initial=0.0), after.max(initial=0.0)))


def _refined(x: Mono, near: int, rate_hz: float) -> int:
    """Return the sample at which what begins near a frame begins."""
    begin, end = max(0, near - round(BEFORE_S * rate_hz)), min(len(x), near + round(AFTER_S * rate_hz))
    part = x[begin:end]
    missed = _unpredicted(part, min(len(part), round((BEFORE_S - WINDOW_S) * rate_hz)))
    if len(missed) < 8:
        return near
    n, at = len(missed), np.arange(1, len(missed))
    floor = (1e-5 * float(np.abs(part).max())) ** 2 + 1e-30
    sums = np.cumsum(missed * missed)
    early, late = sums[:-1] / at, (sums[-1] - sums[:-1]) / (n - at)
    criterion = at * np.log(early + floor) + (n - at) * np.log(np.maximum(late, 0) + floor)
    return begin + (len(part) - n) + 1 + int(np.argmin(criterion))


def _unpredicted(part: Mono, n_before: int) -> Mono:
    """Return what the best linear prediction from the sound before the onset misses of each sample."""
    if n_before < 3 * ORDER or rms(part[:n_before]) < 1e-4 * rms(part):
        return part
    view = np.lib.stride_tricks.sliding_window_view(part, ORDER)[:-1]
    known, wanted = view[: n_before - ORDER], part[ORDER:n_before]
    normal = known.T @ known
    normal[np.diag_indices(ORDER)] += 1e-9 * np.trace(normal) + 1e-30
    weights = np.linalg.solve(normal, known.T @ wanted)
    missed: Mono = part[ORDER:] - view @ weights
    return missed


def _ends(x: Mono, bands: Mono, frame: int, hop: int, rate_hz: float) -> bool:
    """Whether a sound ends at a frame rather than begins: it is quieter behind it, and in no band louder."""
    gap, span = round(0.001 * rate_hz), round(0.02 * rate_hz)
    before, after = rms(x[max(0, frame - gap - span) : max(0, frame - gap)]), rms(x[frame + gap : frame + gap + span])
    if after >= 0.5 * before:
        return False
    i = round(frame / hop)
    early, late = bands[max(0, i - 10) : max(1, i - 3)], bands[i + 4 : i + 11]
    return len(late) == 0 or float((late.mean(axis=0) - early.mean(axis=0)).max()) < RISE_DB


# ---- tempo ----


def tempo(frames: list[int], rate_hz: float) -> dict[str, Any] | None:
    """Return bpm, period_s of the grid that all onsets lie on, and its error in ms; None where there is no such.

    bpm: that of the grid, halved or doubled into 60..180: which of a grid's lines are beats cannot be heard.
    """
    if len(frames) < 4:
        return None
    times = np.array(frames) / rate_hz
    gaps = np.diff(times)
    found = None
    for gap in sorted(_gaps(gaps)):
        fitted = _fit(times, gap)
        if fitted and (found is None or fitted[0] > found[0] * 1.01):
            found = fitted
    if found is None:
        return None
    period, error = found
    bpm = 60 / period
    while bpm > MAX_BPM:
        bpm /= 2
    while bpm < MIN_BPM:
        bpm *= 2
    return {"bpm": round(bpm, 2), "period_s": round(period, 5), "error_ms": round(1e3 * error, 3)}


def _gaps(gaps: Mono) -> set[float]:
    """Return the distances that occur, and halves and thirds of the shortest: what a grid may be made of."""
    shortest = float(gaps.min())
    distinct = {round(float(g), 3) for g in gaps[:256]}
    return {g for g in {*distinct, shortest, shortest / 2, shortest / 3} if MIN_BEAT_S <= g <= MAX_BEAT_S}


def _fit(times: Mono, period: float) -> tuple[float, float] | None:
    """Return (period, error in s) of the grid next to a period, None where the onsets do not lie on it."""
    if not MIN_BEAT_S <= period <= MAX_BEAT_S:
        return None
    steps = np.concatenate(([0.0], np.cumsum(np.round(np.diff(times) / period))))
    if steps[-1] < 3 or np.any(np.diff(steps) < 1):
        return None
    slope, offset = np.polyfit(steps, times, 1)
    error = float(np.sqrt(np.mean((times - slope * steps - offset) ** 2)))
    return (float(slope), error) if error < ON_THE_GRID * slope else None
