"""What the tests of the drums share: the noise, and how one is struck."""

from __future__ import annotations

from typing import Any

import drive
import numpy as np
from drive import Command

STRIKE = Command(0, "gate", 1)


def white(n: int, state: int) -> np.ndarray:
    """Numerical Recipes' ranqd1 over -1 to 1, from the state before its first number."""
    out = np.zeros(n)
    for i in range(n):
        state = (state * 1664525 + 1013904223) % 2**32
        out[i] = (state - 2**32 if state >= 2**31 else state) / 2**31
    return out


def seeded(n: int, seed: int) -> np.ndarray:
    """The noise of a drum with a seed, from its first strike on."""
    return white(n, (1 + seed) * 0x9E3779B9 % 2**32)


def struck(drum: str, n: int, *commands: Command, **values: Any) -> drive.Samples:
    """Render a new drum. values: settings from the beginning, and cables and splits."""
    options = {name: values.pop(name) for name in ("cables", "splits") if name in values}
    sets = [Command(0, name, value, is_immediate=True) for name, value in values.items()]
    return drive.run(drum, n, commands=[*sets, *commands], **options).out
