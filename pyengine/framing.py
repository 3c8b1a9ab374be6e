"""OSC packets in a stream of bytes: with their length before them (OSC 1.0), or between END bytes (OSC 1.1, SLIP).

A stream says by its first byte which of the two it is: a length below 2^24 begins with 0, SLIP with END or with the '/'
or '#' of a packet. Pure: no sockets here.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

END, ESCAPE = b"\xc0", b"\xdb"
_ESCAPED = re.compile(rb"\xdb(.?)", re.DOTALL)
_MEANT = {b"\xdc": END, b"\xdd": ESCAPE}


@dataclass(frozen=True, slots=True)
class Packet:
    """What came between two borders, or what was wrong with it."""

    data: bytes
    fault: str = ""


class Deframer:
    """Takes bytes as they come, gives packets. Holds twice max_bytes at most. is_lost: nothing more can be read."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._rest = bytearray()
        self.framing = ""  # 'length' or 'slip', once the first byte is there
        self.is_lost = False

    def feed(self, data: bytes) -> list[Packet]:
        """Return the packets that are whole by now. A packet with a fault that ends all is the last one."""
        if self.is_lost or not data:
            return []
        if not self.framing:
            first = data[:1]
            if first not in (b"\0", END, b"/", b"#"):
                text = f"the stream begins with the byte 0x{first.hex()}; send OSC packets with their length as 4 bytes"
                return [self._lose(f"{text} before them (OSC 1.0), or SLIP (OSC 1.1)")]
            self.framing = "length" if first == b"\0" else "slip"
        self._rest += data
        return self._by_length() if self.framing == "length" else self._by_slip()

    def _lose(self, fault: str) -> Packet:
        self.is_lost = True
        self._rest.clear()
        return Packet(b"", fault)

    def _too_long(self, size: int) -> Packet:
        return self._lose(f"a packet of {size} bytes; the longest taken has {self._max_bytes}; send several")

    def _by_length(self) -> list[Packet]:
        packets: list[Packet] = []
        at = 0
        while len(self._rest) - at >= 4:
            size = struct.unpack_from(">I", self._rest, at)[0]
            if size > self._max_bytes:
                return [*packets, self._too_long(size)]
            if len(self._rest) - at - 4 < size:
                break
            packets.append(Packet(bytes(self._rest[at + 4 : at + 4 + size])))
            at += 4 + size
        del self._rest[:at]
        return packets

    def _by_slip(self) -> list[Packet]:
        packets: list[Packet] = []
        *whole, rest = self._rest.split(END)
        for raw in whole:
            if not raw:
                continue  # two ENDs side by side hold nothing
            packet = self._unescaped(bytes(raw))
            if len(packet.data) > self._max_bytes:
                return [*packets, self._too_long(len(packet.data))]
            packets.append(packet)
        if len(rest) > 2 * self._max_bytes:  # escapes double it at most
            return [*packets, self._too_long(len(rest))]
        self._rest = rest
        return packets

    @staticmethod
    def _unescaped(raw: bytes) -> Packet:
        if ESCAPE not in raw:
            return Packet(raw)
        wrong = [sign for sign in _ESCAPED.findall(raw) if sign not in _MEANT]
        if wrong:
            return Packet(
                b"", "a SLIP packet is damaged: an ESC is followed by neither ESC_END nor ESC_ESC; send it again"
            )
        return Packet(_ESCAPED.sub(lambda found: _MEANT[found[1]], raw))


def framed(packet: bytes, framing: str) -> bytes:
    """Return a packet as it stands in a stream. framing: 'length' or 'slip'."""
    if framing == "slip":
        inside = packet.replace(ESCAPE, ESCAPE + b"\xdd").replace(END, ESCAPE + b"\xdc")
        return END + inside + END
    return struct.pack(">I", len(packet)) + packet
