"""Whom a server beside the engine answers, and how much it takes of one client. Pure, time is an argument."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from urllib.parse import urlsplit


def refusal(headers: Mapping[str, str], port: int, is_loopback: bool, names: Collection[str] = ()) -> str:
    """Return why a request is refused, '' if it is not.

    Tools ask by address. A page in a browser whose name was made to resolve to this machine (DNS rebinding) tells that
    name in Host, and a page from elsewhere its origin: both are refused. is_loopback: only this machine may ask. names:
    that we announce ourselves, which only the local network resolves.
    """
    host = headers.get("Host", "")
    if not _is_ours(host, port, is_loopback, names):
        return f"host {host[:100]!r} is not this one; ask by address, as in http://127.0.0.1:{port}/"
    origin = headers.get("Origin")
    if origin is not None:
        parts = urlsplit(origin)
        if parts.scheme != "http" or not _is_ours(parts.netloc, port, is_loopback, names):
            return f"a page from {origin[:100]!r} may not ask this engine"
    return ""


def _is_ours(netloc: str, port: int, is_loopback: bool, names: Collection[str]) -> bool:
    try:
        parts = urlsplit(f"//{netloc}")
        if parts.port != port or parts.username is not None or parts.path or parts.query or parts.fragment:
            return False
        if parts.hostname == "localhost" or parts.hostname in names:
            return True
        address = ip_address(parts.hostname or "")
    except ValueError:
        return False
    return address.is_loopback or not is_loopback


@dataclass
class Throttle:
    """How many messages one client may send: a bucket that fills with time. Beyond most_dropped it is to be cut."""

    rate_a_s: float
    burst: float
    most_dropped: int
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
