"""The jobs of the benches in numpy and scipy, and the patch that most of them play."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import signal

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
