"""Large patches: work that grows in a straight line, checkpoints that hold them, live what offline rendering gives."""

from __future__ import annotations

import mmap
import os
import pickle
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest
from live import Live, assert_same, stereo
from pyengine._core import lib
from rig import Rig
from waiting import wait_until

from pyengine import CommitRefused, Patch, _native, commands
from pyengine.board import Board
from pyengine.commands import Abort, Command, Connect, Create, Delete, Disconnect, SetParam
from pyengine.desk import Desk
from pyengine.limits import MAX_NODES
from pyengine.lineage import Stage
from pyengine.plan import Blueprint
from pyengine.specs import registry

RATE_HZ = 8000  # 64 frames are 8 ms: ten thousand nodes are no burden
N_VOICES = 3333


def voices(first: int, n: int) -> list[Command]:
    """Return what makes n voices of three modules each."""
    made: list[Command] = []
    for i in range(first, first + n):
        made += [Create(f"osc{i}", "simple_sine"), Create(f"env{i}", "adsr"), Create(f"filt{i}", "biquad_filter")]
        made += [Connect(f"osc{i}", f"env{i}"), Connect(f"env{i}", f"filt{i}")]
        made += [SetParam(f"osc{i}", "freq", 100.0 + i * 7 % 900), SetParam(f"osc{i}", "gain", 0.004)]
    return made


def do(desk: Desk, made: list[Command]) -> None:
    for command in made:
        if isinstance(command, SetParam):
            desk.set(command.module_id, command.param, command.value)
        else:
            desk.edit(command)  # type: ignore[arg-type]


def patch_of(n: int) -> Patch:
    desk = Desk(RATE_HZ)
    do(desk, voices(0, n))
    return desk.pending


# ---- work, counted


class Walked(dict[Any, Any]):
    """A dict that counts how often somebody goes through all of it."""

    walks = 0

    def _count(self) -> None:
        type(self).walks += 1

    def __iter__(self) -> Iterator[Any]:
        self._count()
        return super().__iter__()

    def copy(self) -> Any:
        self._count()
        return super().copy()

    def keys(self) -> Any:
        self._count()
        return super().keys()

    def values(self) -> Any:
        self._count()
        return super().values()

    def items(self) -> Any:
        self._count()
        return super().items()


def lines_run(action: Callable[[], object]) -> int:
    """Return how many lines of Python an action runs, each turn of a loop or a comprehension counted."""
    count = 0

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal count
        count += 1
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        action()
    finally:
        sys.settrace(before)
    return count


def test_no_edit_goes_through_the_whole_patch() -> None:
    desk = Desk(RATE_HZ)
    do(desk, voices(0, 100))
    desk.pending._nodes, desk.pending._cables = Walked(desk.pending._nodes), Walked(desk.pending._cables)
    Walked.walks = 0
    do(desk, voices(100, 100))
    do(desk, [Disconnect("osc3", "env3"), Connect("osc3", "filt3.cutoff")])
    assert Walked.walks == 0
    do(desk, [Delete("osc7")])  # the cables of each node are sorted out once
    walks = Walked.walks
    assert walks <= 2
    do(desk, [Delete(f"env{i}") for i in range(50, 100)])
    do(desk, voices(200, 100))
    assert Walked.walks == walks
    do(desk, [Abort()])
    assert len(desk.pending.nodes) == 0


@pytest.mark.parametrize("is_mixed", [False, True], ids=["sources first", "sources last"])
def test_the_work_of_edits_and_of_a_commit_grows_in_a_straight_line(is_mixed: bool) -> None:
    def work(n: int) -> list[int]:
        desk = Desk(RATE_HZ)
        made = voices(0, n)
        if is_mixed:  # filters and envelopes are created before what feeds them
            made.sort(
                key=lambda c: (not isinstance(c, Create), isinstance(c, Create) and c.module_type == "simple_sine")
            )
        steps = [
            lambda: do(desk, made),
            desk.begin,
            lambda: Stage.of(1, desk.candidate or Patch()),
            desk.accept,
            lambda: desk.has_edits,
            lambda: do(desk, [Create("one_more", "simple_sine")]),
            desk.begin,
            desk.accept,
            desk.begin_undo,
        ]
        return [lines_run(step) for step in steps]

    work(1)  # what is only done once
    small, large = np.array(work(50)), np.array(work(200))
    assert (large <= 4.05 * small).all(), (small, large)
    assert large.sum() < 200 * 300 * 7  # of seven commands a voice


