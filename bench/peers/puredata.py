"""Pure Data in batch mode: a generated patch, four objects a voice, summed at one inlet.

The envelope's line carries the gain, so that no further object is needed. Pd computes what leads nowhere just the same,
so the sum goes to a send~ of which nobody takes; only a run that is kept has a table and writes it to a file.
"""

from __future__ import annotations

from pathlib import Path

import soundfile

from peers.voices import (
    ATTACK_S,
    DECAY_S,
    RATE_HZ,
    SUSTAIN,
    Misbehaved,
    Samples,
    Voice,
    run,
    sections,
    version_of,
    voices,
    why_no_program,
)


def patch(sounding: list[Voice], seconds: float, table: str | None) -> str:
    """Return a patch that plays as soon as it is loaded and quits after `seconds`; `table`: the file it leaves."""
    boxes: list[str] = []
    wires: list[str] = []

    def box(kind: str, text: str) -> int:
        boxes.append(f"#X {kind} 0 0 {text};")
        return len(boxes) - 1

    def wire(source: int, outlet: int, dest: int, inlet: int) -> None:
        wires.append(f"#X connect {source} {outlet} {dest} {inlet};")

    start = box("obj", "loadbang")
    order = box("obj", "t b b b b")
    on = box("msg", r"\; pd dsp 1")
    wait = box("obj", f"delay {1e3 * seconds:g}")
    bye = box("msg", r"\; pd quit")
    total = box("obj", "s~ total")
    wire(start, 0, order, 0)
    wire(order, 3, on, 0)
    wire(order, 1, wait, 0)
    if table:
        box("obj", f"table sound {round(seconds * RATE_HZ)}")
        write = box("obj", "tabwrite~ sound")
        save = box("msg", f"write -wave -bytes 4 {table} sound")
        filer = box("obj", "soundfiler")
        last = box("obj", "t b b")
        wire(order, 0, write, 0)
        wire(wait, 0, last, 0)
        wire(last, 1, save, 0)
        wire(save, 0, filer, 0)
        wire(last, 0, bye, 0)
    else:
        wire(wait, 0, bye, 0)
    lines: dict[float, int] = {}
    for voice in sounding:
        b0, b1, b2, a1, a2 = sections(voice)
        if voice.gain not in lines:
            attack_ms, decay_ms, held = 1e3 * ATTACK_S, 1e3 * DECAY_S, voice.gain * SUSTAIN
            text = f"{voice.gain:.9g} {attack_ms:g} \\, {held:.9g} {decay_ms:g} {attack_ms:g}"
            lines[voice.gain] = box("msg", text)
            wire(order, 2, lines[voice.gain], 0)
        osc = box("obj", f"osc~ {voice.freq_hz:g}")
        env = box("obj", "vline~")
        times = box("obj", "*~")
        filt = box("obj", f"biquad~ {-a1:.9g} {-a2:.9g} {b0:.9g} {b1:.9g} {b2:.9g}")
        wire(lines[voice.gain], 0, env, 0)
        wire(osc, 0, times, 0)
        wire(env, 0, times, 1)
        wire(times, 0, filt, 0)
        wire(filt, 0, write if table else total, 0)
    return "\n".join(["#N canvas 0 0 400 300 12;", *boxes, *wires, ""])


class PureData:
    name, how, is_start_up_timed = "Pure Data", "osc~, vline~, *~, biquad~", True

    def why_missing(self) -> str | None:
        return why_no_program("pd", "puredata-core")

    def version(self) -> str:
        return version_of(["pd", "-version"], r"(Pd-[\d.]+)")

    def render(self, n_voices: int, seconds: float, folder: Path, *, is_kept: bool) -> tuple[Samples | None, float]:
        out = folder / "out.wav"
        out.unlink(missing_ok=True)
        (folder / "voices.pd").write_text(patch(voices(n_voices), seconds, out.name if is_kept else None))
        quiet = ["-batch", "-nogui", "-noaudio", "-nomidi", "-noprefs", "-nrt", "-r", str(RATE_HZ)]
        cpu_s = run(["pd", *quiet, "-open", "voices.pd"], folder)
        if not is_kept:
            return None, cpu_s
        if not out.exists():
            raise Misbehaved("it wrote no file")
        return soundfile.read(out, dtype="float32")[0], cpu_s


PEER = PureData()
