"""Programs in C that a bench needs beside the engine: what sends, what listens."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest


def compiled(source: Path, folder: Path, why: str, *libraries: str) -> Path:
    """Return the program made of a C file of this folder. Skips the bench where that fails, and says why it may be."""
    program = folder / source.stem
    command = ["cc", "-std=gnu11", "-O2", "-o", str(program), str(source), *libraries]
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip(f"no C compiler here (apt install gcc): {why}")
    if done.returncode:
        pytest.skip(f"{source.name} does not compile here ({why}): {done.stderr[:200]}")
    return program
