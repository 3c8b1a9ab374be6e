"""Packets in a stream: whatever it is cut into, and whatever else comes."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyengine.framing import END, Deframer, Packet, framed

MAX_BYTES = 300

bodies = st.one_of(
    st.binary(max_size=MAX_BYTES - 1),
    st.lists(st.sampled_from([b"\xc0", b"\xdb", b"\xdc", b"\xdd", b"\0", b"/"]), max_size=40).map(b"".join),
)
packets = st.lists(bodies.map(lambda body: b"/" + body), min_size=1, max_size=6)


def cut(stream: bytes, data: st.DataObject) -> list[bytes]:
    at = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    return [stream[a:b] for a, b in zip([0, *at], [*at, len(stream)], strict=True)]


def fed(deframer: Deframer, chunks: list[bytes]) -> list[Packet]:
    return [packet for chunk in chunks for packet in deframer.feed(chunk)]


@settings(deadline=None)
@given(packets, st.sampled_from(["length", "slip"]), st.data())
def test_packets_come_out_as_they_went_in_however_the_stream_is_cut(
    sent: list[bytes], framing: str, data: st.DataObject
) -> None:
    deframer = Deframer(MAX_BYTES)
    got = fed(deframer, cut(b"".join(framed(packet, framing) for packet in sent), data))
    assert got == [Packet(packet) for packet in sent]
    assert deframer.framing == framing and not deframer.is_lost


@given(packets, st.data())
def test_slip_that_begins_without_an_end_or_ends_twice_is_taken(sent: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(framed(packet, "slip")[1:] for packet in sent)  # as in RFC 1055: one END behind each
    assert fed(Deframer(MAX_BYTES), cut(stream, data)) == [Packet(packet) for packet in sent]
    stream = b"".join(END + framed(packet, "slip") + END for packet in sent)
    assert fed(Deframer(MAX_BYTES), cut(stream, data)) == [Packet(packet) for packet in sent]


@settings(deadline=None)
@given(st.binary(max_size=2000), st.data())
def test_garbage_ends_in_packets_or_faults_the_same_however_it_is_cut_and_is_never_hoarded(
    garbage: bytes, data: st.DataObject
) -> None:
    for begin in (b"", b"\0", END, b"/", struct.pack(">I", 7)):
        stream = begin + garbage
        whole, parts = Deframer(MAX_BYTES), Deframer(MAX_BYTES)
        at_once = whole.feed(stream)
        got: list[Packet] = []
        for chunk in cut(stream, data):
            got += parts.feed(chunk)
            assert len(parts._rest) <= max(2 * MAX_BYTES, MAX_BYTES + 4)
        # Cut, a stream that is too long is found out earlier: up to there it is the same.
        assert got == at_once or (parts.is_lost and got[:-1] == at_once[: len(got) - 1])
        for packet in at_once:
            assert len(packet.data) <= MAX_BYTES and (not packet.fault or packet.data == b"")
        if whole.is_lost:
            assert at_once[-1].fault and whole.feed(b"/more") == []


@given(packets, st.binary(min_size=1, max_size=20), st.data())
def test_slip_finds_its_way_back_behind_garbage(sent: list[bytes], garbage: bytes, data: st.DataObject) -> None:
    stream = framed(b"/first", "slip") + garbage + b"".join(framed(packet, "slip") for packet in sent)
    got = fed(Deframer(MAX_BYTES), cut(stream, data))
    assert got[0] == Packet(b"/first") and got[-len(sent) :] == [Packet(packet) for packet in sent]


@pytest.mark.parametrize("first", [b"\x01", b"G", b"\xff", b"{", b"\xdb"])
def test_a_stream_that_is_no_osc_is_refused_at_its_first_byte(first: bytes) -> None:
    deframer = Deframer(MAX_BYTES)
    [packet] = deframer.feed(first)
    assert f"0x{first.hex()}" in packet.fault and deframer.is_lost


def test_what_is_longer_than_allowed_is_refused_before_it_is_there() -> None:
    deframer = Deframer(MAX_BYTES)
    [good, packet] = deframer.feed(framed(b"/good", "length") + struct.pack(">I", 301))
    assert good == Packet(b"/good") and "a packet of 301 bytes; the longest taken has 300" in packet.fault
    deframer = Deframer(MAX_BYTES)
    [packet] = deframer.feed(framed(b"/" * 301, "slip"))
    assert "a packet of 301 bytes" in packet.fault
    deframer = Deframer(MAX_BYTES)
    assert deframer.feed(b"/" * 600) == [] and deframer.feed(b"/")[0].fault
    assert Deframer(MAX_BYTES).feed(framed(b"/" * 300, "length")) == [Packet(b"/" * 300)]


def test_a_damaged_escape_costs_its_packet_alone() -> None:
    deframer = Deframer(MAX_BYTES)
    got = deframer.feed(END + b"/a\xdbx" + END + b"/b\xdb" + END + b"/c" + END)
    assert ["is damaged" in packet.fault for packet in got] == [True, True, False] and got[2].data == b"/c"
