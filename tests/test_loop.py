from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Iterator

import pytest

from pyengine.channel import Channel
from pyengine.loop import Loop


@pytest.fixture
def loop() -> Iterator[Loop]:
    loop = Loop()
    yield loop
    loop.close()


def run_until(loop: Loop, done: list[object], n: int = 1) -> None:
    """Let the loop turn until so much is done; each turn ends with something to do, or with an error."""
    for _ in range(1000):
        if len(done) >= n:
            return
        loop.run_once(10)
    raise AssertionError(done)


def test_timers_fire_in_the_order_of_their_times_and_not_of_their_setting(loop: Loop) -> None:
    done: list[object] = []
    for delay_s, name in ((0.03, "third"), (0.0, "first"), (0.01, "second")):
        loop.after(delay_s, lambda name=name: done.append(name))
    run_until(loop, done, 3)
    assert done == ["first", "second", "third"]


def test_timers_of_one_time_fire_in_the_order_they_were_set(loop: Loop) -> None:
    done: list[object] = []
    for n in range(10):
        loop.after(-1.0, lambda n=n: done.append(n))
    run_until(loop, done, 10)
    assert done == list(range(10))


def test_a_cancelled_timer_does_nothing_and_no_timer_fires_twice(loop: Loop) -> None:
    done: list[object] = []
    timer = loop.after(0.0, lambda: done.append("never"))
    timer.cancel()
    timer.cancel()
    kept = loop.after(0.0, lambda: done.append("once"))
    run_until(loop, done)
    kept.fire()
    loop.run_once(0)
    assert done == ["once"]


def test_a_timer_may_set_another_one(loop: Loop) -> None:
    done: list[object] = []
    loop.after(0.0, lambda: loop.after(0.0, lambda: done.append("inner")))
    run_until(loop, done)
    assert done == ["inner"]


def test_calls_from_other_threads_run_in_the_loop_s_thread_in_their_order(loop: Loop) -> None:
    done: list[object] = []

    def call(n: int) -> None:
        for i in range(1000):
            loop.call(lambda i=i: done.append((n, i, threading.get_ident())))

    threads = [threading.Thread(target=call, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    run_until(loop, done, 4000)
    for thread in threads:
        thread.join()
    assert {ident for _, _, ident in done} == {threading.get_ident()}  # type: ignore[misc]
    for n in range(4):
        assert [i for m, i, _ in done if m == n] == list(range(1000))  # type: ignore[misc]


def test_a_call_wakes_a_loop_that_waits(loop: Loop) -> None:
    done: list[object] = []
    thread = threading.Thread(target=lambda: loop.run_once(60))
    thread.start()
    loop.call(lambda: done.append(1))
    thread.join(30)
    assert not thread.is_alive() and done == [1]


def test_a_loop_in_a_hurry_does_not_sleep_and_sleeps_again_once_it_is_over(loop: Loop) -> None:
    done: list[object] = []
    loop.after(3600.0, lambda: done.append("much later"))
    loop.hurry(3600.0)
    loop.run_once(3600.0)
    loop.hurry(0)
    loop.after(0.05, lambda: done.append("timer"))
    loop.run_once(3600.0)  # sleeps until the timer is due
    assert done == ["timer"]


def test_a_call_made_by_a_call_waits_for_the_next_turn(loop: Loop) -> None:
    """So that a call that calls itself again cannot starve the rest."""
    done: list[object] = []

    def again() -> None:
        done.append(1)
        loop.call(again)

    loop.call(again)
    loop.run_once(10)
    assert done == [1]


def test_a_fault_in_an_action_is_logged_and_ends_nothing(loop: Loop, caplog: pytest.LogCaptureFixture) -> None:
    done: list[object] = []

    def fail() -> None:
        raise ZeroDivisionError("on purpose")

    ours, theirs = socket.socketpair()
    with ours, theirs, caplog.at_level(logging.ERROR):
        theirs.send(b"x")
        loop.watch(ours, fail)
        loop.after(0.0, fail)
        loop.call(fail)
        loop.call(lambda: done.append("call"))
        loop.after(0.0, lambda: done.append("timer"))
        run_until(loop, done, 2)
        loop.unwatch(ours)
    assert sum("on purpose" in record.exc_text for record in caplog.records if record.exc_text) >= 3


def test_a_file_that_is_not_watched_any_more_is_left_alone(loop: Loop) -> None:
    done: list[object] = []
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.send(b"x")
        loop.watch(ours, lambda: done.append("read"))
        loop.unwatch(ours)
        loop.unwatch(ours)
        loop.run_once(0)
    assert done == []


def test_an_action_may_take_another_file_of_the_same_turn_away(loop: Loop) -> None:
    done: list[object] = []
    pairs = [socket.socketpair() for _ in range(2)]

    def take_other(n: int) -> None:
        done.append(n)
        loop.unwatch(pairs[1 - n][0])

    for n, (ours, theirs) in enumerate(pairs):
        theirs.send(b"x")
        loop.watch(ours, lambda n=n: take_other(n))
    loop.run_once(1)
    assert len(done) == 1
    for pair in pairs:
        for end in pair:
            end.close()


def test_an_action_may_take_away_and_close_another_file_of_the_same_turn(loop: Loop) -> None:
    """As the death of a worker does: its end and the end of its patch queue are often told at once."""
    pairs = [socket.socketpair() for _ in range(2)]
    channels = [Channel(ours) for ours, _ in pairs]
    done: list[object] = []

    def take_away_the_other(n: int) -> None:
        done.append(n)
        loop.unwatch(channels[1 - n])
        channels[1 - n].close()

    for n, (_, theirs) in enumerate(pairs):
        loop.watch(channels[n], lambda n=n: take_away_the_other(n))
        theirs.send(b"x")
    loop.run_once(10)
    assert len(done) == 1
    for ours, theirs in pairs:
        ours.close()
        theirs.close()


def test_a_channel_s_messages_and_its_end_are_handed_on_and_what_is_unsent_goes_out(loop: Loop) -> None:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    mine, peer = Channel(ours), Channel(theirs)
    got: list[object] = []
    loop.watch_channel(mine, got.append, lambda: (got.append("end"), loop.unwatch(mine)))
    mine.send([{"payload": bytes(1 << 22)}])
    loop.update(mine)
    assert mine.has_unsent
    received: list[object] = []
    reader = threading.Thread(target=lambda: received.extend(peer.receive() or ()))
    reader.start()
    while mine.has_unsent:
        loop.run_once(10)
    reader.join(10)
    assert received == [{"payload": bytes(1 << 22)}]
    peer.send([{"n": 1}, {"n": 2}])
    peer.close()
    run_until(loop, got, 3)
    assert got == [{"n": 1}, {"n": 2}, "end"]
    mine.close()


def test_the_first_failure_stays() -> None:
    loop = Loop()
    loop.fail(ValueError("first"))
    loop.fail(ValueError("second"))
    assert str(loop.failure) == "first"
    loop.close()
    loop.call(lambda: None)  # from a thread that does not know yet
