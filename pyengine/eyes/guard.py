"""Whom the page's server talks to, and how much it takes of one browser. Pure, time is an argument."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

MESSAGES_A_S = 400.0  # of one browser: a slider that is dragged sends one for each picture, 60 a second
BURST = 400
MOST_DROPPED = 4000  # then the connection is cut


def refusal(headers: Mapping[str, str], port: int) -> str:
    """Return why a request is refused, '' if it is not.

    A page of another origin must reach nothing here, even when its name resolves to this machine (DNS rebinding):
    a browser tells the name it was asked for in Host, and where the page came from in Origin.
    """
    hosts = {f"{name}:{port}" for name in ("127.0.0.1", "localhost", "[::1]")}
    host = headers.get("Host", "")
    if host not in hosts:
        return f"host {host[:100]!r} is not this one; open http://127.0.0.1:{port}/"
    origin = headers.get("Origin")
    if origin is not None and origin not in {f"http://{name}" for name in hosts}:
        return f"a page from {origin[:100]!r} may not use this engine; open http://127.0.0.1:{port}/"
    return ""


@dataclass
class Throttle:
    """How many messages one browser may send: a bucket that fills with time."""

    rate_a_s: float = MESSAGES_A_S
    burst: int = BURST
    most_dropped: int = MOST_DROPPED
    received: int = 0
    taken: int = 0
    dropped: int = 0
    _room: float = field(default=-1.0)
    _seen_s: float = 0.0

    def takes(self, now_s: float) -> bool:
        """Count a message; True if it is to be heard."""
        if self._room < 0:
            self._room = float(self.burst)
        else:
            self._room = min(float(self.burst), self._room + (now_s - self._seen_s) * self.rate_a_s)
        self._seen_s = now_s
        self.received += 1
        if self._room < 1.0:
            self.dropped += 1
            return False
        self._room -= 1.0
        self.taken += 1
        return True

    @property
    def is_flooded(self) -> bool:
        """True when the connection is to be cut."""
        return self.dropped > self.most_dropped
