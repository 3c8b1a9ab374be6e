from __future__ import annotations

import math
import struct
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pythonosc.osc_bundle_builder import OscBundleBuilder
from pythonosc.osc_message_builder import OscMessageBuilder
from strategies import ids

from pyengine import addresses, commands, messages, osc
from pyengine.commands import Command, Commit, Create, Gate, SetParam, Undo
from pyengine.errors import CommandError
from pyengine.osc import Group, Reply, Request, decode, decode_reply, encode, encode_bundle, encode_reply


def message(address: str, *args: Any, types: str = "") -> bytes:
    """Return what another program's OSC library would send."""
    builder = OscMessageBuilder(address)
    for number, arg in enumerate(args):
        builder.add_arg(arg, types[number] if types else None)
    return bytes(builder.build().dgram)


def bundle(*elements: bytes, tag: int = 1) -> bytes:
    parts = [struct.pack(">i", len(element)) + element for element in elements]
    return b"#bundle\0" + struct.pack(">Q", tag) + b"".join(parts)


def only(datagram: bytes) -> Request:
    [group] = decode(datagram)
    [request] = group.requests
    return request


COMMANDS: list[Command] = [
    Create("osc1", "simple_sine"),
    commands.Delete("osc1"),
    commands.Connect("osc1", "filt1.cutoff"),
    commands.Disconnect("osc1.out", "filt1"),
    Commit(),
    Commit(20.5, True, 250.0),
    commands.Abort(),
    commands.Clear(),
    Undo(),
    Undo(0.0),
    SetParam("osc1", "freq", 440.1),
    SetParam("filt1", "mode", "notch"),
    SetParam("filt1", "mode", 3),
    SetParam("osc1", "freq", 1e300),
    SetParam("{osc,env}[1-9]", "*", 0.5),
    Gate("env?", 1),
    Gate("env1", 0),
    Gate("env1", 1),
    commands.RecordStart("take 1.wav"),
    commands.RecordStop(),
    commands.RecordStatus(),
    commands.SessionStart("evening.session"),
    commands.SessionStop(),
    commands.SessionStatus(),
    commands.EngineStatus(),
    commands.EngineLevels(),
    commands.EngineModules(),
    commands.EngineModules("adsr"),
    commands.EngineCommands(),
    commands.EngineCommands("/patch", 3),
    commands.PatchDump(),
    commands.EngineListen(),
    commands.EngineListen(2.5, "now.png"),
    commands.EngineListen(picture="now.png"),  # behind seconds, which have their default
    commands.EngineLevels(),
    commands.EngineSync(),
    commands.Notify(1),
    commands.Notify(1, ("commits", "values")),
    commands.Notify(0),
    commands.SetVoices("poly", 12),
    commands.PatchSample("sampler1", "kick.wav"),
    commands.SeqPattern("seq1", "X..x|-.3."),
    commands.SeqPattern("seq1", ""),
    commands.SeqNotes("seq1", "C4 Eb3 . C4+E4"),
    commands.SeqNotes("seq1", ""),
    commands.SeqVelocities("seq1", "1 0.5"),
    commands.SeqDivision("seq1", 4.0),
    commands.SeqDivision("seq1", "1/2"),
    commands.SeqLane("seq1", "filt1.cutoff", "400 . 800"),
    commands.SeqLane("seq1", "filt1.cutoff", ""),
    commands.SeqTarget("seq1", ("kick1", "osc1.freq=note")),
    commands.SeqTarget("seq1", ()),
    commands.SeqClock("seq1", "clock1"),
    commands.SeqClear("seq1"),
    commands.SeqDump(),
    commands.SeqDump("seq1"),
    commands.NoteOn("poly", "C4"),
    commands.NoteOn("poly", 60.5, 0.25),
    commands.NoteOff("poly", 61.0),
    commands.AllOff("poly"),
]

floats = st.floats(allow_nan=False, allow_infinity=False)
any_command = st.one_of(
    st.sampled_from(COMMANDS),
    st.builds(SetParam, ids, ids, st.one_of(floats, st.integers(-(2**63), 2**63 - 1))),
    st.builds(Gate, ids, st.integers(0, 1)),
    st.builds(Commit, st.none() | st.floats(0, 1000), st.booleans(), st.none() | st.floats(1, 60_000)),
)


