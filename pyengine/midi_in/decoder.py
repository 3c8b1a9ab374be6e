"""Bytes of a MIDI stream into messages. Pure."""

from __future__ import annotations

from collections.abc import Iterator

Message = tuple[int, int, int]
"""(status with its channel, first data byte, second or 0)."""

_N_DATA = {0x80: 2, 0x90: 2, 0xA0: 2, 0xB0: 2, 0xC0: 1, 0xD0: 1, 0xE0: 2}


class Decoder:
    """Takes bytes as they come and gives the messages of channels, running status included.

    System exclusive, clock and all else of the system is passed over; real-time bytes may come within a message.
    """

    def __init__(self) -> None:
        self._status = 0  # 0: data that belongs to nothing is passed over
        self._first = -1

    def feed(self, data: bytes | list[int]) -> Iterator[Message]:
        """Yield the messages that are whole by now."""
        for byte in data:
            if byte >= 0xF8:
                continue
            if byte >= 0x80:
                self._status, self._first = (byte if byte < 0xF0 else 0), -1
                continue
            if not self._status:
                continue
            if _N_DATA[self._status & 0xF0] == 1:
                yield self._status, byte, 0
            elif self._first < 0:
                self._first = byte
            else:
                yield self._status, self._first, byte
                self._first = -1


LEAK = 1e-4  # the two clocks come apart by less
STALE_S = 0.25  # a message that seems to have waited longer tells that the port's clock has jumped


class PortClock:
    """When a message came: a port tells how long after the one before, and we when we found it, which is later.

    The least lateness seen is what the clock of the port is set by; so how long we slept is not heard.
    """

    def __init__(self) -> None:
        self._port_s = 0.0
        self._offset_s: float | None = None

    def arrival(self, since_last_s: float, found_s: float) -> float:
        """Return when a message came that was found at found_s, by the clock of that; never later."""
        self._port_s += since_last_s
        offset = found_s - self._port_s
        if self._offset_s is not None:
            self._offset_s += LEAK * since_last_s
        if self._offset_s is None or offset < self._offset_s or offset > self._offset_s + STALE_S:
            self._offset_s = offset
        return min(found_s, self._port_s + self._offset_s)
