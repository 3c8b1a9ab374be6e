"""The session log: what an engine plays, written down so that it can be replayed bit for bit.

The engine's loop hands over plans, records and events as they come, and reads the decided journal entries now and
then; a thread of the log's own writes them. A slow or full disk ends the log, never the sound.
"""

from __future__ import annotations

import contextlib
import logging
import os
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import pyengine
from pyengine import _native, recording, session_file
from pyengine._native import Event, Record
from pyengine.errors import NativeError, RecordingError, SessionError, shown
from pyengine.patch import Op, Patch
from pyengine.session_file import Entry, plan_row

logger = logging.getLogger(__name__)

POLL_S = 0.05  # how often decisions are read where nothing else happens
PLAYED_S = 0.02  # and how often at most where much does
WRITE_S = 0.04  # a crash of the whole process costs POLL_S + WRITE_S at most
START_TIMEOUT_S = 10.0
CLOSE_TIMEOUT_S = 10.0  # a disk that hangs must not keep the engine from ending
ASK_AGAIN_S, ASK_ANEW_S = 0.01, 1.0
MAX_QUEUED = 1 << 20  # records and other entries that wait for the disk
DECLICK_S = 0.005  # PE_DECLICK_MS
IMAGE_HEAD = struct.Struct("<5QII")

Done = Callable[["dict[str, Any] | SessionError"], None]
Standing = tuple[int, int, Patch]
"""Slot and generation that are heard, both slots in step, and the patch of it."""


@dataclass(frozen=True, slots=True)
class _Sound:
    """What the events of the callback say of the sound. silence: frames without a block, so far."""

    silence: int = 0
    declicked_until: int = 0
    is_silent: bool = False

    def after(self, event: Event, block_frames: int, declick_frames: int) -> _Sound:
        if event.kind == "underrun":
            return replace(self, is_silent=True, declicked_until=event.frame + declick_frames)
        if event.kind == "heard" and event.value & _native.DECLICKED:
            silence = event.frame - event.block * block_frames
            return _Sound(silence, event.frame + declick_frames, False)
        return self


@dataclass
class _Log:
    """One log. Its thread writes file, n_bytes and error; all else belongs to the engine's loop."""

    name: str
    path: Path
    file: Any
    state: str = "starting"  # starting, logging, ending, ended
    begun: int = 0  # the block it begins with
    block: int = 0  # decisions are read up to here
    seq: int = 0  # the newest decision
    n_records: int = 0
    first_frame: int = 0
    frames: int = 0
    n_bytes: int = 0
    error: str = ""
    lost_events: int = 0
    is_abandoned: bool = False  # it never began: nothing is to be kept
    queue: deque[Callable[[], Entry]] = field(default_factory=deque)
    n_queued: int = 0
    ending: threading.Event = field(default_factory=threading.Event)
    done: Done | None = None

    def status(self) -> dict[str, Any]:
        return {
            "is_logging": self.state in ("starting", "logging", "ending") and not self.error,
            "is_starting": self.state == "starting" and not self.error,
            "name": self.name,
            "path": self.name,
            "first_frame": self.first_frame,
            "frames": max(0, self.frames - self.first_frame),
            "blocks": self.block,
            "records": self.n_records,
            "bytes": self.n_bytes,
            "error": self.error,
        }


_NOTHING = {**_Log("", Path(), None, state="ended").status()}


