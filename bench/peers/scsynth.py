"""scsynth, SuperCollider's server, in its mode that is not real time (`scsynth -N`): one thread."""

from __future__ import annotations

from pathlib import Path

from peers import supercollider
from peers.voices import Samples, version_of, why_no_program


class Scsynth:
    name, how, is_start_up_timed = "scsynth", supercollider.HOW, True

    def why_missing(self) -> str | None:
        return why_no_program("scsynth", "supercollider-server")

    def version(self) -> str:
        return version_of(["scsynth", "-v"], r"(scsynth [\d.]+)")

    def render(self, n_voices: int, seconds: float, folder: Path, *, is_kept: bool) -> tuple[Samples | None, float]:
        return supercollider.render(["scsynth"], n_voices, seconds, folder, is_kept)


PEER = Scsynth()
