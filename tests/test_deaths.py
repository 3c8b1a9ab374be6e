"""kill -9 of anything at any time: the sound, its states and the commit on its way."""

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
from live import Live, assert_same, chain, frequency_hz, rms, smallest_peak, stereo, tone
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


def test_there_is_always_a_worker_in_reserve_and_a_slot_gets_it(live: Live) -> None:
    play_tone(live)
    wait_until(lambda: live.status()["is_reserve_ready"], 20)
    live.kill(1 - live.status()["active_slot"])
    live.await_redundancy()
    wait_until(lambda: live.status()["is_reserve_ready"], 20)
    assert live.status()["worker_deaths"] == 1


def test_the_worker_in_reserve_is_replaced_when_it_dies(live: Live) -> None:
    supervisor: Any = live.engine._supervisor
    play_tone(live)
    wait_until(lambda: live.status()["is_reserve_ready"], 20)
    pid = supervisor.crew.reserves[0].pid
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: live.status()["is_reserve_ready"] and pid not in [w.pid for w in supervisor.crew.reserves], 20)
    assert live.status()["worker_deaths"] == 0 and live.status()["is_redundant"]


class Unkillable:
    """Stands for a process that is stuck in the kernel: a kill is not confirmed until `let_go`."""

    def __init__(self, worker: Any) -> None:
        self._worker, self.process = worker, worker.process
        worker.process = self
        self._is_stuck = True

    pid = property(lambda self: self.process.pid)

    def poll(self) -> int | None:
        return None if self._is_stuck else self.process.poll()

    def kill(self) -> None:
        pass

    def wait(self, timeout_s: float | None = None) -> int:
        return int(self.process.wait(timeout_s))

    def let_go(self) -> None:
        self._is_stuck = False
        self.process.kill()
        self._worker.process = self.process


