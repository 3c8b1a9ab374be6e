"""Address table -> commands, and replies, both ways, on python-osc's codec. No sockets here.

python-osc decodes each message, after a check of its layout that python-osc does not make: it fills
missing bytes of a float with zeros, skips types it does not know, loops for ever on a negative size in a
bundle, recurses on nested bundles and keeps a time tag only as a float. Bundles are therefore walked here.
"""

from __future__ import annotations

import json
import math
import re
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from typing import Any

from pythonosc import osc_message, osc_message_builder
from pythonosc.parsing import osc_types

from pyengine.commands import (
    Abort,
    Clear,
    Command,
    Commit,
    Connect,
    Create,
    Delete,
    Disconnect,
    EngineModules,
    EngineStatus,
    EngineSync,
    Gate,
    PatchDump,
    RecordStart,
    RecordStatus,
    RecordStop,
    SessionStart,
    SessionStatus,
    SessionStop,
    SetParam,
    Undo,
)
from pyengine.errors import CommandError, EngineError, shown
from pyengine.patch import parse_gate
from pyengine.specs import nearest_name

MAX_DATAGRAM_BYTES = 65507  # the most UDP carries
MAX_ADDRESS_BYTES = 255
MAX_STRING_BYTES = 1024  # of an argument of a request
MAX_ARGUMENTS = 64
MAX_MESSAGES = 4096  # of one bundle: PE_COMMAND_BUDGET
MAX_REPORT_BYTES = 65000  # of JSON in a datagram with its address and padding
MAX_LISTED = 100
MAX_DEPTH = 8  # of bundles in bundles
_MAX_HINTS = 32  # faults of a bundle that get the nearest name: the search takes 0.3 ms

Argument = int | float | str | bool | None

_BUNDLE = b"#bundle\0"
_IMMEDIATELY = 1
_UNIX_TO_NTP_S = 2_208_988_800  # 1900 to 1970
_SIZES = {"i": 4, "f": 4, "h": 8, "d": 8, "T": 0, "F": 0, "N": 0}
_TYPE_NAMES = {"b": "blob", "t": "time tag", "r": "colour", "m": "MIDI", "c": "character", "[": "array"}
_PART = re.compile(r"[^\x00-\x20#*,/?\[\]{}\x7f-\U0010ffff]+")
_OPTIONS = ("crossfade", "allow_silence", "timeout")
_OPTIONS_TEXT = "[crossfade MS] [allow_silence 0|1] [timeout MS]"
_JSON = "one JSON string"


@dataclass(frozen=True, slots=True)
class Route:
    """One row of the address table. reply: what follows the address in /done."""

    address: str
    arguments: str
    example: str
    help: str
    command: type[Any]
    reply: str = ""

    @property
    def usage(self) -> str:
        return f"{self.address} {self.arguments}".rstrip()