def test_a_patch_goes_to_the_worker_in_as_many_messages_as_any_other_and_few_bytes_a_node() -> None:
    small, large = (Stage.of(1, patch_of(n)).build_messages() for n in (10, 1000))
    assert len(small) == len(large)
    assert len(pickle.dumps(large)) < 3000 * 50


# ---- the same bits


def test_ten_thousand_nodes_sound_live_as_they_do_offline(tmp_path: Path) -> None:
    with Live(tmp_path, sample_rate=RATE_HZ) as live:
        made = voices(0, N_VOICES)
        for future in live.engine.submit_bundle(made):
            future.result(60)
        report = live.engine.commit(crossfade_ms=0)
        assert len(report["new"]) == 3 * N_VOICES and report["late_blocks"] == 0
        live.await_redundancy()  # the other slot has joined from a checkpoint
        live.advance(64 * 20)
        patch = patch_of(N_VOICES)
        live.engine.create("one_more", "simple_sine")
        second = live.engine.commit(crossfade_ms=0)
        assert len(second["carried"]) == 3 * N_VOICES and second["new"] == ["one_more"]
        live.await_redundancy()
        live.kill(live.status()["active_slot"])
        live.advance(64 * 20)
        status = live.status()
        x = live.samples()
    assert status["states_diverged"] == status["counters"]["diverged_blocks"] == 0
    assert status["counters"]["frames_underrun"] == 0
    first, then = report["frame"], second["frame"]
    assert x[first:then].any()
    assert_same(x[first:then], stereo(patch, then - first, sample_rate=RATE_HZ))
    more = stereo(patch.copy().create("one_more", "simple_sine"), 64, sample_rate=RATE_HZ)
    assert len(x) - then > 64 * 20 and more.any()


def test_a_report_that_does_not_fit_a_datagram_is_cut_and_says_how_many_there_are(tmp_path: Path) -> None:
    with Live(tmp_path, sample_rate=RATE_HZ, is_recorded=False) as live:
        made = voices(0, N_VOICES)
        for at in range(0, len(made), 150):  # as many answers as wait in a socket
            live.client.send_bundle(made[at : at + 150])
        report = live.commit()
        assert report["n_new"] == 3 * N_VOICES and report["new"][:2] == ["osc0", "env0"]
        assert len(report["new"]) == 100 and report["carried"] == [] and "n_carried" not in report
        assert live.status()["nodes"] == 3 * N_VOICES


# ---- checkpoints of large patches


def test_a_checkpoint_holds_as_many_nodes_of_any_module_as_a_patch_may_have_but_for_those_with_a_line() -> None:
    """Modules that keep a line of samples, in their state or in a memory, reach the limit before: see test_memories."""
    large = set()
    for spec in registry().modules:
        patch = Patch()
        for n in range(16):
            patch.create(f"m{n}", spec.name)
        with Blueprint.of(patch).plan(sample_rate_hz=48000, max_block_frames=64, n_channels=2) as plan:
            assert plan.state_bytes > 0, spec.name
            if plan.state_bytes // 16 * MAX_NODES > _native.Config().checkpoint_bytes:
                large.add(spec.name)
    assert large == {"limiter", "delay", "reverb", "pluck"}


def test_a_patch_that_no_checkpoint_holds_is_refused_with_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = Board._config
    monkeypatch.setattr(Board, "_config", lambda board: replace(config(board), checkpoint_bytes=4096))
    with Live(tmp_path) as live:
        live.engine.create("osc1", "simple_sine")
        frame = live.engine.commit(crossfade_ms=0)["frame"]
        for future in live.engine.submit_bundle(voices(2, 20)):
            future.result(60)
        text = r"its states and memories take \d+ bytes, more than the 4096 that a checkpoint holds; take modules out"
        with pytest.raises(CommitRefused, match=text) as caught:
            live.engine.commit()
        assert caught.value.reason == "invalid"
        live.advance(640)
        x = live.samples()[frame:]
    assert_same(x, stereo(Patch().create("osc1", "simple_sine"), len(x)))


