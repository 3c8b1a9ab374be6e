"""The file of a session log: one line per entry, and what is read back of it.

A line is 8 hex digits of the CRC-32 of what follows them, a space, compact JSON, a newline. The first one names the
format. A line that is cut off or damaged ends the reading: what stands before it can be relied on.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import struct
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyengine import _native
from pyengine._native import Record
from pyengine.errors import EngineError, SessionError, shown
from pyengine.patch import Cable, Node, Op, Patch
from pyengine.specs import registry

if TYPE_CHECKING:  # only a log that is read needs numpy, not one that is written
    import numpy as np
    import numpy.typing as npt

FORMAT_VERSION = 1
KEY = "pyengine session"
SUFFIX = ".session"
MAX_HEAD_BYTES = 1 << 16
_LIMIT = 0xFFFFFFFF  # of a handle or a parameter

Entry = dict[str, Any]
_Command = tuple[int, int, float, int, int, int, int, int, tuple[int, int]]


def encode(entry: Entry) -> bytes:
    """Return the line of an entry."""
    text = json.dumps(entry, separators=(",", ":")).encode()
    return b"%08x %s\n" % (zlib.crc32(text), text)


def decode(line: bytes) -> Entry:
    """Return the entry of a line. Raises ValueError that says what is wrong with it."""
    text = line.removesuffix(b"\n")
    digits, _, body = text.partition(b" ")
    if len(digits) != 8 or digits.strip(b"0123456789abcdef"):
        raise ValueError("it does not begin with a checksum")
    if zlib.crc32(body) != int(digits, 16):
        raise ValueError("its checksum is wrong")
    entry = json.loads(body)
    if not isinstance(entry, dict):
        raise ValueError("it is no entry")
    return entry


# ---- what entries are made of ----------------------------------------------------------------------------


def head_entry(config: _native.Config, version: str) -> Entry:
    """Return the first entry of a log."""
    return {
        KEY: FORMAT_VERSION,
        "version": version,
        "rate": config.sample_rate_hz,
        "block": config.block_frames,
        "channels": config.n_channels,
        "lead": config.lead_blocks,
        "modules": {spec.name: spec.state_version for spec in registry().modules},
    }


def _node_row(node: Node) -> list[Any]:
    row = [node.id, node.type, node.handle]
    return [*row, dict(node.data)] if node.data else row


def _wiring(cable: Cable) -> list[float]:
    wiring = [cable.depth, cable.offset, cable.feedback]
    return [] if wiring == [1.0, 0.0, 0] else wiring


def plan_row(generation: int, patch: Patch, ops: Sequence[Op], fade_frames: int, source: int) -> Entry:
    """Return a plan as data: a patch with its handles, its prime ops, how it is turned to, and from what."""
    return {
        "generation": generation,
        "from": source,
        "fade": fade_frames,
        "nodes": [_node_row(node) for node in patch.nodes.values()],
        "cables": [[*patch.cable_text(cable), *_wiring(cable)] for cable in patch.cables],
        "ops": [list(op) for op in ops],
    }


def record_row(record: Record) -> list[Any]:
    """Return a record as data: [handle, param, value, frame, immediate], [generation] of a SWITCH, [] of a mark."""
    if record.switch_to:
        return [record.switch_to]
    if record.is_mark:
        return []
    row = [record.handle, record.param, record.value, record.frame, 1]
    return row if record.is_immediate else row[:3] if record.frame < 0 else row[:4]


_RECORD = struct.Struct("<QqdQIIIIQQ")  # PeCommand; a test compares the sizes


def record_rows(data: bytes) -> list[list[Any]]:
    """Return records as they lie in the ring as data; see record_row()."""
    rows: list[list[Any]] = []
    for _seq, frame, value, arg, kind, handle, param, flags, _, _ in _RECORD.iter_unpack(data):
        if kind == _native.SWITCH:
            rows.append([arg])
        elif kind == _native.MARK:
            rows.append([])
        elif flags & _native.IMMEDIATE:
            rows.append([handle, param, value, frame, 1])
        else:
            rows.append([handle, param, value] if frame < 0 else [handle, param, value, frame])
    return rows


def pack(image: bytes) -> str:
    """Return a checkpoint as text."""
    return base64.b64encode(zlib.compress(image, 1)).decode()


def unpack(text: str) -> bytes:
    """Return the checkpoint that pack() made text of; nothing for no text."""
    return zlib.decompress(base64.b64decode(text, validate=True)) if text else b""


@dataclass(frozen=True, slots=True)
class PlannedPatch:
    """A generation: what its plan is made of, and how it is turned to. source: the generation turned from."""

    generation: int
    source: int
    fade_frames: int
    row: Mapping[str, Any]

    def patch(self) -> tuple[Patch, list[Any]]:
        """Return the patch with its handles, and the prime ops. Raises SessionError if it cannot be built here."""
        patch = Patch()
        try:
            for id, type, handle, *_ in self.row["nodes"]:
                patch.create(id, type, handle=handle)
            for source, dest, *wiring in self.row["cables"]:
                patch.rewire(source, dest, *(wiring or (1.0, 0.0, 0)))
            for id, _, _, *data in self.row["nodes"]:
                patch.give(id, *data) if data else None
        except (EngineError, TypeError, ValueError) as error:
            text = f"the session's patch of generation {self.generation} cannot be built here: {error}"
            how = "use the version and the modules (PYENGINE_MODULES) that it was played with"
            raise SessionError(f"{text}; {how}") from error
        return patch, list(self.row["ops"])


@dataclass(frozen=True, slots=True)
class Restart:
    """A generation that starts at a block with the states another one had at a block; records up to base are past."""

    planned: PlannedPatch
    from_block: int
    block: int
    base: int
    image: bytes


@dataclass(frozen=True, slots=True)
class Heard:
    """What is heard from a block on. frames: of silence before it."""

    block: int
    generation: int
    is_declicked: bool


@dataclass
class Session:
    """A log that was read. fault: why the reading ended before the log's end, '' if it did not."""

    version: str
    sample_rate_hz: float
    block_frames: int
    n_channels: int
    modules: Mapping[str, int]
    generation: int = 0
    block: int = 0
    seq: int = 0
    first_frame: int = 0  # of the engine's output, where the log begins
    planned: PlannedPatch | None = None  # what played where the log begins
    image: bytes = b""
    plans: dict[int, PlannedPatch] = field(default_factory=dict)
    restarts: list[Restart] = field(default_factory=list)
    heard: list[Heard] = field(default_factory=list)
    silences: list[tuple[int, int]] = field(default_factory=list)  # (before this block, frames)
    silent_from: tuple[int, int] | None = None  # (before this block, output frame): not over where the log ends
    decisions: list[tuple[int, int]] = field(default_factory=list)
    frames: int = 0  # of the engine's output, up to where it is known
    played: int = 0  # block that was due there
    is_begun: bool = False
    is_ended: bool = False
    is_damaged: bool = False
    fault: str = ""
    n_records: int = 0
    _commands: list[_Command] = field(default_factory=list)

    @property
    def n_frames(self) -> int:
        """Frames of the log, silence included."""
        return max(0, self.frames - self.first_frame)

    def commands(self) -> npt.NDArray[np.void]:
        """Return all records in order; the first has the number seq + 1."""
        import numpy as np

        return np.array(self._commands, _native.COMMAND_DTYPE)

    # ---- entries, in the order of the file

    def add(self, entry: Entry) -> None:
        """Take one entry in. Raises an exception of its own kind for one that makes no sense."""
        if "played" in entry:
            self._add_played(entry)
        elif "records" in entry:
            self._add_records(*entry["records"])
        elif "event" in entry:
            self._add_event(*entry["event"])
        elif "plan" in entry:
            planned = _planned(entry["plan"])
            self.plans[planned.generation] = planned
        elif "restart" in entry:
            row = entry["restart"]
            numbers = _whole(row["from_block"]), _whole(row["block"]), _whole(row["base"])
            self.restarts.append(Restart(_planned(row), *numbers, unpack(row.get("image") or "")))
        elif "start" in entry:
            self._add_start(entry["start"])
        elif "end" in entry:
            self.is_ended = True
        else:
            raise ValueError("it is an entry of no known kind")

    def _add_start(self, row: Entry) -> None:
        self.generation, self.block, self.seq, self.first_frame = (
            _whole(row[key]) for key in ("generation", "block", "seq", "first_frame")
        )
        self.planned = _planned(row["plan"]) if row["plan"] else None
        self.image = unpack(row["image"])
        self.frames, self.played = self.first_frame, self.block
        self.is_begun = True

    def _add_records(self, first_seq: int, rows: list[list[Any]]) -> None:
        if first_seq != self.seq + self.n_records + 1:
            raise ValueError(f"records from {self.seq + self.n_records + 1} on are missing")
        self._commands += [_command(first_seq + n, *row) for n, row in enumerate(rows)]
        self.n_records += len(rows)

    def _add_event(self, kind: str, block: int, frame: int, generation: int, value: int) -> None:
        if kind == "heard":
            if self.heard and block < self.heard[-1].block:
                raise ValueError("it goes back in time")
            self.heard.append(Heard(_whole(block), _whole(generation), bool(value & 1)))
        elif kind == "underrun":
            self.silent_from = _whole(block), _whole(frame)
        elif kind == "resumed":
            self.silent_from = None
            if self.silences and block <= self.silences[-1][0]:
                raise ValueError("it goes back in time")
            self.silences.append((_whole(block), _whole(value)))

    def _add_played(self, entry: Entry) -> None:
        block, frames = (_whole(number) for number in entry["played"])
        for at, seq in entry["decided"]:
            last_block, last_seq = self.decisions[-1] if self.decisions else (self.block - 1, self.seq)
            if not last_block < _whole(at) <= block or not last_seq < _whole(seq) <= self.seq + self.n_records:
                raise ValueError(f"the decision of block {at} does not follow the one of block {last_block}")
            self.decisions.append((at, seq))
        if block < self.played or frames < self.frames:
            raise ValueError("it goes back in time")
        self.played, self.frames = block, frames