TABLE: tuple[Route, ...] = (
    Route(
        "/patch/create",
        "ID TYPE",
        "/patch/create osc1 simple_sine",
        "Add a module to the pending patch.",
        Create,
    ),
    Route("/patch/delete", "ID", "/patch/delete osc1", "Remove a module and its cables.", Delete),
    Route(
        "/patch/connect",
        "SOURCE DEST",
        "/patch/connect osc1 filt1.cutoff",
        "Add a cable; DEST is a module, MODULE.PORT or MODULE.PARAM.",
        Connect,
    ),
    Route("/patch/disconnect", "SOURCE DEST", "/patch/disconnect osc1 filt1", "Remove a cable.", Disconnect),
    Route(
        "/patch/commit",
        _OPTIONS_TEXT,
        "/patch/commit crossfade 20",
        "Prime the pending patch and swap to it.",
        Commit,
        _JSON,
    ),
    Route("/patch/abort", "", "/patch/abort", "Throw the pending edits away.", Abort),
    Route("/patch/clear", "", "/patch/clear", "Empty the pending patch.", Clear),
    Route("/patch/undo", _OPTIONS_TEXT, "/patch/undo", "Commit the patch before this one.", Undo, _JSON),
    Route("/patch/dump", "", "/patch/dump", "Give the committed and the pending patch.", PatchDump, _JSON),
    Route(
        "/mod/ID/PARAM",
        "VALUE",
        "/mod/osc1/freq 440.0",
        "Set a parameter: a number in its unit, or the name of a choice.",
        SetParam,
        "the value",
    ),
    Route("/gate/ID", "0|1|on|off|true|false", "/gate/env1 1", "Open or close a gate.", Gate, "0 or 1"),
    Route(
        "/record/start",
        "NAME [float|24]",
        "/record/start take1.wav",
        "Record what is played to a file inside the recordings folder: WAV of floats or of 24 bits, or FLAC.",
        RecordStart,
        _JSON,
    ),
    Route("/record/stop", "", "/record/stop", "End the recording.", RecordStop, _JSON),
    Route("/record/status", "", "/record/status", "Tell whether and what is recorded.", RecordStatus, _JSON),
    Route(
        "/session/start",
        "NAME",
        "/session/start evening.session",
        "Log the session to a file inside the recordings folder; `pyengine replay` plays it again, bit for bit.",
        SessionStart,
        _JSON,
    ),
    Route("/session/stop", "", "/session/stop", "End the session log.", SessionStop, _JSON),
    Route("/session/status", "", "/session/status", "Tell whether and what is logged.", SessionStatus, _JSON),
    Route(
        "/engine/status",
        "",
        "/engine/status",
        "Tell what the engine is doing, with its counters.",
        EngineStatus,
        _JSON,
    ),
    Route(
        "/engine/modules",
        "",
        "/engine/modules",
        "List the module types with units, ranges and defaults.",
        EngineModules,
        _JSON,
    ),
    Route(
        "/engine/sync",
        "",
        "/engine/sync",
        "Answer when all before it has been rendered by the active slot.",
        EngineSync,
        _JSON,
    ),
)

_EXACT = {route.address: route for route in TABLE if route.command not in (SetParam, Gate)}
_BY_COMMAND = {route.command: route for route in TABLE}


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
    args: tuple[Argument, ...] = ()


def describe() -> list[dict[str, str]]:
    """Return the address table as plain rows, for documentation and listings."""
    names = ("address", "usage", "example", "help", "reply")
    return [{name: getattr(route, name) for name in names} for route in TABLE]


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
    return _fitting(_message(*_address_and_args(command)))


def encode_bundle(commands: Iterable[Command], time_tag: int | None) -> bytes:
    """Return a bundle; None for immediately. Raises CommandError if it is too large for a datagram."""
    parts = [_BUNDLE, struct.pack(">Q", _IMMEDIATELY if time_tag is None else time_tag)]
    for command in commands:
        message = _message(*_address_and_args(command))
        parts += [struct.pack(">i", len(message)), message]
    if len(parts) > 2 * MAX_MESSAGES + 2:
        raise CommandError(f"a bundle takes at most {MAX_MESSAGES} messages; send several bundles")
    return _fitting(b"".join(parts))


def address_of(command: Command) -> str:
    """Return the address that a command is sent to, which its reply names."""
    return _address_and_args(command)[0]


# ---- replies ----


def encode_reply(ok: bool, address: str, *args: Argument) -> bytes:
    """Return /done or /fail with the request's address first. Never too large for a datagram.

    A /fail that is too long is cut; a /done becomes a /fail that says so.
    """
    message = _message("/done" if ok else "/fail", [_clean(address), *map(_clean, args)])
    if len(message) <= MAX_DATAGRAM_BYTES:
        return message
    if ok:
        text = f"done, but the answer of {len(message)} bytes does not fit a datagram"
        return _message("/fail", [_clean(address)[:MAX_ADDRESS_BYTES], text])
    text = " ".join(str(arg) for arg in args)[:8000] + " ... (shortened)"
    return _message("/fail", [_clean(address)[:MAX_ADDRESS_BYTES], _clean(text)])


def encode_report(address: str, report: Mapping[str, Any]) -> bytes:
    """Return /done with a report as JSON. Where that does not fit a datagram, each of its long lists is cut to the
    first MAX_LISTED, and n_NAME says how many there are.
    """
    text = json.dumps(report, separators=(",", ":"))
    if len(text) > MAX_REPORT_BYTES:
        long = {name: value for name, value in report.items() if isinstance(value, list) and len(value) > MAX_LISTED}
        cut: dict[str, Any] = {name: value[:MAX_LISTED] for name, value in long.items()}
        counts = {f"n_{name}": len(value) for name, value in long.items()}
        text = json.dumps({**report, **cut, **counts}, separators=(",", ":"))
    return encode_reply(True, address, text)


