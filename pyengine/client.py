"""The same commands from Python, over OSC."""

from __future__ import annotations

import json
import logging
import socket
import time
from collections import deque
from collections.abc import Iterable
from typing import Any

from pyengine import commands, messages, osc
from pyengine.commands import Command
from pyengine.errors import (
    CommandError,
    CommitRefused,
    EngineError,
    NoReplyError,
    PatchError,
    RecordingError,
    SessionError,
    shown,
)
from pyengine.links import TRANSPORTS, connect
from pyengine.methods import Methods
from pyengine.osc import Event, Reply

logger = logging.getLogger(__name__)

_ERROR_BY_FOLDER: dict[str, type[EngineError]] = {
    "patch": PatchError,
    "mod": PatchError,
    "gate": PatchError,
    "seq": PatchError,
    "note": PatchError,
    "record": RecordingError,
    "session": SessionError,
}
_START = {
    "udp": "start the engine (pyengine run) or give its port",
    "tcp": "start the engine with a TCP port (pyengine run --osc-tcp-port N) or give that",
}
_QUESTIONS = ("/patch/dump", "/seq/dump", "/engine/status", "/engine/levels", "/engine/modules", "/engine/commands")
_LISTEN_S = 70.0  # an engine gives up after 60
_SPARE_S = 1.0  # beyond a commit's own time-out
MAX_EVENTS = 100_000  # kept until they are asked for; then the oldest go
MAX_UNANSWERED = 128  # datagrams; a socket holds some 270 answers where nothing else is set


