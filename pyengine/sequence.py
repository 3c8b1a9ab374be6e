"""What a `seq` plays: text in a patch, bytes for csrc/dsp/seq.c."""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from pyengine.errors import CommandError, Fault, PatchError, merged, shown
from pyengine.notes import parse_note
from pyengine.patch import Node, Patch
from pyengine.specs import ParamSpec, nearest_name, of_127, unknown_name

MAX_STEPS, MAX_VALUES, MAX_CHORD, MAX_LANES, MAX_TARGETS = 1024, 1024, 8, 16, 16
_MAX_TEXT = 8192
KEYS = ("pattern", "division", "notes", "velocities", "lanes", "targets", "clock")
ROLES = ("note", "velocity", "gate")

_HEAD, _CHORD, _LANE, _TARGET, _STEP = (struct.Struct(f) for f in ("=12I", "=9d", "=6I", "=4I", "=3If"))  # seq.c
_MAGIC = 0x31716573
_FREQ, _VELOCITY, _GATE, _VOICES = range(4)
_REST, _HIT, _ACCENT = range(3)
_REST_SIGNS, _TIE_SIGNS, _IGNORED = ".", "-_", "|"


# ---- text ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a pattern. ties: steps it is held for beyond its own; velocity: of its own, None without."""

    is_hit: bool = False
    is_accent: bool = False
    ties: int = 0
    velocity: float | None = None


def parse_pattern(text: str) -> list[Step]:
    """Return the steps of 'X..x-.3.': X an accent, x a hit, 1-9 a hit that strong, - or _ holds it on, . a rest.

    Spaces and | mean nothing. What is held at the end goes on into the beginning. Raises CommandError with the position
    of the first character that means nothing else.
    """
    signs = []
    for at, sign in enumerate(text, 1):
        if sign.isspace() or sign in _IGNORED:
            continue
        if sign not in "Xx123456789" + _REST_SIGNS + _TIE_SIGNS:
            known = "X accent, x hit, 1-9 hit that strong, . rest, - or _ hold; spaces and | mean nothing"
            raise CommandError(f"{shown(sign)} at position {at} of the pattern {shown(text)} is unknown; use {known}")
        signs.append(sign)
    if len(signs) > MAX_STEPS:
        raise CommandError(f"the pattern has {len(signs)} steps, the most is {MAX_STEPS}; make it shorter")
    return [_step(signs, at) for at in range(len(signs))]


def _step(signs: list[str], at: int) -> Step:
    sign = signs[at]
    if sign in _REST_SIGNS + _TIE_SIGNS:
        return Step()
    ties = 0
    while ties < len(signs) - 1 and signs[(at + ties + 1) % len(signs)] in _TIE_SIGNS:
        ties += 1
    return Step(True, sign == "X", ties, int(sign) / 9 if sign.isdigit() else None)


def parse_notes(text: str) -> list[list[float]]:
    """Return the chords of 'C4 Eb3 . C4+E4+G4': numbers of notes, none for a rest. Raises CommandError."""
    return [_chord(word, at) for at, word in _words("notes", text)]


def _chord(word: str, at: int) -> list[float]:
    if word == _REST_SIGNS:
        return []
    try:
        notes = [parse_note(name) for name in word.split("+")]
    except CommandError as error:
        raise CommandError(f"notes, word {at}: {error}") from None
    if len(notes) > MAX_CHORD:
        raise CommandError(f"notes, word {at}: {len(notes)} notes at once, the most is {MAX_CHORD}; leave some out")
    return notes


def parse_velocities(text: str) -> list[float]:
    """Return the numbers of '1 0.5 .8', each 0..1. Raises CommandError."""
    found = []
    for at, word in _words("velocities", text):
        value = _number(word)
        if not 0 <= value <= 1:  # NaN too
            raise CommandError(
                f"velocities, word {at}: {shown(word)} is no velocity; give a number, 0..1{of_127(value)}"
            )
        found.append(value)
    return found


def parse_lane(text: str, param: ParamSpec) -> list[float]:
    """Return the values of '400 800 . 1200' for a parameter, NaN where it is left as it is. Raises CommandError."""
    found = []
    for at, word in _words(f"the lane of {param.name}", text):
        if word == _REST_SIGNS:
            found.append(math.nan)
            continue
        number = _number(word)
        try:
            found.append(param.parse(word if math.isnan(number) else number))
        except PatchError as error:
            raise CommandError(f"the lane of {param.name}, word {at}: {error}") from None
    if not found:
        raise CommandError(f"the lane of {param.name} has no values; give some, such as '1 2 . 3'")
    return found


def parse_division(value: object) -> tuple[int, int]:
    """Return (steps, beats) of 4, '4' or '1/2': so many steps to so many beats. Raises CommandError."""
    found = re.fullmatch(r"([0-9]{1,2})(?:/([0-9]{1,2}))?", str(value).strip())
    is_number = isinstance(value, (int, str)) and not isinstance(value, bool)
    steps, beats = (int(found[1]), int(found[2] or 1)) if found and is_number else (0, 0)
    if not (1 <= steps <= 64 and 1 <= beats <= 64):
        text = f"division={shown(value)} is no division; give steps to a beat, 1..64, or a fraction such as 1/2 or 4/3"
        raise CommandError(text)
    return steps, beats


