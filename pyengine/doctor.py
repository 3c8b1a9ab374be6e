"""What works on this machine, and what to do about what does not: each check does the thing itself.

The rest of the package is imported where it is used: it may be what does not work.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import re
import shlex
import shutil
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pyengine.errors import DeviceError, EngineError

OK, WARN, FAIL = "ok", "warn", "fail"
LIMITS = "allow it in /etc/security/limits.d (docs/realtime.md, 'On your machine'), then log in again"
_ERROR_LIMIT = 1e-6  # of a sine of 0.2: float32 has 24 bits
_OWN_EXTRAS = ("test", "dev", "peers")  # for work on pyengine, not with it


@dataclass(frozen=True, slots=True)
class Check:
    """One line. state: OK, WARN or FAIL; advice: what to do about it, '' where there is nothing to do."""

    name: str
    state: str
    found: str
    advice: str = ""

    def as_dict(self) -> dict[str, str]:
        return asdict(self)


def checks(device: str, seconds: float, osc_port: int) -> Iterator[Check]:
    """Yield the checks as they are made. The last ones play a quiet tone for so many seconds."""
    for one in (system, compiler, extension, processor, governor, portaudio, devices):
        yield _made(one)
    yield port(osc_port)
    for name, packages in _extras().items():
        yield extra(name, packages)
    try:
        yield from played(device, seconds)
    except (EngineError, ImportError) as error:
        yield Check("engine", FAIL, str(error), "mend what fails above; --log-level debug says more")


def _made(check: Callable[[], Check]) -> Check:
    try:
        return check()
    except EngineError as error:
        return Check(check.__name__, FAIL, str(error))
    except ImportError as error:
        return Check(check.__name__, FAIL, f"cannot be imported: {error}", "install it again: pip install .")


# ---- the machine ------------------------------------------------------------------------------------------


def compiler() -> Check:
    """It is asked to compile, as a compiler may be there without headers."""
    words = shlex.split(os.environ.get("CC", "") or sysconfig.get_config_var("CC") or "cc")
    advice = "apt install build-essential python3-dev (macOS: xcode-select --install); needed to build pyengine only"
    if not words or shutil.which(words[0]) is None:
        return Check("compiler", WARN, f"there is no {words[0] if words else 'cc'}", advice)
    include = sysconfig.get_paths()["include"]
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "probe.c"
        source.write_text("#include <Python.h>\n#include <stdatomic.h>\nint main(void) { return 0; }\n")
        command = [*words, "-std=c11", f"-I{include}", "-c", str(source), "-o", str(source.with_suffix(".o"))]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    version = subprocess.run([words[0], "--version"], capture_output=True, text=True, timeout=60, check=False).stdout
    name = version.splitlines()[0] if version else words[0]
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if "error" in line] or [done.stderr.strip()[-200:]]
        return Check("compiler", WARN, f"{name} does not compile: {lines[0]}", advice)
    return Check("compiler", OK, name)


def extension() -> Check:
    """A tone is rendered and compared with float64."""
    import numpy as np

    from pyengine import _native
    from pyengine.offline import render
    from pyengine.patch import Patch

    sound = render(Patch().create("osc", "simple_sine"), 0.1)[:, 0]
    error = float(np.abs(sound - 0.2 * np.sin(2 * np.pi * 440.0 * np.arange(len(sound)) / 48000)).max())
    used, best = _native.isa_name(), _native.isa_names()[-1]
    found = f"{len(_native.describe_modules())} module types, {used} of {', '.join(_native.isa_names())}"
    if not error < _ERROR_LIMIT:
        text = f"a sine is off by {error:g}; build it again: pip install --force-reinstall --no-cache-dir pyengine"
        return Check("extension", FAIL, found, text)
    if used != best:
        return Check("extension", WARN, found, f"PYENGINE_ISA names {used}; unset it for {best}")
    return Check("extension", OK, f"{found}; a sine is right within {error:.0e}")


def processor() -> Check:
    n_usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    load = os.getloadavg()[0]
    found = f"{n_usable} processors to be used, load {load:.1f}"
    if n_usable < 2:
        return Check("processors", WARN, found, "two renderers share one: give it more, or run with --standby cold")
    if load > n_usable:
        return Check(
            "processors", WARN, found, "the machine is busy with other things; end some before you judge by it"
        )
    return Check("processors", OK, found)


def governor() -> Check:
    names = {path.read_text().strip() for path in Path("/sys/devices/system/cpu").glob("cpu*/cpufreq/scaling_governor")}
    if not names:
        return Check("governor", OK, "none to be seen here (a virtual machine, or no Linux)")
    found = ", ".join(sorted(names))
    if names <= {"performance"}:
        return Check("governor", OK, found)
    return Check("governor", WARN, found, "cpupower frequency-set -g performance, while you play")


def system() -> Check:
    python = f"{platform.python_implementation()} {platform.python_version()}"
    found = f"{platform.system()} {platform.release()}, {python}"
    if platform.system() != "Linux":
        return Check("system", WARN, found, "pyengine is tested on Linux; here it should work, with less to measure")
    is_rt = Path("/sys/kernel/realtime").exists() or "PREEMPT_RT" in platform.version()
    return Check("system", OK, f"{found}{', PREEMPT_RT' if is_rt else ''}")


# ---- sound ------------------------------------------------------------------------------------------------


def portaudio() -> Check:
    from pyengine import output

    try:
        output.describe_devices()
        import sounddevice

        return Check("portaudio", OK, str(sounddevice.get_portaudio_version()[1]))
    except DeviceError as error:
        return Check("portaudio", WARN, str(error), "without it there is no sound from a device, only files")


def devices() -> Check:
    from pyengine import output

    advice = "start a sound server (jackd, pipewire) or see that your user may use the card (group audio)"
    try:
        found = output.describe_devices()
    except DeviceError:
        return Check("devices", WARN, "none without PortAudio", "the engine plays on its own clock and records")
    if not found:
        return Check("devices", WARN, "PortAudio finds no output device", advice)
    default = next((row["name"] for row in found if row["is_default"]), None)
    names = ", ".join(f"{row['index']} {row['name']} ({row['host_api']})" for row in found[:6])
    more = f" and {len(found) - 6} more" if len(found) > 6 else ""
    if default is None:
        return Check("devices", WARN, f"{names}{more}; none is the default", "name one: pyengine run --device NAME")
    return Check("devices", OK, f"{names}{more}; default: {default}")


def port(osc_port: int) -> Check:
    from pyengine.client import Client

    name = f"OSC port {osc_port}"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(("127.0.0.1", osc_port))
            return Check(name, OK, "free")
        except OSError as error:
            why = error.strerror
    try:
        with Client(port=osc_port, timeout_s=1.0) as client:
            status = client.status()
        return Check(name, OK, f"a pyengine plays there, up {status['uptime_s']:.0f} s")
    except EngineError:
        return Check(name, WARN, f"{why}, and no pyengine", f"end what uses it (ss -ulpn 'sport = :{osc_port}')")


# ---- extras -----------------------------------------------------------------------------------------------


def _extras() -> dict[str, list[str]]:
    """Return the packages that each extra wants, from what the installed package says of itself."""
    wanted: dict[str, list[str]] = {}
    try:
        rows = importlib.metadata.requires("pyengine") or []
    except importlib.metadata.PackageNotFoundError:
        return {}
    for row in rows:
        match = re.search(r"""extra\s*==\s*['"]([^'"]+)['"]""", row)
        name = re.match(r"[A-Za-z0-9._-]+", row)
        if match is not None and name is not None and match[1] not in _OWN_EXTRAS:
            wanted.setdefault(match[1], []).append(name[0])
    return wanted


def extra(name: str, packages: list[str]) -> Check:
    missing = []
    for package in packages:
        try:
            importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            missing.append(package)
    if missing:
        return Check(f"extra {name}", WARN, f"{', '.join(missing)} missing", f"pip install 'pyengine[{name}]'")
    return Check(f"extra {name}", OK, ", ".join(packages))


# ---- an engine --------------------------------------------------------------------------------------------


def played(device: str, seconds: float) -> Iterator[Check]:
    """Play a tone below hearing on the device and tell what the engine got and missed."""
    from pyengine.engine import Engine

    with tempfile.TemporaryDirectory() as folder, Engine(device, osc_port=None, recordings=folder) as engine:
        engine.create("osc", "simple_sine")
        engine.set("osc", "gain", 1e-4)
        engine.commit(allow_silence=True)
        before = engine.status()["counters"]
        time.sleep(seconds)
        status = engine.status()
        engine.create("env", "adsr")
        report = engine.commit(allow_silence=True)  # the first one comes upon an engine at rest
    yield Check("commit", OK, f"ready in {report['ready_ms']:.1f} ms, heard after {report['total_ms']:.1f} ms")
    yield _priority(status)
    yield _memory(status)
    yield _sound(status, before, seconds)


def _priority(status: dict[str, Any]) -> Check:
    is_rendering = all(slot["is_realtime"] for slot in status["slots"])
    is_calling = status["is_realtime_clock"]
    limit = ""
    if sys.platform == "linux":
        import resource

        limit = f" (limit of rtprio: {resource.getrlimit(resource.RLIMIT_RTPRIO)[0]})"
    if is_rendering and is_calling:
        return Check("priority", OK, "real-time, for the callback and both renderers")
    who = " and ".join(name for name, has in (("the callback", is_calling), ("the renderers", is_rendering)) if not has)
    return Check("priority", WARN, f"no real-time priority for {who}{limit}", f"rtprio: {LIMITS}")


def _memory(status: dict[str, Any]) -> Check:
    if all(slot["is_locked"] for slot in status["slots"]):
        return Check("memory", OK, "locked, in both renderers")
    limit = ""
    if sys.platform == "linux":
        import resource

        limit = f" (limit of memlock: {resource.getrlimit(resource.RLIMIT_MEMLOCK)[0]} bytes)"
    return Check(
        "memory", WARN, f"not locked: it may be paged out in the middle of a note{limit}", f"memlock: {LIMITS}"
    )


def _sound(status: dict[str, Any], before: dict[str, int], seconds: float) -> Check:
    now = status["counters"]
    grown = {name: now[name] - before[name] for name in now if name in before}
    n_frames, missing = grown["frames_requested"], grown["frames_underrun"]
    block_us = 1e6 * status["block_frames"] / status["sample_rate"]
    found = (
        f"{n_frames} frames in {seconds:g} s on {status['output']}: {missing} missing, "
        f"{grown['device_underflows']} xruns of the device, {grown['clock_missed_periods']} periods missed; "
        f"worst callback {now['worst_callback_ns'] / 1e3:.0f} us, a block lasts {block_us:.0f}"
    )
    if not n_frames:
        return Check("sound", FAIL, f"{status['output']} asked for nothing in {seconds:g} s", "try another --device")
    if not status["output_is_alive"]:
        return Check("sound", FAIL, f"{status['output']} went away", "see the log above; try another --device")
    if missing or grown["device_underflows"]:
        advice = (
            "mend what is warned of above; then --lead 3, a larger buffer of the sound server, or a quieter machine"
        )
        return Check("sound", WARN, found, advice)
    if grown["clock_missed_periods"]:
        return Check(
            "sound", WARN, found, "the processor came late; nothing was lost, but a quieter machine would help"
        )
    return Check("sound", OK, found)
