from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from pyengine import _native
from pyengine._native import Record
from pyengine.errors import CommandError
from pyengine.intake import BUNDLE_LIMIT, MAX_AHEAD_S, MAX_WAITING, STEP_S, Intake, TimeBase, at_frame


@pytest.fixture
def segment() -> Iterator[_native.Segment]:
    segment = _native.Segment.create(_native.Config())
    yield segment
    segment.close()


def records(n: int) -> list[Record]:
    return [Record(1, 0, float(i)) for i in range(n)]


class StubSegment:
    """Takes so many groups, then has no room."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.groups: list[list[Record]] = []

    def send(self, group: list[Record]) -> int:
        if len(self.groups) == self.room:
            return 0
        self.groups.append(group)
        return len(self.groups)


# ---- sending


def test_a_group_is_published_at_once_and_numbered_in_order(segment: _native.Segment) -> None:
    intake = Intake(segment)
    intake.send([])
    assert segment.newest == 0
    intake.send(records(3))
    intake.send(records(2))
    assert (segment.newest, intake.sent, intake.n_waiting, intake.is_clear) == (5, 5, 0, True)


def test_more_records_than_a_bundle_may_have_go_in_several_steps_in_order() -> None:
    stub: Any = StubSegment(room=10)
    intake = Intake(stub)
    sent = records(2 * BUNDLE_LIMIT + 7)
    intake.send(sent)
    assert [len(group) for group in stub.groups] == [BUNDLE_LIMIT, BUNDLE_LIMIT, 7]
    assert [record for group in stub.groups for record in group] == sent


def test_what_finds_no_room_waits_in_order_and_nothing_overtakes_it() -> None:
    stub: Any = StubSegment(room=1)
    intake = Intake(stub)
    for n in (1, 2, 3):
        intake.send(records(n))
    assert (intake.sent, intake.n_waiting, intake.is_clear) == (1, 5, False)
    stub.room = 2
    intake.pump()
    assert (intake.sent, intake.n_waiting) == (3, 3)
    stub.room = 9
    intake.send(records(4))
    assert [len(group) for group in stub.groups] == [1, 2, 3, 4] and intake.is_clear


def test_while_a_stream_stands_still_commands_are_refused_before_they_are_taken() -> None:
    stub: Any = StubSegment(room=0)
    intake = Intake(stub)
    most = MAX_WAITING - BUNDLE_LIMIT
    intake.send(records(most))
    intake.check_room()  # a bundle more still finds room
    intake.send(records(1))
    for n in (1, 2):
        with pytest.raises(CommandError, match=f"{most + 1} commands wait"):
            intake.check_room()
        assert (intake.lost, intake.n_waiting) == (n, most + 1)
    stub.room = most + 1
    intake.pump()
    intake.check_room()


def test_a_full_ring_holds_the_rest_back_until_it_is_read(segment: _native.Segment) -> None:
    """Here a slot is alive and reads nothing: its records must not be overwritten."""
    segment.set_alive(0, True)
    intake = Intake(segment)
    room = segment.stream_space
    for _ in range(room // BUNDLE_LIMIT + 2):
        intake.send(records(BUNDLE_LIMIT))
    assert not intake.is_clear and segment.newest <= room
    segment.set_alive(0, False)
    intake.pump()
    assert intake.is_clear


def test_at_frame_gives_copies_and_leaves_the_records_alone() -> None:
    (given,) = records(1)
    (copy,) = at_frame([given], 77, is_immediate=True)
    assert (copy.frame, copy.is_immediate, given.frame, given.is_immediate) == (77, True, -1, False)


# ---- time


@dataclass
class Times:
    """An output and two clocks, all by hand."""

    wall_s: float = 1_000_000.0
    monotonic_ns: int = 5_000_000_000
    frame: int = 0
    at_ns: int = 5_000_000_000
    underruns: int = 0
    largest_request: int = 64
    segment: Any = field(init=False)

    def __post_init__(self) -> None:
        self.segment = self

    def counter(self, name: str) -> int:
        assert name == "frames_underrun"
        return self.underruns

    def time(self) -> tuple[int, int]:
        return self.frame, self.at_ns

    def base(self, is_free: bool = False) -> TimeBase:
        output: Any = self
        return TimeBase(output, 48000.0, is_free, lambda: self.wall_s, lambda: self.monotonic_ns)

    def go(self, seconds: float, drift_s: float = 0.0) -> None:
        """Let both clocks go on, and the device by as much and a drift."""
        self.wall_s += seconds
        self.monotonic_ns += round(seconds * 1e9)
        self.frame += round((seconds + drift_s) * 48000)
        self.at_ns = self.monotonic_ns


def test_a_time_is_the_frame_put_out_then_to_the_nearest_sample() -> None:
    times = Times(frame=4800)
    base = times.base()
    for frame in (4800, 4801, 52_800, 100_000_003):
        assert base.frame_of(times.wall_s + (frame - 4800 + 0.4) / 48000) == frame
        if frame > 4800:
            assert base.frame_of(times.wall_s + (frame - 4800 - 0.4) / 48000) == frame


def test_the_age_of_the_newest_request_is_part_of_the_origin() -> None:
    times = Times(frame=4800)
    times.monotonic_ns += 10_000_000  # it began 10 ms ago
    assert times.base().frame_of(times.wall_s) == 4800 + 480


def test_small_steps_between_the_clocks_move_no_frame() -> None:
    times = Times()
    base = times.base()
    origin = base.origin_s
    for _ in range(100):
        times.go(0.1, drift_s=0.9 * STEP_S / 100)
        base.frame_of(times.wall_s)
    assert (base.origin_s, base.latched_again) == (origin, 0)


def test_clocks_that_come_apart_by_more_than_the_step_are_latched_anew_and_counted() -> None:
    times = Times()
    base = times.base()
    times.go(10.0, drift_s=1.5 * STEP_S)
    assert base.frame_of(times.wall_s) == times.frame
    assert base.latched_again == 1
    times.wall_s -= 3600  # somebody sets the clock
    assert base.frame_of(times.wall_s) == times.frame
    assert base.latched_again == 2


def test_an_underrun_latches_anew_because_engine_time_stood_still_for_it() -> None:
    times = Times()
    base = times.base()
    times.go(1.0)
    times.underruns = 64
    assert base.frame_of(times.wall_s) == 48000 - 64
    assert base.latched_again == 1
    base.frame_of(times.wall_s)
    assert base.latched_again == 1


def test_the_past_before_the_first_frame_is_the_first_frame() -> None:
    times = Times()
    assert times.base().frame_of(0.0) == 0


def test_a_tag_too_far_ahead_is_refused_except_where_a_tag_means_a_frame() -> None:
    times = Times()
    base = times.base()
    base.frame_of(times.wall_s + MAX_AHEAD_S - 1)
    with pytest.raises(CommandError, match="3600 s ahead"):
        base.frame_of(times.wall_s + MAX_AHEAD_S + 1)
    free = times.base(is_free=True)
    times.go(5.0, drift_s=77.0)  # as fast as it likes
    assert free.frame_of(1_000_000.0 + 2 * MAX_AHEAD_S) == round(2 * MAX_AHEAD_S * 48000)
    assert free.latched_again == 0


@pytest.mark.parametrize("step_s", [3600.0, -3600.0, 86_400.0 * 365, -0.1])
def test_a_stepped_clock_is_followed_at_once_and_its_tags_mean_the_frames_they_would_have_meant(step_s: float) -> None:
    times = Times()
    base = times.base()
    times.go(1.0)
    assert base.frame_of(times.wall_s + 0.5) == 72_000
    times.wall_s += step_s  # nothing else has moved: the device and the monotonic clock go on
    assert base.frame_of(times.wall_s + 0.5) == 72_000
    assert base.latched_again == 1
    times.go(1.0)
    assert base.frame_of(times.wall_s + 0.5) == 120_000
    assert base.latched_again == 1


def test_on_the_free_running_clock_a_stepped_clock_changes_nothing() -> None:
    times = Times()
    base = times.base(is_free=True)
    times.wall_s -= 3600.0
    assert base.frame_of(1_000_000.0 + 2.0) == 96_000
    assert base.latched_again == 0
