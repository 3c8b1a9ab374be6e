"""ModuleSpec and ParamSpec, read from the C descriptors, never retyped in Python."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, lru_cache
from itertools import islice
from numbers import Real
from typing import Any

from pyengine.errors import CommandError, Fault, ParamRangeError, UnknownNameError, shown
from pyengine.notes import parse_note

_RAMPED, _NYQUIST, _GATE, _INTEGER, _CABLE, _EVENT, _TUNES = (
    1,
    2,
    4,
    8,
    16,
    32,
    64,
)  # PE_PARAM_... of csrc/api.h; a test compares
_CABLE_FRAMES, _CABLE_EVENT_FRAMES = 16, 64  # PE_CABLE_...FRAMES of csrc/api.h; a test compares
_MANY_NAMES = 300  # above this the search for the nearest name is narrowed first: it answers strangers
_NAMES_LISTED = 32  # all module types
_NAMES_SCANNED, _NAMES_ALIKE = 4096, 100  # then: so many are looked at, and so many of them compared
_NYQUIST_MARGIN_HZ = 10.0
_MAX_FACTOR = 16.0  # a parameter without a unit, 0 to at most this, is a factor or a share: 1 is the whole
_SIDES = ("left", "right")
_GATE_WORDS = {"on": 1, "true": 1, "off": 0, "false": 0}


def nearest_name(name: str, names: Iterable[str]) -> str:
    """Return the valid name most like `name`, whatever its case, or ''. Takes bounded time."""
    wanted = name[:64].lower()
    pool = list(names)
    if len(pool) > _MANY_NAMES:
        scanned = islice(pool, _NAMES_SCANNED)
        alike = (n for n in scanned if n[:1].lower() == wanted[:1] and abs(len(n) - len(wanted)) <= 2)
        pool = list(islice(alike, _NAMES_ALIKE))
    return _closest(wanted, tuple(pool))


@lru_cache(maxsize=256)  # a sequencer that plays a deleted module asks the same again and again
def _closest(wanted: str, names: tuple[str, ...]) -> str:
    import difflib  # only on an error; keeps the import of the package quick

    by_lower = {n.lower(): n for n in reversed(names)}
    words = [n for n in reversed(by_lower) if wanted in n.replace(".", "_").split("_")]
    found = words or difflib.get_close_matches(wanted, by_lower, n=3, cutoff=0.6)
    if not found and len(wanted) >= 3:  # a part of it, as sin of simple_sine
        found = [n for n in reversed(by_lower) if wanted in n or (len(n) >= 3 and n in wanted)]

    def likeness(name: str) -> tuple[bool, float, int]:
        ratio = difflib.SequenceMatcher(None, name, wanted).ratio()
        return sorted(name) == sorted(wanted), ratio, -abs(len(name) - len(wanted))  # letters that changed places first

    return by_lower[max(found, key=likeness)] if found else ""


def unknown_name(what: str, name: str, names: Iterable[str], *, node: str = "") -> UnknownNameError:
    """Return the error for a name that is none of `names`, with the nearest and the first few of them."""
    valid = list(names)
    nearest = nearest_name(name, valid)
    hint = f"did you mean {nearest!r}? " if nearest else ""
    listed = ", ".join(valid[:_NAMES_LISTED])
    if len(valid) > _NAMES_LISTED:
        listed += f" and {len(valid) - _NAMES_LISTED} more"
    text = f"unknown {what} {shown(name)}; {hint}valid: {listed or 'none yet'}"
    return UnknownNameError(Fault(text, node=node, nearest=nearest))


def number_text(value: float) -> str:
    """Return a number as a person would write it, without losing digits that matter."""
    text = f"{value:g}"
    return text if float(text) == value and "e" not in text else repr(value).removesuffix(".0")


def of_127(value: object) -> str:
    """Return what a number is that was meant as one of MIDI's 127, or of a hundred, where the whole is 1; else ''."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return ""
    number = float(value)
    if not 2 <= number <= 127 or not number.is_integer():  # NaN too
        return ""
    percent = f", {number:g} % is {number_text(number / 100)}" if number <= 100 else ""
    return f" ({number:g} of MIDI's 127 is {number_text(round(number / 127, 3))}{percent})"


