"""pyengine render: a patch file to a sound file, without an engine."""

from __future__ import annotations

import argparse
import math
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pyengine.cli.shared import EXIT_OK, UsageError, add_command, check_rate, print_result, print_warning
from pyengine.errors import EngineError
from pyengine.hints import hints
from pyengine.patch import Op, Patch
from pyengine.patch_file import load_patch
from pyengine.playing import note_off, note_on

EXAMPLES = """
pyengine render bells.toml -o bells.wav --seconds 5
pyengine render bass.toml -o bass.wav --set saw.freq=55 --set filter.q=6@1.5
pyengine render pad.toml -o pad.wav --note pad=C4@0-2 --note pad=Eb4@0-2 --note pad=G4@0.5-2
pyengine render examples/pieces/night_train.toml -o night_train.wav --seconds 36 --lufs -14
pyengine render bass.toml -o bass.flac --gate amp@0.0-0.5 --gate amp@1.0-1.5 --json
"""
ABOUT = """--set ID.PARAM=VALUE sets a parameter from the start, --set ID.PARAM=VALUE@S at S seconds. --gate ID@FROM-TO
opens a gate at FROM and closes it at TO, in seconds; it is closed before. --gate ID@FROM leaves it open. --note
ID=NOTE@FROM-TO plays a note, C4 or 60, on voices or on a module with a gate, which is closed before; C4:0.5 is
less hard (0 to 1). All may be given again and again. The result does not depend on
--block, bit for bit. --lufs makes all of it louder or softer by one factor, until its integrated loudness (ITU-R
BS.1770-4) is that. WAV is written as floats, FLAC in 24 bits."""
_SET = re.compile(r"([^=@]+)\.([^.=@]+)=([^=@]+)(?:@([^=@]+))?")
_GATE = re.compile(r"([^@]+)@([0-9.eE]+)(?:-([0-9.eE]+))?")
_NOTE = re.compile(r"([^=@]+)=([^=@:]+)(?::([0-9.eE]+))?@([0-9.eE]+)(?:-([0-9.eE]+))?")
_FORMATS = {".wav": ("WAV", "FLOAT"), ".flac": ("FLAC", "PCM_24")}
_QUIET_S, _QUIET_SOUND_S = 0.5, 60.0  # a render that takes less, of less sound, shows no bar
Events = list[tuple[float, tuple[object, ...]]]


def add(commands: Any) -> None:
    one = add_command(commands, "render", render, "render a patch file to a sound file", examples=EXAMPLES, about=ABOUT)
    one.add_argument("file", metavar="FILE", help="patch file, .toml or .json")
    one.add_argument("-o", "--output", type=Path, required=True, metavar="OUT.wav|flac", help="sound file to write")
    one.add_argument("--seconds", type=float, default=5.0, metavar="S", help="how much (5)")
    one.add_argument("--set", action="append", default=[], metavar="ID.PARAM=VALUE[@S]", help="set a parameter")
    one.add_argument("--gate", action="append", default=[], metavar="ID@FROM[-TO]", help="open and close a gate")
    one.add_argument("--note", action="append", default=[], metavar="ID=NOTE[:VELOCITY]@FROM[-TO]", help="play a note")
    one.add_argument("--lufs", type=float, metavar="LUFS", help="bring it to this loudness, such as -14 (as it is)")
    one.add_argument("--rate", type=float, default=48000, metavar="HZ", help="sample rate (48000)")
    one.add_argument("--channels", type=int, metavar="N", help="1 to 8 (what render() takes by itself)")
    one.add_argument("--block", type=int, default=64, metavar="FRAMES", help="frames rendered at once (64)")
    samples = "folder that the files of samplers lie in (the patch file's)"
    one.add_argument("--samples", type=Path, metavar="DIR", help=samples)


def render(arguments: argparse.Namespace) -> int:
    """Render a patch to a file and print what it is like."""
    import numpy as np
    import soundfile

    from pyengine import offline

    check_rate(arguments)
    if arguments.lufs is not None and not -70.0 < arguments.lufs <= 0.0:  # NaN too
        raise UsageError(f"--lufs {arguments.lufs:g} is outside -70..0; -14 is what streaming services play at")
    kind, subtype = _format(arguments.output)
    if not float(arguments.rate).is_integer():
        raise UsageError(f"--rate {arguments.rate:g} is not a whole number, and a sound file has no other")
    patch = load_patch(arguments.file, sample_rate_hz=arguments.rate)
    events = _settings(patch, arguments.set, arguments.rate)
    events += _gates(patch, arguments.gate) + _notes(patch, arguments.note)
    start_s = time.perf_counter()
    sound = offline.render(
        patch,
        arguments.seconds,
        events=events,
        sample_rate=arguments.rate,
        block_frames=arguments.block,
        channels=arguments.channels,
        samples=arguments.samples or Path(arguments.file).parent,
        progress=None if arguments.json or not sys.stderr.isatty() else _bar(arguments.rate),
    )
    took_s = time.perf_counter() - start_s
    gain_db = 0.0
    if arguments.lufs is not None:
        from pyengine.ears.loudness import brought_to

        sound, gain_db = brought_to(sound, arguments.rate, arguments.lufs)
    for text in hints(patch):
        print_warning(text)
    try:
        soundfile.write(arguments.output, sound, int(arguments.rate), subtype=subtype, format=kind)
    except (OSError, soundfile.LibsndfileError) as error:
        raise EngineError(f"{arguments.output} cannot be written: {error}; check folder and room") from error
    peak = float(np.abs(sound).max(initial=0.0))
    rms = float(np.sqrt(np.mean(np.square(sound, dtype=np.float64)))) if sound.size else 0.0
    clipped = int(np.count_nonzero(np.abs(sound) > 1.0))
    seconds = len(sound) / arguments.rate
    facts = {
        "path": str(arguments.output),
        "seconds": seconds,
        "frames": len(sound),
        "sample_rate": int(arguments.rate),
        "channels": sound.shape[1],
        "peak": peak,
        "peak_db": _db(peak),
        "rms": rms,
        "rms_db": _db(rms),
        "clipped_samples": clipped,
        "lufs": arguments.lufs,
        "gain_db": gain_db,
        "took_s": took_s,
    }
    if peak == 0.0:
        print_warning("it is silent; is a gate closed, or is a module that sounds not connected?")
    if clipped:
        how = "lower a gain" if arguments.lufs is None else "give a lower --lufs, or the patch a limiter"
        print_warning(f"{clipped} samples are beyond full scale; {how}{_cut_off(subtype)}")
    level = "silent" if peak == 0.0 else f"peak {_db(peak):.1f} dB, RMS {_db(rms):.1f} dB"
    if arguments.lufs is not None:
        level += f", {arguments.lufs:g} LUFS by a gain of {gain_db:+.1f} dB"
    print_result(
        arguments,
        facts,
        f"{arguments.output}: {seconds:.3f} s, {sound.shape[1]} channels at {arguments.rate:g} Hz, {level}; "
        f"{seconds / max(took_s, 1e-9):.0f} times real time",
    )
    return EXIT_OK


