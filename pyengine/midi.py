"""What MIDI means to a patch, and files of it. Files need mido: the extra midi."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from pyengine.commands import Command, Gate, SetParam
from pyengine.controllers import PRESSURE, Controller, op_at
from pyengine.errors import CommandError, EngineError, PatchError, shown
from pyengine.patch import Op, Patch
from pyengine.playing import all_off, note_off, note_on

MAX_FILE_BYTES = 1 << 24
BEND_SEMITONES = 2.0  # of a pitch wheel at its end: what MIDI instruments begin with
_SUSTAIN, _RESET = 64, 121
_ALL_OFF = (120, 123, 124, 125, 126, 127)  # the last four change a mode and end all notes by that
_INSTALL = "install it: pip install 'pyengine[midi]'"


class MidiError(EngineError, ValueError):
    """A MIDI file cannot be read, a port not opened, or a library is missing."""


@dataclass(frozen=True, slots=True)
class MidiEvent:
    """What a channel, 1 to 16, is told. kind: 'on', 'off' (number: the note; value: velocity 0..1), 'bend' (value:
    semitones), 'sustain' (value: 0 or 1), 'control' (number: the controller; value: 0..1), 'pressure' (value: 0..1),
    'all off', 'reset' (pedal and wheel at rest).
    """

    seconds: float
    channel: int
    kind: str
    number: int = 0
    value: float = 0.0


def event_from(
    status: int, first: int, second: int, seconds: float = 0.0, bend_semitones: float = BEND_SEMITONES
) -> MidiEvent | None:
    """Return what the bytes of a channel's message mean here, None for nothing. bend_semitones: at the wheel's end."""
    kind, channel = status & 0xF0, (status & 0x0F) + 1
    if kind == 0x90 and second > 0:
        return MidiEvent(seconds, channel, "on", first, second / 127)
    if kind in (0x80, 0x90):
        return MidiEvent(seconds, channel, "off", first)
    if kind == 0xE0:
        return MidiEvent(seconds, channel, "bend", 0, ((second << 7 | first) - 8192) / 8192 * bend_semitones)
    if kind == 0xD0:
        return MidiEvent(seconds, channel, "pressure", 0, first / 127)
    if kind != 0xB0:
        return None
    if first == _SUSTAIN:
        return MidiEvent(seconds, channel, "sustain", 0, float(second >= 64))
    if first in _ALL_OFF:
        return MidiEvent(seconds, channel, "all off")
    if first == _RESET:
        return MidiEvent(seconds, channel, "reset")
    return MidiEvent(seconds, channel, "control", first, second / 127)


def event_of(message: Any, seconds: float = 0.0, bend_semitones: float = BEND_SEMITONES) -> MidiEvent | None:
    """Return what a message of mido means here, None for nothing."""
    status, first, second = (*message.bytes(), 0, 0)[:3]
    return event_from(status, first, second, seconds, bend_semitones) if status < 0xF0 else None


def read_midi(path: str | Path, bend_semitones: float = BEND_SEMITONES) -> list[MidiEvent]:
    """Return the events of a MIDI file in order of time. Raises MidiError."""
    mido = _mido()
    file = Path(path)
    try:
        if file.stat().st_size > MAX_FILE_BYTES:
            raise MidiError(f"{file} has {file.stat().st_size} bytes, the most is {MAX_FILE_BYTES}; is it a MIDI file?")
        with file.open("rb") as stream:
            content = mido.MidiFile(file=stream)
        events = []
        seconds = 0.0
        for message in content:
            seconds += message.time
            event = None if message.is_meta else event_of(message, seconds, bend_semitones)
            if event is not None:
                events.append(event)
    except OSError as error:
        raise MidiError(f"{file} cannot be read: {error}; check its name, and that it is a MIDI file") from error
    except (
        EOFError,
        ValueError,
        TypeError,
        LookupError,
        AttributeError,
    ) as error:  # mido lets whatever happens through
        if isinstance(error, MidiError):
            raise
        raise MidiError(f"{file} is no whole MIDI file: {str(error) or 'it ends too soon'}; check it") from error
    return events


# ---- who plays what -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Routes:
    """Which module plays a channel: by its number, or `rest` for all others; '' for nobody."""

    by_channel: Mapping[int, str] = field(default_factory=dict)
    rest: str = ""

    def find(self, channel: int) -> str:
        return self.by_channel.get(channel, self.rest)

    @property
    def ids(self) -> set[str]:
        return {id for id in (*self.by_channel.values(), self.rest) if id}


def parse_routes(texts: Iterable[str]) -> Routes:
    """Return the routes of 'poly' (all channels) and '10=drums' (this one). Raises CommandError."""
    by_channel: dict[int, str] = {}
    rest = ""
    for text in texts:
        channel, equals, id = text.rpartition("=")
        if not equals:
            rest = id
        elif channel.isdigit() and 1 <= int(channel) <= 16 and id:
            by_channel[int(channel)] = id
        else:
            raise CommandError(f"{shown(text)} is no route; give ID, or CHANNEL=ID with a channel of 1..16, 10=drums")
    return Routes(by_channel, rest)


def routes_for(patch: Patch, given: Routes) -> Routes:
    """Return the routes that are given, checked; where none is, the patch's voices: one plays all channels, of
    several the first plays channel 1, and so on. Raises PatchError.
    """
    if given.ids:
        for id in given.ids:
            note_on(patch, id, 60)  # raises where it plays none
        return given
    voices = [id for id in patch.nodes if patch.spec(id).is_voices]
    if not voices:
        raise PatchError("the patch has no voices to play MIDI on; say what plays it: --to ID, or --to CHANNEL=ID")
    return Routes({}, voices[0]) if len(voices) == 1 else Routes(dict(enumerate(voices[:16], 1)))


def ops_of(
    patch: Patch,
    routes: Routes,
    event: MidiEvent,
    controllers: Iterable[Controller] = (),
    sample_rate_hz: float = 48000,
) -> list[Op]:
    """Return the settings that an event asks for, none where nobody plays it. Raises PatchError, CommandError.

    A controller that is mapped turns what it is mapped to, and nothing else.
    """
    numbers: dict[str, int | str] = {"sustain": _SUSTAIN, "pressure": PRESSURE, "control": event.number}
    number = numbers.get(event.kind)
    turned = [one for one in controllers if number is not None and one.hears(event.channel, number)]
    if turned:
        return [op_at(patch, one, event.value, sample_rate_hz) for one in turned]
    id = routes.find(event.channel)
    if not id or id not in patch.nodes:
        return []
    if event.kind == "on":
        return note_on(patch, id, event.number, event.value)
    if event.kind == "off":
        return note_off(patch, id, event.number)
    if event.kind == "all off":
        return all_off(patch, id)
    if not patch.spec(id).is_voices:
        return []
    if event.kind == "reset":
        return [("mod", id, "sustain", 0.0), ("mod", id, "bend", 0.0)]
    return [("mod", id, event.kind, event.value)] if event.kind in ("bend", "sustain") else []


def render_events(
    patch: Patch,
    routes: Routes,
    events: Iterable[MidiEvent],
    controllers: tuple[Controller, ...] = (),
    sample_rate_hz: float = 48000,
) -> list[tuple[float, Op]]:
    """Return the events as pyengine.render takes them."""
    return [(e.seconds, op) for e in events for op in ops_of(patch, routes, e, controllers, sample_rate_hz)]


def bundles(
    patch: Patch,
    routes: Routes,
    events: Iterable[MidiEvent],
    controllers: tuple[Controller, ...] = (),
    sample_rate_hz: float = 48000,
) -> Iterator[tuple[float, list[Command]]]:
    """Yield (seconds, commands) of what belongs together, as a client sends it."""
    at_s: float | None = None
    together: list[Command] = []
    for event in events:
        commands = [command_of(op) for op in ops_of(patch, routes, event, controllers, sample_rate_hz)]
        if together and event.seconds != at_s:
            yield at_s or 0.0, together
            together = []
        at_s = event.seconds
        together = together + commands
    if together:
        yield at_s or 0.0, together


def command_of(op: Op) -> Command:
    """Return the command that makes a setting."""
    kind, id, param, value = op
    return Gate(id, int(value)) if kind == "gate" else SetParam(id, str(param), value)


def _mido() -> Any:
    try:
        return import_module("mido")
    except ImportError as error:
        raise MidiError(f"MIDI needs mido; {_INSTALL}") from error
