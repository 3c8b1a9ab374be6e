"""Peers that are Python packages: each renders in a fresh interpreter and takes the CPU time of the rendering alone.

A module of this folder whose peer is a PythonPeer is also what that interpreter runs: it ends with main(play), where
play(n_voices, seconds, path) renders, writes the sound to `path` unless that is None, and returns CPU seconds.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import sys
from collections.abc import Callable
from pathlib import Path

from peers.voices import Misbehaved, Samples, read_raw, run

BENCH = Path(__file__).resolve().parents[1]


class PythonPeer:
    is_start_up_timed = False

    def __init__(self, name: str, how: str, package: str) -> None:
        self.name, self.how, self._package = name, how, package

    def why_missing(self) -> str | None:
        if importlib.util.find_spec(self._package) is None:
            return f"the package {self._package} is not installed (pip install '.[peers]')"
        return None

    def version(self) -> str:
        return f"{self._package} {importlib.metadata.version(self._package)}"

    def render(self, n_voices: int, seconds: float, folder: Path, *, is_kept: bool) -> tuple[Samples | None, float]:
        out, told = folder / "out.raw", folder / "cpu_s"
        for path in (out, told):
            path.unlink(missing_ok=True)
        words = [str(n_voices), str(seconds), str(told), *([str(out)] if is_kept else [])]
        run(
            [sys.executable, "-m", f"peers.{self._package}", *words],
            folder,
            env={**os.environ, "PYTHONPATH": str(BENCH)},
        )
        if not told.exists():
            raise Misbehaved("it ended without a word")
        return read_raw(out) if is_kept else None, float(told.read_text())


def main(play: Callable[[int, float, Path | None], float]) -> None:
    """Do what PythonPeer.render asks for on the command line."""
    n_voices, seconds, told, *out = sys.argv[1:]
    cpu_s = play(int(n_voices), float(seconds), Path(out[0]) if out else None)
    Path(told).write_text(repr(cpu_s))
    os._exit(0)  # some of them hang or crash when they are taken down, long after the figure is there
