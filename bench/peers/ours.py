"""pyengine itself: the patch's plan, rendered offline in blocks of 64 frames, a second at a time."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from peers.voices import (
    ATTACK_S,
    BLOCK_FRAMES,
    DECAY_S,
    RATE_HZ,
    RELEASE_S,
    SUSTAIN,
    Misbehaved,
    Q,
    Samples,
    voices,
)
from pyengine import Patch, __version__, _native
from pyengine.plan import new_plan, prime


def patch(n_voices: int) -> Patch:
    """Return n chains of sine, adsr, biquad, each heard."""
    times = {"attack": 1e3 * ATTACK_S, "decay": 1e3 * DECAY_S, "sustain": SUSTAIN, "release": 1e3 * RELEASE_S}
    made = Patch()
    for i, voice in enumerate(voices(n_voices)):
        osc, env, filt = f"osc{i}", f"env{i}", f"filt{i}"
        made.create(osc, "simple_sine").create(env, "adsr").create(filt, "biquad_filter")
        made.connect(osc, env).connect(env, filt)
        made.set(osc, "freq", voice.freq_hz).set(osc, "gain", voice.gain)
        for name, value in times.items():
            made.set(env, name, value)
        made.set(filt, "cutoff", voice.cutoff_hz).set(filt, "q", Q)
    return made


class Pyengine:
    name, how, is_start_up_timed = "pyengine", "simple_sine, adsr, biquad_filter", False

    def why_missing(self) -> str | None:
        return None

    def version(self) -> str:
        return f"pyengine {__version__}"

    def render(self, n_voices: int, seconds: float, folder: Path, *, is_kept: bool) -> tuple[Samples | None, float]:
        made, commands, parts, cpu_s = patch(n_voices), _native.commands([]), [], 0.0
        out = np.zeros((RATE_HZ, 1), np.float32)
        with new_plan(made, sample_rate_hz=RATE_HZ, max_block_frames=BLOCK_FRAMES, n_channels=1) as plan:
            if warnings := prime(plan, made, made.ops(), RATE_HZ):
                raise Misbehaved("; ".join(warnings))
            left = round(seconds * RATE_HZ)
            while left:
                n = min(left, RATE_HZ)
                start = time.thread_time()
                plan.render(commands, 0, n, BLOCK_FRAMES, out[:n])
                cpu_s += time.thread_time() - start
                left -= n
                if is_kept:
                    parts.append(out[:n, 0].copy())
        return np.concatenate(parts) if is_kept else None, cpu_s


OURS = Pyengine()
