"""The inbox: what goes the short way, what goes the long way, and that nothing overtakes what it must not."""

from __future__ import annotations

import math
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyengine import _native, osc
from pyengine._native import Record
from pyengine.commands import Gate, SetParam
from pyengine.errors import EngineError
from pyengine.messages import build
from pyengine.patch import Patch
from pyengine.specs import registry

RATE_HZ = 48000.0
ALICE, BOB, CAROL = (("127.0.0.1", port) for port in (1001, 1002, 1003))
PLAYING = (("osc1", 11, "simple_sine"), ("filt1", 12, "biquad_filter"), ("env1", 13, "adsr"))


def table(playing: Any = PLAYING) -> list[tuple[str, int, int]]:
    return [(id, handle, registry().get(type).index) for id, handle, type in playing]


@dataclass
class Box:
    """An inbox without a socket, on a segment that nobody renders."""

    n_commands: int = 1 << 13
    segment: _native.Segment = field(init=False)

    def __post_init__(self) -> None:
        self.segment = _native.Segment.create(_native.Config(n_commands=self.n_commands))
        self.output = _native.Output(self.segment)
        self.inbox = _native.Inbox(self.segment, self.output)
        self.inbox.set_latency(False)
        self.inbox.publish(table())

    def close(self) -> None:
        self.inbox.close()
        self.output.close()
        self.segment.close()

    def put(self, data: bytes, sender: tuple[str, int] = ALICE) -> None:
        self.inbox.put(data, sender, time.monotonic_ns())

    @property
    def records(self) -> list[Record]:
        return _native.stream_records(self.segment, 1)

    @property
    def values(self) -> list[float]:
        return [record.value for record in self.records]

    def fetch(self) -> list[bytes]:
        """Fetch, and be done with, all that waits for Python."""
        letters = []
        while (letter := self.inbox.next()) is not None:
            letters.append(letter.data)
        return letters

    @property
    def n_short(self) -> int:
        return self.inbox.counts()["short_requests"]


@pytest.fixture
def box() -> Iterator[Box]:
    box = Box()
    yield box
    box.close()


def message(address: str, *args: Any) -> bytes:
    return build(address, args)


def raw(address: str, tags: str, data: bytes) -> bytes:
    def text(word: str) -> bytes:
        return word.encode() + bytes(4 - len(word) % 4)

    return text(address) + text("," + tags) + data


def bundle(*elements: bytes, tag: int = 1) -> bytes:
    return b"#bundle\0" + struct.pack(">Q", tag) + b"".join(struct.pack(">i", len(e)) + e for e in elements)


# ---- which way


@pytest.mark.parametrize(
    ("data", "handle", "type", "name", "value"),
    [
        (raw("/mod/osc1/freq", "f", struct.pack(">f", 440.5)), 11, "simple_sine", "freq", 440.5),
        (raw("/mod/osc1/frequency", "d", struct.pack(">d", 0.1)), 11, "simple_sine", "freq", 0.1),
        (raw("/mod/osc1/gain", "i", struct.pack(">i", 1)), 11, "simple_sine", "gain", 1.0),
        (raw("/mod/filt1/cutoff", "h", struct.pack(">q", 23990)), 12, "biquad_filter", "cutoff", 23990.0),
        (raw("/mod/filt1/filter_mode", "d", struct.pack(">d", 2.0)), 12, "biquad_filter", "mode", 2.0),
        (raw("/mod/env1/gate", "f", struct.pack(">f", 0.0)), 13, "adsr", "gate", 0.0),
        (raw("/gate/env1", "f", struct.pack(">f", 1.0)), 13, "adsr", "gate", 1.0),
        (raw("/gate/env1", "i", struct.pack(">i", 0)), 13, "adsr", "gate", 0.0),
    ],
)
def test_a_number_for_a_module_that_plays_goes_straight_into_the_stream(
    box: Box, data: bytes, handle: int, type: str, name: str, value: float
) -> None:
    index = registry().get(type).param(name).index
    box.put(data)
    assert box.records == [Record(handle, index, value)]
    assert box.inbox.next() is None and box.n_short == 1
    assert box.inbox.taken() == [(handle, index, value)] and box.inbox.taken() == []


