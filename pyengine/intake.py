"""The one place that numbers commands and sends them: order of arrival is order of effect."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace

from pyengine import _native
from pyengine._native import Record
from pyengine.errors import CommandError

BUNDLE_LIMIT = 4096  # PE_COMMAND_BUDGET
MAX_WAITING = 1 << 16  # records that may wait for room in the stream before more are refused
MAX_AHEAD_S = 3600.0
STEP_S = 0.005  # a time tag's origin is latched anew when the clocks have come apart by more


class Intake:
    """Sends records in groups, each published by one store. What finds no room waits, in order."""

    def __init__(self, segment: _native.Segment) -> None:
        self._segment = segment
        self._waiting: deque[list[Record]] = deque()
        self._n_waiting = 0
        self.sent = 0
        self.lost = 0
        self.on_sent: Callable[[int, list[Record]], None] | None = None  # gets (first number, records)

    def check_room(self) -> None:
        """Raise CommandError, and count what is refused, while too many commands wait already."""
        if self._n_waiting + BUNDLE_LIMIT > MAX_WAITING:
            self.lost += 1
            raise CommandError(f"{self._n_waiting} commands wait for the renderers already; send more slowly")

    def send(self, records: Sequence[Record]) -> None:
        """Publish records together (more than a bundle's limit: in several steps)."""
        if not records:
            return
        for start in range(0, len(records), BUNDLE_LIMIT):
            self._waiting.append(list(records[start : start + BUNDLE_LIMIT]))
        self._n_waiting += len(records)
        self.pump()

    def pump(self) -> None:
        """Send what there is room for."""
        while self._waiting and (newest := self._segment.send(self._waiting[0])):
            records = self._waiting.popleft()
            self._n_waiting -= len(records)
            self.sent += len(records)
            if self.on_sent is not None:
                self.on_sent(newest - len(records) + 1, records)

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
