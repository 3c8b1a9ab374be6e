"""What one picture of the page needs, as bytes: levels, scope, spectrum. In the page's server alone: it uses numpy.

A picture is little-endian: uint32 x 6 (revision of the patch, nodes, frames of the scope, bands, rows shown, 0),
float64 x 2 (frames fed to the output, block that is played), float32: peak and rms of each channel (2), peak and rms of
each node, the scope (2 channels, one after the other), the bands in dB; then for each clock, seq and voices that shows
something uint32 x 5: its number among the nodes, and two words (Segment.shown), low half first.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating[Any]]

SCOPE_FRAMES = 1024
FFT_FRAMES = 8192
BANDS = 240
LOWEST_HZ = 20.0
FLOOR_DB = -120.0
_HEAD = struct.Struct("<6I2d")
_SHOWN = struct.Struct("<IQQ")


def pack(
    revision: int,
    handles: Sequence[int],
    levels: Mapping[int, tuple[float, float]],
    shown: Mapping[int, tuple[int, int]],
    output: Floats,
    n_fed: int,
    play_block: int,
    sample_rate_hz: float,
) -> bytes:
    """Return a picture. handles: in the order of the patch's nodes; output: the newest frames, (frames, channels)."""
    left, right = output[:, 0], output[:, min(1, output.shape[1] - 1)]
    channels = [float(f(x)) for x in (left, right) for f in (_peak, _rms)]
    nothing = (0.0, 0.0)
    nodes = np.array([levels.get(handle, nothing) for handle in handles], "<f4").reshape(-1)
    at = trigger(left)
    scope = [x[at : at + SCOPE_FRAMES] for x in (left, right)]
    parts = [np.array(channels, "<f4"), nodes, *scope, spectrum_db((left + right) / 2, sample_rate_hz)]
    rows = [_SHOWN.pack(n, *shown[handle]) for n, handle in enumerate(handles) if handle in shown] if shown else []
    head = _HEAD.pack(revision, len(handles), SCOPE_FRAMES, BANDS, len(rows), 0, n_fed, play_block)
    return b"".join([head, *(np.nan_to_num(part.astype("<f4")).tobytes() for part in parts), *rows])


def trigger(x: Floats) -> int:
    """Return where a picture of SCOPE_FRAMES is to begin so that a tone stands still: at the last rising zero
    crossing, behind the deepest trough, that leaves enough frames; the newest frames where there is none.
    """
    last = len(x) - SCOPE_FRAMES
    first = max(1, last - 2400)  # 20 Hz at 48 kHz
    window = x[first - 1 : last + 1]
    (rising,) = np.nonzero((window[:-1] < 0) & (window[1:] >= 0))
    if len(rising) == 0:
        return last
    slopes = window[rising + 1] - window[rising]
    return int(first + rising[np.nonzero(slopes >= 0.9 * slopes.max())[0][-1]])


def spectrum_db(x: Floats, sample_rate_hz: float) -> Floats:
    """Return the level of BANDS bands from LOWEST_HZ to Nyquist, equally wide for the ear, in dB of full scale: a sine
    of amplitude 1 has 0 dB.
    """
    window, gain = _window()
    magnitude = np.abs(np.fft.rfft(x[-FFT_FRAMES:] * window)) / gain
    low, high, share = _bands(sample_rate_hz)
    best = np.maximum.reduceat(magnitude, low)
    best = np.where(
        high > low + 1, best, magnitude[low] * (1 - share) + magnitude[np.minimum(low + 1, len(magnitude) - 1)] * share
    )
    levels: Floats = np.maximum(20 * np.log10(np.maximum(best, 1e-9)), FLOOR_DB)
    return levels


def band_hz(sample_rate_hz: float) -> Any:
    """Return the middle of each band."""
    edges = np.geomspace(LOWEST_HZ, sample_rate_hz / 2, BANDS + 1)
    return np.sqrt(edges[:-1] * edges[1:])


@cache
def _window() -> tuple[Any, float]:
    window = np.hanning(FFT_FRAMES + 1)[:-1]
    return window, float(window.sum() / 2)


@cache
def _bands(sample_rate_hz: float) -> tuple[Any, Any, Any]:
    """Return for each band its first bin, the first one behind it, and where between two bins its middle lies."""
    edges = np.geomspace(LOWEST_HZ, sample_rate_hz / 2, BANDS + 1) / sample_rate_hz * FFT_FRAMES
    low = np.floor(edges[:-1]).astype(int)
    middle = np.sqrt(edges[:-1] * edges[1:])
    return low, np.floor(edges[1:]).astype(int), np.clip(middle - low, 0, 1)


def _peak(x: Floats) -> float:
    return float(np.abs(x[-1600:]).max())  # of what is new since the last picture, 1/30 s at 48 kHz


def _rms(x: Floats) -> float:
    return float(np.sqrt(np.mean(np.square(x[-4800:], dtype=np.float64))))
