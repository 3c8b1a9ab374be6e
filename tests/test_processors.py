"""The two renderers keep to different processors."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from live import Live
from waiting import wait_until

from pyengine.processors import halves, keeping_to

needs_two = pytest.mark.skipif(
    not hasattr(os, "sched_getaffinity") or len(os.sched_getaffinity(0)) < 2, reason="one processor, or no way to ask"
)


def test_whole_cores_are_dealt_out_in_turn() -> None:
    cores = {0: "0,4", 4: "0,4", 1: "1,5", 5: "1,5", 2: "2,6", 6: "2,6", 3: "3,7", 7: "3,7"}
    assert halves(range(8), cores) == ({0, 2, 4, 6}, {1, 3, 5, 7})


def test_two_threads_of_one_core_are_still_two() -> None:
    assert halves([0, 1], {0: "0-1", 1: "0-1"}) == ({0}, {1})


def test_processors_of_unknown_cores_count_as_cores() -> None:
    assert halves([3, 9], {}) == ({3}, {9})


def test_one_processor_is_not_divided() -> None:
    assert halves([5], {5: "5"}) is None


@given(st.sets(st.integers(0, 300), min_size=2), st.integers(1, 8))
def test_halves_are_apart_and_together_all(processors: set[int], n_threads: int) -> None:
    cores = {p: str(p // n_threads) for p in processors}
    found = halves(sorted(processors), cores)
    assert found is not None and all(found) and not found[0] & found[1] and found[0] | found[1] == processors
    if len(set(cores.values())) > 1:
        assert not {cores[p] for p in found[0]} & {cores[p] for p in found[1]}


@needs_two
def test_processors_that_are_gone_leave_a_thread_where_it_may_be() -> None:
    before = os.sched_getaffinity(0)
    with keeping_to(frozenset({100_000})) as kept:
        assert kept == before
    assert os.sched_getaffinity(0) == before


def processors_of_render_thread(pid: int) -> set[int]:
    """What the kernel says of it."""
    (thread,) = [t for t in Path(f"/proc/{pid}/task").iterdir() if (t / "comm").read_text().strip() == "pe-render"]
    return os.sched_getaffinity(int(thread.name))


@needs_two
def test_render_threads_keep_apart_and_so_does_the_one_that_comes_after_a_death(tmp_path: Path) -> None:
    allowed = os.sched_getaffinity(0)
    with Live(tmp_path) as live:
        live.client.create("osc1", "simple_sine")
        live.commit()
        for _ in range(2):
            live.await_redundancy()
            slots = live.status()["slots"]
            first, second = (processors_of_render_thread(slot["pid"]) for slot in slots)
            assert first and second and not first & second and first | second == allowed
            assert [set(slot["processors"]) for slot in slots] == [first, second]
            assert all(os.sched_getaffinity(slot["pid"]) == allowed for slot in slots)  # only what renders is kept
            os.kill(slots[0]["pid"], signal.SIGKILL)
            live.advance(20_000)


@needs_two
def test_a_worker_that_renders_alone_runs_anywhere(tmp_path: Path) -> None:
    with Live(tmp_path, standby="cold") as live:
        wait_until(lambda: all("processors" in slot for slot in live.status()["slots"]))
        slots = live.status()["slots"]
        assert [slot["processors"] for slot in slots] == [[], []]
        allowed = os.sched_getaffinity(0)
        assert all(processors_of_render_thread(slot["pid"]) == allowed for slot in slots)
