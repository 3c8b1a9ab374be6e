"""The check that a peer's sound has to pass before it is timed lets only the right sound through."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy import signal

sys.path.append(str(Path(__file__).resolve().parents[1] / "bench"))

from peers.check import CHECKED_S, faults
from peers.ours import OURS
from peers.supercollider import synthdef
from peers.voices import ATTACK_S, DECAY_S, RATE_HZ, SUSTAIN, Samples, Voice, sections, voices

N_FRAMES = round(CHECKED_S * RATE_HZ)
FRAMES = np.arange(N_FRAMES)
LEVELS = np.interp(FRAMES, [0, ATTACK_S * RATE_HZ, (ATTACK_S + DECAY_S) * RATE_HZ], [0, 1, SUSTAIN])


def tone(voice: Voice, levels: np.ndarray = LEVELS, off_hz: float = 0.0) -> np.ndarray:
    return voice.gain * levels * np.sin(2 * np.pi * (voice.freq_hz + off_hz) / RATE_HZ * FRAMES)


def filtered(voice: Voice, sound: np.ndarray) -> np.ndarray:
    b0, b1, b2, a1, a2 = sections(voice)
    return np.asarray(signal.lfilter([b0, b1, b2], [1, a1, a2], sound))


def total(n: int, make: Callable[[Voice], np.ndarray]) -> Samples:
    return np.sum([make(v) for v in voices(n)], axis=0).astype(np.float32)


@pytest.mark.parametrize("n", [1, 64])
def test_the_work_itself_passes(n: int) -> None:
    assert faults(total(n, lambda v: filtered(v, tone(v))), n) is None


@pytest.mark.parametrize("n", [1, 64])
def test_pyengine_does_the_work(n: int, tmp_path: Path) -> None:
    samples, cpu_s = OURS.render(n, CHECKED_S, tmp_path, is_kept=True)
    assert samples is not None and cpu_s > 0 and faults(samples, n) is None


def one_voice_less(n: int) -> Samples:
    every = [filtered(v, tone(v)) for v in voices(n)]
    return np.sum(every[:-1], axis=0).astype(np.float32) if n > 1 else np.zeros(N_FRAMES, np.float32)


@pytest.mark.parametrize("n", [1, 64])
@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda n: total(n, tone), "off by"),
        (lambda n: total(n, lambda v: filtered(v, tone(v, off_hz=0.5))), "off by"),
        (lambda n: total(n, lambda v: filtered(v, tone(v, np.ones(N_FRAMES)))), "off by"),
        (lambda n: total(n, lambda v: 1.04 * filtered(v, tone(v))), "off by"),
        (one_voice_less, "off by"),
        (lambda n: total(n, lambda v: filtered(v, tone(v)) + 0.02 * v.gain), "no voice"),
        (lambda n: total(n, lambda v: filtered(v, tone(v)))[:-1], "frames"),
        (lambda n: np.full(N_FRAMES, np.nan, np.float32), "not finite"),
    ],
    ids=["unfiltered", "detuned", "no envelope", "too loud", "a voice missing", "offset", "too short", "NaN"],
)
def test_what_is_not_the_work_is_named(wrong: Callable[[int], Samples], said: str, n: int) -> None:
    found = faults(wrong(n), n)
    assert found is not None and said in found


def test_an_envelope_that_starts_at_its_sustain_is_named() -> None:
    found = faults(total(1, lambda v: filtered(v, tone(v, np.full(N_FRAMES, SUSTAIN)))), 1)
    assert found is not None and "envelope" in found


def test_the_synthdef_is_a_file_of_version_2_with_one_definition() -> None:
    raw = synthdef()
    assert raw[:10] == b"SCgf" + (2).to_bytes(4, "big") + (1).to_bytes(2, "big")
    assert raw[10:16] == b"\x05voice"
