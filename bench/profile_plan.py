"""What a block is spent on, function by function, in instructions: `make profile`.

callgrind counts instructions, not time: the same for the same binary and input, whatever else the machine does. It
runs the program on a processor of its own making, which has AVX2 and no AVX-512. Only what pe_render_offline does is
counted. The tables go into docs/performance.md, between the marks; the words around them are written by hand.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from machine import describe

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "performance.md"
BEGIN, END = "<!-- written by make profile: begin -->", "<!-- end -->"
BLOCK_FRAMES, RATE_HZ = 64, 48000.0
LEAST_SHARE = 0.01


@dataclass(frozen=True)
class Case:
    """n voices (sine, adsr, biquad_filter), some blocks; closed: all at rest; moving: cutoffs on a ramp."""

    title: str
    n_voices: int
    n_blocks: int
    closed: bool = False
    moving: bool = False


CASES = (
    Case("one voice", 1, 400),
    Case("64 voices", 64, 50),
    Case("1024 voices", 1024, 10),
    Case("1024 voices at rest", 1024, 100, closed=True),
    Case("64 voices, every cutoff on its ramp", 64, 10, moving=True),
)


def child(n_voices: int, n_blocks: int, closed: bool, moving: bool) -> None:
    """Render a case, after a while in which envelopes settle, or filters die away."""
    import numpy as np

    from pyengine import Patch, _native
    from pyengine.plan import address, new_plan

    patch = Patch()
    for i in range(n_voices):
        patch.create(f"o{i}", "simple_sine").create(f"e{i}", "adsr").create(f"f{i}", "biquad_filter")
        patch.connect(f"o{i}", f"e{i}").connect(f"e{i}", f"f{i}")
    n_warm = 400 * BLOCK_FRAMES if closed else 40 * BLOCK_FRAMES
    n_frames = n_warm + n_blocks * BLOCK_FRAMES
    records = []
    if closed:
        records = [_native.Record(*address(patch, ("gate", f"e{i}", None, 0)), frame=0) for i in range(n_voices)]
    if moving:
        for frame in range(n_warm, n_frames, BLOCK_FRAMES):
            value = 2000.0 + frame % 1000
            records += [
                _native.Record(*address(patch, ("mod", f"f{i}", "cutoff", value)), frame=frame) for i in range(n_voices)
            ]
    with new_plan(patch, sample_rate_hz=RATE_HZ, max_block_frames=BLOCK_FRAMES, n_channels=1) as plan:
        out = np.zeros((n_frames, 1), np.float32)
        plan.render(_native.commands(records), len(records), n_frames, BLOCK_FRAMES, out)


def counts(case: Case, n_extra_blocks: int, isa: str) -> dict[str, int]:
    """Return instructions by function of a run of the case with so many blocks."""
    with tempfile.TemporaryDirectory(prefix="pyengine-profile-") as folder:
        out = Path(folder) / "callgrind.out"
        code = f"import sys; sys.path.insert(0, {str(ROOT / 'bench')!r}); import profile_plan; "
        code += f"profile_plan.child({case.n_voices}, {n_extra_blocks}, {case.closed}, {case.moving})"
        command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}", "--toggle-collect=pe_render_offline"]
        environment = {**os.environ, "PYENGINE_ISA": isa, "OPENBLAS_NUM_THREADS": "1"}
        subprocess.run(
            [*command, sys.executable, "-c", code], check=True, capture_output=True, env=environment, cwd=ROOT
        )
        text = subprocess.run(
            ["callgrind_annotate", "--threshold=100", str(out)], check=True, capture_output=True, text=True
        )
    found: dict[str, int] = {}
    for line in text.stdout.splitlines():
        match = re.match(r"\s*([\d,]+)(?: \([^)]*\))?\s+\S*?:(\S+)", line)
        if match:
            name = match[2].split("'")[0]
            found[name] = found.get(name, 0) + int(match[1].replace(",", ""))
    return found


def table(case: Case, isa: str) -> list[str]:
    """Return the rows of a case: the difference of two runs that differ in the blocks that count only."""
    few, many = counts(case, case.n_blocks, isa), counts(case, 2 * case.n_blocks, isa)
    n = case.n_blocks * BLOCK_FRAMES * case.n_voices
    spent = {name: many[name] - few.get(name, 0) for name in many}
    total = sum(spent.values())
    lines = [f"**{case.title}, {isa}**: {total / n:.2f} instructions per voice and sample", ""]
    lines += ["| function | instructions per voice and sample | share |", "|---|---|---|"]
    for name, value in sorted(spent.items(), key=lambda item: -item[1]):
        if value >= LEAST_SHARE * total:
            lines.append(f"| `{name}` | {value / n:.3f} | {100 * value / total:.1f} % |")
    return [*lines, ""]


def main() -> int:
    """Write the tables into the page. Returns 1, with a word, where valgrind is missing."""
    if shutil.which("valgrind") is None or shutil.which("callgrind_annotate") is None:
        sys.stderr.write("make profile needs valgrind, which is not installed here; apt install valgrind\n")
        return 1
    lines = [
        "",
        "```text",
        *[line for line in describe(RATE_HZ, BLOCK_FRAMES) if not line.startswith("machine")],
        "command:  make profile",
        "```",
        "",
    ]
    for case in CASES:
        lines += table(case, "avx2")
    lines += table(CASES[1], "sse2")
    text = PAGE.read_text(encoding="utf-8")
    head, rest = text.split(BEGIN, 1)
    PAGE.write_text(head + BEGIN + "\n" + "\n".join(lines) + END + rest.split(END, 1)[1], encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
