"""Commands, run as a user runs them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

TOML = """\
version = 1
nodes = [
  { id = "osc1", type = "simple_sine", params = { freq = 220 } },
  { id = "env1", type = "adsr" },
]
cables = [{ from = "osc1", to = "env1" }]
"""


def patch_file(path: Path) -> Path:
    """Write a patch of two modules and a cable."""
    path.write_text(TOML)
    return path


def pyengine(
    *words: str | Path, stdin: str = "", folder: Path | None = None, timeout_s: float = 60.0
) -> subprocess.CompletedProcess[str]:
    """Run `pyengine WORDS` to its end."""
    command = [sys.executable, "-m", "pyengine", *map(str, words)]
    done = subprocess.run(
        command, cwd=folder, input=stdin, capture_output=True, text=True, timeout=timeout_s, check=False
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done


def answer(*words: str | Path, code: int = 0, stdin: str = "", folder: Path | None = None) -> dict[str, Any]:
    """Run `pyengine WORDS --json`; return the one object that it prints, after a look at the exit code."""
    done = pyengine(*words, "--json", stdin=stdin, folder=folder)
    assert done.returncode == code, done.stdout + done.stderr
    data = json.loads(done.stdout)
    assert isinstance(data, dict)
    return data
