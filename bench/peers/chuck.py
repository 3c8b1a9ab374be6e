"""ChucK, without a sound card (`--silent`): sample by sample; BiQuad is given the cookbook's coefficients."""

from __future__ import annotations

from pathlib import Path

import soundfile

from peers.voices import (
    ATTACK_S,
    BLOCK_FRAMES,
    DECAY_S,
    RATE_HZ,
    RELEASE_S,
    SUSTAIN,
    Misbehaved,
    Samples,
    run,
    sections,
    version_of,
    voices,
    why_no_program,
)


def program(n_voices: int, seconds: float, is_kept: bool) -> str:
    """Return a program that plays for so long."""
    numbers = ",\n".join(
        f"[{v.freq_hz:.1f}, {v.gain:.9f}, {', '.join(f'{x:.12f}' for x in sections(v))}]" for v in voices(n_voices)
    )
    sink = 'dac => WvOut w => blackhole; "out.wav" => w.wavFilename;' if is_kept else ""
    return f"""
[{numbers}] @=> float n[][];
{sink}
SinOsc s[n.size()]; ADSR e[n.size()]; BiQuad f[n.size()];
for (0 => int i; i < n.size(); i++) {{
  s[i] => e[i] => f[i] => dac;
  n[i][0] => s[i].freq; n[i][1] => s[i].gain;
  e[i].set({ATTACK_S}::second, {DECAY_S}::second, {SUSTAIN}, {RELEASE_S}::second);
  n[i][2] => f[i].b0; n[i][3] => f[i].b1; n[i][4] => f[i].b2; n[i][5] => f[i].a1; n[i][6] => f[i].a2;
  e[i].keyOn();
}}
{seconds}::second => now;
"""


class Chuck:
    name, how, is_start_up_timed = "ChucK", "SinOsc, ADSR, BiQuad", True

    def why_missing(self) -> str | None:
        return why_no_program("chuck", "chuck")

    def version(self) -> str:
        return version_of(["chuck", "--version"], r"(chuck version: [\d.]+)")

    def render(self, n_voices: int, seconds: float, folder: Path, *, is_kept: bool) -> tuple[Samples | None, float]:
        (folder / "voices.ck").write_text(program(n_voices, seconds, is_kept))
        out = folder / "out.wav"
        out.unlink(missing_ok=True)
        numbers = [f"--srate:{RATE_HZ}", f"--bufsize:{BLOCK_FRAMES}", "--channels:1"]
        cpu_s = run(["chuck", "--silent", *numbers, "voices.ck"], folder)
        if not is_kept:
            return None, cpu_s
        if not out.exists():
            raise Misbehaved("it wrote no file")
        samples = soundfile.read(out, dtype="float32")[0]
        return samples if samples.ndim == 1 else samples[:, 0].copy(), cpu_s


PEER = Chuck()
