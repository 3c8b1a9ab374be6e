"""The one place that numbers commands and sends them: order of arrival is order of effect."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from pyengine import _native
from pyengine._native import Record
from pyengine.errors import CommandError

BUNDLE_LIMIT = 4096  # PE_COMMAND_BUDGET
MAX_WAITING = 1 << 16  # records that may wait for room in the stream before more are refused
MAX_AHEAD_S = 3600.0
STEP_S = 0.005  # a time tag's origin is latched anew when the clocks have come apart by more


Numbered = Callable[[int, int, bool], None]
"""Gets the numbers of the first and the newest record of a group that were sent, and whether that is all of it."""


@dataclass(slots=True)
class _Part:
    """What is published by one store."""

    records: list[Record]
    is_stamped: bool
    is_first: bool
    is_last: bool
    numbered: Numbered | None


class Intake:
    """Sends records in groups, each published by one store. What finds no room waits, in order.

    With an inbox they go by that, as settings do which come the short way: then numbers have gaps from here.
    """

    def __init__(self, segment: _native.Segment) -> None:
        self._segment = segment
        self._inbox: _native.Inbox | None = None
        self._waiting: deque[_Part] = deque()
        self._n_waiting = 0
        self._told = 0
        self._first = 0  # number of the group that is being sent in parts
        self.sent = 0
        self.lost = 0
        self.on_sent: Callable[[int, int], bool] | None = None
        """Gets the first and the newest number of what was sent, by whatever way; True: a log reads them."""

    def attach(self, inbox: _native.Inbox) -> None:
        """Send by the inbox from now on."""
        self._inbox = inbox

    def check_room(self) -> None:
        """Raise CommandError, and count what is refused, while too many commands wait already."""
        if self._n_waiting + BUNDLE_LIMIT > MAX_WAITING:
            self.lost += 1
            raise CommandError(f"{self._n_waiting} commands wait for the renderers already; send more slowly")

    def send(self, records: Sequence[Record], *, is_stamped: bool = False, numbered: Numbered | None = None) -> None:
        """Publish records together (more than a bundle's limit: in several steps). is_stamped: their frames are where
        they were meant to take effect when they came; they may have to be later by now.
        """
        for start in range(0, len(records), BUNDLE_LIMIT):
            end = start + BUNDLE_LIMIT
            part = _Part(list(records[start:end]), is_stamped, start == 0, end >= len(records), numbered)
            self._waiting.append(part)
        self._n_waiting += len(records)
        if records:
            self.pump()

    def pump(self) -> None:
        """Send what there is room for."""
        while self._waiting and (newest := self._send(self._waiting[0])):
            part = self._waiting.popleft()
            self._n_waiting -= len(part.records)
            self.sent += len(part.records)
            if part.is_first:
                self._first = newest - len(part.records) + 1
            if part.numbered is not None:
                part.numbered(self._first, newest, part.is_last)
        self.tell()

    def _send(self, part: _Part) -> int:
        if self._inbox is None:
            return self._segment.send(part.records)
        return self._inbox.send(part.records, part.is_stamped, len(self._waiting) - 1)

    def tell(self) -> None:
        """Hand on what was numbered since the last time."""
        if self.on_sent is None or self._inbox is None:
            return
        newest = self._segment.newest
        is_read = self.on_sent(self._told + 1, newest)
        self._told = newest
        self._inbox.keep(newest if is_read else _native.KEEP_ALL)

    @property
    def is_clear(self) -> bool:
        return not self._waiting

    @property
    def n_waiting(self) -> int:
        return self._n_waiting


class TimeBase:
    """Maps wall time to engine frames: origin frame + round((time - origin time) x rate).

    The origin is latched once, and again only after an underrun or when the clocks have come apart. On a
    free-running clock it is the start of the engine, for ever: there a tag means a frame.
    """

    def __init__(
        self,
        output: _native.Output,
        sample_rate_hz: float,
        is_free: bool,
        wall_s: Callable[[], float] = time.time,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._output = output
        self._rate = sample_rate_hz
        self._is_free = is_free
        self._wall_s = wall_s
        self._monotonic_ns = monotonic_ns
        self._underruns = 0
        self.origin_frame, self.origin_s = (0, wall_s()) if is_free else self._now()
        self.latched_again = 0

    def _now(self) -> tuple[int, float]:
        """Return (engine frame, wall time) of the start of the newest request."""
        frame, at_ns = self._output.time()
        self._underruns = self._output.segment.counter("frames_underrun")
        age_s = (self._monotonic_ns() - at_ns) / 1e9 if at_ns else 0.0
        return frame - self._underruns, self._wall_s() - age_s

    def frame_of(self, wall_s: float) -> int:
        """Return the frame that is put out at this time. Raises CommandError when it is too far ahead."""
        self._check()
        if wall_s - self._wall_s() > MAX_AHEAD_S and not self._is_free:
            raise CommandError(f"the time tag is more than {MAX_AHEAD_S:g} s ahead; send it later")
        return max(0, self.origin_frame + round((wall_s - self.origin_s) * self._rate))

    def _check(self) -> None:
        if self._is_free:
            return
        underruns = self._underruns
        frame, at_s = self._now()
        request_s = self._output.segment.largest_request / self._rate
        apart_s = abs((frame - self.origin_frame) / self._rate - (at_s - self.origin_s))
        if underruns != self._underruns or apart_s > max(STEP_S, 2 * request_s):
            self.origin_frame, self.origin_s = frame, at_s
            self.latched_again += 1


def at_frame(records: Sequence[Record], frame: int, *, is_immediate: bool = False) -> list[Record]:
    """Return the records, to take effect at a frame (below 0: as soon as they are read)."""
    return [replace(record, frame=frame, is_immediate=is_immediate) for record in records]