@pytest.mark.parametrize(
    "data",
    [
        message("/mod/osc1/freq", "high"),
        message("/mod/filt1/mode", "notch"),
        message("/mod/osc2/freq", 440.0),
        message("/mod/osc1/frq", 440.0),
        message("/mod/osc1/freq", math.nan),
        message("/mod/osc1/freq", math.inf),
        message("/mod/osc1/freq", -math.inf),
        message("/mod/osc1/freq", 23990.5),
        message("/mod/osc1/freq", -0.5),
        message("/mod/filt1/mode", 1.5),
        message("/mod/osc1/freq"),
        message("/mod/osc1/freq", 1.0, 2.0),
        message("/mod/osc1/freq", True),
        message("/gate/osc1", 1),
        message("/gate/env1", 2),
        message("/gate/env1", "on"),
        message("/mod/osc1", 1.0),
        message("/mod/osc1/freq/x", 1.0),
        message("/mod/*/freq", 1.0),
        message("/engine/sync"),
        message("/mod/osc1/freq", 440.0)[:-4],
        message("/mod/osc1/freq", 440.0) + bytes(4),
        bundle(message("/mod/osc1/freq", 440.0), tag=2**63),
        bundle(message("/mod/osc1/freq", 440.0), message("/engine/sync")),
        bundle(bundle(message("/mod/osc1/freq", 440.0))),
        bundle(message("/mod/osc1/freq", 440.0))[:-1],
        bundle(),
        b"",
        b"/",
        b"#bundle\0",
    ],
)
def test_all_else_goes_the_long_way_byte_for_byte(box: Box, data: bytes) -> None:
    box.put(data)
    assert box.fetch() == [data]
    assert box.n_short == 0 and box.segment.newest == 0


def test_a_bundle_is_published_by_one_store(box: Box) -> None:
    box.put(bundle(*[message("/mod/osc1/freq", float(n)) for n in range(100)]))
    assert box.values == [float(n) for n in range(100)]
    assert box.inbox.taken() == [(11, 0, 99.0)]
    too_many = bundle(*[message("/mod/osc1/freq", 1.0)] * 2000)
    assert len(too_many) < 65536
    box.put(too_many)
    assert box.segment.newest == 2100


_numbers = st.one_of(st.floats(width=32), st.floats(), st.integers(-(2**31), 2**31 - 1), st.booleans(), st.none())
_words = st.sampled_from(["on", "off", "lowpass", "notch", "1", ""])
_ids = st.sampled_from(["osc1", "filt1", "env1", "osc2", "osc", "", "*"])
_names = st.sampled_from(
    ["freq", "frequency", "gain", "cutoff", "q", "resonance", "mode", "filter_mode", "attack", "gate", ""]
)
_addresses = st.one_of(
    st.builds("/mod/{}/{}".format, _ids, _names), st.builds("/gate/{}".format, _ids), st.just("/engine/sync")
)
_messages = st.builds(message, _addresses, st.one_of(_numbers, _words)) | st.builds(message, _addresses)
_elements = st.one_of(_messages, st.lists(_messages, max_size=4).map(lambda m: bundle(*m)))


@st.composite
def _damaged(draw: st.DrawFn) -> bytes:
    data = bytearray(draw(_elements))
    for _ in range(draw(st.integers(0, 2))):
        if data:
            data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    return bytes(data[: draw(st.integers(0, len(data)))] if draw(st.integers(0, 9)) == 0 else data)


@settings(max_examples=1500, deadline=None)
@given(_damaged())
def test_what_goes_the_short_way_is_what_python_would_have_made_of_it(data: bytes) -> None:
    box = _shared_box()
    before, n_before = box.segment.newest, box.n_short
    box.put(data)
    n_short = box.n_short - n_before
    assert box.fetch() == ([] if n_short else [data])
    if not n_short:
        return
    patch = Patch()
    for id, handle, type in PLAYING:
        patch.create(id, type, handle=handle)
    wanted = []
    (group,) = osc.decode(data)
    assert group.time_tag is None
    for request in group.requests:
        command = request.command
        assert isinstance(command, SetParam | Gate), request.fault
        if isinstance(command, SetParam):
            param, value = patch.resolve_value(command.module_id, command.param, command.value, RATE_HZ)
        else:
            param = patch.gate_param(command.module_id)
            value = param.parse(command.value)
        wanted.append(Record(patch.nodes[command.module_id].handle, param.index, value))
    assert _native.stream_records(box.segment, before + 1) == wanted
    box.inbox.taken()