def parse_gate(value: object, *, node: str = "", name: str = "gate") -> int:
    """Return 0 or 1 for 0, 1, true, false, 'on', 'off'. Raises ParamRangeError for anything else."""
    if isinstance(value, str):
        word = _GATE_WORDS.get(value.lower())
        if word is not None:
            return word
    elif (isinstance(value, Real) or _is_numpy_bool(value)) and (value == 0 or value == 1):
        return int(value == 1)
    text = f"{name}={shown(value)} is neither on nor off; give 0, 1, true, false, 'on' or 'off'"
    raise ParamRangeError(Fault(text, node=node, param=name))


def _is_numpy_bool(value: object) -> bool:
    """numpy's own truth value is no Real."""
    return getattr(getattr(value, "dtype", None), "kind", "") == "b" and getattr(value, "shape", None) == ()


@dataclass(frozen=True, slots=True)
class ParamSpec:
    """One parameter of a module type. min, max, default are in `unit`; index is its number in C."""

    name: str
    alias: str
    unit: str
    choices: tuple[str, ...]
    help: str
    min: float
    max: float
    default: float
    ramp_ms: float
    is_ramped: bool
    is_gate: bool
    is_integer: bool
    cable_frames: int
    """Frames from one look at its cables to the next: 1 where they drive it at every frame; 0: it takes none."""
    max_is_nyquist: bool
    index: int = 0
    is_event: bool = False
    """Setting it does something at that moment; no value is kept."""

    @property
    def takes_cable(self) -> bool:
        return self.cable_frames > 0

    def range_at(self, sample_rate_hz: float | None) -> tuple[float, float]:
        """Return (min, max) at a rate; without one a maximum that follows Nyquist is infinite."""
        if not self.max_is_nyquist:
            return self.min, self.max
        if sample_rate_hz is None:
            return self.min, math.inf
        return self.min, sample_rate_hz / 2 - _NYQUIST_MARGIN_HZ

    def parse(self, value: object, sample_rate_hz: float | None = None, *, node: str = "") -> float:
        """Return the value as a float in range, from a number, a gate word or the name of a choice.

        Raises ParamRangeError that names the node: not a real number, NaN, infinite, a fraction where
        whole numbers are asked for, outside the range (of the rate, where one is given).
        """
        if self.is_gate:
            return float(parse_gate(value, node=node, name=self.name))
        if isinstance(value, str) and self.choices:
            return self._choice(value, node)
        if isinstance(value, bool) or not isinstance(value, Real):
            wanted = f"a number or one of {', '.join(self.choices)}" if self.choices else "a number"
            hint = "" if self.choices else self._as_number(value, sample_rate_hz)
            raise self._fault(f"{self.name}={shown(value)} is not a number; give {wanted}{hint}", node)
        try:
            number = float(value)
        except (OverflowError, ValueError):
            number = math.inf
        if not math.isfinite(number):
            wanted = self.range_text(sample_rate_hz)
            raise self._fault(f"{self.name}={shown(value)} is not finite; give {wanted}", node)
        if self.is_integer and not number.is_integer():
            raise self._fault(f"{self.name}={number_text(number)} is not a whole number; round it", node)
        self.check_range(number, sample_rate_hz, node=node)
        return number

    def check_range(self, value: float, sample_rate_hz: float | None, *, node: str = "") -> None:
        """Raise ParamRangeError if a number is outside the range at this rate."""
        low, high = self.range_at(sample_rate_hz)
        if low <= value <= high:
            return
        advice = "raise it" if value < low else "lower it"
        if self.unit == "ms" and 0 < value < low <= 1000 * value <= high:
            advice += f" ({number_text(value)} s are {number_text(1000 * value)} ms)"
        if value > high and self.max_is_nyquist:
            advice += " or raise the sample rate"
        if value > high and not self.unit and low == 0 and high <= _MAX_FACTOR and not self.is_integer:
            advice += of_127(value)
        given = f"{self.name}={number_text(value)}{self._unit()}"
        text = f"{given} is outside {self.range_text(sample_rate_hz)}; {advice}"
        raise self._fault(text, node, low if value < low else high)

    def range_text(self, sample_rate_hz: float | None) -> str:
        """Return the range for a reader, such as '10..23990 Hz (Nyquist - 10 at 48000 Hz)'."""
        low, high = self.range_at(sample_rate_hz)
        if math.isinf(high):
            return f"{number_text(low)}..Nyquist - {number_text(_NYQUIST_MARGIN_HZ)}{self._unit()}"
        text = f"{number_text(low)}..{number_text(high)}{self._unit()}"
        if self.max_is_nyquist and sample_rate_hz is not None:
            text += f" (Nyquist - {number_text(_NYQUIST_MARGIN_HZ)} at {number_text(sample_rate_hz)} Hz)"
        return text

    def as_dict(self, sample_rate_hz: float | None = None) -> dict[str, Any]:
        """Return what a listing shows. max is None where it follows Nyquist and no rate is given."""
        low, high = self.range_at(sample_rate_hz)
        return {
            "name": self.name,
            "alias": self.alias,
            "unit": self.unit,
            "min": low,
            "max": high if math.isfinite(high) else None,
            "default": self.default,
            "range": self.range_text(sample_rate_hz),
            "choices": list(self.choices),
            "ramp_ms": self.ramp_ms if self.is_ramped else 0.0,
            "is_gate": self.is_gate,
            "is_integer": self.is_integer,
            "takes_cable": self.takes_cable,
            "cable_frames": self.cable_frames,
            "is_event": self.is_event,
            "help": self.help,
        }

    def _as_number(self, value: object, sample_rate_hz: float | None) -> str:
        """Return what to give instead of a text: the range, and what a note or a number with a unit would be."""
        text = f", {self.range_text(sample_rate_hz)}"
        if self.unit != "Hz" or not isinstance(value, str):
            return text
        try:
            note = parse_note(value)
        except CommandError:
            return text
        return f"{text}; the note {value} is {440 * 2 ** ((note - 69) / 12):.2f} Hz"

    def _unit(self) -> str:
        return f" {self.unit}" if self.unit else ""

    def _fault(self, text: str, node: str, limit: float | None = None) -> ParamRangeError:
        return ParamRangeError(Fault(text, node=node, param=self.name, limit=limit))

    def _choice(self, value: str, node: str) -> float:
        if value in self.choices:
            return float(self.choices.index(value))
        nearest = nearest_name(value, self.choices)
        hint = f"did you mean {nearest!r}? " if nearest else ""
        text = f"{self.name}={shown(value)} is no choice; {hint}choices: {', '.join(self.choices)}"
        raise ParamRangeError(Fault(text, node=node, param=self.name, nearest=nearest))


