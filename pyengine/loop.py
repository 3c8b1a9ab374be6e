"""One thread that waits for everything: sockets, dead processes, timers, calls from other threads."""

from __future__ import annotations

import heapq
import itertools
import logging
import os
import selectors
import socket
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from pyengine.channel import Channel, Message

logger = logging.getLogger(__name__)

Action = Callable[[], None]


class Timer:
    """An action at a time; `cancel` makes it do nothing."""

    def __init__(self, action: Action) -> None:
        self._action: Action | None = action

    def cancel(self) -> None:
        self._action = None

    def fire(self) -> None:
        action, self._action = self._action, None
        if action is not None:
            action()


class Loop:
    """Runs actions in the thread that calls `run_once`. `call` is the only method for other threads."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._timers: list[tuple[float, int, Timer]] = []
        self._numbers = itertools.count()
        self._calls: deque[Action] = deque()
        self._idle: dict[Any, Action] = {}  # files that are watched for nothing just now
        self._waker, self._wake = socket.socketpair()
        self._waker.setblocking(False)
        self._wake.setblocking(False)
        self._selector.register(self._wake, selectors.EVENT_READ, self._run_calls)
        self._hurried_until_s = 0.0
        self.failure: Exception | None = None

    def call(self, action: Action) -> None:
        """Run an action in the loop's thread; may be called from any thread."""
        self._calls.append(action)
        try:
            self._waker.send(b"\0")
        except OSError:  # full: it will wake anyway; closed: nobody listens any more
            pass

    def _run_calls(self) -> None:
        try:
            while self._wake.recv(4096):
                pass
        except OSError:
            pass
        for _ in range(len(self._calls)):
            self._run(self._calls.popleft())

    def _run(self, action: Action) -> None:
        """A fault in one action must not end the engine."""
        try:
            action()
        except Exception:
            logger.exception("an action of the engine's loop failed")

    def after(self, seconds: float, action: Action) -> Timer:
        """Run an action so much later."""
        timer = Timer(action)
        heapq.heappush(self._timers, (time.monotonic() + seconds, next(self._numbers), timer))
        return timer

    def watch(self, file: Any, action: Action) -> None:
        """Run an action whenever the file is readable."""
        self._selector.register(file, selectors.EVENT_READ, action)

    def expect(self, file: Any, is_input: bool, is_room: bool) -> None:
        """Let the action of a watched file run when there is input, when there is room for output, both, or neither."""
        wanted = (selectors.EVENT_READ if is_input else 0) | (selectors.EVENT_WRITE if is_room else 0)
        action = self._idle.pop(file, None)
        if action is None:
            try:
                key = self._selector.get_key(file)
            except (KeyError, ValueError):
                return
            if wanted == key.events:
                return
            action = key.data
            self._selector.unregister(file)
        if wanted:
            self._selector.register(file, wanted, action)
        else:
            self._idle[file] = action

    def unwatch(self, file: Any) -> None:
        self._idle.pop(file, None)
        try:
            self._selector.unregister(file)
        except (KeyError, ValueError):
            pass

    def watch_channel(self, channel: Channel, on_message: Callable[[Message], None], on_end: Action) -> None:
        """Hand each message on; call on_end when the peer has gone."""

        def ready() -> None:
            channel.flush()
            messages = channel.receive()
            for message in messages or ():
                self._run(partial(on_message, message))  # a fault with one must not lose the others
            if messages is None:
                on_end()
            else:
                self.update(channel)

        self._selector.register(channel, selectors.EVENT_READ, ready)

    def update(self, channel: Channel) -> None:
        """Wait for room too while the channel has something unsent."""
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if channel.has_unsent else 0)
        try:
            key = self._selector.get_key(channel)
        except (KeyError, ValueError):
            return
        if key.events != wanted:
            self._selector.modify(channel, wanted, key.data)

    def hurry(self, seconds: float) -> None:
        """Look for what comes without sleeping, for so long: an answer due at once is read 0.1 ms sooner."""
        self._hurried_until_s = time.monotonic() + seconds if seconds > 0 else 0.0

    def _is_hurried(self) -> bool:
        """Other threads that have something to do get the processor first."""
        if self._hurried_until_s == 0 or time.monotonic() >= self._hurried_until_s:
            return False
        os.sched_yield()
        return True

    def fail(self, error: Exception) -> None:
        """End the loop with an error."""
        self.failure = self.failure or error

    def run_once(self, max_wait_s: float = 1.0) -> None:
        """Wait for something to happen and do what belongs to it."""
        wait_s = max_wait_s
        if self._timers:
            wait_s = min(wait_s, max(0.0, self._timers[0][0] - time.monotonic()))
        for key, _ in self._selector.select(0.0 if self._is_hurried() else wait_s):
            if self._is_watched(key):
                self._run(key.data)
        now = time.monotonic()
        while self._timers and self._timers[0][0] <= now:
            self._run(heapq.heappop(self._timers)[2].fire)

    def _is_watched(self, key: selectors.SelectorKey) -> bool:
        """False for what an earlier action of the same turn has unwatched, and perhaps closed or given to another."""
        try:
            return self._selector.get_key(key.fileobj).data is key.data
        except (KeyError, ValueError):
            return False

    def close(self) -> None:
        self._selector.close()
        self._waker.close()
        self._wake.close()
