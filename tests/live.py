"""A whole engine with its workers, on the free-running clock, recorded from its first frame on.

with Live(tmp_path) as live:
    live.client.create("osc1", "simple_sine")
    frame = live.commit()["frame"]
    live.advance(4800)
    samples = live.samples()  # float32 (frames, channels), from frame 0 on
"""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import numpy.typing as npt
import soundfile
from waiting import wait_until

from pyengine import Client, Engine, Patch, render
from pyengine.board import Board
from pyengine.commands import Command

Samples = npt.NDArray[np.float32]
RATE_HZ = 48000


class Live:
    """A recorded engine and a client of it over UDP. options: those of Engine.

    may_rest: workers rest as on a real-time clock; what is sent without a time then comes when they have woken.
    """

    def __init__(self, folder: Path, *, is_recorded: bool = True, may_rest: bool = False, **options: Any) -> None:
        self.folder = folder
        options = {"prime_timeout_ms": 20_000, "probation_ms": 0} | options  # a loaded machine must not refuse a commit
        config_of = Board._config
        with mock.patch.object(Board, "_config", lambda board: replace(config_of(board), may_rest=may_rest)):
            self.engine = Engine("free", osc_port=0, recordings=folder, **options)
        assert self.engine.osc_port
        self.client = Client(port=self.engine.osc_port, timeout_s=30)
        self._n_takes = 0
        if is_recorded:
            self.record()

    def __enter__(self) -> Live:
        return self

    def __exit__(self, *exc: object) -> None:
        self.client.close()
        self.engine.close()

    def record(self) -> None:
        self._n_takes += 1
        self.client.record_start(f"take{self._n_takes}.wav")

    def advance(self, n_frames: int) -> int:
        """Put out n_frames more; return the frames so far."""
        return self.engine.advance(frames=n_frames)

    def commit(self, **options: Any) -> dict[str, Any]:
        return self.client.commit(**options)

    def status(self) -> dict[str, Any]:
        return self.client.status()

    def counters(self) -> dict[str, int]:
        counters: dict[str, int] = self.status()["counters"]
        return counters

    def samples(self) -> Samples:
        """End the recording and return it."""
        report = self.client.record_stop()
        assert report["lost_frames"] == 0
        samples, _ = soundfile.read(self.folder / report["name"], dtype="float32", always_2d=True)
        assert len(samples) == report["frames"]
        return samples

    def time_of(self, frame: int) -> float:
        """Return the Unix time of a frame: on the free-running clock a time tag means a frame."""
        status = self.status()
        return float(status["time_origin_s"] + (frame - status["time_origin_frame"]) / status["sample_rate"])

    def send_at(self, frame: int, *commands: Command) -> None:
        """Send a bundle that takes effect at a frame."""
        self.client.send_bundle(commands, at=self.time_of(frame))

    def pid(self, slot: int) -> int:
        return int(self.status()["slots"][slot]["pid"])

    def kill(self, slot: int) -> int:
        """kill -9 the worker of a slot and wait until the engine knows; return its pid."""
        deaths, pid = self.status()["worker_deaths"], self.pid(slot)
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: self.status()["worker_deaths"] > deaths)
        return pid

    def await_redundancy(self) -> None:
        """Wait until both slots render the same blocks; the clock goes on by what that takes."""
        wait_until(lambda: self.status()["is_redundant"] and self.status()["commit"] == "none", 30)


def tone(freq: float = 440.0, **params: float) -> Patch:
    patch = Patch().create("osc1", "simple_sine").set("osc1", "freq", freq)
    for name, value in params.items():
        patch.set("osc1", name, value)
    return patch


def chain(n: int, **osc: float) -> Patch:
    """Return osc1, osc1 -> env1 or osc1 -> env1 -> filt1."""
    patch = Patch().create("osc1", "simple_sine")
    for name, value in osc.items():
        patch.set("osc1", name, value)
    for source, dest, type in [("osc1", "env1", "adsr"), ("env1", "filt1", "biquad_filter")][: n - 1]:
        patch.create(dest, type).connect(source, dest)
    return patch


def stereo(patch: Patch, n_frames: int, **options: Any) -> Samples:
    """Return what a patch sounds like on two channels, rendered offline."""
    samples: Samples = render(patch, frames=n_frames, channels=2, **options)
    return samples


def second_difference(x: npt.NDArray[Any]) -> float:
    """Return the largest second difference of a signal: clicks and kinks stand out in it."""
    return float(np.abs(np.diff(x.astype(np.float64), 2, axis=0)).max())


def rms(x: npt.NDArray[Any]) -> float:
    return float(np.sqrt(np.mean(np.square(x.astype(np.float64)))))


def frequency_hz(x: npt.NDArray[Any]) -> float:
    """Return the frequency of a tone from its first to its last upward crossing of zero."""
    x = x.astype(np.float64)
    (at,) = np.nonzero((x[:-1] < 0) & (x[1:] >= 0))
    crossings = at - x[at] / (x[at + 1] - x[at])
    return float((len(crossings) - 1) / (crossings[-1] - crossings[0]) * RATE_HZ)


def smallest_peak(x: npt.NDArray[Any], window: int) -> float:
    """Return the peak of the quietest window of a signal."""
    whole = np.abs(x[: len(x) // window * window]).reshape(-1, window)
    return float(whole.max(axis=1).min())


def same_bits(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> bool:
    return a.shape == b.shape and a.tobytes() == b.tobytes()


def first_difference(a: Samples, b: Samples) -> str:
    """Return where two recordings part, for the message of a failing test."""
    n = min(len(a), len(b))
    (at,) = np.nonzero((a[:n] != b[:n]).any(axis=1))
    return f"{len(at)} of {n} frames differ, first {at[:1]}, lengths {len(a)} and {len(b)}"


def assert_same(a: Samples, b: Samples) -> None:
    assert same_bits(a, b), first_difference(a, b)


def pieces(frames: Sequence[int], end: int) -> list[tuple[int, int]]:
    return list(zip(frames, [*frames[1:], end], strict=True))