class SessionLog:
    """Writes one session log at a time; all methods belong to the engine's loop.

    look: what is heard, None unless both slots are in step with it. drain: consumes the segment's events through
    `noting`. after: runs an action so many seconds later.
    """

    def __init__(
        self,
        segment: _native.Segment,
        output: _native.Output,
        folder: Path,
        *,
        look: Callable[[], Standing | None],
        drain: Callable[[], None],
        after: Callable[[float, Callable[[], None]], object],
    ) -> None:
        self._segment = segment
        self._output = output
        self._folder = Path(folder)
        self._look = look
        self._drain = drain
        self._after = after
        self._log: _Log | None = None
        self._last: _Log | None = None
        self._thread: threading.Thread | None = None
        self.tell: Callable[[], None] = lambda: None
        """Has `sent` called for all that was sent so far."""
        self._sound = self._sound_then = _Sound()
        self._declick_frames = round(DECLICK_S * segment.config.sample_rate_hz) + 1
        self._newest_plan: tuple[int, Patch, Sequence[Op] | None, int, int] | None = None
        self._asked: tuple[int, int] | None = None
        self._n_asked = 0
        self._has_checkpoint = False
        self._image = b""
        self._give_up_s = 0.0
        self._written_s = 0.0
        self._early: list[
            Event | Callable[[], Entry] | tuple[int, list[Record]]
        ] = []  # what came while the log was starting

    def __repr__(self) -> str:
        log = self._log
        return f"<SessionLog {log.state + ' ' + repr(log.name) if log else 'idle'}>"

    # ---- start and end --------------------------------------------------------------------------------

    def begin(self, path: Path) -> None:
        """Log from the engine's first block on, before anything plays. Raises SessionError."""
        log = self._open(str(path), Path(path))
        log.state = "logging"
        self._push(log, lambda: _start_entry(0, 0, 0, 0, None, b""))
        self._tick(log)

    def start(self, name: str, on_done: Done) -> None:
        """Log into folder/name.session from about now on; on_done gets the status once it has begun, or the error.

        It begins at a checkpoint, which it asks for. Raises SessionError where that cannot be.
        """
        if isinstance(name, str) and name and not name.endswith((session_file.SUFFIX, "/")):
            name += session_file.SUFFIX
        if not isinstance(name, str) or not name:
            raise SessionError(f"{shown(name)} is no file name; give one such as 'evening{session_file.SUFFIX}'")
        if self._log:
            raise SessionError(f"the session {shown(self._log.name)} is being logged already; stop that one first")
        try:
            path, relative = recording.place_inside(self._folder, name)
        except RecordingError as error:
            raise SessionError(str(error)) from error
        log = self._open(relative, path)
        log.done = on_done
        self._sound_then = self._sound
        self._give_up_s = time.monotonic() + START_TIMEOUT_S
        standing = self._look()
        first = (self._segment.applied(standing[0]) if standing else self._segment.newest) + 1
        self._early = [(first, _native.stream_records(self._segment, first))]
        self._ask(log)
        self._tick(log)

    def _open(self, name: str, path: Path) -> _Log:
        self.join()
        try:
            if not path.parent.is_dir():
                path.parent.mkdir(parents=True)
            descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o666)
        except FileExistsError as error:
            if not os.path.lexists(path):  # a file where the folder should be
                text = f"cannot log the session into {shown(name)}: {shown(error.filename)} is no folder"
                raise SessionError(f"{text}; give another place") from error
            raise SessionError(f"{shown(name)} exists already; a log never overwrites, give another name") from None
        except OSError as error:
            raise SessionError(f"cannot log the session into {shown(name)}: {error.strerror or error}") from error
        log = _Log(name, path, os.fdopen(descriptor, "wb"), lost_events=self._segment.counter("events_lost"))
        try:  # a disk that is full already is told at once
            log.n_bytes = log.file.write(
                session_file.encode(session_file.head_entry(self._segment.config, pyengine.__version__))
            )
            log.file.flush()
        except OSError as error:
            with contextlib.suppress(OSError):
                log.file.close()  # which tries to write once more
            path.unlink(missing_ok=True)
            raise SessionError(f"cannot log the session into {shown(name)}: {_text(error)}") from error
        self._log, self._written_s = log, 0.0
        self._thread = threading.Thread(target=self._run, args=(log,), name="pe-session", daemon=True)
        self._thread.start()
        return log

    def stop(self, on_done: Done) -> None:
        """End the log with what has been played by now; on_done gets the status of the closed file, or the error
        that says why nothing is logged; from the log's own thread, or at once if that is so.
        """
        frames, block = self._output.frames, self._segment.play_block  # what they told of is drained
        self._drain()
        log, last = self._log, self._last
        if log is None or log.state != "logging":
            text = "no session is being logged" if log is None else f"the session {shown(log.name)} is {log.state}"
            ended = f"; the session {shown(last.name)} ended early: {last.error}" if last and last.error else ""
            on_done(SessionError(text + ended))
            return
        log.done = on_done  # before the log ends, whatever ends it
        self._poll(frames, block, is_last=True)
        if self._log is log:
            self._end(log, is_whole=True)

    def close(self) -> None:
        """End the log when the output has ended, and wait until its file is closed. Twice without harm."""
        log = self._log
        if log is not None and log.state == "logging":
            frames, block = self._output.frames, self._segment.play_block
            for _ in self.noting(self._segment.events()):
                pass
            self._poll(frames, block, is_last=True)
            if self._log is log:
                self._end(log, is_whole=True)
        elif log is not None and log.state == "starting":
            self._abandon(log, "the engine ended")
        self.join()

    def join(self) -> None:
        """Wait until a log that is being ended is closed."""
        if self._log is None and self._thread is not None:
            self._thread.join(CLOSE_TIMEOUT_S)
            if self._thread.is_alive():
                logger.error("the disk does not answer; the session log is left as it is")
            self._thread = None

    def _end(self, log: _Log, *, is_whole: bool = False, error: str = "") -> None:
        """Nothing more goes into the log; its thread writes what waits and closes the file."""
        if is_whole:
            self._push(log, lambda: {"end": log.frames})
        log.state = "ending"
        log.error = log.error or error
        log.ending.set()
        self._log, self._last, self._early, self._asked = None, log, [], None

    def _abandon(self, log: _Log, reason: str) -> None:
        done, log.done = log.done, None
        log.is_abandoned = True
        self._end(log)
        if done:
            done(SessionError(f"cannot log the session into {shown(log.name)}: {reason}"))

    def status(self) -> dict[str, Any]:
        """Return is_logging, name, frames, records, bytes, error and more of the present log, or of the last one."""
        log = self._log or self._last
        return log.status() if log else dict(_NOTHING)

    @property
    def is_starting(self) -> bool:
        """True while the log waits for the checkpoint it is to begin with."""
        return self._log is not None and self._log.state == "starting"

    # ---- what the engine's loop hands over ----------------------------------------------------------------

    def plan(self, generation: int, patch: Patch, ops: Sequence[Op] | None, fade_frames: int, source: int) -> None:
        """A plan is being primed, to be turned to from the generation `source`; before its SWITCH record is sent.

        patch: nobody changes it any more: the log's own thread reads it. ops: None for all that is set in it.
        """
        self._newest_plan = (generation, patch, ops, fade_frames, source)
        if self._log:
            self._note_plan(*self._newest_plan)

    def _note_plan(
        self, generation: int, patch: Patch, ops: Sequence[Op] | None, fade_frames: int, source: int
    ) -> None:
        def entry() -> Entry:
            given = patch.ops() if ops is None else ops
            return {"plan": plan_row(generation, patch, given, fade_frames, source)}

        self._note(entry)

    def restart(
        self,
        generation: int,
        patch: Patch,
        *,
        source: int,
        from_block: int,
        block: int,
        base: int,
        image: bytes = b"",
    ) -> None:
        """A generation starts at `block` with the states `source` had at from_block; it ignores records up to base.
        A source that is the generation itself: it begins fresh.

        image: the checkpoint of from_block, for a log that does not reach back so far.
        """
        log = self._log
        if log is None:
            return
        is_known = log.state == "logging" and from_block >= log.begun

        def entry() -> Entry:
            row = plan_row(generation, patch, patch.ops(), 0, source)
            text = session_file.pack(image) if image and not is_known else ""
            return {"restart": row | {"from_block": from_block, "block": block, "base": base, "image": text}}

        self._note(entry)

    def sent(self, first_seq: int, last_seq: int) -> bool:
        """Records of these numbers were sent; they are kept until this returns. True while there is a log for them."""
        log = self._log
        if log is None or last_seq < first_seq:
            return log is not None
        if log.state == "starting":
            self.records(first_seq, _native.stream_records(self._segment, first_seq)[: last_seq - first_seq + 1])
            return True
        data = _native.stream_bytes(self._segment, first_seq, last_seq)
        log.n_records += last_seq - first_seq + 1
        log.n_queued += last_seq - first_seq + 1
        self._push(log, lambda: {"records": [first_seq, session_file.record_rows(data)]})
        return True

    def records(self, first_seq: int, records: list[Record]) -> None:
        """Records were sent, numbered from first_seq on."""
        log = self._log
        if log is None:
            return
        if log.state == "starting":
            self._early.append((first_seq, records))
            return
        log.n_records += len(records)
        log.n_queued += len(records)
        self._push(log, lambda: {"records": [first_seq, [session_file.record_row(r) for r in records]]})

    def noting(self, events: Iterable[Event]) -> Iterator[Event]:
        """Pass events on and note them, then all that was played up to where they were asked for."""
        frames, block = self._output.frames, self._segment.play_block  # what they told of is among these events
        for event in events:
            self.event(event)
            yield event
        if self._log is not None and self._log.state == "starting":
            self._accept(self._log, block)
        self._poll(frames, block)

    def event(self, event: Event) -> None:
        """Note an event."""
        config = self._segment.config
        if event.kind == "checkpoint":
            asked = self._asked
            is_it = asked is not None and (self._segment.seat(asked[0]), asked[1]) == (event.source, event.generation)
            self._has_checkpoint |= is_it
        if event.source != _native.CALLBACK:
            return
        self._sound = self._sound.after(event, config.block_frames, self._declick_frames)
        log = self._log
        if log is not None and log.state == "starting":
            self._early.append(event)
        elif log is not None:
            self._note(lambda: _event_entry(event))

    def _note(self, make: Callable[[], Entry]) -> None:
        """Note an entry, which the log's thread makes."""
        assert self._log is not None
        if self._log.state == "starting":
            self._early.append(make)
        else:
            self._push(self._log, make)

    # ---- the checkpoint a log begins with --------------------------------------------------------------------

    def _ask(self, log: _Log) -> None:
        """Ask the active slot for a checkpoint, as soon as both slots are in step."""
        if self._log is not log or log.state != "starting":
            return
        if log.error:
            self._abandon(log, log.error)
            return
        if time.monotonic() > self._give_up_s:
            why = f"no checkpoint within {START_TIMEOUT_S:g} s"
            self._abandon(log, f"{why}; both slots must be in step, and the output must run; try again")
            return
        standing = self._look()
        self._asked, self._has_checkpoint, self._image = None, False, b""
        self._n_asked += 1
        number = self._n_asked
        if standing is not None:
            self._asked = standing[:2]
            self._segment.request_checkpoint(*self._asked)
        wait_s = ASK_AGAIN_S if standing is None else ASK_ANEW_S
        self._after(wait_s, lambda: self._ask(log) if number == self._n_asked else None)

    def _accept(self, log: _Log, due: int) -> None:
        """Begin with the checkpoint that was written, once its block has been heard (`due` is a later one), if
        nothing before it has to be known.
        """
        if self._has_checkpoint and self._asked:
            self._has_checkpoint = False
            self._image = _native.checkpoint_image(self._segment, self._asked[1])
        if len(self._image) < IMAGE_HEAD.size or IMAGE_HEAD.unpack_from(self._image)[1] >= due:
            return
        standing, image = self._look(), self._image
        if standing is None or standing[:2] != self._asked or not self._begin_with(log, image, standing[2]):
            self._asked, self._image = None, b""
            self._n_asked += 1
            number = self._n_asked
            self._after(ASK_AGAIN_S, lambda: self._ask(log) if number == self._n_asked else None)

    def _begin_with(self, log: _Log, image: bytes, patch: Patch) -> bool:
        generation, block, seq, *_ = IMAGE_HEAD.unpack_from(image)
        block_frames = self._segment.config.block_frames
        sound = self._sound_then
        events = [e for e in self._early if isinstance(e, Event)]
        for event in events:
            if event.block <= block:
                sound = sound.after(event, block_frames, self._declick_frames)
        first_frame = block * block_frames + sound.silence
        records = [r for r in self._early if isinstance(r, tuple)]
        if sound.is_silent or sound.declicked_until > first_frame or seq + 1 < records[0][0]:
            return False
        log.state, log.begun, log.block, log.seq = "logging", block, block, seq
        log.first_frame = log.frames = first_frame
        patch = patch.copy()  # values are set in it while the log's thread writes it

        def entry() -> Entry:
            row = plan_row(generation, patch, patch.ops(), 0, generation)
            return _start_entry(generation, block, seq, first_frame, row, image)

        self._push(log, entry)
        if self._newest_plan and self._newest_plan[0] > generation:
            self._note_plan(*self._newest_plan)
        self._begin_after(seq, block)
        logger.info("session log begun name=%r block=%d generation=%d", log.name, block, generation)
        done, log.done = log.done, None
        self._early = []
        if done:
            done(log.status())
        return True

    def _begin_after(self, seq: int, block: int) -> None:
        """Write what came while the log was starting and is not in the checkpoint."""
        for item in self._early:
            if isinstance(item, tuple):
                skip = max(0, seq + 1 - item[0])
                if item[1][skip:]:
                    self.records(item[0] + skip, item[1][skip:])
            elif isinstance(item, Event):
                if item.block >= block and not (item.kind == "resumed" and item.block == block):
                    self._note(partial(_event_entry, item))
            else:
                self._note(item)

    # ---- what has been played --------------------------------------------------------------------------------

    def _tick(self, log: _Log) -> None:
        if self._log is log:
            self._drain()
            self._after(ASK_AGAIN_S if log.state == "starting" else POLL_S, lambda: self._tick(log))

    def _poll(self, frames: int, block: int, *, is_last: bool = False) -> None:
        """Read the decisions up to the block that is due, and write down that so much has been played."""
        log = self._log
        if log is None or log.state != "logging" or frames < log.frames:
            return
        if log.error:  # the disk
            self._end(log)
            return
        now_s = time.monotonic()
        if not is_last and (now_s - self._written_s < PLAYED_S or frames == log.frames):
            return
        self._written_s = now_s
        fault = self._read_decisions(log, frames, block)
        if fault:
            logger.error("session log ended name=%r error=%r", log.name, fault)
            self._end(log, error=fault)

    def _read_decisions(self, log: _Log, frames: int, block: int) -> str:
        """Return what makes it impossible to go on, or ''."""
        if self._segment.counter("events_lost") != log.lost_events:
            return "events of the callback were lost"
        if log.n_queued + len(log.queue) > MAX_QUEUED:
            return "the disk does not keep up"
        try:
            pairs, log.block = _native.journal_changes(self._segment, log.block, block + 1, log.seq)
        except NativeError:
            return "the journal was lapped before it was read; the machine is overloaded"
        if log.block < block:
            return f"the journal lacks block {log.block}"
        self.tell()  # what these decisions cover
        log.seq = pairs[-1][1] if pairs else log.seq
        log.frames = frames
        self._push(log, lambda: {"played": [block, frames], "decided": pairs})
        return ""

    # ---- the log's thread ------------------------------------------------------------------------------------

    def _push(self, log: _Log, make: Callable[[], Entry]) -> None:
        """Queue an entry; its thread makes it and writes it."""
        if not log.error:
            log.queue.append(make)

    def _run(self, log: _Log) -> None:
        try:
            while not log.ending.wait(WRITE_S):
                self._write(log)
            self._write(log)
        except Exception as error:  # whatever the file system comes up with
            log.error = log.error or _text(error)
            logger.error("session log ended name=%r bytes=%d error=%r", log.name, log.n_bytes, log.error)
        log.ending.wait()  # after an error: the loop has not seen it yet
        log.queue.clear()
        try:
            log.file.close()
        except Exception as error:
            log.error = log.error or _text(error)
        if log.is_abandoned:
            log.path.unlink(missing_ok=True)
        log.state = "ended"
        logger.info("session log closed name=%r bytes=%d", log.name, log.n_bytes)
        if log.done:
            text = f"the session log {shown(log.name)} ended early: {log.error}"
            log.done(SessionError(text) if log.error else log.status())

    def _write(self, log: _Log) -> None:
        while log.queue:
            lines: list[bytes] = []
            log.n_queued = 0
            while log.queue and len(lines) < 1000:
                lines.append(session_file.encode(log.queue.popleft()()))
            data = b"".join(lines)
            log.file.write(data)
            log.file.flush()
            log.n_bytes += len(data)


def _start_entry(
    generation: int, block: int, seq: int, first_frame: int, plan: Entry | None, image: bytes
) -> dict[str, Any]:
    row = {"generation": generation, "block": block, "seq": seq, "first_frame": first_frame, "plan": plan}
    return {"start": row | {"image": session_file.pack(image) if image else ""}}


def _event_entry(event: Event) -> Entry:
    value = int(bool(event.value & _native.DECLICKED)) if event.kind == "heard" else event.value
    return {"event": [event.kind, event.block, event.frame, event.generation, value]}


def _text(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