def _number(word: str) -> float:
    try:
        return float(word)
    except ValueError:
        return math.nan


def _words(what: str, text: str) -> list[tuple[int, str]]:
    words = text.replace(_IGNORED, " ").split()
    if len(words) > MAX_VALUES:
        raise CommandError(f"{what}: {len(words)} words, the most is {MAX_VALUES}; make it shorter")
    return list(enumerate(words, 1))


# ---- in a patch ---------------------------------------------------------------------------------------


def clock_of(patch: Patch, node: Node) -> Node:
    """Return the clock that a seq follows: the one it names, or the first of the patch. Raises PatchError."""
    name = node.data.get("clock")
    if name is not None:
        found = patch.nodes.get(name)
        if found is None or not patch.spec(name).is_clock:
            clocks = [id for id in patch.nodes if patch.spec(id).is_clock]
            raise unknown_name("clock", name, clocks, node=node.id)
        return found
    clock = next((n for n in patch.nodes.values() if patch.spec(n.id).is_clock), None)
    if clock is None:
        raise PatchError(Fault("there is no clock to follow; create one: /patch/create clock1 clock", node=node.id))
    return clock


Target = tuple[int, str, ParamSpec | None]
"""(kind, id, parameter)."""


def targets_of(patch: Patch, node: Node) -> list[Target]:
    """Return what a seq plays, in the order it is set. Raises PatchError with all faults."""
    found: list[Target] = []
    errors: list[PatchError] = []
    for text in node.data.get("targets", ()):
        try:
            found += _target(patch, node, text)
        except PatchError as error:
            errors.append(error)
    if errors:
        raise merged(errors)
    return sorted(found, key=lambda target: target[0])


def _target(patch: Patch, node: Node, text: str) -> Iterator[Target]:
    name, _, role = text.partition("=")
    id, param = patch.split_param(name.strip())
    role = role.strip()
    if "." in id:
        owner = id.partition(".")[0]
        raise PatchError(Fault(f"{shown(text)} is one of the modules of {owner}; play {owner} instead", node=node.id))
    if id not in patch.nodes:
        raise unknown_name("module to play", id, patch.nodes, node=node.id)
    spec = patch.spec(id)
    if role and role not in ROLES:
        nearest = nearest_name(role, ROLES)
        hint = f"did you mean {nearest!r}? " if nearest else ""
        raise PatchError(Fault(f"target {shown(text)}: {hint}a role is one of {', '.join(ROLES)}", node=node.id))
    if param is not None:
        found = spec.param(param, node=id)
        _refuse_event(node, id, found)
        guess = "gate" if found.is_gate else "note" if found.unit == "Hz" else "velocity"
        yield (_FREQ, _VELOCITY, _GATE)[ROLES.index(role or guess)], id, found
        return
    if spec.is_voices:
        yield _VOICES, id, None
        return
    freq, velocity = spec.find_param("freq"), spec.find_param("velocity")
    if spec.gate_param is None and freq is None and velocity is None:
        advice = f"name a parameter, such as {id}.{_any(spec.params)}"
        text = f"{id} ({spec.name}) has no gate, freq or velocity to play; {advice}"
        raise PatchError(Fault(text, node=node.id))
    if freq is not None and node.data.get("notes"):
        yield _FREQ, id, freq
    if velocity is not None:
        yield _VELOCITY, id, velocity
    if spec.gate_param is not None:
        yield _GATE, id, spec.gate_param


def _any(params: tuple[ParamSpec, ...]) -> str:
    return params[0].name if params else "gain"


def _refuse_event(node: Node, id: str, param: ParamSpec) -> None:
    if param.is_event:
        raise PatchError(Fault(f"{id}.{param.name} is a deed, not a value; a seq cannot set it", node=node.id))


def lanes_of(patch: Patch, node: Node) -> list[tuple[str, ParamSpec, list[float]]]:
    """Return (id, parameter, values) of the lanes of a seq. Raises PatchError with all faults."""
    found = []
    errors = []
    for name, text in node.data.get("lanes", {}).items():
        try:
            id, param = patch.split_param(name)
            if param is None:
                raise PatchError(Fault(f"lane {shown(name)} names no parameter; give one, filt1.cutoff", node=node.id))
            spec = patch.spec(id).param(param, node=id)
            _refuse_event(node, id, spec)
            found.append((id, spec, parse_lane(text, spec)))
        except PatchError as error:
            errors.append(error)
        except CommandError as error:
            errors.append(PatchError(Fault(str(error), node=node.id)))
    if errors:
        raise merged(errors)
    return found


