"""Waiting for something to become true: the only place where tests sleep."""

from __future__ import annotations

import time
from collections.abc import Callable


def wait_until(predicate: Callable[[], object], timeout_s: float = 10.0, step_s: float = 0.001) -> None:
    """Return once predicate() is true; fail after timeout_s."""
    until = time.monotonic() + timeout_s
    while not predicate():
        assert time.monotonic() < until, f"not within {timeout_s} s: {predicate}"
        time.sleep(step_s)
