"""kill -9 of anything at any time. (That the states survive the death of both workers is not asked for yet.)"""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from live import Live, assert_same, chain, same_bits, smallest_peak, stereo, tone
from test_commit import add, begin_slow_commit, play_tone, submit
from waiting import wait_until

from pyengine import CommitRefused, Engine, Patch, _native
from pyengine.commands import Commit, SetParam
from pyengine.errors import EngineError, WorkerError

WHOLE = 480  # 10 ms: a window holds a period of 440 Hz that no fade of 5 ms (which may cancel) touches


def children() -> set[int]:
    """Return the processes that this one has started and not yet buried."""
    found: set[int] = set()
    for task in Path("/proc/self/task").iterdir():
        with suppress(FileNotFoundError):  # a thread that has ended meanwhile
            found |= {int(pid) for pid in (task / "children").read_text().split()}
    return found


def shared_names() -> set[str]:
    """Return the names in shared memory, but for those of audio servers that other tests talk to."""
    return {name for name in os.listdir("/dev/shm") if not name.startswith(("jack", "pulse"))}


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """No test may leave a process or a name in shared memory."""
    if not Path("/proc/self/task").exists():
        pytest.skip("there is no /proc on this machine")
    shared, processes = shared_names(), children()
    yield
    wait_until(lambda: children() <= processes)
    assert shared_names() <= shared


def play_chain(live: Live) -> int:
    patch = chain(3)
    for node in patch.nodes.values():
        live.client.create(node.id, node.type)
    for cable in patch.cables:
        live.client.connect(*patch.cable_text(cable))
    frame = int(live.commit(crossfade_ms=0)["frame"])
    live.await_redundancy()
    return frame


# ---- one worker


@pytest.mark.parametrize("victim", ["active", "standby"])
def test_the_death_of_one_worker_changes_no_bit_of_the_sound(live: Live, victim: str) -> None:
    first = play_chain(live)
    for n in range(6):
        live.advance(1000 + 333 * n)
        live.await_redundancy()
        active = live.status()["active_slot"]
        live.kill(active if victim == "active" else 1 - active)
    live.await_redundancy()
    live.advance(4800)
    status = live.status()
    x = live.samples()
    assert_same(x[first:], stereo(chain(3), len(x) - first))
    assert status["worker_deaths"] == 6
    counters = status["counters"]
    assert counters["frames_underrun"] == counters["declicks"] == counters["fallbacks"] == 0


def test_deaths_while_the_clock_runs_free_and_settings_arrive_change_no_bit(live: Live) -> None:
    first = play_tone(live)
    rng = random.Random(3)
    at, events = live.engine.frames + 200_000, []
    for _ in range(200):  # scheduled: part of the checkpoint that a successor starts from
        at += rng.randrange(1, 3000)
        freq = float(rng.randrange(100, 4000))
        live.send_at(at, SetParam("osc1", "freq", freq))
        events.append(((at - first) / 48000, ("mod", "osc1", "freq", freq)))
    for n in range(5):
        live.advance(rng.randrange(100_000))
        live.await_redundancy()
        os.kill(live.pid(n % 2), signal.SIGKILL)  # and the clock goes on at once
    live.advance(20_000)
    live.await_redundancy()
    live.advance(at - live.engine.frames + 4800 if at > live.engine.frames else 4800)
    x = live.samples()
    counters = live.counters()
    assert live.status()["worker_deaths"] == 5
    assert_same(x[first:], stereo(tone(), len(x) - first, events=events))
    assert counters["frames_underrun"] == 0


def test_a_worker_that_stands_still_counts_as_dead_and_changes_no_bit(live: Live) -> None:
    first = play_chain(live)
    pid = live.pid(live.status()["active_slot"])
    os.kill(pid, signal.SIGSTOP)
    live.advance(4800)  # the other one has the blocks
    wait_until(lambda: live.status()["worker_deaths"] == 1, 20)
    live.await_redundancy()
    live.advance(4800)
    x = live.samples()
    assert_same(x[first:], stereo(chain(3), len(x) - first))
    assert not is_running(pid)


def test_the_next_commit_after_a_death_waits_for_the_successor_and_happens(live: Live) -> None:
    play_tone(live)
    live.kill(1 - live.status()["active_slot"])
    live.client.create("env1", "adsr")
    live.client.connect("osc1", "env1")
    assert live.commit(timeout_ms=20_000)["carried"] == ["osc1"]


# ---- both