@given(any_command)
def test_every_command_survives_the_wire(command: Command) -> None:
    request = only(encode(command))
    assert request == Request(osc.address_of(command), command)


def test_the_table_has_a_row_for_every_command_and_its_examples_work() -> None:
    kinds = {type(command) for command in COMMANDS}
    assert {route.command for route in addresses.TABLE} == kinds and len(addresses.TABLE) == len(kinds)
    for row in (route.as_dict() for route in addresses.TABLE):
        assert row["help"].endswith(".") and row["usage"].startswith(row["address"])
        address, *args = row["example"].split(" ")
        values = [float(a) if a.replace(".", "").isdigit() else a for a in args]
        assert only(message(address, *values)).fault == ""


@given(st.lists(any_command, max_size=20), st.integers(2, 2**64 - 1))
def test_a_bundle_is_one_group_with_its_exact_time_tag(sent: list[Command], tag: int) -> None:
    [group] = decode(encode_bundle(sent, tag))
    assert group.time_tag == tag
    assert [request.command for request in group.requests] == sent
    assert decode(encode_bundle(sent, None))[0].time_tag is None


def test_an_empty_bundle_is_a_group_without_requests() -> None:
    assert decode(bundle()) == [Group(None, ())]
    assert decode(bundle(tag=77)) == [Group(77, ())]


def test_a_nested_bundle_is_a_group_of_its_own_and_never_earlier() -> None:
    abort, clear, sync = message("/patch/abort"), message("/patch/clear"), message("/engine/sync")
    inner = bundle(clear, bundle(sync, tag=5), tag=1)
    groups = decode(bundle(inner, abort, bundle(sync, tag=900), tag=100))
    assert [(g.time_tag, [r.address for r in g.requests]) for g in groups] == [
        (100, ["/patch/abort"]),
        (100, ["/patch/clear"]),
        (100, ["/engine/sync"]),
        (900, ["/engine/sync"]),
    ]


def test_python_osc_and_this_codec_agree_on_bundles() -> None:
    builder = OscBundleBuilder(int(time.time()) + 10)
    builder.add_content(OscMessageBuilder("/patch/abort").build())
    built = builder.build()
    [group] = decode(built.dgram)
    assert group.time_tag is not None
    assert messages.unix_from_time_tag(group.time_tag) == pytest.approx(built.timestamp, abs=1e-6)
    assert group.requests[0].command == commands.Abort()


def test_bundles_nested_too_deep_are_refused_and_the_outer_ones_kept() -> None:
    datagram = bundle(message("/patch/abort"))
    for _ in range(3000):
        datagram = bundle(datagram)
    groups = decode(datagram)
    assert len(groups) == osc.MAX_DEPTH + 1
    assert "more than 8 deep" in groups[-1].requests[0].fault
    datagram = message("/patch/abort")
    for _ in range(osc.MAX_DEPTH):
        datagram = bundle(datagram)
    assert decode(datagram)[-1].requests[0].command == commands.Abort()


def test_a_bundle_of_too_many_messages_is_refused_whole() -> None:
    most = bundle(*[message("/a")] * osc.MAX_MESSAGES)
    assert len(decode(most)[0].requests) == osc.MAX_MESSAGES
    [group] = decode(bundle(*[message("/a")] * (osc.MAX_MESSAGES + 1), tag=9))
    assert group.time_tag == 9 and len(group.requests) == 1
    assert "more than 4096 messages" in group.requests[0].fault
    with pytest.raises(CommandError, match="at most 4096"):
        encode_bundle([commands.Abort()] * 4097, None)


def test_one_bad_message_does_not_lose_the_good_ones() -> None:
    good = message("/gate/env1", 1)
    [group] = decode(bundle(good, b"", b"abcd", message("/gate/env1", 2), message("/nothing"), good))
    assert [request.command is not None for request in group.requests] == [True, *[False] * 4, True]
    assert all(bool(request.fault) == (request.command is None) for request in group.requests)


