"""numpy and scipy, voice by voice, a second in one call: not a synthesizer, but what a user of Python has at hand."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import scipy
from scipy import signal

from peers.voices import ATTACK_S, DECAY_S, RATE_HZ, SUSTAIN, Samples, sections, voices


class NumpyScipy:
    name, how, is_start_up_timed = "numpy and scipy", "sin, interp, sosfilt in float64, a second at a time", False

    def why_missing(self) -> str | None:
        return None

    def version(self) -> str:
        return f"numpy {np.__version__}, scipy {scipy.__version__}"

    def render(self, n_voices: int, seconds: float, folder: Path, *, is_kept: bool) -> tuple[Samples | None, float]:
        n_frames, parts = round(seconds * RATE_HZ), []
        every = [(v, np.array([[*sections(v)[:3], 1, *sections(v)[3:]]]), np.zeros((1, 2))) for v in voices(n_voices)]
        levels_at = [0, ATTACK_S * RATE_HZ, (ATTACK_S + DECAY_S) * RATE_HZ]
        start = time.thread_time()
        for first in range(0, n_frames, RATE_HZ):
            frames = np.arange(first, min(n_frames, first + RATE_HZ))
            total = np.zeros(len(frames))
            for voice, section, state in every:
                tone = np.sin(frames * (2 * np.pi * voice.freq_hz / RATE_HZ))
                tone *= np.interp(frames, levels_at, [0, voice.gain, voice.gain * SUSTAIN])
                filtered, state[:] = signal.sosfilt(section, tone, zi=state)
                total += filtered
            if is_kept:
                parts.append(total.astype(np.float32))
        cpu_s = time.thread_time() - start
        return np.concatenate(parts) if is_kept else None, cpu_s


PEER = NumpyScipy()