def onset(x: Any, offline: Any, begin: int) -> int:
    """Return the frame from which the recording is the patch from its first frame on, but for a declick of 5 ms."""
    for frame in range(begin // 64 * 64, len(x) - 960, 64):
        if same_bits(x[frame + 240 : frame + 960], offline[240:960]):
            return frame
    raise AssertionError("the patch was not heard anew")


def test_after_the_death_of_both_workers_the_patch_is_committed_anew(tmp_path: Path) -> None:
    with Live(tmp_path, crossfade_ms=0.0) as live:
        play_tone(live)
        live.client.set("osc1", "freq", 750.0)
        live.client.create("osc2", "simple_sine")  # a pending edit
        live.client.sync()
        live.advance(960)
        died = live.engine.frames
        for pid in [live.pid(0), live.pid(1)]:
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: live.status()["worker_deaths"] == 2)
        wait_until(lambda: live.status()["generation"] >= 2, 30)
        live.await_redundancy()
        live.advance(9600)
        dump = live.client.dump()
        status = live.status()
        x = live.samples()
    offline = stereo(tone(750.0), len(x))
    frame = onset(x, offline, died)
    assert_same(x[frame + 240 :], offline[240 : len(x) - frame])
    assert status["nodes"] == 1 and status["counters"]["frames_underrun"] == 0
    assert [node["id"] for node in dump["pending"]["nodes"]] == ["osc1", "osc2"]
    assert dump["committed"]["nodes"] == [{"id": "osc1", "type": "simple_sine", "params": {"freq": 750}}]


def test_a_patch_that_kills_every_renderer_is_given_up_and_the_engine_goes_on(tested: Live) -> None:
    add(tested, "crash1", "test_crash")
    tested.commit()
    tested.await_redundancy()
    tested.client.set("crash1", "armed", 1.0)
    wait_until(lambda: tested.advance(64) and tested.status()["nodes"] == 0, 60, step_s=0.01)
    dump = tested.client.dump()
    assert [node["id"] for node in dump["pending"]["nodes"]] == ["crash1"]
    tested.client.clear()
    tested.client.create("osc1", "simple_sine")
    assert tested.commit(timeout_ms=20_000)["new"] == ["osc1"]
    tested.await_redundancy()
    tested.advance(9600)
    assert smallest_peak(tested.samples()[-4800:, 0], 110) > 0.19


@pytest.mark.parametrize(
    ("is_running_free", "end"),
    [(False, signal.SIGKILL), (True, signal.SIGKILL), (True, signal.SIGSTOP)],
)
def test_the_new_patch_plays_on_when_its_worker_dies_or_stalls_right_behind_the_swap(
    tmp_path: Path, is_running_free: bool, end: signal.Signals
) -> None:
    """The other slot still has the patch before. It joins from the dead one's checkpoint if there is one already,
    and the states are saved; otherwise the patch is committed anew, from its first frame.
    """
    with Live(tmp_path, crossfade_ms=0.0) as live:
        play_tone(live)
        supervisor: Any = live.engine._supervisor
        on_swap: Callable[..., None] = supervisor._on_swap

        def then_kill(event: Any) -> None:
            supervisor._on_swap = on_swap
            on_swap(event)
            worker = supervisor.workers[supervisor.active.index]
            os.kill(worker.pid, end)
            if end is signal.SIGKILL:
                worker.process.wait()
                supervisor._on_gone(worker)  # else the callback finds it first

        supervisor._on_swap = then_kill
        live.client.create("env1", "adsr")
        live.client.connect("osc1", "env1")
        if is_running_free:
            live.engine.run_free()
        died = live.commit(timeout_ms=20_000)["frame"]
        wait_until(lambda: live.status()["worker_deaths"] == 1, 20)
        live.await_redundancy()
        if not is_running_free:
            live.advance(9600)
        live.client.sync()
        status = live.status()
        x = live.samples()
    assert (status["nodes"], status["worker_deaths"]) == (2, 1)
    assert status["counters"]["frames_underrun"] == 0 and status["commits_refused"] == {}
    assert np.array_equal(x[:, 0], x[:, 1])
    settled = x[-2400:, 0]  # 50 ms at the envelope's sustain of 0.7, 22 periods of the tone
    assert abs(float(np.sqrt(np.mean(settled.astype(float) ** 2))) - 0.2 * 0.7 / np.sqrt(2)) < 1e-4
    if status["generation"] >= 3:
        offline = stereo(chain(2), len(x))
        frame = onset(x, offline, died + 64)
        assert_same(x[frame + 240 :], offline[240 : len(x) - frame])


# ---- in the middle of a commit


@pytest.mark.parametrize("victim", ["active", "standby"])
def test_a_death_while_a_commit_primes_refuses_it_and_changes_no_bit(tested: Live, victim: str) -> None:
    first = play_tone(tested)
    future = begin_slow_commit(tested)
    active = tested.status()["active_slot"]
    tested.kill(active if victim == "active" else 1 - active)
    with pytest.raises(CommitRefused) as caught:
        future.result(30)
    assert caught.value.reason == "worker died" and "priming" in caught.value.detail
    tested.await_redundancy()
    tested.advance(4800)
    status = tested.status()
    assert status["nodes"] == 1 and status["has_pending_edits"]
    x = tested.samples()
    assert_same(x[first:], stereo(tone(), len(x) - first))
    assert status["counters"]["declicks"] == 0