@pytest.mark.parametrize("size", [-4, -(2**31), 2**31 - 1, 1000])
def test_a_wrong_size_in_a_bundle_ends_it_but_keeps_what_came_before(size: int) -> None:
    datagram = bundle(message("/patch/abort")) + struct.pack(">i", size) + message("/patch/clear")
    [group] = decode(datagram)
    assert group.requests[0].command == commands.Abort()
    assert "damaged at byte" in group.requests[1].fault and len(group.requests) == 2


@pytest.mark.parametrize(
    ("datagram", "text"),
    [
        (b"", "the datagram is empty"),
        (b"hello", "is not OSC; send an OSC message, which begins with '/'"),
        (b"\xff" * 60_000, "is not OSC"),
        (b"#bundle", "is not OSC"),
        (b"#bundle\0\0\0\0\0", "the bundle is cut off: 12 bytes"),
        (b"/patch/abort", "cut off or not padded"),
        (b"/patch/abort\0", "cut off or not padded"),
        (b"/patch/abort\0\0\0\0\0\0\0\0", "type tags are missing"),
        (b"/patch/abort\0\0\0\0,iii", "type tags are missing or cut off"),
        (b"/gate/a\0,i\0\0", "cut off in argument 1"),
        (b"/mod/osc1/freq\0\0,f\0\0", "cut off in argument 1"),  # python-osc alone would read 0.0
        (b"/patch/delete\0\0\0,s\0\0abcd", "cut off in argument 1"),
        (b"/gate/a\0,i\0\0\0\0\0\1\0\0\0\0", "4 bytes follow the last argument"),
        (b"/patch/delete\0\0\0,s\0\0\xff\xfe\xfd\0", "not UTF-8"),
        (b"/\xc3\xa4\0,\0\0\0", "not printable ASCII"),
        (b"/a\nb\0\0\0\0,\0\0\0", "not printable ASCII"),
        (b"/gate/a\0,I\0\0", "argument 1 has type 'I' (unknown)"),
        (b"/gate/a\0,[i]\0\0\0\0\0\0\0\1", "has type '[' (array)"),
        (b"/gate/a\0," + b"T" * 999 + b"\0" * 4, "999 arguments are more than the 64 taken"),
    ],
)
def test_bytes_that_are_no_sound_osc_are_one_fault(datagram: bytes, text: str) -> None:
    request = only(datagram)
    assert request.command is None and text in request.fault
    assert len(request.fault) < 300


@pytest.mark.parametrize("length", [256, 60_000])
def test_a_huge_address_is_refused_with_a_short_echo(length: int) -> None:
    request = only(message("/" + "a" * (length - 1), 1))
    assert request.command is None and f"the address has {length} bytes" in request.fault
    assert request.address == "/" + "a" * 59 + "..."
    assert only(message("/" + "a" * 254)).address == "/" + "a" * 254


def test_a_huge_string_is_refused_quickly() -> None:
    datagram = message("/patch/delete", "x" * 60_000)
    started = time.process_time()
    assert "a string of 60000 bytes" in only(datagram).fault
    assert time.process_time() - started < 0.1