def _cut_off(subtype: str) -> str:
    return "" if subtype == "FLOAT" else "; in this format they are cut off"


def _db(value: float) -> float | None:
    return 20 * math.log10(value) if value > 0.0 else None


def _format(output: Path) -> tuple[str, str]:
    found = _FORMATS.get(output.suffix.lower())
    if found is None:
        raise UsageError(f"{output} ends in neither .wav nor .flac; name the sound file so")
    return found


def _settings(patch: Patch, texts: list[str], rate_hz: float) -> Events:
    """Set what is set from the start in the patch; return what is set later."""
    events: Events = []
    for text in texts:
        match = _SET.fullmatch(text)
        if match is None:
            raise UsageError(f"--set {text} is not ID.PARAM=VALUE or ID.PARAM=VALUE@S, such as osc1.freq=220")
        id, param, value, at = match.groups()
        try:
            number: float | str = float(value)
        except ValueError:
            number = value
        if at is None:
            patch.set(id, param, number, rate_hz)
        else:
            events.append((_seconds(at, f"--set {text}"), ("mod", id, param, number)))
    return events


def _gates(patch: Patch, texts: list[str]) -> Events:
    """Close the gates that are spoken of at the start; return when they open and close."""
    events: Events = []
    for text in texts:
        match = _GATE.fullmatch(text)
        if match is None:
            raise UsageError(f"--gate {text} is not ID@FROM-TO in seconds, such as env1@0.0-1.5")
        id, begin, end = match.groups()
        begin_s = _seconds(begin, f"--gate {text}")
        patch.gate(id, 0)
        events.append((begin_s, ("gate", id, None, 1)))
        if end is not None:
            end_s = _seconds(end, f"--gate {text}")
            if end_s <= begin_s:
                raise UsageError(f"--gate {text} ends before it begins; give FROM-TO in seconds")
            events.append((end_s, ("gate", id, None, 0)))
    return sorted(events, key=lambda event: (event[0], event[1][3]))  # at one time: close, then open


def _notes(patch: Patch, texts: list[str]) -> Events:
    """Close the gates that are played at the start; return when notes begin and end."""
    events: list[tuple[float, bool, Op]] = []
    for text in texts:
        match = _NOTE.fullmatch(text)
        if match is None:
            raise UsageError(f"--note {text} is not ID=NOTE@FROM-TO in seconds, such as pad=C4@0.0-1.5")
        id, name, velocity, begin, end = match.groups()
        begin_s = _seconds(begin, f"--note {text}")
        strength = None if velocity is None else _seconds(velocity, f"--note {text}")
        begun = note_on(patch, id, name, strength)
        events += [(begin_s, True, op) for op in begun if velocity or op[2] != "velocity"]  # without one: the patch's
        if not patch.spec(id).is_voices:
            patch.gate(id, 0)
        if end is not None:
            end_s = _seconds(end, f"--note {text}")
            if end_s <= begin_s:
                raise UsageError(f"--note {text} ends before it begins; give FROM-TO in seconds")
            events += [(end_s, False, op) for op in note_off(patch, id, name)]
    return [(at_s, op) for at_s, _, op in sorted(events, key=lambda event: event[:2])]  # at one time: end, then begin


def _seconds(text: str, where: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise UsageError(f"{where}: {text!r} is no number") from None


def _bar(rate_hz: float) -> Callable[[int, int], None]:
    """Return what draws how far a render is on stderr, where it is long or takes a while."""
    start_s = time.perf_counter()

    def draw(n_done: int, n_frames: int) -> None:
        took_s = time.perf_counter() - start_s
        if took_s < _QUIET_S and n_frames < _QUIET_SOUND_S * rate_hz:
            return
        filled = 30 * n_done // n_frames
        left_s = took_s * (n_frames - n_done) / n_done
        text = f"{'#' * filled}{'.' * (30 - filled)} {n_done / rate_hz:.1f} of {n_frames / rate_hz:.1f} s"
        end = f", {left_s:.0f} s left " if n_done < n_frames else " " * 12 + "\n"
        print(f"\r{text}{end}", end="", file=sys.stderr, flush=True)

    return draw
