"""The only importer of the compiled extension: status to exception, handles to objects that own them.

An object keeps alive what its handle borrows; closing twice does no harm. cffi drops the GIL in every call.
"""

from __future__ import annotations

import functools
import os
import struct
import time
import weakref
import zlib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from pyengine.errors import NativeError

if TYPE_CHECKING:  # loaded when first used
    import mmap

    from pyengine.facts import Config as Config
    from pyengine.facts import Event as Event
    from pyengine.facts import Letter as Letter
    from pyengine.facts import Record as Record
    from pyengine.facts import Warmup as Warmup

try:
    from pyengine._core import ffi, lib
except ModuleNotFoundError as error:
    raise ImportError(
        "the C core of pyengine is not built in this folder; run `pip install -e .` here (or `make run`), "
        "or start Python elsewhere if it is installed already"
    ) from error

_API = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "csrc", "api.h")
if os.path.exists(_API):  # a clone: its sources may be newer than what was built of them
    with open(_API, "rb") as _file:
        _crc = zlib.crc32(_file.read())
    if _crc != getattr(lib, "PE_API_CRC", _crc):
        raise ImportError(
            "the C core of pyengine was built from other sources than are in this folder now; run `pip install -e .` "
            "here (or `make run`)"
        )

if not TYPE_CHECKING:  # seen by a type checker, it would make any misspelt name an Any

    def __getattr__(name: str) -> Any:
        if name not in ("Config", "Event", "Letter", "Record", "Warmup"):
            raise AttributeError(f"module 'pyengine._native' has no attribute {name!r}")
        from pyengine import facts

        return getattr(facts, name)


BUSY = int(lib.PE_BUSY)
N_SEATS = int(lib.PE_SEATS)
N_SLOTS = int(lib.PE_SLOTS)
CALLBACK = int(lib.PE_SEATS)  # the source of the audio callback's events
DECLICKED = int(lib.PE_HEARD_DECLICKED)
AWAIT_MS = 2  # between two looks at whether a slot still lives
KEEP_ALL = NO_PIN = 0xFFFFFFFFFFFFFFFF
NO_LIMIT = 0xFFFFFFFFFFFFFFFF
ISA_VARIABLE = "PYENGINE_ISA"  # an instruction set to be used instead of the best one
MODULES_VARIABLE = "PYENGINE_MODULES"  # shared objects with more modules, separated like PATH

EVENT_NAMES = {
    lib.PE_EVENT_SWAP: "swap",
    lib.PE_EVENT_FALLBACK: "fallback",
    lib.PE_EVENT_UNDERRUN: "underrun",
    lib.PE_EVENT_RESUMED: "resumed",
    lib.PE_EVENT_SWITCHED: "switched",
    lib.PE_EVENT_FADED: "faded",
    lib.PE_EVENT_REPLICA: "replica",
    lib.PE_EVENT_CHECKPOINT: "checkpoint",
    lib.PE_EVENT_STALE: "stale",
    lib.PE_EVENT_HEARD: "heard",
    lib.PE_EVENT_HASH: "hash",
    lib.PE_EVENT_DIVERGED: "diverged",
    lib.PE_EVENT_NOT_FINITE: "not finite",
}

COUNTER_NAMES = (
    "callbacks",
    "frames_requested",
    "frames_delivered",
    "frames_underrun",
    "blocks_played",
    "none_reads",
    "hedged_blocks",
    "fallbacks",
    "swaps",
    "late_swaps",
    "declicks",
    "worst_callback_ns",
    "lead_raised",
    "tap_lost_frames",
    "clock_missed_periods",
    "clock_worst_late_ns",
    "events_lost",
    "device_underflows",
    "torn_blocks",
    "compared_blocks",
    "diverged_blocks",
)

SLOT_COUNTER_NAMES = (
    "blocks",
    "discarded_blocks",
    "late_commands",
    "schedule_full",
    "unknown_handle",
    "refused_values",
    "worst_render_ns",
    "checkpoints",
    "kept_blocks",
    "not_finite_samples",
    "checkpoint_ns",
    "metered_blocks",
    "emit_full",
    "worst_checkpoint_ns",
)


def strerror(status: int) -> str:
    """Return the sentence that belongs to a PeStatus."""
    text: bytes = ffi.string(lib.pe_strerror(status))
    return text.decode()


def check(status: int, what: str) -> None:
    """Raise NativeError(what: why) unless status is PE_OK."""
    if status != lib.PE_OK:
        raise NativeError(f"{what}: {strerror(status)}", status=status)


def _alive(pointer: Any, what: str) -> Any:
    """Return the pointer of a handle. Raises NativeError when it was closed or given away."""
    if pointer == ffi.NULL:
        raise NativeError(f"this {what} is closed, or was handed over; make another", status=int(lib.PE_STALE))
    return pointer


def _free_with(free: Any, pointer: Any, borrowed: object) -> None:
    """Free a handle whose thread uses what it borrows: that is kept until then, however the program ends."""
    free(pointer)


def _text(pointer: Any) -> str:
    value: bytes = ffi.string(pointer)
    return value.decode()


# ---- modules ---------------------------------------------------------------------------------------


def isa_names() -> tuple[str, ...]:
    """Return the instruction sets that this machine can run, the fastest last. All give the same bits."""
    return tuple(_text(lib.pe_isa_name(isa)) for isa in range(lib.pe_isa_count()))


def isa_name() -> str:
    """Return the instruction set in use: the last of isa_names(), or the one that PYENGINE_ISA names."""
    return isa_names()[int(lib.pe_registry_isa(_registry()))]


@functools.cache
def _registry() -> Any:
    """One registry for the life of the process: plans and descriptors point into it."""
    out = ffi.new("PeRegistry **")
    status = lib.pe_registry_new(out)
    if status == lib.PE_UNKNOWN_ISA:
        text = f"{ISA_VARIABLE}={os.environ.get(ISA_VARIABLE, '')!r} names no instruction set that this machine has"
        raise NativeError(f"{text}; choose one of {', '.join(isa_names())}, or unset it")
    check(status, "cannot make the module registry")
    for path in filter(None, os.environ.get(MODULES_VARIABLE, "").split(os.pathsep)):
        check(
            lib.pe_registry_load(out[0], path.encode()),
            f"cannot load modules from {path} (named in {MODULES_VARIABLE})",
        )
    return out[0]


def _describe_param(param: Any) -> dict[str, Any]:
    texts = {key: _text(getattr(param, key)) for key in ("name", "alias", "unit", "choices", "help")}
    numbers = {key: getattr(param, key) for key in ("min", "max", "default_value", "ramp_us", "flags")}
    return texts | numbers


