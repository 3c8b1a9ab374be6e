"""The command line: arguments, logging, exit codes. Nothing else in the package prints."""

from __future__ import annotations

import argparse
import json
import logging
import signal
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pyengine
from pyengine.errors import CommandError, EngineError

EXIT_OK, EXIT_FAILED, EXIT_USAGE, EXIT_ENGINE, EXIT_DAMAGED = 0, 1, 2, 3, 4

EXAMPLES = """examples:
  pyengine demo                          play the four scenarios, record and measure them
  pyengine run                           default device, or the real-time clock without one
  pyengine run --device none --osc-port 5005
  pyengine run --session evening.session; pyengine replay evening.session -o evening.wav
  oscsend localhost 5005 /patch/create ss osc1 simple_sine
  oscsend localhost 5005 /patch/commit
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; return its exit code.

    0 done, 1 a scenario failed, 2 usage, 3 the engine refused, 4 a session log is damaged.
    """
    arguments = _parser().parse_args(argv)
    logging.basicConfig(
        level=arguments.log_level.upper(),
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    try:
        return int(arguments.command(arguments))
    except CommandError as error:
        print(f"pyengine: {error}", file=sys.stderr)
        return EXIT_USAGE
    except EngineError as error:
        print(f"pyengine: {error}", file=sys.stderr)
        return EXIT_ENGINE
    except KeyboardInterrupt:
        return 130


def run(arguments: argparse.Namespace) -> int:
    """Run an engine until it is told to end (Ctrl-C or SIGTERM)."""
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    with pyengine.Engine(
        arguments.device,
        sample_rate=arguments.rate,
        block_frames=arguments.block,
        lead_blocks=arguments.lead,
        osc_host=arguments.osc_host,
        osc_port=arguments.osc_port,
        recordings=arguments.recordings,
        prime_timeout_ms=arguments.prime_timeout,
        on_prime_timeout=arguments.on_prime_timeout,
        crossfade_ms=arguments.crossfade,
        probation_ms=arguments.probation,
        standby=arguments.standby,
        stall_ms=arguments.stall,
        latency=arguments.latency,
        session=arguments.session,
    ) as engine:
        if arguments.device == "free":
            engine.run_free()
        status = engine.status()
        print(f"pyengine {pyengine.__version__}: {status['output']}", flush=True)
        print(f"OSC on {arguments.osc_host}:{engine.osc_port}, recordings in {arguments.recordings}", flush=True)
        if arguments.session is not None:
            print(f"session log in {arguments.session}", flush=True)
        while not ended.wait(0.5):
            if engine.wait(0.0):
                print("pyengine: the engine has ended by itself; see the log above", file=sys.stderr)
                return EXIT_ENGINE
    return EXIT_OK


def demo(arguments: argparse.Namespace) -> int:
    """Play and measure the scenarios; 1 if one fails."""
    from pyengine.demo import play

    report = play(arguments.device, arguments.output, say=print)
    return EXIT_OK if report.is_good else EXIT_FAILED


def replay(arguments: argparse.Namespace) -> int:
    """Render a session log to a WAV file; EXIT_DAMAGED if only a part of it could be read."""
    from pyengine.playback import replay_to_wav

    start_s = time.perf_counter()
    facts = replay_to_wav(arguments.file, arguments.output, ideal=arguments.ideal, sample_rate=arguments.rate)
    took_s = time.perf_counter() - start_s
    seconds = facts.n_frames / facts.sample_rate_hz
    for warning in facts.warnings:
        print(f"pyengine: warning: {warning}", file=sys.stderr)
    if arguments.json:
        print(json.dumps(facts.as_dict() | {"path": str(arguments.output), "seconds": seconds, "took_s": took_s}))
    else:
        print(
            f"{arguments.output}: {facts.n_frames} frames ({seconds:.3f} s at {facts.sample_rate_hz:g} Hz), "
            f"{facts.swaps} swaps, {facts.records} commands, {facts.silences} silences; "
            f"{seconds / max(took_s, 1e-9):.0f} times real time"
        )
    return EXIT_DAMAGED if facts.is_damaged else EXIT_OK


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="pyengine",
        description="A headless modular synthesizer: change the patch in the middle of a note.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"pyengine {pyengine.__version__}")
    parser.set_defaults(log_level="warning")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    one = commands.add_parser("run", help="run the engine and listen for OSC")
    one.set_defaults(command=run)
    device = (
        "an output device (name, part of it, or number), 'none' for the real-time clock, 'free' for the "
        "free-running one; default: the default device if there is one"
    )
    one.add_argument("--device", default="auto", metavar="NAME|none|free", help=device)
    one.add_argument("--rate", type=float, default=48000, metavar="HZ", help="sample rate (48000)")
    one.add_argument("--block", type=int, default=64, metavar="FRAMES", help="frames of a block (64)")
    one.add_argument("--lead", type=int, default=2, metavar="BLOCKS", help="blocks rendered ahead, 1 to 8 (2)")
    one.add_argument("--osc-port", type=int, default=5005, metavar="N", help="UDP port, 0 for any (5005)")
    one.add_argument("--osc-host", default="127.0.0.1", metavar="ADDRESS", help="address to listen on (127.0.0.1)")
    one.add_argument("--recordings", type=Path, default=Path("recordings"), metavar="DIR", help="folder of recordings")
    one.add_argument("--prime-timeout", type=float, default=500, metavar="MS", help="for a commit to be ready (500)")
    one.add_argument("--on-prime-timeout", choices=("keep", "swap"), default="keep", help="then (keep)")
    probation = "how long the patch before is kept playing beside a new one, to fall back to (500)"
    one.add_argument("--probation", type=float, default=500, metavar="MS", help=probation)
    standby = "hot: two processes render everything; cold: one, and a death costs a moment of silence (hot)"
    one.add_argument("--standby", choices=("hot", "cold"), default="hot", help=standby)
    one.add_argument(
        "--stall", type=float, default=1000, metavar="MS", help="a renderer still for so long is dead (1000)"
    )
    latency = "from the arrival of a setting to its effect: MS, shortest or asap (shortest)"
    one.add_argument("--latency", type=_latency, default="shortest", metavar="MS|shortest|asap", help=latency)
    one.add_argument("--crossfade", type=float, default=5, metavar="MS", help="of a swap, 0 to 1000 (5)")
    one.add_argument("--session", type=Path, metavar="FILE", help="log the session, for `pyengine replay`")
    _log_level(one, "info")

    two = commands.add_parser("demo", help="play the four scenarios through OSC, record, measure, draw")
    two.set_defaults(command=demo)
    two.add_argument("--device", default="auto", metavar="NAME|none|free", help=device)
    two.add_argument("--output", type=Path, default=Path("demo-output"), metavar="DIR", help="for WAV and picture")
    _log_level(two, "warning")

    three = commands.add_parser("replay", help="render a session log, bit for bit as it was played")
    three.set_defaults(command=replay)
    three.add_argument("file", type=Path, metavar="FILE", help="what `run --session` or /session/start wrote")
    three.add_argument(
        "-o", "--output", type=Path, required=True, metavar="OUT.wav", help="WAV file of floats to write"
    )
    three.add_argument(
        "--rate", type=float, metavar="HZ", help="sample rate (the session's, which alone gives its bits)"
    )
    three.add_argument("--ideal", action="store_true", help="leave out underruns, late swaps and fall-backs")
    three.add_argument("--json", action="store_true", help="print the facts as one JSON object")
    _log_level(three, "warning")
    return parser


def _latency(text: str) -> float | str:
    """Return a number of ms, or a word that the engine checks."""
    try:
        return float(text)
    except ValueError:
        return text


def _log_level(parser: argparse.ArgumentParser, default: str) -> None:
    levels = ("debug", "info", "warning", "error")
    parser.add_argument("--log-level", choices=levels, default=default, help=f"({default})")
