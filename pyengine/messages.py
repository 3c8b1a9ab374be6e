"""Bytes <-> address and arguments of an OSC message, and time tags, on python-osc's codec.

python-osc decodes each message, after a check of its layout that python-osc does not make: it fills missing bytes of a
float with zeros and skips types it does not know.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable
from typing import Any

from pythonosc import osc_message, osc_message_builder
from pythonosc.parsing import osc_types

from pyengine.errors import CommandError, shown

MAX_DATAGRAM_BYTES = 65507  # the most UDP carries
MAX_ADDRESS_BYTES = 255
MAX_STRING_BYTES = 1024  # of an argument of a request
MAX_ARGUMENTS = 64
IMMEDIATELY = 1

Value = int | float | str | bool | None

_UNIX_TO_NTP_S = 2_208_988_800  # 1900 to 1970
_SIZES = {"i": 4, "f": 4, "h": 8, "d": 8, "T": 0, "F": 0, "N": 0}
_TYPE_NAMES = {"b": "blob", "t": "time tag", "r": "colour", "m": "MIDI", "c": "character", "[": "array"}


# ---- reading ----


def parse(message: bytes, max_string_bytes: int) -> tuple[str, list[Value]]:
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


# ---- writing ----


def build(address: str, args: Iterable[Value]) -> bytes:
    """Return the message with these arguments. Raises CommandError for what OSC cannot carry."""
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


def _type_of(arg: Value) -> str | None:
    """Return 'f' for a float that survives it and 'd' for others; None lets python-osc choose."""
    if not isinstance(arg, float):
        return None
    try:
        return "f" if struct.unpack(">f", struct.pack(">f", arg))[0] == arg else "d"
    except OverflowError:
        return "d"


def clean(arg: Value) -> Any:
    """Return an argument that can always be sent."""
    if not isinstance(arg, str):
        return arg
    return arg.replace("\0", "\\0").encode("utf-8", "backslashreplace").decode("utf-8")


# ---- time tags ----


def time_tag_from_unix(seconds: float) -> int:
    """Return the 64-bit NTP time tag of a Unix time. Raises CommandError before 1900 or after 2036."""
    if math.isfinite(seconds):
        whole = math.floor(seconds)
        tag = ((whole + _UNIX_TO_NTP_S) << 32) + round((seconds - whole) * 2**32)
        if IMMEDIATELY < tag < 2**64:
            return tag
    raise CommandError(f"{shown(seconds)} s has no OSC time tag; give Unix seconds, as time.time() does")


def unix_from_time_tag(tag: int) -> float:
    """Return the Unix time of a time tag, in seconds."""
    return ((tag >> 32) - _UNIX_TO_NTP_S) + (tag & 0xFFFFFFFF) / 2**32
