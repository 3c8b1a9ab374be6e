"""The MIDI inputs of this machine, of whatever library python-rtmidi was built for: ALSA, JACK, CoreMIDI, ..."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from pyengine.errors import shown
from pyengine.midi import MidiError

INSTALL = "install it: pip install 'pyengine[midi]'"
QUEUE = 1 << 16  # messages that a driver keeps for us
_ALSA_SEQUENCER = Path("/dev/snd/seq")
_NUMBERS = re.compile(r" \d+:\d+$")  # ALSA's own, which change from one plugging in to the next


@dataclass(frozen=True, slots=True)
class Port:
    """An input: the name of its library, its number for that, and its own name."""

    api: str
    api_number: int
    index: int
    name: str

    @property
    def lasting_name(self) -> str:
        """Its name without what changes when it is plugged in again."""
        return _NUMBERS.sub("", self.name)


def rtmidi() -> Any:
    """Return python-rtmidi. Raises MidiError."""
    try:
        return import_module("rtmidi")
    except ImportError as error:
        raise MidiError(f"MIDI ports need python-rtmidi; {INSTALL}") from error


def apis() -> dict[int, str]:
    """Return the libraries that python-rtmidi was built for, by number. Raises MidiError where there is none."""
    library = rtmidi()
    dummy = getattr(library, "API_RTMIDI_DUMMY", None)
    found = {api: str(library.get_api_display_name(api)) for api in library.get_compiled_api() if api != dummy}
    if not found:
        text = "python-rtmidi was built here for no MIDI library; install the headers of one (libasound2-dev,"
        raise MidiError(
            f"{text} libjack-jackd2-dev) and: pip install --force-reinstall --no-binary :all: python-rtmidi"
        )
    return found


def open_input(api: int, name: str = "pyengine") -> Any:
    """Return an input of a library, not connected yet. Raises MidiError: there is no such server or driver now."""
    library = rtmidi()
    if api == library.API_LINUX_ALSA and not _ALSA_SEQUENCER.exists():
        raise MidiError("ALSA has no sequencer here (modprobe snd-seq)")
    try:
        opened = library.MidiIn(api, name=name, queue_size_limit=QUEUE)
    except (library.RtMidiError, OSError, RuntimeError) as error:
        if api == library.API_UNIX_JACK:
            raise MidiError("there is no JACK server to be found (start one: jackd, or pw-jack)") from error
        raise MidiError(f"{library.get_api_display_name(api)} does not start: {error}") from error
    opened.ignore_types(sysex=False, timing=False, active_sense=False)  # without them the times would not add up
    return opened


def ports_of(opened: Any, api: int) -> list[Port]:
    """Return what an input of a library could be connected to."""
    display = str(rtmidi().get_api_display_name(api))
    return [Port(display, api, index, str(name)) for index, name in enumerate(opened.get_ports() or ())]


def list_ports() -> tuple[list[Port], list[str]]:
    """Return the inputs of all libraries, and why there are none of a library. Raises MidiError."""
    found: list[Port] = []
    why: list[str] = []
    for api in apis():
        try:
            opened = open_input(api, "pyengine-list")
        except MidiError as error:
            why.append(str(error))
            continue
        found += ports_of(opened, api)
        opened.delete()
    return found, why


def choose(wanted: str, ports: Sequence[Port]) -> Port | None:
    """Return the port of that name, or else the first that has it as a part, whatever the case; '': the first."""
    for test in (
        lambda port: port.name == wanted,
        lambda port: port.lasting_name == wanted,
        lambda port: wanted.lower() in port.name.lower(),
    ):
        found = next((port for port in ports if test(port)), None)
        if found is not None:
            return found
    return None


def none_found(wanted: str, ports: Sequence[Port], why: Sequence[str]) -> MidiError:
    """Return the error for a port that is not there: with those that are, or why there are none."""
    if ports:
        listed = ", ".join(f"{port.name!r} ({port.api})" for port in ports)
        return MidiError(f"there is no MIDI input {shown(wanted)}; inputs here: {listed}; give one or a part of it")
    reason = f": {'; '.join(why)}" if why else ""
    named = f" {shown(wanted)}" if wanted else ""
    return MidiError(
        f"there is no MIDI input{named}, nor any other{reason}; connect one, `pyengine midi --ports` lists them"
    )


@contextlib.contextmanager
def hushed() -> Iterator[None]:
    """Keep what the libraries print off stderr: what is of use of it we say ourselves."""
    own, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, 2)
        yield
    finally:
        os.dup2(own, 2)
        os.close(own)
        os.close(null)


def jack_library() -> str:
    """Return the file of the JACK library that python-rtmidi has loaded, '' where it cannot be told."""
    if sys.platform != "linux":
        return ""
    for line in Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace").splitlines():
        path = line.partition("/")[2]
        if "libjack" in path.rpartition("/")[2]:
            return f"/{path}"
    return ""
