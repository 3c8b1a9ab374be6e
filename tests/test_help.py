"""Every example that a help text, an example's docstring or the package's own shows is typed as it stands.

Each is typed into a shell at a terminal. What goes on until it is told to end (GOES_ON) is left alone until it says
what it should, and is then told to end as a user does it: Ctrl-C. Where an example speaks of a running engine there is
one, and where it speaks of files they are those of examples/patches and a few more (`desk`).
"""

from __future__ import annotations

import argparse
import ast
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import mido
import numpy as np
import ports
import pytest
import soundfile
from snippets import TOOLS, clone, environment
from terminal import Terminal
from waiting import wait_until

from pyengine import Client, Engine, Patch, load_patch, save_patch
from pyengine.cli import parser
from pyengine.difference import anew

ROOT = Path(__file__).resolve().parents[1]
OK, FAILED, REFUSED, INTERRUPTED = 0, 1, 3, 130

# What goes on by itself, and what it says once it does what it should.
GOES_ON = [
    (r"pyengine run --midi", r"MIDI from|MIDI ports (need|here)|no MIDI input"),
    (r"pyengine run\b(?!.*&)", r"OSC on 127\.0\.0\.1:\d+"),
    (r"pyengine top(?!.*--once)", r"slot"),
    (r"pyengine status --watch(?!.*--count)", r"(?s)\n.*\n"),
    (r"pyengine patch load .*--watch", r"is heard from frame"),
]
# Exit codes that depend on the machine: what a check found, and whether there is a MIDI input.
CODES = [
    (r"pyengine demo(?!.*free)|pyengine doctor", (OK, FAILED)),
    (r"pyengine run --midi", (OK, INTERRUPTED, REFUSED)),
]
# What asks a running engine.
ASKS = r"pyengine (send|status|top|patch (load|dump)|listen(?! \w+\.)|midi(?!.*(--patch|--describe)))|oscsend"