def describe_modules() -> list[dict[str, Any]]:
    """Return what the C descriptors say of every module type, in the registry's order."""
    modules = []
    info = ffi.new("PeModuleInfo *")
    for index in range(lib.pe_registry_count(_registry())):
        check(lib.pe_registry_info(_registry(), index, info), "cannot read a module descriptor")
        modules.append(
            {
                "name": _text(info.name),
                "help": _text(info.help),
                "inputs": _text(info.inputs),
                "outputs": _text(info.outputs),
                "state_version": info.state_version,
                "data": _text(info.data),
                "absorbs": bool(info.absorbs),
                "events": int(info.events),
                "params": [_describe_param(info.params[i]) for i in range(info.n_params)],
            }
        )
    return modules


# ---- plans -----------------------------------------------------------------------------------------


SETTING = struct.Struct("@IId")
"""PeSetting: handle, parameter, value; a test compares the sizes."""


def _rows(type: str, rows: bytes | Sequence[tuple[float, ...]]) -> Any:
    """Return a native array of structs, of rows or around the bytes of them. Raises NativeError for half a row."""
    if not isinstance(rows, bytes):
        return ffi.new(f"{type}[]", list(rows))
    if len(rows) % ffi.sizeof(type):
        raise NativeError(f"{len(rows)} bytes are no whole number of {type}", status=int(lib.PE_BAD_SIZE))
    return ffi.from_buffer(f"{type}[]", rows)


class Stop:
    """A flag that another thread may set to end a warm-up early."""

    def __init__(self) -> None:
        self.pointer = ffi.new("uint32_t *")

    def set(self) -> None:
        self.pointer[0] = 1


NODE, CABLE = struct.Struct("=III"), struct.Struct("=IIIIIff")
"""Rows of Plan as bytes."""


class Data:
    """Bytes that never change, for nodes of plans. Plans keep them as long as they need them."""

    def __init__(self, content: bytes) -> None:
        """Copy them. Raises NativeError for none, or more than MAX_DATA_BYTES."""
        out = ffi.new("PeData **")
        check(lib.pe_data_new(ffi.from_buffer(content), len(content), out), f"cannot hold {len(content)} bytes of data")
        self._data = out[0]

    @classmethod
    def map(cls, descriptor: int, n_bytes: int) -> Data:
        """Map the first n_bytes of a file that nobody changes any more; the descriptor may be closed afterwards."""
        out = ffi.new("PeData **")
        check(lib.pe_data_map(descriptor, n_bytes, out), f"cannot map {n_bytes} bytes of data")
        self = cls.__new__(cls)
        self._data = out[0]
        return self

    @property
    def pointer(self) -> Any:
        return _alive(self._data, "data")

    def __len__(self) -> int:
        return int(lib.pe_data_size(self.pointer))

    def __bytes__(self) -> bytes:
        return bytes(ffi.buffer(lib.pe_data_bytes(self.pointer), len(self)))

    def __del__(self) -> None:
        if getattr(self, "_data", ffi.NULL) != ffi.NULL:
            lib.pe_data_release(self._data)


class Plan:
    """A patch made ready to run. Owns the native plan until `give` hands it to a worker."""

    def __init__(
        self,
        nodes: bytes | Sequence[tuple[int, int, int]],
        cables: bytes | Sequence[tuple[int, int, int, int, int, float, float]],
        *,
        sample_rate_hz: float,
        max_block_frames: int,
        n_channels: int,
        data: Sequence[Data] = (),
    ) -> None:
        """nodes: (handle, module index, 0 or 1 + index in data); cables: (source, source_port, dest, dest_port,
        to_param, depth, offset), depth and offset floats; each a list of rows, or the same as bytes: NODE, CABLE.
        """
        node_array = _rows("PeNodeSpec", nodes)
        cable_array = _rows("PeCableSpec", cables)
        spec = ffi.new("PePlanSpec *")
        spec.sample_rate_hz = sample_rate_hz
        spec.max_block_frames = max_block_frames
        spec.n_channels = n_channels
        spec.n_nodes, spec.n_cables = len(node_array), len(cable_array)
        spec.nodes, spec.cables = node_array, cable_array
        spec.n_data = len(data)
        spec.data = held = ffi.new("PeData *[]", [d.pointer for d in data])
        out = ffi.new("PePlan **")
        check(lib.pe_plan_new(_registry(), spec, out), "cannot build the plan")
        del held
        self.n_channels = n_channels
        self._plan = out[0]

    @property
    def pointer(self) -> Any:
        return _alive(self._plan, "plan")

    def set(self, handle: int, param: int, value: float) -> None:
        """Set a parameter at once; only before the plan runs."""
        check(
            lib.pe_plan_set(self.pointer, handle, param, value),
            f"cannot set parameter {param} of node {handle}",
        )

    def set_all(self, settings: bytes) -> None:
        """Set parameters at once, in order, by one call; settings: rows of SETTING. Only before the plan runs."""
        rows, n_set = _rows("PeSetting", settings), ffi.new("uint32_t *")
        status = lib.pe_plan_set_all(self.pointer, rows, len(rows), n_set)
        if status != lib.PE_OK:
            row = rows[n_set[0]]
            check(status, f"cannot set parameter {row.param} of node {row.handle}")

    def warm_up(self, n_blocks: int, block_frames: int, stop: Stop | None = None) -> Warmup:
        """Render n_blocks with all gates open and measure them; every state is as before afterwards."""
        result = ffi.new("PeWarmup *")
        flag = (stop or Stop()).pointer
        check(lib.pe_plan_warmup(self.pointer, n_blocks, block_frames, flag, result), "cannot warm up the plan")
        from pyengine.facts import Warmup

        return Warmup(result.max_rms, result.peak, result.block_cpu_ns, bool(result.is_finite), result.n_blocks)

    def render(self, commands: Any, n_commands: int, n_frames: int, block_frames: int, out: Any) -> None:
        """Render into `out`, a float32 buffer of n_frames x n_channels."""
        room = memoryview(out)
        if room.nbytes != 4 * n_frames * self.n_channels or (n_commands and len(commands) < n_commands):
            raise NativeError(f"cannot render the plan: {n_frames} frames or {n_commands} commands do not fit")
        floats = ffi.from_buffer("float[]", out, True)
        status = lib.pe_render_offline(self.pointer, commands, n_commands, n_frames, block_frames, floats)
        check(status, "cannot render the plan")

    @property
    def state_bytes(self) -> int:
        return int(lib.pe_plan_state_bytes(self.pointer))

    @property
    def n_banked(self) -> int:
        """Nodes that are rendered together with equal ones."""
        return int(lib.pe_plan_banked_count(self.pointer))

    @property
    def state_hash(self) -> int:
        return int(lib.pe_plan_state_hash(self.pointer))

    def give(self) -> Any:
        """Return the native plan; whoever takes it frees it. NULL when it was given before."""
        plan, self._plan = self._plan, ffi.NULL
        return plan

    def close(self) -> None:
        plan = self.give()
        if plan != ffi.NULL:
            lib.pe_plan_free(plan)

    def __enter__(self) -> Plan:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __del__(self) -> None:
        self.close() if hasattr(self, "_plan") else None


