"""pyengine run: an engine until it is told to end."""

from __future__ import annotations

import argparse
import signal
import socket
import threading
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pyengine
from pyengine.cli.shared import EXIT_OK, add_command, add_device, print_result
from pyengine.commands import Commit
from pyengine.difference import anew
from pyengine.errors import EngineError
from pyengine.patch_file import load_patch

OSCQUERY_PORT = 5006
WEB_PORT = 5080

EXAMPLES = """
pyengine run                           default device, or the real-time clock without one
pyengine run --device none --osc-port 0
pyengine run --patch bells.toml
pyengine run --session evening.session
pyengine run --oscquery                tools find every parameter on http://127.0.0.1:5006/
pyengine run --midi                    play what comes from the first MIDI input
pyengine run --midi keys --midi-to 10=drums --midi-cc 74=filt1.cutoff    part of its name; who plays what
pyengine run --web                     and a page that shows it, on http://127.0.0.1:5080/
"""


def add(commands: Any) -> None:
    one = add_command(commands, "run", run, "run the engine and listen for OSC", examples=EXAMPLES, log_level="info")
    add_device(one)
    one.add_argument("--rate", type=float, default=48000, metavar="HZ", help="sample rate (48000)")
    one.add_argument("--block", type=int, default=64, metavar="FRAMES", help="frames of a block (64)")
    one.add_argument("--lead", type=int, default=2, metavar="BLOCKS", help="blocks rendered ahead, 1 to 8 (2)")
    one.add_argument("--osc-port", type=int, default=5005, metavar="N", help="UDP port, 0 for any (5005)")
    tcp = (
        "TCP port for OSC besides, 0 for any, or none (auto: on the loopback the number of UDP's, any if that is taken)"
    )
    one.add_argument("--osc-tcp-port", type=_tcp_port, default="auto", metavar="N|auto|none", help=tcp)
    query = f"serve OSCQuery for tools on this HTTP port, 0 for any ({OSCQUERY_PORT})"
    one.add_argument("--oscquery", type=int, nargs="?", const=OSCQUERY_PORT, metavar="PORT", help=query)
    silent = "do not announce OSCQuery by mDNS, by which tools find it"
    one.add_argument("--no-announce", action="store_true", help=silent)
    one.add_argument("--osc-host", default="127.0.0.1", metavar="ADDRESS", help="address to listen on (127.0.0.1)")
    one.add_argument("--recordings", type=Path, default=Path("recordings"), metavar="DIR", help="folder of recordings")
    samples = "folder that the files of samplers lie in (.)"
    one.add_argument("--samples", type=Path, default=Path("."), metavar="DIR", help=samples)
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
    one.add_argument("--patch", type=Path, metavar="FILE", help="patch file to begin with, .toml or .json")
    history = "seconds of the output kept for `pyengine listen`, 0 for none (30)"
    one.add_argument("--history", type=float, default=30, metavar="S", help=history)
    web = f"serve a page that shows the engine, on the loopback; 0: any free port ({WEB_PORT})"
    one.add_argument("--web", type=int, nargs="?", const=WEB_PORT, metavar="PORT", help=web)
    midi = "play what comes from a MIDI input (its name or part of it; the first one) on the patch's voices"
    one.add_argument("--midi", nargs="?", const="", metavar="PORT", help=midi)
    to = "what plays MIDI, or a channel of it"
    one.add_argument("--midi-to", action="append", default=[], metavar="[CHANNEL=]ID", help=to)
    cc = "let a controller (0 to 127, or pressure) turn a parameter, over its own range or this one"
    form = "[CHANNEL:]NUMBER=MODULE.PARAM[=LOW..HIGH]"
    one.add_argument("--midi-cc", action="append", default=[], metavar=form, help=cc)
    bend = "of the pitch wheel at its end, 0 to 48 (2)"
    one.add_argument("--midi-bend", type=float, default=2.0, metavar="SEMITONES", help=bend)
    one.add_argument("--session", type=Path, metavar="FILE", help="log the session, for `pyengine replay`")


