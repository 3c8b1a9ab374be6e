"""_native: status to exception, handles that close twice, and what the core refuses."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from modules import shared_object
from pyengine._core import ffi
from pyengine._core import lib as LIB

from pyengine import _native
from pyengine.errors import EngineError, NativeError
from pyengine.specs import registry

ROOT = Path(__file__).resolve().parents[1]
SINE, ADSR, FILTER, CLOCK = (registry()[name].index for name in ("simple_sine", "adsr", "biquad_filter", "clock"))
SMALL = dict(n_commands=1 << 14, n_journal=1024, tap_frames=1024, checkpoint_bytes=4096)


def plan(nodes: Any = ((1, SINE),), cables: Any = (), **more: Any) -> _native.Plan:
    sizes = {"sample_rate_hz": 48000.0, "max_block_frames": 64, "n_channels": 2} | more
    rows = [(*cable, 1.0, 0.0) for cable in cables]
    return _native.Plan([(*node, 0) for node in nodes], rows, **sizes)


def segment(**more: Any) -> _native.Segment:
    return _native.Segment.create(_native.Config(**(SMALL | more)))


# ---- what was built -----------------------------------------------------------------------------------------


def test_a_core_that_was_built_of_other_sources_says_to_build_it_anew(tmp_path: Path) -> None:
    """As behind a `git pull`."""
    shutil.copytree(ROOT / "pyengine", tmp_path / "pyengine")
    (tmp_path / "csrc").mkdir()
    (tmp_path / "csrc" / "api.h").write_text("/* another one */\n")
    command = [sys.executable, "-c", "import pyengine._native"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "was built from other sources" in done.stderr and "pip install -e ." in done.stderr, done
    shutil.rmtree(tmp_path / "csrc")  # installed, and no clone
    assert subprocess.run(command, cwd=tmp_path, check=False).returncode == 0


# ---- status to exception -----------------------------------------------------------------------------------


def test_every_status_has_one_sentence_without_a_period() -> None:
    texts = [_native.strerror(status) for status in range(LIB.PE_STATUS_COUNT)]
    assert len(set(texts)) == len(texts)
    assert all(text and not text.endswith(".") for text in texts)
    assert _native.strerror(999) not in texts


def test_check_raises_what_and_why_with_the_status() -> None:
    _native.check(LIB.PE_OK, "cannot fail")
    with pytest.raises(NativeError, match="cannot do it: ") as caught:
        _native.check(LIB.PE_BUSY, "cannot do it")
    assert caught.value.status == _native.BUSY
    assert isinstance(caught.value, EngineError)


def test_a_module_with_more_outputs_than_a_step_has_room_for_is_refused() -> None:
    registry = ffi.new("PeRegistry **")
    _native.check(LIB.pe_registry_new(registry), "no registry")
    status = LIB.pe_registry_load(registry[0], str(shared_object("wide_module")).encode())
    LIB.pe_registry_free(registry[0])
    assert _native.strerror(status) == _native.strerror(LIB.PE_NOT_LOADABLE)


# ---- plans: what is refused ----------------------------------------------------------------------------------

NAN = float("nan")
BAD_PLANS = [
    (dict(nodes=[(0, SINE)]), LIB.PE_BAD_ARGUMENT),
    (dict(nodes=[(1, SINE), (1, ADSR)]), LIB.PE_BAD_ARGUMENT),
    (dict(nodes=[(1, 999)]), LIB.PE_UNKNOWN_MODULE),
    (dict(cables=[(0, 0, 5, 0, 0)]), LIB.PE_UNKNOWN_NODE),
    (dict(cables=[(5, 0, 0, 0, 0)]), LIB.PE_UNKNOWN_NODE),
    (dict(nodes=[(1, SINE), (2, FILTER)], cables=[(0, 1, 1, 0, 0)]), LIB.PE_BAD_PORT),
    (dict(nodes=[(1, SINE), (2, FILTER)], cables=[(0, 0, 1, 1, 0)]), LIB.PE_BAD_PORT),
    (dict(nodes=[(1, SINE), (2, FILTER)], cables=[(0, 0, 1, 99, 1)]), LIB.PE_BAD_PORT),
    (dict(nodes=[(1, SINE), (2, CLOCK)], cables=[(0, 0, 1, 3, 1)]), LIB.PE_BAD_PORT),  # position is a deed: no cable
    (dict(nodes=[(1, SINE), (2, SINE)], cables=[(0, 0, 1, 0, 0)]), LIB.PE_BAD_PORT),  # a sine has no input
    (dict(nodes=[(1, FILTER), (2, FILTER)], cables=[(0, 0, 1, 0, 0), (1, 0, 0, 0, 0)]), LIB.PE_CYCLE),
    (dict(sample_rate_hz=0), LIB.PE_BAD_ARGUMENT),
    (dict(sample_rate_hz=999.9), LIB.PE_BAD_ARGUMENT),
    (dict(sample_rate_hz=1e9), LIB.PE_BAD_ARGUMENT),
    (dict(sample_rate_hz=NAN), LIB.PE_BAD_ARGUMENT),
    (dict(max_block_frames=0), LIB.PE_BAD_ARGUMENT),
    (dict(max_block_frames=LIB.PE_MAX_BLOCK_FRAMES + 1), LIB.PE_BAD_ARGUMENT),
    (dict(n_channels=0), LIB.PE_BAD_ARGUMENT),
    (dict(n_channels=LIB.PE_MAX_CHANNELS + 1), LIB.PE_BAD_ARGUMENT),
    (dict(nodes=[(n + 1, SINE) for n in range(LIB.PE_MAX_NODES + 1)]), LIB.PE_TOO_LARGE),
    (dict(nodes=[(1, SINE), (2, FILTER)], cables=[(0, 0, 1, 0, 0)] * (LIB.PE_MAX_CABLES + 1)), LIB.PE_TOO_LARGE),
]


@pytest.mark.parametrize(("arguments", "status"), BAD_PLANS, ids=lambda value: str(value)[:60])
def test_a_plan_that_is_wrong_is_refused_with_its_status(arguments: dict[str, Any], status: int) -> None:
    with pytest.raises(NativeError, match="cannot build the plan: ") as caught:
        plan(**arguments)
    assert caught.value.status == status


def test_setting_what_a_plan_does_not_have_is_refused() -> None:
    with plan() as p:
        for handle, param in ((2, 0), (0, 0), (1, 99)):
            with pytest.raises(NativeError, match=f"cannot set parameter {param} of node {handle}"):
                p.set(handle, param, 1.0)
        with pytest.raises(NativeError):
            p.set(1, 0, NAN)


def test_a_value_beyond_the_range_is_clamped() -> None:
    def first(value: float) -> bytes:
        with plan(n_channels=1) as p:
            p.set(1, 1, value)
            out = np.zeros((64, 1), np.float32)
            p.render(_native.commands([]), 0, 64, 64, out)
            return out.tobytes()

    assert first(1e300) == first(float("inf")) == first(16.0)
    assert first(-5.0) == first(-float("inf")) == first(0.0)


@pytest.mark.parametrize(("n_blocks", "block_frames"), [(0, 64), (4097, 64), (1, 0), (1, 65)])
def test_a_warm_up_of_a_wrong_size_is_refused(n_blocks: int, block_frames: int) -> None:
    with plan() as p, pytest.raises(NativeError, match="cannot warm up the plan"):
        p.warm_up(n_blocks, block_frames)


def test_a_warm_up_leaves_no_trace_in_state_or_sound() -> None:
    def sound(is_warm: bool) -> tuple[int, bytes]:
        with plan(nodes=[(1, SINE), (2, ADSR), (3, FILTER)], cables=[(0, 0, 1, 0, 0), (1, 0, 2, 0, 0)]) as p:
            p.set(2, registry()["adsr"].param("gate").index, 0.0)
            before = p.state_hash
            if is_warm:
                result = p.warm_up(8, 64)
                assert result.is_finite and result.n_blocks == 8 and result.max_rms > 0.01  # heard as if open
            assert p.state_hash == before
            out = np.zeros((500, 2), np.float32)
            records = [_native.Record(1, 0, 880.0, frame=0), _native.Record(2, 4, 1.0, frame=100)]
            p.render(_native.commands(records), 2, 500, 64, out)
            return p.state_hash, out.tobytes()

    assert sound(True) == sound(False)


def test_a_warm_up_told_to_stop_ends_after_one_block() -> None:
    stop = _native.Stop()
    stop.set()
    with plan() as p:
        assert p.warm_up(1000, 64, stop).n_blocks == 1


@pytest.mark.parametrize("block_frames", [0, 65])
def test_rendering_in_blocks_beyond_the_plans_is_refused(block_frames: int) -> None:
    with plan() as p, pytest.raises(NativeError, match="cannot render the plan"):
        p.render(_native.commands([]), 0, 64, block_frames, np.zeros((64, 2), np.float32))


# ---- life and death of handles ---------------------------------------------------------------------------------


def test_a_plan_closes_twice_and_is_given_once() -> None:
    p = plan()
    p.close()
    p.close()
    assert p.give() == ffi.NULL
    with plan() as p:
        native = p.give()
        assert native != ffi.NULL
        assert p.give() == ffi.NULL  # the second taker gets nothing to free
        p.close()
        LIB.pe_plan_free(native)


def test_a_plan_that_could_not_be_built_is_collected_without_complaint() -> None:
    p = _native.Plan.__new__(_native.Plan)
    del p


def test_every_handle_closes_twice() -> None:
    s = segment(is_free_running=True)
    worker = _native.Worker(s, 0)
    worker.start(0)
    output = _native.Output(s)
    clock = _native.Clock(output, is_free=True, request_frames=64, priority=0)
    for handle in (clock, clock, output, output, worker, worker, s, s):
        handle.close()


def test_a_segment_outlives_its_descriptor_for_those_that_point_into_it() -> None:
    s = segment()
    output = _native.Output(s)
    s.close()
    assert s.fd == -1
    assert output.process(64) == bytes(64 * 2 * 4)  # nobody plays: silence
    assert s.counters()["callbacks"] == 1
    output.close()


def test_a_refused_plan_is_freed_by_the_worker_and_closes_without_harm() -> None:
    s = segment()
    worker = _native.Worker(s, 0)
    for wrong in (dict(sample_rate_hz=44100.0), dict(max_block_frames=32), dict(n_channels=1)):
        p = plan(**wrong)
        with pytest.raises(NativeError, match="cannot arm the new plan"):
            worker.arm(p, 1, 0)
        p.close()
        with pytest.raises(NativeError, match="cannot join"):
            worker.join(_native.Join(plan(**wrong), 1), 10)
        chain = _native.Join(plan(), 1)
        chain.then(plan(**wrong), 2, 0)
        with pytest.raises(NativeError, match="cannot join"):
            worker.join(chain, 10)
    worker.close()
    s.close()


def test_a_second_start_is_refused_while_the_first_runs() -> None:
    s = segment(is_free_running=True)
    worker = _native.Worker(s, 0)
    try:
        worker.start(0)
        with pytest.raises(NativeError, match="cannot start the render thread") as caught:
            worker.start(0)
        assert caught.value.status == _native.BUSY
    finally:
        worker.close()
        s.close()


PRELUDE = f"""
import numpy as np
from pyengine import _native as n
plan = n.Plan([(1, 0, 0)], [], sample_rate_hz=48000, max_block_frames=64, n_channels=2)
segment = n.Segment.create(n.Config(is_free_running=True, **{SMALL!r}))
worker, output = n.Worker(segment, 0), n.Output(segment)
clock = n.Clock(output, is_free=True, request_frames=64, priority=0)
clock.close()
output.close()
"""
AFTER_CLOSE = [
    "plan.close(); plan.set(1, 0, 1.0)",
    "plan.close(); plan.warm_up(1, 64)",
    "plan.close(); plan.render(n.commands([]), 0, 8, 8, np.zeros((8, 2), np.float32))",
    "plan.close(); plan.state_bytes",
    "plan.give(); plan.state_hash",
    "plan.close(); worker.arm(plan, 1, 0)",
    "plan.close(); n.Join(plan, 1)",
    "join = n.Join(plan, 1); join.then(plan, 2, 0)",
    "join = n.Join(plan, 1); join.close(); join.load(segment, 1)",
    "join = n.Join(plan, 1); join.close(); join.restart(segment, 0, 0)",
    "join = n.Join(plan, 1); join.give(); worker.join(join, 10)",
    "worker.close(); worker.join(n.Join(plan, 1), 10)",
    "worker.close(); worker.park(10)",
    "worker.close(); worker.arm(plan, 1, 0)",
    "worker.close(); worker.start(0)",
    "worker.close(); worker.collect()",
    "output.process(64)",
    "output.frames",
    "n.Clock(output, is_free=True, request_frames=64, priority=0)",
    "clock.allow(64)",
]
TOO_SMALL = [
    "plan.render(n.commands([]), 0, 100_000, 64, np.zeros((8, 2), np.float32))",
    "plan.render(n.commands([]), 0, 8, 8, np.zeros((8, 2), np.float64))",
    "plan.render(n.commands([]), 5, 8, 8, np.zeros((8, 2), np.float32))",
]


def after_prelude(use: str) -> subprocess.CompletedProcess[str]:
    program = f"{PRELUDE}\ntry:\n    {use}\nexcept n.NativeError as error:\n    print('refused:', error)\n"
    command = [sys.executable, "-W", "ignore", "-c", program]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)


def test_what_the_next_test_starts_from_is_sound() -> None:
    done = after_prelude("print(plan.state_bytes > 0)")
    assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr


@pytest.mark.parametrize("use", [*AFTER_CLOSE, *TOO_SMALL])
def test_use_after_close_and_sizes_that_do_not_fit_are_errors_and_no_crash(use: str) -> None:
    done = after_prelude(use)
    assert done.returncode == 0 and done.stdout.startswith("refused: "), (done.returncode, done.stderr[-300:])


# ---- bad configurations ------------------------------------------------------------------------------------------

BAD_CONFIGS = [
    dict(sample_rate_hz=0.0),
    dict(sample_rate_hz=NAN),
    dict(sample_rate_hz=float("inf")),
    dict(sample_rate_hz=999.0),
    dict(block_frames=0),
    dict(block_frames=LIB.PE_MAX_BLOCK_FRAMES + 1),
    dict(n_channels=0),
    dict(n_channels=LIB.PE_MAX_CHANNELS + 1),
    dict(lead_blocks=0),
    dict(lead_blocks=1000),
    dict(n_commands=1000),
    dict(n_commands=2),
    dict(n_journal=1000),
    dict(n_journal=512),
    dict(tap_frames=1000),
    dict(tap_frames=0),
    dict(checkpoint_bytes=(1 << 30) + 1),
]


@pytest.mark.parametrize("wrong", BAD_CONFIGS, ids=str)
def test_a_configuration_out_of_range_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(NativeError, match="cannot lay out the shared memory: .*outside its range"):
        segment(**wrong)


def test_memory_that_is_no_segment_is_refused() -> None:
    for n_bytes, status in ((16, LIB.PE_BAD_SIZE), (1 << 20, LIB.PE_BAD_MAGIC)):
        fd = _native._anonymous_file(n_bytes)
        try:
            with pytest.raises(NativeError, match="cannot use the shared memory") as caught:
                _native.Segment.attach(fd)
            assert caught.value.status == status
        finally:
            os.close(fd)


def test_a_segment_of_another_layout_version_or_cut_short_is_refused() -> None:
    s = segment()
    size = os.fstat(s.fd).st_size
    try:
        os.ftruncate(s.fd, size // 2 // 4096 * 4096)
        with pytest.raises(NativeError) as caught:
            _native.Segment.attach(s.fd)
        assert caught.value.status == LIB.PE_BAD_SIZE
    finally:
        os.ftruncate(s.fd, size)
        s.close()


def test_two_maps_of_one_segment_see_the_same() -> None:
    s = segment()
    other = _native.Segment.attach(os.dup(s.fd))
    assert other.config == s.config
    assert s.send([_native.Record(1, 0, 1.0)]) == 1
    assert other.newest == 1
    other.close()
    s.close()


@pytest.mark.parametrize("seat", [_native.N_SEATS, 1000])
def test_a_seat_that_does_not_exist_is_refused(seat: int) -> None:
    s = segment()
    with pytest.raises(NativeError, match="cannot make the worker"):
        _native.Worker(s, seat)
    s.close()


def test_a_slot_has_its_own_seat_until_it_is_given_another() -> None:
    s = segment()
    assert [s.seat(slot) for slot in (0, 1)] == [0, 1]
    s.set_seat(0, 2)
    assert [s.seat(slot) for slot in (0, 1)] == [2, 1]
    s.close()


def test_a_join_closes_twice_and_frees_the_plans_that_nobody_took() -> None:
    join = _native.Join(plan(), 1)
    join.then(plan(), 2, 100)
    join.close()
    join.close()
    assert join.give() == ffi.NULL


def test_a_join_that_could_not_be_made_is_collected_without_complaint() -> None:
    p = plan()
    p.close()
    with pytest.raises(NativeError, match="this plan is closed"):
        _native.Join(p, 1)
    join = _native.Join.__new__(_native.Join)
    del join


def test_a_worker_closed_before_it_took_its_join_frees_it() -> None:
    s = segment(is_free_running=True)
    worker = _native.Worker(s, 0)
    with pytest.raises(NativeError) as caught:
        worker.join(_native.Join(plan(), 1), 0)  # its render thread does not run: nobody takes it
    assert caught.value.status == _native.BUSY
    with pytest.raises(NativeError) as caught:
        worker.join(_native.Join(plan(), 1), 0)  # one at a time
    assert caught.value.status == _native.BUSY
    worker.close()
    s.close()


def test_counters_have_a_name_each() -> None:
    s = segment()
    assert len(s.counters()) == len(_native.COUNTER_NAMES) == len(set(_native.COUNTER_NAMES))
    assert set(s.counters()) == set(_native.COUNTER_NAMES)
    assert all(s.counter(name) == value for name, value in s.counters().items())
    assert set(s.slot_counters(0)) == set(_native.SLOT_COUNTER_NAMES)
    s.close()


# ---- commands ------------------------------------------------------------------------------------------------------


def test_records_become_commands_field_by_field() -> None:
    records = [
        _native.Record(7, 3, 0.5, frame=1 << 40, is_immediate=True),
        _native.Record(8, 0, -1.0),
        _native.Record(0, 0, 0.0, switch_to=9),
        _native.Record(0, 0, 0.0, is_mark=True),
    ]
    a, b, c, d = _native.commands(records)
    assert (a.kind, a.handle, a.param, a.value, a.frame) == (LIB.PE_COMMAND_PARAM, 7, 3, 0.5, 1 << 40)
    assert (a.flags, b.flags, b.frame) == (LIB.PE_COMMAND_IMMEDIATE, 0, -1)
    assert (c.kind, c.arg) == (LIB.PE_COMMAND_SWITCH, 9)
    assert d.kind == LIB.PE_COMMAND_MARK
    assert len(_native.commands([])) == 0
