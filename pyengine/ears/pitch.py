"""Which notes are heard: the pitch of every 20 ms, and the notes that follow each other.

The pitch of a window is found as in P. McLeod and G. Wyvill, A smarter way to find pitch (2005): the first lag at
which the window is nearly as like itself as it ever is. That lag is then measured at its multiples, as far as the
sound repeats itself: an error of a hundredth of a sample in twenty periods is a hundredth of a cent in one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pyengine.ears.sound import Mono, Sound, note_of, peak_place, power_of_two, seconds, windows

WINDOW_S = 0.085
HOP_S = 0.02
CLEAR = 0.85  # likeness from which a window has a pitch
NEARLY = 0.93  # of the best likeness: the first such lag is the period
MIN_LAG = 3.0
QUIET_DB = 50.0  # below the loudest window
SAME_CENTS = 80.0  # off the last windows: the same note still, vibrato and slow glides included
SHORTEST_S = 0.06
GLIDE_CENTS = 80.0
MAX_NOTES = 64


@dataclass(frozen=True, slots=True)
class Note:
    """A stretch of one pitch. begin, end: frames. hz: the median. from_hz, to_hz: where it glides, else hz."""

    begin: int
    end: int
    hz: float
    confidence: float
    from_hz: float
    to_hz: float

    def figures(self, rate_hz: float) -> dict[str, Any]:
        name, cents = note_of(self.hz)
        glide = {"from_hz": round(self.from_hz, 2), "to_hz": round(self.to_hz, 2)} if self.is_gliding else {}
        return {
            "begin_s": seconds(self.begin, rate_hz),
            "end_s": seconds(self.end, rate_hz),
            "hz": round(self.hz, 3),
            "note": name,
            "cents": cents,
            "confidence": round(self.confidence, 3),
            **glide,
        }

    @property
    def is_gliding(self) -> bool:
        return abs(1200 * math.log2(self.to_hz / self.from_hz)) > GLIDE_CENTS


def pitch(sound: Sound, onsets: list[int]) -> tuple[dict[str, Any] | None, list[Note]]:
    """Return the pitch that sounds longest, None where nothing has a pitch; and the notes, in order.

    onsets: frames at which a note that is repeated begins anew. share: of the time that is not silent.
    """
    hz, clarity, is_loud = _track(sound)
    notes = _notes(sound, hz, clarity, onsets)
    if not notes:
        return None, []
    lengths: dict[str, int] = {}
    for note in notes:
        name = note_of(note.hz)[0]
        lengths[name] = lengths.get(name, 0) + note.end - note.begin
    longest = max(lengths, key=lambda name: lengths[name])
    same = [note for note in notes if note_of(note.hz)[0] == longest]
    weights = np.array([note.end - note.begin for note in same], float)
    mean_hz = math.exp(float(np.average(np.log([note.hz for note in same]), weights=weights)))
    name, cents = note_of(mean_hz)
    n_pitched = int(np.count_nonzero((hz > 0) & is_loud))
    return {
        "hz": round(mean_hz, 3),
        "note": name,
        "cents": cents,
        "confidence": round(float(np.average([note.confidence for note in same], weights=weights)), 3),
        "share": round(n_pitched / max(1, int(np.count_nonzero(is_loud))), 3),
    }, notes


def _track(sound: Sound) -> tuple[Mono, Mono, Any]:
    """Return Hz (0: none) and likeness of every hop, and which are loud enough to be judged."""
    size = power_of_two(WINDOW_S * sound.rate_hz)
    found: list[tuple[float, float]] = []
    levels: list[float] = []
    for rows in windows(sound.main, size, sound.frames_of(HOP_S)):
        rows = rows - rows.mean(axis=1, keepdims=True)
        powers = (rows * rows).mean(axis=1)
        levels += powers.tolist()
        likeness = _likeness(rows)
        found += [_period(row) if power > 1e-14 else (0.0, 0.0) for row, power in zip(likeness, powers, strict=True)]
    power = np.array(levels)
    is_loud = power > max(1e-10, float(power.max(initial=0.0)) * 10 ** (-QUIET_DB / 10))
    lag = np.array([lag for lag, _ in found])
    clarity = np.array([clear for _, clear in found])
    is_clear = is_loud & (clarity >= CLEAR) & (lag > 0)
    return np.where(is_clear, sound.rate_hz / np.maximum(lag, 1e-9), 0.0), clarity, is_loud


def _likeness(rows: Mono) -> Mono:
    """Return, for each lag up to half a window, how like the window is to itself so much later: 1 the same."""
    size = rows.shape[1]
    n_lags = size // 2
    spectrum = np.fft.rfft(rows, 2 * size, axis=1)
    product = np.fft.irfft(np.abs(spectrum) ** 2, 2 * size, axis=1)[:, :n_lags]
    sums = np.concatenate((np.zeros((len(rows), 1)), np.cumsum(rows * rows, axis=1)), axis=1)
    lags = np.arange(n_lags)
    energy = sums[:, size - lags] + sums[:, -1:] - sums[:, lags]
    likeness: Mono = 2 * product / np.maximum(energy, 1e-20)
    return likeness


def _period(likeness: Mono) -> tuple[float, float]:
    """Return the period in samples and the likeness at it; 0 where there is none."""
    inner = likeness[1:-1]
    tops = np.flatnonzero((inner > likeness[:-2]) & (inner >= likeness[2:]) & (inner > 0)) + 1
    below = np.flatnonzero(likeness < 0)
    tops = tops[tops > below[0]] if len(below) else tops[:0]  # the slope from lag 0 is none
    if len(tops) == 0:
        return 0.0, 0.0
    heights = likeness[tops]
    # Next to a period of few samples the nearest lag is never quite it: what the top's parabola reaches counts.
    places = [peak_place(*likeness[i - 1 : i + 2]) for i in tops[:32]]
    best = max(float(heights.max()), max(height for _, height in places))
    for top, (at, height) in zip(tops, places, strict=False):
        if height >= NEARLY * best:
            return _measured(likeness, float(top) + at, height)
    top = int(tops[int(np.argmax(heights))])
    at, height = peak_place(*likeness[top - 1 : top + 2])
    return _measured(likeness, top + at, height)


def _measured(likeness: Mono, lag: float, height: float) -> tuple[float, float]:
    """Return the period, measured at the largest multiple at which the sound still repeats itself."""
    if lag < MIN_LAG:
        return 0.0, 0.0
    times = 1
    while 2 * times * lag + lag < len(likeness) - 2:
        times *= 2
        reach = max(1, int(lag * 0.4))
        middle = round(times * lag)
        near = likeness[middle - reach : middle + reach + 1]
        top = middle - reach + int(np.argmax(near))
        at, again = peak_place(*likeness[top - 1 : top + 2])
        if again < 0.8 * height or abs(top + at - times * lag) > 0.3 * lag:
            break
        lag = (top + at) / times
    return lag, min(1.0, height)


# ---- notes ----


def _notes(sound: Sound, hz: Mono, clarity: Mono, onsets: list[int]) -> list[Note]:
    hop = sound.frames_of(HOP_S)
    cents = 1200 * np.log2(np.maximum(hz, 1e-9) / 440)
    groups: list[list[int]] = []
    breaks = {round(onset / hop) for onset in onsets}
    for i in np.flatnonzero(hz > 0):
        group = groups[-1] if groups else []
        is_same = bool(
            group
            and i - group[-1] <= 2
            and abs(cents[i] - float(np.median(cents[group[-5:]]))) < SAME_CENTS
            and not (i in breaks and len(group) * HOP_S >= SHORTEST_S)
        )
        if is_same:
            group.append(int(i))
        else:
            groups.append([int(i)])
    found = []
    for group in groups:
        if (group[-1] - group[0] + 1) * HOP_S < SHORTEST_S - 1e-9:
            continue
        found.append(_note(group, hz, clarity, hop, sound.n_frames))
    return _snapped(found, onsets, sound.frames_of(1.5 * WINDOW_S), sound.frames_of(SHORTEST_S))


def _note(group: list[int], hz: Mono, clarity: Mono, hop: int, n_frames: int) -> Note:
    pitches = hz[group]
    edge = max(1, len(group) // 8)
    return Note(
        max(0, group[0] * hop - hop // 2),
        min(n_frames, group[-1] * hop + hop // 2),
        float(np.median(pitches)),
        float(np.median(clarity[group])),
        float(np.median(pitches[: edge + 1])),
        float(np.median(pitches[-edge - 1 :])),
    )


def _snapped(notes: list[Note], onsets: list[int], reach: int, shortest: int) -> list[Note]:
    """Return the notes, each beginning at the onset that is near its first window, if there is one."""
    out: list[Note] = []
    for note in notes:
        near = [onset for onset in onsets if abs(onset - note.begin) < reach and onset < note.end]
        begin = min(near, key=lambda onset: abs(onset - note.begin)) if near else note.begin
        if out and out[-1].end > begin:
            if begin - out[-1].begin >= shortest:
                out[-1] = replace(out[-1], end=begin)
            else:  # windows that saw both notes, and took them for one
                begin = out.pop().begin
        out.append(replace(note, begin=begin))
    return out
