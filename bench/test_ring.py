"""The SPSC ring beside other queues: bench/ring.c and bench/ring_boost.cpp, compiled here with the extension's flags.

Every block's number is checked in every run, the timed ones too: a queue that hands over a wrong one ends the bench.
Rounds go from queue to queue, each in turn the first and each in every place in memory; medians over the rounds, and of
the ratios of one round. A machine with other things to do takes a processor from one side in some rounds, or in most:
`undisturbed` is what a tenth of the rounds stay below.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from machine import ROOT, flags

SHAPES = {"64 B records": 20_000, "64-frame mono blocks": 10_000, "256-frame stereo blocks": 3_000}
"""Name: blocks in a round, which takes about a millisecond."""
N_ROUNDS = 96
OURS, COPIES = "pyengine", "copies by one side"
PACKAGES = {"boost::lockfree::spsc_queue": "libboost-dev", "moodycamel::ReaderWriterQueue": "libreaderwriterqueue-dev"}
PROBES = {
    "WITH_BOOST": ("boost::lockfree::spsc_queue", "#include <boost/lockfree/spsc_queue.hpp>"),
    "WITH_MOODYCAMEL": ("moodycamel::ReaderWriterQueue", "#include <readerwriterqueue/readerwriterqueue.h>"),
}
Tell = Callable[[str], None]
Row = tuple[float, float, float]
"""ns a block, median and 99 % of the round trips in ns."""


def compiled(command: list[str], source: str = "int main() { return 0; }\n") -> bool:
    """Whether the compiler takes a source from its standard input."""
    return subprocess.run(command, input=source, text=True, capture_output=True).returncode == 0


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """Return the compiled bench, and a word on each queue that is not in it."""
    cc, cxx = shutil.which(os.environ.get("CC", "cc")), shutil.which(os.environ.get("CXX", "c++"))
    if cc is None:
        pytest.skip("there is no C compiler here (Debian: apt install build-essential)")
    folder = tmp_path_factory.mktemp("ring")
    own = [flag for flag in flags().split() if not flag.startswith("-std=")]
    missing, defines, libraries = [], [], []
    for define, (name, include) in PROBES.items():
        if cxx and compiled([cxx, "-x", "c++", "-std=c++17", "-fsyntax-only", "-"], f"{include}\nint main() {{}}\n"):
            defines.append(f"-D{define}")
        else:
            missing.append(f"{name} is not installed (Debian: apt install g++ {PACKAGES[name]})")
    if compiled([cc, "-x", "c", "-", "-l:libportaudio.a", "-o", str(folder / "probe")]):
        defines.append("-DWITH_PORTAUDIO")
        libraries.append("-l:libportaudio.a")
    else:
        missing.append("PortAudio's ring is not installed (Debian: apt install portaudio19-dev)")
    missing.append("rigtorp::SPSCQueue is in no Debian package: the reference is its design, written for this bench")
    objects = []
    if any(define in PROBES for define in (d[2:] for d in defines)):
        objects = [str(folder / "boost.o")]
        source = str(ROOT / "bench" / "ring_boost.cpp")
        subprocess.run([str(cxx), "-std=c++17", *own, *defines, "-c", source, "-o", *objects], check=True)
        libraries.append("-lstdc++")
    sources = [str(ROOT / "bench" / "ring.c"), *(str(ROOT / "csrc" / f"ring{part}.c") for part in ("", "_setup"))]
    out = folder / "ring"
    command = [cc, "-std=c11", *own, *defines, *sources, *objects, *libraries, "-lpthread", "-o", str(out)]
    subprocess.run(command, check=True)
    return out, missing


def played(program: Path, mode: str, shape: int, n_blocks: int) -> dict[str, list[Row]]:
    """Return the rows of each queue, one a round. Fails if a queue handed over a wrong block."""
    command = [str(program), mode, str(shape), str(N_ROUNDS), str(n_blocks)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    rows: dict[str, list[Row]] = {}
    for line in done.stdout.splitlines():
        name, *numbers = line.split("\t")
        per_block, median, p99 = map(float, numbers)
        rows.setdefault(name, []).append((per_block, median, p99))
    assert all(len(row) == N_ROUNDS for row in rows.values())
    return rows


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="the two sides are put on processors as Linux has it")
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("mode", ["threads", "processes"])
def test_ring(program: tuple[Path, list[str]], mode: str, shape: str, benchmark: Any, tell: Tell) -> None:
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("needs two processors: on one, this would measure the scheduler")
    arguments = program[0], mode, list(SHAPES).index(shape), SHAPES[shape]
    rows = benchmark.pedantic(played, args=arguments, rounds=1)
    figures: dict[str, float] = {}
    for name, own in rows.items():
        per_block, median, p99 = (statistics.median(column) for column in zip(*own, strict=True))
        undisturbed = sorted(row[0] for row in own)[len(own) // 10]
        ratio, trip_ratio = (
            statistics.median(theirs[i] / mine[i] for theirs, mine in zip(own, rows[OURS], strict=True)) for i in (0, 1)
        )
        figures |= {f"{name}: ns a block": per_block, f"{name}: ns a block, undisturbed": undisturbed}
        figures[f"{name}: throughput, to pyengine"] = ratio
        text = f"ring     {mode:9} {shape:23} {name:29}: {per_block:7.1f} ns a block (undisturbed {undisturbed:6.1f})"
        text += f", ratio {ratio:5.2f}"
        if name != COPIES:
            figures |= {f"{name}: round trip ns": median, f"{name}: round trip, to pyengine": trip_ratio}
            figures[f"{name}: round trip p99 ns"] = p99
            text += f"; round trip {median:6.0f} ns, ratio {trip_ratio:5.2f}, 99 % below {p99:6.0f} ns"
        tell(text)
    benchmark.extra_info["figures"] = figures


def test_which_queues_are_not_here(program: tuple[Path, list[str]], tell: Tell) -> None:
    for line in program[1]:
        tell(f"ring     {line}")