def parsers(one: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    yield one
    for action in one._actions:
        if isinstance(action, argparse._SubParsersAction):
            for below in dict.fromkeys(action.choices.values()):
                yield from parsers(below)


def examples() -> dict[str, list[str]]:
    """Return the example lines of each help text, by the name of its command; each line once."""
    found: dict[str, list[str]] = {}
    seen: set[str] = set()
    for one in parsers(parser()):
        shown = re.search(r"^examples:\n((?:  .*\n?)+)", one.epilog or "", re.MULTILINE)
        assert shown, f"`{one.prog} --help` has no examples"
        lines = [re.split(r"(?<=\S) {2,}(?=\S)", line.strip())[0] for line in shown[1].splitlines()]
        found[one.prog] = [line for line in lines if line not in seen]
        seen.update(lines)
    return {command: lines for command, lines in found.items() if lines}


EXAMPLES = examples()


def desk(folder: Path) -> Path:
    """Return a folder with the files that the examples name."""
    clone(folder)
    for path in (ROOT / "examples" / "patches").glob("*.toml"):
        shutil.copy(path, folder)
    save_patch(load_patch(folder / "bells.toml"), folder / "bells.json")
    tone = np.sin(2 * np.pi * 220 / 48000 * np.arange(22 * 48000), dtype=np.float32) / 4
    soundfile.write(folder / "take.wav", tone[: 3 * 48000], 48000)
    soundfile.write(folder / "take.flac", tone, 48000)
    track = mido.MidiTrack(
        mido.Message(kind, note=60 + channel, channel=channel, time=time)
        for channel in (0, 1)
        for kind, time in (("note_on", 0), ("note_off", 240))
    )
    file = mido.MidiFile()
    file.tracks.append(track)
    file.save(folder / "tune.mid")
    (folder / ".config" / "fish" / "completions").mkdir(parents=True)
    return folder


def log_evening(folder: Path) -> None:
    """Write the session log that `replay` is shown with; an engine never writes over one."""
    with Engine("free", session=folder / "evening.session", recordings=folder) as engine:
        engine.create("osc1", "simple_sine")
        engine.commit()
        engine.advance(0.5)


def playing(command: str) -> Patch:
    """Return what the running engine plays that the examples of a command speak of."""
    if command == "pyengine send":
        return Patch().create("env1", "adsr")  # the examples make osc1
    if command == "pyengine midi":
        patch = Patch()
        for name in ("bass", "lead"):
            patch.create(name, "voices").create(f"{name}.osc", "osc").create(f"{name}.env", "adsr")
            patch.connect(f"{name}.osc", f"{name}.env").connect(f"{name}.gate", f"{name}.env.gate")
        return patch
    return load_patch(ROOT / "examples" / "patches" / "drone.toml")


@contextmanager
def running_engine(command: str, folder: Path) -> Iterator[None]:
    """An engine on the port that a user types."""
    wait_until(lambda: ports.is_free(5005), 30)  # one that an example has started may not have ended
    with (
        Engine("none", osc_port=5005, recordings=folder, prime_timeout_ms=20_000) as engine,
        Client(timeout_s=30) as client,
    ):
        made = anew(playing(command))
        client.send_all(made.build)
        client.commit(allow_silence=True)
        client.send_all(made.settings)
        frames = engine.frames
        wait_until(lambda: engine.frames > frames + 48000, 30)  # there is something to listen to
        yield


def type_line(line: str, folder: Path) -> None:
    """Type a line; what goes on is ended once it says what it should."""
    until = next((says for begin, says in GOES_ON if re.search(begin, line)), None)
    allowed = next((codes for begin, codes in CODES if re.search(begin, line)), (OK, INTERRUPTED) if until else (OK,))
    shell = ["bash", "-c", line]
    if "completion zsh" in line and shutil.which("zsh"):
        shell = ["zsh", "-fc", f"autoload -U compinit && compinit -D\n{line}"]  # "after compinit", it says
    with Terminal(shell, folder, environment() | {"HOME": str(folder)}) as terminal:
        if until:
            terminal.await_text(until)
            if not re.search(r"(?m)^pyengine: ", terminal.text):  # a refusal: it ends by itself
                terminal.interrupt()
        code = terminal.wait()
    assert code in allowed, f"$ {line}\nended with {code}:\n{terminal.text}"
    assert "Traceback" not in terminal.text, terminal.text


def is_asking(line: str) -> bool:
    """Return whether a line speaks to an engine that runs already."""
    return re.match(ASKS, line) is not None or "| pyengine send" in line


@pytest.mark.parametrize("command", EXAMPLES)
def test_every_example_of_a_help_text_does_what_it_says(command: str, tmp_path: Path, default_ports: None) -> None:
    folder = desk(tmp_path / "desk")
    if command == "pyengine replay":
        log_evening(folder)
    lines = [line for line in EXAMPLES[command] if shutil.which(line.split()[0]) or line.split()[0] not in TOOLS]
    for line in lines:
        if not is_asking(line):
            type_line(line, folder)
    if any(map(is_asking, lines)):
        with running_engine(command, folder):
            for line in filter(is_asking, lines):
                type_line(line, folder)
    if lines != EXAMPLES[command]:
        pytest.skip(f"not typed, as its program is not here: {sorted({*EXAMPLES[command]} - {*lines})}")


# ---- what docstrings show ----------------------------------------------------------------------------


def docstring(path: Path) -> str:
    return ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""


SCRIPTS = sorted(p.relative_to(ROOT).as_posix() for p in (ROOT / "examples").glob("*.py"))


@pytest.mark.parametrize("script", SCRIPTS)
def test_an_example_runs_as_its_docstring_says(script: str, tmp_path: Path) -> None:
    shown = re.search(r"python (examples/\S+\.py.*)", docstring(ROOT / script))
    assert shown, f"{script} does not say how it is run"
    line = re.sub(r" \[\w+(\.\w+)?\]", "", shown[0])
    assert line.split()[1] == script
    type_line(line, clone(tmp_path / "clone"))


def test_the_docstring_of_the_package_shows_a_program() -> None:
    lines = [line.strip() for line in docstring(ROOT / "pyengine" / "__init__.py").splitlines() if line[:4] == "    "]
    assert len(lines) > 1
    subprocess.run([sys.executable, "-c", "\n".join(lines)], check=True)


def test_what_runs_at_a_terminal_ends_with_whoever_has_started_it(tmp_path: Path) -> None:
    """However that ends: its end of the pipe is closed, and no Ctrl-C is pressed."""
    with Terminal(["bash", "-c", "echo $$; exec sleep 600"], tmp_path, environment()) as terminal:
        terminal.await_text(r"\d+\r\n")
        process = Path("/proc") / terminal.text.strip()
        assert process.exists()
        terminal.hang_up()
        wait_until(lambda: not process.exists(), 20)


def test_a_line_that_fails_is_seen(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="ended with 3"):
        type_line("pyengine patch check none.toml", clone(tmp_path / "clone"))
