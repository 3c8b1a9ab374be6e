"""The pages that show what to type and what comes back: every line is typed, and what comes back is compared.

In a block marked `console` a line behind `$ ` is a command, what follows is its output; `...` stands for anything.
A page is one session of bash in an empty folder, from its first block to its last.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = ["tutorial.md", "agents.md"]
MARK = "@@ end of command"


@dataclass(frozen=True)
class Step:
    """A command and what it says; output None: not shown on the page."""

    line: int
    command: str
    output: str


def steps_of(page: str) -> list[Step]:
    """Return the commands of a page in order. A command goes on where its line ends in a backslash or an open <<EOF."""
    steps: list[Step] = []
    is_inside, until = False, ""
    for number, line in enumerate(page.splitlines(), 1):
        if line.startswith("```"):
            is_inside = line == "```console"
        elif not is_inside:
            continue
        elif until or (steps and steps[-1].command.endswith("\\") and not steps[-1].output):
            steps[-1] = Step(steps[-1].line, f"{steps[-1].command}\n{line}", "")
            until = "" if line == until else until
        elif line.startswith("$ "):
            steps.append(Step(number, line[2:], ""))
            here = re.search(r"<<'?(\w+)'?", line)
            until = here.group(1) if here else ""
        else:
            steps[-1] = Step(steps[-1].line, steps[-1].command, f"{steps[-1].output}{line}\n")
    return steps


def matches(shown: str, said: str) -> bool:
    """Return whether `shown`, in which ... stands for anything, is what was said; spaces at line ends do not count."""
    parts = [re.escape(part) for part in re.split(r"\.\.\.", clean(shown))]
    return re.fullmatch(".*?".join(parts), clean(said), re.DOTALL) is not None


def clean(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.strip().splitlines())


def environment() -> dict[str, str]:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    return {**os.environ, "PATH": path, "COLUMNS": "100", "NO_COLOR": "1"}


def play(steps: list[Step], folder: Path) -> list[str]:
    """Type all of it into one bash; return what each said, fewer where it ended before. What runs on is ended."""
    typed = [f"{step.command}\necho '{MARK}'\n" for step in steps]
    script = folder / "page.sh"
    script.write_text("trap 'kill $(jobs -p) 2>/dev/null; wait' EXIT\n" + "".join(typed), encoding="utf-8")
    work = folder / "work"
    work.mkdir()
    done = subprocess.run(
        ["bash", str(script)],
        cwd=work,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=240,
        check=False,
    )
    return done.stdout.split(f"{MARK}\n")[:-1]


@pytest.mark.parametrize("name", PAGES)
def test_what_a_page_says_comes_back(name: str, tmp_path: Path) -> None:
    if shutil.which("pyengine", path=environment()["PATH"]) is None:
        pytest.skip("needs the installed pyengine command")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(("127.0.0.1", 5005))
        except OSError:
            pytest.skip("port 5005 is in use on this machine")
    steps = steps_of((ROOT / "docs" / name).read_text(encoding="utf-8"))
    assert len(steps) > 5
    said = play(steps, tmp_path)
    wrong = [
        f"{name}:{step.line}: $ {step.command}\nshown:\n{step.output}said:\n{text}"
        for step, text in zip(steps, said, strict=False)
        if not matches(step.output, text)
    ]
    assert not wrong, "\n".join(wrong)
    assert len(said) == len(steps), f"the page ended at line {steps[len(said)].line}"


def test_the_comparison_tells_what_differs() -> None:
    assert matches("a ... c\n", "a b c") and matches("...", "") and not matches("a b\n", "a c\n")
    page = "```console\n$ cat <<EOF\none\nEOF\none\n$ false \\\n  || echo two\ntwo\n```\n```sh\n$ no\n```\n"
    assert [(s.command, s.output) for s in steps_of(page)] == [
        ("cat <<EOF\none\nEOF", "one\n"),
        ("false \\\n  || echo two", "two\n"),
    ]
