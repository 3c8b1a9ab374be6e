"""A JACK server without a sound card, and a client that tells when the steps of another come out of it."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from compiling import compiled
from scipy.ndimage import median_filter

HERE = Path(__file__).resolve().parent


def need_jack(folder: Path) -> Path:
    """Return the program that tells of steps. Skips the bench where there is no JACK, and says what to install."""
    if shutil.which("jackd") is None:
        pytest.skip("jackd is not installed (apt install jackd2)")
    return compiled(HERE / "jack_steps.c", folder, "JACK's headers: apt install libjack-jackd2-dev", "-ljack")


@contextmanager
def ended(process: subprocess.Popen[str]) -> Iterator[subprocess.Popen[str]]:
    """Let a process end, by its pid, when it is needed no more."""
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
        try:
            process.communicate(timeout=5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()


@contextmanager
def jack_server(rate_hz: float, period_frames: int, log: Path) -> Iterator[dict[str, str]]:
    """Run a JACK server of its own name; yields what its clients need in their environment."""
    name = f"pyengine-bench-{os.getpid()}"
    environment = {"JACK_DEFAULT_SERVER": name, "JACK_NO_AUDIO_RESERVATION": "1", "JACK_NO_START_SERVER": "1"}
    command = ["jackd", "-n", name, "-d", "dummy", "-r", str(int(rate_hz)), "-p", str(period_frames)]
    with log.open("w") as errors:
        server = subprocess.Popen(
            command, env=os.environ | environment, stdin=subprocess.DEVNULL, stdout=errors, stderr=errors, text=True
        )
    with ended(server):
        yield environment


class Steps:
    """The client that tells of steps; a context manager."""

    def __init__(
        self, program: Path, client: str, rate_hz: float, n_steps: int, file: Path, environment: dict[str, str]
    ) -> None:
        self._file = file
        self._rate_hz = rate_hz
        self.process = subprocess.Popen(
            [str(program), client, str(n_steps), str(file)],
            env=os.environ | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def await_word(self, word: str) -> None:
        assert self.process.stdout is not None
        line = self.process.stdout.readline().strip()
        if line != word:
            pytest.skip(f"the JACK client did not get {word!r}: {line!r}; is another server in the way?")

    def end(self, is_complete: bool) -> tuple[list[tuple[float, float]], int]:
        """Return (value, ns) of each step, and the server's xruns meanwhile.

        The time of a frame is that of the cycles around it, at the median of 201 of them: no jitter of a wake-up is
        in it.
        """
        if not is_complete:
            self.process.terminate()
        assert self.process.stdout is not None
        n_steps, n_xruns = map(int, self.process.stdout.readline().split())
        self.process.wait(10)
        rows = [line.split() for line in self._file.read_text().splitlines()]
        steps = [(float(a), int(b)) for kind, a, b in rows if kind == "s"]
        frames, ns = np.array([(int(a), int(b)) for kind, a, b in rows if kind == "c"], np.int64).T
        assert len(steps) == n_steps
        frame_ns = 1e9 / self._rate_hz
        late = (ns - ns[0]) - (frames - frames[0]) * frame_ns
        steady = median_filter(late, 201, mode="nearest")

        def time_of(frame: int) -> float:
            at = int(np.searchsorted(frames, frame, "right")) - 1
            return float(ns[0] + (frame - frames[0]) * frame_ns + steady[at])

        return [(value, time_of(frame)) for value, frame in steps], n_xruns

    def __enter__(self) -> Steps:
        return self

    def __exit__(self, *exc: object) -> None:
        with ended(self.process):
            pass
