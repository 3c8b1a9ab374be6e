"""An engine in a process of its own, as a user would run it, that also tells when each frame was put out."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from machine import compiled_environment

ROOT = Path(__file__).resolve().parents[1]


def busy_loop(stop: threading.Event) -> None:
    """Pure Python that holds the GIL whenever it can, and collects garbage over and over."""
    n = 0
    while not stop.is_set():
        litter = [[i] for i in range(10_000)]
        litter[0].append(litter)  # type: ignore[arg-type]
        for _ in range(10_000):
            n += 1
        gc.collect()


def serve(device: str, settings: dict[str, Any]) -> None:
    """The child: an engine. A line on stdin asks for the newest (frame, ns) pair; `busy` and `idle` do more before, and
    `dump` asks for its patches instead.
    """
    import pyengine

    stop, loop = threading.Event(), threading.Thread()
    with pyengine.Engine(device, osc_port=0, **settings) as engine:
        supervisor: Any = engine._supervisor
        print(json.dumps({"port": engine.osc_port, "status": engine.status()}), flush=True)
        for line in map(str.strip, sys.stdin):
            if line == "busy":
                stop.clear()
                loop = threading.Thread(target=busy_loop, args=(stop,))
                loop.start()
            if line == "idle":
                stop.set()
                loop.join()
            print(json.dumps(engine.dump() if line == "dump" else supervisor._audio.time()), flush=True)


class Playing:
    """The parent's side; a context manager."""

    def __init__(
        self,
        recordings: Path,
        rate_hz: float,
        block_frames: int,
        compiled: Path,
        device: str = "none",
        environment: Mapping[str, str] | None = None,
        **options: Any,
    ) -> None:
        """compiled: a folder for compiled modules: the second start is that of an installed package. device: the
        real-time clock, or another one. options: of the engine; environment: what its process gets besides.
        """
        self.rate_hz = rate_hz
        self.started_ns = time.monotonic_ns()
        settings = {"recordings": str(recordings), "sample_rate": rate_hz, "block_frames": block_frames, **options}
        code = f"import sys; sys.path[:0] = {[str(ROOT), str(ROOT / 'bench')]!r}; import playing; "
        code += f"playing.serve({device!r}, {settings!r})"
        self._process = subprocess.Popen(
            [sys.executable, "-c", code],
            env=compiled_environment(str(compiled)) | dict(environment or {}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        hello = self._line()
        self.port: int = hello["port"]
        self.status: dict[str, Any] = hello["status"]
        self.listening_ns = time.monotonic_ns()

    def _line(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the engine's process has ended, code {self._process.wait(10)}; what it said is above")
        return json.loads(line)

    def newest(self, doing: str = "") -> tuple[int, int]:
        """Return the first frame of the newest request, and when it was made. doing: 'busy' or 'idle' from now on."""
        assert self._process.stdin is not None
        self._process.stdin.write(doing.encode() + b"\n")
        self._process.stdin.flush()
        frame, at_ns = self._line()
        return frame, at_ns

    def dump(self) -> dict[str, Any]:
        """Return both patches, which may be too large for a datagram."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"dump\n")
        self._process.stdin.flush()
        patches: dict[str, Any] = self._line()
        return patches

    def put_out_ns(self, frame: int) -> float:
        """Return when the callback put out this frame, on the clock of time.monotonic_ns."""
        newest_frame, at_ns = self.newest()
        return float(at_ns - 1e9 * (newest_frame - frame) / self.rate_hz)

    def __enter__(self) -> Playing:
        return self

    def __exit__(self, *exc: object) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(20)
        self._process.stdout.close()
