"""The voice as a SynthDef and the score that plays it, both written here: scsynth and supernova need no sclang.

Format: SuperCollider's reference, "Synth Definition File Format" (version 2), and "Non-Realtime Synthesis".
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

from pythonosc.osc_message_builder import OscMessageBuilder

from peers.voices import ATTACK_S, DECAY_S, RATE_HZ, RELEASE_S, SUSTAIN, Misbehaved, Q, Samples, read_raw, run, voices

CONTROL, AUDIO = 1, 2
LINEAR, RELEASE_NODE, NO_LOOP, MULTIPLY = 1, 2, -99, 2
HOW = "SinOsc.ar, EnvGen.ar, BLowPass.ar"
PARAMS = ("freq", "cutoff", "gain", "gate")
Input = tuple[int, int] | float


def _pascal(text: str) -> bytes:
    return bytes([len(text)]) + text.encode("ascii")


def _ugen(
    constants: list[float], name: str, rate: int, inputs: Sequence[Input], n_out: int = 1, special: int = 0
) -> bytes:
    wired = b""
    for source in inputs:
        if isinstance(source, tuple):
            wired += struct.pack(">ii", *source)
            continue
        if source not in constants:
            constants.append(source)
        wired += struct.pack(">ii", -1, constants.index(source))
    head = _pascal(name) + struct.pack(">biih", rate, len(inputs), n_out, special)
    return head + wired + bytes([rate]) * n_out


def synthdef() -> bytes:
    """Return the definition "voice" with the controls PARAMS."""
    constants: list[float] = []
    segments = [(1.0, ATTACK_S), (SUSTAIN, DECAY_S), (0.0, RELEASE_S)]
    envelope: list[Input] = [0.0, float(len(segments)), float(RELEASE_NODE), float(NO_LOOP)]
    for level, seconds in segments:
        envelope += [level, seconds, float(LINEAR), 0.0]
    freq, cutoff, gain, gate = [(0, i) for i in range(len(PARAMS))]
    ugens = [
        _ugen(constants, "Control", CONTROL, [], n_out=len(PARAMS)),
        _ugen(constants, "SinOsc", AUDIO, [freq, 0.0]),
        _ugen(constants, "EnvGen", AUDIO, [gate, gain, 0.0, 1.0, 0.0, *envelope]),
        _ugen(constants, "BinaryOpUGen", AUDIO, [(1, 0), (2, 0)], special=MULTIPLY),
        _ugen(constants, "BLowPass", AUDIO, [(3, 0), cutoff, 1 / Q]),
        _ugen(constants, "Out", AUDIO, [0.0, (4, 0)], n_out=0),
    ]
    names = b"".join(_pascal(name) + struct.pack(">i", i) for i, name in enumerate(PARAMS))
    body = _pascal("voice") + struct.pack(f">i{len(constants)}f", len(constants), *constants)
    body += struct.pack(f">i{len(PARAMS)}f", len(PARAMS), 440.0, 2000.0, 0.0, 1.0)
    body += (
        struct.pack(">i", len(PARAMS)) + names + struct.pack(">i", len(ugens)) + b"".join(ugens) + struct.pack(">h", 0)
    )
    return b"SCgf" + struct.pack(">ih", 2, 1) + body


def _bundle(seconds: float, address: str, *arguments: object) -> bytes:
    builder = OscMessageBuilder(address)
    for argument in arguments:
        builder.add_arg(argument)  # type: ignore[arg-type]
    message = builder.build().dgram
    bundle = b"#bundle\0" + struct.pack(">Q", round(seconds * 2**32)) + struct.pack(">i", len(message)) + message
    return struct.pack(">i", len(bundle)) + bundle


def score(n_voices: int, seconds: float) -> bytes:
    """Return a score: the definition, the voices from the first frame on, the end."""
    told = [_bundle(0, "/d_recv", synthdef())]
    for i, voice in enumerate(voices(n_voices)):
        values = {"freq": voice.freq_hz, "cutoff": voice.cutoff_hz, "gain": voice.gain, "gate": 1.0}
        told.append(_bundle(0, "/s_new", "voice", 1000 + i, 1, 0, *[x for pair in values.items() for x in pair]))
    return b"".join([*told, _bundle(seconds, "/c_set", 0, 0.0)])


def render(
    program: list[str], n_voices: int, seconds: float, folder: Path, is_kept: bool
) -> tuple[Samples | None, float]:
    """Return what a server renders of the score, offline."""
    (folder / "score.osc").write_bytes(score(n_voices, seconds))
    out = folder / "out.raw"
    out.unlink(missing_ok=True)
    numbers = ["-o", "1", "-i", "0", "-z", "64", "-n", str(n_voices + 64), "-m", str(8192 + 32 * n_voices), "-V", "-1"]
    files = ["-N", "score.osc", "_", str(out) if is_kept else "/dev/null", str(RATE_HZ), "RAW", "float"]
    cpu_s = run([*program, *numbers, *files], folder)
    if not is_kept:
        return None, cpu_s
    samples = read_raw(out)
    if len(samples) < seconds * RATE_HZ:
        raise Misbehaved(f"it wrote {len(samples)} frames of {seconds * RATE_HZ:.0f}")
    return samples, cpu_s
