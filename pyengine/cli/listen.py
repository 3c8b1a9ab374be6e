"""pyengine listen: what a sound is like, in words, figures and a picture."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from pyengine.cli.shared import EXIT_OK, UsageError, add_command, add_engine_address, print_result

ABOUT = """
For a reader who cannot hear: loudness, pitch and notes, brightness, onsets and tempo, clicks, clipping, silence,
dropouts, DC, stereo; with --picture, wave, spectrogram and loudness as PNG. Of a sound file, or without FILE of
the last seconds that a running engine has put out: it then writes the picture into its recordings folder.
"""
EXAMPLES = """
pyengine listen                                   the last 5 s of the engine on port 5005
pyengine listen --seconds 10 --picture now.png
pyengine listen take.wav --picture take.png
pyengine listen take.flac --from 12 --to 20 --json
"""
SECONDS = 5.0


def add(commands: Any) -> None:
    one = add_command(commands, "listen", listen, "say what a sound is like", examples=EXAMPLES, about=ABOUT)
    one.add_argument("file", type=Path, nargs="?", metavar="FILE", help="a sound file; none: the running engine")
    one.add_argument("--seconds", type=float, metavar="S", help=f"of a running engine's output ({SECONDS:g})")
    one.add_argument("--from", dest="from_s", type=float, metavar="S", help="where to begin in a file (0)")
    one.add_argument("--to", dest="to_s", type=float, metavar="S", help="where to end in a file (its end)")
    one.add_argument("--picture", type=Path, metavar="OUT.png", help="draw it into a new file")
    add_engine_address(one)


def listen(arguments: argparse.Namespace) -> int:
    """Describe a file, or what an engine plays."""
    figures = _engine(arguments) if arguments.file is None else _file(arguments)
    print_result(arguments, figures, text_of(figures))
    return EXIT_OK


def _engine(arguments: argparse.Namespace) -> dict[str, Any]:
    from pyengine.client import Client

    if arguments.from_s is not None or arguments.to_s is not None:
        raise UsageError("--from and --to are places in a FILE; of a running engine give --seconds")
    seconds = SECONDS if arguments.seconds is None else arguments.seconds
    picture = "" if arguments.picture is None else str(arguments.picture)
    with Client(arguments.host, arguments.port, arguments.timeout) as client:
        return client.listen(seconds, picture)


def _file(arguments: argparse.Namespace) -> dict[str, Any]:
    from pyengine.ears import describe
    from pyengine.ears.files import read

    if arguments.seconds is not None:
        raise UsageError("--seconds is of a running engine's output; of a FILE give --from and --to")
    samples, rate_hz = read(arguments.file, from_s=arguments.from_s, to_s=arguments.to_s)
    found = describe(samples, rate_hz, is_preceded_by_silence=not arguments.from_s)
    if arguments.picture is None:
        return found.as_dict()
    from pyengine.ears.picture import draw

    draw(samples, rate_hz, found, arguments.picture, title=arguments.file.name)
    return found.as_dict() | {"picture": arguments.picture.name, "picture_path": str(arguments.picture)}


# ---- as text ----


def text_of(figures: dict[str, Any]) -> str:
    """Return the paragraph, and below it the figures, one matter a line."""
    lines = [figures["summary"], ""]
    for name, values in (
        ("level", _level(figures)),
        ("loudness", _loudness(figures["loudness"])),
        ("pitch", _pitch(figures)),
        ("colour", _colour(figures)),
        ("onsets", _onsets(figures)),
        ("clicks", _times(figures["clicks"]["n"], [click["at_s"] for click in figures["clicks"]["list"]])),
        ("dropouts", _times(figures["dropouts"]["n"], [gap["at_s"] for gap in figures["dropouts"]["list"]])),
        ("clipping", _clipping(figures["clipping"])),
        ("silence", f"{100 * figures['silence']['share']:.1f} % of the time"),
        ("DC", " ".join(f"{round(offset, 5) + 0.0:+.5f}" for offset in figures["dc"]["channels"])),
        ("stereo", _stereo(figures["stereo"])),
        ("picture", figures.get("picture_path", "")),
    ):
        if values:
            lines.append(f"{name:<9} {values}")
    return "\n".join(lines)


def _number(value: float | None, unit: str) -> str:
    return f"- {unit}" if value is None else f"{value:g} {unit}"


def _level(figures: dict[str, Any]) -> str:
    level = figures["level"]
    names = (("peak_dbfs", "dBFS peak"), ("true_peak_dbtp", "dBTP"), ("rms_dbfs", "dBFS RMS"), ("crest_db", "dB crest"))
    return ", ".join(_number(level[name], unit) for name, unit in names)


def _loudness(loud: dict[str, Any]) -> str:
    names = (("integrated_lufs", "LUFS"), ("momentary_max_lufs", "LUFS momentary at most"), ("range_lu", "LU range"))
    text = ", ".join(_number(loud[name], unit) for name, unit in names)
    return f"{text} ({loud['reason']})" if loud.get("reason") else text


def _pitch(figures: dict[str, Any]) -> str:
    pitch, notes = figures["pitch"], figures["notes"]
    if pitch is None:
        return "none"
    own = f"{pitch['hz']:g} Hz, {pitch['note']} {pitch['cents']:+.1f} cents, confidence {pitch['confidence']:.2f}"
    listed = " ".join(f"{note['note']}@{note['begin_s']:.2f}" for note in notes["list"][:24])
    return f"{own}; {notes['n']} note{'' if notes['n'] == 1 else 's'}: {listed}{' ...' if notes['n'] > 24 else ''}"


def _colour(figures: dict[str, Any]) -> str:
    bright, strong = figures["brightness"], figures["partials"]
    if bright["centroid_hz"] is None:
        return ""
    text = (
        f"centroid {bright['centroid_hz']:g} Hz, rolloff {bright['rolloff_hz']:g} Hz, flatness {bright['flatness']:g}"
    )
    partials = ", ".join(f"{p['hz']:g} Hz {p['dbfs']:g} dBFS" for p in strong[:5])
    return f"{text}; partials: {partials}" if partials else text


def _onsets(figures: dict[str, Any]) -> str:
    tempo = figures["tempo"]
    text = _times(figures["onsets"]["n"], figures["onsets"]["times_s"])
    return f"{text}; {tempo['bpm']:g} bpm, grid {1e3 * tempo['period_s']:g} ms" if tempo else text


def _times(n: int, times_s: list[float]) -> str:
    if n == 0:
        return "none"
    return f"{n} at {' '.join(f'{s:.4f}' for s in times_s[:16])}{' ...' if n > 16 else ''} s"


def _clipping(clipped: dict[str, Any]) -> str:
    if not clipped["runs"] and not clipped["samples_over_full_scale"]:
        return "none"
    return f"{clipped['runs']} stretches, {clipped['samples_over_full_scale']} samples beyond full scale"


def _stereo(field: dict[str, Any] | None) -> str:
    if field is None:
        return ""
    if field["only"]:
        return f"{field['only']} channel alone"
    width = "" if field["width"] is None else f", width {field['width']:g}"
    return f"balance {field['balance_db']:+g} dB, correlation {field['correlation']:g}{width}"
