"""What an engine takes of the machine: its start, the processor while nothing plays, memory, large commits."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from control import Pacer
from figures import Figures, at_most
from machine import compiled_environment, cpu_ns
from references import play_three_modules
from voices import Bank, voices_patch
from waiting import wait_until

import pyengine
from pyengine.client import Client
from pyengine.commands import Command, Connect, Create, SetParam
from pyengine.errors import CommitRefused
from pyengine.patch import Patch
from pyengine.supervisor import CLOCK_PRIORITY

BLOCK_FRAMES, RATE_HZ = 64, 48000.0
PERIOD_NS = 1e9 * BLOCK_FRAMES / RATE_HZ
START_TARGETS = {"first_sound_ms": at_most(500)}
IDLE_TARGETS = {"together_percent": at_most(3)}
READY_TARGETS = {1000: {"ready_ms": at_most(50)}, 10_000: {"ready_ms": at_most(500)}}
LATE_TARGETS = {"late_beyond_machine_blocks": at_most(0)}


def pids_of(engine: pyengine.Engine) -> dict[str, int]:
    """The processes of an engine: this one, its workers, and the one in reserve."""
    crew: Any = engine._supervisor.crew  # type: ignore[union-attr]
    workers = {f"worker_{slot}": worker.pid for slot, worker in enumerate(crew.workers)}
    return {"supervisor": os.getpid(), **workers, "reserve": crew.reserves[0].pid}


def settle(engine: pyengine.Engine) -> None:
    """Wait until two replicas render and a worker is in reserve."""
    wait_until(lambda: engine.status()["is_redundant"] and engine.status()["is_reserve_ready"], 20.0)


def commands_of(patch: Patch) -> list[Command]:
    """The commands that make a patch."""
    creates: list[Command] = [Create(node.id, node.type) for node in patch.nodes.values()]
    creates += [Connect(*patch.cable_text(cable)) for cable in patch.cables]
    return creates + [SetParam(id, str(name), value) for _, id, name, value in patch.ops()]


def send(engine: pyengine.Engine, patch: Patch) -> None:
    """Make the edits of a patch, in bundles, and wait for them."""
    commands = commands_of(patch)
    for start in range(0, len(commands), 4000):
        for future in engine.submit_bundle(commands[start : start + 4000]):
            future.result(60)


# ---- the command ----------------------------------------------------------------------------------------


def test_run_to_first_sound(tmp_path: Path, figures: Figures) -> None:
    """`pyengine run` started, a tone sent to it by OSC, the answer to the commit: its first sample is out by then.

    The modules are compiled, as pip leaves them; the first start is not counted.
    """
    environment = compiled_environment(str(tmp_path / "compiled"))
    command = [sys.executable, "-m", "pyengine", "run", "--device", "none", "--osc-port", "0", "--log-level", "error"]
    listening, heard = [], []
    for _ in range(9):
        started = time.monotonic()
        with subprocess.Popen(
            [*command, "--recordings", str(tmp_path)], env=environment, stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            port = next(int(line.split(":")[1].split(",")[0]) for line in process.stdout if line.startswith("OSC on"))
            listening.append(1e3 * (time.monotonic() - started))
            with Client(port=port) as client:
                client.create("osc1", "simple_sine")
                report = client.commit()
                heard.append(1e3 * (time.monotonic() - started))
                assert report["late_blocks"] == 0
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0
    open_ms, sound_ms = np.median(listening[1:]), np.median(heard[1:])
    figures(
        f"start    pyengine run: OSC open after {open_ms:.0f} ms, first sound after {sound_ms:.0f} ms (medians of 8)",
        osc_open_ms=open_ms,
        first_sound_ms=sound_ms,
        worst_first_sound_ms=max(heard[1:]),
    )
    figures.want(START_TARGETS)


# ---- idle -----------------------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(time, "pthread_getcpuclockid"), reason="needs Linux: the CPU clock of another process")
@pytest.mark.parametrize("what", ["nothing committed", "three modules, gate closed", "three modules, sounding"])
def test_idle_engine(what: str, tmp_path: Path, figures: Figures) -> None:
    """CPU of all processes of an engine, as a share of one processor, on the real-time clock.

    bare: a C thread that does nothing but wake once a block. An engine without a device has three that do.
    """
    with pyengine.Engine("none", osc_port=0, probation_ms=100, recordings=tmp_path) as engine:
        if what != "nothing committed":
            play_three_modules(engine)
            if "closed" in what:
                engine.gate("env1", 0)
        settle(engine)
        time.sleep(0.5)
        pids, seconds = pids_of(engine), 4.0
        before, start = {name: cpu_ns(pid) for name, pid in pids.items()}, time.monotonic_ns()
        time.sleep(seconds)
        took = time.monotonic_ns() - start
        shares = {f"{name}_percent": 100 * (cpu_ns(pid) - before[name]) / took for name, pid in pids.items()}
        assert pids_of(engine) == pids
    start_cpu, start = time.process_time_ns(), time.monotonic_ns()
    with Pacer(PERIOD_NS, CLOCK_PRIORITY):
        time.sleep(seconds / 2)
        bare = 100 * (time.process_time_ns() - start_cpu) / (time.monotonic_ns() - start)
    together = sum(shares.values())
    told = ", ".join(f"{name.removesuffix('_percent')} {share:.2f}" for name, share in shares.items())
    figures(
        f"idle     {what:27}: {together:.2f} % of one processor ({told}); a bare thread {bare:.2f}",
        together_percent=together,
        **shares,
        bare_percent=bare,
    )
    if what != "three modules, sounding":
        figures.want(IDLE_TARGETS)


# ---- memory ---------------------------------------------------------------------------------------------


def private_kb(pid: int) -> int:
    """What a process alone has in memory."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="utf-8").splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(("Private_Clean:", "Private_Dirty:")))


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="needs Linux: /proc/PID/smaps_rollup")
def test_memory(tmp_path: Path, figures: Figures) -> None:
    """Private memory of a worker for each voice more, between 16 and 512 voices; each engine is a fresh one."""
    found = {}
    for n in (16, 512):
        with pyengine.Engine("none", probation_ms=100, recordings=tmp_path, prime_timeout_ms=60_000) as engine:
            settle(engine)
            empty = [private_kb(slot["pid"]) for slot in engine.status()["slots"]]
            send(engine, voices_patch(n))
            engine.commit(timeout_ms=60_000)
            settle(engine)
            full = [private_kb(slot["pid"]) for slot in engine.status()["slots"]]
        found[n] = (np.mean(empty), np.mean(full))
    worker_kb = (found[512][1] - found[16][1]) / (512 - 16)
    with Bank(voices_patch(512)) as bank:
        state_bytes = bank.plan.state_bytes / 512
    figures(
        f"memory   a voice: {state_bytes:.0f} bytes of state, {worker_kb:.2f} kB of a worker; a worker without a patch "
        f"{found[16][0] / 1e3:.1f} MB, with 512 voices {found[512][1] / 1e3:.1f} MB",
        voice_state_bytes=state_bytes,
        voice_in_worker_kb=worker_kb,
        empty_worker_mb=found[16][0] / 1e3,
        worker_of_512_voices_mb=found[512][1] / 1e3,
    )


