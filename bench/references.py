"""The jobs of the benches in numpy and scipy, and the patch that most of them play."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import linalg, ndimage, signal

import pyengine

RATE_HZ = 48000.0


def sine(n_frames: int) -> npt.NDArray[np.float64]:
    """simple_sine with its defaults: 440 Hz, gain 0.2."""
    tone: npt.NDArray[np.float64] = 0.2 * np.sin(2 * np.pi * (np.arange(n_frames) * (440.0 / RATE_HZ)))
    return tone


def envelope(n_frames: int) -> npt.NDArray[np.float64]:
    """adsr with its defaults, the gate open: attack 10 ms, decay 50 ms, sustain 0.7."""
    return np.interp(np.arange(n_frames), [0, 480, 480 + 2400], [0, 1, 0.7])


def lowpass_sections() -> npt.NDArray[np.float64]:
    """biquad_filter with its defaults: 2000 Hz, q 1. RBJ Audio EQ Cookbook, LPF."""
    w = 2 * np.pi * 2000.0 / RATE_HZ
    alpha, c = np.sin(w) / 2, np.cos(w)
    sections: npt.NDArray[np.float64] = np.array([[(1 - c) / 2, 1 - c, (1 - c) / 2, 1 + alpha, -2 * c, 1 - alpha]])
    sections /= 1 + alpha
    return sections


def pan(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """pan with its defaults: both sides of the middle, (2, frames)."""
    return np.stack([x * np.sqrt(0.5), x * np.sqrt(0.5)])


def splitmix(start: npt.NDArray[np.uint64], n: int = 1) -> npt.NDArray[np.uint64]:
    """Return n numbers of SplitMix64 from `start` on; one is its finalizer alone."""
    z: npt.NDArray[np.uint64] = start + np.arange(n, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def noise(n_frames: int) -> npt.NDArray[np.float64]:
    """noise with its defaults: white, seed 0, gain 0.2."""

    bits = splitmix(splitmix(np.array([0xD1342543DE82EF95], np.uint64)), n_frames)
    whole: npt.NDArray[np.int64] = (bits >> np.uint64(39)).astype(np.int64) | 1
    return 0.2 * (whole - 2**24) / 2**24


def driven(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """drive with its defaults: tanh of four times x, oversampled eight times, 37 frames late."""
    high = np.tanh(10**0.6 * signal.resample_poly(x, 8, 1))
    return np.concatenate([np.zeros(37), signal.resample_poly(high, 1, 8)[:-37]])


def saw(n_frames: int) -> npt.NDArray[np.float64]:
    """osc with its defaults, but for the phases near Nyquist: a saw of 440 Hz, gain 0.2, three frames late."""
    turns = (np.arange(n_frames) - 3) * (440.0 / RATE_HZ)
    harmonics = np.arange(1, int(RATE_HZ / 2 / 440.0) + 1)
    tone: npt.NDArray[np.float64] = sum(-0.4 / (np.pi * h) * np.sin(2 * np.pi * h * turns) for h in harmonics)
    tone[:40] = np.where(turns[:40] < 0, 0.0, 0.2 * (2 * turns[:40] - 1))  # it begins without a past
    return tone


def lfo(n_frames: int) -> npt.NDArray[np.float64]:
    """lfo with its defaults: a sine of 1 Hz."""
    return np.sin(2 * np.pi * (np.arange(n_frames) * (1.0 / RATE_HZ)))


def state_variable() -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Coefficients (b, a) of svf's low-pass with its defaults: 1000 Hz, q 0.7071, by the bilinear transform."""
    w = 2 * RATE_HZ * np.tan(np.pi * 1000.0 / RATE_HZ)
    top, bottom = signal.bilinear([w * w], [1, w * np.sqrt(2), w * w], RATE_HZ)
    return top, bottom


def kick(n_frames: int) -> npt.NDArray[np.float64]:
    """kick with its defaults, but a decay of 20 s and no click, struck once."""
    seconds = np.arange(n_frames) / RATE_HZ
    hz = 50.0 * 2.0 ** (2.5 * np.exp(-seconds / 0.025))
    body = np.sin(2 * np.pi * (np.cumsum(hz) - hz) / RATE_HZ) * 1000.0 ** (-seconds / 20.0)
    drive = 10.0**0.3 - 1.0
    struck: npt.NDArray[np.float64] = 0.5 * body * (1.0 + drive) / (1.0 + drive * np.abs(body))
    return struck


