"""A file imports, or includes, only files above it: pyengine/*.py and csrc, each in one order.

The files of a package within pyengine stand where the package stands.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "pyengine"
CSRC = ROOT / "csrc"

# From the ground up. osc stands above the supervisor, which uses its decoder, and client beside osc.
MODULES = [
    "errors",
    "ears",
    "facts",
    "_native",
    "notes",
    "specs",
    "node_data",
    "limits",
    "cycles",
    "patch_reader",
    "patch",
    "hints",
    "sequence",
    "polyphony",
    "cues",
    "samples",
    "playing",
    "positions",
    "toml_text",
    "patch_file",
    "routing",
    "drawing",
    "commands",
    "methods",
    "controllers",
    "midi",
    "replies",
    "events",
    "patterns",
    "addresses",
    "messages",
    "requests",
    "osc",
    "framing",
    "links",
    "client",
    "difference",
    "plan",
    "offline",
    "channel",
    "processors",
    "slots",
    "segment",
    "worker",
    "portaudio",
    "output",
    "outlet",
    "recording",
    "listening",
    "session_file",
    "session",
    "playback",
    "loop",
    "intake",
    "desk",
    "lineage",
    "shortway",
    "board",
    "crew",
    "mending",
    "commits",
    "supervisor",
    "listing",
    "status",
    "notify",
    "dispatch",
    "streams",
    "server",
    "serving",
    "oscquery",
    "eyes",
    "midi_in",
    "engine",
    "measure",
    "doctor",
    "demo",
    "cli",
]
ENTRANCES = {"__init__", "__main__"}  # nobody imports them; they may import anything

HEADERS = [
    "api.h",
    "pe.h",
    "rt.h",
    "counters.h",
    "hash.h",
    "ring.h",
    "segment.h",
    "meter.h",
    "capture.h",
    "dsp/smooth.h",
    "dsp/approx.h",
    "dsp/gate.h",
    "dsp/random.h",
    "dsp/blep_table.h",
    "dsp/module.h",
    "dsp/event.h",
    "dsp/beat.h",
    "dsp/note.h",
    "dsp/polyphony.h",
    "dsp/levels.h",
    "dsp/line.h",
    "dsp/sample.h",
    "dsp/sampler_read.h",
    "dsp/values.h",
    "dsp/drum.h",
    "dsp/drum_run.h",
    "dsp/simd.h",
    "dsp/param_simd.h",
    "dsp/phase_simd.h",
    "dsp/sine_simd.h",
    "dsp/adsr_simd.h",
    "dsp/biquad_simd.h",
    "dsp/gain_simd.h",
    "dsp/mixer_simd.h",
    "dsp/pan_simd.h",
    "dsp/noise_simd.h",
    "dsp/osc_simd.h",
    "dsp/drive_curves_simd.h",
    "dsp/drive_simd.h",
    "dsp/sampler_simd.h",
    "dsp/reverb_simd.h",
    "dsp/svf_simd.h",
    "mix_simd.h",
    "dsp/simd_each.h",
    "dsp/registry.h",
    "registry_setup.h",
    "schedule.h",
    "mix.h",
    "data.h",
    "plan.h",
    "plan_setup.h",
    "journal.h",
    "rest.h",
    "pace.h",
    "render.h",
    "checkpoint.h",
    "thread_setup.h",
    "worker.h",
    "swap.h",
    "timeline.h",
    "history.h",
    "output.h",
    "port.h",
    "clock.h",
    "wire.h",
    "inbox.h",
]
# Where a source without a header of its own name belongs; all others stand with theirs.
SOURCES = {
    "status": "pe.h",
    "process": "segment.h",
    "wake": "segment.h",
    "offline": "render.h",
    "prime": "plan.h",
    "bank": "plan_setup.h",
    "events": "plan_setup.h",
    "layout": "plan_setup.h",
    "repeat": "plan.h",
    "sampled": "plan.h",
    "warmup": "plan.h",
    "session": "journal.h",
    "replay": "swap.h",
    "inbox_socket": "inbox.h",
    "inbox_table": "inbox.h",
}


def imported(path: Path) -> set[str]:
    """Return the modules of this package that a file imports, wherever in the file it does."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("pyengine.")}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}:{node.lineno} imports relatively; write pyengine.NAME"
            parts = (node.module or "").split(".")
            if parts[0] == "pyengine":
                names |= {parts[1]} if len(parts) > 1 else {alias.name for alias in node.names}
    return names