class Track:
    """The data of a seq, a Kind of node_data.py."""

    def check(self, patch: Patch, node: Node, data: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the data without what is empty. Raises PatchError with all faults."""
        errors: list[PatchError] = []
        checked: dict[str, Any] = {}
        for key, value in data.items():
            try:
                normal = _normal(key, value)
            except CommandError as error:
                errors.append(PatchError(Fault(str(error), node=node.id)))
                continue
            if normal not in ("", [], {}, None):
                checked[key] = normal
        if errors:
            raise merged(errors)
        checked = {key: checked[key] for key in KEYS if key in checked}
        self._check_names(patch, replace(node, data=checked))
        return checked

    def _check_names(self, patch: Patch, node: Node) -> None:
        errors: list[PatchError] = []
        looks = (clock_of, targets_of, lanes_of) if "clock" in node.data else (targets_of, lanes_of)
        for look in looks:
            try:
                look(patch, node)
            except PatchError as error:
                errors.append(error)
        if errors:
            raise merged(errors)

    def compile(self, patch: Patch, node: Node) -> bytes:
        """Return the bytes for seq.c. Raises PatchError: what it names is not there, or there is no clock."""
        data = node.data
        clock = clock_of(patch, node)
        targets, lanes = targets_of(patch, node), lanes_of(patch, node)
        steps = parse_pattern(data.get("pattern", ""))
        chords, velocities = parse_notes(data.get("notes", "")), parse_velocities(data.get("velocities", ""))
        num, den = parse_division(data.get("division", 4))
        values = [value for _, _, row in lanes for value in row]
        n_hits = sum(step.is_hit for step in steps)
        counts = (len(steps), n_hits, len(chords), len(velocities), len(lanes), len(targets), len(values))
        parts = [_HEAD.pack(_MAGIC, clock.handle, num, den, *counts, 0)]
        parts += [_CHORD.pack(len(chord), *chord, *[0.0] * (MAX_CHORD - len(chord))) for chord in chords]
        parts.append(struct.pack(f"={len(velocities) + len(values)}d", *velocities, *values))
        first = 0
        for id, param, row in lanes:
            parts.append(_LANE.pack(patch.nodes[id].handle, patch.copies(id), param.index, first, len(row), 0))
            first += len(row)
        for kind, id, target in targets:
            parts.append(_TARGET.pack(kind, patch.nodes[id].handle, target.index if target else 0, 0))
        parts += _steps(steps)
        return b"".join(parts)

    def closed(self, patch: Patch, node: Node) -> Iterator[tuple[str, ParamSpec]]:
        """Yield the gates that are to be closed at the start, since notes open them."""
        for kind, id, param in targets_of(patch, node):
            if kind == _GATE and param is not None:
                yield id, param


def _steps(steps: list[Step]) -> Iterator[bytes]:
    n_hits = 0
    for step in steps:
        kind = _ACCENT if step.is_accent else _HIT if step.is_hit else _REST
        yield _STEP.pack(kind, step.ties, n_hits, -1.0 if step.velocity is None else step.velocity)
        n_hits += step.is_hit


def _normal(key: str, value: object) -> Any:
    """Return one entry of the data as it is kept. Raises CommandError."""
    if key not in KEYS:
        nearest = nearest_name(str(key), KEYS)
        hint = f"did you mean {nearest!r}? " if nearest else ""
        raise CommandError(f"a seq takes no {shown(key)}; {hint}known: {', '.join(KEYS)}")
    if key == "division":
        steps, beats = parse_division(value)
        return steps if beats == 1 else f"{steps}/{beats}"
    if key == "targets":
        return _texts("targets", value)
    if key == "lanes":
        return _lanes(value)
    text = _text(key, value)
    if key in _CHECKS:
        _CHECKS[key](text)
    return text


_CHECKS: dict[str, Any] = {"pattern": parse_pattern, "notes": parse_notes, "velocities": parse_velocities}


def _text(key: str, value: object) -> str:
    if not isinstance(value, str):
        raise CommandError(f"{key} must be text, not {shown(value)}")
    if len(value) > _MAX_TEXT:
        raise CommandError(f"{key} has {len(value)} characters, the most is {_MAX_TEXT}; make it shorter")
    return value.strip()


def _texts(key: str, value: object) -> list[str]:
    if isinstance(value, str):
        value = value.split()
    if not isinstance(value, (list, tuple)):
        raise CommandError(f"{key} must be a list of names, not {shown(value)}")
    if len(value) > MAX_TARGETS:
        raise CommandError(f"{len(value)} {key} are more than the {MAX_TARGETS} that a seq may have")
    return list(dict.fromkeys(_text(key, one) for one in value))


def _lanes(value: object) -> dict[str, str]:
    if not isinstance(value, Mapping):
        raise CommandError(f'lanes must be an object such as {{"filt1.cutoff": "400 800"}}, not {shown(value)}')
    if len(value) > MAX_LANES:
        raise CommandError(f"{len(value)} lanes are more than the {MAX_LANES} that a seq may have")
    rows = {_text("a lane's name", name): _text(f"the lane {shown(name)}", text) for name, text in value.items()}
    return {name: text for name, text in rows.items() if text}
