"""Clicks: samples that do not belong where they are.

A click is a bend of the wave, a second difference, that is far above all others around it. Edges that come again
and again, as those of a saw, are no clicks; nor is the attack of a note or a drum, behind which some band is louder
than before.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pyengine.ears.onsets import band_edges
from pyengine.ears.sound import Mono, Sound, hann, rms

BIN_S = 0.001
REACH_BINS = 120  # on either side
CORE_BINS = 2  # next to a click: its own
OTHERS = 2  # clicks that may lie within reach, each in two bins
RATIO = 2.0  # above the largest bend that is left
FLOOR = 1e-3  # of the sound's peak
LEAST = 1e-5
SPANS_S = (0.02, 0.05)  # before and behind: an attack is louder in both
CORE_S = 0.002
RISE_DB = 6.0
AUDIBLE_DB = 40.0  # of a band, below the loudest one
MAX_ROWS = 2048


@dataclass(frozen=True, slots=True)
class Click:
    """frame: the first sample that is wrong. step: how far it is from where the slope before leads. ratio: its bend
    against the largest around it.
    """

    frame: int
    channel: int
    step: float
    ratio: float


def clicks(sound: Sound, is_preceded_by_silence: bool) -> list[Click]:
    """Return the clicks of all channels, in order; one that is in several is told once, of the worst channel."""
    found: list[Click] = []
    for c in range(sound.n_channels):
        x = sound.channel(c)
        found += [Click(frame, c, step, ratio) for frame, step, ratio in _channel(sound, x, is_preceded_by_silence)]
    found.sort(key=lambda click: (click.frame, -abs(click.step)))
    merged: list[Click] = []
    near = sound.frames_of(CORE_S)
    for click in found:
        if merged and click.frame - merged[-1].frame < near:
            if abs(click.step) > abs(merged[-1].step):
                merged[-1] = click
        else:
            merged.append(click)
    return merged


def _channel(sound: Sound, x: Mono, is_preceded_by_silence: bool) -> list[tuple[int, float, float]]:
    size = sound.frames_of(BIN_S, 8)
    if len(x) < 4 * size:
        return []
    bend = np.zeros(len(x))
    bend[1:-1] = np.abs(x[2:] - 2 * x[1:-1] + x[:-2])
    n_bins = -(-len(x) // size)
    bins = np.pad(bend, (0, n_bins * size - len(x))).reshape(n_bins, size).max(axis=1)
    floor = max(LEAST, FLOOR * float(np.abs(x).max()))
    near = np.pad(bins, CORE_BINS)
    is_top = bins >= np.lib.stride_tricks.sliding_window_view(near, 2 * CORE_BINS + 1).max(axis=1)
    found = []
    places = np.flatnonzero(is_top & (bins > floor))
    around = _around(bins, places)
    for place, other in zip(places.tolist(), around.tolist(), strict=True):
        if bins[place] <= RATIO * max(other, floor / RATIO):
            continue
        frame, step = _first_wrong(x, place * size + int(np.argmax(bend[place * size : (place + 1) * size])))
        if not _is_attack(sound, x, frame, is_preceded_by_silence):
            found.append((frame, step, float(bins[place] / max(other, floor / RATIO))))
    return found


def _around(bins: Mono, places: npt.NDArray[np.intp]) -> Mono:
    """Return, for each place, the largest bend within reach, but for its own and those of OTHERS other clicks."""
    n_out = 2 * OTHERS + 1
    reach = np.concatenate((np.arange(-REACH_BINS, -CORE_BINS), np.arange(CORE_BINS + 1, REACH_BINS + 1)))
    padded = np.pad(bins, REACH_BINS, "symmetric")
    parts = [np.zeros(0)]
    for at in range(0, len(places), MAX_ROWS):
        rows = padded[places[at : at + MAX_ROWS, None] + REACH_BINS + reach]
        parts.append(np.partition(rows, len(reach) - n_out, axis=1)[:, len(reach) - n_out])
    return np.concatenate(parts)


def _first_wrong(x: Mono, near: int) -> tuple[int, float]:
    """Return the sample next to the largest bend that is off the slope before it, and how far."""
    begin, end = max(1, near - 1), min(len(x) - 1, near + 2)
    slope = float(np.median(np.diff(x[max(0, begin - 4) : begin]))) if begin >= 3 else 0.0
    off = np.diff(x[begin - 1 : end + 1]) - slope
    first = int(np.flatnonzero(np.abs(off) >= 0.7 * np.abs(off).max())[0])
    return begin + first, float(off[first])


def _is_attack(sound: Sound, x: Mono, frame: int, is_preceded_by_silence: bool) -> bool:
    """Whether something begins here that goes on: some band is louder behind it than before."""
    core = sound.frames_of(CORE_S)
    for span in (sound.frames_of(s) for s in SPANS_S):
        before, after = x[max(0, frame - core - span) : max(0, frame - core)], x[frame + core : frame + core + span]
        if len(before) < span // 2 and not is_preceded_by_silence:
            return True  # cut out in the middle of its attack, for all that can be known
        if len(after) < max(span // 2, 8):
            return rms(after) > 2 * rms(before)
        if not _rises(before[-len(after) :], after, sound.rate_hz):
            return False
    return True


def _rises(before: Mono, after: Mono, rate_hz: float) -> bool:
    """Whether some band that can be heard is louder behind than before."""
    size = len(after)
    edges = band_edges(size, rate_hz)
    early, late = (
        np.add.reduceat(np.abs(np.fft.rfft(hann(size) * np.pad(part, (size - len(part), 0)))) ** 2, edges)
        for part in (before, after)
    )
    floor = max(float(early.max()), float(late.max()), 1e-30) * 10 ** (-AUDIBLE_DB / 10)
    return bool((late > np.maximum(floor, early * 10 ** (RISE_DB / 10))).any())
