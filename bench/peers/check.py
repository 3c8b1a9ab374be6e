"""Whether what a peer rendered is the work it was asked for: every voice, at its frequency, at its level."""

from __future__ import annotations

import cmath
import math

import numpy as np

from peers.voices import ATTACK_S, RATE_HZ, SUSTAIN, Samples, Voice, sections, voices

CHECKED_S = 1.5
LEVEL_DB = 0.25  # a voice of a thousand in a 16-bit file is off by 0.15 dB
OTHER_DB = -40.0  # wavetables without interpolation and 16-bit files reach -53


def level(voice: Voice) -> float:
    """Return the amplitude of a voice while its gate is held."""
    b0, b1, b2, a1, a2 = sections(voice)
    z = cmath.exp(-2j * math.pi * voice.freq_hz / RATE_HZ)
    return voice.gain * SUSTAIN * abs((b0 + b1 * z + b2 * z * z) / (1 + a1 * z + a2 * z * z))


def faults(samples: Samples, n_voices: int) -> str | None:
    """Return what is wrong with the first CHECKED_S of a render, or None.

    From 0.5 s on for a second: one bin is 1 Hz, each voice has one, and is compared with its gain, the sustain level
    and the filter's response there; what is in no voice's bin is noise or another tone. One voice alone must also
    have begun with its attack.
    """
    first = round(0.5 * RATE_HZ)
    second = samples[first : first + RATE_HZ].astype(np.float64)
    if samples.ndim != 1 or len(second) < RATE_HZ:
        return f"it rendered {samples.shape} frames instead of {round(CHECKED_S * RATE_HZ)}"
    if not np.isfinite(samples).all():
        return "it rendered what is not finite"
    spectrum = np.abs(np.fft.rfft(second)) / (RATE_HZ / 2)
    every = voices(n_voices)
    bins = [round(v.freq_hz) for v in every]
    off_db = 20 * np.log10(np.maximum(spectrum[bins], 1e-12) / np.array([level(v) for v in every]))
    worst = int(np.argmax(np.abs(off_db)))
    if abs(off_db[worst]) > LEVEL_DB:
        return f"the voice at {every[worst].freq_hz:g} Hz is off by {off_db[worst]:.2f} dB"
    other = np.sum(spectrum**2) - np.sum(spectrum[bins] ** 2)
    other_db = 10 * math.log10(max(other, 1e-30) / float(np.sum(spectrum[bins] ** 2)))
    if other_db > OTHER_DB:
        return f"what is no voice's is at {other_db:.0f} dB"
    if n_voices == 1:
        held = np.abs(second).max()
        begin = np.abs(samples[: round(0.1 * ATTACK_S * RATE_HZ)]).max() / held
        peak = np.abs(samples[: round(3 * ATTACK_S * RATE_HZ)]).max() / held
        if begin > 0.35 or not 1.15 < peak < 1.05 / SUSTAIN:
            return f"the envelope begins at {begin:.2f} and rises to {peak:.2f} of the sustained level"
    return None
