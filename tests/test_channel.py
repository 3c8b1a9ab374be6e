from __future__ import annotations

import os
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest
from waiting import wait_until

from pyengine.channel import Channel, Message

Pair = tuple[Channel, Channel]


@pytest.fixture
def pair() -> Iterator[Pair]:
    """Return the supervisor's end, which never blocks, and a worker's."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    ends = Channel(ours), Channel(theirs)
    yield ends
    for end in ends:
        end.close()


def drain(ours: Channel, theirs: Channel, n: int) -> list[Message]:
    """Flush one end and read at the other until n messages are there."""
    got: list[Message] = []
    theirs.sock.setblocking(False)
    while len(got) < n:
        ours.flush()
        messages = theirs.receive()
        assert messages is not None
        got += messages
    return got


def test_messages_arrive_in_order_whatever_they_are_bundled_with(pair: Pair) -> None:
    ours, theirs = pair
    ours.send([{"n": 0}, {"n": 1}])
    ours.send([{"n": 2}])
    ours.send([])
    ours.send([{"n": 3}])
    assert [message["n"] for message in drain(ours, theirs, 4)] == [0, 1, 2, 3]


def test_nothing_there_is_an_empty_list_and_a_peer_that_has_gone_is_none(pair: Pair) -> None:
    ours, theirs = pair
    assert ours.receive() == []
    theirs.send([{"last": True}])
    theirs.close()
    assert ours.receive() == [{"last": True}]
    assert ours.receive() is None
    ours.send([{"to": "nobody"}])
    assert not ours.has_unsent


def test_the_end_that_never_blocks_takes_any_amount_while_nobody_reads(pair: Pair) -> None:
    ours, theirs = pair
    payload = os.urandom(1 << 16)
    sent = [{"n": n, "payload": payload} for n in range(200)]  # 13 MB; the socket takes some 200 kB
    for message in sent:
        ours.send([message])
    assert ours.has_unsent
    assert drain(ours, theirs, 200) == sent
    assert not ours.has_unsent


def test_one_message_of_50_mb_arrives_whole(pair: Pair) -> None:
    ours, theirs = pair
    payload = os.urandom(50_000_000)
    ours.send([{"payload": payload}])
    assert drain(ours, theirs, 1) == [{"payload": payload}]


def test_a_blocking_end_waits_for_a_whole_batch(pair: Pair) -> None:
    ours, theirs = pair
    got: list[list[Message] | None] = []
    reader = threading.Thread(target=lambda: got.append(theirs.receive()))
    reader.start()
    ours.send([{"payload": bytes(1 << 20)}, {"n": 1}])
    wait_until(lambda: ours.flush() or not ours.has_unsent)
    reader.join(10)
    assert got == [[{"payload": bytes(1 << 20)}, {"n": 1}]]


def test_half_a_message_is_no_message_and_its_end_is_the_end(pair: Pair) -> None:
    ours, theirs = pair
    theirs.sock.sendall(struct.pack("!I", 1000) + bytes(10))
    assert ours.receive() == []
    theirs.sock.sendall(bytes(10))
    assert ours.receive() == []
    theirs.close()
    assert ours.receive() is None


def test_a_peer_killed_in_the_middle_of_a_message_leaves_an_end_of_file_and_nothing_else() -> None:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    code = (
        "import socket, sys; from pyengine.channel import Channel;"
        "channel = Channel(socket.socket(fileno=int(sys.argv[1])));"
        "channel.send([{'hello': 1}]); channel.send([{'payload': bytes(1 << 26)}])"
    )
    with theirs:
        fd = theirs.fileno()
        process = subprocess.Popen(
            [sys.executable, "-c", f"import sys; sys.path[:] = {sys.path!r}; {code}", str(fd)], pass_fds=[fd]
        )
    channel = Channel(ours)
    first: list[Message] = []
    wait_until(lambda: first.extend(channel.receive() or ()) or first, 30)
    process.send_signal(signal.SIGKILL)  # it hangs in the send of 64 MB: nobody reads
    process.wait()
    rest: list[list[Message] | None] = []
    wait_until(lambda: rest.append(channel.receive()) or rest[-1] is None)
    assert first == [{"hello": 1}] and not any(rest)
    channel.send([{"to": "nobody"}])
    channel.close()
