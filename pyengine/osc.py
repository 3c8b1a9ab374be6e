"""Datagrams -> requests, and requests and replies -> datagrams. No sockets here.

python-osc loops for ever on a negative size in a bundle, recurses on nested bundles and keeps a time tag only as a
float. Bundles are therefore walked here. messages.py reads and writes single messages, requests.py what they ask for.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pyengine.commands import Command
from pyengine.errors import CommandError, EngineError, shown
from pyengine.messages import (
    IMMEDIATELY,
    MAX_ADDRESS_BYTES,
    MAX_DATAGRAM_BYTES,
    MAX_STRING_BYTES,
    Value,
    build,
    clean,
    parse,
)
from pyengine.requests import read, write

MAX_MESSAGES = 4096  # of one bundle: PE_COMMAND_BUDGET
REPLY_HEAD_BYTES = 507  # "/done", tags, the address and padding: more than they take
MAX_LISTED = 100
MAX_DEPTH = 8  # of bundles in bundles
_MAX_HINTS = 32  # faults of a bundle that get the nearest name: the search takes 0.3 ms
_BUNDLE = b"#bundle\0"


@dataclass(frozen=True, slots=True)
class Request:
    """One message. command is None where fault says why not; address is what a reply may name."""

    address: str
    command: Command | None
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Group:
    """Messages that take effect at one frame. time_tag: 64-bit NTP, None for immediately."""

    time_tag: int | None
    requests: tuple[Request, ...]


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer of the engine to the request with this address."""

    ok: bool
    address: str
    args: tuple[Value, ...] = ()


@dataclass(frozen=True, slots=True)
class Event:
    """What happened, told to a subscriber."""

    address: str
    args: tuple[Value, ...] = ()


# ---- requests ----


def decode(datagram: bytes) -> list[Group]:
    """Return the requests of a datagram, grouped by bundle. Never raises: what is wrong becomes a fault.

    A nested bundle is a group of its own after the one around it, and never earlier than that one.
    """
    if not datagram.startswith(_BUNDLE):
        return [Group(None, (_request(datagram),))]
    groups = []
    waiting: list[tuple[bytes, int | None, int]] = [(datagram, None, 1)]
    while waiting:
        bundle, earliest, depth = waiting.pop()
        if depth > MAX_DEPTH:
            text = f"bundles are nested more than {MAX_DEPTH} deep; send them one after the other"
            groups.append(Group(earliest, (Request("", None, text),)))
            continue
        group, nested = _read_bundle(bundle, earliest)
        groups.append(group)
        waiting.extend((inner, group.time_tag, depth + 1) for inner in reversed(nested))
    return groups


def encode(command: Command, time_tag: int | None = None) -> bytes:
    """Return the datagram that asks for a command; with a time tag, a bundle of one."""
    if time_tag is not None:
        return encode_bundle([command], time_tag)
    return _fitting(build(*write(command)))


def encode_bundle(commands: Iterable[Command], time_tag: int | None) -> bytes:
    """Return a bundle; None for immediately. Raises CommandError if it is too large for a datagram."""
    parts = [_BUNDLE, struct.pack(">Q", IMMEDIATELY if time_tag is None else time_tag)]
    for command in commands:
        message = build(*write(command))
        parts += [struct.pack(">i", len(message)), message]
    if len(parts) > 2 * MAX_MESSAGES + 2:
        raise CommandError(f"a bundle takes at most {MAX_MESSAGES} messages; send several bundles")
    return _fitting(b"".join(parts))


def address_of(command: Command) -> str:
    """Return the address that a command is sent to, which its reply names."""
    return write(command)[0]


# ---- replies ----

TOO_LONG = "does not fit a datagram"


def encode_reply(
    ok: bool, address: str, *args: Value, max_bytes: int = MAX_DATAGRAM_BYTES, tcp_port: int | None = None
) -> bytes:
    """Return /done or /fail with the request's address first. Never longer than max_bytes, by default a datagram.

    A /fail that is too long is cut; a /done becomes a /fail that says so, and where to ask: tcp_port, or None for none.
    """
    message = build("/done" if ok else "/fail", [clean(address), *map(clean, args)])
    if len(message) <= max_bytes:
        return message
    if ok:
        advice = (
            f"ask over TCP, port {tcp_port}" if tcp_port else "start the engine with --osc-tcp-port N and ask over TCP"
        )
        text = f"done, but the answer of {len(message)} bytes {TOO_LONG}; {advice}"
        return build("/fail", [clean(address)[:MAX_ADDRESS_BYTES], text])
    text = " ".join(str(arg) for arg in args)[:8000] + " ... (shortened)"
    return build("/fail", [clean(address)[:MAX_ADDRESS_BYTES], clean(text)])


