"""The process that renders one slot into its ring.

It is started in reserve, and given a slot when one needs a worker. Its render thread lives in C and never comes back
to Python; this thread only builds, primes and joins. The supervisor's end of the protocol is `spawn`; `prime_message`
and the constants below are shared by both.
"""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field

from pyengine import _native
from pyengine.channel import Channel, Message
from pyengine.errors import EngineError, NativeError
from pyengine.patch import Op, Patch
from pyengine.plan import Blueprint, prime
from pyengine.processors import halves_here, keeping_to
from pyengine.specs import registry

NOT_IN_STEP = "not in step"  # refused before it was tried: the worker does not run what the commit is to follow
MIN_RMS = 0.001  # below this a patch whose gates are open counts as silent
READ_LOOK_S = 0.002  # how long a reading thread may outlive its warm-up
RENDER_PRIORITY = 2  # SCHED_FIFO, below every audio server's (JACK's clients have 5, our clock 4)
RTTIME_SOFT_US, RTTIME_HARD_US = 500_000, 1_000_000  # of CPU without a wait: then the worker is killed
_BOOT = "import sys; sys.path[:] = {path!r}; from pyengine.worker import main; main({arguments!r})"


# ---- the supervisor's side --------------------------------------------------------------------------


@dataclass
class WorkerProcess:
    """A worker that was started. sentinel: a descriptor that becomes readable when it dies, or -1.

    slot and seat: -1 while it is in reserve. facts: what it said of itself.
    """

    process: subprocess.Popen[bytes]
    channel: Channel
    sentinel: int
    started_s: float
    slot: int = -1
    seat: int = -1
    is_ready: bool = False
    was_in_step: bool = False
    facts: Message = field(default_factory=dict)
    samples: set[str] = field(default_factory=set)  # hashes of those it was given

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def is_gone(self) -> bool:
        """True once the process has ended and was waited for."""
        return self.process.poll() is not None

    @property
    def code(self) -> int | None:
        """What it ended with: below 0 the number of a signal; None while it runs."""
        return self.process.poll()

    def kill(self) -> None:
        """Send SIGKILL; the process may take a while to be gone, or be stuck in the kernel for long."""
        if not self.is_gone:
            self.process.kill()

    def close(self) -> None:
        self.channel.close()
        if self.sentinel >= 0:
            os.close(self.sentinel)
            self.sentinel = -1


def spawn(segment: _native.Segment, priority: int) -> WorkerProcess:
    """Start a fresh interpreter, in reserve. Must be called from a thread that lives as long as the engine.

    It gets the shared segment by descriptor, and with it prime_ready of its slot, and audio ring, command ring,
    heartbeat, events and shutdown flag of its seat; and a patch queue of its own, which is also its lifeline.
    """
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    arguments = json.dumps(
        {"segment": segment.fd, "patch_queue": theirs.fileno(), "parent": os.getpid(), "priority": priority}
    )
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-c", _BOOT.format(path=sys.path, arguments=arguments)],
            pass_fds=(segment.fd, theirs.fileno()),
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C in a terminal is the supervisor's business
        )
    sentinel = os.pidfd_open(process.pid) if hasattr(os, "pidfd_open") else -1
    return WorkerProcess(process, Channel(ours), sentinel, time.monotonic())


def prime_message(
    warmup: int,
    *,
    ops: Sequence[Op] = (),
    fade_frames: int,
    allow_silence: bool,
    max_share: float,
    onto: int | None = None,
    may_hurry: bool = True,
) -> Message:
    """Return the message that primes what was built. max_share: of the block period, for one block. ops: beyond
    the values in the blueprint, for modules that were created by a message each. onto: the generation that the worker
    must run by then, where it is still on its way to it. may_hurry: a `hurry` may come meanwhile.
    """
    return {
        "type": "prime",
        "ops": list(ops),
        "warmup": warmup,
        "fade_frames": fade_frames,
        "allow_silence": allow_silence,
        "max_share": max_share,
        "onto": onto,
        "may_hurry": may_hurry,
    }


# ---- the worker's side --------------------------------------------------------------------------------


class Refusal(Exception):
    """A commit that must not happen: (reason, detail)."""


