"""The process that renders one slot into its ring.

Its render thread lives in C and never comes back to Python; this thread only builds, primes and joins. The
supervisor's end of the protocol is `spawn`; `patch_messages` and the constants below are shared by both.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from pyengine import _native
from pyengine.channel import Channel, Message
from pyengine.errors import EngineError, NativeError
from pyengine.patch import Op, Patch
from pyengine.plan import new_plan, prime
from pyengine.specs import registry

MIN_RMS = 0.001  # below this a patch whose gates are open counts as silent
RENDER_PRIORITY = 2  # SCHED_FIFO, below every audio server's (JACK's clients have 5, our clock 4)
RTTIME_SOFT_US, RTTIME_HARD_US = 500_000, 1_000_000  # of CPU without a wait: then the worker is killed
_BOOT = "import sys; sys.path[:] = {path!r}; from pyengine.worker import main; main({arguments!r})"


# ---- the supervisor's side --------------------------------------------------------------------------


@dataclass
class WorkerProcess:
    """A worker that was started. sentinel: a descriptor that becomes readable when it dies, or -1."""

    slot: int
    process: subprocess.Popen[bytes]
    channel: Channel
    sentinel: int
    started_s: float

    @property
    def pid(self) -> int:
        return self.process.pid

    def kill(self) -> None:
        """Kill it and wait until it is gone."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def close(self) -> None:
        self.channel.close()
        if self.sentinel >= 0:
            os.close(self.sentinel)
            self.sentinel = -1


def spawn(segment: _native.Segment, slot: int, priority: int) -> WorkerProcess:
    """Start a fresh interpreter for a slot. Must be called from a thread that lives as long as the engine.

    It gets the shared segment by descriptor, and with it prime_ready[slot], its audio ring, the command ring,
    heartbeat, events and shutdown flag; and a patch queue of its own, which is also its lifeline.
    """
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    segment.set_shutdown(slot, False)
    arguments = json.dumps(
        {
            "segment": segment.fd,
            "patch_queue": theirs.fileno(),
            "slot": slot,
            "parent": os.getpid(),
            "priority": priority,
        }
    )
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-c", _BOOT.format(path=sys.path, arguments=arguments)],
            pass_fds=(segment.fd, theirs.fileno()),
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C in a terminal is the supervisor's business
        )
    sentinel = os.pidfd_open(process.pid) if hasattr(os, "pidfd_open") else -1
    return WorkerProcess(slot, process, Channel(ours), sentinel, time.monotonic())


def patch_messages(patch: Patch, generation: int) -> list[Message]:
    """Return the messages that make a worker build a patch from nothing."""
    messages: list[Message] = [{"type": "abort"}]
    messages += [
        {"type": "create", "module_id": node.id, "module_type": node.type, "handle": node.handle}
        for node in patch.nodes.values()
    ]
    for cable in patch.cables:
        source, dest = patch.cable_text(cable)
        messages.append({"type": "connect", "source_id": source, "dest_id": dest})
    messages.append({"type": "commit", "generation": generation})
    return messages


def prime_message(
    ops: Sequence[Op], warmup: int, *, fade_frames: int, allow_silence: bool, max_share: float
) -> Message:
    """Return the message that primes what was built. max_share: of the block period, for one block."""
    return {
        "type": "prime",
        "ops": list(ops),
        "warmup": warmup,
        "fade_frames": fade_frames,
        "allow_silence": allow_silence,
        "max_share": max_share,
    }


# ---- the worker's side --------------------------------------------------------------------------------


class Refusal(Exception):
    """A commit that must not happen: (reason, detail)."""


