"""pyengine replay: a session log to a WAV file."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

from pyengine.cli.shared import EXIT_DAMAGED, EXIT_OK, add_command, check_output, print_result, print_warning

EXAMPLES = """
pyengine replay evening.session -o evening.wav
pyengine replay evening.session -o evening96.wav --rate 96000 --ideal
"""


def add(commands: Any) -> None:
    help = "render a session log, bit for bit as it was played"
    one = add_command(commands, "replay", replay, help, examples=EXAMPLES)
    one.add_argument("file", type=Path, metavar="FILE", help="what `run --session` or /session/start wrote")
    one.add_argument("-o", "--output", type=Path, required=True, metavar="OUT.wav", help="WAV file of floats to write")
    one.add_argument("--rate", type=float, metavar="HZ", help="sample rate (the session's, which alone gives its bits)")
    one.add_argument("--samples", type=Path, default=Path("."), metavar="DIR", help="folder of the samples played (.)")
    one.add_argument("--ideal", action="store_true", help="leave out underruns, late swaps and fall-backs")


def replay(arguments: argparse.Namespace) -> int:
    """Render a session log to a WAV file; EXIT_DAMAGED if only a part of it could be read."""
    from pyengine.playback import replay_to_wav

    check_output(arguments.output)
    start_s = time.perf_counter()
    facts = replay_to_wav(
        arguments.file,
        arguments.output,
        ideal=arguments.ideal,
        sample_rate=arguments.rate,
        samples=arguments.samples,
    )
    took_s = time.perf_counter() - start_s
    seconds = facts.n_frames / facts.sample_rate_hz
    for warning in facts.warnings:
        print_warning(warning)
    print_result(
        arguments,
        facts.as_dict() | {"path": str(arguments.output), "seconds": seconds, "took_s": took_s},
        f"{arguments.output}: {facts.n_frames} frames ({seconds:.3f} s at {facts.sample_rate_hz:g} Hz), "
        f"{facts.swaps} swaps, {facts.records} commands, {facts.silences} silences; "
        f"{seconds / max(took_s, 1e-9):.0f} times real time",
    )
    return EXIT_DAMAGED if facts.is_damaged else EXIT_OK
