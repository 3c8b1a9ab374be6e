"""What the pages show to type: every fenced block, found, split into what is typed at once, typed, and looked at.

A page is one session of bash in a folder of its own, from its first block to its last. By its language a block is

    console   behind `$ ` a command, below it what it says; `...` stands for anything
    sh        commands, each of which must end well
    python    a program, which must end well
    toml      a patch file without a fault
    text      nothing to type: a picture of boxes, what a program said once, lines for a file of the system

There is no other way for a block to be there: an unknown language is an error, and in `text` nothing may look like a
command.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MARK = "@@ end of command"
# A word of the system that is not on every machine, and who has it.
TOOLS = {"oscsend": "liblo-tools", "curl": "curl", "make": "make"}
LIMIT_S = 300.0  # for a page that hangs

# What the session has besides: `make TARGET` does what the Makefile says, as make itself tells, on something small.
BEGIN = f"""trap 'kill $(jobs -p) 2>/dev/null; wait' EXIT
make() {{
  local line
  line=$(command make --no-print-directory -n -o .venv/.installed "$1") || return
  case "$1:$line" in
    *$'\\n'*) echo "more than a command: $line"; return 1 ;;
    run:.venv/bin/pyengine\\ demo) $line --device free ;;
    test:.venv/bin/pytest\\ *) (cd '{ROOT}' && eval "'$OLDPWD'/$line tests/test_slots.py") ;;
    *) echo "nobody has said how to run this in a test: $line"; return 1 ;;
  esac
}}
"""


@dataclass(frozen=True)
class Block:
    """A fenced block. line: of its opening fence."""

    page: str
    line: int
    language: str
    text: str

    @property
    def first(self) -> str:
        return self.text.partition("\n")[0]


@dataclass(frozen=True)
class Step:
    """A command, and what it says; output None: not shown, but it must end well."""

    line: int
    command: str
    output: str | None


@dataclass(frozen=True)
class Said:
    """What a step said, and its exit code."""

    text: str
    code: int


def pages() -> list[str]:
    """Return every page that is shipped, as a path within the project."""
    found = [path.relative_to(ROOT) for path in ROOT.rglob("*.md")]
    hidden = {"build", "dist", "node_modules"}
    return sorted(str(path) for path in found if not any(part.startswith(".") or part in hidden for part in path.parts))


def blocks_of(text: str, page: str = "") -> list[Block]:
    """Return the fenced blocks of a page, without the indentation of their fences."""
    blocks: list[Block] = []
    lines: list[str] = []
    fence: re.Match[str] | None = None
    begin = 0
    for number, line in enumerate(text.splitlines(), 1):
        found = re.fullmatch(r"( *)(`{3,}|~{3,})([^`]*)", line)
        if fence is None:
            if found:
                fence, begin, lines = found, number, []
        elif found and found[2].startswith(fence[2]) and not found[3].strip():
            blocks.append(Block(page, begin, fence[3].strip(), "".join(f"{line}\n" for line in lines)))
            fence = None
        else:
            lines.append(line.removeprefix(fence[1]))
    assert fence is None, f"{page}:{begin}: this block has no end"
    return blocks


def looks_typed(text: str) -> str | None:
    """Return the first line that somebody would take for something to type."""
    word = r"\$ |pyengine (?!\d)|oscsend |make \w|python3? |pip |pytest |import |from \w+ import |curl "
    return next((line for line in text.splitlines() if re.match(word, line.lstrip())), None)


# ---- from blocks to steps ----------------------------------------------------------------------------


def shown_steps(text: str, line: int = 0) -> list[Step]:
    """Return the commands of a console block. One goes on where its line ends in a backslash or an open <<EOF."""
    steps: list[Step] = []
    until = ""
    for number, shown in enumerate(text.splitlines(), line + 1):
        if until or (steps and steps[-1].command.endswith("\\") and not steps[-1].output):
            steps[-1] = replace(steps[-1], command=f"{steps[-1].command}\n{shown}")
            until = "" if shown == until else until
        elif shown.startswith("$ "):
            steps.append(Step(number, shown[2:], ""))
            here = re.search(r"<<'?(\w+)'?", shown)
            until = here[1] if here else ""
        else:
            assert steps, f"line {number}: output without a command"
            steps[-1] = replace(steps[-1], output=f"{steps[-1].output}{shown}\n")
    return steps


def typed_steps(text: str, line: int = 0) -> list[Step]:
    """Return the commands of a block of shell, each for itself."""
    shown = "".join(f"{'' if goes_on else '$ '}{row}\n" for row, goes_on in _rows(text))
    return [replace(step, output=None) for step in shown_steps(shown, line) if step.command.split("#")[0].strip()]


def _rows(text: str) -> Iterable[tuple[str, bool]]:
    """Yield each line, and whether it goes on with the command before it."""
    goes_on, until = False, ""
    for row in text.splitlines():
        yield row, goes_on
        here = re.search(r"<<'?(\w+)'?", row)
        until = ("" if row == until else until) or (here[1] if here else "")
        goes_on = bool(until) or row.endswith("\\")


def steps_of(block: Block) -> list[Step]:
    """Return what is typed of a block. Raises KeyError for a language that there is not."""
    file = f"block{block.line}"
    return {
        "console": lambda: shown_steps(block.text, block.line),
        "sh": lambda: typed_steps(block.text, block.line),
        "python": lambda: [_written(block, f"{file}.py", f"python3 {file}.py")],
        "toml": lambda: [_written(block, f"{file}.toml", f"pyengine patch check {file}.toml")],
        "text": lambda: [],
    }[block.language]()


def _written(block: Block, file: str, command: str) -> Step:
    return Step(block.line, f"cat > {file} <<'END_OF_BLOCK'\n{block.text}END_OF_BLOCK\n{command}", None)


def missing_tool(steps: Sequence[Step]) -> str | None:
    """Return the first program that steps need and this machine has not."""
    words = {word for step in steps for word in re.findall(r"^\s*(\w+)", step.command, re.MULTILINE)}
    return next((tool for tool in TOOLS if tool in words and shutil.which(tool) is None), None)


# ---- typing them -------------------------------------------------------------------------------------


def environment() -> dict[str, str]:
    """The environment of a user who has activated the one that runs the tests."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    foreign = ("PYTEST_", "MAKE", "MFLAGS")  # of who has started the tests
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    return kept | {"PATH": path, "COLUMNS": "100", "NO_COLOR": "1", "PIP_NO_INDEX": "1"}