def included(path: Path) -> set[str]:
    """Return the headers of csrc that a file includes, as paths within csrc."""
    names = re.findall(r'^#include "([^"]+)"', path.read_text(encoding="utf-8"), re.MULTILINE)
    return {(path.parent / name).resolve().relative_to(CSRC).as_posix() for name in names}


def place(path: Path) -> str:
    """Return the name under which a Python file stands in the list: its own, or its package's."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def rank(path: Path) -> int:
    """Return how far up the list the headers may lie that a file of csrc includes."""
    name = path.relative_to(CSRC).as_posix()
    if path.suffix == ".h":
        return HEADERS.index(name)
    stem = name.removesuffix(".c").removesuffix("_setup")
    own_names = [f"{stem}.h", f"{stem}_setup.h", SOURCES.get(stem, "")]
    if path.stem.endswith("_setup"):
        own_names[:2] = reversed(own_names[:2])
    for own in own_names:
        if own in HEADERS:
            return HEADERS.index(own) + 1
    assert stem.startswith("dsp/"), f"{name} has no place in the list of tests/test_imports.py"
    return HEADERS.index("dsp/registry.h") + 1


PYTHON_FILES = [path for path in sorted(PACKAGE.rglob("*.py")) if place(path) not in ENTRANCES]
C_FILES = sorted([*CSRC.rglob("*.c"), *CSRC.rglob("*.h")])


@pytest.mark.parametrize("path", PYTHON_FILES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_a_module_imports_only_modules_above_it(path: Path) -> None:
    name = place(path)
    assert name in MODULES, f"{path.name} has no place in the list of tests/test_imports.py"
    above = {"_core", *MODULES[: MODULES.index(name)]}
    own = {name} if path.parent != PACKAGE else set()
    assert imported(path) - above - own == set()


COMMAND_FILES = [path for path in sorted((PACKAGE / "cli").glob("*.py")) if path.stem not in ("__init__", "shared")]


@pytest.mark.parametrize("path", COMMAND_FILES, ids=lambda path: path.stem)
def test_a_command_stands_by_itself(path: Path) -> None:
    """It imports what commands share, and files that begin with its own name and a _."""
    names = re.findall(r"from pyengine\.cli\.(\w+) import", path.read_text(encoding="utf-8"))
    assert [name for name in names if name != "shared" and not name.startswith(f"{path.stem.split('_')[0]}_")] == []
    assert "from pyengine.cli import" not in path.read_text(encoding="utf-8")


def test_only_native_imports_the_extension() -> None:
    assert [path.stem for path in sorted(PACKAGE.rglob("*.py")) if "_core" in imported(path)] == ["_native"]


def test_nothing_imports_an_entrance() -> None:
    assert [path.stem for path in PYTHON_FILES if imported(path) & ENTRANCES] == []


@pytest.mark.parametrize("path", C_FILES, ids=lambda path: path.relative_to(CSRC).as_posix())
def test_a_c_file_includes_only_headers_above_it(path: Path) -> None:
    assert included(path) - set(HEADERS[: rank(path)]) == set()


def test_every_header_has_its_place() -> None:
    assert {path.relative_to(CSRC).as_posix() for path in CSRC.rglob("*.h")} == set(HEADERS)


@pytest.mark.parametrize("module", ["pyengine.cli", "pyengine.engine", "pyengine.worker"])
def test_what_an_engine_starts_with_loads_no_numpy_and_no_audio_library(module: str) -> None:
    heavy = ("numpy", "soundfile", "sounddevice")
    code = f"import sys, {module}; print([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_the_package_is_found_beside_a_folder_of_its_name(tmp_path: Path) -> None:
    """As where a clone lies: the folder of that name is not the package."""
    (tmp_path / "pyengine").mkdir()
    command = [sys.executable, "-c", "import pyengine; print(pyengine.Patch.__name__)"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("Patch\n", "")


def test_a_render_loads_only_what_it_needs() -> None:
    """What only the engine needs would be felt by who only renders."""
    unneeded = ("json", "mmap", "tempfile", "numpy.typing", "pyengine.facts")
    code = (
        "import numpy, sys; before = set(sys.modules); import pyengine; "
        "pyengine.render(pyengine.Patch().create('osc1', 'simple_sine'), frames=64); "
        f"print([name for name in {unneeded!r} if name in set(sys.modules) - before])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("[]\n", "")
