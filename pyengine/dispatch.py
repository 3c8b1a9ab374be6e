"""Executes commands: each goes to the desk, the stream, the recorder or the supervisor, and is answered."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from pyengine import _native, listing, playing
from pyengine.board import Reply
from pyengine.commands import (
    Abort,
    AllOff,
    Clear,
    Command,
    Commit,
    Connect,
    Create,
    Delete,
    Disconnect,
    EngineCommands,
    EngineLevels,
    EngineListen,
    EngineModules,
    EngineStatus,
    EngineSync,
    Gate,
    NoteOff,
    NoteOn,
    Notify,
    PatchDump,
    PatchSample,
    RecordStart,
    RecordStatus,
    RecordStop,
    SeqClear,
    SeqClock,
    SeqDivision,
    SeqDump,
    SeqLane,
    SeqNotes,
    SeqPattern,
    SeqTarget,
    SeqVelocities,
    SessionStart,
    SessionStatus,
    SessionStop,
    SetParam,
    SetVoices,
    Undo,
)
from pyengine.desk import Setting
from pyengine.errors import CommandError, EngineError, shown
from pyengine.intake import BUNDLE_LIMIT, at_frame
from pyengine.loop import Loop
from pyengine.notes import parse_note
from pyengine.notify import Notifier
from pyengine.patch import Op, Patch
from pyengine.patterns import is_pattern
from pyengine.status import Levels, status
from pyengine.supervisor import Supervisor

Execute = Callable[[Any, Reply, float], Any]

MAX_NAMES_A_GROUP = 1 << 18  # ids that patterns are compared with: 0.1 s

logger = logging.getLogger(__name__)


class Dispatcher:
    """Runs in the engine's loop. Settings of one group are sent together, when all of it has been executed."""

    def __init__(self, supervisor: Supervisor, loop: Loop) -> None:
        self._supervisor = supervisor
        self._loop = loop
        self._syncs: deque[tuple[int, int, Reply]] = deque()  # number, frame, whom to tell
        self._group: list[_native.Record] = []  # to be sent together
        self._group_syncs: list[Reply] = []
        self._answers: list[tuple[Reply, Any]] | None = None  # to be given when the group is sent
        self._group_frame = -1  # where its settings take effect; below 0: as soon as they are read
        self._is_stamped = False  # that follows from when it came, not from a time tag
        self._names_looked_at = 0  # by the patterns of the group
        self.late_commands = 0
        self.notifier = Notifier(supervisor, loop)
        self.on_answer: list[Callable[[Command, Any], None]] = [self.notifier.on_answer]  # whoever watches
        self._levels = Levels(supervisor)
        self._executors = self._by_class()
        self.osc: Any = None  # the OscServer, where there is one: its figures are part of the status
        self.midi: Any = None  # and the MidiIn

    @property
    def is_waiting(self) -> bool:
        """True while a sync waits for blocks to be rendered."""
        return bool(self._syncs)

    def group(
        self,
        commands: list[tuple[Command, Reply]],
        received_s: float,
        wall_s: float | None,
        stamp: int | None = None,
    ) -> None:
        """Execute commands that belong together: their settings take effect at one frame.

        wall_s: the time they are meant for (seconds since 1970); None: that of their arrival and the latency, which
        is `stamp` where it is known already. Commands that edit or ask are executed on arrival, whatever the time.
        """
        self._is_stamped = wall_s is None
        self._names_looked_at = 0
        try:
            if wall_s is not None:
                self._group_frame = self._frame_of(wall_s)
            elif stamp is not None:
                self._group_frame = stamp
            else:
                self._group_frame = self._supervisor.inbox.stamp(round(1e9 * received_s))
        except CommandError as error:
            for _, reply in commands:
                reply(error)
            return
        answers = self._answers = []
        try:
            for command, reply in commands:
                self.execute(command, self._after_the_group(reply), received_s)
        finally:
            self._answers = None
            records, self._group = self._group, []
            syncs, self._group_syncs = self._group_syncs, []
            self._supervisor.intake.send(
                records,
                is_stamped=self._is_stamped,
                numbered=partial(self._wait_for_sent, syncs, self._group_frame) if syncs else None,
            )
            for reply, result in answers:  # whoever has an answer finds what he did before what he does next
                reply(result)

    def _after_the_group(self, reply: Reply) -> Reply:
        """Return a reply that waits until the settings of the group at work are in the stream."""

        def answer(result: Any) -> None:
            if self._answers is None:
                reply(result)
            else:
                self._answers.append((reply, result))

        return answer

    def _frame_of(self, wall_s: float) -> int:
        assert self._supervisor.time_base is not None
        return self._supervisor.time_base.frame_of(wall_s)

    def execute(self, command: Command, reply: Reply, received_s: float) -> None:
        """Do what a command asks and answer, at once or later."""
        reply = self._told(command, reply)
        try:
            result = self._execute(command, reply, received_s)
        except EngineError as error:
            reply(error)
        else:
            if result is not None:
                reply(result)

    def _told(self, command: Command, reply: Reply) -> Reply:
        """Return a reply that whoever watches is told too."""

        def answer(result: Any) -> None:
            reply(result)
            for watcher in self.on_answer:
                watcher(command, result)

        return answer

    def _execute(self, command: Command, reply: Reply, received_s: float) -> Any:
        executor = self._executors.get(type(command))
        if executor is None:
            raise CommandError(f"{shown(command)} is no command; use a class of pyengine.commands")
        return executor(command, reply, received_s)

    def _by_class(self) -> dict[type[Command], Execute]:
        """Who executes what: gets command, reply and time of arrival; returns the answer, None if it comes later."""
        s = self._supervisor
        rate_hz = s.board.options.sample_rate_hz
        edits: dict[type[Command], Execute] = dict.fromkeys((Create, Delete, Connect, Disconnect, Clear), self._edit)
        given = (SeqPattern, SeqNotes, SeqVelocities, SeqDivision, SeqLane, SeqTarget, SeqClock, SeqClear, SetVoices)
        edits |= dict.fromkeys(given, self._edit)
        commits: dict[type[Command], Execute] = dict.fromkeys((Commit, Undo), s.commits.commit)
        return (
            edits
            | commits
            | {
                PatchSample: self._sample,
                Abort: self._abort,
                SetParam: self._set_param,
                Gate: self._gate,
                NoteOn: lambda c, reply, at: self._note(
                    c.module_id, lambda patch: playing.note_on(patch, c.module_id, c.note, c.velocity), c.note
                ),
                NoteOff: lambda c, reply, at: self._note(
                    c.module_id, lambda patch: playing.note_off(patch, c.module_id, c.note), c.note
                ),
                AllOff: lambda c, reply, at: self._note(c.module_id, lambda patch: playing.all_off(patch, c.module_id)),
                SeqDump: lambda c, reply, at: s.desk.sequences(c.module_id),
                PatchDump: lambda c, reply, at: s.desk.dump(),
                RecordStart: lambda c, reply, at: s.recorder.start(c.name, c.subtype),
                RecordStop: lambda c, reply, at: s.recorder.stop(self._from_elsewhere(reply)),
                RecordStatus: lambda c, reply, at: s.recorder.status(),
                SessionStart: self._session_start,
                SessionStop: lambda c, reply, at: s.session.stop(self._from_elsewhere(reply)),
                SessionStatus: lambda c, reply, at: s.session.status(),
                EngineStatus: lambda c, reply, at: self._status(),
                EngineModules: lambda c, reply, at: listing.modules(c.type, c.first, rate_hz),
                EngineCommands: lambda c, reply, at: listing.commands(c.under, c.first),
                Notify: lambda c, reply, at: self.notifier.subscribe(c),
                EngineListen: lambda c, reply, at: s.listener.listen(c.seconds, c.picture, self._from_elsewhere(reply)),
                EngineLevels: lambda c, reply, at: self._levels.tell(c.first),
                EngineSync: lambda c, reply, at: self.sync(reply),
            }
        )

    def _from_elsewhere(self, reply: Reply) -> Reply:
        """Return a reply that another thread may call."""
        return lambda result: self._loop.call(lambda: reply(result))

    def _edit(self, command: Any, reply: Reply, received_s: float) -> Any:
        self._supervisor.desk.edit(command)
        self._supervisor.commits.edited()
        return ()

    def _sample(self, command: PatchSample, reply: Reply, received_s: float) -> None:
        """Give it the file now; answer when that has been read, which a commit waits for."""
        answer = self._from_elsewhere(reply)
        desk, samples = self._supervisor.desk, self._supervisor.board.samples
        before = desk.pending.nodes.get(command.module_id)
        desk.edit(command)
        try:
            samples.load_soon(
                command.file, lambda got: answer(got if isinstance(got, EngineError) else dict(got.facts))
            )
        except EngineError:
            assert before is not None
            desk.pending.give(before.id, before.data)
            raise

    def _abort(self, command: Any, reply: Reply, received_s: float) -> Any:
        self._supervisor.commits.abort()
        return self._edit(command, reply, received_s)

    def _set_param(self, command: SetParam, reply: Reply, received_s: float) -> Any:
        self._supervisor.intake.check_room()
        if is_pattern(command.module_id) or is_pattern(command.param):
            return self._set_matching(command.module_id, command.param, command)
        return self._set(self._supervisor.desk.set(command.module_id, command.param, command.value), command)

    def _gate(self, command: Gate, reply: Reply, received_s: float) -> Any:
        self._supervisor.intake.check_room()
        if is_pattern(command.module_id):
            return self._set_matching(command.module_id, None, command)
        return self._set(self._supervisor.desk.gate(command.module_id, command.value), command)

    def _note(self, id: str, begin: Callable[[Patch], list[Op]], note: object = None) -> tuple[Any, ...]:
        self._supervisor.intake.check_room()
        _, *late = self._schedule(self._supervisor.desk.play(id, begin))
        return (*late,) if note is None else (parse_note(note), *late)

    def _set_matching(self, ids: str, params: str | None, command: SetParam | Gate) -> Any:
        """Set all that matches, or nothing, at one frame; answer how many that were."""
        desk = self._supervisor.desk
        self._names_looked_at += len(desk.committed.nodes) + len(desk.pending.nodes)
        if self._names_looked_at > MAX_NAMES_A_GROUP:
            raise CommandError("too many patterns in one bundle for a patch of this size; send several bundles")
        pairs = desk.match(ids, params)
        if len(self._group) + len(pairs) > BUNDLE_LIMIT:
            text = f"{len(pairs)} parameters match, and {BUNDLE_LIMIT} at most are set at one frame"
            raise CommandError(f"{text}; narrow the pattern and send several")
        told = self._set(desk.set_all(pairs, command.value), command)
        return (len(pairs), *told[1:])

    def _session_start(self, command: SessionStart, reply: Reply, received_s: float) -> Any:
        with self._supervisor.board.still():  # it begins between two records
            return self._supervisor.session.start(command.name, reply)

    def _status(self) -> dict[str, Any]:
        told = status(self._supervisor, self.late_commands)
        told["notify"] = self.notifier.status()
        parts = {"osc": self.osc, "midi": self.midi}
        return told | {name: part.status() for name, part in parts.items() if part is not None}

    def _set(self, setting: Setting, command: SetParam | Gate) -> tuple[Any, ...]:
        value, *late = self._schedule(setting, isinstance(command, SetParam) and command.immediate)
        return (int(value) if isinstance(command, Gate) else value, *late)

    def _schedule(self, setting: Setting, immediate: bool = False) -> tuple[Any, ...]:
        """Put what a setting sends into the group; return its value, and 'late' where its time has passed."""
        frame, active = self._group_frame, self._supervisor.board.active
        is_late = False
        if frame >= 0 and active is not None and not self._is_stamped:
            segment = self._supervisor.segment
            head = segment.render_head(active.index) * self._supervisor.board.options.block_frames
            is_late = frame < (self._supervisor.inbox.open_frame if segment.slot_rests(active.index) else head)
            self.late_commands += is_late
        # What is held takes effect with the first frame of its module, if no time was asked for.
        held = at_frame(setting.held, -1 if self._is_stamped else frame, is_immediate=immediate)
        self._supervisor.commits.hold(held)
        self._group += at_frame(setting.sent, frame, is_immediate=immediate)
        return (setting.value, "late") if is_late else (setting.value,)

    def sync(self, reply: Reply) -> None:
        """Answer when all that was sent, its own group included, has been rendered by the active slot."""
        self._group.append(_native.Record(0, 0, 0.0, is_mark=True))
        self._group_syncs.append(reply)

    def _wait_for_sent(self, syncs: list[Reply], stamp: int, first: int, newest: int, is_all: bool) -> None:
        segment, block_frames = self._supervisor.segment, self._supervisor.board.options.block_frames
        if not is_all:
            return
        # What came before it may have been stamped anew, for the first block that was open then.
        ahead = max(segment.render_head(slot.index) for slot in self._supervisor.board.slots) + 1
        last_open = max(segment.play_block + segment.effective_lead, ahead)
        last = max(stamp, last_open * block_frames, self._supervisor.inbox.open_frame) if stamp >= 0 else -1
        self._syncs += [(newest, last, reply) for reply in syncs]
        self._loop.call(self.answer_syncs)  # all that is answered at once comes first

    def answer_syncs(self) -> None:
        """Answer those whose number, and all before it, the active slot has rendered; called at every signal."""
        active, segment = self._supervisor.board.active, self._supervisor.segment
        options = self._supervisor.board.options
        while self._syncs and active is not None:
            seq, frame, reply = self._syncs[0]
            if segment.applied(active.index) < seq:
                segment.request_sync(seq)
                if segment.applied(active.index) < seq:  # it may have been passed between the look and the request
                    return
            ahead = frame + 1 - segment.render_head(active.index) * options.block_frames
            if ahead > 0:  # it is taken, and waits in the schedule for its frame
                self._loop.after(ahead / options.sample_rate_hz, self.answer_syncs)
                return
            self._syncs.popleft()
            reply({"seq": seq, "block": segment.play_block, "frames": self._supervisor.frames})
