"""The worker processes: those that have a slot, the one in reserve, and those that are being ended.

Fencing: what a worker wrote to is used again only when its process is gone. A kill that is not confirmed within
a second leaves it its seat; its successor gets another one.
"""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

from pyengine import _native
from pyengine.channel import Message
from pyengine.loop import Loop
from pyengine.samples import Samples
from pyengine.worker import RENDER_PRIORITY, WorkerProcess, spawn

logger = logging.getLogger(__name__)

START_TIMEOUT_S = 20.0
END_S = 0.5  # from the end of a worker's patch queue to the end of its process
CONFIRM_S = 1.0  # for a kill to be confirmed; after it the successor gets a spare seat
LOOK_S = 0.1
LOOKS = 10  # of them without a move make a stall
BUDGET_S = 10.0
FALSE_STARTS_ALLOWED = 6  # within BUDGET_S: workers that died before they were of use; then a pause before the next
PAUSE_S = 1.0

FAULTS = frozenset(
    getattr(signal, name)
    for name in ("SIGSEGV", "SIGFPE", "SIGILL", "SIGBUS", "SIGABRT", "SIGSYS", "SIGXCPU", "SIGTRAP")
    if hasattr(signal, name)
)


def is_fault(code: int | None) -> bool:
    """True when a process ended by its own doing: a signal that a fault raises, or an exit of its own."""
    return code is not None and (code >= 0 or -code in FAULTS)


def cause_of(code: int | None) -> str:
    """Return how a process ended, in words."""
    if code is None:
        return "was given up while it still ran"
    if code >= 0:
        return f"ended with code {code}"
    try:
        return f"died of {signal.Signals(-code).name}"
    except ValueError:
        return f"died of signal {-code}"


def _samples_of(messages: list[Message]) -> Iterator[str]:
    """Yield the hashes of the samples that what is to be built plays."""
    for message in messages:
        if message["type"] in ("build", "prepare", "prepare_join"):
            yield from message["blueprint"].samples
        for stage in message.get("stages", ()):
            yield from _samples_of(stage["messages"])