@settings(max_examples=400, deadline=None)
@given(st.builds(message, _addresses, st.one_of(_numbers, _words)))
def test_python_takes_the_long_way_only_what_it_has_more_to_say_about(data: bytes) -> None:
    """A plain number that Python would take without a word goes the short way."""
    box = _shared_box()
    n_before = box.n_short
    box.put(data)
    is_short = box.n_short > n_before
    box.fetch()
    patch = Patch()
    for id, handle, type in PLAYING:
        patch.create(id, type, handle=handle)
    (group,) = osc.decode(data)
    command = group.requests[0].command
    try:
        if isinstance(command, SetParam):
            patch.set(command.module_id, command.param, command.value, RATE_HZ)
        elif isinstance(command, Gate):
            patch.gate(command.module_id, command.value)
    except EngineError:
        command = None
    tags = data[data.index(b",") : data.index(b",") + 2]
    assert is_short == (isinstance(command, SetParam | Gate) and tags in (b",f", b",d", b",i", b",h"))


_box: list[Box] = []


def _shared_box() -> Box:
    if not _box:
        _box.append(Box())
    return _box[0]


# ---- order


def test_nothing_overtakes_what_its_sender_has_on_the_long_way(box: Box) -> None:
    sync = message("/engine/sync")
    box.put(sync, ALICE)
    box.put(message("/mod/osc1/freq", 1.0), ALICE)
    box.put(message("/mod/osc1/freq", 2.0), BOB)  # osc1 is spoken of by what waits
    box.put(message("/mod/filt1/q", 3.0), BOB)  # Bob's own waits now
    box.put(message("/mod/env1/attack", 4.0), CAROL)
    assert box.values == [4.0]
    letter = box.inbox.next()
    assert letter is not None and letter.data == sync and letter.sender == ALICE
    assert box.values == [4.0]  # Python is at it
    assert box.inbox.next() is None
    assert box.values == [4.0, 1.0, 2.0, 3.0]


@pytest.mark.parametrize(
    "address", ["/mod/osc1/mode", "/gate/osc1", "/patch/create", "/patch/delete", "/note/on", "/seq/pattern"]
)
def test_nothing_overtakes_what_anybody_has_on_the_long_way_for_the_same_module(box: Box, address: str) -> None:
    box.put(message(address, "osc1", "adsr"), ALICE)
    box.put(message("/mod/osc1/freq", 1.0), BOB)
    box.put(message("/mod/filt1/q", 2.0), CAROL)
    assert box.values == [2.0]
    box.fetch()
    assert box.values == [2.0, 1.0]


@pytest.mark.parametrize(
    "address", ["/mod/*/gain", "/mod/osc1/g?in", "/*/osc1/gain", "/gate/{env1,env2}", "/m[o]d/x/y"]
)
def test_nothing_overtakes_a_pattern_that_may_mean_any_module(box: Box, address: str) -> None:
    pattern = message(address, 0.25)
    box.put(pattern, ALICE)
    box.put(message("/mod/osc1/freq", 200.0), BOB)
    box.put(message("/gate/env1", 0), CAROL)
    assert box.records == []
    assert box.fetch() == [pattern]
    assert box.values == [200.0, 0.0]
    box.put(message("/mod/osc1/freq", 300.0), BOB)
    assert box.values == [200.0, 0.0, 300.0]


def test_nothing_overtakes_what_is_held_or_waits_for_room(box: Box) -> None:
    box.inbox.hold()
    box.inbox.hold()
    box.put(message("/mod/osc1/freq", 1.0))
    box.inbox.release()
    assert box.values == [] and box.fetch() == []
    box.inbox.release()
    assert box.values == [1.0]
    box.inbox.keep(1)  # a log has read one record, and no more: there is room for one ring
    for n in range(2, box.n_commands + 10):
        box.put(message("/mod/osc1/freq", float(n)), ALICE if n % 2 else BOB)
    assert box.segment.newest == box.n_commands + 1
    assert box.inbox.counts()["waiting"] == 8
    assert box.inbox.send([Record(1, 2, 3.0)]) == 0
    box.put(message("/mod/env1/attack", 5.0), CAROL)
    assert box.segment.newest == box.n_commands + 1
    box.inbox.keep(_native.KEEP_ALL)  # now nothing may go: a group of Python's waits
    assert box.segment.newest == box.n_commands + 1
    assert box.inbox.send([Record(1, 2, 3.0)]) == box.n_commands + 2
    assert box.segment.newest == box.n_commands + 11
    assert _native.stream_records(box.segment, box.segment.newest)[0].value == 5.0
    assert box.inbox.counts()["waiting"] == 0


