"""When things begin: onsets to the sample, and the tempo where they are regular.

An onset is a peak of the spectral flux, the sum over bands of a quarter tone or more of how much louder they have
become (after S. Böck and G. Widmer, Maximum filter vibrato suppression for onset detection, 2013). Its sample is where
the variance changes most clearly (Akaike's criterion), of the sound or of what the sound before does not foretell.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from pyengine.ears.sound import Mono, Sound, hann, power_of_two, rms, windows

WINDOW_S, HOP_S = 0.043, 0.005
BANDS_PER_OCTAVE = 24
LOWEST_HZ = 40.0
RANGE_DB = 60.0  # of a band, below the loudest band of the sound
LAGS = (2, 3, 4)  # hops back that a band must be louder than
LEAST_DB = 20.0  # of flux, summed over the bands
LOCAL_S = 0.25  # on either side, for the threshold
DEVIATIONS = 6.0
APART_S = 0.04
SAME = (3, 11)  # hops from one edge of a low tone to the next
BEFORE_S, AFTER_S, EARLY_S = 0.04, 0.03, 0.012  # around an onset, for its sample
UNTOUCHED_S = 0.02  # of it, certainly before
ORDER = 16
RISE_DB = 6.0
MIN_BPM, MAX_BPM = 60.0, 180.0
MIN_BEAT_S, MAX_BEAT_S = 0.08, 2.0
MIN_REPEAT_S, NEAR_S = 0.25, 0.015
MAX_REPEATED = 128  # onsets looked at for it
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
    edge = sound.frames_of(WINDOW_S)
    first, last = lead + (-edge if is_preceded_by_silence else edge), lead + sound.n_frames - edge // 2
    found: list[int] = []
    known = (0 if is_preceded_by_silence else lead // hop, (lead + sound.n_frames) // hop)
    for peak in _peaks(_flux(bands), known):
        place = _refined(x, peak * hop, sound.rate_hz)
        if not (first <= peak * hop < last and first <= place < last) or _ends(x, bands, place, hop, sound.rate_hz):
            continue
        frame = max(0, place - lead)
        if not found or frame - found[-1] >= sound.frames_of(APART_S):
            found.append(frame)
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


def _peaks(flux: Mono, known: tuple[int, int]) -> list[int]:
    """Return the hops at which the flux has a peak. known: what lies outside these hops is not the sound's own."""
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
        if flux[i] > middle + DEVIATIONS * spread + LEAST_DB and not _is_periodic(flux, int(i), known):
            found.append(int(i))
    return found


def _is_periodic(flux: Mono, i: int, known: tuple[int, int]) -> bool:
    """Whether a peak has others like it right before and behind: an edge of a low tone, which is no onset."""
    sides = []
    if i - SAME[1] >= known[0]:
        sides.append(flux[i - SAME[1] : i - SAME[0]].max())
    if i + SAME[1] <= known[1]:
        sides.append(flux[i + SAME[0] + 1 : i + SAME[1] + 1].max(initial=0.0))
    return bool(sides) and bool(flux[i] < 3 * min(sides))


def _refined(x: Mono, near: int, rate_hz: float) -> int:
    """Return the sample at which what begins near a frame begins.

    It is looked for in the sound itself and in what the sound before does not foretell; the clearer one counts.
    """
    begin, end = max(0, near - round(BEFORE_S * rate_hz)), min(len(x), near + round(AFTER_S * rate_hz))
    part, earliest = x[begin:end], near - begin - round(EARLY_S * rate_hz)
    missed = _unpredicted(part, min(len(part), round(UNTOUCHED_S * rate_hz)))
    shift = len(part) - len(missed)
    found = [(*_change(part[shift:], earliest - shift), begin + shift)]
    if shift:
        found.append((*_change(missed, earliest - shift), begin + shift))
    gain, place, offset = max(found)
    return offset + place if gain > 0 else near


def _change(x: Mono, earliest: int) -> tuple[float, int]:
    """Return how much likelier it is that the variance of x changes than that it does not, and where it does, from
    `earliest` on.
    """
    n = len(x)
    if n < 8:
        return 0.0, 0
    at = np.arange(1, n)
    floor = (1e-5 * float(np.abs(x).max())) ** 2 + 1e-30
    sums = np.cumsum(x * x)
    early, late = sums[:-1] / at, np.maximum(0.0, sums[-1] - sums[:-1]) / (n - at)
    criterion = at * np.log(early + floor) + (n - at) * np.log(late + floor)
    earliest = max(0, min(earliest, n - 2))
    best = earliest + int(np.argmin(criterion[earliest:]))
    return float(n * np.log(sums[-1] / n + floor) - criterion[best]), best + 1


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
    """Return bpm, period_s of the grid that all onsets lie on, or after which all come again, and its error in ms;
    None where there is no such.

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
    found = found or _repetition(times)
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


def _repetition(times: Mono) -> tuple[float, float] | None:
    """Return (period, error in s) of the shortest time after which every onset comes again, None where they do not:
    echoes that lie off the beat are on no grid, but come again with it.
    """
    shown = times[:MAX_REPEATED]
    apart = shown[None, :] - shown[:, None]
    for period in np.unique(np.round(apart[(apart >= MIN_REPEAT_S) & (apart <= MAX_BEAT_S)], 2)).tolist():
        again = shown[shown + period + NEAR_S <= shown[-1]]
        if len(again) < 4:
            break
        off = apart[: len(again)] - period
        nearest = off[np.arange(len(again)), np.argmin(np.abs(off), axis=1)]
        if np.abs(nearest).max() < NEAR_S:
            exact = period + float(np.median(nearest))
            return exact, float(np.sqrt(np.mean((nearest - (exact - period)) ** 2)))
    return None


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