class Crew:
    """Starts, seats, watches and ends workers. Every method is called by the loop.

    on_ready(worker): one is in reserve. on_message(worker, message). on_gone(worker, why): one that had a slot is
    out of it, dead or given up; what it wrote is not played any more unless it is known dead.
    on_false_start(worker, cause): one died before it had a slot. on_free(worker): its slot may get another one, or
    one that found no seat may.
    """

    def __init__(
        self,
        segment: _native.Segment,
        loop: Loop,
        *,
        on_ready: Callable[[WorkerProcess], None],
        on_message: Callable[[WorkerProcess, Message], None],
        on_gone: Callable[[WorkerProcess, str], None],
        on_false_start: Callable[[WorkerProcess, str], None],
        on_free: Callable[[WorkerProcess], None],
    ) -> None:
        self._segment = segment
        self._loop = loop
        self._on_ready = on_ready
        self._on_message = on_message
        self._on_gone = on_gone
        self._on_false_start = on_false_start
        self._on_free = on_free
        self.workers: list[WorkerProcess | None] = [None, None]
        self.reserves: list[WorkerProcess] = []
        self._ending: list[WorkerProcess] = []  # killed, not yet known to be gone
        self._awaited: dict[int, WorkerProcess] = {}  # slot -> the one whose end is waited for before it gets another
        self._free_seats = list(range(_native.N_SEATS))
        self._false_starts: list[float] = []
        self._seen: list[tuple[int, int]] = [(0, 0), (0, 0)]
        self._unmoved = [0, 0]
        self._is_closed = False
        self.stall_looks = LOOKS
        self.is_apart = True  # the renderers keep to different processors
        self.deaths = 0
        self.samples: Samples | None = None  # where workers get what they play

    # ---- start ----------------------------------------------------------------------------------------

    def start(self, n: int) -> None:
        """Start the first workers, side by side."""
        for _ in range(n):
            self._spawn()

    def refill(self) -> None:
        """Start a worker for the reserve, unless there is one; where that fails, try again."""
        if self.reserves or self._is_closed:
            return
        try:
            self._spawn()
        except OSError as error:  # no process, no memory, no descriptor left
            logger.error("a worker cannot be started: %s; the next try is in %g s", error, PAUSE_S)
            self._loop.after(PAUSE_S, self.refill)

    @property
    def is_reserve_ready(self) -> bool:
        return any(worker.is_ready for worker in self.reserves)

    def _spawn(self) -> None:
        worker = spawn(self._segment, RENDER_PRIORITY)
        self.reserves.append(worker)
        self._loop.watch_channel(worker.channel, lambda m: self._receive(worker, m), lambda: self._on_end(worker))
        if worker.sentinel >= 0:
            self._loop.watch(worker.sentinel, lambda: self.dismiss(worker, "died"))
        self._loop.after(START_TIMEOUT_S, lambda: self._on_start_timeout(worker))

    def _on_start_timeout(self, worker: WorkerProcess) -> None:
        if not worker.is_ready:
            self.dismiss(worker, f"did not start within {START_TIMEOUT_S:g} s")

    def _receive(self, worker: WorkerProcess, message: Message) -> None:
        if message["type"] == "hello":
            worker.is_ready = True
            worker.facts = {k: v for k, v in message.items() if k != "type"}
            logger.debug(
                "worker in reserve pid=%d start_ms=%.0f", worker.pid, 1e3 * (time.monotonic() - worker.started_s)
            )
            self._on_ready(worker)
        elif worker.slot >= 0 and self.workers[worker.slot] is worker:
            self._on_message(worker, message)

    def hire(self, slot: int) -> WorkerProcess | None:
        """Give the slot a worker in reserve, in its own seat if that is free; None while there is none ready."""
        worker = next((w for w in self.reserves if w.is_ready), None)
        if worker is None or not self._free_seats or slot in self._awaited:
            return None
        self.reserves.remove(worker)
        wanted = self._segment.seat(slot)
        worker.slot, worker.seat = slot, wanted if wanted in self._free_seats else self._free_seats[0]
        self._free_seats.remove(worker.seat)
        self.workers[slot] = worker
        self._unmoved[slot] = 0
        self._segment.set_shutdown(worker.seat, False)
        self._segment.set_keeper(worker.seat, False)
        self._segment.set_seat(slot, worker.seat)
        self.send(slot, [{"type": "assign", "slot": slot, "seat": worker.seat, "is_apart": self.is_apart}])
        self._loop.after(0.0, self._refill_later)  # first what is urgent
        return worker

    def send(self, slot: int, messages: list[Message]) -> None:
        """Put messages into the patch queue of a slot's worker; it never blocks. What they play goes before them."""
        worker = self.workers[slot]
        if worker is not None:
            self._give_samples(worker, messages)
            worker.channel.send(messages)
            self._loop.update(worker.channel)

    def _give_samples(self, worker: WorkerProcess, messages: list[Message]) -> None:
        for sha256 in dict.fromkeys(_samples_of(messages)):
            if self.samples is not None and sha256 not in worker.samples:
                held = self.samples.get(sha256)
                worker.samples.add(sha256)
                worker.channel.hand({"type": "sample", "sha256": sha256, "n_bytes": held.n_bytes}, held.fd)

    # ---- end ------------------------------------------------------------------------------------------

    def _on_end(self, worker: WorkerProcess) -> None:
        """Its patch queue has ended. Where the process tells its own end, wait for that: the reason comes with it."""
        self._loop.unwatch(worker.channel)
        if worker.sentinel >= 0:
            self._loop.after(END_S, lambda: self.dismiss(worker, "closed its patch queue"))
        else:
            self._loop.after(0.01, lambda: self.dismiss(worker, "died"))

    def dismiss(self, worker: WorkerProcess, why: str) -> None:
        """Take a worker out: it has died, or it must end."""
        is_reserve = worker in self.reserves
        if not is_reserve and (worker.slot < 0 or self.workers[worker.slot] is not worker):
            return
        if not worker.is_gone:
            if not is_reserve:
                self._segment.set_playable(worker.slot, False)
            worker.kill()
        self._loop.unwatch(worker.channel)
        if worker.sentinel >= 0:
            self._loop.unwatch(worker.sentinel)
        self.deaths += not is_reserve
        if not worker.was_in_step:
            self._false_starts.append(time.monotonic())
        if is_reserve:
            self.reserves.remove(worker)
            logger.error("worker in reserve %s pid=%d: %s", why, worker.pid, cause_of(worker.code))
            self._refill_later()
            self._on_false_start(worker, cause_of(worker.code))
        else:
            self.workers[worker.slot] = None
        self._ending.append(worker)
        if not is_reserve and not worker.is_gone:
            self._awaited[worker.slot] = worker
        self._bury(worker, time.monotonic() + CONFIRM_S)
        if not is_reserve:
            self._on_gone(worker, why)

    def _refill_later(self) -> None:
        """At once, but after a pause when workers die one after another before they are of use."""
        now = time.monotonic()
        self._false_starts = [t for t in self._false_starts if now - t < BUDGET_S]
        if len(self._false_starts) <= FALSE_STARTS_ALLOWED:
            self.refill()
            return
        logger.error(
            "workers die before they are of use deaths=%d seconds=%g; the next starts in %g s",
            len(self._false_starts),
            BUDGET_S,
            PAUSE_S,
        )
        self._loop.after(PAUSE_S, self.refill)

    def _bury(self, worker: WorkerProcess, deadline_s: float) -> None:
        """Wait, without blocking, until a killed worker is gone; its seat is free then. Its slot waits for that, but
        not for ever: then its successor gets another seat.
        """
        is_awaited = worker.slot >= 0 and self._awaited.get(worker.slot) is worker
        if worker.is_gone:
            self._ending.remove(worker)
            if worker.seat >= 0:
                self._free_seats.append(worker.seat)
                self._free_seats.sort()
            worker.close()
            if worker.slot >= 0 and not is_awaited:  # given up before: a slot may have found no seat
                self._loop.call(lambda: self._on_free(worker))
        elif is_awaited and time.monotonic() >= deadline_s:
            logger.error("worker is killed but not gone slot=%d seat=%d pid=%d", worker.slot, worker.seat, worker.pid)
        else:
            self._loop.after(0.001 if is_awaited else 0.05, lambda: self._bury(worker, deadline_s))
            return
        if is_awaited:
            del self._awaited[worker.slot]
            self._loop.call(lambda: self._on_free(worker))
        if worker in self._ending:
            self._bury(worker, deadline_s)

    def look(self) -> None:
        """Called every LOOK_S: a render thread that makes no turn while it should is as good as dead (SIGSTOP, a loop
        in a module). It is looked at several times: a machine that stood still as a whole must not cost both workers.
        """
        for slot, worker in enumerate(self.workers):
            if worker is None or "is_realtime" not in worker.facts:
                continue
            seen = (worker.pid, self._segment.heartbeat(slot))
            self._unmoved[slot] = self._unmoved[slot] + 1 if seen == self._seen[slot] else 0
            self._seen[slot] = seen
            if self._unmoved[slot] >= self.stall_looks:
                self._unmoved[slot] = 0
                logger.error("worker stalled slot=%d pid=%d in_node=%d", slot, worker.pid, self._segment.marker(slot))
                self.dismiss(worker, "stalled")

    def close(self) -> None:
        """End all of them, within a second or so."""
        self._is_closed = True
        workers = [w for w in [*self.workers, *self.reserves] if w is not None]
        for worker in workers:
            if worker.seat >= 0:
                self._segment.set_shutdown(worker.seat, True)
            worker.channel.send([{"type": "stop"}])
        deadline = time.monotonic() + 1.0
        for worker in workers + self._ending:
            self._loop.unwatch(worker.channel)
            if worker.sentinel >= 0:
                self._loop.unwatch(worker.sentinel)
            try:
                worker.process.wait(max(0.0, deadline - time.monotonic()))
            except Exception:  # it did not end by itself
                logger.warning("worker killed at the end slot=%d pid=%d", worker.slot, worker.pid)
                worker.kill()
                with suppress(Exception):  # stuck in the kernel: it ends when that lets it
                    worker.process.wait(CONFIRM_S)
            worker.close()
        self.workers, self.reserves, self._ending = [None, None], [], []
