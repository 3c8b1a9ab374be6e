"""Blocks that nobody had in time, with the two renderers on different processors and with both anywhere.

python bench/apart.py [--seconds 240] [--lead 1] [--block 64] [--rate 48000]

Two engines play the same three modules side by side, so that what the machine does to one it does to the other. The
render threads of one keep apart, as always; those of the other are allowed every processor.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1])]

from machine import describe  # noqa: E402
from references import play_three_modules  # noqa: E402

import pyengine  # noqa: E402

COUNTED = ("none_reads", "hedged_blocks", "clock_missed_periods")


def let_run_anywhere(engine: pyengine.Engine) -> None:
    """Allow its render threads every processor that this process may use."""
    for slot in engine.status()["slots"]:
        for thread in Path(f"/proc/{slot['pid']}/task").iterdir():
            if (thread / "comm").read_text().strip() == "pe-render":
                os.sched_setaffinity(int(thread.name), os.sched_getaffinity(0))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=240.0)
    parser.add_argument("--lead", type=int, default=1)
    parser.add_argument("--block", type=int, default=64)
    parser.add_argument("--rate", type=float, default=48000.0)
    args = parser.parse_args()
    if not hasattr(os, "sched_getaffinity") or len(os.sched_getaffinity(0)) < 2:
        print("apart.py: there is one processor, or no way to choose one: nothing to compare", file=sys.stderr)
        return 2
    options = {"sample_rate": args.rate, "block_frames": args.block, "lead_blocks": args.lead, "osc_port": 0}
    with pyengine.Engine("none", **options) as apart, pyengine.Engine("none", **options) as anywhere:
        for engine in (apart, anywhere):
            play_three_modules(engine)
        time.sleep(1.0)
        let_run_anywhere(anywhere)
        before = [engine.status()["counters"] for engine in (apart, anywhere)]
        time.sleep(args.seconds)
        after = [engine.status()["counters"] for engine in (apart, anywhere)]
    print("\n".join(describe(args.rate, args.block)))
    print(f"{args.seconds:g} s on the real-time clock, lead {args.lead}: apart, anywhere")
    for name in COUNTED:
        counts = [b[name] - a[name] for a, b in zip(before, after, strict=True)]
        print(f"  {name:22} {counts[0]:8} {counts[1]:8}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