class Builder:
    """What the worker's Python thread does: build, prime, join."""

    def __init__(self, segment: _native.Segment, priority: int) -> None:
        self._segment = segment
        self._priority = priority
        self._slot = -1
        self._worker: _native.Worker | None = None
        self._samples: dict[str, _native.Data] = {}
        self._prepared: tuple[Blueprint, _native.Plan] | None = None  # nothing was set or rendered in either of them
        self._prepared_join: tuple[int, _native.Join] | None = None  # with its generation
        self._halves = halves_here()  # asked now, not when a worker is needed
        self._forget()

    def _forget(self) -> None:
        self._patch = Patch()  # of modules and cables that came in a message each
        self._blueprint: Blueprint | None = None  # of a patch that came whole
        self._plan: _native.Plan | None = None
        self._generation = 0
        self._build_ms = 0.0
        self._fault = ""

    @property
    def worker(self) -> _native.Worker:
        if self._worker is None:
            raise EngineError("this worker is in reserve: it has no slot")
        return self._worker

    def assign(self, message: Message) -> Message:
        """Take a slot and a seat; the render thread starts, with nothing to render, apart from the other slot's."""
        self._slot = message["slot"]
        self._worker = _native.Worker(self._segment, message["seat"])
        answer: Message = {"type": "assigned", "processors": []}
        with ExitStack() as stack:
            if self._halves is not None and message["is_apart"]:
                answer["processors"] = sorted(stack.enter_context(keeping_to(self._halves[self._slot])))
            answer["is_realtime"] = self._worker.start(self._priority)
        return answer

    def close(self) -> None:
        self._drop_prepared()
        self._drop_prepared_join()
        if self._worker is not None:
            self._worker.close()

    def create(self, message: Message) -> None:
        self._patch.create(message["module_id"], message["module_type"], handle=message.get("handle"))

    def connect(self, message: Message) -> None:
        self._patch.connect(message["source_id"], message["dest_id"])

    def build(self, message: Message) -> None:
        """Take a patch whole."""
        self._blueprint = message["blueprint"]

    def prepare(self, message: Message) -> None:
        """Build ahead what may be committed next. What is at fault in it is told when it is."""
        blueprint = message["blueprint"]
        if self._prepared is None or not self._prepared[0].is_built_like(blueprint):
            self._drop_prepared()
            with suppress(EngineError):
                self._prepared = (blueprint, self._built(blueprint))

    def prepare_join(self, message: Message) -> None:
        """Build ahead what is to be joined when its probation is over."""
        generation = message["generation"]
        if self._prepared_join is None or self._prepared_join[0] != generation:
            self._drop_prepared_join()
            with suppress(EngineError):
                self._prepared_join = (generation, _native.Join(self._built(message["blueprint"]), generation))

    def _drop_prepared(self) -> None:
        if self._prepared is not None:
            self._prepared[1].close()
        self._prepared = None

    def _drop_prepared_join(self) -> None:
        if self._prepared_join is not None:
            self._prepared_join[1].close()
        self._prepared_join = None

    def _built(self, blueprint: Blueprint) -> _native.Plan:
        """Return a plan, and the one that was built ahead if it is like it."""
        if self._prepared is not None and self._prepared[0].is_built_like(blueprint):
            plan, self._prepared = self._prepared[1], None
            return plan
        config = self._segment.config
        return blueprint.plan(
            sample_rate_hz=config.sample_rate_hz,
            max_block_frames=config.block_frames,
            n_channels=config.n_channels,
            samples=self._samples,
        )

    def sample(self, message: Message) -> None:
        """Take what was in a file, for plans to come."""
        try:
            self._samples[message["sha256"]] = _native.Data.map(message["descriptor"], message["n_bytes"])
        finally:
            os.close(message["descriptor"])

    def abort(self, message: Message) -> None:
        """Forget what was built; take back what was armed."""
        self.worker.disarm()
        if self._plan is not None:
            self._plan.close()
        self._forget()

    def commit(self, message: Message) -> None:
        """Build the plan of what was created and connected, or taken whole."""
        start = time.perf_counter()
        self._generation = message["generation"]
        if self._blueprint is None:
            self._blueprint = Blueprint.of(self._patch)
        self._plan = self._built(self._blueprint)
        self._build_ms = 1e3 * (time.perf_counter() - start)

    def prime(self, message: Message, hurry: _native.Stop) -> Message:
        """Prime, warm up, judge, arm, say ready. Returns the verdict."""
        start = time.perf_counter()
        verdict: Message = {"type": "primed", "generation": self._generation, "is_ready": False}
        try:
            verdict |= self._prime(message, hurry)
        except Refusal as refusal:
            verdict["reason"], verdict["detail"] = refusal.args
        verdict["build_ms"] = round(self._build_ms, 3)
        verdict["prime_ms"] = round(1e3 * (time.perf_counter() - start), 3)
        return verdict

    def _prime(self, message: Message, hurry: _native.Stop) -> Message:
        config = self._segment.config
        if self._plan is None:
            raise Refusal("invalid", self._fault or "there is nothing built to be primed")
        if message["onto"] is not None and self._segment.slot_generation(self._slot) != message["onto"]:
            raise Refusal(NOT_IN_STEP, f"the join to generation {message['onto']}, before it, came to nothing")
        plan, self._plan = self._plan, None
        with plan:
            if plan.state_bytes > config.checkpoint_bytes:
                text = f"its states and memories take {plan.state_bytes} bytes, more than the {config.checkpoint_bytes}"
                advice = "take modules out, those with long memories first: delay, reverb, pluck, limiter"
                raise Refusal("invalid", f"{text} that a checkpoint holds; {advice}")
            plan.set_all(self._settings)
            warnings = prime(plan, self._patch, message["ops"], config.sample_rate_hz)
            warmup = self.worker.warm_up(plan, message["warmup"], hurry)
            is_hurried = warmup.n_blocks < message["warmup"]
            if not is_hurried:
                self._judge(warmup, message)
            try:
                self.worker.arm(plan, self._generation, message["fade_frames"])
            except NativeError as error:
                raise Refusal("busy", str(error)) from None
        if not self._segment.set_prime_ready(self._slot, self._generation):
            self.worker.disarm()
            raise Refusal("aborted", "the commit was given up while it was priming")
        return {"is_ready": True, "warnings": warnings, "is_hurried": is_hurried, "warmup": asdict(warmup)}

    @property
    def _settings(self) -> bytes:
        assert self._blueprint is not None
        return self._blueprint.settings

    def _judge(self, warmup: _native.Warmup, message: Message) -> None:
        config = self._segment.config
        period_ns = 1e9 * config.block_frames / config.sample_rate_hz
        if not warmup.is_finite:
            text = f"samples of the first {warmup.n_blocks} blocks are NaN or infinite; take the module at fault out"
            raise Refusal("not finite", text)
        if warmup.max_rms <= MIN_RMS and not message["allow_silence"]:
            text = (
                f"RMS {warmup.max_rms:.6f} with all gates open in the loudest of {warmup.n_blocks} blocks, "
                f"above {MIN_RMS} is needed; connect a source, raise a gain, or commit with allow_silence 1"
            )
            raise Refusal("silent", text)
        if warmup.block_cpu_ns > message["max_share"] * period_ns:
            text = (
                f"{warmup.block_cpu_ns / 1e3:.1f} us for a block, {message['max_share']:.0%} of its period "
                f"({message['max_share'] * period_ns / 1e3:.1f} us) is allowed; take modules out or use larger blocks"
            )
            raise Refusal("too slow", text)

    def join(self, message: Message) -> Message:
        """Bring what is to be heard up to date from a checkpoint and render it from now on."""
        start = time.perf_counter()
        reply: Message = {"type": "joined", "generation": message["generation"], "is_in_step": True}
        if (asked := message["awaited"]) is not None:
            self._segment.await_checkpoint(asked["slot"], message["generation"], asked["block"], asked["timeout_s"])
        try:
            join = self._restarted(message, reply) if message["restart"] else self._chain(message)
            self.worker.join(join, message["timeout_ms"])
            if message["is_to_be_swapped"]:
                self._segment.set_prime_ready(self._slot, message["generation"])
        except EngineError as error:
            # Handed over but not taken in time: the render thread may still read records for it.
            is_stuck = isinstance(error, NativeError) and error.status == _native.BUSY
            reply |= {"is_in_step": False, "is_stuck": is_stuck, "detail": str(error)}
        reply["join_ms"] = round(1e3 * (time.perf_counter() - start), 3)
        return reply

    def _build(self, stage: Message) -> _native.Plan:
        for message in stage["messages"]:
            getattr(self, message["type"])(message)
        plan, self._plan = self._plan, None
        assert plan is not None
        return plan

    def _chain(self, message: Message) -> _native.Join:
        """Start from the newest whole checkpoint of any of the stages, or from nothing where there is none."""
        stages = message["stages"]
        # Where nobody else renders, the block that is due must be rendered here.
        last_block = self._segment.play_block if message["is_alone"] else _native.KEEP_ALL
        for first in reversed(range(len(stages))):
            generation = stages[first]["generation"]
            # The old slot renders its patch beyond the SWITCH while the new one is on probation: no way leads on.
            below = stages[first + 1]["switch_seq"] if first + 1 < len(stages) else _native.KEEP_ALL
            is_there = self._segment.checkpoint(generation, below, last_block) is not None
            if not is_there and generation > 0:
                continue
            join = self._new_join(stages[first])
            if is_there:
                try:
                    join.load(self._segment, generation, below, last_block)
                except NativeError:  # damaged, all of this generation: an older one leads there too
                    join.close()
                    continue
            for stage in stages[first + 1 :]:
                plan = self._build(stage)
                plan.set_all(self._settings)
                join.then(plan, stage["generation"], stage["fade_frames"])
            return join
        raise EngineError("there is no checkpoint of any generation to start from")

    def _new_join(self, stage: Message) -> _native.Join:
        if self._prepared_join is not None and self._prepared_join[0] == stage["generation"]:
            join, self._prepared_join = self._prepared_join[1], None
            self.abort(stage)
            return join
        return _native.Join(self._build(stage), stage["generation"])

    def _begun(self, stage: Message) -> _native.Join:
        """Build a stage, and prime it as it was for its commit."""
        plan = self._build(stage)
        plan.set_all(self._settings)
        return _native.Join(plan, stage["generation"])

    def _restarted(self, message: Message, reply: Message) -> _native.Join:
        """Start a new generation at the block that is due, past every record so far."""
        (stage,), restart = message["stages"], message["restart"]
        source, source_block = restart["source"], 0
        join = self._begun(stage)
        if source is not None:
            try:
                join.load(self._segment, source)
                source_block = join.block
            except NativeError:  # none of it is left: it begins fresh
                join.close()
                join, source = self._begun(stage), None
        block = self._segment.play_block
        join.restart(self._segment, block, restart["base"])
        reply["restart"] = {"block": block, "base": restart["base"], "source": source, "source_block": source_block}
        assert self._blueprint is not None
        reply["values"] = {
            (id, name): join.value(handle, index) for id, name, handle, index in self._blueprint.addresses()
        }
        return join

    def park(self, message: Message) -> Message:
        """Render nothing until the next join."""
        try:
            self.worker.park(message["timeout_ms"])
        except NativeError as error:
            return {"type": "parked", "is_parked": False, "detail": str(error)}
        return {"type": "parked", "is_parked": True}

    def handle(self, message: Message, inbox: _Inbox) -> Message | None:
        """Do what a message asks; return the answer, if it has one."""
        if self._worker is not None:
            self._worker.collect()
        kind = message["type"]
        if kind == "prime":
            with inbox.reading(message["may_hurry"]):
                return self.prime(message, inbox.stop_for(self._generation))
        if kind in ("assign", "join", "park"):
            answer: Message = getattr(self, kind)(message)
            return answer
        try:
            getattr(self, kind)(message)
        except EngineError as error:
            self._fault = self._fault or str(error)
        return None


