"""A sound as the other files of this package take it, and the few sums that all of them do."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pyengine.errors import CommandError, shown

Mono = npt.NDArray[np.float64]  # (frames,)
Frames = npt.NDArray[np.float32]  # (frames, channels)

MIN_RATE_HZ, MAX_RATE_HZ = 1000.0, 768_000.0
MAX_CHANNELS = 64
MAX_VALUES = 1 << 25  # samples of all channels: 5.8 minutes of 48 kHz stereo, for which a describer takes 1 GB
ROWS = 256  # frames of a spectrum worked on at a time
TINY = 1e-30


@dataclass(frozen=True, slots=True)
class Sound:
    """What is described. samples: finite. main: the channel mix, or where the channels cancel the loudest one.
    n_not_finite: samples that were NaN or infinite, and are 0 here; first_not_finite: the frame of the first.
    """

    samples: Frames
    rate_hz: float
    main: Mono
    n_not_finite: int = 0
    first_not_finite: int = 0

    @property
    def n_frames(self) -> int:
        return len(self.samples)

    @property
    def n_channels(self) -> int:
        return int(self.samples.shape[1])

    @property
    def peak(self) -> float:
        return float(np.abs(self.samples).max()) if self.samples.size else 0.0

    def channel(self, index: int) -> Mono:
        return self.samples[:, index].astype(np.float64)

    def frames_of(self, seconds: float, least: int = 1) -> int:
        """Return how many frames that is, at least `least`."""
        return max(least, round(seconds * self.rate_hz))


def as_sound(samples: Any, sample_rate_hz: float) -> Sound:
    """Return samples that can be described. Raises CommandError for what is not audio."""
    rate_hz = _rate(sample_rate_hz)
    try:
        given = np.asarray(samples)
    except (ValueError, TypeError) as error:
        raise CommandError(f"the samples are no array: {error}; give floats (frames, channels)") from error
    if isinstance(samples, str | os.PathLike):
        raise CommandError(f"{shown(samples)} is no array; read the file first, as with soundfile.read()")
    if given.dtype.kind == "i" and given.size:
        full = int(np.iinfo(given.dtype).max) + 1
        raise CommandError(
            f"the samples are {given.dtype}; give floats, nominally from -1 to 1: these divided by {full}"
        )
    if given.dtype.kind != "f" and given.size:
        raise CommandError(f"the samples are {given.dtype}; give floats, nominally from -1 to 1")
    if given.ndim not in (1, 2):
        raise CommandError(f"the samples have the shape {given.shape}; give (frames,) or (frames, channels)")
    if given.ndim == 1:
        given = given[:, None]
    n_frames, n_channels = given.shape
    if not 1 <= n_channels <= MAX_CHANNELS:
        hint = "; is the array the wrong way round?" if n_frames < n_channels else ""
        raise CommandError(f"the samples have {n_channels} channels, 1..{MAX_CHANNELS} are taken{hint}")
    if given.size > MAX_VALUES:
        seconds = MAX_VALUES / n_channels / rate_hz
        text = f"{n_frames / rate_hz:.0f} s with {n_channels} channels are more than can be described at once"
        raise CommandError(f"{text}; give a part of at most {seconds:.0f} s (--from S --to S)")
    with np.errstate(over="ignore"):  # what is beyond float32 is as good as infinite
        frames = np.array(given, np.float32)
    is_wrong = ~np.isfinite(frames)
    n_wrong = int(np.count_nonzero(is_wrong))
    first = int(np.argmax(is_wrong.any(axis=1))) if n_wrong else 0
    frames[is_wrong] = 0.0
    return Sound(frames, rate_hz, _main(frames), n_wrong, first)


def _rate(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | np.number):
        raise CommandError(f"sample_rate_hz={shown(value)} is not a number; give Hz")
    if not MIN_RATE_HZ <= float(value) <= MAX_RATE_HZ:
        raise CommandError(f"sample_rate_hz={shown(value)} is outside {MIN_RATE_HZ:g}..{MAX_RATE_HZ:g} Hz")
    return float(value)


def _main(frames: Frames) -> Mono:
    """Return the mean of the channels; the loudest of them where they cancel each other there."""
    powers = np.array([mean_square(frames[:, c].astype(np.float64)) for c in range(frames.shape[1])])
    mix = np.zeros(len(frames))
    for c in range(frames.shape[1]):
        mix += frames[:, c]
    mix /= frames.shape[1]
    if mean_square(mix) < powers.sum() / 8 / frames.shape[1]:
        return frames[:, int(np.argmax(powers))].astype(np.float64)
    return mix


# ---- sums ----


def mean_square(x: Mono) -> float:
    return float(np.dot(x, x) / len(x)) if len(x) else 0.0


def rms(x: Mono) -> float:
    return math.sqrt(mean_square(x))


def db(amplitude: float, digits: int = 2) -> float | None:
    """Return an amplitude in dB, None for 0."""
    return round(20 * math.log10(amplitude), digits) if amplitude > TINY else None


def seconds(frame: float, rate_hz: float) -> float:
    return round(frame / rate_hz, 6)


def runs(is_in: npt.NDArray[np.bool_], least: int = 1) -> list[tuple[int, int]]:
    """Return (begin, end) of each run of at least so many True."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], is_in, [False])).astype(np.int8)))
    begins, ends = edges[::2], edges[1::2]
    long = ends - begins >= least
    return list(zip(begins[long].tolist(), ends[long].tolist(), strict=True))


def power_of_two(n: float) -> int:
    """Return the power of two next to n, by ratio."""
    return int(2 ** max(0, round(math.log2(max(n, 1.0)))))


def windows(x: Mono, size: int, hop: int, *, is_centred: bool = True) -> Iterator[Mono]:
    """Give all windows of so many samples, `hop` apart, some rows at a time: centred on 0, hop, 2 hop, ..., with
    zeros around the sound; or those that lie in the sound, at least one.
    """
    if is_centred:
        padded = np.concatenate((np.zeros(size // 2), x, np.zeros(size)))
        view = np.lib.stride_tricks.sliding_window_view(padded, size)[: max(len(x), 1) : hop]
    else:
        view = np.lib.stride_tricks.sliding_window_view(np.pad(x, (0, max(0, size - len(x)))), size)[::hop]
    for at in range(0, len(view), ROWS):
        yield view[at : at + ROWS]


def hann(size: int) -> Mono:
    """Return the periodic Hann window: its spectrum has no ripple of its own."""
    window: Mono = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)
    return window


def peak_place(left: float, middle: float, right: float) -> tuple[float, float]:
    """Return where, from the middle one of three points, their parabola has its top, and how high that is."""
    bend = left - 2 * middle + right
    if bend >= 0:
        return 0.0, middle
    at = max(-0.5, min(0.5, 0.5 * (left - right) / bend))
    return at, middle - 0.25 * (left - right) * at


_NAMES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")


def note_of(hz: float) -> tuple[str, float]:
    """Return the nearest note of equal temperament (A4 = 440 Hz) and how many cents above it hz is."""
    semitones = 69 + 12 * math.log2(hz / 440)
    number = round(semitones)
    return f"{_NAMES[number % 12]}{number // 12 - 1}", round(100 * (semitones - number), 2)