@pytest.mark.parametrize(
    ("datagram", "text"),
    [
        (message("/patch/crate", "a", "b"), "did you mean '/patch/create'? usage: /patch/create ID TYPE"),
        (message("/patch/commit/"), "did you mean '/patch/commit'"),
        (message("/mods/osc1/freq", 1), "did you mean '/mod/osc1/freq'? usage: /mod/ID/PARAM VALUE"),
        (message("/osc1/freq", 1), "did you mean '/mod/osc1/freq'? usage: /mod/ID/PARAM VALUE"),
        (message("/mod/osc1", 1), "usage: /mod/ID/PARAM VALUE"),
        (message("/mod//freq", 1), "usage: /mod/ID/PARAM VALUE"),
        (message("/mod/a/b/c", 1), "unknown address '/mod/a/b/c'"),
        (message("/gate", 1), "usage: /gate/ID"),
        (message("/"), "unknown address '/'"),
        (message("/patch/create", "osc1"), "takes 2 arguments, got 1; usage: /patch/create ID TYPE"),
        (message("/patch/create", 1, "adsr"), "argument 1 of /patch/create must be a string, not 1"),
        (message("/patch/delete", ""), "argument 1 of /patch/delete must be a string"),
        (message("/patch/abort", 1), "takes no arguments, got 1"),
        (message("/record/start"), "takes 1 to 2 arguments, got 0; usage: /record/start NAME [float|24], as in"),
        (message("/mod/osc1/freq"), "takes 1 argument, got 0"),
        (message("/mod/osc1/freq", 1, 2), "takes 1 argument, got 2"),
        (message("/mod/osc1/freq", True), "which only /gate/ID takes"),
        (message("/mod/osc1/freq", None), "the value is nil"),
        (message("/mod/osc1/freq", math.nan), "the value is nan, not finite"),
        (message("/mod/osc1/freq", math.inf), "the value is inf, not finite"),
        (message("/mod/osc1/freq", -math.inf, types="d"), "the value is -inf, not finite"),
        (message("/mod/osc1/freq", b"blob"), "argument 1 has type 'b' (blob)"),
        (message("/gate/env1", 2), "node 'env1': gate=2 is neither on nor off"),
        (message("/gate/env1", "yes"), "neither on nor off"),
        (message("/gate/env1", None), "neither on nor off"),
        (message("/gate/env1"), "takes 1 argument, got 0"),
        (message("/patch/commit", "crossfade"), "options come as pairs of name and value, got 1"),
        (message("/patch/commit", "crossfad", 5), "did you mean 'crossfade'? usage: /patch/commit [cross"),
        (message("/patch/commit", 5, "crossfade"), "unknown option 5"),
        (message("/patch/commit", "crossfade", 5, "crossfade", 6), "given twice"),
        (message("/patch/commit", "crossfade", 1001), "outside 0..1000 ms"),
        (message("/patch/commit", "crossfade", "5"), "is not a number"),
        (message("/patch/commit", "crossfade", True), "is not a number"),
        (message("/patch/commit", "timeout", None), "is not a number"),
        (message("/patch/undo", "timeout", math.nan), "outside 1..60000 ms"),
        (
            message("/patch/commit", "allow_silence", "perhaps"),
            "allow_silence='perhaps' is neither",
        ),
    ],
)
def test_a_wrong_request_says_what_and_how_to_fix(datagram: bytes, text: str) -> None:
    request = only(datagram)
    assert request.command is None and text in request.fault
    assert request.address.startswith("/")


@pytest.mark.parametrize(
    ("datagram", "command"),
    [
        (message("/patch/commit", "crossfade", 20), Commit(20.0)),
        (message("/patch/commit", "timeout", 100.0, "allow_silence", "on"), Commit(None, True, 100.0)),
        (message("/patch/undo", "allow_silence", False), Undo()),
        (message("/gate/env1", True), Gate("env1", 1)),
        (message("/gate/env1", False), Gate("env1", 0)),
        (message("/gate/env1", "off"), Gate("env1", 0)),
        (message("/gate/env1", 1.0), Gate("env1", 1)),
        (message("/mod/osc1/frequency", 2, types="h"), SetParam("osc1", "frequency", 2)),
        (message("/mod/osc1/freq", 440.1, types="d"), SetParam("osc1", "freq", 440.1)),
        (b"/patch/abort\0\0\0\0", commands.Abort()),  # without type tags, as old senders do
    ],
)
def test_what_other_senders_send_is_understood(datagram: bytes, command: Command) -> None:
    assert only(datagram) == Request(datagram[: datagram.index(0)].decode(), command)


def check_sound(groups: list[Group]) -> None:
    assert groups
    for group in groups:
        assert group.time_tag is None or 0 <= group.time_tag < 2**64
        for request in group.requests:
            assert (request.command is None) == bool(request.fault)
            assert len(request.address) <= 1100 and len(request.fault) < 2000
            encode_reply(False, request.address, request.fault)  # it can always be answered


@given(st.binary(max_size=300))
def test_any_bytes_are_answered_and_never_raise(data: bytes) -> None:
    for datagram in (data, b"/" + data, b"#bundle\0" + data, b"/mod/osc1/freq\0\0," + data):
        check_sound(decode(datagram))


