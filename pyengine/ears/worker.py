"""A process that describes a sound for an engine: it takes a description in no time of the engine's own.

    python -m pyengine.ears.worker '{"sound": FD, "lifeline": FD, "frames": N, "channels": N, "rate_hz": HZ, ...}'

The sound comes as a file descriptor of float32, interleaved. One line of JSON goes to stdout: {"found": {...}}, or
{"error": "..."}. It ends when the lifeline does, whatever it is doing: the engine has gone.
"""

from __future__ import annotations

import json
import mmap
import os
import sys
import threading
from pathlib import Path
from typing import Any

NICENESS = 15


def main(arguments: str) -> None:
    """Describe one sound."""
    asked = json.loads(arguments)
    threading.Thread(target=_end_with, args=(asked["lifeline"],), daemon=True).start()
    try:
        os.nice(NICENESS)
    except OSError:
        pass  # then it runs as all others do
    from pyengine.errors import EngineError

    try:
        answer: dict[str, Any] = {"found": _describe(asked)}
    except EngineError as error:
        answer = {"error": str(error)}
    sys.stdout.write(json.dumps(answer) + "\n")


def _end_with(lifeline: int) -> None:
    os.read(lifeline, 1)
    os._exit(1)


def _describe(asked: dict[str, Any]) -> dict[str, Any]:
    import numpy as np

    from pyengine.ears import describe

    n_frames, n_channels = asked["frames"], asked["channels"]
    with mmap.mmap(asked["sound"], 4 * n_frames * n_channels, access=mmap.ACCESS_READ) as memory:
        samples = np.frombuffer(memory, np.float32, n_frames * n_channels).reshape(n_frames, n_channels).copy()
    found = describe(samples, asked["rate_hz"], is_preceded_by_silence=asked["is_preceded_by_silence"])
    if asked["picture"]:
        from pyengine.ears.picture import draw

        draw(samples, asked["rate_hz"], found, Path(asked["picture"]), title=asked["title"])
    return found.as_dict()


if __name__ == "__main__":
    main(sys.argv[1])
