"""MIDI: files into notes, and notes from a port as they come. Needs mido, for ports python-rtmidi: the extra midi."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from pyengine.commands import Command, Gate, SetParam
from pyengine.errors import CommandError, EngineError, PatchError, shown
from pyengine.patch import Op, Patch
from pyengine.playing import all_off, note_off, note_on

logger = logging.getLogger(__name__)

MAX_FILE_BYTES = 1 << 24
BEND_SEMITONES = 2.0  # of a pitch wheel at its end: what MIDI instruments begin with
_SUSTAIN, _ALL_SOUND_OFF, _ALL_NOTES_OFF = 64, 120, 123
_INSTALL = "install it: pip install 'pyengine[midi]'"
_KNOWN_S = 0.5  # a patch that was looked at so long ago is looked at anew


class MidiError(EngineError, ValueError):
    """A MIDI file cannot be read, a port not opened, or a library is missing."""


@dataclass(frozen=True, slots=True)
class MidiEvent:
    """What a channel, 1 to 16, is told. kind: 'on', 'off' (number: the note; value: velocity 0..1), 'bend' (value:
    semitones), 'sustain' (value: 0 or 1), 'all off'.
    """

    seconds: float
    channel: int
    kind: str
    number: int = 0
    value: float = 0.0


def event_of(message: Any, seconds: float = 0.0) -> MidiEvent | None:
    """Return what a message of mido means here, None for nothing."""
    channel = getattr(message, "channel", 0) + 1
    if message.type == "note_on" and message.velocity > 0:
        return MidiEvent(seconds, channel, "on", message.note, message.velocity / 127)
    if message.type in ("note_on", "note_off"):
        return MidiEvent(seconds, channel, "off", message.note)
    if message.type == "pitchwheel":
        return MidiEvent(seconds, channel, "bend", 0, message.pitch / 8192 * BEND_SEMITONES)
    if message.type == "control_change" and message.control == _SUSTAIN:
        return MidiEvent(seconds, channel, "sustain", 0, float(message.value >= 64))
    if message.type == "control_change" and message.control in (_ALL_SOUND_OFF, _ALL_NOTES_OFF):
        return MidiEvent(seconds, channel, "all off")
    return None


def read_midi(path: str | Path) -> list[MidiEvent]:
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
            event = None if message.is_meta else event_of(message, seconds)
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
        raise MidiError(f"{file} is no whole MIDI file: {error or type(error).__name__}; check it") from error
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


def ops_of(patch: Patch, routes: Routes, event: MidiEvent) -> list[Op]:
    """Return the settings that an event asks for, none where nobody plays it."""
    id = routes.find(event.channel)
    if not id or id not in patch.nodes:
        return []
    if event.kind == "on":
        return note_on(patch, id, event.number, event.value)
    if event.kind == "off":
        return note_off(patch, id, event.number)
    if event.kind == "all off":
        return all_off(patch, id)
    return [("mod", id, event.kind, event.value)] if patch.spec(id).is_voices else []


def render_events(patch: Patch, routes: Routes, events: Iterable[MidiEvent]) -> list[tuple[float, Op]]:
    """Return the events as pyengine.render takes them."""
    return [(event.seconds, op) for event in events for op in ops_of(patch, routes, event)]


def bundles(patch: Patch, routes: Routes, events: Iterable[MidiEvent]) -> Iterator[tuple[float, list[Command]]]:
    """Yield (seconds, commands) of what belongs together, as a client sends it."""
    at_s: float | None = None
    together: list[Command] = []
    for event in events:
        commands = [_command(op) for op in ops_of(patch, routes, event)]
        if together and event.seconds != at_s:
            yield at_s or 0.0, together
            together = []
        at_s = event.seconds
        together = together + commands
    if together:
        yield at_s or 0.0, together


def _command(op: Op) -> Command:
    kind, id, param, value = op
    return Gate(id, int(value)) if kind == "gate" else SetParam(id, str(param), value)


# ---- a port -------------------------------------------------------------------------------------------


class Player:
    """Plays messages as they come. look: returns the patch that plays; send: takes the commands.

    Called by the library's thread; what it cannot play is logged, once for each text.
    """

    def __init__(self, look: Callable[[], Patch], send: Callable[[Command], object], given: Routes) -> None:
        self._look, self._send, self._given = look, send, given
        self._patch, self._routes = Patch(), Routes()
        self._looked_s = -_KNOWN_S
        self._told: set[str] = set()

    def play(self, message: Any) -> None:
        """Play one message of mido."""
        event = event_of(message)
        if event is None:
            return
        try:
            now = time.monotonic()
            if now - self._looked_s >= _KNOWN_S:
                self._patch, self._looked_s = self._look(), now
                self._routes = routes_for(self._patch, self._given)
            for op in ops_of(self._patch, self._routes, event):
                self._send(_command(op))
        except EngineError as error:
            self._looked_s = -_KNOWN_S
            if str(error) not in self._told:
                self._told.add(str(error))
                logger.warning("midi message not played: %s", error)


@contextmanager
def listening(port: str, player: Player) -> Iterator[str]:
    """Hand the messages of a port to a player; '' for the first port there is. Gives its name. Raises MidiError."""
    mido = _mido()
    try:
        names = list(mido.get_input_names())
    except ImportError as error:
        raise MidiError(f"MIDI ports need python-rtmidi; {_INSTALL}") from error
    except Exception as error:  # of the driver below
        raise MidiError(f"there are no MIDI ports here: {error}; is ALSA's sequencer (or CoreMIDI) there?") from error
    name = names[0] if not port and names else next((n for n in names if port and port in n), "")
    if not name:
        listed = ", ".join(map(repr, names)) or "none"
        raise MidiError(f"there is no MIDI input {shown(port)}; inputs here: {listed}; connect one and name it")
    try:
        opened = mido.open_input(name, callback=player.play)
    except Exception as error:  # of the driver below
        raise MidiError(f"the MIDI input {name!r} cannot be opened: {error}; is another program using it?") from error
    try:
        yield name
    finally:
        opened.close()


def _mido() -> Any:
    try:
        return import_module("mido")
    except ImportError as error:
        raise MidiError(f"MIDI needs mido; {_INSTALL}") from error
