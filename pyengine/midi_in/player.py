"""Who plays what comes from a port: the patch that sounds, by routes and controllers. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from pyengine.commands import Command
from pyengine.controllers import Controller, parse_controllers, resolve
from pyengine.errors import CommandError, EngineError
from pyengine.midi import BEND_SEMITONES, MidiEvent, Routes, command_of, event_from, ops_of, parse_routes, routes_for
from pyengine.midi_in.decoder import Message
from pyengine.patch import Patch

MAX_BEND_SEMITONES = 48.0


class Player:
    """Turns messages into commands. to: '[CHANNEL=]ID'; cc: '[CHANNEL:]NUMBER=MODULE.PARAM[=LOW..HIGH]'.

    What cannot be played is told by `faults`, once for each text until the patch is another. Raises CommandError.
    """

    def __init__(
        self,
        to: Iterable[str] = (),
        cc: Iterable[str] = (),
        bend_semitones: float = BEND_SEMITONES,
        sample_rate_hz: float = 48000,
    ) -> None:
        if not 0 <= bend_semitones <= MAX_BEND_SEMITONES:
            raise CommandError(f"a bend of {bend_semitones:g} semitones is outside 0..{MAX_BEND_SEMITONES:g}")
        self._given = parse_routes(to)
        self._controllers = parse_controllers(cc)
        self._bend_semitones = bend_semitones
        self._rate_hz = sample_rate_hz
        self._patch: Patch | None = None
        self._routes = Routes()
        self._able: tuple[Controller, ...] = ()  # the controllers whose parameter is there
        self._faults: list[str] = []
        self._told: set[str] = set()

    def faults(self) -> list[str]:
        """Return what could not be played and was not told yet."""
        found, self._faults = self._faults, []
        return found

    def commands(self, patch: Patch, message: Message) -> list[Command]:
        """Return what a message asks of a patch, [] where nobody plays it."""
        event = event_from(*message, bend_semitones=self._bend_semitones)
        return [] if event is None else self._commands(patch, event)

    def silence(self, patch: Patch) -> list[Command]:
        """Return what ends all notes and brings pedals and wheels to rest."""
        self._look(patch)
        found: dict[Command, None] = {}
        for channel in range(1, 17):
            for kind in ("all off", "reset"):
                found.update(dict.fromkeys(self._commands(patch, MidiEvent(0.0, channel, kind))))
        return list(found)

    def _commands(self, patch: Patch, event: MidiEvent) -> list[Command]:
        self._look(patch)
        try:
            return [command_of(op) for op in ops_of(patch, self._routes, event, self._able, self._rate_hz)]
        except EngineError as error:
            self._fault(str(error))
            return []

    def _look(self, patch: Patch) -> None:
        """Find routes and controllers anew where the patch is another."""
        if patch is self._patch:
            return
        self._patch, self._routes = patch, Routes()
        self._told.clear()
        try:
            self._routes = routes_for(patch, self._given)
        except EngineError as error:
            if not self._controllers:
                self._fault(str(error))
        self._able = tuple(one for one in self._controllers if self._is_there(patch, one))

    def _is_there(self, patch: Patch, controller: Controller) -> bool:
        try:
            resolve(patch, controller, self._rate_hz)
        except EngineError as error:
            if patch.nodes:
                self._fault(str(error))
            return False
        return True

    def _fault(self, text: str) -> None:
        if text not in self._told:
            self._told.add(text)
            self._faults.append(text)
