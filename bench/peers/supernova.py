"""supernova, SuperCollider's other server, in its mode that is not real time, told to use one thread."""

from __future__ import annotations

from pathlib import Path

from peers import supercollider
from peers.voices import Samples, version_of, why_no_program


class Supernova:
    name, how, is_start_up_timed = "supernova, one thread", supercollider.HOW, True

    def why_missing(self) -> str | None:
        return why_no_program("supernova", "supercollider-supernova")

    def version(self) -> str:
        return version_of(["supernova", "-v"], r"(supernova [\d.]+)")

    def render(self, n_voices: int, seconds: float, folder: Path, *, is_kept: bool) -> tuple[Samples | None, float]:
        return supercollider.render(["supernova", "-T", "1"], n_voices, seconds, folder, is_kept)


PEER = Supernova()
