"""The work that every peer does, the shape of a peer, and how processes are run and timed.

A voice is a sine, times a linear envelope whose gate is held open, through a second-order low-pass (RBJ): each with a
frequency and a cutoff of its own, all in whole Hz, so that each of them stands on one bin of the spectrum of a second.
"""

from __future__ import annotations

import math
import re
import resource
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

RATE_HZ, BLOCK_FRAMES = 48000, 64
ATTACK_S, DECAY_S, SUSTAIN, RELEASE_S = 0.010, 0.050, 0.7, 0.2
Q = 1.0
TIMEOUT_S = 60.0
Samples = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Voice:
    freq_hz: float
    cutoff_hz: float
    gain: float


def voices(n: int) -> list[Voice]:
    """Return n voices, whose sum stays below 0.5.

    440 Hz and up in steps of 4 Hz; the cutoff is below, at or above the frequency in turn.
    """
    gain = 0.5 / n
    freqs = [(i, 440 + 4 * i) for i in range(n)]
    return [Voice(float(f), round(f * (0.5, 0.8, 1.0, 1.25)[i % 4]), gain) for i, f in freqs]


def sections(voice: Voice) -> tuple[float, float, float, float, float]:
    """Return (b0, b1, b2, a1, a2), a0 = 1, of the voice's filter. RBJ Audio EQ Cookbook, LPF."""
    w = 2 * math.pi * voice.cutoff_hz / RATE_HZ
    alpha, c = math.sin(w) / (2 * Q), math.cos(w)
    b0 = (1 - c) / 2 / (1 + alpha)
    return b0, 2 * b0, b0, -2 * c / (1 + alpha), (1 - alpha) / (1 + alpha)


class Peer(Protocol):
    """One system that can do the work. A module of this folder that has one as PEER takes part."""

    name: str
    how: str
    """What the voice is made of there."""
    is_start_up_timed: bool
    """Whether the CPU time of `render` holds what does not grow with the length: then the difference of two counts."""

    def why_missing(self) -> str | None:
        """Return why it cannot run here and what to install, or None."""

    def version(self) -> str:
        """Return what it calls itself, with a number."""

    def render(self, n_voices: int, seconds: float, folder: Path, *, is_kept: bool) -> tuple[Samples | None, float]:
        """Return (the sum of the voices, mono, or None if not is_kept; CPU seconds of all that it used).

        May write into `folder`. Raises Misbehaved where it does not do what it was asked.
        """


class Misbehaved(Exception):
    """The peer is installed but did not do the work; says how."""


def why_no_program(name: str, package: str) -> str | None:
    """Return why a program is missing."""
    return None if shutil.which(name) else f"there is no {name} here (Debian: apt install {package})"


def version_of(command: list[str], pattern: str) -> str:
    """Return the part of what a program says of itself that the pattern's group finds."""
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=TIMEOUT_S)
    found = re.search(pattern, done.stdout + done.stderr)
    return found[1] if found else "of unknown version"


def run(command: list[str], folder: Path, **more: Any) -> float:
    """Return the CPU seconds, user and system, of a process that must succeed. Raises Misbehaved."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, errors="replace", timeout=TIMEOUT_S, **more
        )
    except subprocess.TimeoutExpired:
        raise Misbehaved(f"{command[0]} did not end within {TIMEOUT_S:.0f} s") from None
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != 0:
        said = (done.stderr + done.stdout).strip().splitlines()[-3:]
        raise Misbehaved(f"{command[0]} ended with {done.returncode}: {' / '.join(said)}")
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def read_raw(path: Path) -> Samples:
    """Return a file of bare float32. Raises Misbehaved if there is none."""
    if not path.exists():
        raise Misbehaved(f"it wrote no {path.name}")
    return np.fromfile(path, np.float32)