def limiter(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """limiter with its defaults, but a ceiling of -20 dB, on a tone: it hardly releases."""
    late, window = 240, 235  # frames of 5 ms; of the window behind the 6 that the detector looks ahead
    needed = np.minimum(1.0, 0.1 / np.maximum(np.abs(x), 1e-30))
    options = {"mode": "constant", "origin": window // 2}
    gain = ndimage.uniform_filter1d(
        ndimage.minimum_filter1d(np.concatenate([np.ones(2 * window), needed]), window, cval=1.0, **options),
        window, cval=1.0, **options,
    )[2 * window :]  # fmt: skip
    limited: npt.NDArray[np.float64] = np.concatenate([np.zeros(late), x[:-late] * gain[late - 6 : -6]])
    return limited


def delay(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """delay with its defaults: 350 ms, feedback 0.4, damping 0.2, mix 0.5."""
    late, keep = 16800, 1 / (1 + 0.2**2 * RATE_HZ / 1000)
    wet, echo = np.zeros_like(x), x
    for at in range(late, len(x), late):
        wet[at:] += echo[: len(x) - at]
        echo = 0.4 * signal.lfilter([keep], [1, keep - 1], echo)
    return 0.5 * (x + wet)


def pluck(n_frames: int) -> npt.NDArray[np.float64]:
    """pluck with its defaults, struck once: a chunk at a time that is shorter than its period."""
    freq, period = 220.0, RATE_HZ / 220.0
    kept, drop = 1000.0 ** (-1 / (freq * 4.0)), 2 - 2 * np.cos(2 * np.pi * freq / RATE_HZ)
    side = min(0.125, (1 - kept) / drop)
    loop = kept / (1 - side * drop) * np.array([side, 1 - 2 * side, side])
    whole, part = divmod(period - 1, 1)
    offsets = np.arange(-2, 4)
    taps = [np.prod([(part - j) / (k - j) for j in offsets if j != k]) for k in offsets]
    kernel = np.convolve(loop, taps)  # of the frames from whole - 2 ago on
    late, n_noise, echo = int(whole) - 2, int(period), int(0.5 + 0.2 * period)
    bits = splitmix(splitmix(np.array([2**32 + 1], np.uint64) * np.uint64(0xD1342543DE82EF95)), n_noise)
    noise = (((bits >> np.uint64(39)).astype(np.int64) | 1) - 2**24) / 2**24
    burst = np.concatenate([noise, np.zeros(echo)]) - np.concatenate([np.zeros(echo), noise])
    dark = 1 - 0.7 * (0.3 + 0.7 * 0.8)
    keep = 1 / (1 + dark**2 * RATE_HZ / 4000)
    string = np.zeros(n_frames + len(kernel) + late)  # as many zeros in front
    front = len(string) - n_frames
    string[front : front + len(burst)] = 0.8 * signal.lfilter([keep], [1, keep - 1], burst)
    for at in range(front, len(string), late):
        end = min(at + late, len(string))
        round_ = np.convolve(string[at - late - len(kernel) + 1 : end - late], kernel, "valid")
        string[at:end] += round_ * np.where(np.arange(at, end) < front + n_noise, 0.3, 1.0)  # the finger
    return 0.5 * string[front:]


def reverb(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """reverb with its defaults but no modulation, the same in on both sides: left. A chunk at a time."""
    ms = RATE_HZ / 1000
    line_ms = np.array([29.73, 34.57, 40.13, 46.19, 52.43, 59.93, 67.61, 77.71])
    roots = np.array([0.763, 0.823, 0.887, 0.951, 1.014, 1.084, 1.151, 1.234])
    frames, slow = line_ms * ms * (0.15 + 0.85 * 0.6), 0.3**2 * 0.5 * ms * roots
    factors, keep = 1000.0 ** (-(frames + slow) / (2000 * ms)), 1 / (1 + slow)
    n = len(x)
    sides = []
    for diffuser_ms in ((4.77, 12.73), (5.31, 11.17)):
        side = np.concatenate([np.zeros(482), x[: n - 482]])
        for late in (int(d * ms) + 1 for d in diffuser_ms):
            top, bottom = np.zeros(late + 1), np.zeros(late + 1)
            top[0], top[-1], bottom[0], bottom[-1] = -0.62, 1, 1, -0.62
            side = signal.lfilter(top, bottom, side)
        sides.append(side)
    taps = []
    for part in frames % 1:
        taps.append([np.prod([(part - j) / (k - j) for j in range(-1, 3) if j != k]) for k in range(-1, 3)])
    front, chunk = int(frames.max()) + 4, int(frames.min()) - 2
    lines, heard, states = np.zeros((8, front + n)), np.zeros((8, n)), np.zeros((8, 1))
    matrix = linalg.hadamard(8) / np.sqrt(8)
    for at in range(0, n, chunk):
        end = min(at + chunk, n)
        for k in range(8):
            first = front + at - int(frames[k]) - 2
            read = np.convolve(lines[k, first : first + end - at + 3], taps[k], "valid")
            heard[k, at:end], states[k] = signal.lfilter([keep[k]], [1, keep[k] - 1], read, zi=states[k])
        into = np.stack([(-0.5 if k & 2 else 0.5) * sides[k & 1][at:end] for k in range(8)])
        lines[:, front + at : front + end] = matrix @ (factors[:, None] * heard[:, at:end]) + into
    signs = np.array([1, 1, -1, -1, 1, 1, -1, -1]) / np.sqrt(8)
    left: npt.NDArray[np.float64] = 0.7 * x + 0.3 * (signs @ heard)
    return left


def compressor(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """compressor with its defaults, but a threshold of -30 dB and a release of 5 s, as good as none."""
    level_db = 20.0 * np.log10(np.maximum(np.abs(x), 1e-30))
    over = level_db + 30.0
    taken = 0.75 * np.where(over < -3.0, 0.0, np.where(over < 3.0, (over + 3.0) ** 2 / 12.0, over))
    keep = np.exp(-1000.0 / (10.0 * RATE_HZ))
    smooth = signal.lfilter([1.0 - keep], [1.0, -keep], np.maximum.accumulate(taken))
    compressed: npt.NDArray[np.float64] = x * 10.0 ** (-smooth / 20.0)
    return compressed


def snare(n_frames: int) -> npt.NDArray[np.float64]:
    """snare with its defaults, but decays of 20 s and no noise, struck once."""
    seconds = np.arange(n_frames) / RATE_HZ
    hz = 180.0 * 2.0 ** (0.5 * np.exp(-seconds / 0.006))
    turns = (np.cumsum(hz) - hz) / RATE_HZ
    tones = 0.6 * np.sin(2 * np.pi * turns) + 0.4 * np.sin(2 * np.pi * (330.0 / 180.0) * turns)
    struck: npt.NDArray[np.float64] = 0.5 * tones * 1000.0 ** (-seconds / 20.0)
    return struck


def hihat(n_frames: int) -> npt.NDArray[np.float64]:
    """hihat with its defaults, but a decay of 20 s and no noise, struck once."""
    frames = np.arange(n_frames, dtype=np.uint64)
    metal = np.zeros(n_frames)
    for k, hz in enumerate((205.3, 304.4, 369.6, 522.7, 540.0, 800.0)):
        increment = int(hz / RATE_HZ * 2**32)
        at = (k * 0x9E3779B9 + increment * frames) % 2**32 / 2**32
        metal += np.where(at < 0.5, 1.0, -1.0) + _edge(at, increment / 2**32) - _edge((at + 0.5) % 1, increment / 2**32)
    w = 2 * RATE_HZ * np.tan(np.pi * 9000.0 / RATE_HZ)
    band = signal.bilinear([w, 0.0], [1.0, w, w * w], RATE_HZ)
    metal = signal.lfilter(*band, signal.lfilter(*band, metal))
    struck: npt.NDArray[np.float64] = 0.5 * metal * 1000.0 ** (-frames.astype(float) / (20.0 * RATE_HZ))
    return struck


def _edge(turns: npt.NDArray[np.float64], per_frame: float) -> npt.NDArray[np.float64]:
    after, before = turns / per_frame, (turns - 1) / per_frame
    return np.where(after < 1, 2 * after - after**2 - 1, np.where(before >= -1, (before + 1) ** 2, 0.0))


def three_modules() -> pyengine.Patch:
    """A sine through an envelope through a filter."""
    patch = pyengine.Patch().create("osc1", "simple_sine").create("env1", "adsr").create("filt1", "biquad_filter")
    return patch.connect("osc1", "env1").connect("env1", "filt1")


def play_three_modules(engine: Any) -> None:
    """The same in a running engine."""
    engine.create("osc1", "simple_sine")
    engine.create("env1", "adsr")
    engine.create("filt1", "biquad_filter")
    engine.connect("osc1", "env1")
    engine.connect("env1", "filt1")
    engine.commit()
    engine.sync()