def commands(records: Sequence[Record]) -> Any:
    """Return a native array of PeCommand."""
    array = ffi.new("PeCommand[]", len(records))
    for place, record in zip(array, records, strict=True):
        place.kind = lib.PE_COMMAND_PARAM
        place.frame, place.value = record.frame, record.value
        place.handle, place.param = record.handle, record.param
        place.flags = lib.PE_COMMAND_IMMEDIATE if record.is_immediate else 0
        if record.switch_to:
            place.kind, place.arg = lib.PE_COMMAND_SWITCH, record.switch_to
        elif record.is_mark:
            place.kind = lib.PE_COMMAND_MARK
    return array


# ---- the shared segment ------------------------------------------------------------------------------


def _native_config(config: Config) -> Any:
    native = ffi.new("PeConfig *")
    for name in config.__dataclass_fields__:
        setattr(native, name, getattr(config, name))
    return native


def _anonymous_file(n_bytes: int) -> int:
    """Return a descriptor of memory that has no name: it is gone with the last process that holds it."""
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("pyengine", os.MFD_CLOEXEC)
    else:
        import tempfile

        fd, path = tempfile.mkstemp(prefix="pyengine-")
        os.unlink(path)
    os.ftruncate(fd, n_bytes)
    return fd


def _mapped(fd: int, n_bytes: int, *, is_writable: bool = True) -> mmap.mmap:
    import mmap  # here, so that who only renders does not load it

    return mmap.mmap(fd, n_bytes, access=mmap.ACCESS_DEFAULT if is_writable else mmap.ACCESS_READ)