def test_groups_behind_a_group_go_before_what_waits_on_the_short_way(box: Box) -> None:
    box.inbox.send([Record(1, 0, 1.0)], False, 1)
    box.put(message("/mod/osc1/freq", 3.0))
    assert box.values == [1.0]
    box.inbox.send([Record(1, 0, 2.0)], False, 0)
    assert box.values == [1.0, 2.0, 3.0]


def test_what_waited_is_looked_at_again_with_the_table_of_its_turn(box: Box) -> None:
    commit, new, gone = message("/patch/commit"), message("/mod/new1/freq", 1.0), message("/mod/osc1/freq", 2.0)
    for data in (commit, new, gone):
        box.put(data)
    letter = box.inbox.next()
    assert letter is not None and letter.data == commit
    box.inbox.hold()
    box.inbox.publish(table([("new1", 21, "simple_sine")]))
    box.inbox.release()
    assert box.fetch() == [gone]
    assert box.records == [Record(21, 0, 1.0)]


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("short"), st.sampled_from([ALICE, BOB, CAROL]), st.sampled_from(["osc1", "filt1", "env1"])),
        st.tuples(st.just("long"), st.sampled_from([ALICE, BOB, CAROL]), st.sampled_from(["osc1", "filt1", "env1"])),
        st.tuples(st.just("other"), st.sampled_from([ALICE, BOB, CAROL]), st.just("")),
        st.tuples(st.just("bundle"), st.sampled_from([ALICE, BOB, CAROL]), st.sampled_from(["osc1", "filt1", "env1"])),
        st.tuples(st.sampled_from(["python", "hold", "release", "keep", "free"]), st.just(ALICE), st.just("")),
        st.tuples(st.just("publish"), st.just(ALICE), st.sampled_from(["all", "osc1", "none"])),
    ),
    max_size=60,
)
PARAM_OF = {"osc1": "freq", "filt1": "cutoff", "env1": "attack"}


@settings(max_examples=400, deadline=None)
@given(STEPS)
def test_order_of_arrival_is_order_of_effect_for_each_sender_and_each_module(steps: list[Any]) -> None:
    box = Box()
    try:
        for _ in range(2):  # so that a log may leave no room
            box.inbox.send([Record(1, 0, 0.0)] * 4096)
        _play(box, steps)
    finally:
        box.close()


def _play(box: Box, steps: list[Any]) -> None:
    number, n_holds = 100, 0
    sent: dict[int, tuple[tuple[str, int], str]] = {}  # number -> sender, module
    in_hand: list[int] = []
    waiting: list[Record] = []

    def done() -> None:
        """Python has executed what it has in hand: the records go out, or wait for room."""
        nonlocal waiting
        waiting += [Record(99, 0, float(n)) for n in in_hand]
        in_hand.clear()
        while waiting and box.inbox.send(waiting[:1], False, len(waiting) - 1):
            waiting = waiting[1:]

    for kind, sender, id in steps:
        if kind in ("short", "long", "other", "bundle"):
            n = 2 if kind == "bundle" else 1
            numbers = range(number, number + n)
            number += n
            sent |= {k: (sender, id) for k in numbers}
            if kind == "other":
                data = message("/engine/x", float(numbers[0]))
            else:
                name = PARAM_OF[id] + ("x" if kind == "long" else "")
                parts = [message(f"/mod/{id}/{name}", float(k)) for k in numbers]
                data = bundle(*parts) if kind == "bundle" else parts[0]
            box.put(data, sender)
        elif kind == "python" and n_holds == 0:
            done()
            letter = box.inbox.next()
            if letter is not None:
                in_hand += _numbers_in(letter.data)
        elif kind == "hold":
            n_holds += 1
            box.inbox.hold()
        elif kind == "release" and n_holds:
            n_holds -= 1
            box.inbox.release()
        elif kind == "publish":
            box.inbox.hold()
            box.inbox.publish(table([row for row in PLAYING if id == "all" or row[0] == id]))
            box.inbox.release()
        elif kind == "keep":
            box.inbox.keep(max(0, box.segment.newest - box.n_commands))  # not one more
        elif kind == "free":
            box.inbox.keep(_native.KEEP_ALL)
    for _ in range(n_holds):
        box.inbox.release()
    box.inbox.keep(_native.KEEP_ALL)
    done()
    while (letter := box.inbox.next()) is not None:
        in_hand += _numbers_in(letter.data)
        done()
    order = [int(record.value) for record in _native.stream_records(box.segment, box.n_commands + 1)]
    assert sorted(order) == sorted(sent)  # nothing lost, nothing twice
    for key in (0, 1):  # of each sender, of each module
        for who in {pair[key] for pair in sent.values()} - {""}:
            mine = [k for k in order if sent[k][key] == who]
            assert mine == sorted(mine), (key, who)
    assert box.inbox.counts()["waiting"] == 0