def run(arguments: argparse.Namespace) -> int:
    """Run an engine until it is told to end (Ctrl-C or SIGTERM). The result is printed when it listens."""
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    patch = None if arguments.patch is None else load_patch(arguments.patch, sample_rate_hz=arguments.rate)
    with pyengine.Engine(
        arguments.device,
        sample_rate=arguments.rate,
        block_frames=arguments.block,
        lead_blocks=arguments.lead,
        osc_host=arguments.osc_host,
        osc_port=arguments.osc_port,
        osc_tcp_port=_chosen_tcp_port(arguments),
        oscquery_port=arguments.oscquery,
        announces=not arguments.no_announce,
        recordings=arguments.recordings,
        samples=arguments.samples,
        prime_timeout_ms=arguments.prime_timeout,
        on_prime_timeout=arguments.on_prime_timeout,
        crossfade_ms=arguments.crossfade,
        probation_ms=arguments.probation,
        standby=arguments.standby,
        stall_ms=arguments.stall,
        latency=arguments.latency,
        session=arguments.session,
        history_s=arguments.history,
    ) as engine:
        if arguments.device == "free":
            engine.run_free()
        if patch is not None:
            for command in (*anew(patch).build, Commit(allow_silence=True)):
                engine.do(command)
        page = None if arguments.web is None else engine.open_page(arguments.web)
        port = None
        if arguments.midi is not None:
            port = engine.open_midi(
                arguments.midi, to=arguments.midi_to, cc=arguments.midi_cc, bend_semitones=arguments.midi_bend
            )
        _tell(arguments, engine, page, port)
        while not ended.wait(0.5):
            if engine.wait(0.0):
                raise EngineError("the engine has ended by itself; see the log above")
    return EXIT_OK


def _tell(arguments: argparse.Namespace, engine: pyengine.Engine, page: str | None, port: str | None) -> None:
    output = engine.status()["output"]
    session = None if arguments.session is None else str(arguments.session)
    facts = {
        "version": pyengine.__version__,
        "output": output,
        "osc_host": arguments.osc_host,
        "osc_port": engine.osc_port,
        "osc_tcp_port": engine.osc_tcp_port,
        "oscquery_port": engine.oscquery_port,
        "is_announced": engine.is_announced,
        "recordings": str(arguments.recordings),
        "patch": None if arguments.patch is None else str(arguments.patch),
        "session": session,
        "web": page,
        "midi": port,
    }
    lines = [
        f"pyengine {pyengine.__version__}: {output}",
        f"OSC on {arguments.osc_host}:{engine.osc_port}, recordings in {arguments.recordings}",
    ]
    if engine.osc_tcp_port is not None:
        lines.append(f"OSC over TCP on {arguments.osc_host}:{engine.osc_tcp_port}")
    if engine.oscquery_port is not None:
        lines.append(f"OSCQuery on http://{arguments.osc_host}:{engine.oscquery_port}/{_announced(arguments, engine)}")
    if arguments.patch is not None:
        lines.append(f"playing {arguments.patch}")
    if session is not None:
        lines.append(f"session log in {session}")
    if port is not None:
        lines.append(f"MIDI from {port}")
    if page is not None:
        lines.append(f"page on {page}")
    print_result(arguments, facts, "\n".join(lines))


def _tcp_port(text: str) -> int | str:
    """Return a port, or a word."""
    return text if text in ("auto", "none") else int(text)


def _chosen_tcp_port(arguments: argparse.Namespace) -> int | None:
    """Return what was asked for; without a word, on the loopback, the number of the UDP port, or 0 if that is taken."""
    if arguments.osc_tcp_port != "auto":
        return None if arguments.osc_tcp_port == "none" else int(arguments.osc_tcp_port)
    try:
        if not ip_address(socket.gethostbyname(arguments.osc_host)).is_loopback:
            return None
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((arguments.osc_host, arguments.osc_port))
    except OverflowError:  # no port: the engine will say so
        return None
    except OSError:
        return 0
    return int(arguments.osc_port)


def _announced(arguments: argparse.Namespace, engine: pyengine.Engine) -> str:
    """Return who is told of it by mDNS."""
    if not engine.is_announced:
        return ""
    if arguments.osc_host in ("127.0.0.1", "localhost"):
        return ", announced to this machine alone (for others: --osc-host 0.0.0.0)"
    return ", announced to the network"


def _latency(text: str) -> float | str:
    """Return a number of ms, or a word that the engine checks."""
    try:
        return float(text)
    except ValueError:
        return text