class Segment:
    """The shared memory of one engine, mapped. `create` makes it, `attach` maps one by descriptor."""

    def __init__(self, fd: int, memory: mmap.mmap, pointer: Any) -> None:
        self.fd = fd
        self._memory = memory
        self._pointer = pointer
        native = ffi.new("PeConfig *")
        lib.pe_segment_config(pointer, native)
        from pyengine.facts import Config

        fields = {name: getattr(native, name) for name in Config.__dataclass_fields__}
        flags = {"is_free_running": bool(native.is_free_running), "may_rest": bool(native.may_rest)}
        self.config = Config(**(fields | flags))
        self._event = ffi.new("PeEvent *")

    @classmethod
    def create(cls, config: Config) -> Segment:
        native = _native_config(config)
        n_bytes = lib.pe_segment_bytes(native)
        if n_bytes == 0:
            raise NativeError(f"cannot lay out the shared memory: {config} has a number outside its range", status=0)
        fd = _anonymous_file(n_bytes)
        memory = _mapped(fd, n_bytes)
        base = ffi.cast("void *", ffi.from_buffer(memory))
        check(lib.pe_segment_init(base, n_bytes, native), "cannot lay out the shared memory")
        return cls._of(fd, memory)

    @classmethod
    def attach(cls, fd: int) -> Segment:
        return cls._of(fd, _mapped(fd, os.fstat(fd).st_size))

    @classmethod
    def look(cls, fd: int) -> Segment:
        """Map one for reading only: whoever has it can disturb nothing."""
        return cls._of(fd, _mapped(fd, os.fstat(fd).st_size, is_writable=False))

    @classmethod
    def _of(cls, fd: int, memory: mmap.mmap) -> Segment:
        out = ffi.new("PeSegment **")
        base = ffi.cast("void *", ffi.from_buffer(memory))
        check(lib.pe_segment_attach(base, len(memory), out), "cannot use the shared memory")
        return cls(fd, memory, out[0])

    @property
    def pointer(self) -> Any:
        return self._pointer

    def close(self) -> None:
        """Close the descriptor; the mapping goes with the last object that points into it."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def lock(self) -> bool:
        """Keep it in memory; False where that is refused."""
        return bool(lib.pe_segment_lock(self._pointer) == lib.PE_OK)

    # the gate
    play_block = property(lambda self: int(lib.pe_gate_play_block(self._pointer)))
    active_slot = property(lambda self: int(lib.pe_gate_active_slot(self._pointer)))
    heard_generation = property(lambda self: int(lib.pe_gate_heard_generation(self._pointer)))
    swapped_generation = property(lambda self: int(lib.pe_gate_swapped_generation(self._pointer)))
    pending_switch = property(lambda self: int(lib.pe_gate_pending_switch(self._pointer)))
    standby_ready = property(lambda self: int(lib.pe_gate_standby_ready(self._pointer)))

    clock_rests = property(lambda self: bool(lib.pe_gate_clock_rests(self._pointer)))

    def slot_rests(self, slot: int) -> bool:
        """True while it is alive and silent until something is set: its render head may be behind."""
        return bool(lib.pe_gate_slot_rests(self._pointer, slot))

    effective_lead = property(lambda self: int(lib.pe_gate_effective_lead(self._pointer)))
    largest_request = property(lambda self: int(lib.pe_gate_largest_request(self._pointer)))

    def has_block(self, block: int) -> bool:
        """True if the callback would find the block in a ring."""
        return bool(lib.pe_gate_has_block(self._pointer, block))

    def open_gate(self, generation: int) -> None:
        lib.pe_gate_open(self._pointer, generation)

    def close_gate(self) -> None:
        lib.pe_gate_close(self._pointer)

    # slots
    def prime_ready(self, slot: int) -> tuple[int, bool]:
        word = int(lib.pe_slot_prime_ready(self._pointer, slot))
        return word >> 1, bool(word & 1)

    def reset_prime_ready(self, slot: int, generation: int) -> None:
        lib.pe_slot_reset_prime_ready(self._pointer, slot, generation)

    def set_prime_ready(self, slot: int, generation: int) -> bool:
        return bool(lib.pe_slot_set_prime_ready(self._pointer, slot, generation))

    def set_playable(self, slot: int, is_on: bool, generation: int | None = None) -> None:
        """Let the callback take blocks from a slot's ring: all, those of one generation, or none."""
        chosen = lib.PE_PLAY_ALL if generation is None else generation
        lib.pe_slot_set_playable(self._pointer, slot, chosen if is_on else lib.PE_PLAY_NONE)

    def set_alive(self, slot: int, is_on: bool) -> None:
        lib.pe_slot_set_alive(self._pointer, slot, is_on)

    def is_alive(self, slot: int) -> bool:
        return bool(lib.pe_slot_is_alive(self._pointer, slot))

    def set_pin(self, slot: int, seq: int) -> None:
        lib.pe_slot_set_pin(self._pointer, slot, seq)

    def set_seat(self, slot: int, seat: int) -> None:
        lib.pe_slot_set_seat(self._pointer, slot, seat)

    def seat(self, slot: int) -> int:
        """Return the seat whose ring and words are the slot's at present."""
        return int(lib.pe_slot_seat(self._pointer, slot))

    # what the worker in a slot's seat says
    def render_head(self, slot: int) -> int:
        return int(lib.pe_seat_render_head(self._pointer, self.seat(slot)))

    def applied(self, slot: int) -> int:
        return int(lib.pe_seat_applied(self._pointer, self.seat(slot)))

    def slot_generation(self, slot: int) -> int:
        return int(lib.pe_seat_generation(self._pointer, self.seat(slot)))

    def heartbeat(self, slot: int) -> int:
        return int(lib.pe_seat_heartbeat(self._pointer, self.seat(slot)))

    def marker(self, slot: int) -> int:
        """Return the handle of the node that the slot's render thread is in, 0 for none."""
        return int(lib.pe_seat_marker(self._pointer, self.seat(slot)))

    def build_marker(self, slot: int) -> int:
        """Return the handle of the node that warms up or catches up in the slot's worker, 0 for none."""
        return int(lib.pe_seat_build_marker(self._pointer, self.seat(slot)))

    # seats
    def set_shutdown(self, seat: int, is_on: bool) -> None:
        lib.pe_seat_set_shutdown(self._pointer, seat, is_on)

    def set_keeper(self, seat: int, is_on: bool) -> None:
        """Let the worker of a seat write the periodic checkpoints, or tell their hash only."""
        lib.pe_seat_set_keeper(self._pointer, seat, is_on)

    def counters(self) -> dict[str, int]:
        return {name: int(lib.pe_counter(self._pointer, i)) for i, name in enumerate(COUNTER_NAMES)}

    def counter(self, name: str) -> int:
        return int(lib.pe_counter(self._pointer, COUNTER_NAMES.index(name)))

    def slot_counters(self, slot: int) -> dict[str, int]:
        return {
            name: int(lib.pe_seat_counter(self._pointer, self.seat(slot), i))
            for i, name in enumerate(SLOT_COUNTER_NAMES)
        }

    # the command stream
    newest = property(lambda self: int(lib.pe_stream_newest(self._pointer)))
    stream_space = property(lambda self: int(lib.pe_stream_space(self._pointer)))

    keep = property(lambda self: int(lib.pe_stream_keep(self._pointer)))

    def set_keep(self, seq: int) -> None:
        """Keep the records above this number for whoever starts from a checkpoint."""
        lib.pe_stream_set_keep(self._pointer, seq)

    def send(self, records: Sequence[Record]) -> int:
        """Publish all records by one store; return the newest number, 0 when there is no room now."""
        return int(lib.pe_stream_send(self._pointer, commands(records), len(records)))

    # events and waiting
    def events(self) -> Iterable[Event]:
        """Yield and consume what happened since the last call."""
        from pyengine.facts import Event

        for source in range(lib.PE_EVENT_SOURCES):
            while lib.pe_event_next(self._pointer, source, self._event):
                e = self._event
                name = EVENT_NAMES.get(e.kind, "unknown")
                yield Event(name, e.source, e.block, e.frame, e.generation, e.value, e.hash)

    signal_value = property(lambda self: int(lib.pe_signal_value(self._pointer)))

    def wait_signal(self, seen: int, timeout_ms: int) -> int:
        return int(lib.pe_signal_wait(self._pointer, seen, timeout_ms))

    def raise_signal(self) -> None:
        lib.pe_signal_raise(self._pointer)

    def request_sync(self, seq: int) -> None:
        lib.pe_sync_request(self._pointer, seq)

    # checkpoints
    def request_checkpoint(self, slot: int, generation: int) -> None:
        lib.pe_checkpoint_request(self._pointer, slot, generation)

    def checkpoint(self, generation: int, below: int = KEEP_ALL, last_block: int = KEEP_ALL) -> tuple[int, int] | None:
        """Return (block, sequence number) of the newest whole checkpoint of a generation, numbered below `below`, of
        last_block at the latest.
        """
        info = ffi.new("PeCheckpointInfo *")
        if lib.pe_checkpoint_latest(self._pointer, generation, below, last_block, info) != lib.PE_OK:
            return None
        return int(info.block), int(info.seq)

    def await_checkpoint(self, slot: int, generation: int, block: int, timeout_s: float) -> bool:
        """Wait until there is one of a generation, of this block or a later one; False where the slot that was asked to
        write it has died, or takes longer.
        """
        until = time.monotonic() + timeout_s
        while True:
            seen = self.signal_value
            found = self.checkpoint(generation)
            if found is not None and found[0] >= block:
                return True
            if not self.is_alive(slot) or time.monotonic() >= until:
                return False
            self.wait_signal(seen, AWAIT_MS)

    # what watches
    def watch(self, until_block: int) -> None:
        """Let the levels of blocks below this one be measured."""
        lib.pe_meter_watch(self._pointer, until_block)

    @property
    def watched_until(self) -> int:
        return int(lib.pe_meter_watched_until(self._pointer))

    def levels(self) -> dict[int, tuple[float, float]]:
        """Return (peak, rms) by handle of all nodes above -120 dB, as far as somebody watches."""
        rows = ffi.new("PeLevel[]", int(lib.PE_METERS))
        n = lib.pe_meter_levels(self._pointer, rows, len(rows))
        return {row.handle: (row.peak, row.rms) for row in rows[0:n]}

    def shown(self) -> dict[int, tuple[int, int]]:
        """Return by handle what clocks, sequences and voices show, as far as somebody watches: two numbers.

        A clock: its beat in 2^-32, + 1; whether it runs. A seq: the number of its next step; 1, and 2 besides while it
        holds a gate open. Voices: 128 bits, one for each note that is held.
        """
        rows = ffi.new("PeShown[]", int(lib.PE_METERS))
        n = lib.pe_meter_shown(self._pointer, rows, len(rows))
        return {row.handle: (int(row.words[0]), int(row.words[1])) for row in rows[0:n]}

    def output_level(self, n_frames: int) -> list[tuple[float, float]]:
        """Return (peak, rms) of each channel, of the newest frames that `tail` would return."""
        peak, rms = ffi.new("float *"), ffi.new("float *")
        levels = []
        for channel in range(self.config.n_channels):
            lib.pe_view_level(self._pointer, n_frames, channel, peak, rms)
            levels.append((peak[0], rms[0]))
        return levels

    def tail(self, n_frames: int) -> tuple[bytes, int]:
        """Return the newest frames that were put out while somebody watches, interleaved float32, and how many there
        have been. Zeros stand for what was never there.
        """
        out = bytearray(n_frames * 4 * self.config.n_channels)
        n_fed = int(lib.pe_view_tail(self._pointer, n_frames, ffi.from_buffer("float[]", out, True)))
        return bytes(out), n_fed

    # the record tap
    def read_tap(self, max_frames: int) -> bytes:
        """Return and consume what the callback fed to the tap: interleaved float32."""
        tap = lib.pe_segment_tap(self._pointer)
        place = ffi.new("void **")
        n_frames = lib.pe_ring_peek(tap, max_frames, place)
        if n_frames == 0:
            return b""
        data = bytes(ffi.buffer(place[0], n_frames * 4 * self.config.n_channels))
        lib.pe_ring_release(tap, n_frames)
        return data


