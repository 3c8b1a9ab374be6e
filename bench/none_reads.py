"""None-reads on the real-time clock, beside the periods a bare C thread misses in the same run.

python bench/none_reads.py [--seconds 600] [--busy] [--block 64] [--rate 48000] [--lead 2]

Plays three modules on the real-time clock without a device. Exit code 1 if blocks were missing at more
requests than the control thread missed periods: then the fault is ours and not the machine's.
"""

from __future__ import annotations

import argparse
import sys
import threading
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1])]

from control import Pacer  # noqa: E402
from machine import describe, steal_s  # noqa: E402
from references import play_three_modules  # noqa: E402

import pyengine  # noqa: E402
from pyengine.supervisor import CLOCK_PRIORITY  # noqa: E402


def busy_loop(stop: threading.Event) -> None:
    """Pure Python in the supervisor's process: it holds the GIL whenever it can."""
    n = 0
    while not stop.is_set():
        for _ in range(10_000):
            n += 1


def measure(args: argparse.Namespace) -> dict[str, float]:
    """Return the figures of one run."""
    period_ns = 1e9 * args.block / args.rate
    stop = threading.Event()
    with pyengine.Engine("none", sample_rate=args.rate, block_frames=args.block, lead_blocks=args.lead) as engine:
        play_three_modules(engine)
        if args.busy:
            threading.Thread(target=busy_loop, args=(stop,), daemon=True).start()
        time.sleep(0.5)
        before, stolen_s = engine.status()["counters"], steal_s()
        with Pacer(period_ns, CLOCK_PRIORITY) as control:
            time.sleep(args.seconds)
        status, stolen_s = engine.status(), steal_s() - stolen_s
        stop.set()
    after = status["counters"]
    delta = {name: after[name] - before[name] for name in after}
    return {
        "is_realtime": float(status["is_realtime_clock"] and all(s["is_realtime"] for s in status["slots"])),
        "control_is_realtime": float(control.is_realtime),
        "callbacks": delta["callbacks"],
        "none_reads": delta["none_reads"],
        "frames_underrun": delta["frames_underrun"],
        "hedged_blocks": delta["hedged_blocks"],
        "clock_missed_periods": delta["clock_missed_periods"],
        "clock_worst_late_us": after["clock_worst_late_ns"] / 1e3,
        "worst_callback_us": after["worst_callback_ns"] / 1e3,
        "worst_render_us": max(s["counters"]["worst_render_ns"] for s in status["slots"]) / 1e3,
        "control_periods": control.n_periods,
        "control_missed_periods": control.missed_periods,
        "control_worst_late_us": control.worst_late_ns / 1e3,
        "stolen_cpu_ms": 1e3 * stolen_s,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--busy", action="store_true", help="a Python loop in the supervisor's process all the while")
    parser.add_argument("--rate", type=float, default=48000.0)
    parser.add_argument("--block", type=int, default=64)
    parser.add_argument("--lead", type=int, default=2)
    args = parser.parse_args()
    for line in describe(args.rate, args.block):
        print(line)
    beside = "beside a busy Python thread" if args.busy else "alone"
    print(f"{args.seconds:g} s on the real-time clock, lead {args.lead}, {beside}")
    figures = measure(args)
    for name, value in figures.items():
        print(f"  {name:24} {value:12.1f}" if name.endswith(("_us", "_ms")) else f"  {name:24} {value:10.0f}")
    is_worse = figures["none_reads"] > figures["control_missed_periods"]
    print("WORSE than the control" if is_worse else "no worse than the control")
    return 1 if is_worse else 0


if __name__ == "__main__":
    sys.exit(main())