def _command(
    seq: int,
    handle: int = 0,
    param: int | None = None,
    value: float | None = None,
    frame: int = -1,
    is_immediate: int = 0,
) -> _Command:
    """Return a record as numpy takes it; see record_row() for what it is made of."""
    if type(handle) is not int or not 0 <= handle <= _LIMIT:
        raise ValueError(f"record {seq} makes no sense")
    if param is None:  # the handle is the generation of a SWITCH, 0 for a mark
        kind = _native.SWITCH if handle else _native.MARK
        return seq, -1, 0.0, handle, kind, 0, 0, 0, (0, 0)
    if value is None or type(value) not in (int, float):
        raise ValueError(f"record {seq} makes no sense")
    if type(param) is not int or not 0 <= param <= _LIMIT or type(frame) is not int or not -1 <= frame < 1 << 62:
        raise ValueError(f"record {seq} makes no sense")
    flags = _native.IMMEDIATE if is_immediate else 0
    return seq, frame, value, 0, _native.PARAM, handle, param, flags, (0, 0)


def _whole(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 48:
        raise ValueError(f"{shown(value)} is no number of a block, a frame or a record")
    return value


def _planned(row: Entry) -> PlannedPatch:
    if not isinstance(row["nodes"], list) or not isinstance(row["cables"], list) or not isinstance(row["ops"], list):
        raise ValueError("a plan without nodes, cables or ops")
    return PlannedPatch(_whole(row["generation"]), _whole(row["from"]), _whole(row["fade"]), row)


# ---- reading -------------------------------------------------------------------------------------------------


def read(path: str | Path) -> Session:
    """Return the log in a file, up to the first line that is cut off or damaged.

    Raises SessionError for a file that cannot be read, is no session log, or is one of a newer version.
    """
    try:
        with open(path, "rb") as file:
            session = _head(str(path), file.readline(MAX_HEAD_BYTES))
            _read_lines(session, file)
    except OSError as error:
        raise SessionError(f"cannot read {shown(str(path))}: {error.strerror or error}") from error
    return session


def _head(path: str, line: bytes) -> Session:
    """Return the empty session that a first line describes."""
    try:
        entry = decode(line)
        version = entry[KEY]
    except (ValueError, KeyError, RecursionError):
        how = "give a file that `pyengine run --session` or /session/start wrote"
        raise SessionError(f"{shown(path)} is no session log, or cut off in its first line; {how}") from None
    if version != FORMAT_VERSION:
        text = f"{shown(path)} has session format {shown(version)}, this pyengine reads {FORMAT_VERSION}"
        raise SessionError(
            f"{text}; replay it with the pyengine that wrote it ({shown(entry.get('version'))}), or newer"
        )
    try:
        rate_hz, block, channels = float(entry["rate"]), _whole(entry["block"]), _whole(entry["channels"])
        modules = {str(name): int(number) for name, number in entry["modules"].items()}
        if not (math.isfinite(rate_hz) and 1000 <= rate_hz <= 768000 and 1 <= block <= 8192 and 1 <= channels <= 8):
            raise ValueError("a number outside its range")
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise SessionError(
            f"{shown(path)} has a first line that makes no sense: {error}; nothing can be done"
        ) from error
    return Session(str(entry.get("version")), rate_hz, block, channels, modules)


def _read_lines(session: Session, lines: Iterable[bytes]) -> None:
    number = 1
    for number, line in enumerate(lines, 2):
        try:
            session.add(decode(line))
        except (ValueError, KeyError, TypeError, IndexError, OverflowError, RecursionError, AttributeError) as error:
            _give_up(session, number, line, error)
            return
        except (EngineError, zlib.error, binascii.Error) as error:
            _give_up(session, number, line, error)
            return
    if not session.is_ended:
        session.fault = f"the log was cut off behind line {number}: the engine did not end it"


def _give_up(session: Session, number: int, line: bytes, error: Exception) -> None:
    if not line.endswith(b"\n"):  # the last one there is
        session.fault = f"the log is cut off in line {number}"
        return
    session.is_damaged = True
    reason = f"it lacks {error}" if isinstance(error, KeyError) else str(error) or type(error).__name__
    session.fault = f"line {number} of the log is damaged: {reason}"