def _numbers_in(data: bytes) -> list[int]:
    if data.startswith(b"#bundle"):
        return [int(struct.unpack(">f", e[-4:])[0]) for e in (data[20 : 20 + (len(data) - 24) // 2], data[-4:])]
    return [int(struct.unpack(">f", data[-4:])[0])]


# ---- stamps


def test_without_a_clock_and_as_soon_as_possible_nothing_is_stamped(box: Box) -> None:
    box.put(message("/mod/osc1/freq", 1.0))
    box.inbox.set_latency(True)
    assert box.inbox.stamp(time.monotonic_ns()) == -1  # no request was made yet
    box.output.process(64)
    assert box.inbox.stamp(time.monotonic_ns()) >= 0
    box.inbox.set_latency(False)
    box.put(message("/mod/osc1/freq", 2.0))
    assert [record.frame for record in box.records] == [-1, -1]
    assert (box.inbox.delay_frames, box.inbox.stamp(time.monotonic_ns())) == (0, -1)


def test_the_delay_is_lead_and_request_and_a_margin_or_more_where_more_is_asked_for(box: Box) -> None:
    box.inbox.set_latency(True)
    assert box.inbox.delay_frames == (2 + 1) * 64 + 13
    box.inbox.set_latency(True, 4800)
    assert box.inbox.delay_frames == 4800
    box.inbox.set_latency(True)
    box.output.process(256)  # a larger request than before: the lead goes up with it
    assert box.inbox.delay_frames == (box.segment.effective_lead + 4) * 64 + 13


def test_stamps_follow_the_time_of_arrival_and_never_go_back(box: Box) -> None:
    box.inbox.set_latency(True)
    box.output.process(64)
    frame, at_ns = box.output.time()
    stamps = [box.inbox.stamp(at_ns + round(k * 1e9 / RATE_HZ) + 1000) for k in range(64)]
    assert stamps == [frame + box.inbox.delay_frames + k for k in range(64)]
    assert box.inbox.stamp(at_ns) == stamps[-1]  # one that came before, but is told later
    late = box.inbox.stamp(at_ns + 60 * 10**9)  # the output stands still: so does its time
    assert late == frame + 128 + box.inbox.delay_frames


def test_what_comes_too_late_for_its_stamp_gets_the_first_that_is_open_and_is_counted(box: Box) -> None:
    box.inbox.set_latency(True)
    box.output.process(64)
    open_at = (box.segment.play_block + 1) * 64  # nobody renders: the block before may be begun at any time
    assert box.inbox.send([Record(1, 0, 1.0, frame=3), Record(0, 0, 0.0, is_mark=True)], True) == 2
    assert [record.frame for record in box.records] == [open_at, -1]
    assert box.inbox.counts()["stamps_raised"] == 1
    assert box.inbox.send([Record(1, 0, 1.0, frame=3)], False) == 3  # a time tag means what it says
    assert box.records[-1].frame == 3 and box.inbox.counts()["stamps_raised"] == 1


def test_no_more_is_stamped_than_the_schedules_hold_and_the_rest_waits_in_order(box: Box) -> None:
    box.inbox.set_latency(True)
    box.output.process(64)
    for n in range(4000):
        box.put(message("/mod/osc1/freq", float(n)))
    n_sent = box.segment.newest
    assert n_sent == 3072  # PE_SCHEDULE_SIZE less what is kept for time tags
    assert box.inbox.counts()["waiting"] == 4000 - n_sent
    assert box.values == [float(n) for n in range(n_sent)]
