"""Frozen dataclasses for what a control client may ask."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any, ClassVar

from pyengine.errors import CommandError, shown

MAX_CROSSFADE_MS = 1000.0
MIN_TIMEOUT_MS, MAX_TIMEOUT_MS = 1.0, 60_000.0


class Command:
    """The base of all: a frozen dataclass, whose row in addresses.py says how it is sent over OSC."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Create(Command):
    """Add a module to the pending patch."""

    module_id: str
    module_type: str


@dataclass(frozen=True, slots=True)
class Delete(Command):
    """Remove a module and its cables from the pending patch."""

    module_id: str


@dataclass(frozen=True, slots=True)
class Connect(Command):
    """Add a cable to the pending patch, or change the one that is there: x * depth + offset, 64 frames later if
    feedback.
    """

    source: str
    dest: str
    depth: float = 1.0
    offset: float = 0.0
    feedback: bool = False


@dataclass(frozen=True, slots=True)
class Disconnect(Command):
    """Remove a cable from the pending patch."""

    source: str
    dest: str


class DataEdit(Command, ABC):
    """Change what a module of the pending patch is given besides parameters: `kind` says which modules take it."""

    __slots__ = ()
    kind: ClassVar[str]
    module_id: str

    @abstractmethod
    def applied(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Return the data as they are afterwards."""


class _SeqEdit(DataEdit):
    __slots__ = ()
    kind = "pattern"


@dataclass(frozen=True, slots=True)
class SeqPattern(_SeqEdit):
    """Give a seq its pattern: 'X..x-.3.', or '' for none."""

    module_id: str
    text: str

    def applied(self, data: Mapping[str, Any]) -> dict[str, Any]:
        return {**data, "pattern": self.text}


@dataclass(frozen=True, slots=True)
class SeqNotes(_SeqEdit):
    """Give a seq its notes, one for each hit in turn: 'C4 Eb3 . C4+E4+G4', or '' for none."""

    module_id: str
    text: str = ""

    def applied(self, data: Mapping[str, Any]) -> dict[str, Any]:
        return {**data, "notes": self.text}


@dataclass(frozen=True, slots=True)
class SeqVelocities(_SeqEdit):
    """Give a seq its velocities, one for each hit in turn: '1 0.5 0.8', or '' for none."""

    module_id: str
    text: str = ""

    def applied(self, data: Mapping[str, Any]) -> dict[str, Any]:
        return {**data, "velocities": self.text}


@dataclass(frozen=True, slots=True)
class SeqDivision(_SeqEdit):
    """Say how many steps of a seq make a beat: 4, or '1/2'."""

    module_id: str
    division: float | str

    def applied(self, data: Mapping[str, Any]) -> dict[str, Any]:
        number = self.division
        return {**data, "division": int(number) if isinstance(number, float) and number.is_integer() else number}


@dataclass(frozen=True, slots=True)
class SeqLane(_SeqEdit):
    """Let a seq set a parameter with every step: 'filt1.cutoff', '400 800 . 1200', or '' for no more."""

    module_id: str
    param: str
    text: str = ""

    def applied(self, data: Mapping[str, Any]) -> dict[str, Any]:
        return {**data, "lanes": {**data.get("lanes", {}), self.param: self.text}}


@dataclass(frozen=True, slots=True)
class SeqTarget(_SeqEdit):
    """Say what a seq plays: modules, or MODULE.PARAM=note, =velocity, =gate."""

    module_id: str
    targets: tuple[str, ...] = ()

    def applied(self, data: Mapping[str, Any]) -> dict[str, Any]:
        return {**data, "targets": list(self.targets)}


@dataclass(frozen=True, slots=True)
class SeqClock(_SeqEdit):
    """Say which clock a seq follows, where there are several."""

    module_id: str
    clock: str

    def applied(self, data: Mapping[str, Any]) -> dict[str, Any]:
        return {**data, "clock": self.clock}


@dataclass(frozen=True, slots=True)
class SeqClear(_SeqEdit):
    """Take everything from a seq but what it plays on and its clock."""

    module_id: str

    def applied(self, data: Mapping[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in data.items() if key in ("targets", "clock")}


@dataclass(frozen=True, slots=True)
class SetVoices(DataEdit):
    """Say how many voices there are, 1..64."""

    kind = "voices"
    module_id: str
    voices: int

    def applied(self, data: Mapping[str, Any]) -> dict[str, Any]:
        return {**data, "voices": self.voices}


@dataclass(frozen=True, slots=True)
class PatchSample(DataEdit):
    """Give a sampler a file inside the samples folder."""

    kind = "sample"
    module_id: str
    file: str

    def applied(self, data: Mapping[str, Any]) -> dict[str, Any]:
        return {"file": self.file}


@dataclass(frozen=True, slots=True)
class SeqDump(Command):
    """Give what the sequences are given, in the committed and the pending patch; module_id: of this one alone."""

    module_id: str = ""


@dataclass(frozen=True, slots=True)
class NoteOn(Command):
    """Play a note on voices, or on a module with a gate: 'C4', 61, 60.5. velocity: 0..1, 0 ends the note."""

    module_id: str
    note: float | str
    velocity: float | None = None


@dataclass(frozen=True, slots=True)
class NoteOff(Command):
    """Release a note."""

    module_id: str
    note: float | str


@dataclass(frozen=True, slots=True)
class AllOff(Command):
    """Release all notes."""

    module_id: str


@dataclass(frozen=True, slots=True)
class Commit(Command):
    """Make the pending patch the one that sounds. None: the engine's own setting."""

    crossfade_ms: float | None = None
    allow_silence: bool = False
    timeout_ms: float | None = None

    def __post_init__(self) -> None:
        _check_options(self.crossfade_ms, self.allow_silence, self.timeout_ms)


@dataclass(frozen=True, slots=True)
class Abort(Command):
    """Throw the pending edits away, and a commit that is priming."""


@dataclass(frozen=True, slots=True)
class Clear(Command):
    """Empty the pending patch."""


@dataclass(frozen=True, slots=True)
class Undo(Command):
    """Commit the patch before this one. discard: and throw pending edits away. None: the engine's own setting."""

    crossfade_ms: float | None = None
    allow_silence: bool = False
    timeout_ms: float | None = None
    discard: bool = False

    def __post_init__(self) -> None:
        _check_options(self.crossfade_ms, self.allow_silence, self.timeout_ms)
        _check_switch("discard", self.discard)


@dataclass(frozen=True, slots=True)
class SetParam(Command):
    """Set a parameter; the value may be the name of a choice. immediate: without a ramp (not over OSC)."""

    module_id: str
    param: str
    value: float | str
    immediate: bool = False


@dataclass(frozen=True, slots=True)
class Gate(Command):
    """Open (1) or close (0) a gate."""

    module_id: str
    value: int


@dataclass(frozen=True, slots=True)
class RecordStart(Command):
    """Record what is played to a file inside the recordings folder. subtype: 'float' or '24' (bits)."""

    name: str
    subtype: str = "float"


@dataclass(frozen=True, slots=True)
class RecordStop(Command):
    """End the recording."""


@dataclass(frozen=True, slots=True)
class RecordStatus(Command):
    """Tell whether and what is being recorded."""


@dataclass(frozen=True, slots=True)
class SessionStart(Command):
    """Log the session to a file inside the recordings folder, from now on."""

    name: str


@dataclass(frozen=True, slots=True)
class SessionStop(Command):
    """End the session log."""


@dataclass(frozen=True, slots=True)
class SessionStatus(Command):
    """Tell whether and what is being logged."""


@dataclass(frozen=True, slots=True)
class EngineStatus(Command):
    """Tell what the engine is doing, with its counters."""


@dataclass(frozen=True, slots=True)
class EngineModules(Command):
    """List the module types with units, ranges and defaults. type: this one alone; first: the number to begin with."""

    type: str = ""
    first: int = 0


@dataclass(frozen=True, slots=True)
class EngineCommands(Command):
    """List the commands with arguments and answers. under: addresses that begin so; first: the number to begin with."""

    under: str = ""
    first: int = 0


@dataclass(frozen=True, slots=True)
class PatchDump(Command):
    """Give the committed and the pending patch."""


@dataclass(frozen=True, slots=True)
class Notify(Command):
    """Tell the sender what happens (1), or nothing more (0). peer: the sender, whom the server knows (not over OSC)."""

    is_on: int
    topics: tuple[str, ...] = ()
    peer: object = None


@dataclass(frozen=True, slots=True)
class EngineListen(Command):
    """Say what the last seconds of the output are like. picture: of a new PNG inside the recordings folder, or ''."""

    seconds: float = 5.0
    picture: str = ""

    def __post_init__(self) -> None:
        if isinstance(self.seconds, bool) or not isinstance(self.seconds, Real):
            raise CommandError(f"seconds={shown(self.seconds)} is not a number; give seconds of the output")
        if not isinstance(self.picture, str):
            raise CommandError(f"picture={shown(self.picture)} is no file name; give one such as 'now.png', or ''")


@dataclass(frozen=True, slots=True)
class EngineLevels(Command):
    """Tell how loud the modules and the output are. first: the number of the module to begin with."""

    first: int = 0


@dataclass(frozen=True, slots=True)
class EngineSync(Command):
    """Answer when all before it has been rendered by the active slot."""


def _check_options(crossfade_ms: object, allow_silence: object, timeout_ms: object) -> None:
    _check_number("crossfade", crossfade_ms, 0.0, MAX_CROSSFADE_MS)
    _check_number("timeout", timeout_ms, MIN_TIMEOUT_MS, MAX_TIMEOUT_MS)
    _check_switch("allow_silence", allow_silence)


def _check_switch(name: str, value: object) -> None:
    if not isinstance(value, bool):
        raise CommandError(f"{name}={shown(value)} is neither True nor False; give one")


def _check_number(name: str, value: object, low: float, high: float) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, Real):
        raise CommandError(f"{name}={shown(value)} is not a number; give {low:g}..{high:g} ms")
    if not low <= float(value) <= high:  # NaN too
        raise CommandError(f"{name}={shown(value)} ms is outside {low:g}..{high:g} ms; choose one inside")
