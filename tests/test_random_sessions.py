"""Whole sessions at random: what was recorded is what the log gives, is what render() makes of the same patch.

In CI a few short ones, always the same. `make soak` plays new ones until its time is over; a failure names the seed
that repeats it: PYENGINE_SOAK_SEED=12 PYENGINE_SOAK_S=1 make soak.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import tempfile
import time
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from desk_model import Desk, Sheet, without_hashes
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from live import RATE_HZ, Live, Samples, assert_same, stereo
from strategies import patches
from waiting import wait_until

from pyengine import CommitRefused, EngineError, Patch, replay, specs
from pyengine.commands import (
    Abort,
    Clear,
    Command,
    Commit,
    Connect,
    Create,
    Delete,
    Disconnect,
    Gate,
    PatchSample,
    SetParam,
    Undo,
)

SOAK_S = float(os.environ.get("PYENGINE_SOAK_S", "0"))
SOAK_SEED = int(os.environ.get("PYENGINE_SOAK_SEED", "0"))
BLOCKS = [32, 64, 128, 256, 1024]
STALL_MS = 500.0
APART_BLOCKS = 24  # played from one kill to the next: a patch whose workers die again and again is given up
BUSY = {"late", "too slow"}  # why a machine that is busy with something else may refuse a commit
IDS = [f"m{n}" for n in range(8)]
WRONG = [Delete("nobody"), Create("a b", "adsr"), Create("m0", "granulator"), Connect("m0", "m0.no")]
TYPES = [name for name in specs.registry().names if name != "voices"]  # those make modules of other modules
SOUNDS = [name for name in TYPES if not specs.registry().get(name).events]
SAMPLE = "pulse.wav"

played: Counter[str] = Counter()  # by all machines of this process
heard: set[str] = set()  # types of modules that were committed, by all of them

numbers = st.integers(0, 1 << 16)  # taken modulo what there is: a draw never depends on how the engine fared
shares = st.floats(0, 1, width=32)


def pick(number: int, options: Any) -> Any:
    options = list(options)
    return options[number % len(options)]


class Sessions(RuleBasedStateMachine):
    """One engine on the free-running clock, and beside it what its desk must be like."""

    def __init__(self) -> None:
        super().__init__()
        self.story: list[str] = []
        self.live: Live | None = None
        self.desk = Desk()
        self.pool = ThreadPoolExecutor(1)
        self.running: list[Future[int]] = []
        self.takes: list[tuple[int, Samples]] = []
        self.log_first: int | None = None
        self.rollbacks = 0
        self.killed_at = 0
        self.killed: set[int] = set()
        self.is_shaken = False  # by a kill that may not have been seen yet
        self.is_unclear = False  # what the desk must be like
        self.is_broken = True  # until the last check has passed

    # ---- begin and end

    @initialize(
        block_frames=st.sampled_from(BLOCKS),
        lead_blocks=st.integers(1, 8),
        crossfade_ms=st.sampled_from([0.0, 1.0, 5.0, 40.0]),
        probation_ms=st.sampled_from([0.0, 0.0, 100.0, 60_000.0]),
        standby=st.sampled_from(["hot", "hot", "hot", "cold"]),
        is_logged=st.booleans(),
        may_rest=st.booleans(),
        wanted=patches(max_nodes=7, registry=specs.registry(), types=SOUNDS),
    )
    def start(self, is_logged: bool, wanted: Patch, **options: Any) -> None:
        self._tell("start", is_logged, options)
        self.wanted = all_new(wanted)
        self.folder = Path(tempfile.mkdtemp(prefix="pyengine-session-"))
        if is_logged:
            self.log_first = 0
            options["session"] = self.folder / "log.session"
        self.probation_ms = options["probation_ms"]
        write_sample(self.folder / SAMPLE)
        self.live = Live(self.folder, stall_ms=STALL_MS, samples=self.folder, **options)
        self.take_first = 0
        self.block = int(options["block_frames"])
        self.is_hot = options["standby"] == "hot"

    @property
    def playing(self) -> Live:
        assert self.live is not None
        return self.live

    def _tell(self, *words: Any) -> None:
        self.story.append(" ".join(str(word) for word in words))

    def teardown(self) -> None:
        if self.live is None:
            return
        try:
            if not self.is_broken:
                self.is_broken = True
                self.final()
                self.is_broken = False
        finally:
            self.pool.shutdown()
            self.live.__exit__()
            if self.is_broken:
                print(f"the session, its log and recordings in {self.folder}:", *self.story, sep="\n    ")
            else:
                shutil.rmtree(self.folder, ignore_errors=True)
                played["sessions"] += 1

    # ---- what holds after every step

    @invariant()
    def dump_is_what_the_model_says(self) -> None:
        if self.live is None:
            return
        self.is_broken = True
        self.look()
        self.is_broken = False
        played["steps"] += 1

    def look(self) -> None:
        dump = without_hashes(self.playing.client.dump())
        status = self.playing.status()
        if status["rollbacks"] != self.rollbacks:
            dump = self._roll_back()
        assert self.is_unclear or dump == self.desk.dump()
        assert status["restarts"] == 0, status["last_fault"]
        counters = status["counters"]
        assert status["states_diverged"] == counters["diverged_blocks"] == counters["frames_underrun"] == 0
        assert counters["events_lost"] == status["commands_lost"] == 0

    def _roll_back(self) -> dict[str, Any]:
        """A patch on probation fell: a worker of it died twice, or its blocks did not come in time."""
        assert self.probation_ms
        rollbacks, dump = self.playing.status()["rollbacks"], without_hashes(self.playing.client.dump())
        self._tell("rolled back")
        if not self.is_unclear:
            assert rollbacks == self.rollbacks + 1
            self.desk.roll_back(dump)
        self.rollbacks = rollbacks
        played["rollbacks"] += 1
        return dump

    # ---- commands

    def give(self, command: Command, *, through_engine: bool = False) -> None:
        """Give one command; it is done or refused as the model says."""
        self._tell(command)
        is_right = self.desk.do(command)
        played["commands"] += 1
        try:
            if through_engine:
                self.playing.engine.do(command)
            else:
                self.playing.client.send(command)
        except EngineError as error:
            played["refused"] += 1
            assert self.is_unclear or not is_right, error
            assert len(str(error)) > 10
        else:
            assert self.is_unclear or is_right, "it should have been refused"

    def edit_of(self, kind: int, n: int, m: int, *, may_wait: bool = False) -> Command:
        """Return an edit: mostly one that can be made. may_wait: one that reads a file will do."""
        modules, cables = self.desk.pending.modules, self.desk.pending.cables
        kind %= 10
        if kind == 0 or len(modules) < 2:
            return Create(pick(n, IDS), pick(m, TYPES))
        if kind < 3:
            free = [id for id in IDS if id not in modules]
            return Create(pick(n, free or IDS), pick(m, TYPES))
        if kind == 3:
            return Delete(pick(n, modules))
        if kind == 4:
            return pick(n, WRONG)
        if kind == 5 and cables:
            return Disconnect(*pick(n, cables))
        mute = [id for id, module in modules.items() if module.spec.data == "sample" and not module.file]
        if kind == 6 and mute and may_wait:
            return PatchSample(pick(n, mute), SAMPLE)
        order = list(modules)
        source = order[n % (len(order) - 1)]
        dests = order if m % 16 == 0 else order[order.index(source) + 1 :]
        ends = []
        for dest in dests:
            spec = modules[dest].spec
            ends += [dest, *(f"{dest}.{name}" for name in spec.inputs)] if spec.inputs else []
            ends += [f"{dest}.{name}" for p in spec.cable_params for name in (p.name, p.alias) if name]
        outputs = [source, *(f"{source}.{name}" for name in modules[source].spec.outputs)]
        return Connect(pick(m, outputs), pick(m // 2, ends or [order[-1]]))

    def value_of(self, n: int, m: int, share: float, *, frozen: frozenset[str] = frozenset()) -> Command:
        """Return a setting of a module, playing or pending; sometimes one that nobody has or that is out of range."""
        sheets = [self.desk.committed, self.desk.pending]
        modules = {id: module for sheet in reversed(sheets) for id, module in sheet.modules.items() if id not in frozen}
        modules = {id: module for id, module in modules.items() if module.spec.params}
        if not modules or n % 24 == 0:
            return SetParam("nobody", "freq", 1.0)
        id = pick(n, modules)
        param = pick(m, modules[id].spec.params)
        if param.is_gate:
            return Gate(id, int(share > 0.5)) if n % 2 else SetParam(id, param.name, float(share > 0.5))
        low, high = param.range_at(RATE_HZ)
        name = param.alias if param.alias and n % 2 else param.name
        if n % 16 == 1:
            return SetParam(id, name, high + 1.0)
        if param.choices:
            at = round(low + share * (high - low))
            return SetParam(id, name, param.choices[at] if m % 2 else float(at))
        high = min(high, {"gain": 0.5, "attack": 200.0, "decay": 200.0, "release": 400.0}.get(param.name, high))
        return SetParam(id, name, low + share * (high - low), immediate=m % 4 == 0)

    @rule(kinds=st.lists(st.tuples(numbers, numbers, numbers), min_size=1, max_size=5))
    def edit(self, kinds: list[tuple[int, int, int]]) -> None:
        for kind, n, m in kinds:
            self.give(self.edit_of(kind, n, m, may_wait=True), through_engine=bool(n % 3 == 0))

    @rule(values=st.lists(st.tuples(numbers, numbers, shares), min_size=1, max_size=5))
    def turn(self, values: list[tuple[int, int, float]]) -> None:
        for n, m, share in values:
            command = self.value_of(n, m, share)
            self.give(command, through_engine=getattr(command, "immediate", False))

    @rule(
        values=st.lists(st.tuples(numbers, numbers, shares), min_size=1, max_size=6),
        ahead=st.sampled_from([None, -5000, 0, 300, 3000, 30_000]),
        more=numbers,
        through_engine=st.booleans(),
    )
    def bundle(self, values: list[tuple[int, int, float]], ahead: int | None, more: int, through_engine: bool) -> None:
        """Settings of one frame, and an edit among them that is made on arrival."""
        live = self.playing
        commands = [self.value_of(*value) for value in values]
        if more % 4 == 0:
            commands.insert(more % len(commands), self.edit_of(more, more // 7, more // 11))
        at = None if ahead is None else live.time_of(max(0, live.engine.frames + ahead + more % 512))
        self._tell("bundle", ahead, commands)
        right = [self.desk.do(command) for command in commands]
        played["commands"] += len(commands)
        if through_engine:
            futures = live.engine.submit_bundle(commands, at)
            are_done = [future.exception(30) is None for future in futures]
            assert self.is_unclear or are_done == right
            return
        try:
            replies = live.client.send_bundle(commands, at)
        except EngineError as error:
            played["refused"] += 1
            assert self.is_unclear or not all(right), error
        else:
            assert self.is_unclear or all(right)
            is_told = [len(reply.args) > 1 for reply, c in zip(replies, commands, strict=True) if is_value(c)]
            is_past = ahead == -5000 and live.engine.frames > 6000 and not self.is_shaken  # somebody renders
            assert all(is_told) or not is_past

    @rule(n=st.integers(0, 3))
    def abort_or_clear(self, n: int) -> None:
        self.give(Clear() if n == 0 else Abort())

    # ---- commits

    @rule(
        crossfade_ms=st.sampled_from([None, None, 0.0, 0.5, 30.0]),
        allow_silence=st.booleans(),
        through_engine=st.booleans(),
    )
    def commit(self, crossfade_ms: float | None, allow_silence: bool, through_engine: bool) -> None:
        command = Commit(crossfade_ms, allow_silence)
        self._tell(command)
        sheet = self.desk.begin()
        self.settle(command, sheet, lambda: self._ask(command, through_engine))

    @rule(allow_silence=st.booleans(), discard=st.booleans(), through_engine=st.booleans())
    def undo(self, allow_silence: bool, discard: bool, through_engine: bool) -> None:
        command = Undo(allow_silence=allow_silence, discard=discard)
        self._tell(command)
        if not self.desk.undo and not self.is_unclear:
            with pytest.raises(CommitRefused, match="nothing to undo"):
                self._ask(command, through_engine)
            return
        if self.desk.dump()["has_edits"] and not discard and not self.is_unclear:
            with pytest.raises(CommitRefused) as caught:
                self._ask(command, through_engine)
            self._see_rollback()
            assert self.is_unclear or caught.value.reason in {"edits pending", *BUSY}
            return
        sheet = self.desk.begin_undo() if self.desk.undo else self.desk.begin()
        self.settle(command, sheet, lambda: self._ask(command, through_engine))

    def _ask(self, command: Commit | Undo, through_engine: bool) -> dict[str, Any]:
        if through_engine:
            report: dict[str, Any] = self.playing.engine.do(command)
            return report
        return dict(json.loads(str(self.playing.client.send(command).args[0])))

    def settle(self, command: Commit | Undo, sheet: Sheet, ask: Any, *reasons: str) -> dict[str, Any] | None:
        """Ask for a commit and wait for how it ends; the model follows. reasons: why else it may be refused."""
        allowed = {*BUSY, *reasons} | ({"worker died", "no standby"} if self.is_shaken else set())
        if not command.allow_silence:
            allowed.add("silent")
        is_right = not sheet.is_cyclic and (bool(sheet.modules) or command.allow_silence)
        try:
            report: dict[str, Any] = ask()
        except CommitRefused as refused:
            self._tell(f"refused: {refused.reason}")
            self.desk.refuse(sheet)
            played[f"refused: {refused.reason}"] += 1
            self._see_rollback()
            assert self.is_unclear or refused.reason in ({"invalid"} if not is_right else allowed), refused
            return None
        self._tell(f"heard at {report['frame']}")
        self._see_rollback()
        assert self.is_unclear or is_right, "it should have been refused"
        heard.update(module.type for module in sheet.modules.values())
        told = self.desk.accept(sheet, is_undo=isinstance(command, Undo) and not self.is_unclear)
        assert self.is_unclear or {kind: report[kind] for kind in told} == told
        played["commits"] += 1
        return report

    def _see_rollback(self) -> None:
        """A patch fell while the next was committed: whether before that one or behind it, nobody tells."""
        rollbacks = self.playing.status()["rollbacks"]
        if rollbacks != self.rollbacks:
            assert self.probation_ms
            self._tell("rolled back around a commit: the desk is not judged from here on")
            self.rollbacks, self.is_unclear = rollbacks, True
            played["unclear"] += 1

    @rule(n=numbers, m=numbers, values=st.lists(st.tuples(numbers, shares), max_size=3), allow_silence=st.booleans())
    def commit_twice(self, n: int, m: int, values: list[tuple[int, float]], allow_silence: bool) -> None:
        """A commit, settings of what is new in it while it is on its way, and another commit right behind it."""
        engine = self.playing.engine
        command = Commit(allow_silence=allow_silence)
        first = self.desk.begin()
        one = engine.submit(command)
        self._tell("two:", command)
        old = frozenset(self.desk.committed.modules)
        for k, share in values:
            self.give(self.value_of(k, m, share, frozen=old), through_engine=True)
        self.give(self.edit_of(n % 4, n // 5, m), through_engine=True)
        second = self.desk.begin()
        two = engine.submit(command)
        self.settle(command, first, lambda: one.result(60))
        self.settle(command, second, lambda: two.result(60), "busy", *(["invalid"] if first.is_cyclic else []))

    @rule(n=numbers, allow_silence=st.booleans(), victims=st.sampled_from(["active", "standby", "both"]), pause=shares)
    def kill_during_a_commit(self, n: int, allow_silence: bool, victims: str, pause: float) -> None:
        self._apart()
        command = Commit(allow_silence=allow_silence)
        sheet = self.desk.begin()
        pids, self.is_shaken = self._victims(victims), True
        future = self.playing.engine.submit(command)
        time.sleep(pause * 0.01)
        self._tell("kill", victims, "during", command)
        self._kill(pids)
        self.settle(command, sheet, lambda: future.result(60), "worker died", "no standby")

    # ---- the clock

    @rule(n_frames=st.sampled_from([1, 7, 100, 1000, 5000, 20_000]), more=st.integers(0, 300))
    def advance(self, n_frames: int, more: int) -> None:
        self._tell("advance", n_frames + more)
        self.playing.advance(n_frames + more)

    @rule(n_frames=st.sampled_from([20_000, 100_000, 300_000]))
    def run_on(self, n_frames: int) -> None:
        """The clock runs as fast as it can while what follows is done."""
        self._tell("run on for", n_frames)
        self.running.append(self.pool.submit(self.playing.engine.advance, frames=n_frames))

    @rule()
    def sync(self) -> None:
        self._tell("sync")
        told = self.playing.client.sync()
        assert told["seq"] >= 1

    @rule()
    def rest(self) -> None:
        """Wait until all is as it should be for long: two replicas in step, a worker in reserve."""
        self._tell("rest")
        for future in self.running:
            future.result(60)
        self.running.clear()
        wait_until(self._is_at_rest, 60, step_s=0.005)
        self.is_shaken = False

    def _is_at_rest(self) -> bool:
        status = self.playing.status()
        if self.killed & {slot["pid"] for slot in status["slots"]}:
            return False  # it has not been seen yet
        states = sorted(slot["state"] for slot in status["slots"])
        is_whole = status["is_redundant"] if self.is_hot else states == ["active", "parked"]
        is_probing = states == ["active", "probation"] and self.probation_ms > 1000
        return (is_whole or is_probing) and status["is_reserve_ready"] and status["commit"] == "none"

    # ---- deaths

    @rule(victims=st.sampled_from(["active", "standby", "both", "reserve", "seen"]))
    def kill(self, victims: str) -> None:
        """kill -9. seen: and wait until the engine knows."""
        self._apart()
        deaths = self.playing.status()["worker_deaths"]
        self._tell("kill", victims)
        pids = self._victims("active" if victims == "seen" else victims)
        self._kill(pids)
        if victims == "seen" and pids:  # none: the slot that is heard has lost its worker, and no other one yet
            wait_until(lambda: self.playing.status()["worker_deaths"] > deaths)

    def _apart(self) -> None:
        """Let some blocks be played from the last kill to the next."""
        missing = self.killed_at + APART_BLOCKS * self.block - self.playing.engine.frames
        if missing > 0:
            self.playing.advance(missing)

    def _victims(self, victims: str) -> list[int]:
        live = self.playing
        if victims == "reserve":
            supervisor: Any = live.engine._supervisor
            return [worker.pid for worker in list(supervisor.crew.reserves)]
        status = live.status()
        pids = [slot["pid"] for slot in status["slots"]]
        active = status["active_slot"]
        chosen = {"active": [pids[active]], "standby": [pids[1 - active]], "both": pids}[victims]
        return [pid for pid in chosen if pid]

    def _kill(self, pids: list[int]) -> None:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                self.killed.add(pid)
                played["kills"] += 1
        self.killed_at = self.playing.engine.frames
        self.is_shaken = True

    @rule(n=numbers, n_frames=st.integers(1, 2000))
    def stop_a_worker(self, n: int, n_frames: int) -> None:
        """SIGSTOP, rarely: it costs half a second each."""
        if n % 4:
            return
        self.rest()
        self._apart()
        pid = self._victims(pick(n // 4, ["active", "standby"]))[0]
        self._tell("stop", pick(n // 4, ["active", "standby"]))
        deaths = self.playing.status()["worker_deaths"]
        os.kill(pid, signal.SIGSTOP)
        played["stops"] += 1
        self.running.append(self.pool.submit(self.playing.engine.advance, frames=n_frames))
        wait_until(lambda: self.playing.status()["worker_deaths"] > deaths, 20)

    # ---- recordings and the log

    @rule()
    def record_anew(self) -> None:
        self._tell("record anew")
        self._end_take()
        report = self.playing.client.record_start(f"take{len(self.takes) + 1}.wav")
        assert report["is_recording"]

    def _end_take(self) -> None:
        report = self.playing.client.record_stop()
        assert report["lost_frames"] == 0 and report["error"] == ""
        samples, _ = soundfile.read(self.folder / report["name"], dtype="float32", always_2d=True)
        assert len(samples) == report["frames"]
        self.takes.append((report["first_frame"], samples))

    @rule()
    def log(self) -> None:
        """Begin the session log in the middle of what plays."""
        if self.log_first is None and self.probation_ms < 1000:
            self._tell("log")
            self.log_first = self.playing.client.session_start("log")["first_frame"]

    # ---- the end: a patch that render() can make too, and then all of it again from the log

    def final(self) -> None:
        live = self.playing
        self.rest()
        if self.log_first is None and self.probation_ms < 1000:
            self.log()
        rng = random.Random(len(self.story))
        self._build_wanted()
        self.look()
        first, events = self._play_events(rng)
        self.rest()
        self.look()
        self._end_take()
        begin, x = self.takes[-1]
        if first is not None:
            x = x[first - begin :]
            assert_same(x, stereo(self.wanted, len(x), events=events, samples=self.folder))
            played["frames == render"] += len(x)
        if self.log_first is not None:
            live.client.session_stop()
            self._compare_with_replay()

    def _build_wanted(self) -> None:
        self.give(Clear())
        for node in self.wanted.nodes.values():
            self.give(Create(node.id, node.type))
            if node.data:
                self.give(PatchSample(node.id, SAMPLE))
            for name, value in node.params.items():
                self.give(SetParam(node.id, name, value))
        for cable in self.wanted.cables:
            self.give(Connect(*self.wanted.cable_text(cable)))

    def _new_value(self, id: str, type: str, rng: random.Random) -> SetParam:
        param = rng.choice(specs.registry().get(type).params)
        low, high = param.range_at(RATE_HZ)
        high = min(high, {"gain": 0.5, "attack": 200.0, "decay": 200.0, "release": 400.0}.get(param.name, high))
        value = rng.uniform(low, high)
        return SetParam(id, param.name, float(round(value)) if param.is_integer or param.is_gate else value)

    def _play_events(self, rng: random.Random) -> tuple[int | None, list[Any]]:
        """Commit the patch, play it with settings at exact frames and deaths; return its first frame and the events."""
        live = self.playing
        nodes = {id: node for id, node in self.wanted.nodes.items() if self.wanted.spec(id).params}
        command = Commit(0.0, True)
        sheet = self.desk.begin()
        report = self.settle(command, sheet, lambda: self._ask(command, True))
        self.rest()
        status = live.status()
        if report is None or report["late_blocks"] or status["rollbacks"] != self.rollbacks:
            played["not compared with render"] += 1
            return None, []
        first = int(report["frame"])
        at = live.engine.frames + (status["effective_lead_blocks"] + 4) * self.block
        late, events = status["commands_late"], []
        for _ in range(rng.randrange(1, 25) if nodes else 0):
            at += rng.choice([0, 1, rng.randrange(1, 2000)])
            id = rng.choice(list(nodes))
            value = self._new_value(id, nodes[id].type, rng)
            self._tell("at", at, value)
            self.desk.do(value)
            live.send_at(at, value)
            events.append(((at - first) / RATE_HZ, ("mod", id, value.param, value.value)))
        if rng.random() < 0.7 and status["is_redundant"]:
            self._apart()
            victims = rng.choice(["active", "standby", "both"])
            self._tell("kill", victims, "in the end")
            self._kill(self._victims(victims))
        live.advance(max(0, at - live.engine.frames) + rng.randrange(100, 9000))
        assert live.status()["commands_late"] == late
        return first, events

    def _compare_with_replay(self) -> None:
        assert self.log_first is not None
        replayed, facts = replay(self.folder / "log.session", samples=self.folder)
        assert facts.warnings == [] and not facts.is_cut and not facts.is_damaged
        assert facts.silent_frames == 0
        n_compared = 0
        for begin, take in self.takes:
            skipped = max(0, self.log_first - begin)
            at = max(0, begin - self.log_first)
            n = min(len(take) - skipped, len(replayed) - at)
            if n > 0:
                assert_same(replayed[at : at + n], take[skipped : skipped + n])
                n_compared += n
        assert self.log_first + len(replayed) >= self.takes[-1][0] + len(self.takes[-1][1])
        played["frames == replay"] += n_compared


def all_new(patch: Patch) -> Patch:
    """Return the patch under ids that no other has, with the engine's own module types."""
    names = {id: f"z{n}" for n, id in enumerate(patch.nodes)}
    data = patch.to_dict()
    for node in data["nodes"]:
        node["id"] = names[node["id"]]
        if node["type"] == "sampler":
            node["data"] = {"file": SAMPLE}
    for cable in data["cables"]:
        for end in ("from", "to"):
            id, dot, port = cable[end].partition(".")
            cable[end] = names[id] + dot + port
    return Patch.from_json(data)


