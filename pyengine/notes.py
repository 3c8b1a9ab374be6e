"""Notes by name or number: C4 is 60, A4 is 69, which is 440 Hz."""

from __future__ import annotations

import re
from numbers import Real

from pyengine.errors import CommandError, shown

LOWEST_NOTE, HIGHEST_NOTE = 0, 127
_NAME = re.compile(r"([A-Ga-g])(#{0,2}|b{0,2}|s|x)(-?[0-9]{1,2})")
_STEPS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
_SHIFTS = {"": 0, "#": 1, "s": 1, "x": 2, "##": 2, "b": -1, "bb": -2}
_NAMES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")


def parse_note(value: object) -> float:
    """Return the number of a note: 'C4', 'F#5', 'Eb3', '61', 61 or 61.5. Raises CommandError: none of 0..127."""
    if isinstance(value, Real) and not isinstance(value, bool):
        return _checked(float(value), value)
    if isinstance(value, str):
        text = value.strip()
        found = _NAME.fullmatch(text)
        if found:
            name, shift, octave = found.groups()
            return _checked(12.0 * (int(octave) + 1) + _STEPS[name.upper()] + _SHIFTS[shift], value)
        try:
            return _checked(float(text), value)
        except ValueError:
            pass
    raise CommandError(f"{shown(value)} is no note; give a name such as C4, F#5 or Eb3, or a number, 0..127 (C4 is 60)")


def note_name(note: float) -> str:
    """Return the name of a note, 'C#4'; a fraction as it is, '60.5'."""
    if note != int(note):
        return f"{note:g}"
    return f"{_NAMES[int(note) % 12]}{int(note) // 12 - 1}"


def _checked(note: float, value: object) -> float:
    if not LOWEST_NOTE <= note <= HIGHEST_NOTE:  # NaN too
        raise CommandError(f"note {shown(value)} is outside 0..127 (C-1 to G9); choose one inside")
    return note
