"""pyengine midi: a MIDI file to a sound file, or into an engine that runs."""

from __future__ import annotations

import argparse
import time
from collections import Counter
from pathlib import Path
from typing import Any

from pyengine.cli.shared import (
    EXIT_OK,
    UsageError,
    add_command,
    add_engine_address,
    check_rate,
    print_result,
    print_warning,
    running_engine,
    sound_format,
    write_sound,
)
from pyengine.controllers import parse_controllers
from pyengine.errors import EngineError
from pyengine.midi import MidiEvent, bundles, parse_routes, read_midi, render_events, routes_for
from pyengine.notes import note_name
from pyengine.patch import Patch
from pyengine.patch_file import load_patch

EXAMPLES = """
pyengine midi tune.mid                                   play it on the engine that runs
pyengine midi tune.mid --to 1=bass --to 2=lead           channel by channel
pyengine midi tune.mid --patch fm.toml -o tune.wav       render it without an engine
pyengine midi tune.mid --describe --json                 what is in it
pyengine midi --ports                                    the inputs that `pyengine run --midi NAME` can play
"""
ABOUT = """Without --to the patch's `voices` play it: one all channels, of several the first channel 1, and so on. A
module with a gate can play too; then one note at a time is heard. Pitch wheel (2 semitones) and sustain pedal reach
voices."""
_START_S, _AHEAD_S = 0.3, 1.0  # from now to the first note; and how long before its time a bundle is sent


def add(commands: Any) -> None:
    one = add_command(commands, "midi", midi, "play or render a MIDI file", examples=EXAMPLES, about=ABOUT)
    one.add_argument("file", type=Path, nargs="?", metavar="FILE.mid", help="MIDI file")
    one.add_argument("--ports", action="store_true", help="list the MIDI inputs of this machine, and play nothing")
    one.add_argument("--to", action="append", default=[], metavar="[CHANNEL=]ID", help="what plays it, or this channel")
    cc = "let a controller (0 to 127, or pressure) turn a parameter, over its own range or this one"
    form = "[CHANNEL:]NUMBER=MODULE.PARAM[=LOW..HIGH]"
    one.add_argument("--cc", action="append", default=[], metavar=form, help=cc)
    bend = "of the pitch wheel at its end, 0 to 48 (2)"
    one.add_argument("--bend", type=float, default=2.0, metavar="SEMITONES", help=bend)
    one.add_argument("--patch", type=Path, metavar="FILE", help="patch file to render it with")
    one.add_argument("-o", "--output", type=Path, metavar="OUT.wav|flac", help="sound file to write")
    one.add_argument("--tail", type=float, default=2.0, metavar="S", help="rendered behind the last event (2)")
    one.add_argument("--rate", type=float, default=48000, metavar="HZ", help="sample rate of the file (48000)")
    one.add_argument("--describe", action="store_true", help="tell what is in it, and play nothing")
    add_engine_address(one)


def midi(arguments: argparse.Namespace) -> int:
    """Play, render or describe a MIDI file."""
    if arguments.ports:
        return _ports(arguments)
    if arguments.file is None:
        raise UsageError("give a MIDI file to play, or --ports for the inputs of this machine")
    if not 0 <= arguments.bend <= 48:
        raise UsageError(f"--bend {arguments.bend:g} is outside 0..48 semitones")
    events = read_midi(arguments.file, arguments.bend)
    facts = describe(events)
    if arguments.describe:
        print_result(arguments, facts, _text(arguments.file, facts))
        return EXIT_OK
    if not events:
        raise EngineError(f"{arguments.file} has no notes; nothing to play")
    if (arguments.patch is None) != (arguments.output is None):
        raise UsageError("--patch and -o belong together: a patch to render with, and the file to write")
    if arguments.patch is not None:
        return _render(arguments, events, facts)
    return _play(arguments, events, facts)


def _ports(arguments: argparse.Namespace) -> int:
    """List the inputs, and say why a library has none; no input is no failure."""
    from pyengine.midi_in.ports import apis, hushed, list_ports

    with hushed():
        ports, why = list_ports()
    rows = [{"name": port.name, "api": port.api} for port in ports]
    lines = [f"{port.name}  ({port.api})" for port in ports] or ["no MIDI input"]
    lines += [f"  {text}" for text in why]
    print_result(arguments, {"ports": rows, "apis": list(apis().values()), "absent": why}, "\n".join(lines))
    return EXIT_OK


def describe(events: list[MidiEvent]) -> dict[str, Any]:
    """Return length, and notes by channel."""
    notes = [event for event in events if event.kind == "on"]
    channels: dict[str, Any] = {}
    for channel, n in sorted(Counter(event.channel for event in notes).items()):
        numbers = [event.number for event in notes if event.channel == channel]
        channels[str(channel)] = {"notes": n, "lowest": note_name(min(numbers)), "highest": note_name(max(numbers))}
    return {"seconds": events[-1].seconds if events else 0.0, "notes": len(notes), "channels": channels}


def _text(file: Path, facts: dict[str, Any]) -> str:
    lines = [f"{file}: {facts['seconds']:.3f} s, {facts['notes']} notes"]
    for channel, told in facts["channels"].items():
        lines.append(f"  channel {channel}: {told['notes']} notes, {told['lowest']} to {told['highest']}")
    return "\n".join(lines)


def _render(arguments: argparse.Namespace, events: list[MidiEvent], facts: dict[str, Any]) -> int:
    import numpy as np

    from pyengine import offline

    check_rate(arguments)
    kind, subtype = sound_format(arguments)
    patch = load_patch(arguments.patch, sample_rate_hz=arguments.rate)
    routes = routes_for(patch, parse_routes(arguments.to))
    played = render_events(patch, routes, events, parse_controllers(arguments.cc), arguments.rate)
    sound = offline.render(patch, events[-1].seconds + arguments.tail, events=played, sample_rate=arguments.rate)
    write_sound(arguments.output, sound, int(arguments.rate), kind, subtype)
    peak = float(np.abs(sound).max(initial=0.0))
    if peak == 0.0:
        print_warning("it is silent; are the modules that sound connected?")
    if peak > 1.0:
        print_warning(f"its peak is {peak:.2f}, beyond full scale; lower a gain")
    told = facts | {"path": str(arguments.output), "frames": len(sound), "peak": peak, "settings": len(played)}
    print_result(arguments, told, f"{arguments.output}: {len(sound) / arguments.rate:.3f} s, peak {peak:.3f}")
    return EXIT_OK


def _play(arguments: argparse.Namespace, events: list[MidiEvent], facts: dict[str, Any]) -> int:
    with running_engine(arguments) as client:
        patch = Patch.from_json(client.dump()["committed"])
        routes = routes_for(patch, parse_routes(arguments.to))
        start_s = time.time() + _START_S
        n_late = n_sent = 0
        try:
            controllers, rate_hz = parse_controllers(arguments.cc), float(client.status()["sample_rate"])
            for at_s, commands in bundles(patch, routes, events, controllers, rate_hz):
                time.sleep(max(0.0, start_s + at_s - _AHEAD_S - time.time()))
                replies = client.send_bundle(commands, at=start_s + at_s)
                n_sent += len(replies)
                n_late += sum("late" in reply.args for reply in replies)
            time.sleep(max(0.0, start_s + events[-1].seconds - time.time()))
        except KeyboardInterrupt:
            for id in sorted(routes.ids):
                client.all_off(id)
            raise
    print_result(
        arguments, facts | {"settings": n_sent, "late": n_late}, f"{_text(arguments.file, facts)}; {n_late} late"
    )
    return EXIT_OK