class Client(Methods):
    """Asks a running engine and waits for each answer. For one thread; close it or use `with`.

    Raises PatchError, CommitRefused, RecordingError or CommandError with the engine's text where the engine
    refuses, and NoReplyError where it does not answer within timeout_s.

    transport: "udp", or "tcp" for an engine with a TCP port, over which answers of any size come (`dump` of
    a large patch). A question whose answer fits no datagram is asked again over TCP where the engine takes it.

    rollbacks: what the engine said, unasked, of commits of this client that it had to take back after its answer
    (the patch failed on probation); seen with the next request.
    """

    def __init__(
        self, host: str = "127.0.0.1", port: int = 5005, timeout_s: float = 2.0, transport: str = "udp"
    ) -> None:
        self.host, self.port, self.timeout_s = host, port, timeout_s
        if transport not in TRANSPORTS:
            raise EngineError(f"transport {shown(transport)} is none of {', '.join(TRANSPORTS)}")
        self.transport = transport
        self.rollbacks: list[CommitRefused] = []
        self._wide: Client | None = None  # over TCP, for answers that fit no datagram
        self._events: deque[Event] = deque(maxlen=MAX_EVENTS)
        if isinstance(port, bool) or not isinstance(port, int) or not 0 < port < 65536:
            raise EngineError(f"port {port!r} is outside 1..65535; check host and port")
        try:
            self._link = connect(transport, host, port, timeout_s)
        except ConnectionRefusedError as error:
            raise NoReplyError(f"nothing listens on {host}:{port} for TCP; {_START[transport]}") from error
        except (socket.gaierror, ValueError) as error:
            raise EngineError(f"cannot find {host!r}: {error}; check host and port") from error
        except OSError as error:
            raise EngineError(f"cannot reach {host}:{port}: {error}; check host and port") from error

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Client {self.host}:{self.port} {'open' if self._link.is_open else 'closed'}>"

    def close(self) -> None:
        """Close the socket; again does no harm."""
        self._link.close()
        if self._wide is not None:
            self._wide.close()

    # ---- what happens ----

    def subscribe(self, *topics: str) -> dict[str, Any]:
        """Be told what happens, from now on for 60 s (ask again), over TCP until the end. Topics: commits, slots,
        recording, refusals, counters, values; none named: all of them. `events` gives what was told.
        """
        return self._report(commands.Notify(1, topics))

    def unsubscribe(self) -> None:
        """Be told nothing more."""
        self.send(commands.Notify(0))

    def events(self, timeout_s: float = 0.0) -> list[Event]:
        """Return what has happened since the last call; waits up to timeout_s for the first of it."""
        self._drain()
        deadline = time.monotonic() + timeout_s
        while not self._events:
            try:
                self._keep(self._link.receive(deadline))
            except (TimeoutError, ConnectionRefusedError):
                break
        found, self._events = list(self._events), deque(maxlen=MAX_EVENTS)
        return found

    # ---- any command ----

    def _report(self, command: Command) -> dict[str, Any]:
        """Send a command and return the JSON object that its answer carries, {} where it carries none."""
        return _report(self.send(command))

    def send(self, command: Command) -> Reply:
        """Send one command and return its answer. Raises what the engine refuses."""
        reply = self._commanded([osc.encode(command)], [command])[0]
        if _is_too_long(reply) and (wide := self._over_tcp()) is not None:
            return wide.send(command)
        if not reply.ok:
            raise _error(reply)
        return reply

    def ask(self, address: str, *args: messages.Value, timeout_s: float | None = None) -> Reply:
        """Send any message as it is, and return its answer, a refusal too."""
        if not address.startswith("/") or not (address.isascii() and address.isprintable()):
            raise CommandError(f"{shown(address)} is no OSC address; it is printable ASCII and begins with '/'")
        if len(address) > messages.MAX_ADDRESS_BYTES:
            text = f"the address has {len(address)} characters; the longest taken has {messages.MAX_ADDRESS_BYTES}"
            raise CommandError(text)
        wait_s = self.timeout_s if timeout_s is None else timeout_s
        reply = self._exchange([messages.build(address, args)], [address], wait_s)[0]
        if _is_too_long(reply) and (wide := self._over_tcp()) is not None:
            return wide.ask(address, *args, timeout_s=timeout_s)
        return reply

    def _over_tcp(self) -> Client | None:
        """Return a client over TCP, None where the engine has no such port or this one is it."""
        if self._wide is None and self.transport == "udp":
            tcp = self._report(commands.EngineStatus()).get("osc", {}).get("tcp")
            if tcp:
                self._wide = Client(self.host, tcp["port"], self.timeout_s, "tcp")
        return self._wide

    def send_bundle(self, bundle: Iterable[Command], at: float | None = None) -> list[Reply]:
        """Send commands that take effect at one frame; return the answers in their order.

        at: Unix seconds, as time.time() gives them; None for now. If one is refused, its error is raised; if
        several are, an EngineError with all texts. The others have taken effect.
        """
        sent = list(bundle)
        tag = None if at is None else messages.time_tag_from_unix(at)
        return self._unrefused(self._commanded([osc.encode_bundle(sent, tag)], sent))

    def send_all(self, several: Iterable[Command]) -> list[Reply]:
        """Send commands one behind the other without waiting; return the answers in their order.

        Raises as send_bundle does. No more are sent than their answers find room in a socket: then some are awaited.
        """
        sent = list(several)
        return self._unrefused(self._commanded([osc.encode(command) for command in sent], sent))

    @staticmethod
    def _unrefused(replies: list[Reply]) -> list[Reply]:
        refused = [reply for reply in replies if not reply.ok]
        if len(refused) == 1:
            raise _error(refused[0])
        if refused:
            texts = " ".join(f"[{r.address}] {_text(r)}" for r in refused)
            raise EngineError(f"{len(refused)} refused: {texts}")
        return replies

    def _commanded(self, datagrams: list[bytes], sent: list[Command]) -> list[Reply]:
        """Send datagrams; return one answer to each command in them."""
        wait_s = max([self.timeout_s, *(_wait_s(command) for command in sent)])
        return self._exchange(datagrams, [osc.address_of(command) for command in sent], wait_s)

    def _exchange(self, datagrams: list[bytes], addresses: list[str], wait_s: float) -> list[Reply]:
        """Send datagrams; return one answer to each address in them, in order."""
        replies: list[Reply | None] = [None] * len(addresses)
        waiting: dict[str, list[int]] = {}
        for number, address in enumerate(addresses):
            waiting.setdefault(address, []).append(number)
        deadline = time.monotonic() + wait_s

        n_taken = 0

        def take(reply: Reply) -> None:
            nonlocal n_taken, deadline
            if self._is_rollback(reply):
                return
            n_taken += 1
            numbers = waiting.get(reply.address)
            if numbers is None:
                logger.debug("reply ignored address=%s", reply.address)
                return
            replies[numbers.pop(0)] = reply
            deadline = time.monotonic() + wait_s  # for the next one: thousands take longer than one may
            if not numbers:
                del waiting[reply.address]

        try:
            self._drain()
            for number, datagram in enumerate(datagrams):
                while number - n_taken >= MAX_UNANSWERED:
                    take(self._receive(deadline))
                self._link.send(datagram)
            while waiting:
                take(self._receive(deadline))
        except TimeoutError as error:
            asked = ", ".join(list(waiting)[:8])
            text = f"no answer to {asked} from {self.host}:{self.port} in {wait_s:g} s"
            advice = "check that the engine runs there, or give a longer timeout_s"
            raise NoReplyError(f"{text}; {advice}") from error
        except ConnectionRefusedError as error:
            text = f"nothing listens on {self.host}:{self.port}"
            raise NoReplyError(f"{text}; {_START[self.transport]}") from error
        except OSError as error:
            text = f"cannot talk to {self.host}:{self.port}: {error}; check the address"
            raise EngineError(text) from error
        return [reply for reply in replies if reply is not None]

    def _receive(self, deadline: float) -> Reply:
        while True:
            reply = self._keep(self._link.receive(deadline))
            if reply is not None:
                return reply

    def _keep(self, packet: bytes) -> Reply | None:
        """Return the answer in a packet; an event is kept, anything else is passed over."""
        try:
            event = osc.decode_event(packet)
            if event is None:
                return osc.decode_reply(packet)
            self._events.append(event)
        except CommandError as error:
            logger.debug("packet ignored reason=%s", error)
        return None

    def _is_rollback(self, reply: Reply) -> bool:
        """Keep what answers no request: that a commit, done and told, was taken back."""
        error = None if reply.ok else _error(reply)
        if not isinstance(error, CommitRefused) or error.reason != "rolled back":
            return False
        logger.warning("commit rolled back: %s", error.detail)
        self.rollbacks.append(error)
        return True

    def _drain(self) -> None:
        """Throw away answers to requests that are no longer waited for."""
        for packet in self._link.pending():
            reply = self._keep(packet)
            if reply is not None:
                self._is_rollback(reply)