def test_a_stopped_worker_that_wakes_up_after_it_was_replaced_disturbs_nothing(tmp_path: Path) -> None:
    """Its kill is held back, as when the kernel does not let it go: its successor has the spare seat."""
    with Live(tmp_path, stall_ms=300) as live:
        supervisor: Any = live.engine._supervisor
        first = play_chain(live)
        slot = live.status()["active_slot"]
        old = supervisor.crew.workers[slot]
        os.kill(old.pid, signal.SIGSTOP)
        stuck = Unkillable(old)
        live.advance(9600)
        live.client.set("osc1", "freq", 550.0)
        wait_until(lambda: live.status()["worker_deaths"] == 1, 20)
        live.await_redundancy()
        assert live.status()["slots"][slot]["seat"] == 2
        live.advance(9600)
        os.kill(stuck.pid, signal.SIGCONT)  # it renders on, in its own seat, from where it stood
        for _ in range(20):
            live.advance(960)
        assert live.status()["is_redundant"] and is_running(stuck.pid)
        stuck.let_go()
        wait_until(lambda: not is_running(stuck.pid))
        live.kill(1 - slot)
        live.await_redundancy()
        at = live.client.sync()["frames"]
        live.advance(4800)
        x = live.samples()
        status = live.status()
    changed = np.flatnonzero((x[first:] != stereo(chain(3), len(x) - first)).any(axis=1))[0]
    assert changed < at  # the setting; up to there, and from there on, it is what it should be
    whole = [n for n in range(changed // 64 * 64, 0, -64)][0] / 48000
    events = [(whole, ("mod", "osc1", "freq", 550.0))]
    assert_same(x[first:], stereo(chain(3), len(x) - first, events=events))
    assert status["counters"]["diverged_blocks"] == status["states_diverged"] == 0


# ---- both


def kill_both(live: Live) -> None:
    deaths = live.status()["worker_deaths"]
    for pid in [live.pid(0), live.pid(1)]:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: live.status()["worker_deaths"] == deaths + 2)


def test_the_death_of_both_workers_costs_time_and_no_state(tmp_path: Path) -> None:
    """On the free-running clock not even time: it waits for the block at which the sound stopped."""
    with Live(tmp_path) as live:
        first = play_chain(live)
        frames, events = [], []
        for n in range(8):
            live.advance(700 + 400 * n)
            at, freq = live.engine.frames + 3000, 300.0 + 50 * n
            live.send_at(at, SetParam("osc1", "freq", freq))  # waits in the schedule while they die
            events.append(((at - first) / 48000, ("mod", "osc1", "freq", freq)))
            live.client.create(f"x{n}", "simple_sine")  # a pending edit
            kill_both(live)
            frames.append(live.engine.frames)
            live.await_redundancy()
        live.advance(9600)
        status, dump = live.status(), live.client.dump()
        x = live.samples()
    assert_same(x[first:], stereo(chain(3), len(x) - first, events=events))
    assert status["worker_deaths"] == 16 and status["restarts"] == 0 and status["nodes"] == 3
    assert status["counters"]["frames_underrun"] == 0
    assert len(dump["pending"]["nodes"]) == 11 and len(dump["committed"]["nodes"]) == 3


# ---- a patch that kills


def test_a_command_that_kills_both_workers_is_skipped_and_the_patch_lives_on(
    tested: Live, caplog: pytest.LogCaptureFixture
) -> None:
    """The second to die is the other one, or, while that is not known to be dead, who joins in place of the first."""
    add(tested, "osc1", "simple_sine")
    add(tested, "crash1", "test_crash", level=0.0)
    first = tested.commit(crossfade_ms=0)["frame"]
    tested.await_redundancy()
    tested.advance(24_000)  # there is a checkpoint
    tested.client.set("crash1", "armed", 1.0)
    wait_until(lambda: tested.advance(64) and tested.status()["restarts"] == 1, 60, step_s=0.01)
    tested.await_redundancy()
    tested.advance(9600)
    status, dump = tested.status(), tested.client.dump()
    x = tested.samples()
    gone = [record.getMessage() for record in caplog.records if "worker gone" in record.getMessage()]
    assert status["nodes"] == 2 and status["worker_deaths"] == len(gone)
    assert sum(": died of SIGSEGV in node 'crash1'" in text for text in gone) == 2
    assert {text[text.index("slot=") :][:6] for text in gone} == {"slot=0", "slot=1"}
    assert status["last_fault"]["node"] == "crash1" and "SIGSEGV" in status["last_fault"]["cause"]
    assert {n["id"]: n["params"] for n in dump["committed"]["nodes"]}["crash1"]["armed"] == 0
    assert smallest_peak(x[first + 480 :, 0], WHOLE) > 0.15  # the tone is there all the time


def test_a_patch_that_goes_on_killing_gives_way_to_the_one_before(tested: Live) -> None:
    """Its states are what kills: they are in the checkpoint."""
    play_tone(tested)
    add(tested, "crash1", "test_crash_soon", level=0.0, blocks=2000.0)
    tested.commit(crossfade_ms=0)
    tested.await_redundancy()
    wait_until(lambda: tested.advance(6400) and tested.status()["restarts"] >= 2, 60, step_s=0.001)
    tested.await_redundancy()
    before = tested.engine.frames
    tested.advance(9600)
    dump, status = tested.client.dump(), tested.status()
    assert [n["id"] for n in dump["committed"]["nodes"]] == ["osc1"]
    assert [n["id"] for n in dump["pending"]["nodes"]] == ["osc1", "crash1"]
    assert smallest_peak(tested.samples()[before:, 0], WHOLE) > 0.15
    assert status["restarts"] == 2 and status["has_pending_edits"]
    tested.client.delete("crash1")
    tested.client.create("env1", "adsr")
    assert tested.commit()["new"] == ["env1"]


def test_a_patch_that_kills_and_has_none_before_it_ends_in_silence_and_the_engine_goes_on(tested: Live) -> None:
    add(tested, "crash1", "test_crash_soon", blocks=500.0)
    tested.commit()
    tested.await_redundancy()
    wait_until(lambda: tested.advance(6400) and tested.status()["nodes"] == 0, 60, step_s=0.001)
    tested.await_redundancy()
    assert [node["id"] for node in tested.client.dump()["pending"]["nodes"]] == ["crash1"]
    tested.client.clear()
    tested.client.create("osc1", "simple_sine")
    assert tested.commit()["new"] == ["osc1"]
    tested.await_redundancy()
    tested.advance(9600)
    assert smallest_peak(tested.samples()[-4800:, 0], 110) > 0.19


# ---- on probation


@pytest.fixture
def probing(more_modules: None, tmp_path: Path) -> Iterator[Live]:
    """An engine that has the test modules, and on which a probation lasts until the next commit."""
    with Live(tmp_path, probation_ms=60_000) as live:
        first = play_tone(live, await_redundancy=False)
        live.client.create("filt1", "biquad_filter")  # silent: it changes no sound
        live.commit(crossfade_ms=0)  # ends the probation of the first
        live.first = first  # type: ignore[attr-defined]
        yield live


def test_while_a_patch_is_on_probation_the_old_slot_renders_the_one_before(probing: Live) -> None:
    status = probing.status()
    states = [slot["state"] for slot in status["slots"]]
    assert sorted(states) == ["active", "probation"] and status["is_on_probation"] and not status["is_redundant"]
    assert sorted(slot["generation"] for slot in status["slots"]) == [1, 2]
    probing.client.create("filt2", "biquad_filter")
    assert probing.commit(crossfade_ms=0)["generation"] == 3
    # A slot that gets no processor for 20 ms is bridged by the other one, with the patch before.
    wait_until(lambda: probing.advance(64) and probing.status()["generation"] == 3, 20)


@pytest.mark.parametrize(
    ("type", "end"),
    [("test_crash", "SIGSEGV"), ("test_abort", "SIGABRT"), ("test_exit", "code 3"), ("test_poison", "NaN")],
)
def test_a_patch_that_fails_on_probation_is_rolled_back_and_the_committer_is_told(
    probing: Live, type: str, end: str
) -> None:
    add(probing, "bad1", type, level=0.0)
    answers: list[Any] = []
    probing.engine._loop.call(
        lambda: probing.engine._dispatcher.group([(Commit(timeout_ms=20_000), answers.append)], 0.0, None)  # type: ignore[union-attr]
    )
    wait_until(lambda: answers, 20)
    probing.client.set("osc1", "freq", 550.0)  # carried: it holds in both
    probing.client.set("bad1", "armed", 1.0)
    wait_until(lambda: probing.advance(64) and probing.status()["rollbacks"] == 1, 30, step_s=0.001)
    probing.await_redundancy()
    probing.advance(9600)
    status, dump = probing.status(), probing.client.dump()
    x = probing.samples()
    assert answers[0]["new"] == ["bad1"]
    assert answers[1].reason == "rolled back" and end in answers[1].detail
    assert status["commits_refused"] == {"rolled back": 1} and status["restarts"] == 0
    assert [n["id"] for n in dump["committed"]["nodes"]] == ["osc1", "filt1"]
    assert [n["id"] for n in dump["pending"]["nodes"]] == ["osc1", "filt1", "bad1"]
    assert smallest_peak(x[probing.first + 480 :, 0], WHOLE) > 0.15  # type: ignore[attr-defined]
    assert status["counters"]["frames_underrun"] == 0
    assert abs(frequency_hz(x[-4800:, 0]) - 550.0) < 0.01


def test_a_client_hears_of_a_rollback_and_does_not_take_it_for_the_answer_to_the_next_commit(probing: Live) -> None:
    add(probing, "bad1", "test_crash", level=0.0)
    probing.commit()
    probing.client.set("bad1", "armed", 1.0)
    wait_until(lambda: probing.advance(64) and probing.engine.status()["rollbacks"] == 1, 30, step_s=0.001)
    probing.client.delete("bad1")
    probing.client.create("filt3", "biquad_filter")
    assert probing.commit()["new"] == ["filt3"]
    assert [refused.reason for refused in probing.client.rollbacks] == ["rolled back"]
    assert "SIGSEGV in node 'bad1'" in probing.client.rollbacks[0].detail


def test_a_worker_killed_on_probation_costs_nothing_and_its_patch_comes_back(probing: Live) -> None:
    probing.client.create("env1", "adsr")
    probing.client.connect("osc1", "env1")
    probing.commit(crossfade_ms=0)
    probing.advance(4800)
    generation = probing.status()["generation"]
    probing.kill(probing.status()["active_slot"])
    wait_until(
        lambda: probing.advance(64) and probing.status()["is_on_probation"] and no_slot_is(probing, "dead", "joining")
    )
    probing.advance(4800)
    status = probing.status()
    assert status["generation"] == generation and status["nodes"] == 3 and status["rollbacks"] == 0
    x = probing.samples()
    assert abs(rms(x[-2400:, 0]) - 0.2 * 0.7 / np.sqrt(2)) < 1e-4  # it goes on at its envelope's sustain
    assert smallest_peak(x[probing.first + 480 :, 0], WHOLE) > 0.1  # type: ignore[attr-defined]
    assert status["counters"]["frames_underrun"] == 0


def no_slot_is(live: Live, *states: str) -> bool:
    return not {slot["state"] for slot in live.status()["slots"]} & set(states)


def test_a_commit_ends_the_probation_of_a_patch_that_came_back(probing: Live) -> None:
    probing.kill(probing.status()["active_slot"])
    wait_until(lambda: no_slot_is(probing, "dead", "joining", "ready"))
    probing.client.create("filt2", "biquad_filter")
    assert probing.commit(crossfade_ms=0)["new"] == ["filt2"]
    assert probing.status()["rollbacks"] == 0


@pytest.mark.parametrize("state", ["joining", "ready"])
def test_a_patch_on_its_way_back_stands_when_the_one_before_dies_too(
    probing: Live, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    supervisor: Any = probing.engine._supervisor
    with monkeypatch.context() as patching:
        patching.setattr(supervisor, "grant", lambda: None)  # the clock stands still: it is not heard yet
        old = 1 - probing.status()["active_slot"]
        if state == "joining":  # and does not even join
            patching.setattr(supervisor.mender, "_send_join", lambda joining: None)
        probing.kill(1 - old)
        wait_until(lambda: probing.status()["slots"][1 - old]["state"] == state)
        probing.kill(old)
    for joining in list(supervisor.mender._joins.values()):
        probing.engine._ask(lambda j=joining: supervisor.mender._send_join(j))  # type: ignore[misc]
    probing.await_redundancy()
    status = probing.status()
    assert status["rollbacks"] == 0 and not status["is_on_probation"] and status["nodes"] == 2
    probing.client.create("filt2", "biquad_filter")
    assert probing.commit(crossfade_ms=0)["new"] == ["filt2"]


def test_a_patch_comes_back_from_before_its_swap_however_long_the_one_before_plays_meanwhile(
    probing: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The checkpoints that the old slot writes beyond the SWITCH must not take the place of those that lead to it."""
    supervisor: Any = probing.engine._supervisor
    probing.advance(96_000)
    probing.client.create("filt2", "biquad_filter")
    probing.commit(crossfade_ms=0)
    with monkeypatch.context() as patching:
        patching.setattr(supervisor.mender, "_send_join", lambda joining: None)  # the successor takes its time
        probing.kill(probing.status()["active_slot"])
        probing.advance(96_000)
    for joining in list(supervisor.mender._joins.values()):
        probing.engine._ask(lambda j=joining: supervisor.mender._send_join(j))  # type: ignore[misc]
    wait_until(lambda: no_slot_is(probing, "dead", "joining", "ready"))
    status = probing.status()
    assert (status["generation"], status["nodes"], status["worker_deaths"]) == (3, 3, 1)


def test_a_probation_does_not_end_while_the_patch_before_is_heard(probing: Live) -> None:
    """Its blocks do not come, as far as the callback can see; its worker lives. It is taken back."""
    supervisor: Any = probing.engine._supervisor
    supervisor.segment.set_playable(probing.status()["active_slot"], False)
    probing.advance(64 * 4)
    probing.engine._loop.call(supervisor.mender.end_probation)
    wait_until(lambda: probing.status()["rollbacks"] == 1, 20)
    probing.await_redundancy()
    probing.advance(9600)
    assert probing.status()["nodes"] == 1 and probing.status()["generation"] == 1
    assert smallest_peak(probing.samples()[probing.first + 480 :, 0], WHOLE) > 0.15  # type: ignore[attr-defined]


def test_a_second_death_on_probation_rolls_the_patch_back(probing: Live) -> None:
    probing.client.create("env1", "adsr")
    probing.client.connect("osc1", "env1")
    probing.commit(crossfade_ms=0)
    for n in range(2):
        wait_until(lambda: probing.advance(64) and no_slot_is(probing, "dead", "joining", "ready"))
        assert probing.status()["rollbacks"] == 0, n
        probing.kill(probing.status()["active_slot"])
    wait_until(lambda: probing.status()["rollbacks"] == 1)
    probing.await_redundancy()
    probing.advance(4800)
    status = probing.status()
    assert status["nodes"] == 2 and status["has_pending_edits"] and status["counters"]["frames_underrun"] == 0
    assert abs(rms(probing.samples()[-2400:, 0]) - 0.2 / np.sqrt(2)) < 1e-4


def test_a_successor_that_comes_late_still_finds_its_way_to_the_patch_on_probation(
    probing: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The only checkpoint from before the SWITCH is the old slot's: those of the patch before must not replace it."""
    crew: Any = probing.engine._supervisor.crew  # type: ignore[union-attr]
    probing.client.create("env1", "adsr")
    probing.client.connect("osc1", "env1")
    generation = probing.commit(crossfade_ms=0)["generation"]
    monkeypatch.setattr(crew, "hire", lambda slot: None)  # none in reserve
    probing.kill(probing.status()["active_slot"])
    probing.advance(48_000)  # four periodic checkpoints
    assert probing.status()["generation"] == generation - 1
    monkeypatch.undo()
    probing.engine._loop.call(probing.engine._supervisor.mender.settle)  # type: ignore[union-attr]  # as when one is ready
    wait_until(lambda: probing.advance(64) and probing.status()["generation"] == generation, 30)
    assert (probing.status()["rollbacks"], probing.status()["worker_deaths"]) == (0, 1)
    probing.advance(4800)
    assert abs(rms(probing.samples()[-2400:, 0]) - 0.2 * 0.7 / np.sqrt(2)) < 1e-4


def test_a_successor_that_dies_on_its_way_back_to_the_patch_on_probation_is_the_second_death(
    probing: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    supervisor: Any = probing.engine._supervisor
    probing.client.create("env1", "adsr")
    probing.client.connect("osc1", "env1")
    probing.commit(crossfade_ms=0)
    send_join: Callable[..., None] = supervisor.mender._send_join

    def kill_and_send(joining: Any) -> None:
        if supervisor.mender._joins.get(joining.slot) is joining and supervisor.mender._is_recommit(joining):
            supervisor.crew.workers[joining.slot].process.kill()
        send_join(joining)

    monkeypatch.setattr(supervisor.mender, "_send_join", kill_and_send)
    probing.kill(probing.status()["active_slot"])
    wait_until(lambda: probing.advance(64) and probing.status()["rollbacks"] == 1, 30)
    monkeypatch.undo()
    probing.await_redundancy()
    assert probing.status()["nodes"] == 2 and probing.status()["has_pending_edits"]


def test_the_old_slot_s_death_while_a_successor_is_on_its_way_lets_the_new_patch_stand(
    probing: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    supervisor: Any = probing.engine._supervisor
    probing.client.create("env1", "adsr")
    probing.client.connect("osc1", "env1")
    probing.commit(crossfade_ms=0)
    send_join: Callable[..., None] = supervisor.mender._send_join

    def kill_the_other_and_send(joining: Any) -> None:
        if supervisor.mender._joins.get(joining.slot) is joining and supervisor.mender._is_recommit(joining):
            worker = supervisor.crew.workers[1 - joining.slot]
            worker.process.kill()
            worker.process.wait()
            supervisor.crew.dismiss(worker, "died")  # known before the successor has joined
        send_join(joining)

    monkeypatch.setattr(supervisor.mender, "_send_join", kill_the_other_and_send)
    probing.kill(probing.status()["active_slot"])
    wait_until(lambda: probing.status()["worker_deaths"] == 2, 30)
    monkeypatch.undo()
    probing.await_redundancy()
    status = probing.status()
    assert (status["nodes"], status["rollbacks"], status["is_on_probation"]) == (3, 0, False)
    probing.advance(9600)
    assert abs(rms(probing.samples()[-2400:, 0]) - 0.2 * 0.7 / np.sqrt(2)) < 1e-4
    probing.client.create("filt2", "biquad_filter")
    assert probing.commit(timeout_ms=20_000)["new"] == ["filt2"]


def test_the_death_of_the_old_slot_on_probation_lets_the_new_patch_stand(probing: Live) -> None:
    slot = probing.status()["active_slot"]
    probing.kill(1 - slot)
    probing.await_redundancy()
    status = probing.status()
    assert status["active_slot"] == slot and not status["is_on_probation"] and status["nodes"] == 2
    probing.advance(4800)
    x = probing.samples()
    assert_same(x[probing.first :], stereo(tone(), len(x) - probing.first))  # type: ignore[attr-defined]


def test_both_workers_killed_on_probation_bring_the_new_patch_back_where_it_stopped(probing: Live) -> None:
    kill_both(probing)
    probing.await_redundancy()
    probing.advance(4800)
    status = probing.status()
    x = probing.samples()
    assert status["nodes"] == 2 and status["counters"]["frames_underrun"] == 0
    if not status["counters"]["declicks"]:  # else the patch before was heard for a moment, between the two deaths
        assert_same(x[probing.first :], stereo(tone(), len(x) - probing.first))  # type: ignore[attr-defined]


# ---- a cold standby


def stands_still(live: Live, slot: int) -> bool:
    status = live.status()
    return bool(status["slots"][slot]["render_head"] < status["play_block"])


def test_a_cold_standby_renders_nothing_and_takes_over_where_the_sound_stopped(tmp_path: Path) -> None:
    with Live(tmp_path, standby="cold") as live:
        live.client.create("osc1", "simple_sine")
        first = live.commit(crossfade_ms=0)["frame"]
        for n in range(5):
            wait_until(lambda: no_slot_is(live, "dead", "joining", "replica", "probation"))
            live.advance(3000 + 100 * n)
            status = live.status()
            parked = status["slots"][1 - status["active_slot"]]
            assert parked["state"] == "parked" and not status["is_redundant"]
            slot = 1 - status["active_slot"]
            wait_until(lambda slot=slot: live.advance(64) and stands_still(live, slot))  # type: ignore[misc]
            live.kill(status["active_slot"])
        live.client.create("filt1", "biquad_filter")
        assert live.commit(crossfade_ms=0)["carried"] == ["osc1"]
        live.advance(4800)
        counters = live.counters()
        x = live.samples()
    assert_same(x[first:], stereo(tone(), len(x) - first))
    assert counters["frames_underrun"] == 0


# ---- right behind a swap


@pytest.mark.parametrize(
    ("is_running_free", "end"),
    [(False, signal.SIGKILL), (True, signal.SIGKILL), (True, signal.SIGSTOP)],
)
def test_the_new_patch_plays_on_when_its_worker_dies_or_stalls_right_behind_the_swap(
    tmp_path: Path, is_running_free: bool, end: signal.Signals
) -> None:
    """The other slot still has the patch before; it goes through the SWITCH from a checkpoint of that one."""
    with Live(tmp_path, crossfade_ms=0.0, stall_ms=300) as live:
        play_tone(live)
        commits: Any = live.engine._supervisor.commits  # type: ignore[union-attr]
        crew: Any = live.engine._supervisor.crew  # type: ignore[union-attr]
        on_swap: Callable[..., None] = commits.on_swap

        def then_kill(event: Any) -> None:
            commits.on_swap = on_swap
            on_swap(event)
            worker = crew.workers[live.engine._supervisor.board.active.index]  # type: ignore[union-attr]
            os.kill(worker.pid, end)
            if end is signal.SIGKILL:
                worker.process.wait()
                crew.dismiss(worker, "died")  # else the callback finds it first

        commits.on_swap = then_kill
        live.client.create("env1", "adsr")
        live.client.connect("osc1", "env1")
        if is_running_free:
            live.engine.run_free()
        live.commit(timeout_ms=20_000)
        wait_until(lambda: live.status()["worker_deaths"] == 1, 20)
        live.await_redundancy()
        if not is_running_free:
            live.advance(9600)
        live.client.sync()
        status = live.status()
        x = live.samples()
    assert (status["nodes"], status["worker_deaths"], status["generation"]) == (2, 1, 2)
    assert status["counters"]["frames_underrun"] == 0 and status["commits_refused"] == {}
    assert np.array_equal(x[:, 0], x[:, 1])
    settled = x[-2400:, 0]  # 50 ms at the envelope's sustain of 0.7, 22 periods of the tone
    assert abs(rms(settled) - 0.2 * 0.7 / np.sqrt(2)) < 1e-4


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
    on_primed: Callable[..., None] = supervisor.commits.on_primed

    def then_kill(slot: int, message: dict[str, Any]) -> None:
        on_primed(slot, message)
        os.kill(supervisor.crew.workers[slot if victim == "standby" else 1 - slot].pid, signal.SIGKILL)
        supervisor.commits.on_primed = on_primed

    supervisor.commits.on_primed = then_kill


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
    with pytest.raises(WorkerError, match=r"a worker ended with code 1 before it was ready"):
        Engine("free")


def test_modules_that_cannot_be_loaded_are_named(more_modules: None, tmp_path: Path) -> None:
    os.environ[_native.MODULES_VARIABLE] = str(tmp_path / "nothing.so")
    _native._registry.cache_clear()
    with pytest.raises(EngineError, match=r"nothing\.so.*PYENGINE_MODULES"):
        Engine("free").create("osc1", "simple_sine")


HOST = """
import sys, time
sys.path[:] = {path!r}
from pyengine import Engine
engine = Engine({device!r}, osc_port=0, recordings={folder!r})
print(engine.osc_port, *[slot["pid"] for slot in engine.status()["slots"]], flush=True)
while not engine.status()["is_reserve_ready"]:
    time.sleep(0.001)
print("reserve", flush=True)
sys.stdin.read()
"""


def workers_of(pid: int) -> set[int]:
    """Return the workers that a process has started, whoever is their parent now: those in reserve and those that have
    not yet said hello too.
    """
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if f'"parent": {pid},'.encode() in (folder / "cmdline").read_bytes():
                found.add(int(folder.name))
    return found


@pytest.mark.parametrize("device", ["none", "free"])
@pytest.mark.parametrize(
    ("ending", "is_reserve_ready"),
    [(signal.SIGKILL, True), (signal.SIGKILL, False), (signal.SIGTERM, True), (None, True)],
)
def test_when_the_supervisor_s_process_ends_its_workers_end_and_its_port_is_free(
    device: str, ending: signal.Signals | None, is_reserve_ready: bool, tmp_path: Path
) -> None:
    """ending None: the program just ends, and the engine was not closed. is_reserve_ready False: the worker in reserve
    has only just been started.
    """
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
        wait_until(lambda: len(workers_of(host.pid)) == 3)
        pids += workers_of(host.pid)
        if is_reserve_ready:
            assert host.stdout.readline() == "reserve\n"
        if ending is None:
            host.stdin.close()
        else:
            host.send_signal(ending)
        host.wait(30)
        wait_until(lambda: not workers_of(host.pid) and not any(map(is_running, pids)), 10)
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