class _Inbox:
    """The messages of the supervisor, in order. A thread reads them while a warm-up runs that may be hurried."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._messages: deque[Message] = deque()
        self._is_ended = False
        self._hurried = 0  # newest generation that is to be hurried
        self._stops: dict[int, _native.Stop] = {}

    def next(self) -> Message | None:
        """Wait for a message; None when the supervisor has gone."""
        while not self._messages:
            if self._is_ended:
                return None
            self._read()
        return self._messages.popleft()

    def _read(self) -> None:
        batch = self._channel.receive()
        self._is_ended = batch is None
        for message in batch or ():
            if message["type"] == "hurry":
                self._hurried = message["generation"]
                for stop in [s for g, s in list(self._stops.items()) if g <= self._hurried]:
                    stop.set()
            else:
                self._messages.append(message)

    @contextmanager
    def reading(self, is_wanted: bool) -> Iterator[None]:
        """Within this messages are read as they come, if that is wanted: a `hurry` is seen."""
        if not is_wanted:
            yield
            return
        is_over = threading.Event()
        thread = threading.Thread(target=self._read_until, args=(is_over,), name="pe-inbox", daemon=True)
        thread.start()
        try:
            yield
        finally:
            is_over.set()
            thread.join()

    def _read_until(self, is_over: threading.Event) -> None:
        while not is_over.is_set() and not self._is_ended:
            if select.select([self._channel], [], [], READ_LOOK_S)[0]:
                self._read()

    def stop_for(self, generation: int) -> _native.Stop:
        """Return the flag that ends the warm-up of a generation; set already if the word came first."""
        stop = _native.Stop()
        self._stops = {generation: stop}
        if generation <= self._hurried:
            stop.set()
        return stop


def main(arguments: str) -> None:
    """Run one worker until its supervisor ends it or has gone."""
    given = json.loads(arguments)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if not _native.die_with_parent(given["parent"]):
        return
    is_limited = _native.limit_realtime_cpu(RTTIME_SOFT_US, RTTIME_HARD_US)
    segment = _native.Segment.attach(given["segment"])
    channel = Channel(socket.socket(fileno=given["patch_queue"]))
    # No limit on the CPU, no real-time priority: a fault of ours must not starve the machine.
    builder = Builder(segment, given["priority"] if is_limited else 0)
    registry()  # read now, not when it is needed
    gc.freeze()  # nothing of all that was loaded is looked through again
    is_locked = _native.lock_memory(segment)
    channel.send([{"type": "hello", "is_locked": is_locked, "is_limited": is_limited}])
    inbox = _Inbox(channel)
    while (message := inbox.next()) is not None and message["type"] != "stop":
        answer = builder.handle(message, inbox)
        if answer is not None:
            channel.send([answer])
    builder.close()
    os._exit(0)
