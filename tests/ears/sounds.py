"""Sounds whose description is known before it is made."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

RATE_HZ = 48000
Mono = npt.NDArray[np.float64]


def times(seconds: float, rate_hz: float = RATE_HZ) -> Mono:
    return np.arange(round(seconds * rate_hz)) / rate_hz


def sine(hz: float, seconds: float, gain: float = 0.25, rate_hz: float = RATE_HZ) -> Mono:
    return gain * np.sin(2 * np.pi * hz * times(seconds, rate_hz))


def saw(hz: float, seconds: float, gain: float = 0.3) -> Mono:
    """Return all partials below Nyquist."""
    t = times(seconds)
    return gain * sum(2 / np.pi * np.sin(2 * np.pi * hz * k * t) / k for k in range(1, int(RATE_HZ / 2 / hz) + 1))


def noise(seconds: float, gain: float = 0.1, seed: int = 1) -> Mono:
    return gain * np.random.default_rng(seed).standard_normal(round(seconds * RATE_HZ))


def pink(seconds: float, gain: float = 0.1, seed: int = 1) -> Mono:
    spectrum = np.fft.rfft(noise(seconds, 1.0, seed))
    spectrum[1:] /= np.sqrt(np.arange(1, len(spectrum)))
    spectrum[0] = 0
    wave = np.fft.irfft(spectrum)
    return gain * wave / wave.std()


def shaped(x: Mono, attack_s: float = 0.01, release_s: float = 0.1) -> Mono:
    """Return x faded in and out."""
    n_in, n_out = round(attack_s * RATE_HZ), round(release_s * RATE_HZ)
    envelope = np.ones(len(x))
    envelope[:n_in] = np.arange(n_in) / n_in
    envelope[-n_out:] = np.arange(n_out)[::-1] / n_out
    return x * envelope


def kick(gain: float = 0.8) -> Mono:
    t = times(0.3)
    wave = np.sin(2 * np.pi * np.cumsum(50 + 150 * np.exp(-40 * t)) / RATE_HZ)
    return gain * shaped(wave * np.exp(-12 * t), 1 / RATE_HZ, 0.05)


def at_places(part: Mono, places: list[int], n_frames: int) -> Mono:
    """Return silence with a part at each place."""
    out = np.zeros(n_frames)
    for place in places:
        end = min(n_frames, place + len(part))
        out[place:end] += part[: end - place]
    return out
