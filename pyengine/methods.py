"""What an Engine and a Client are both asked: a method for every command."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from pyengine import commands
from pyengine.commands import Command
from pyengine.patch import parse_gate


class Methods:
    """The methods; whoever has them says in `_report` how a command gets there and its answer back.

    Raises PatchError where a module, parameter, note or sequence is wrong, CommitRefused, RecordingError, SessionError,
    or CommandError, each with the engine's text; nothing has changed then.
    """

    def _report(self, command: Command) -> dict[str, Any]:
        """Have a command executed and return its answer, {} where that has no parts."""
        raise NotImplementedError

    # ---- the patch ------------------------------------------------------------------------------------

    def create(self, module_id: str, module_type: str) -> None:
        """Add a module to the pending patch."""
        self._report(commands.Create(module_id, module_type))

    def delete(self, module_id: str) -> None:
        """Remove a module and its cables from the pending patch."""
        self._report(commands.Delete(module_id))

    def connect(
        self, source: str, dest: str, depth: float = 1.0, offset: float = 0.0, *, feedback: bool = False
    ) -> None:
        """Add a cable, or change the one that is there. dest: a module, MODULE.PORT or MODULE.PARAM.

        What comes out of it is x * depth + offset, in the parameter's unit; feedback: 64 frames later, and then it may
        close a cycle.
        """
        self._report(commands.Connect(source, dest, depth, offset, feedback))

    def disconnect(self, source: str, dest: str) -> None:
        """Remove a cable from the pending patch."""
        self._report(commands.Disconnect(source, dest))

    def sample(self, module_id: str, file: str) -> dict[str, Any]:
        """Give a `sampler` a file of the engine's samples folder; return what was in it."""
        return self._report(commands.PatchSample(module_id, file))

    def voices(self, module_id: str, n: int) -> None:
        """Say how many notes of a `voices` of the pending patch sound at once, 1..64."""
        self._report(commands.SetVoices(module_id, n))

    def commit(
        self,
        *,
        crossfade_ms: float | None = None,
        allow_silence: bool = False,
        timeout_ms: float | None = None,
    ) -> dict[str, Any]:
        """Make the pending patch the one that sounds; return the report. Raises CommitRefused.

        crossfade_ms: 0..1000; timeout_ms: to be ready in, 1..60000; None: the engine's own setting.
        """
        return self._report(commands.Commit(crossfade_ms, allow_silence, timeout_ms))

    def undo(
        self,
        *,
        crossfade_ms: float | None = None,
        allow_silence: bool = False,
        timeout_ms: float | None = None,
        discard: bool = False,
    ) -> dict[str, Any]:
        """Commit the patch before this one; return the report. Takes and raises what `commit` does.

        discard: throw pending edits away; without, it is refused while there are any.
        """
        return self._report(commands.Undo(crossfade_ms, allow_silence, timeout_ms, discard))

    def abort(self) -> None:
        """Throw the pending edits away, and a commit that is priming."""
        self._report(commands.Abort())

    def clear(self) -> None:
        """Empty the pending patch."""
        self._report(commands.Clear())

    def dump(self) -> dict[str, Any]:
        """Return the committed and the pending patch as data."""
        return self._report(commands.PatchDump())

    # ---- sequences ------------------------------------------------------------------------------------

    def sequence(
        self,
        module_id: str,
        *,
        pattern: str | None = None,
        notes: str | None = None,
        velocities: str | None = None,
        division: float | str | None = None,
        lanes: Mapping[str, str] | None = None,
        targets: Iterable[str] | None = None,
        clock: str | None = None,
    ) -> None:
        """Give a `seq` of the pending patch what is named; "" takes it away, None leaves it as it is.

        It is heard with the next commit.

        pattern: 'X..x-.3.', up to 1024 steps: X an accent, x a hit, 1-9 a hit that strong, - held on, . a rest.
        notes: 'C4 Eb3 . C4+E4+G4', one for each hit in turn, C-1 to G9, of up to 8 at once. velocities: '1 0.5', 0..1.
        division: steps to a beat, 1..64, or a fraction such as '4/3'. lanes: values with every step, in the parameter's
        unit, by parameter: {'filt1.cutoff': '400 800 . 1200'}, up to 16. targets: what it plays, up to 16: modules, or
        MODULE.PARAM=note, =velocity, =gate. clock: the `clock` it follows, where there are several.

        Each is one command: those before one that is refused (PatchError says why) have been taken.
        """
        edits: list[Command] = []
        if pattern is not None:
            edits.append(commands.SeqPattern(module_id, pattern))
        if notes is not None:
            edits.append(commands.SeqNotes(module_id, notes))
        if velocities is not None:
            edits.append(commands.SeqVelocities(module_id, velocities))
        if division is not None:
            edits.append(commands.SeqDivision(module_id, division))
        edits += [commands.SeqLane(module_id, name, text) for name, text in (lanes or {}).items()]
        if targets is not None:
            names = targets.split() if isinstance(targets, str) else targets
            edits.append(commands.SeqTarget(module_id, tuple(names)))
        if clock is not None:
            edits.append(commands.SeqClock(module_id, clock))
        for edit in edits:
            self._report(edit)

    def clear_sequence(self, module_id: str) -> None:
        """Take pattern, notes, velocities and lanes from a `seq` of the pending patch; targets and clock stay."""
        self._report(commands.SeqClear(module_id))

    def sequences(self, module_id: str = "") -> dict[str, Any]:
        """Return what the sequences of the committed and the pending patch are given; of one, if that is named."""
        return self._report(commands.SeqDump(module_id))

    # ---- playing --------------------------------------------------------------------------------------

    def note_on(self, module_id: str, note: float | str, velocity: float | None = None) -> None:
        """Play a note on `voices`, or on a module with a gate (one note at a time).

        note: 'C4', 'F#5', 'Eb3', or a number, 0..127 (60 is C4, 69 is A4, 440 Hz; 60.5 is a quarter tone higher).
        velocity: 0..1, None for 0.8; 0 ends the note. Raises PatchError where it plays no notes.
        """
        self._report(commands.NoteOn(module_id, note, velocity))

    def note_off(self, module_id: str, note: float | str) -> None:
        """Release a note, given as for `note_on`; one that is not held is nothing."""
        self._report(commands.NoteOff(module_id, note))

    def all_off(self, module_id: str) -> None:
        """Release all notes of a module, those that a pedal holds too."""
        self._report(commands.AllOff(module_id))

    def set(self, module_id: str, param: str, value: float | str) -> None:
        """Set a parameter, in its unit; the value may be the name of a choice."""
        self._report(commands.SetParam(module_id, param, value))

    def gate(self, module_id: str, value: object) -> None:
        """Open or close a gate: 1 or 0, True or False, 'on' or 'off'."""
        self._report(commands.Gate(module_id, parse_gate(value, node=module_id)))

    # ---- recordings and sessions ----------------------------------------------------------------------

    def record_start(self, name: str, subtype: str = "float") -> dict[str, Any]:
        """Record what is played to a file inside the recordings folder. subtype: 'float', or '24' for 24 bits."""
        return self._report(commands.RecordStart(name, subtype))

    def record_stop(self) -> dict[str, Any]:
        """End the recording and return its figures, when the file is closed."""
        return self._report(commands.RecordStop())

    def record_status(self) -> dict[str, Any]:
        """Return whether and what is recorded."""
        return self._report(commands.RecordStatus())

    def session_start(self, name: str) -> dict[str, Any]:
        """Log the session to a file inside the recordings folder; returns when the log has begun."""
        return self._report(commands.SessionStart(name))

    def session_stop(self) -> dict[str, Any]:
        """End the session log and return its figures, when the file is closed."""
        return self._report(commands.SessionStop())

    def session_status(self) -> dict[str, Any]:
        """Return whether and what is logged."""
        return self._report(commands.SessionStatus())

    # ---- the engine -----------------------------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """Return what the engine is doing, with its counters."""
        return self._report(commands.EngineStatus())

    def modules(self) -> dict[str, Any]:
        """Return the module types with units, ranges and defaults, as {"modules": [...]}."""
        return {"modules": self._all("modules", lambda first: commands.EngineModules(first=first))}

    def commands(self, under: str = "") -> list[dict[str, Any]]:
        """Return the commands whose address begins so, with arguments, units, ranges, defaults and answers."""
        return self._all("commands", lambda first: commands.EngineCommands(under, first))

    def _all(self, name: str, ask: Callable[[int], Command]) -> list[dict[str, Any]]:
        """Return the rows of all pages of a list."""
        rows: list[dict[str, Any]] = []
        first = 0
        while first >= 0:
            page = self._report(ask(first))
            rows += page.get(name, [])
            first = page.get("next", -1)
        return rows

    def listen(self, seconds: float = 5.0, picture: str = "") -> dict[str, Any]:
        """Return what the last seconds of the output are like: figures, and `summary` in words.

        picture: of a new PNG inside the engine's recordings folder, '' for none. May take more than a minute.
        """
        return self._report(commands.EngineListen(seconds, picture))

    def levels(self, first: int = 0) -> dict[str, Any]:
        """Return how loud the output and the modules are, these from number `first` on; measured for 1 s more."""
        return self._report(commands.EngineLevels(first))

    def sync(self) -> dict[str, Any]:
        """Return when all sent before has been rendered by the active slot."""
        return self._report(commands.EngineSync())