# ---- the worker --------------------------------------------------------------------------------------


class Join:
    """A plan on its way to be rendered from a certain block on, and those that came after it.

    Owns them until a worker takes it. It starts at block 0 with nothing applied, until `load`.
    """

    def __init__(self, plan: Plan, generation: int) -> None:
        self.state_bytes = plan.state_bytes  # of the largest of its plans
        out = ffi.new("PeJoin **")
        self._join = ffi.NULL
        check(lib.pe_join_new(plan.give(), generation, out), "cannot begin to join")
        self._join = out[0]

    @property
    def pointer(self) -> Any:
        return _alive(self._join, "join")

    def load(self, segment: Segment, generation: int, below: int = KEEP_ALL, last_block: int = KEEP_ALL) -> None:
        """Take the states, block and number that Segment.checkpoint would find."""
        status = lib.pe_join_load(self.pointer, segment.pointer, generation, below, last_block)
        check(status, f"cannot load a checkpoint of generation {generation}")

    def restart(self, segment: Segment, block: int, base: int) -> None:
        """Go on at this block with these states, past every record up to base."""
        check(lib.pe_join_restart(self.pointer, segment.pointer, block, base), f"cannot restart at block {block}")

    @property
    def block(self) -> int:
        """The block it renders next."""
        return int(lib.pe_join_block(self.pointer))

    def value(self, handle: int, param: int) -> float:
        """Return where a parameter stands or goes to."""
        return float(lib.pe_join_value(self.pointer, handle, param))

    def then(self, plan: Plan, generation: int, fade_frames: int) -> None:
        """Add the plan that came next; it is turned to at its SWITCH."""
        self.state_bytes = max(self.state_bytes, plan.state_bytes)
        status = lib.pe_join_then(self.pointer, plan.give(), generation, fade_frames)
        check(status, f"cannot add generation {generation}")

    def give(self) -> Any:
        join, self._join = self._join, ffi.NULL
        return join

    def close(self) -> None:
        join = self.give()
        if join != ffi.NULL:
            lib.pe_join_free(join)

    def __del__(self) -> None:
        self.close() if hasattr(self, "_join") else None


class Worker:
    """The render thread of one seat, in this process."""

    def __init__(self, segment: Segment, seat: int) -> None:
        out = ffi.new("PeWorker **")
        check(lib.pe_worker_new(segment.pointer, seat, out), "cannot make the worker")
        self._segment = segment  # the worker points into it
        self._seat = seat
        self._worker = out[0]
        self._closing = weakref.finalize(self, _free_with, lib.pe_worker_free, self._worker, segment)

    @property
    def pointer(self) -> Any:
        return _alive(self._worker, "worker")

    def start(self, priority: int) -> bool:
        """Start the render thread, which waits for its first join; True if it got real-time priority."""
        is_realtime = ffi.new("uint32_t *")
        check(lib.pe_worker_start(self.pointer, priority, is_realtime), "cannot start the render thread")
        return bool(is_realtime[0])

    def warm_up(self, plan: Plan, n_blocks: int, stop: Stop | None = None) -> Warmup:
        """Warm a plan up as Plan.warm_up does; what node it is in can be seen from outside."""
        result = ffi.new("PeWarmup *")
        flag = (stop or Stop()).pointer
        check(lib.pe_worker_warmup(self.pointer, plan.pointer, n_blocks, flag, result), "cannot warm up the plan")
        from pyengine.facts import Warmup

        return Warmup(result.max_rms, result.peak, result.block_cpu_ns, bool(result.is_finite), result.n_blocks)

    def arm(self, plan: Plan, generation: int, fade_frames: int) -> None:
        """Hand a plan over, to be turned to at SWITCH `generation`."""
        self._reserve(plan.state_bytes)
        status = lib.pe_worker_arm(self.pointer, plan.give(), generation, fade_frames)
        check(status, "cannot arm the new plan")

    def _reserve(self, state_bytes: int) -> None:
        """Make the memory for checkpoints of such a plan: the render thread must not meet a page that is not there."""
        status = lib.pe_seat_reserve(self._segment.pointer, self._seat, state_bytes)
        check(status, f"cannot hold a checkpoint of {state_bytes} bytes")

    def disarm(self) -> None:
        """Take the armed plan back, unless it was turned to already."""
        lib.pe_worker_disarm(self.pointer)

    def join(self, join: Join, timeout_ms: int) -> None:
        """Render what the join lacks, then hand it to the render thread."""
        _ = join.pointer  # refused before it is given away
        self._reserve(join.state_bytes)
        check(lib.pe_worker_join(self.pointer, join.give(), timeout_ms), "cannot join")

    def park(self, timeout_ms: int) -> None:
        """Let the render thread drop what it renders and wait for the next join."""
        check(lib.pe_worker_park(self.pointer, timeout_ms), "cannot park")

    def collect(self) -> None:
        lib.pe_worker_collect(self.pointer)

    def close(self) -> None:
        self._closing()
        self._worker = ffi.NULL