def decode_reply(datagram: bytes) -> Reply:
    """Return the answer in a datagram. Raises CommandError if it is not one."""
    address, args = _parse(datagram, MAX_DATAGRAM_BYTES)
    if address not in ("/done", "/fail") or not args or not isinstance(args[0], str):
        raise CommandError(f"{shown(address)} is no reply; expected /done or /fail and a request's address")
    return Reply(address == "/done", args[0], tuple(args[1:]))


# ---- time tags ----


def time_tag_from_unix(seconds: float) -> int:
    """Return the 64-bit NTP time tag of a Unix time. Raises CommandError before 1900 or after 2036."""
    if math.isfinite(seconds):
        whole = math.floor(seconds)
        tag = ((whole + _UNIX_TO_NTP_S) << 32) + round((seconds - whole) * 2**32)
        if _IMMEDIATELY < tag < 2**64:
            return tag
    raise CommandError(f"{shown(seconds)} s has no OSC time tag; give Unix seconds, as time.time() does")


def unix_from_time_tag(tag: int) -> float:
    """Return the Unix time of a time tag, in seconds."""
    return ((tag >> 32) - _UNIX_TO_NTP_S) + (tag & 0xFFFFFFFF) / 2**32


# ---- reading ----


def _read_bundle(data: bytes, earliest: int | None) -> tuple[Group, list[bytes]]:
    """Return a bundle's own messages and the bundles in it, still as bytes."""
    if len(data) < 16:
        text = f"the bundle is cut off: {len(data)} bytes, its head alone has 16; send it whole"
        return Group(earliest, (Request("", None, text),)), []
    tag: int | None = struct.unpack_from(">Q", data, 8)[0]
    if tag == _IMMEDIATELY or (earliest is not None and tag is not None and tag < earliest):
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
        name, args = _parse(message, MAX_STRING_BYTES)
        return Request(address, _command(name, args, is_terse))
    except EngineError as error:
        return Request(address, None, str(error))


def _echo(message: bytes) -> str:
    """Return the address for a reply, shortened and printable, or '' where there is none."""
    if not message.startswith(b"/"):
        return ""
    raw = message[: MAX_ADDRESS_BYTES + 1].partition(b"\0")[0]
    text = raw.decode("ascii", "backslashreplace")
    return text if len(raw) <= MAX_ADDRESS_BYTES else text[:60] + "..."


def _parse(message: bytes, max_string_bytes: int) -> tuple[str, list[Argument]]:
    """Return address and arguments of a message. Raises CommandError for anything that is not sound OSC."""
    address, tags = _check_layout(message, max_string_bytes)
    if not tags:
        return address, []
    try:
        return address, osc_message.OscMessage(message).params
    except UnicodeDecodeError as error:
        raise CommandError("a string argument is not UTF-8; send UTF-8") from error
    except (osc_message.ParseError, osc_types.ParseError, ValueError) as error:
        raise CommandError(f"the message could not be read: {error}") from error


def _check_layout(message: bytes, max_string_bytes: int) -> tuple[str, str]:
    """Return address and type tags of a message whose every byte is accounted for."""
    if not message.startswith(b"/"):
        text = f"{shown(message[:16])} is not OSC" if message else "the datagram is empty"
        raise CommandError(f"{text}; send an OSC message, which begins with '/', or a #bundle")
    end = message.find(b"\0")
    length = end if end >= 0 else len(message)
    if length > MAX_ADDRESS_BYTES:
        raise CommandError(f"the address has {length} bytes; the longest taken has {MAX_ADDRESS_BYTES}")
    if end < 0 or len(message) % 4:
        text = f"the message is cut off or not padded: {len(message)} bytes; OSC pads with zeros to 4"
        raise CommandError(text)
    address = message[:end].decode("ascii", "replace")
    if not address.isascii() or not address.isprintable():
        raise CommandError("the address is not printable ASCII; send one of the address table")
    at = _padded(end + 1)
    if at >= len(message):
        return address, ""  # no type tags at all: old senders do so when there are no arguments
    end = message.find(b"\0", at)
    if message[at : at + 1] != b"," or end < 0:
        raise CommandError("the type tags are missing or cut off; they follow the address and begin with ','")
    tags = message[at + 1 : end].decode("latin-1")
    if len(tags) > MAX_ARGUMENTS:
        raise CommandError(f"{len(tags)} arguments are more than the {MAX_ARGUMENTS} taken")
    at = _padded(end + 1)
    for number, tag in enumerate(tags, 1):
        at = _skip_argument(message, at, tag, number, max_string_bytes)
        if at > len(message):
            raise CommandError(f"the message is cut off in argument {number}; send it whole")
    if at != len(message):
        text = f"{len(message) - at} bytes follow the last argument; send type tags that match the data"
        raise CommandError(text)
    return address, tags


