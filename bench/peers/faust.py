"""Faust, compiled: `faust -lang c`, then the C compiler for this very machine, in scalar code and in `-vec` code.

An instance of the program is a chord of voices; bench/peers/faust.c adds up as many instances as needed, block by
block. Of chords of 1, 4, 16 and 64 voices those of 16 were the fastest.
"""

from __future__ import annotations

import os
from pathlib import Path

from peers.voices import (
    ATTACK_S,
    BLOCK_FRAMES,
    DECAY_S,
    RATE_HZ,
    RELEASE_S,
    SUSTAIN,
    Q,
    Samples,
    read_raw,
    run,
    version_of,
    why_no_program,
)

CHORD = 16
FLAGS = ["-O3", "-march=native", "-ffast-math"]
PROGRAM = f"""
import("stdfaust.lib");
base = nentry("base", 0, 0, 65536, 1);
gain = nentry("gain", 0, 0, 1, 0.000001);
gate = nentry("gate", 1, 0, 1, 1);
voice(i) = os.osc(freq) * en.adsr({ATTACK_S}, {DECAY_S}, {SUSTAIN}, {RELEASE_S}, gate) * gain
         : fi.tf2(b0, 2*b0, b0, a1, a2)
with {{
  freq = 440 + 4 * (base + i);
  cutoff = rint(freq * ba.take(i % 4 + 1, (0.5, 0.8, 1.0, 1.25)));
  w = 2 * ma.PI * cutoff / ma.SR;
  alpha = sin(w) / (2 * {Q});
  b0 = (1 - cos(w)) / 2 / (1 + alpha);
  a1 = -2 * cos(w) / (1 + alpha);
  a2 = (1 - alpha) / (1 + alpha);
}};
voices = par(i, CHORD, voice(i)) :> _;
"""


def program(chord: int) -> str:
    """Return a Faust program without its process: so many voices from `base` on, with the numbers of voices()."""
    return PROGRAM.replace("CHORD", str(chord))


class Faust:
    is_start_up_timed = True

    def __init__(self, name: str, options: list[str]) -> None:
        self.name, self._options = name, options
        self.how = f"os.osc, en.adsr, fi.tf2; {' '.join(FLAGS)}"

    def why_missing(self) -> str | None:
        return why_no_program("faust", "faust") or why_no_program("cc", "build-essential")

    def version(self) -> str:
        return version_of(["faust", "--version"], r"(FAUST Version [\d.]+)")

    def _program(self, chord: int, folder: Path) -> Path:
        out = folder / f"faust{chord}"
        if not out.exists():
            (folder / "voices.dsp").write_text(program(chord) + "process = voices;\n")
            run(["faust", "-lang", "c", *self._options, "voices.dsp", "-o", "voices.h"], folder)
            source = str(Path(__file__).with_suffix(".c"))
            numbers = [f"-DCHORD={chord}", f"-DRATE_HZ={RATE_HZ}", f"-DBLOCK_FRAMES={BLOCK_FRAMES}"]
            run(["cc", *FLAGS, *numbers, f"-I{folder}", source, "-lm", "-o", str(out)], folder)
        return out

    def render(self, n_voices: int, seconds: float, folder: Path, *, is_kept: bool) -> tuple[Samples | None, float]:
        chord = min(n_voices, CHORD)
        program, out = self._program(chord, folder), folder / "out.raw"
        cpu_s = run([str(program), str(n_voices), f"{seconds:.6f}", str(out) if is_kept else os.devnull], folder)
        return read_raw(out) if is_kept else None, cpu_s


PEERS = (Faust("Faust to C", []), Faust("Faust to C, -vec", ["-vec", "-vs", "32"]))
