"""Csound offline: one instrument, an event a voice; `csound -n` writes no file.

Every event is rendered for its release (0.2 s) too, which is the same for both lengths that are timed.
"""

from __future__ import annotations

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
    voices,
    why_no_program,
)

ORCHESTRA = f"""
sr = {RATE_HZ}
ksmps = {BLOCK_FRAMES}
nchnls = 1
0dbfs = 1
instr 1
  kfreq init p4
  kcutoff init p5
  asine oscili p6, kfreq
  aenv madsr {ATTACK_S}, {DECAY_S}, {SUSTAIN}, {RELEASE_S}
  aout rbjeq asine * aenv, kcutoff, 1, {Q}, 1, 0
  out aout
endin
"""


class Csound:
    name, how, is_start_up_timed = "Csound", "oscili, madsr, rbjeq, doubles", True

    def why_missing(self) -> str | None:
        return why_no_program("csound", "csound")

    def version(self) -> str:
        return version_of(["csound", "--version"], r"(Csound version [\d.]+)")

    def render(self, n_voices: int, seconds: float, folder: Path, *, is_kept: bool) -> tuple[Samples | None, float]:
        (folder / "voice.orc").write_text(ORCHESTRA)
        events = [f"i 1 0 {seconds} {v.freq_hz} {v.cutoff_hz} {v.gain:.9g}" for v in voices(n_voices)]
        (folder / "voice.sco").write_text("\n".join([*events, "e", ""]))
        out = ["-o", "out.raw", "-h", "-f"] if is_kept else ["-n"]
        cpu_s = run(["csound", "-d", "-m0", "-+msg_color=0", *out, "voice.orc", "voice.sco"], folder)
        return read_raw(folder / "out.raw")[: round(seconds * RATE_HZ)] if is_kept else None, cpu_s


PEER = Csound()
