"""Voices: a sine, an envelope and a low-pass each, all different, all summed.

python bench/voices.py 1 64 1024    prints what they cost, as JSON; PYENGINE_ISA in the environment chooses
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).resolve().parents[1])]

from pyengine.measure import (  # noqa: E402
    BLOCK_FRAMES,
    Bank,
    check,
    cutoff_hz,
    frames_for,
    freq_hz,
    reference,
    voices_patch,
)

__all__ = ["BLOCK_FRAMES", "Bank", "check", "cutoff_hz", "frames_for", "freq_hz", "reference", "voices_patch"]


def costs(counts: list[int]) -> dict[int, float]:
    """Return ns per voice-sample for each number of voices; each is checked first."""
    found = {}
    for n in counts:
        with Bank(voices_patch(n)) as bank:
            check(bank, n)
            found[n] = bank.block_ns(frames_for(n)) / (BLOCK_FRAMES * n)
    return found


def costs_in_child(counts: list[int], environment: dict[str, str]) -> dict[int, float]:
    """The same in a process of its own. Raises RuntimeError with what the child said."""
    command = [sys.executable, str(Path(__file__).resolve()), *map(str, counts)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"the child that renders voices has failed: {done.stderr.strip()[-500:]}")
    answer: dict[str, Any] = json.loads(done.stdout)
    return {int(n): float(ns) for n, ns in answer.items()}


if __name__ == "__main__":
    print(json.dumps(costs([int(n) for n in sys.argv[1:]])))