# ---- output and clocks ---------------------------------------------------------------------------------


class Output:
    """The audio callback's state."""

    def __init__(self, segment: Segment) -> None:
        out = ffi.new("PeOutput **")
        check(lib.pe_output_new(segment.pointer, out), "cannot make the output")
        self.segment = segment  # the output points into it
        self._output = out[0]

    @property
    def pointer(self) -> Any:
        return _alive(self._output, "output")

    @property
    def frames(self) -> int:
        return int(lib.pe_output_frames(self.pointer))

    def time(self) -> tuple[int, int]:
        """Return (first frame of the newest request, its CLOCK_MONOTONIC time in ns)."""
        frame, time_ns = ffi.new("uint64_t *"), ffi.new("uint64_t *")
        lib.pe_output_time(self.pointer, frame, time_ns)
        return int(frame[0]), int(time_ns[0])

    def process(self, n_frames: int) -> bytes:
        """Call the audio callback for n_frames from this thread: for tests and benches only."""
        buffer = ffi.new("float[]", n_frames * self.segment.config.n_channels)
        lib.pe_output_process(self.pointer, buffer, n_frames)
        return bytes(ffi.buffer(buffer))

    def keep(self, n_frames: int) -> None:
        """Keep the last n_frames that are put out, for `listen`. Once, before anybody calls the output."""
        check(lib.pe_output_keep(self.pointer, n_frames), f"cannot keep {n_frames} frames of what is put out")

    @property
    def kept(self) -> tuple[int, int]:
        """Return (how many frames can be listened to, the frame of the output where they end)."""
        end = ffi.new("uint64_t *")
        return int(lib.pe_output_kept(self.pointer, end)), int(end[0])

    def listen(self, buffer: Any) -> tuple[int, int]:
        """Copy the newest frames into a writable buffer, interleaved float32; return (how many, from which on).

        In C, without the GIL; what is written over meanwhile is left out.
        """
        place = ffi.from_buffer("float[]", buffer, require_writable=True)
        first = ffi.new("uint64_t *")
        n_frames = lib.pe_output_listen(self.pointer, place, len(place) // self.segment.config.n_channels, first)
        return int(n_frames), int(first[0])

    def record(self, is_on: bool) -> None:
        lib.pe_output_record(self.pointer, is_on)

    @property
    def tap_start(self) -> int:
        """Frame from which the newest recording was fed."""
        return int(lib.pe_output_tap_start(self.pointer))

    @property
    def is_recording(self) -> bool:
        return bool(lib.pe_output_is_recording(self.pointer))

    def close(self) -> None:
        if self._output != ffi.NULL:
            lib.pe_output_free(self._output)
            self._output = ffi.NULL


class Port:
    """A device's way to the output: its thread may outlive it, and is never let through again once it is closed."""

    def __init__(self, output: Output) -> None:
        out = ffi.new("PePort **")
        check(lib.pe_port_new(output.pointer, out), "cannot make the port")
        self._output = output  # the port points to it
        self._port = out[0]

    @property
    def pointer(self) -> Any:
        return _alive(self._port, "port")

    def portaudio_callback(self) -> tuple[int, int]:
        """Return the addresses of a PaStreamCallback and of its user data."""
        address = int(ffi.cast("uintptr_t", ffi.addressof(lib, "pe_portaudio_callback")))
        return address, int(ffi.cast("uintptr_t", self.pointer))

    def open(self) -> bool:
        """Let the device through from now on. Whoever called the output before must have stopped."""
        return bool(lib.pe_port_open(self.pointer))

    def shut(self) -> bool:
        """Let the device through never again. True when it is not in the output any more; ask again until then."""
        return self._port == ffi.NULL or bool(lib.pe_port_close(self._port))

    @property
    def calls(self) -> int:
        """Requests of the device so far, served or not."""
        return int(lib.pe_port_calls(self.pointer))

    def close(self) -> None:
        """Give the memory back: only when the device's thread has ended."""
        if self._port != ffi.NULL:
            lib.pe_port_free(self._port)
            self._port = ffi.NULL


class Clock:
    """A thread that calls the audio callback: in real time, or as fast as blocks are there."""

    def __init__(self, output: Output, *, is_free: bool, request_frames: int, priority: int) -> None:
        out = ffi.new("PeClock **")
        kind = lib.PE_CLOCK_FREE if is_free else lib.PE_CLOCK_REALTIME
        status = lib.pe_clock_start(output.pointer, output.segment.pointer, kind, request_frames, priority, out)
        check(status, "cannot start the clock")
        self._output = output  # the clock's thread calls it
        self._clock = out[0]
        self._closing = weakref.finalize(self, _free_with, lib.pe_clock_stop, self._clock, output)

    @property
    def pointer(self) -> Any:
        return _alive(self._clock, "clock")

    @property
    def is_realtime(self) -> bool:
        return bool(lib.pe_clock_is_realtime(self.pointer))

    def allow(self, until_frame: int) -> None:
        lib.pe_clock_allow(self.pointer, until_frame)

    def set_requests(self, frames: Sequence[int]) -> bool:
        return bool(lib.pe_clock_requests(self.pointer, ffi.new("uint32_t[]", list(frames)), len(frames)))

    def wait(self, frame: int, timeout_ms: int) -> bool:
        return bool(lib.pe_clock_wait(self.pointer, frame, timeout_ms))

    def close(self) -> None:
        self._closing()
        self._clock = ffi.NULL


# ---- the inbox -------------------------------------------------------------------------------------------


class Inbox:
    """Where datagrams come in, and the one place that numbers records and sends them; see csrc/api.h."""

    def __init__(self, segment: Segment, output: Output) -> None:
        out = ffi.new("PeInbox **")
        check(lib.pe_inbox_new(segment.pointer, output.pointer, _registry(), out), "cannot make the inbox")
        self._borrowed = segment, output
        self._inbox = out[0]
        self._closing = weakref.finalize(self, _free_with, lib.pe_inbox_free, self._inbox, self._borrowed)
        from pyengine.facts import Letter

        self._letter_type = Letter
        self._letter = ffi.new("PeLetter *")
        self._bytes = ffi.new("unsigned char[]", 1 << 16)
        self._taken = ffi.new("PeTaken[]", 1024)

    @property
    def pointer(self) -> Any:
        return _alive(self._inbox, "inbox")

    def fileno(self) -> int:
        """Readable when there is something for `next`."""
        return int(lib.pe_inbox_fd(self.pointer))

    @property
    def open_frame(self) -> int:
        """The first frame that a setting sent now can take effect at."""
        return int(lib.pe_inbox_open_frame(self.pointer))

    def listen(self, socket_fd: int) -> None:
        """Read a bound UDP socket in a thread of its own, until `stop`."""
        check(lib.pe_inbox_listen(self.pointer, socket_fd), "cannot listen")

    def stop(self) -> None:
        if self._inbox != ffi.NULL:
            lib.pe_inbox_stop(self._inbox)

    def publish(self, modules: Sequence[tuple[str, int, int]]) -> None:
        """Let these modules, (id, handle, index of the type), be set the short way from now on, and no others."""
        ids = [id.encode() for id, _, _ in modules]
        rows, at = [], 0
        for id, (_, handle, type_index) in zip(ids, modules, strict=True):
            rows.append((handle, type_index, at, len(id)))
            at += len(id)
        text = b"".join(ids)
        status = lib.pe_inbox_publish(self.pointer, ffi.new("PeInboxModule[]", rows), len(rows), text, len(text))
        check(status, "cannot publish the modules that play")

    def hold(self) -> None:
        """Nothing that comes in is sent until the release."""
        lib.pe_inbox_hold(self.pointer)

    def release(self) -> None:
        lib.pe_inbox_release(self.pointer)

    def put(self, data: bytes, sender: tuple[str, int] = ("0.0.0.0", 0), arrival_ns: int = 0) -> None:
        """Take a datagram as if it had come by the socket; from 0.0.0.0 and a port: from the stream of that number."""
        host = int.from_bytes(bytes(map(int, sender[0].split("."))), "big")
        lib.pe_inbox_put(self.pointer, host, sender[1], arrival_ns, data, len(data))

    def next(self) -> Letter | None:
        """Return the next datagram that needs Python, None for none now. The one before is done with."""
        letter = self._letter
        if not lib.pe_inbox_next(self.pointer, letter, self._bytes):
            return None
        data = bytes(ffi.buffer(self._bytes, letter.n_bytes))
        sender = ".".join(map(str, int(letter.host).to_bytes(4, "big"))), int(letter.port)
        return self._letter_type(data, sender, letter.arrival_ns / 1e9, int(letter.frame))

    def wake(self) -> None:
        """Make it readable: there may be more."""
        lib.pe_inbox_wake(self.pointer)

    def send(self, records: Sequence[Record], is_stamped: bool = False, n_behind: int = 0) -> int:
        """Publish all records by one store; return the newest number, 0 when there is no room now."""
        return int(lib.pe_inbox_send(self.pointer, commands(records), len(records), is_stamped, n_behind))

    def taken(self) -> list[tuple[int, int, float]]:
        """Return (handle, parameter, value) of what was set the short way since the last call."""
        rows: list[tuple[int, int, float]] = []
        while n := lib.pe_inbox_taken(self.pointer, self._taken, len(self._taken)):
            rows += [(t.handle, t.param, t.value) for t in self._taken[0:n]]
        return rows

    def keep(self, seq: int) -> None:
        """Keep records above this number for the session log; KEEP_ALL: there is none."""
        lib.pe_inbox_keep(self.pointer, seq)

    def set_latency(self, is_constant: bool, frames: int = 0) -> None:
        """Let settings take effect a fixed time after they came, at least so many frames, or as soon as possible."""
        kind = lib.PE_LATENCY_CONSTANT if is_constant else lib.PE_LATENCY_ASAP
        lib.pe_inbox_latency(self.pointer, kind, frames)

    @property
    def delay_frames(self) -> int:
        """Frames from arrival to effect, 0 for as soon as possible."""
        return int(lib.pe_inbox_delay(self.pointer))

    def stamp(self, arrival_ns: int) -> int:
        """Return the frame at which a setting takes effect that arrived then; below 0: as soon as it is read."""
        return int(lib.pe_inbox_stamp(self.pointer, arrival_ns))

    def counts(self) -> dict[str, int]:
        """Return what came in, and what became of it; see PeInboxCounts."""
        counts = ffi.new("PeInboxCounts *")
        lib.pe_inbox_counts(self.pointer, counts)
        return {name: int(getattr(counts, name)) for name, _ in ffi.typeof("PeInboxCounts").fields}

    def close(self) -> None:
        """End its thread and give the memory back; again does no harm."""
        self._closing()
        self._inbox = ffi.NULL


# ---- the process ---------------------------------------------------------------------------------------


def limit_realtime_cpu(soft_us: int, hard_us: int) -> bool:
    return bool(lib.pe_process_guard(soft_us, hard_us) == lib.PE_OK)


def lock_memory(segment: Segment) -> bool:
    """Keep the process in memory, and the segment but for checkpoints that nobody needs yet; False where that is
    refused. Before other threads use the segment.
    """
    return bool(lib.pe_process_lock_memory(segment.pointer) == lib.PE_OK)


def die_with_parent(parent_pid: int) -> bool:
    """False when the parent is gone already."""
    return bool(lib.pe_process_die_with_parent(parent_pid) != lib.PE_STALE)


# ---- the session log, and its replay -------------------------------------------------------------------

COMMAND_DTYPE = [
    ("seq", "<u8"),
    ("frame", "<i8"),
    ("value", "<f8"),
    ("arg", "<u8"),
    ("kind", "<u4"),
    ("handle", "<u4"),
    ("param", "<u4"),
    ("flags", "<u4"),
    ("reserved", "<u8", 2),
]
"""PeCommand for numpy; a test compares the sizes."""

PARAM, SWITCH, MARK = int(lib.PE_COMMAND_PARAM), int(lib.PE_COMMAND_SWITCH), int(lib.PE_COMMAND_MARK)
IMMEDIATE = int(lib.PE_COMMAND_IMMEDIATE)
_PAIRS = 4096


def journal_changes(segment: Segment, block: int, end: int, seq: int) -> tuple[list[tuple[int, int]], int]:
    """Return the decisions from a block on that differ from the one before, as (block, number), and the block they
    were read up to: `end`, or one that is not decided yet. seq: the number before. Raises NativeError when the
    journal has gone a lap further.
    """
    at, number, n = ffi.new("uint64_t *", block), ffi.new("uint64_t *", seq), ffi.new("uint32_t *")
    room = ffi.new("uint64_t[]", 2 * _PAIRS)
    pairs: list[tuple[int, int]] = []
    while at[0] < end:
        status = lib.pe_journal_changes(segment.pointer, at, end, number, room, _PAIRS, n)
        check(status, "cannot read the journal")
        pairs += [(int(room[2 * i]), int(room[2 * i + 1])) for i in range(n[0])]
        if n[0] < _PAIRS:
            break
    return pairs, int(at[0])


def stream_records(segment: Segment, first_seq: int) -> list[Record]:
    """Return the records from a number on up to the newest; only in the thread of the intake."""
    n = max(0, segment.newest - first_seq + 1)
    room = ffi.new("PeCommand[]", n)
    n = lib.pe_stream_copy(segment.pointer, first_seq, room, n)
    from pyengine.facts import Record

    return [
        Record(
            c.handle,
            c.param,
            c.value,
            frame=c.frame,
            is_immediate=bool(c.flags & IMMEDIATE),
            switch_to=c.arg if c.kind == SWITCH else 0,
            is_mark=c.kind == MARK,
        )
        for c in room[0:n]
    ]


_MOST_LOOKED_AT = 4096  # records of one look: what is older has been passed over


def settings_since(segment: Segment, first_seq: int) -> tuple[dict[tuple[int, int], float], int]:
    """Return the newest value of each (handle, parameter) that was set from a number on, and the number to go on with.

    For those who only look: of more records than can be looked at, the newest; of those that go under meanwhile, none.
    """
    newest = segment.newest
    first = max(first_seq, newest - _MOST_LOOKED_AT + 1)
    room = ffi.new("PeCommand[]", max(0, newest - first + 1))
    n = lib.pe_stream_copy(segment.pointer, first, room, len(room))
    rows = ((first + i, room[i]) for i in range(n))
    return {
        (c.handle, c.param): c.value for seq, c in rows if c.seq == seq and c.kind == lib.PE_COMMAND_PARAM
    }, newest + 1


RECORD_BYTES = int(ffi.sizeof("PeCommand"))


def stream_bytes(segment: Segment, first_seq: int, last_seq: int) -> bytes:
    """Return records as they lie in the ring, RECORD_BYTES each; they must be kept."""
    n = last_seq - first_seq + 1
    room = ffi.new("PeCommand[]", n)
    if lib.pe_stream_copy(segment.pointer, first_seq, room, n) != n:
        raise NativeError(f"records {first_seq} to {last_seq} are not all kept", status=int(lib.PE_STALE))
    return bytes(ffi.buffer(room))


def checkpoint_image(segment: Segment, generation: int) -> bytes:
    """Return the newest checkpoint of a generation as one byte string (see csrc/api.h), b"" if there is none."""
    info = ffi.new("PeCheckpointInfo *")
    if lib.pe_checkpoint_latest(segment.pointer, generation, KEEP_ALL, KEEP_ALL, info) != lib.PE_OK:
        return b""
    size = 64 + ffi.sizeof("PeCommand") * int(lib.PE_SCHEDULE_SIZE) + info.state_bytes  # a later one has as many
    room = ffi.new("uint64_t[]", (size + 7) // 8)
    n_bytes = lib.pe_checkpoint_image(segment.pointer, generation, room, size)
    return bytes(ffi.buffer(room, n_bytes))


class Replay:
    """A run outside any engine, made of the same code as live. Takes the plans it is given."""

    def __init__(self, plan: Plan, generation: int) -> None:
        _ = plan.pointer  # refused before it is given away
        self._replay = ffi.NULL
        out = ffi.new("PeReplay **")
        check(lib.pe_replay_new(plan.give(), generation, out), "cannot make a replay")
        self._replay = out[0]

    @property
    def pointer(self) -> Any:
        return _alive(self._replay, "replay")

    def load(self, image: bytes) -> None:
        """Begin from a checkpoint of the same plan."""
        check(lib.pe_replay_load(self.pointer, ffi.from_buffer(image), len(image)), "cannot load the checkpoint")

    def copy(self, other: Replay) -> None:
        """Go on from where another replay of an equal plan is."""
        check(lib.pe_replay_copy(self.pointer, other.pointer), "cannot copy a run")

    def restart(self, other: Replay, base: int) -> None:
        """Take over the states alone; records numbered up to base are ignored."""
        check(lib.pe_replay_restart(self.pointer, other.pointer, base), "cannot restart a run")

    def take(self, commands: Any, first_frame: int) -> None:
        """Take commands, a numpy array of COMMAND_DTYPE, before the block at first_frame is rendered."""
        array = ffi.from_buffer("PeCommand[]", commands)
        lib.pe_replay_take(self.pointer, array, len(array), first_frame)

    def turn(self, plan: Plan, generation: int, fade_frames: int) -> None:
        """Turn to a plan from the next frame on."""
        _ = plan.pointer  # refused before it is given away
        status = lib.pe_replay_turn(self.pointer, plan.give(), generation, fade_frames)
        check(status, f"cannot turn to generation {generation}")

    def render(self, first_frame: int, n_frames: int) -> None:
        """Render frames that are not heard."""
        lib.pe_replay_render(self.pointer, first_frame, n_frames, ffi.NULL, ffi.NULL)

    def close(self) -> None:
        replay, self._replay = self._replay, ffi.NULL
        lib.pe_replay_free(replay)

    def __del__(self) -> None:
        self.close() if hasattr(self, "_replay") else None


class ReplayOut:
    """What is heard of replays, one after the other."""

    def __init__(self, sample_rate_hz: float, n_channels: int) -> None:
        out = ffi.new("PeReplayOut **")
        check(lib.pe_replay_out_new(sample_rate_hz, n_channels, out), "cannot make a replay's output")
        self._out = ffi.gc(out[0], lib.pe_replay_out_free)
        self._n_channels = n_channels

    def declick(self) -> None:
        """What comes next does not continue what was heard."""
        lib.pe_replay_out_declick(self._out)

    def _room(self, out: Any, n_frames: int) -> Any:
        room = ffi.from_buffer("float[]", out, True)
        if len(room) != n_frames * self._n_channels:
            raise NativeError(f"cannot replay: {n_frames} frames do not fit")
        return room

    def play(self, replay: Replay, first_frame: int, n_frames: int, out: Any) -> None:
        """Put out frames of a replay, into a float32 buffer of n_frames x n_channels."""
        lib.pe_replay_render(replay.pointer, first_frame, n_frames, self._out, self._room(out, n_frames))

    def silence(self, n_frames: int, out: Any) -> None:
        """Put out frames of silence."""
        lib.pe_replay_out_silence(self._out, n_frames, self._room(out, n_frames))
