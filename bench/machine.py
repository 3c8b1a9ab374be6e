"""What a figure was measured on: printed beside every figure."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _output_of(*command: str) -> str:
    try:
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=10).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        return ""


def flags() -> str:
    """The flags in build_ext.py, read and not imported: it needs no cffi then."""
    found = re.search(r"^FLAGS = (\[.*?\])$", _read(str(ROOT / "build_ext.py")), re.MULTILINE | re.DOTALL)
    own = " ".join(re.findall(r'"([^"]*)"', found[1])) if found else "unknown"
    return " ".join([own, os.environ.get("PYENGINE_CFLAGS", "")]).strip()


def isa_names() -> list[str]:
    """The instruction sets that PYENGINE_ISA may name on this machine; none where the core does not choose."""
    from pyengine import _native  # here: this file is read before anything is built

    names = getattr(_native, "isa_names", None)
    return list(names()) if names else []


def has_cpu_flag(name: str) -> bool:
    """Say whether the first processor has a feature, as Linux names it."""
    found = re.search(r"^flags\s*:\s*(.*)$", _read("/proc/cpuinfo"), re.MULTILINE)
    return found is not None and name in found[1].split()


def conditions(rate_hz: float, block_frames: int) -> dict[str, str]:
    """Return machine, compiler, flags, commit, rate and block."""
    model = re.search(r"^model name\s*:\s*(.*)$", _read("/proc/cpuinfo"), re.MULTILINE)
    is_virtual = " hypervisor " in _read("/proc/cpuinfo").replace("\n", " ")
    compiler = _output_of(os.environ.get("CC", "cc"), "--version").splitlines()
    commit = _output_of("git", "rev-parse", "--short", "HEAD") or "unknown"
    is_dirty = bool(_output_of("git", "status", "--porcelain", "--", "csrc", "pyengine", "build_ext.py"))
    kind = ", virtual" if is_virtual else ""
    load = f"{os.getloadavg()[0]:.2f}"
    return {
        "machine": f"{model[1] if model else platform.machine()}, {os.cpu_count()} processors{kind}, load {load}",
        "system": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        "compiler": compiler[0] if compiler else "unknown",
        "flags": flags(),
        "isa": ", ".join(isa_names()) or "the compiler's default",
        "commit": f"{commit}{' with changes' if is_dirty else ''}",
        "audio": f"{rate_hz:g} Hz, blocks of {block_frames} frames ({1e6 * block_frames / rate_hz:.1f} us)",
    }


def describe(rate_hz: float, block_frames: int) -> list[str]:
    """Return the conditions, a line each."""
    return [f"{name + ':':9} {text}" for name, text in conditions(rate_hz, block_frames).items()]


def compiled_environment(folder: str) -> dict[str, str]:
    """Return an environment for interpreters that keep compiled modules in a folder, as an installed package does."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "PYTHONPYCACHEPREFIX": folder}


def steal_s() -> float:
    """Processor time that the host gave to others since boot, all processors together; 0 where it is not told."""
    first = _read("/proc/stat").split("\n", 1)[0].split()
    return int(first[8]) / os.sysconf("SC_CLK_TCK") if len(first) > 8 else 0.0


def cpu_ns(pid: int) -> int:
    """CPU time of a process; Linux's clock id for another process's time."""
    return time.clock_gettime_ns((~pid << 3) | 2)