def encode_report(
    address: str, report: Mapping[str, Any], max_bytes: int = MAX_DATAGRAM_BYTES, tcp_port: int | None = None
) -> bytes:
    """Return /done with a report as JSON. Where that does not fit, each of its long lists is cut to the first
    MAX_LISTED, and n_NAME says how many there are.
    """
    return encode_reply(True, address, report_text(report, max_bytes), max_bytes=max_bytes, tcp_port=tcp_port)


def report_text(report: Mapping[str, Any], max_bytes: int) -> str:
    """Return a report as JSON, its long lists cut where a packet of it would not fit."""
    text = json.dumps(report, separators=(",", ":"))
    if len(text) > max_bytes - REPLY_HEAD_BYTES:
        long = {name: value for name, value in report.items() if isinstance(value, list) and len(value) > MAX_LISTED}
        cut: dict[str, Any] = {name: value[:MAX_LISTED] for name, value in long.items()}
        counts = {f"n_{name}": len(value) for name, value in long.items()}
        text = json.dumps({**report, **cut, **counts}, separators=(",", ":"))
    return text


def encode_event(address: str, *args: Value) -> bytes:
    """Return what a subscriber is told: /event/... with its arguments."""
    return build(address, map(clean, args))


def decode_event(packet: bytes) -> Event | None:
    """Return the event in a packet, None if it is none."""
    if not packet.startswith(b"/event/"):
        return None
    address, args = parse(packet, len(packet))
    return Event(address, tuple(args))


def decode_reply(datagram: bytes) -> Reply:
    """Return the answer in a datagram. Raises CommandError if it is not one."""
    address, args = parse(datagram, len(datagram))
    if address not in ("/done", "/fail") or not args or not isinstance(args[0], str):
        raise CommandError(f"{shown(address)} is no reply; expected /done or /fail and a request's address")
    return Reply(address == "/done", args[0], tuple(args[1:]))


# ---- reading ----


def _read_bundle(data: bytes, earliest: int | None) -> tuple[Group, list[bytes]]:
    """Return a bundle's own messages and the bundles in it, still as bytes."""
    if len(data) < 16:
        text = f"the bundle is cut off: {len(data)} bytes, its head alone has 16; send it whole"
        return Group(earliest, (Request("", None, text),)), []
    tag: int | None = struct.unpack_from(">Q", data, 8)[0]
    if tag == IMMEDIATELY or (earliest is not None and tag is not None and tag < earliest):
        tag = earliest
    requests: list[Request] = []
    nested: list[bytes] = []
    n_faults, at = 0, 16
    while at < len(data):
        size = struct.unpack_from(">i", data, at)[0] if at + 4 <= len(data) else -1
        if size < 0 or at + 4 + size > len(data):
            text = f"the bundle is damaged at byte {at}, where the size of an element should be"
            requests.append(Request("", None, f"{text}; what follows is lost, send it again"))
            break
        element = data[at + 4 : at + 4 + size]
        at += 4 + size
        if element.startswith(_BUNDLE):
            nested.append(element)
        else:
            request = _request(element, is_terse=n_faults >= _MAX_HINTS)
            n_faults += request.command is None
            requests.append(request)
        if len(requests) > MAX_MESSAGES:
            text = f"the bundle has more than {MAX_MESSAGES} messages, all refused; send several bundles"
            return Group(tag, (Request("", None, text),)), []
    return Group(tag, tuple(requests)), nested


def _request(message: bytes, is_terse: bool = False) -> Request:
    """Return the request in one message, or the fault in it; terse: without a search for the nearest name."""
    address = ""
    try:
        address = _echo(message)
        name, args = parse(message, MAX_STRING_BYTES)
        return Request(address, read(name, args, is_terse))
    except EngineError as error:
        return Request(address, None, str(error))


def _echo(message: bytes) -> str:
    """Return the address for a reply, shortened and printable, or '' where there is none."""
    if not message.startswith(b"/"):
        return ""
    raw = message[: MAX_ADDRESS_BYTES + 1].partition(b"\0")[0]
    text = raw.decode("ascii", "backslashreplace")
    return text if len(raw) <= MAX_ADDRESS_BYTES else text[:60] + "..."


def _fitting(datagram: bytes) -> bytes:
    if len(datagram) > MAX_DATAGRAM_BYTES:
        text = f"{len(datagram)} bytes do not fit a datagram ({MAX_DATAGRAM_BYTES} bytes); send several"
        raise CommandError(text)
    return datagram
