"""Plays a piece of examples/pieces on an engine of its own and records it: a while, then again from the top, faster.

    python examples/play_piece.py examples/pieces/night_train.toml 8

A piece is a patch file: its clock and its tracks are modules like all others, so it goes on through every commit.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pyengine
from pyengine.difference import anew
from pyengine.patch_file import load_patch


def main(file: str, seconds: float) -> None:
    piece = load_patch(file)
    out = Path(file).with_suffix(".wav").name
    with pyengine.Engine("auto", osc_port=0, recordings=".") as engine, pyengine.Client(port=engine.osc_port) as client:
        made = anew(piece)
        client.record_start(out)
        client.send_all(made.build)
        client.commit(allow_silence=True)
        client.send_all(made.settings)
        time.sleep(seconds / 2)
        client.set("clock1", "position", 0)  # from the top
        client.set("clock1", "bpm", 140)  # and faster: the beat stays where it is
        time.sleep(seconds / 2)
        report = client.record_stop()
    print(f"{out}: {report['seconds']:.1f} s")


if __name__ == "__main__":
    arguments = sys.argv[1:]
    default = str(Path(__file__).parent / "pieces" / "night_train.toml")
    main(arguments[0] if arguments else default, float(arguments[1]) if len(arguments) > 1 else 8.0)
