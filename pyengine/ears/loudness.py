"""Loudness as ITU-R BS.1770-4 and EBU Tech 3341 and 3342 define it: LUFS, and the range in LU."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from pyengine.ears.sound import Frames, Mono, Sound, as_sound
from pyengine.errors import CommandError

HOP_S = 0.1
MOMENTARY_HOPS, SHORT_TERM_HOPS = 4, 30  # 400 ms and 3 s
SILENCE_LUFS = -70.0
MIN_RATE_HZ = 4000.0  # below, the weighting's shelf would lie beyond Nyquist
TAIL_S = 0.2  # after which the weighting's response is below -400 dB: its poles lie at 38 Hz
CHUNK_FRAMES = 1 << 18
_MOST_TRIES, _CLOSE_LU = 8, 0.01


@dataclass(frozen=True, slots=True)
class Loudness:
    """None where there is none; reason then says why. short_term and momentary: of windows 0.1 s apart."""

    integrated_lufs: float | None
    momentary_max_lufs: float | None
    short_term_max_lufs: float | None
    range_lu: float | None
    reason: str
    momentary_lufs: Mono  # its window begins at 0, 0.1 s, ...
    short_term_lufs: Mono

    def figures(self) -> dict[str, Any]:
        names = ("integrated_lufs", "momentary_max_lufs", "short_term_max_lufs", "range_lu")
        return {name: getattr(self, name) for name in names} | ({"reason": self.reason} if self.reason else {})


def loudness(sound: Sound) -> Loudness:
    """Return how loud a sound is. Every channel weighs 1: the standard's 1.41 is for loudspeakers behind a listener,
    and nothing here says which channels those are.
    """
    if sound.rate_hz < MIN_RATE_HZ:
        return _none(f"loudness is not defined below {MIN_RATE_HZ:g} Hz sample rate")
    energies = _hop_energies(sound)
    momentary, short_term = _windows(energies, MOMENTARY_HOPS), _windows(energies, SHORT_TERM_HOPS)
    if len(momentary) == 0:
        return _none("loudness needs 0.4 s of sound, its shortest window")
    loud = momentary[_lufs(momentary) > SILENCE_LUFS]
    if len(loud) == 0:
        return _none(f"quieter than {SILENCE_LUFS:g} LUFS throughout", _lufs(momentary), _lufs(short_term))
    gated = loud[_lufs(loud) > float(_lufs(loud.mean())) - 10]
    width, reason = _range(short_term)
    return Loudness(
        round(float(_lufs(gated.mean())), 2),
        round(float(_lufs(momentary.max())), 2),
        round(float(_lufs(short_term.max())), 2) if len(short_term) else None,
        width,
        reason,
        _lufs(momentary),
        _lufs(short_term),
    )


def brought_to(samples: Frames, rate_hz: float, lufs: float) -> tuple[Frames, float]:
    """Return samples brought to an integrated loudness, and by how many dB. Raises CommandError where there is none.

    It is measured again: the gate of the standard lies at -70 LUFS, so that more passes it of what was made louder.
    """
    gain_db = 0.0
    for _ in range(_MOST_TRIES):
        found = loudness(as_sound(samples * np.float32(10 ** (gain_db / 20)), rate_hz))
        if found.integrated_lufs is None:
            raise CommandError(f"it cannot be brought to {lufs:g} LUFS: {found.reason}")
        if abs(lufs - found.integrated_lufs) <= _CLOSE_LU:
            break
        gain_db += lufs - found.integrated_lufs
    return samples * np.float32(10 ** (gain_db / 20)), gain_db


def _none(reason: str, momentary: Mono | None = None, short_term: Mono | None = None) -> Loudness:
    nothing = np.zeros(0)
    return Loudness(
        None,
        None,
        None,
        None,
        reason,
        nothing if momentary is None else momentary,
        nothing if short_term is None else short_term,
    )


def _range(short_term: Mono) -> tuple[float | None, str]:
    """Return the loudness range (EBU Tech 3342) and, where there is none, why."""
    if len(short_term) <= SHORT_TERM_HOPS:
        return None, "a loudness range needs 6 s of sound: two windows of 3 s that share nothing"
    loud = short_term[_lufs(short_term) > SILENCE_LUFS]
    if len(loud) == 0:
        return None, "no window of 3 s is loud enough for a loudness range"
    gated = _lufs(loud[_lufs(loud) >= float(_lufs(loud.mean())) - 20])
    low, high = np.percentile(gated, [10, 95])
    return round(float(high - low), 2), ""


def _lufs(energy: Any) -> Mono:
    level: Mono = -0.691 + 10 * np.log10(np.maximum(energy, 1e-20))
    return level


def _windows(energies: Mono, n_hops: int) -> Mono:
    """Return the mean energy of every n_hops in a row."""
    if len(energies) < n_hops:
        return np.zeros(0)
    means: Mono = np.lib.stride_tricks.sliding_window_view(energies, n_hops).mean(axis=1)
    return means


def _hop_energies(sound: Sound) -> Mono:
    """Return the K-weighted mean square of each whole 0.1 s, summed over the channels."""
    n_hops = int(sound.n_frames / (HOP_S * sound.rate_hz) + 1e-9)
    edges = np.round(np.arange(n_hops + 1) * HOP_S * sound.rate_hz).astype(np.int64)
    total = np.zeros(n_hops)
    if n_hops == 0:
        return total
    for c in range(sound.n_channels):
        square = k_weighted(sound.channel(c), sound.rate_hz)[: edges[-1]] ** 2
        total += np.add.reduceat(square, edges[:-1]) / np.diff(edges)
    return total


def k_weighted(x: Mono, rate_hz: float) -> Mono:
    """Return x through the K-weighting: a shelf for the head, a high-pass for the ear. By overlap-add, in frequency."""
    n_tail = math.ceil(TAIL_S * rate_hz)
    size = 1 << math.ceil(math.log2(min(CHUNK_FRAMES, max(len(x), 1)) + n_tail))
    step = size - n_tail
    z = np.exp(-2j * np.pi * np.arange(size // 2 + 1) / size)  # z to the minus one
    response = np.ones_like(z)
    for b, a in weighting(rate_hz):
        response *= (b[0] + b[1] * z + b[2] * z * z) / (a[0] + a[1] * z + a[2] * z * z)
    out = np.zeros(len(x) + size)
    for at in range(0, len(x), step):
        chunk = np.fft.rfft(x[at : at + step], size)
        out[at : at + size] += np.fft.irfft(chunk * response, size)
    return out[: len(x)]


def weighting(rate_hz: float) -> tuple[tuple[list[float], list[float]], tuple[list[float], list[float]]]:
    """Return (b, a) of the two filters at a rate. BS.1770-4 gives them at 48 kHz; at others they are those of the
    same analogue filters (parameters: B. De Man, Evaluation of Implementations of the EBU R128 Loudness Measurement).
    """
    k, q = math.tan(math.pi * 1681.974450955533 / rate_hz), 0.7071752369554196
    high = 10 ** (3.999843853973347 / 20)
    band = high**0.4996667741545416
    norm = 1 + k / q + k * k
    shelf_b = [(high + band * k / q + k * k) / norm, 2 * (k * k - high) / norm, (high - band * k / q + k * k) / norm]
    shelf_a = [1.0, 2 * (k * k - 1) / norm, (1 - k / q + k * k) / norm]
    k, q = math.tan(math.pi * 38.13547087602444 / rate_hz), 0.5003270373238773
    norm = 1 + k / q + k * k
    return (shelf_b, shelf_a), ([1.0, -2.0, 1.0], [1.0, 2 * (k * k - 1) / norm, (1 - k / q + k * k) / norm])
