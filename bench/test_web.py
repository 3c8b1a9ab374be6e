"""What the page costs: the audio callback with it and without, the worker that measures, pictures a second."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from figures import Figures, at_least, at_most
from machine import cpu_ns

import pyengine
from pyengine.commands import Command, Commit, Connect, Create, SetParam

pytest.importorskip("websockets", reason="the page needs it: pip install 'pyengine[web]'")
from browser import Browser, program  # noqa: E402
from websockets.exceptions import ConnectionClosed  # noqa: E402
from websockets.sync.client import connect  # noqa: E402

N_NODES = 200
BLOCK_FRAMES = 64
SECONDS, ROUNDS = 5.0, 5

CALLBACK_TARGETS = {"reader_over_none_ratio": at_most(1.25)}  # the worst of some seconds scatters by itself
FPS_TARGETS = {"pictures_per_s": at_least(29)}

Watch = Callable[[str], Any]


@contextmanager
def playing(folder: Path) -> Iterator[pyengine.Engine]:
    """200 nodes: 66 voices of three modules, and two more."""
    with pyengine.Engine("none", osc_port=0, recordings=folder, probation_ms=0, prime_timeout_ms=20_000) as engine:
        build: list[Command] = [Create("lfo1", "simple_sine"), Create("lfo2", "simple_sine")]
        for n in range((N_NODES - 2) // 3):
            osc, env, filt = f"osc{n}", f"env{n}", f"filt{n}"
            build += [Create(osc, "simple_sine"), Create(env, "adsr"), Create(filt, "biquad_filter")]
            build += [Connect(osc, env), Connect(env, filt)]
            build += [SetParam(osc, "gain", 0.01), SetParam(osc, "freq", 55.0 * (n + 1))]
        for future in engine.submit_bundle([*build, Commit()]):
            future.result(30)
        deadline = time.monotonic() + 30
        while not engine.status()["is_redundant"]:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        yield engine


@contextmanager
def nobody(address: str) -> Iterator[None]:
    yield


@contextmanager
def reader(address: str) -> Iterator[None]:
    """What a browser takes, without what a browser costs."""
    with connect(address.replace("http", "ws") + "ws", compression=None, max_size=None) as page:

        def read() -> None:
            try:
                while True:
                    page.recv()
            except ConnectionClosed:
                pass

        thread = threading.Thread(target=read)
        thread.start()
        time.sleep(0.5)
        yield
        page.close()
        thread.join()


@contextmanager
def browser(address: str) -> Iterator[Browser]:
    with Browser(1600, 1000) as page:
        page.open(address)
        deadline = time.monotonic() + 60
        while page.evaluate("eyes.drawn") < 30:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield page


def measure(folder: Path, watch: Watch) -> dict[str, float]:
    """Return worst callback, CPU of the workers and of the supervisor, of some seconds, all in an engine of its own."""
    with playing(folder) as engine, watch(engine.open_page()):
        supervisor: Any = engine._supervisor
        active = engine.status()["active_slot"]
        pids = {"active": supervisor.crew.workers[active].pid, "standby": supervisor.crew.workers[1 - active].pid}
        before, at = engine.status()["counters"], time.monotonic_ns()
        cpu = {name: cpu_ns(pid) for name, pid in pids.items()}
        time.sleep(SECONDS)
        took = time.monotonic_ns() - at
        after = engine.status()["counters"]
        shares = {name: 100 * (cpu_ns(pid) - cpu[name]) / took for name, pid in pids.items()}
        told = after["frames_delivered"] + after["frames_underrun"]  # one by one, while the callback counts on
        assert abs(after["frames_requested"] - told) <= BLOCK_FRAMES
        none_reads = after["none_reads"] - before["none_reads"]
        return shares | {"worst_us": after["worst_callback_ns"] / 1e3, "none_reads": float(none_reads)}


@pytest.mark.skipif(not hasattr(time, "pthread_getcpuclockid"), reason="needs the CPU clock of another process")
def test_the_callback_with_the_page_open_and_without(tmp_path: Path, figures: Figures) -> None:
    """In turn: nobody, a reader of the page's socket, a browser, where there is one."""
    ways: dict[str, Watch] = {"none": nobody, "reader": reader}
    try:
        program()
        ways["browser"] = browser
    except pytest.skip.Exception:
        pass
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, watch in ways.items():
            rows[name].append(measure(tmp_path, watch))
    middle = {name: {key: statistics.median(r[key] for r in row) for key in row[0]} for name, row in rows.items()}
    for name, found in middle.items():
        worst = " ".join(f"{row['worst_us']:.0f}" for row in rows[name])
        figures(
            f"page  {N_NODES} nodes, {name:7}: worst callback {found['worst_us']:6.1f} us (median of {worst}), "
            f"active worker {found['active']:.1f} %, standby {found['standby']:.1f} % of a processor, "
            f"{sum(row['none_reads'] for row in rows[name]):.0f} blocks not there in time",
            **{
                f"{name}_worst_us": found["worst_us"],
                f"{name}_active_percent": found["active"],
                f"{name}_standby_percent": found["standby"],
            },
        )
    for name in ways.keys() - {"none"}:
        figures("", **{f"{name}_over_none_ratio": middle[name]["worst_us"] / middle["none"]["worst_us"]})
    figures.want(CALLBACK_TARGETS)


def test_pictures_a_second_with_200_nodes(tmp_path: Path, figures: Figures) -> None:
    """Counted by requestAnimationFrame in a browser without a window, which draws with the processor alone."""
    program()
    with playing(tmp_path) as engine, browser(engine.open_page()) as page:
        code = "[eyes.drawn, performance.now()]"
        n, at = page.evaluate(code)
        page.evaluate("eyes.worst_draw_ms = 0")
        time.sleep(2 * SECONDS)
        n_now, now = page.evaluate(code)
        assert page.evaluate("eyes.nodes.length") == N_NODES
        per_s = 1000 * (n_now - n) / (now - at)
        draw_ms, worst_ms = page.evaluate("[eyes.draw_ms, eyes.worst_draw_ms]")
        assert page.errors == []
    figures(
        f"page  {N_NODES} nodes: {per_s:.1f} pictures a second, {draw_ms:.2f} ms each, worst {worst_ms:.1f} ms",
        pictures_per_s=per_s,
        draw_ms=draw_ms,
        worst_draw_ms=worst_ms,
    )
    figures.want(FPS_TARGETS)