def resident_bytes(segment: _native.Segment) -> int:
    """Return how much memory the segment takes, in all processes together."""
    return os.fstat(segment.fd).st_blocks * 512


def render_faults(pid: int) -> int:
    """Return how many pages the render thread of a worker has found missing."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        if (task / "comm").read_text().strip() == "pe-render":
            minor, major = (int((task / "stat").read_text().rpartition(")")[2].split()[i]) for i in (7, 9))
            return minor + major
    raise AssertionError("there is no render thread")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_checkpoints_take_memory_when_a_patch_needs_it_and_the_render_thread_never_waits_for_it(tmp_path: Path) -> None:
    with Live(tmp_path, sample_rate=RATE_HZ, is_recorded=False) as live:
        segment = live.engine._supervisor.segment  # type: ignore[union-attr]
        idle = resident_bytes(segment)
        assert idle < 6 * segment.config.checkpoint_bytes / 8
        for future in live.engine.submit_bundle(voices(0, N_VOICES)):
            future.result(60)
        pids = [live.pid(slot) for slot in (0, 1)]
        before = [render_faults(pid) for pid in pids]
        live.engine.commit()
        live.await_redundancy()
        for _ in range(4):  # each slot writes both of its places
            live.advance(RATE_HZ // 4)
            standby = 1 - live.status()["active_slot"]
            for slot in (standby, 1 - standby):
                n = [s["counters"]["checkpoints"] for s in live.status()["slots"]]
                segment.request_checkpoint(slot, live.status()["generation"])
                wait_until(lambda slot=slot, n=n: live.status()["slots"][slot]["counters"]["checkpoints"] > n[slot])
        with Blueprint.of(patch_of(N_VOICES)).plan(sample_rate_hz=RATE_HZ, max_block_frames=64, n_channels=2) as plan:
            taken = resident_bytes(segment) - idle
            page = mmap.PAGESIZE  # a page that also holds what comes before the states is there already
            assert 4 * (plan.state_bytes - page) <= taken <= 4 * plan.state_bytes + (1 << 20)
        assert [render_faults(pid) for pid in pids] == before


def test_a_seat_reserves_no_more_than_a_checkpoint_holds() -> None:
    with Rig() as rig:
        segment, most = rig.segment, rig.config.checkpoint_bytes
        before = resident_bytes(segment)
        assert lib.pe_seat_reserve(segment.pointer, 2, most + 1) == lib.PE_TOO_LARGE
        assert lib.pe_seat_reserve(segment.pointer, lib.PE_SEATS, 1) == lib.PE_BAD_ARGUMENT
        assert resident_bytes(segment) == before
        assert lib.pe_seat_reserve(segment.pointer, 2, 0) == lib.PE_OK and resident_bytes(segment) == before
        assert lib.pe_seat_reserve(segment.pointer, 2, 1 << 20) == lib.PE_OK
        assert abs(resident_bytes(segment) - before - (2 << 20)) <= 4 * 65536


def test_making_memory_for_a_checkpoint_changes_nothing_in_it() -> None:
    with Rig() as rig:
        patch = Patch().create("osc1", "simple_sine")
        rig.commit(patch)
        rig.advance(640)
        rig.settle()
        rig.checkpoint(0)
        generation = rig.segment.slot_generation(0)
        image = _native.checkpoint_image(rig.segment, generation)
        assert image and lib.pe_seat_reserve(rig.segment.pointer, 0, 1 << 20) == lib.PE_OK
        assert _native.checkpoint_image(rig.segment, generation) == image


# ---- limits, named


def test_a_patch_beyond_the_limit_of_nodes_is_refused_over_osc_and_from_python(tmp_path: Path) -> None:
    with Live(tmp_path, is_recorded=False) as live:
        made = [Create(f"m{n}", "simple_sine") for n in range(MAX_NODES + 2)]
        results = [future.exception(60) for future in live.engine.submit_bundle(made)]
        assert results[:MAX_NODES] == [None] * MAX_NODES
        for error in results[MAX_NODES:]:
            assert f"{MAX_NODES} nodes, the most it may have; delete some first" in str(error)
        with pytest.raises(Exception, match=f"{MAX_NODES} nodes, the most it may have"):
            live.client.create("one_more", "adsr")
        assert len(live.engine.dump()["pending"]["nodes"]) == MAX_NODES
        live.client.send(commands.Clear())