# ---- large commits --------------------------------------------------------------------------------------


def large_patch(kind: str, n: int) -> Patch:
    """Return n nodes: sines, or voices and a sine or two."""
    patch = voices_patch(n // 3) if kind == "voices" else Patch()
    for i in range(n - len(patch.nodes)):
        patch.create(f"sine{i}", "simple_sine")
    for id, node in list(patch.nodes.items()):
        if node.type == "simple_sine":
            patch.set(id, "gain", 0.5 / n)
    return patch


@pytest.mark.parametrize("n", [1000, 10_000])
@pytest.mark.parametrize("kind", ["sines", "voices"])
def test_large_commit(kind: str, n: int, tmp_path: Path, figures: Figures) -> None:
    """A commit of so many nodes onto three modules that play: until it is ready, and what the playing patch lost.

    Received to prime_ready; the median of some.
    """
    patch = large_patch(kind, n)
    ready_ms, late_blocks, missing, missed = [], 0, 0, 0
    with (
        pyengine.Engine("none", probation_ms=100, recordings=tmp_path) as engine,
        Pacer(PERIOD_NS, CLOCK_PRIORITY) as control,
    ):
        for _ in range(7 if n < 5000 else 3):
            try:
                settle(engine)  # of the large patch before, too
            except AssertionError:
                pytest.skip(
                    f"this machine, or what else runs on it, leaves no time for two replicas of {n} nodes, {kind}"
                )
            engine.clear()
            play_three_modules(engine)
            settle(engine)
            engine.clear()
            send(engine, patch)
            engine.sync()
            before, missed_before = engine.status()["counters"], control.missed_periods
            try:
                report = engine.commit(timeout_ms=60_000)
            except CommitRefused as error:
                pytest.skip(f"this machine does not play {n} nodes, {kind}: {error}")
            after = engine.status()["counters"]
            missed += control.missed_periods - missed_before
            assert engine.status()["nodes"] == n
            ready_ms.append(report["ready_ms"])
            missing += after["none_reads"] - before["none_reads"]
            late_blocks += report["late_blocks"]
    ready = float(np.median(ready_ms))
    figures(
        f"commit   {n:5} nodes, {kind}: ready after {ready:.0f} ms, worst {max(ready_ms):.0f}; "
        f"{missing} blocks missing, {late_blocks} late (a bare thread missed {missed} periods)",
        ready_ms=ready,
        worst_ready_ms=max(ready_ms),
        missing_blocks=missing,
        late_beyond_machine_blocks=max(0, missing + late_blocks - missed),
    )
    figures.want(READY_TARGETS[n] | LATE_TARGETS)