@given(st.lists(any_command, min_size=1, max_size=4), st.data())
def test_damaged_packets_are_answered_and_never_raise(sent: list[Command], data: st.DataObject) -> None:
    whole = encode_bundle(sent, None) if data.draw(st.booleans()) else encode(sent[0])
    damaged = bytearray(bundle(whole) if data.draw(st.booleans()) else whole)
    for _ in range(data.draw(st.integers(0, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    check_sound(decode(bytes(damaged[: data.draw(st.integers(0, len(damaged)))])))


def test_the_library_sets_no_handlers_whatever_arrives() -> None:
    import logging

    before = list(logging.getLogger().handlers)
    decode(b"/gate/a\0,Z\0\0")  # python-osc would call logging.warning, which installs one
    decode(bundle(b"abcd"))
    assert logging.getLogger().handlers == before


@pytest.mark.parametrize("args", [(), (880.0,), (1, "two", 3.5, True, None), ("\u00e4" * 20_000,)])
def test_a_reply_survives_the_wire(args: tuple[Any, ...]) -> None:
    assert decode_reply(encode_reply(True, "/mod/osc1/freq", *args)) == Reply(True, "/mod/osc1/freq", args)
    assert decode_reply(encode_reply(False, "/patch/commit", "no")).ok is False


def test_a_reply_that_does_not_fit_a_datagram_is_still_an_answer() -> None:
    answer = decode_reply(encode_reply(True, "/patch/dump", "x" * 70_000))
    assert not answer.ok and answer.address == "/patch/dump"
    assert "70020 bytes does not fit" in str(answer.args[0]) or "does not fit a datagram" in str(answer.args[0])
    answer = decode_reply(encode_reply(False, "/patch/commit", "\u00e4\0" * 70_000))
    assert not answer.ok and str(answer.args[0]).endswith("... (shortened)")


def test_a_reply_with_text_that_osc_cannot_carry_is_still_an_answer() -> None:
    assert decode_reply(encode_reply(False, "/a", "x\0y\ud800")).args == ("x\\0y\\ud800",)


@pytest.mark.parametrize("datagram", [b"", b"/done\0\0\0", message("/done", 1), message("/patch/abort", "x")])
def test_what_is_no_reply_is_refused(datagram: bytes) -> None:
    with pytest.raises(CommandError):
        decode_reply(datagram)


@pytest.mark.parametrize(
    "command",
    [
        SetParam("a/b", "freq", 1),
        SetParam("", "freq", 1),
        SetParam("a", "fr eq", 1),
        SetParam("a", "freq", 2**70),
        SetParam("a", "freq", "x\0y"),
        Create("a", "\ud800"),
        Create("a", "x" * 70_000),
        Gate("a/*", 1),
        Gate("a", 2),
        "/patch/abort",
    ],
)
def test_what_cannot_be_sent_is_refused_before_it_is(command: Any) -> None:
    with pytest.raises((CommandError, ValueError)):
        encode(command)


@given(st.floats(0, 2_085_978_495))
def test_a_time_survives_as_a_time_tag_to_a_microsecond(seconds: float) -> None:
    assert abs(messages.unix_from_time_tag(messages.time_tag_from_unix(seconds)) - seconds) < 1e-6


def test_time_tags_are_ntp_times() -> None:
    assert messages.time_tag_from_unix(0.5) == (2_208_988_800 << 32) + 2**31
    assert decode(encode(commands.Abort(), 123_456_789_123_456_789))[0].time_tag == 123_456_789_123_456_789
    for wrong in (math.nan, math.inf, -3e9, 1e10):
        with pytest.raises(CommandError, match="time tag"):
            messages.time_tag_from_unix(wrong)


def test_a_datagram_full_of_nonsense_is_refused_quickly() -> None:
    nonsense = [message(f"/patch/crea{number}") for number in range(2500)]
    started = time.process_time()
    [group] = decode(bundle(*nonsense))
    assert time.process_time() - started < 0.3  # 0.03 s here
    assert "did you mean" in group.requests[0].fault
    assert all("unknown address" in request.fault for request in group.requests)