def _skip_argument(message: bytes, at: int, tag: str, number: int, max_string_bytes: int) -> int:
    """Return where the argument that begins at `at` ends."""
    if tag in _SIZES:
        return at + _SIZES[tag]
    if tag != "s":
        name = _TYPE_NAMES.get(tag, "unknown")
        raise CommandError(f"argument {number} has type {tag!r} ({name}); send an int, a float or a string")
    end = message.find(b"\0", at)
    if end < 0:
        return len(message) + 1
    if end - at > max_string_bytes:
        text = f"argument {number} is a string of {end - at} bytes; the longest taken has {max_string_bytes}"
        raise CommandError(text)
    return _padded(end + 1)


def _padded(n: int) -> int:
    return (n + 3) & ~3


def _command(address: str, args: list[Argument], is_terse: bool) -> Command:
    """Return the command that an address and its arguments ask for."""
    route = _EXACT.get(address)
    if route is not None:
        found: Command = route.command(*_options(route, args) or _strings(route, args))
        return found
    if any(sign in address for sign in "*?[]{}"):
        raise CommandError(f"{shown(address)} is an address pattern; name one module in each message")
    parts = address.split("/")[1:]
    if parts[0] == "mod" and len(parts) == 3 and all(parts):
        return SetParam(parts[1], parts[2], _value(_BY_COMMAND[SetParam], args))
    if parts[0] == "gate" and len(parts) == 2 and all(parts):
        route = _BY_COMMAND[Gate]
        _check_count(route, args, 1)
        return Gate(parts[1], parse_gate(args[0], node=parts[1]))
    if is_terse:
        raise CommandError(f"unknown address {shown(address)}; see the address table in docs/osc.md")
    raise _unknown_address(address, parts)


def _unknown_address(address: str, parts: list[str]) -> CommandError:
    """Return the error with the nearest address; /mod and /gate are compared with their names filled in."""
    id, param = [part or name for part, name in zip([*parts[1:3], "", ""], ("ID", "PARAM"), strict=False)]
    filled = {route.address.replace("ID", id).replace("PARAM", param): route for route in TABLE}
    nearest = nearest_name(address, filled)
    hint = f"did you mean {shown(nearest)}? usage: {filled[nearest].usage}" if nearest else ""
    return CommandError(f"unknown address {shown(address)}; {hint or 'see the address table in docs/osc.md'}")


def _strings(route: Route, args: list[Argument]) -> list[str]:
    """Return as many strings as the command has fields; those with a default may be left out."""
    wanted = len(fields(route.command))
    n_optional = sum(field.default is not MISSING for field in fields(route.command))
    _check_count(route, args, wanted, n_optional)
    for number, arg in enumerate(args, 1):
        if not isinstance(arg, str) or not arg:
            text = f"argument {number} of {route.address} must be a string, not {shown(arg)}"
            raise CommandError(f"{text}; usage: {route.usage}")
    return [str(arg) for arg in args]


def _value(route: Route, args: list[Argument]) -> float | str:
    """Return the one argument of /mod: a finite number or a word."""
    _check_count(route, args, 1)
    value = args[0]
    advice = f"send a number or the name of a choice, as in {route.example}"
    if isinstance(value, bool) or value is None:
        word = "nil" if value is None else "true or false, which only /gate/ID takes"
        raise CommandError(f"the value is {word}; {advice}")
    if isinstance(value, float) and not math.isfinite(value):
        raise CommandError(f"the value is {value}, not finite; {advice}")
    return value