@dataclass(frozen=True, slots=True)
class ModuleSpec:
    """One module type. inputs, outputs: port names; index: its number in the C registry."""

    name: str
    help: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    params: tuple[ParamSpec, ...]
    index: int
    state_version: int
    data: str = ""
    """What a node may be given besides parameters: 'sample', 'pattern', ''."""
    absorbs: bool = False
    """Cables into it close no cycle: it puts out what came in one block before."""
    events: int = 0
    """Above 0 it has no audio, but sets other modules' parameters: 1 a clock, 2 a sequence, 3 voices."""
    gate_param: ParamSpec | None = field(init=False, repr=False, compare=False)
    """The parameter that /gate/ID sets, or None."""
    _by_name: dict[str, ParamSpec] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "gate_param", next((param for param in self.params if param.is_gate), None))
        names = {name: param for param in reversed(self.params) for name in (param.alias, param.name) if name}
        object.__setattr__(self, "_by_name", names)

    def param(self, name: str, *, node: str = "") -> ParamSpec:
        """Return a parameter by its name or alias. Raises UnknownNameError with the nearest."""
        found = self.find_param(name)
        if found is None:
            raise unknown_name(f"parameter of {self.name}", name, self._names(self.params), node=node)
        return found

    def find_param(self, name: str) -> ParamSpec | None:
        """Return a parameter by its name or alias, or None."""
        return self._by_name.get(name)

    @property
    def is_late(self) -> bool:
        """Cables into it close no cycle: what they bring takes effect 64 frames later."""
        return self.absorbs or self.events > 0

    @property
    def is_clock(self) -> bool:
        return self.events == 1

    @property
    def is_voices(self) -> bool:
        """It owns modules, ids `its.id`, and its outputs are what their parameters may follow, note by note."""
        return self.events == 3

    @property
    def is_stereo_out(self) -> bool:
        """Its outputs begin with left, right: one name means both."""
        return self.outputs[:2] == _SIDES

    @property
    def is_stereo_in(self) -> bool:
        """Its inputs begin with left, right: one name means both."""
        return self.inputs[:2] == _SIDES

    @property
    def cable_params(self) -> tuple[ParamSpec, ...]:
        """The parameters that a cable may drive."""
        return tuple(param for param in self.params if param.takes_cable)

    def as_dict(self, sample_rate_hz: float | None = None) -> dict[str, Any]:
        """Return what a listing shows: ports, and each parameter with unit, range and default."""
        return {
            "name": self.name,
            "help": self.help,
            "inputs": list(self.inputs),
            "outputs": list(self.outputs),
            "data": self.data,
            "params": [param.as_dict(sample_rate_hz) for param in self.params],
        }

    @staticmethod
    def _names(params: Iterable[ParamSpec]) -> list[str]:
        return [name for param in params for name in (param.name, param.alias) if name]


