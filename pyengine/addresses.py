"""The table of OSC commands, as data: address, arguments, answer, example, help.

Parsing and its errors (requests.py), the page docs/osc.md (docs/generate.py) and /engine/commands are made of it. A new
command takes a class in commands.py, a row here, and a line in dispatch.py that says who executes it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from pyengine import commands, replies
from pyengine.commands import MAX_CROSSFADE_MS, MAX_TIMEOUT_MS, MIN_TIMEOUT_MS
from pyengine.errors import CommandError, shown
from pyengine.events import EVENTS, TOPICS
from pyengine.patterns import is_pattern, matching
from pyengine.replies import Field

KINDS = {
    "string": "a string that is not empty",
    "number": "a finite number",
    "integer": "a whole number",
    "text": "a string, which may be empty",
    "switch": "0, 1, true, false, 'on' or 'off'",
    "value": "a number in the parameter's unit, or the name of a choice",
}
_SWITCH = "0|1|on|off|true|false"


@dataclass(frozen=True, slots=True)
class Argument:
    """What a command takes. field: of the command's class; kind: one of KINDS.

    NAME in the address stands for a part of it. An option is given as a pair of name and value, in any order behind the
    others. The last one may be `many`: it takes all that is left, as a tuple.
    """

    name: str
    field: str
    kind: str
    help: str
    unit: str = ""
    min: float | None = None
    max: float | None = None
    choices: tuple[str, ...] = ()
    is_optional: bool = False
    default: Any = None  # what is taken when it is left out; None: nothing, or as `help` says
    is_option: bool = False
    is_many: bool = False
    takes_pattern: bool = False  # of one that stands in the address

    @property
    def usage(self) -> str:
        """How it stands in the usage of its command."""
        if self.is_option:
            value = "0|1" if self.kind == "switch" else self.unit.upper() or ("NAME" if self.kind == "string" else "N")
            return f"[{self.name} {value}]"
        text = "|".join(self.choices) or (_SWITCH if self.kind == "switch" else self.name)
        if self.is_many:
            text += " ..."
        return f"[{text}]" if self.is_optional else text

    @property
    def range_text(self) -> str:
        """Its range for a reader, '' where it has none."""
        if self.choices:
            return ", ".join(self.choices)
        if self.min is None or self.max is None:
            return "" if self.kind != "switch" else KINDS["switch"]
        return f"{self.min:g}..{self.max:g}" + (f" {self.unit}" if self.unit else "")

    def as_dict(self) -> dict[str, Any]:
        """Return what a listing shows."""
        return {
            "name": self.name,
            "type": self.kind,
            "unit": self.unit,
            "min": self.min,
            "max": self.max,
            "choices": list(self.choices),
            "is_optional": self.is_optional or self.is_option,
            "default": self.default,
            "is_option": self.is_option,
            "is_many": self.is_many,
            "takes_pattern": self.takes_pattern,
            "help": self.help,
        }


@dataclass(frozen=True, slots=True)
class Route:
    """One row of the table. reply: the fields that follow the address in /done, as one JSON object or one by one."""

    address: str
    command: type[Any]
    arguments: tuple[Argument, ...]
    example: str
    help: str
    reply: tuple[Field, ...] = ()
    is_json: bool = True
    parts: tuple[str, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "parts", tuple(self.address.split("/")[1:]))

    @property
    def in_address(self) -> tuple[Argument, ...]:
        """The arguments that are parts of the address, in its order."""
        return tuple(argument for argument in self.arguments if argument.name in self.parts)

    @property
    def behind(self) -> tuple[Argument, ...]:
        """The arguments that follow the address, options not among them."""
        return tuple(a for a in self.arguments if a.name not in self.parts and not a.is_option)

    @property
    def options(self) -> tuple[Argument, ...]:
        """The arguments that are given by name."""
        return tuple(argument for argument in self.arguments if argument.is_option)

    @property
    def usage(self) -> str:
        return " ".join([self.address, *(a.usage for a in (*self.behind, *self.options))])

    def as_dict(self) -> dict[str, Any]:
        """Return what /engine/commands tells of it."""
        return {
            "address": self.address,
            "usage": self.usage,
            "help": self.help,
            "example": self.example,
            "arguments": [argument.as_dict() for argument in self.arguments],
            "reply": "json" if self.reply and self.is_json else "values",
            "reply_fields": [field.as_dict() for field in self.reply],
        }


def _id(help: str, name: str = "ID", field: str = "module_id", takes_pattern: bool = False) -> Argument:
    return Argument(name, field, "string", help, takes_pattern=takes_pattern)


_SOURCE = _id("module, or MODULE.PORT", "SOURCE", "source")
_DEST = _id("module, MODULE.PORT, or MODULE.PARAM, whose value is then the setting plus the cable", "DEST", "dest")
_CABLE = (
    Argument("depth", "depth", "number", "factor; a parameter's unit", "", -1e6, 1e6, default=1.0, is_option=True),
    Argument("offset", "offset", "number", "added; a parameter's unit", "", -1e6, 1e6, default=0.0, is_option=True),
    Argument("feedback", "feedback", "switch", "64 frames later; may close a cycle", default=0, is_option=True),
)
_OPTIONS = (
    Argument(
        "crossfade",
        "crossfade_ms",
        "number",
        "of the swap; 5 ms unless the engine was told otherwise (--crossfade)",
        "ms",
        0.0,
        MAX_CROSSFADE_MS,
        default=5.0,
        is_option=True,
    ),
    Argument("allow_silence", "allow_silence", "switch", "take a silent patch too", default=0, is_option=True),
    Argument(
        "timeout",
        "timeout_ms",
        "number",
        "for it to be ready; 500 ms unless the engine was told otherwise (--prime-timeout)",
        "ms",
        MIN_TIMEOUT_MS,
        MAX_TIMEOUT_MS,
        default=500.0,
        is_option=True,
    ),
)
_DISCARD = Argument("discard", "discard", "switch", "throw pending edits away", default=0, is_option=True)
_FIRST = Argument("first", "first", "integer", "number of the first one", "", 0, 9999, default=0, is_option=True)

_SEQ = _id("sequence")
_NOTE = Argument("NOTE", "note", "value", "name such as C4, F#5, Eb3, or number, 0..127, fractions allowed; C4 is 60")


def _text(help: str, is_optional: bool = False) -> Argument:
    return Argument("TEXT", "text", "text", help, is_optional=is_optional, default="" if is_optional else None)


TABLE: tuple[Route, ...] = (
    Route(
        "/patch/create",
        commands.Create,
        (_id("of the new module: A-Z a-z 0-9 _ -"), _id("of module, see modules.md", "TYPE", "module_type")),
        "/patch/create osc1 simple_sine",
        "Add a module to the pending patch.",
    ),
    Route("/patch/delete", commands.Delete, (_id("module"),), "/patch/delete osc1", "Remove a module and its cables."),
    Route(
        "/patch/connect",
        commands.Connect,
        (_SOURCE, _DEST, *_CABLE),
        "/patch/connect osc2 filt1.cutoff depth 800",
        "Add a cable, or change the one that is there; what comes out of it is x times depth plus offset.",
    ),
    Route(
        "/patch/disconnect", commands.Disconnect, (_SOURCE, _DEST), "/patch/disconnect osc1 filt1", "Remove a cable."
    ),
    Route(
        "/patch/voices",
        commands.SetVoices,
        (_id("module of type voices"), Argument("N", "voices", "integer", "voices", "", 1, 64)),
        "/patch/voices poly 8",
        "Say how many notes sound at once.",
    ),
    Route(
        "/patch/sample",
        commands.PatchSample,
        (
            _id("module of type sampler"),
            Argument("FILE", "file", "string", "a WAV, FLAC or AIFF file in the samples folder"),
        ),
        "/patch/sample sampler1 kick.wav",
        "Give a sampler what it plays.",
        replies.SAMPLE,
    ),
    Route(
        "/patch/commit",
        commands.Commit,
        _OPTIONS,
        "/patch/commit crossfade 20",
        "Prime the pending patch and swap to it.",
        replies.COMMIT,
    ),
    Route("/patch/abort", commands.Abort, (), "/patch/abort", "Throw the pending edits away."),
    Route("/patch/clear", commands.Clear, (), "/patch/clear", "Empty the pending patch."),
    Route(
        "/patch/undo",
        commands.Undo,
        (*_OPTIONS, _DISCARD),
        "/patch/undo",
        "Commit the patch before this one; refused while edits are pending, unless it is to discard them.",
        replies.COMMIT,
    ),
    Route(
        "/patch/dump",
        commands.PatchDump,
        (),
        "/patch/dump",
        "Give the committed and the pending patch.",
        replies.DUMP,
    ),
    Route(
        "/mod/ID/PARAM",
        commands.SetParam,
        (
            _id("module, or a pattern for several", takes_pattern=True),
            _id("parameter, see modules.md, or a pattern for several", "PARAM", "param", takes_pattern=True),
            Argument("VALUE", "value", "value", "in the parameter's unit and range, see modules.md"),
        ),
        "/mod/osc1/freq 440.0",
        "Set a parameter: a number in its unit, or the name of a choice.",
        replies.VALUE,
        is_json=False,
    ),
    Route(
        "/gate/ID",
        commands.Gate,
        (
            _id("module, or a pattern for several", takes_pattern=True),
            Argument("GATE", "value", "switch", "1 opens it, 0 closes it"),
        ),
        "/gate/env1 1",
        "Open or close a gate.",
        replies.GATE,
        is_json=False,
    ),
    Route(
        "/seq/pattern",
        commands.SeqPattern,
        (_SEQ, _text("X accent, x hit, 1-9 hit that strong, . rest, - or _ hold; spaces and | mean nothing")),
        "/seq/pattern seq1 X...x..x",
        "Give a sequence its pattern, in the pending patch.",
    ),
    Route(
        "/seq/notes",
        commands.SeqNotes,
        (_SEQ, _text("names or numbers, + for chords, . for a rest: C4 Eb3 C4+E4+G4; none for nothing", True)),
        "/seq/notes seq1 C4",
        "Give a sequence its notes, one for each hit in turn.",
    ),
    Route(
        "/seq/velocities",
        commands.SeqVelocities,
        (_SEQ, _text("numbers, 0..1; none for nothing", True)),
        "/seq/velocities seq1 0.5",
        "Give a sequence its velocities, one for each hit in turn.",
    ),
    Route(
        "/seq/division",
        commands.SeqDivision,
        (_SEQ, Argument("DIVISION", "division", "value", "steps to a beat, 1..64, or a fraction such as 1/2 or 4/3")),
        "/seq/division seq1 4",
        "Say how many steps make a beat.",
    ),
    Route(
        "/seq/lane",
        commands.SeqLane,
        (
            _SEQ,
            Argument("PARAM", "param", "string", "MODULE.PARAM that is set"),
            _text("values, one for each step, . leaves it as it is; none for no such lane", True),
        ),
        "/seq/lane seq1 filt1.cutoff 800",
        "Let a sequence set a parameter with every step.",
    ),
    Route(
        "/seq/target",
        commands.SeqTarget,
        (
            _SEQ,
            Argument(
                "TARGET",
                "targets",
                "string",
                "modules, or MODULE.PARAM=note, =velocity, =gate",
                is_optional=True,
                default=(),
                is_many=True,
            ),
        ),
        "/seq/target seq1 kick1",
        "Say what a sequence plays.",
    ),
    Route(
        "/seq/clock",
        commands.SeqClock,
        (_SEQ, _id("of a clock", "CLOCK", "clock")),
        "/seq/clock seq1 clock1",
        "Say which clock a sequence follows, where there are several.",
    ),
    Route(
        "/seq/clear",
        commands.SeqClear,
        (_SEQ,),
        "/seq/clear seq1",
        "Take pattern, notes, velocities and lanes from a sequence.",
    ),
    Route(
        "/seq/dump",
        commands.SeqDump,
        (Argument("ID", "module_id", "string", "of this sequence alone", is_optional=True, default=""),),
        "/seq/dump",
        "Give what the sequences are given.",
        replies.SEQS,
    ),
    Route(
        "/note/on",
        commands.NoteOn,
        (
            _id("voices, or a module with a gate"),
            _NOTE,
            Argument(
                "VELOCITY", "velocity", "number", "how hard; 0 ends the note", "", 0, 1, is_optional=True, default=0.8
            ),
        ),
        "/note/on poly C4 0.8",
        "Play a note.",
        replies.NOTE,
        is_json=False,
    ),
    Route(
        "/note/off",
        commands.NoteOff,
        (_id("voices, or a module with a gate"), _NOTE),
        "/note/off poly C4",
        "Release a note.",
        replies.NOTE,
        is_json=False,
    ),
    Route(
        "/note/all_off",
        commands.AllOff,
        (_id("voices, or a module with a gate"),),
        "/note/all_off poly",
        "Release all notes.",
    ),
    Route(
        "/record/start",
        commands.RecordStart,
        (
            Argument(
                "NAME", "name", "string", "of the file, ending in .wav or .flac; .wav is added where neither is there"
            ),
            Argument(
                "FORMAT",
                "subtype",
                "string",
                "floats or 24 bits (FLAC: 24)",
                choices=("float", "24"),
                is_optional=True,
                default="float",
            ),
        ),
        "/record/start take1.wav",
        "Record what is played to a file inside the recordings folder: WAV of floats or of 24 bits, or FLAC.",
        replies.RECORDING,
    ),
    Route("/record/stop", commands.RecordStop, (), "/record/stop", "End the recording.", replies.STOPPED),
    Route(
        "/record/status",
        commands.RecordStatus,
        (),
        "/record/status",
        "Tell whether and what is recorded.",
        replies.RECORDING,
    ),
    Route(
        "/session/start",
        commands.SessionStart,
        (Argument("NAME", "name", "string", "of the file; .session is added"),),
        "/session/start evening.session",
        "Log the session to a file inside the recordings folder; `pyengine replay` plays it again, bit for bit.",
        replies.SESSION,
    ),
    Route("/session/stop", commands.SessionStop, (), "/session/stop", "End the session log.", replies.SESSION),
    Route(
        "/session/status",
        commands.SessionStatus,
        (),
        "/session/status",
        "Tell whether and what is logged.",
        replies.SESSION,
    ),
    Route(
        "/engine/status",
        commands.EngineStatus,
        (),
        "/engine/status",
        "Tell what the engine is doing, with its counters.",
        replies.STATUS,
    ),
    Route(
        "/engine/modules",
        commands.EngineModules,
        (
            Argument("type", "type", "string", "this type alone", default="", is_option=True),
            _FIRST,
        ),
        "/engine/modules",
        "List the module types with units, ranges and defaults, as many as a datagram holds.",
        replies.MODULES,
    ),
    Route(
        "/engine/commands",
        commands.EngineCommands,
        (
            Argument("under", "under", "string", "addresses that begin so", default="", is_option=True),
            _FIRST,
        ),
        "/engine/commands under /patch",
        "List the commands with arguments, units, ranges, defaults and answers, as many as a datagram holds.",
        replies.COMMANDS,
    ),
    Route(
        "/notify",
        commands.Notify,
        (
            Argument("ON", "is_on", "switch", "1 to be told what happens, 0 to be told nothing more"),
            Argument(
                "TOPIC",
                "topics",
                "string",
                "of what; all of them where none is named",
                choices=TOPICS,
                is_optional=True,
                is_many=True,
            ),
        ),
        "/notify 1 commits values",
        "Tell the sender what happens, as /event/...; over UDP for 60 s, then ask again.",
        replies.NOTIFY,
    ),
    Route(
        "/engine/listen",
        commands.EngineListen,
        (
            Argument(
                "SECONDS",
                "seconds",
                "number",
                "of the output, up to now",
                "s",
                1e-5,
                600.0,
                is_optional=True,
                default=5.0,
            ),
            Argument(
                "PICTURE",
                "picture",
                "string",
                "a new file inside the recordings folder, ending in .png, to draw it into",
                is_optional=True,
                default="",
            ),
        ),
        "/engine/listen 5 now.png",
        "Say what the last seconds of the output are like, in words and figures, for one who cannot hear.",
        replies.LISTEN,
    ),
    Route(
        "/engine/levels",
        commands.EngineLevels,
        (_FIRST,),
        "/engine/levels",
        "Tell how loud the modules and the output are. They are measured for a second after each such request.",
        replies.LEVELS,
    ),
    Route(
        "/engine/sync",
        commands.EngineSync,
        (),
        "/engine/sync",
        "Answer when all before it has been rendered by the active slot.",
        replies.SYNC,
    ),
)

BY_COMMAND = {route.command: route for route in TABLE}
_BY_ADDRESS = {route.address: route for route in TABLE if not route.in_address}
_WITH_NAMES = tuple(route for route in TABLE if route.in_address)


def find(address: str) -> tuple[Route, list[str]] | None:
    """Return the row of an address and the names, or patterns, that stand in it; None for an address that is none.

    Raises CommandError for a pattern that is none, or that stands for commands instead of names.
    """
    route = _BY_ADDRESS.get(address)
    if route is not None:
        return route, []
    parts = address.split("/")[1:]
    found = [(route, names) for route in _WITH_NAMES if (names := _names(route, parts)) is not None]
    if len(found) > 1:
        usages = " and ".join(route.usage for route, _ in found)
        raise CommandError(f"{shown(address)} stands for {usages}; name the command, and send one message for each")
    return found[0] if found else None


def _names(route: Route, parts: list[str]) -> list[str] | None:
    if len(parts) != len(route.parts) or not all(parts):
        return None
    holes = {argument.name for argument in route.in_address}
    pairs = list(zip(parts, route.parts, strict=True))
    if not all(_is_meant(part, wanted) for part, wanted in pairs if wanted not in holes):
        return None
    return [part for part, wanted in pairs if wanted in holes]


def _is_meant(part: str, wanted: str) -> bool:
    return part == wanted or (is_pattern(part) and bool(matching(part, [wanted])))


def filled(route: Route, names: Iterable[str]) -> str:
    """Return the address of a row with names for what stands in it."""
    holes, left = {argument.name for argument in route.in_address}, iter(names)
    return "/" + "/".join(next(left) if part in holes else part for part in route.parts)


def describe() -> list[dict[str, Any]]:
    """Return the commands, and behind them the events, as plain rows for listings."""
    return [route.as_dict() for route in TABLE] + [event.as_dict() for event in EVENTS]