def _options(route: Route, args: list[Argument]) -> list[Any]:
    """Return the options given by name, in the order of the command's fields; [] for other commands."""
    if route.command not in (Commit, Undo):
        return []
    if len(args) % 2:
        text = f"options come as pairs of name and value, got {len(args)} arguments"
        raise CommandError(f"{text}; usage: {route.usage}")
    options: dict[str, Any] = {}
    for name, value in zip(args[::2], args[1::2], strict=True):
        if name not in _OPTIONS or not isinstance(name, str):
            nearest = nearest_name(name, _OPTIONS) if isinstance(name, str) else ""
            hint = f"did you mean {nearest!r}? " if nearest else ""
            raise CommandError(f"unknown option {shown(name)}; {hint}usage: {route.usage}")
        if name in options:
            raise CommandError(f"option {name!r} is given twice; give it once")
        options[name] = _option(name, value)
    return [options.get("crossfade"), options.get("allow_silence", False), options.get("timeout")]


def _option(name: str, value: Argument) -> float | bool:
    """Return an option's value; the command checks its range."""
    if name == "allow_silence":
        return bool(parse_gate(value, name=name))
    if isinstance(value, (bool, str)) or value is None:
        raise CommandError(f"{name}={shown(value)} is not a number; give milliseconds")
    return float(value)


def _check_count(route: Route, args: Sequence[Argument], wanted: int, n_optional: int = 0) -> None:
    if not wanted - n_optional <= len(args) <= wanted:
        what = "no arguments" if not wanted else "1 argument" if wanted == 1 else f"{wanted} arguments"
        if n_optional:
            what = f"{wanted - n_optional} to {wanted} arguments"
        text = f"{route.address} takes {what}, got {len(args)}"
        raise CommandError(f"{text}; usage: {route.usage}, as in {route.example}")


# ---- writing ----


def _address_and_args(command: Command) -> tuple[str, list[Argument]]:
    if isinstance(command, SetParam):
        return f"/mod/{_name(command.module_id)}/{_name(command.param)}", [command.value]
    if isinstance(command, Gate):
        return f"/gate/{_name(command.module_id)}", [parse_gate(command.value)]
    route = _BY_COMMAND.get(type(command))
    if route is None:
        raise CommandError(f"{shown(command)} is no command; use a class of pyengine.commands")
    if isinstance(command, (Commit, Undo)):
        return route.address, _option_pairs(command)
    return route.address, [getattr(command, field.name) for field in fields(route.command)]


def _option_pairs(command: Commit | Undo) -> list[Argument]:
    pairs: list[Argument] = []
    if command.crossfade_ms is not None:
        pairs += ["crossfade", float(command.crossfade_ms)]
    if command.allow_silence:
        pairs += ["allow_silence", 1]
    if command.timeout_ms is not None:
        pairs += ["timeout", float(command.timeout_ms)]
    return pairs


def _name(part: object) -> str:
    if not isinstance(part, str) or not _PART.fullmatch(part):
        raise CommandError(f"{shown(part)} cannot be part of an address; use A-Z a-z 0-9 _ -")
    return part


def _message(address: str, args: Iterable[Argument]) -> bytes:
    builder = osc_message_builder.OscMessageBuilder(address)
    try:
        for arg in args:
            if isinstance(arg, str) and "\0" in arg:
                raise CommandError(f"{shown(arg)} holds a zero byte, which OSC cannot carry; leave it out")
            builder.add_arg(arg, _type_of(arg))
        return builder.build().dgram
    except CommandError:
        raise
    except (osc_message_builder.BuildError, osc_types.BuildError, ValueError) as error:
        raise CommandError(f"the message {shown(address)} cannot be sent as OSC: {error}") from error


def _type_of(arg: Argument) -> str | None:
    """Return 'f' for a float that survives it and 'd' for others; None lets python-osc choose."""
    if not isinstance(arg, float):
        return None
    try:
        return "f" if struct.unpack(">f", struct.pack(">f", arg))[0] == arg else "d"
    except OverflowError:
        return "d"


def _clean(arg: Argument) -> Any:
    """Return an argument that can always be sent."""
    if not isinstance(arg, str):
        return arg
    return arg.replace("\0", "\\0").encode("utf-8", "backslashreplace").decode("utf-8")


def _fitting(datagram: bytes) -> bytes:
    if len(datagram) > MAX_DATAGRAM_BYTES:
        text = f"{len(datagram)} bytes do not fit a datagram ({MAX_DATAGRAM_BYTES} bytes); send several"
        raise CommandError(text)
    return datagram