@dataclass(frozen=True, slots=True)
class Registry:
    """The module types by name, in the order of the C registry."""

    modules: tuple[ModuleSpec, ...]
    _by_name: dict[str, ModuleSpec] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_by_name", {module.name: module for module in self.modules})

    @classmethod
    def from_dicts(cls, rows: Iterable[Mapping[str, Any]]) -> Registry:
        """Return the registry described by rows as `_native.describe_modules()` gives them."""
        return cls(tuple(_module(row, index) for index, row in enumerate(rows)))

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._by_name)

    def get(self, type_name: str) -> ModuleSpec:
        """Return a module type. Raises UnknownNameError with the nearest."""
        if not isinstance(type_name, str):
            raise UnknownNameError(Fault(f"the module type must be a string, not {shown(type_name)}"))
        spec = self._by_name.get(type_name)
        if spec is None:
            raise unknown_name("module type", type_name, self._by_name)
        return spec

    def as_list(self, sample_rate_hz: float | None = None) -> list[dict[str, Any]]:
        """Return what a listing shows of every module type."""
        return [module.as_dict(sample_rate_hz) for module in self.modules]

    def __getitem__(self, type_name: str) -> ModuleSpec:
        return self.get(type_name)

    def __contains__(self, type_name: object) -> bool:
        return type_name in self._by_name

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_name)

    def __len__(self) -> int:
        return len(self._by_name)


@cache
def registry() -> Registry:
    """Return the registry of the modules compiled in."""
    from pyengine import _native  # here, so that patches can be handled as data without the extension

    return Registry.from_dicts(_native.describe_modules())


def _module(row: Mapping[str, Any], index: int) -> ModuleSpec:
    return ModuleSpec(
        name=row["name"],
        help=row["help"],
        inputs=_words(row["inputs"]),
        outputs=_words(row["outputs"]),
        params=tuple(_param(param, number, bool(row.get("events"))) for number, param in enumerate(row["params"])),
        index=index,
        state_version=int(row["state_version"]),
        data=str(row.get("data", "")),
        absorbs=bool(row.get("absorbs", False)),
        events=int(row.get("events", 0)),
    )


def _param(row: Mapping[str, Any], index: int, has_no_audio: bool) -> ParamSpec:
    flags = int(row["flags"])
    in_steps = _CABLE_EVENT_FRAMES if has_no_audio else _CABLE_FRAMES
    return ParamSpec(
        name=row["name"],
        alias=row["alias"],
        unit=row["unit"],
        choices=_words(row["choices"]),
        help=row["help"],
        min=float(row["min"]),
        max=float(row["max"]),
        default=float(row["default_value"]),
        ramp_ms=row["ramp_us"] / 1000,
        is_ramped=bool(flags & _RAMPED),
        is_gate=bool(flags & _GATE),
        is_integer=bool(flags & _INTEGER),
        cable_frames=0 if flags & _EVENT else 1 if flags & _CABLE else in_steps,
        max_is_nyquist=bool(flags & _NYQUIST),
        index=index,
        is_event=bool(flags & _EVENT),
    )


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())