def clone(folder: Path) -> Path:
    """Return a folder that has what a clone has that `make` was called in, as far as the pages name it."""
    folder.mkdir()
    for name in ("examples", "Makefile"):
        (folder / name).symlink_to(ROOT / name)
    (folder / ".venv").mkdir()
    (folder / ".venv" / "bin").symlink_to(Path(sys.executable).parent)
    return folder


def play(steps: Sequence[Step], folder: Path) -> list[Said]:
    """Type all of it into one bash; return what each said, fewer where it ended before. What runs on is ended."""
    typed = [f"{step.command}\necho '{MARK}' $?\n" for step in steps]
    script = folder.parent / f"{folder.name}.sh"
    script.write_text(BEGIN + "".join(typed), encoding="utf-8")
    done = subprocess.run(
        ["bash", str(script)],
        cwd=folder,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    parts = re.split(rf"{MARK} (\d+)\n", done.stdout)
    return [Said(text, int(code)) for text, code in zip(parts[:-1:2], parts[1::2], strict=True)]


def matches(shown: str, said: str) -> bool:
    """Return whether `shown`, in which ... stands for anything, is what was said; spaces at line ends do not count."""
    parts = [re.escape(part) for part in re.split(r"\.\.\.", clean(shown))]
    return re.fullmatch(".*?".join(parts), clean(said), re.DOTALL) is not None


def clean(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.strip().splitlines())


def is_right(step: Step, said: Said) -> bool:
    return said.code == 0 if step.output is None else matches(step.output, said.text)
