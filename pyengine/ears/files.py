"""Sound files, to be described."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from pyengine.ears.sound import MAX_VALUES
from pyengine.errors import CommandError, EngineError, shown


def read(path: Path, *, from_s: float | None = None, to_s: float | None = None) -> tuple[Any, float]:
    """Return the samples of a sound file, float32 (frames, channels), and their rate in Hz.

    from_s, to_s: the part that is wanted, None for the file's own ends. Raises EngineError for a file that cannot be
    read, CommandError for a part that is not there or too long to be described.
    """
    try:
        import soundfile
    except (ImportError, OSError) as error:
        how = "pip install soundfile, and apt install libsndfile1 (macOS: brew install libsndfile)"
        raise EngineError(f"cannot read a sound file: {error}; install what is missing: {how}") from error
    try:
        with soundfile.SoundFile(str(path)) as file:
            begin, end = _part(file.frames, file.samplerate, from_s, to_s)
            if (end - begin) * file.channels > MAX_VALUES:
                most = MAX_VALUES / file.channels / file.samplerate
                length = f"{(end - begin) / file.samplerate:.0f} s"
                text = f"{shown(str(path))}: {length} are more than can be described at once"
                raise CommandError(f"{text}; choose at most {most:.0f} s with --from S --to S")
            file.seek(begin)
            return file.read(end - begin, dtype="float32", always_2d=True), float(file.samplerate)
    except (soundfile.LibsndfileError, OSError, RuntimeError) as error:
        raise EngineError(f"{shown(str(path))} cannot be read: {_why(path, error)}") from error


def _part(n_frames: int, rate_hz: float, from_s: float | None, to_s: float | None) -> tuple[int, int]:
    length_s = n_frames / rate_hz
    for name, value in (("--from", from_s), ("--to", to_s)):
        if value is not None and not (math.isfinite(value) and value >= 0):
            raise CommandError(f"{name} {value:g} is no place in the file; give seconds, 0..{length_s:g}")
    begin, end = from_s or 0.0, length_s if to_s is None else min(to_s, length_s)
    if begin >= end and n_frames:
        raise CommandError(f"from {begin:g} s to {end:g} s there is nothing; the file has {length_s:g} s")
    return min(n_frames, round(begin * rate_hz)), min(n_frames, round(end * rate_hz))


def _why(path: Path, error: Exception) -> str:
    if not path.exists():
        return "there is no such file"
    if path.is_dir():
        return "it is a folder"
    text = str(error)
    if "Format not recognised" in text or "unknown format" in text.lower():
        return "it is no sound file that libsndfile knows, such as WAV, FLAC, AIFF or OGG"
    return text.split(": ", 1)[-1].rstrip(".") or type(error).__name__