def write_sample(path: Path) -> None:
    """Write a third of a second of a pulse train that falls in pitch, in stereo."""
    seconds = np.arange(16_000) / RATE_HZ
    phase = 200 * seconds - 150 * seconds**2
    soundfile.write(path, np.stack([phase % 1 < 0.25, phase % 1 < 0.5], axis=1) * 0.5 - 0.2, RATE_HZ, subtype="FLOAT")


def is_value(command: Command) -> bool:
    return isinstance(command, (SetParam, Gate))


def play(n_seed: int, n_sessions: int, n_steps: int) -> None:
    """Play sessions that follow from the seed; a failure is played once more, and told."""
    seeded = seed(n_seed)(type("Seeded", (Sessions,), {}))
    options = settings(
        max_examples=n_sessions,
        stateful_step_count=n_steps,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
        database=None,
        deadline=None,
    )
    print(f"seed {n_seed}, {n_sessions} sessions of {n_steps} steps")
    run_state_machine_as_test(seeded, settings=options)


@pytest.mark.parametrize("n_seed", range(4))
def test_random_sessions_sound_as_they_are_replayed_and_rendered(n_seed: int) -> None:
    play(n_seed, 3, 25)


@pytest.mark.skipif(not SOAK_S, reason="make soak plays random sessions for an hour")
def test_random_sessions_until_the_time_is_over() -> None:
    until = time.monotonic() + SOAK_S
    n_seed = SOAK_SEED or random.randrange(1, 1 << 31)
    while time.monotonic() < until:
        play(n_seed, 4, 40)
        n_seed += 1
        print(", ".join(f"{n} {what}" for what, n in sorted(played.items())), flush=True)
        print(f"not heard yet: {', '.join(sorted(set(TYPES) - heard)) or 'none'}", flush=True)