def kill_when_primed(live: Live, victim: str) -> None:
    """Let a worker die in the instant in which the SWITCH record has gone out."""
    supervisor: Any = live.engine._supervisor
    on_primed: Callable[..., None] = supervisor._on_primed

    def then_kill(slot: int, message: dict[str, Any]) -> None:
        on_primed(slot, message)
        os.kill(supervisor.workers[slot if victim == "standby" else 1 - slot].pid, signal.SIGKILL)
        supervisor._on_primed = on_primed

    supervisor._on_primed = then_kill


@pytest.mark.parametrize("victim", ["active", "standby"])
def test_a_death_while_the_switch_is_under_way_leaves_the_old_patch_or_the_new_one(tmp_path: Path, victim: str) -> None:
    outcomes = set()
    with Live(tmp_path) as live:
        first = play_tone(live)
        for n in range(6):
            nodes = live.status()["nodes"]
            kill_when_primed(live, victim)
            live.client.create(f"x{n}", "biquad_filter")  # a filter with no input: silent, changes no sound
            try:
                live.commit(timeout_ms=20_000)
                outcomes.add("happened")
                nodes += 1
            except CommitRefused as refused:
                assert refused.reason in ("worker died", "late")
                outcomes.add("refused")
                live.client.delete(f"x{n}")
            wait_until(lambda deaths=n + 1: live.status()["worker_deaths"] >= deaths)  # type: ignore[misc]
            live.await_redundancy()
            assert live.status()["nodes"] == nodes
            live.advance(640)
        x = live.samples()
        counters = live.counters()
    assert outcomes <= {"happened", "refused"} and counters["frames_underrun"] == 0
    assert smallest_peak(x[first + 100 :, 0], WHOLE) > 0.15  # never an empty patch
    if not counters["declicks"]:
        assert_same(x[first:], stereo(tone(), len(x) - first))


def test_deaths_at_any_time_of_any_commit_never_leave_an_empty_patch(live: Live) -> None:
    first = play_tone(live)
    rng = random.Random(11)
    for n in range(12):
        live.client.create(f"x{n}", "biquad_filter")
        future = submit(live, Commit(timeout_ms=20_000))
        for _ in range(rng.randrange(4)):
            live.status()  # some time goes by
        os.kill(live.pid(rng.randrange(2)), signal.SIGKILL)
        try:
            future.result(30)
        except CommitRefused as refused:
            assert refused.reason in ("worker died", "late", "no standby")
            live.client.abort()
        wait_until(lambda deaths=n + 1: live.status()["worker_deaths"] >= deaths)  # type: ignore[misc]
        live.await_redundancy()
        live.advance(256)
    counters = live.counters()
    x = live.samples()
    assert counters["frames_underrun"] == 0
    assert smallest_peak(x[first + 100 :, 0], WHOLE) > 0.15
    assert "osc1" in [node["id"] for node in live.client.dump()["committed"]["nodes"]]


# ---- at the start and at the end


def test_a_worker_that_cannot_start_is_told_clearly_and_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _ = Patch()  # this process has its registry: it is the workers that fail
    monkeypatch.setenv(_native.MODULES_VARIABLE, str(tmp_path / "nothing.so"))
    with pytest.raises(WorkerError, match=r"slot [01] ended with code 1 before it was ready"):
        Engine("free")


def test_modules_that_cannot_be_loaded_are_named(more_modules: None, tmp_path: Path) -> None:
    os.environ[_native.MODULES_VARIABLE] = str(tmp_path / "nothing.so")
    _native._registry.cache_clear()
    with pytest.raises(EngineError, match=r"nothing\.so.*PYENGINE_MODULES"):
        Engine("free").create("osc1", "simple_sine")


HOST = """
import sys
sys.path[:] = {path!r}
from pyengine import Engine
engine = Engine({device!r}, osc_port=0, recordings={folder!r})
print(engine.osc_port, *[slot["pid"] for slot in engine.status()["slots"]], flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("device", ["none", "free"])
@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGTERM, None])
def test_when_the_supervisor_s_process_ends_its_workers_end_and_its_port_is_free(
    device: str, ending: signal.Signals | None, tmp_path: Path
) -> None:
    """None: the program just ends, and the engine was not closed."""
    host = subprocess.Popen(
        [sys.executable, "-c", HOST.format(path=sys.path, device=device, folder=str(tmp_path))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with host:
        assert host.stdin and host.stdout
        port, *pids = map(int, host.stdout.readline().split())
        assert all(map(is_running, pids))
        if ending is None:
            host.stdin.close()
        else:
            host.send_signal(ending)
        host.wait(30)
        wait_until(lambda: not any(map(is_running, pids)), 10)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
            free.bind(("127.0.0.1", port))


def test_closing_an_engine_ends_its_workers_and_a_second_time_does_no_harm() -> None:
    engine = Engine("free")
    pids = [slot["pid"] for slot in engine.status()["slots"]]
    engine.close()
    engine.close()
    assert not any(map(is_running, pids))


def test_an_engine_whose_workers_stand_still_closes_all_the_same() -> None:
    engine = Engine("free")
    pids = [slot["pid"] for slot in engine.status()["slots"]]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    engine.close()
    assert not any(map(is_running, pids))
