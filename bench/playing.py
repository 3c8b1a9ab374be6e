"""An engine in a process of its own, as a user would run it, that also tells when each frame was put out."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from machine import compiled_environment

ROOT = Path(__file__).resolve().parents[1]


def serve(recordings: str, rate_hz: float, block_frames: int, device: str, options: dict[str, Any]) -> None:
    """The child: an engine; a line on stdin asks for the newest (frame, ns) pair, or for its patches ("dump")."""
    import pyengine

    with pyengine.Engine(
        device, sample_rate=rate_hz, block_frames=block_frames, osc_port=0, recordings=recordings, **options
    ) as engine:
        print(json.dumps({"port": engine.osc_port}), flush=True)
        for line in sys.stdin:
            print(json.dumps(engine.dump() if line == "dump\n" else engine._supervisor._audio.time()), flush=True)


class Playing:
    """The parent's side; a context manager."""

    def __init__(
        self,
        recordings: Path,
        rate_hz: float,
        block_frames: int,
        compiled: Path,
        device: str = "none",
        environment: dict[str, str] | None = None,
        **options: Any,
    ) -> None:
        """compiled: a folder for compiled modules: the second start is that of an installed package. device: the
        real-time clock, or another one. options: of the engine; environment: what its process gets besides.
        """
        self.rate_hz = rate_hz
        self.started_ns = time.monotonic_ns()
        code = f"import sys; sys.path[:0] = {[str(ROOT), str(ROOT / 'bench')]!r}; import playing; "
        code += f"playing.serve({str(recordings)!r}, {rate_hz!r}, {block_frames!r}, {device!r}, {options!r})"
        self._process = subprocess.Popen(
            [sys.executable, "-c", code],
            env=compiled_environment(str(compiled)) | (environment or {}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.port: int = self._line()["port"]
        self.listening_ns = time.monotonic_ns()

    def _line(self) -> Any:
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())

    def _ask(self, what: bytes) -> Any:
        assert self._process.stdin is not None
        self._process.stdin.write(what + b"\n")
        self._process.stdin.flush()
        return self._line()

    def newest(self) -> tuple[int, int]:
        """Return the first frame of the newest request, and when it was made."""
        frame, at_ns = self._ask(b"")
        return frame, at_ns

    def dump(self) -> dict[str, Any]:
        """Return both patches, which may be too large for a datagram."""
        patches: dict[str, Any] = self._ask(b"dump")
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
        self._process.wait(10)
        self._process.stdout.close()
