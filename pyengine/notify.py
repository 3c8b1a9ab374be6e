"""Subscriptions: whoever asks is told what happens, at a bounded rate. Events are collected and sent every TICK_S."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from pyengine import osc
from pyengine.commands import Command, Notify
from pyengine.errors import CommandError, EngineError
from pyengine.events import TOPICS, TROUBLE
from pyengine.loop import Loop
from pyengine.messages import MAX_DATAGRAM_BYTES, Value
from pyengine.slots import Slot
from pyengine.supervisor import Supervisor

logger = logging.getLogger(__name__)

TICK_S = 0.05
EXPIRES_S = 60.0  # of a sender of datagrams, which nobody hears leave
MAX_SUBSCRIBERS = 64
MAX_A_TICK = 200  # messages to one subscriber
MAX_QUEUED = 2000  # messages that wait for one subscriber; what comes then is lost, and told so
MAX_VALUES = 16384  # parameters that were set and not told yet


class Peer(Protocol):
    """Whoever is told."""

    @property
    def max_bytes(self) -> int:
        """The longest packet it can be sent."""

    @property
    def is_lasting(self) -> bool:
        """It is known when it goes: its subscription need not be renewed."""

    @property
    def has_room(self) -> bool:
        """It takes what it is sent: not too much waits for it."""

    def send(self, packet: bytes) -> bool:
        """Send a packet; False where that is known to be in vain."""


@dataclass
class Subscriber:
    """Whom to tell what."""

    peer: Peer
    topics: frozenset[str]
    expires_s: float
    queue: deque[bytes] = field(default_factory=deque)
    lost: int = 0

    def tell(self, packet: bytes) -> None:
        if len(self.queue) < MAX_QUEUED:
            self.queue.append(packet)
        else:
            self.lost += 1

    def send(self) -> bool:
        """Send what may be sent now; False where nobody is there any more."""
        for _ in range(MAX_A_TICK):
            if not self.peer.has_room or not (self.queue or self.lost):
                return True
            if not self.queue:
                self.queue.append(osc.encode_event("/event/lost", self.lost))
                self.lost = 0
            if not self.peer.send(self.queue.popleft()):
                return not self.peer.is_lasting
        return True


class Notifier:
    """Every method is called by the engine's loop. While nobody listens nothing is collected."""

    def __init__(self, supervisor: Supervisor, loop: Loop) -> None:
        self._supervisor = supervisor
        self._loop = loop
        self._subscribers: dict[Any, Subscriber] = {}
        self._values: dict[tuple[str, str], float] = {}
        self._seen: dict[str, Any] = {}  # what was told last, by event
        self._is_ticking = False
        supervisor.commits.on_commit = self._on_commit
        supervisor.commits.on_taken_back = self._on_taken_back
        supervisor.board.on_move.append(self._on_move)
        supervisor.on_fallback = self._on_fallback

    # ---- who listens ----

    def subscribe(self, command: Notify) -> dict[str, Any]:
        """Begin, renew or end the subscription of whoever sent the command. Raises CommandError."""
        peer: Any = command.peer
        if peer is None:
            raise CommandError("/notify needs somebody to tell; send it over OSC")
        if not command.is_on:
            self.drop(peer)
            return {"topics": [], "expires_s": None}
        if peer not in self._subscribers and len(self._subscribers) >= MAX_SUBSCRIBERS:
            raise CommandError(f"{MAX_SUBSCRIBERS} subscribers are told already; one must leave (/notify 0) first")
        topics = frozenset(command.topics or TOPICS)
        expires_s = float("inf") if peer.is_lasting else time.monotonic() + EXPIRES_S
        before = self._subscribers.get(peer)
        self._look()  # what has changed by now concerns the others
        subscriber = self._subscribers[peer] = Subscriber(peer, topics, expires_s)
        if before is not None:
            subscriber.queue, subscriber.lost = before.queue, before.lost
        self._watch_values()
        self._tell_how_things_stand(subscriber, topics - (before.topics if before else frozenset()))
        if not self._is_ticking:
            self._is_ticking = True
            self._loop.after(TICK_S, self._tick)
        return {"topics": sorted(topics), "expires_s": None if peer.is_lasting else EXPIRES_S}

    def drop(self, peer: Any) -> None:
        """Tell somebody nothing more."""
        if self._subscribers.pop(peer, None) is not None:
            self._watch_values()

    def close(self) -> None:
        """Tell nobody anything more: the engine ends."""
        self._subscribers.clear()

    def _watch_values(self) -> None:
        desk = self._supervisor.desk  # what was set before is not told
        desk.on_set = self._on_set if self._listeners("values") else None
        if desk.on_set is None:
            self._values.clear()

    def _listeners(self, topic: str) -> list[Subscriber]:
        return [s for s in self._subscribers.values() if topic in s.topics]

    def status(self) -> dict[str, Any]:
        """Return its figures for /engine/status."""
        return {"subscribers": len(self._subscribers), "lost": sum(s.lost for s in self._subscribers.values())}

    # ---- what happens ----

    def _tell(self, topic: str, address: str, *args: Value) -> None:
        listeners = self._listeners(topic)
        if listeners:
            packet = osc.encode_event(address, *args)
            for subscriber in listeners:
                subscriber.tell(packet)

    def _report(self, topic: str, address: str, report: dict[str, Any]) -> None:
        if self._listeners(topic):
            self._tell(topic, address, osc.report_text(report, MAX_DATAGRAM_BYTES))

    def on_answer(self, command: Command, result: Any) -> None:
        """A command was answered, or refused with an EngineError."""
        if isinstance(result, EngineError) and self._subscribers:
            self.on_refused(_address(command), result)

    def on_refused(self, address: str, error: EngineError) -> None:
        """Somebody's request was refused, or no command."""
        self._tell("refusals", "/event/refused", address, str(error)[:1000])

    def _on_commit(self, report: dict[str, Any]) -> None:
        names = ("generation", "slot", "block", "frame", "late_blocks", "ready_ms", "carried", "new", "gone")
        self._report("commits", "/event/commit", {name: report[name] for name in names})

    def _on_taken_back(self, generation: int, why: str) -> None:
        self._tell("commits", "/event/rollback", generation, why)

    def _on_move(self, slot: Slot) -> None:
        self._seen[f"slot {slot.index}"] = (slot.state, slot.generation)
        self._tell("slots", "/event/slot", slot.index, slot.state.value, slot.generation)

    def _on_fallback(self, block: int, to_slot: int, generation: int) -> None:
        self._tell("slots", "/event/fallback", to_slot, block, generation)

    def _on_set(self, id: str, param: str, value: float) -> None:
        if len(self._values) < MAX_VALUES or (id, param) in self._values:
            self._values.pop((id, param), None)  # told in the order of the newest
            self._values[id, param] = value
        else:
            for subscriber in self._listeners("values"):
                subscriber.lost += 1

    # ---- from time to time ----

    def _tick(self) -> None:
        self._is_ticking = bool(self._subscribers)
        if not self._is_ticking:
            return
        self._loop.after(TICK_S, self._tick)
        now = time.monotonic()
        for peer, subscriber in list(self._subscribers.items()):
            if now > subscriber.expires_s:
                peer.send(osc.encode_event("/event/expired"))
                self.drop(peer)
        self._look()
        self._tell_values()
        for peer, subscriber in list(self._subscribers.items()):
            if not subscriber.send():
                self.drop(peer)

    def _tell_values(self) -> None:
        self._supervisor.desk  # noqa: B018 takes in what was set the short way
        for id, param in list(self._values)[:MAX_A_TICK]:
            self._tell("values", "/event/value", id, param, self._values.pop((id, param)))

    def _standing(self) -> dict[str, tuple[str, Callable[[], tuple[str, Sequence[Value]]], Any]]:
        """Return what is looked at: topic, how to tell it, and how it stands."""
        s = self._supervisor
        recording, session = s.recorder.status(), s.session.status()
        all_counters = s.segment.counters()
        counters = {field.name: all_counters[field.name] for field in TROUBLE}
        rows: dict[str, tuple[str, Callable[[], tuple[str, Sequence[Value]]], Any]] = {
            f"slot {slot.index}": (
                "slots",
                lambda slot=slot: ("/event/slot", (slot.index, slot.state.value, slot.generation)),  # type: ignore[misc]
                (slot.state, slot.generation),
            )
            for slot in s.board.slots
        }
        short = {name: value for name, value in recording.items() if name != "last"}
        rows["recording"] = (
            "recording",
            lambda: ("/event/recording", (osc.report_text(short, MAX_DATAGRAM_BYTES),)),
            (recording["is_recording"], recording["name"], recording["error"], recording["lost_frames"]),
        )
        rows["session"] = (
            "recording",
            lambda: ("/event/session", (osc.report_text(session, MAX_DATAGRAM_BYTES),)),
            (session["is_logging"], session["name"], session["error"]),
        )
        rows["counters"] = (
            "counters",
            lambda: ("/event/counters", (osc.report_text(counters, MAX_DATAGRAM_BYTES),)),
            counters,
        )
        return rows

    def _look(self) -> None:
        """Tell what has changed since the last look."""
        for name, (topic, told, standing) in self._standing().items():
            if self._seen.get(name) != standing:
                self._seen[name] = standing
                address, args = told()
                self._tell(topic, address, *args)

    def _tell_how_things_stand(self, subscriber: Subscriber, topics: frozenset[str]) -> None:
        """Who is new to a topic is told how things stand; from then on, what changes."""
        for topic, told, _ in self._standing().values():
            if topic in topics:
                address, args = told()
                subscriber.tell(osc.encode_event(address, *args))


def _address(command: Command) -> str:
    try:
        return osc.address_of(command)
    except EngineError:  # from Python, with names that no address can hold
        return ""