class Builder:
    """What the worker's Python thread does: build, prime, join."""

    def __init__(self, segment: _native.Segment, slot: int, worker: _native.Worker) -> None:
        self._segment = segment
        self._slot = slot
        self._worker = worker
        self._patch = Patch()
        self._plan: _native.Plan | None = None
        self._generation = 0
        self._build_ms = 0.0
        self._fault = ""

    def create(self, message: Message) -> None:
        self._patch.create(message["module_id"], message["module_type"], handle=message.get("handle"))

    def connect(self, message: Message) -> None:
        self._patch.connect(message["source_id"], message["dest_id"])

    def abort(self, message: Message) -> None:
        """Forget what was built; take back what was armed."""
        self._worker.disarm()
        self._patch = Patch()
        self._fault = ""
        if self._plan is not None:
            self._plan.close()
            self._plan = None

    def commit(self, message: Message) -> None:
        """Build the plan of what was created and connected."""
        start = time.perf_counter()
        config = self._segment.config
        self._generation = message["generation"]
        self._plan = new_plan(
            self._patch,
            sample_rate_hz=config.sample_rate_hz,
            max_block_frames=config.block_frames,
            n_channels=config.n_channels,
        )
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
        plan, self._plan = self._plan, None
        with plan:
            if plan.state_bytes > config.checkpoint_bytes:
                text = (
                    f"its states take {plan.state_bytes} bytes, {config.checkpoint_bytes} are allowed; make it smaller"
                )
                raise Refusal("invalid", text)
            warnings = prime(plan, self._patch, message["ops"], config.sample_rate_hz)
            warmup = plan.warm_up(message["warmup"], config.block_frames, hurry)
            is_hurried = warmup.n_blocks < message["warmup"]
            if not is_hurried:
                self._judge(warmup, message)
            try:
                self._worker.arm(plan, self._generation, message["fade_frames"])
            except NativeError as error:
                raise Refusal("busy", str(error)) from None
        if not self._segment.set_prime_ready(self._slot, self._generation):
            self._worker.disarm()
            raise Refusal("aborted", "the commit was given up while it was priming")
        return {"is_ready": True, "warnings": warnings, "is_hurried": is_hurried, "warmup": asdict(warmup)}

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
        """Bring the committed patch up to date from the newest checkpoint and render it from now on."""
        start = time.perf_counter()
        reply: Message = {"type": "joined", "generation": message["generation"], "is_in_step": True}
        plan, self._plan = self._plan, None
        try:
            if plan is None:
                raise EngineError(self._fault or "there is nothing built to join with")
            self._worker.join(plan, message["generation"], message["timeout_ms"])
        except EngineError as error:
            # Handed over but not taken in time: the render thread may still read records for it.
            is_stuck = isinstance(error, NativeError) and error.status == _native.BUSY
            reply |= {"is_in_step": False, "is_stuck": is_stuck, "detail": str(error)}
        reply["join_ms"] = round(1e3 * (time.perf_counter() - start), 3)
        return reply

    def handle(self, message: Message, inbox: _Inbox) -> Message | None:
        """Do what a message asks; return the answer, if it has one."""
        self._worker.collect()
        kind = message["type"]
        if kind == "prime":
            return self.prime(message, inbox.stop_for(self._generation))
        if kind == "join":
            return self.join(message)
        try:
            getattr(self, kind)(message)
        except EngineError as error:
            self._fault = self._fault or str(error)
        return None


class _Inbox:
    """Reads messages in a thread of its own, so that `hurry` is seen while a warm-up runs."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self.messages: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
        self._hurried = 0  # newest generation that is to be hurried
        self._stops: dict[int, _native.Stop] = {}
        threading.Thread(target=self._read, name="pe-inbox", daemon=True).start()

    def _read(self) -> None:
        while (batch := self._channel.receive()) is not None:
            for message in batch:
                if message["type"] == "hurry":
                    self._hurried = message["generation"]
                    for stop in [s for g, s in list(self._stops.items()) if g <= self._hurried]:
                        stop.set()
                else:
                    self.messages.put(message)
        self.messages.put(None)

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
    worker = _native.Worker(segment, given["slot"])
    builder = Builder(segment, given["slot"], worker)
    registry()  # read now, not in the first commit
    is_locked = _native.lock_memory()
    # No limit on the CPU, no real-time priority: a fault of ours must not starve the machine.
    is_realtime = worker.start(segment.play_block, segment.newest, given["priority"] if is_limited else 0)
    hello: Message = {
        "type": "hello",
        "is_realtime": is_realtime,
        "is_locked": is_locked,
        "is_limited": is_limited,
    }
    channel.send([hello])
    inbox = _Inbox(channel)
    while (message := inbox.messages.get()) is not None and message["type"] != "stop":
        answer = builder.handle(message, inbox)
        if answer is not None:
            channel.send([answer])
    worker.close()
    os._exit(0)
