"""What a note is to a module: the settings that begin and end it. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from numbers import Real
from typing import Any

from pyengine.errors import CommandError, Fault, PatchError, shown
from pyengine.notes import parse_note
from pyengine.patch import Op, Patch
from pyengine.specs import of_127

DEFAULT_VELOCITY = 0.8


def note_hz(note: float) -> float:
    """Return the frequency of a note: 69 is A4, 440 Hz."""
    return float(440.0 * 2.0 ** ((note - 69.0) / 12.0))


def parse_velocity(value: object) -> float:
    """Return a velocity, 0..1. Raises CommandError."""
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 <= float(value) <= 1:  # NaN too
        hint = of_127(value) or " (MIDI's are divided by 127)"
        raise CommandError(f"velocity {shown(value)} is outside 0..1; choose one inside{hint}")
    return float(value)


def note_on(patch: Patch, id: str, note: object, velocity: object = None) -> list[Op]:
    """Return the settings, in order, that begin a note: of voices, or of a module with a gate.

    A velocity of 0 ends it. Raises CommandError for what is no note, PatchError for what plays none.
    """
    number = parse_note(note)
    strength = DEFAULT_VELOCITY if velocity is None else parse_velocity(velocity)
    if velocity is not None and strength == 0:
        return note_off(patch, id, note)
    spec = patch.spec(id)
    if spec.is_voices:
        return [("mod", id, "velocity", strength), ("mod", id, "note_on", number)]
    _check_gate(patch, id)
    ops: list[Op] = []
    if spec.find_param("freq"):
        ops.append(("mod", id, "freq", note_hz(number)))
    if spec.find_param("velocity"):
        ops.append(("mod", id, "velocity", strength))
    return [*ops, ("gate", id, None, 1)]


def note_off(patch: Patch, id: str, note: object) -> list[Op]:
    """Return the settings that end a note. Raises as note_on does."""
    number = parse_note(note)
    if patch.spec(id).is_voices:
        return [("mod", id, "note_off", number)]
    _check_gate(patch, id)
    return [("gate", id, None, 0)]


def all_off(patch: Patch, id: str) -> list[Op]:
    """Return the settings that end all notes of a module. Raises PatchError for what plays none."""
    if patch.spec(id).is_voices:
        return [("mod", id, "all_off", 0.0)]
    _check_gate(patch, id)
    return [("gate", id, None, 0)]


def note_events(patch: Patch, id: str, notes: Iterable[Sequence[Any]]) -> list[tuple[float, Op]]:
    """Return notes as `render` takes them: pyengine.render(patch, 4.0, events=note_events(patch, "poly", notes)).

    notes: (seconds, note, length in seconds) or with a velocity, 0..1, behind: (0.5, "C4", 0.25, 0.9); the length is
    above 0, the note as Engine.note_on takes it; the rows of an array will do. Where one ends as another begins (to the
    ns), it ends first. Raises CommandError for a row that is wrong, with its number; PatchError for a module that plays
    no notes.
    """
    begun: list[tuple[float, int, Op]] = []
    for number, row in enumerate(notes, 1):
        try:
            row = row.tolist() if hasattr(row, "tolist") else row  # of an array
            at_s, length_s = _checked_row(row)
            velocity = row[3] if len(row) == 4 else None
            begun += [(round(at_s, 9), 1, op) for op in note_on(patch, id, row[1], velocity)]
            begun += [(round(at_s + length_s, 9), 0, op) for op in note_off(patch, id, row[1])]
        except CommandError as error:
            raise CommandError(f"note {number}: {error}") from None
    return [(at_s, op) for at_s, _, op in sorted(begun, key=lambda event: event[:2])]


def _checked_row(row: Sequence[Any]) -> tuple[float, float]:
    if isinstance(row, str) or not isinstance(row, Sequence) or len(row) not in (3, 4):
        raise CommandError(f"{shown(row)} is no note; give (seconds, note, length in seconds) or a velocity besides")
    for name, value in (("seconds", row[0]), ("length", row[2])):
        if isinstance(value, bool) or not isinstance(value, Real) or not 0 <= float(value) < math.inf:
            raise CommandError(f"{name}={shown(value)} is no time; give seconds, 0 or more")
    if row[2] <= 0:
        raise CommandError("length=0 is no note; give more than 0 s")
    return float(row[0]), float(row[2])


def _plays_notes(patch: Patch, id: str) -> bool:
    spec = patch.spec(id)
    return spec.is_voices or (spec.gate_param is not None and not spec.events)


def _check_gate(patch: Patch, id: str) -> None:
    spec = patch.spec(id)
    if not _plays_notes(patch, id):
        able = [node for node in patch.nodes if _plays_notes(patch, node)]
        names = ", ".join(able[:12]) or "none"
        raise PatchError(Fault(f"{spec.name} plays no notes: it has no gate; modules here that do: {names}", node=id))