def _is_too_long(reply: Reply) -> bool:
    """Return whether a question, which changes nothing, was answered with more than a datagram holds."""
    return not reply.ok and reply.address in _QUESTIONS and osc.TOO_LONG in _text(reply)


def _wait_s(command: Command) -> float:
    if isinstance(command, (commands.Commit, commands.Undo)) and command.timeout_ms is not None:
        return command.timeout_ms / 1000 + _SPARE_S
    if isinstance(command, commands.EngineListen):
        return _LISTEN_S
    return 0.0


def _text(reply: Reply) -> str:
    return " ".join(str(arg) for arg in reply.args) or "refused without a reason"


def _error(reply: Reply) -> EngineError:
    """Return the exception that a /fail means."""
    text = _text(reply)
    if reply.address in ("/patch/commit", "/patch/undo"):
        return CommitRefused.from_text(text)
    folder = reply.address.split("/")[1] if reply.address.startswith("/") else ""
    kind: type[EngineError] = _ERROR_BY_FOLDER.get(folder, CommandError)
    return kind(text)


def _json(reply: Reply) -> Any:
    """Return the JSON that an answer carries, or None."""
    if not reply.args or not isinstance(reply.args[0], str):
        return None
    try:
        return json.loads(reply.args[0])
    except ValueError:
        return None


def _report(reply: Reply) -> dict[str, Any]:
    """Return the JSON object that an answer carries, {} where it carries none."""
    data = _json(reply)
    return data if isinstance(data, dict) else {}
