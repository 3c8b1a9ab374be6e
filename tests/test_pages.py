"""Every block of every page that is shipped is typed as it stands, and what comes back is compared (snippets.py)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from snippets import (
    TOOLS,
    Block,
    Said,
    Step,
    blocks_of,
    clone,
    is_right,
    looks_typed,
    matches,
    missing_tool,
    pages,
    play,
    shown_steps,
    steps_of,
    typed_steps,
)

ROOT = Path(__file__).resolve().parents[1]
BLOCKS = [block for page in pages() for block in blocks_of((ROOT / page).read_text(encoding="utf-8"), page)]
TYPED = sorted({block.page for block in BLOCKS if block.language != "text"})

# What the reader of a page has done before a block, and does behind it, as a block of the console would say it. The key
# is the page and the first line of the block.
RUN = "$ pyengine run --device none {} > engine.log 2>&1 &\n$ pyengine status --wait 20 > status.txt\n"
END = "$ kill %1; wait\n"
FAULTY = "$ cat > bells.toml <<'EOF'\nversion = 1\n\n[[nodes]]\nid = 'osc1'\ntype = 'simple_sin'\n\n" + (
    "[[nodes]]\nid = 'filt1'\ntype = 'biquad_filter'\n[nodes.params]\ncutoff = 50000\nEOF\n"
)
PLAYING = "$ pyengine patch load examples/pieces/clockwork.toml > load.txt\n$ sleep 2\n"
AROUND = {
    ("README.md", "pyengine run &"): ("", "$ wait\n"),
    ("README.md", "pyengine listen --seconds 5 --picture now.png    # what a running engine has just put out"): (
        RUN.format("") + PLAYING,
        END,
    ),
    ("README.md", "pip install 'pyengine[web]'"): ("", "$ curl -s http://127.0.0.1:5080/ > page.html\n" + END),
    ("docs/osc.md", "oscsend localhost 5005 /patch/create ss osc1 simple_sine"): (
        RUN.format("--oscquery"),
        "$ sleep 0.5\n$ pyengine patch dump\n...freq = 660...\n",
    ),
    ("docs/osc.md", "oscsend localhost 5005 '/mod/*/gain' f 0.1"): (
        "".join(
            f"$ pyengine send /patch/{edit}\ndone ...\n"
            for edit in (
                "create osc2 simple_sine",
                "create env1 adsr",
                "create env2 adsr",
                "connect osc1 env1",
                "connect osc2 env2",
                "commit",
            )
        ),
        "$ sleep 0.5\n$ pyengine patch dump > dump.txt\n",
    ),
    ("docs/patches.md", "$ pyengine patch check bells.toml"): (FAULTY, ""),
}


def session(block: Block) -> list[Step]:
    """Return the steps of a block, with what the reader does around it."""
    before, behind = AROUND.get((block.page, block.first), ("", ""))
    return [*shown_steps(before, block.line), *steps_of(block), *shown_steps(behind, block.line)]


# ---- what a page has left behind, beyond what it shows -----------------------------------------------


def pitch_hz(tone: np.ndarray, rate: int) -> float:
    """Return the frequency of a tone from the median distance of its rising zero crossings.

    The median: this plays on the real-time clock, and a machine that takes the processor away in the middle leaves
    a counted silence, which must not be taken for another pitch. At 440 Hz one frame is 4 Hz: hence interpolated.
    """
    up = np.flatnonzero((tone[:-1] < 0) & (tone[1:] >= 0))
    at = up - tone[up] / (tone[up + 1] - tone[up])
    return float(rate / np.median(np.diff(at)))


def check_readme(folder: Path) -> None:
    check_tone(folder / "tone.wav")
    check_tone_live(folder / "recordings" / "tone-live.wav")
    check_piece(folder)
    assert "<html" in (folder / "page.html").read_text(encoding="utf-8")
    assert (folder / "recordings" / "now.png").read_bytes().startswith(b"\x89PNG")
    evening, rate = soundfile.read(folder / "evening.wav")
    again, rate_96 = soundfile.read(folder / "evening96.wav")
    assert (rate, rate_96) == (48000, 96000) and np.abs(evening).max() > 0.05 and np.abs(again).max() > 0.05


def check_tone(path: Path) -> None:
    sound, rate = soundfile.read(path)
    assert (rate, len(sound)) == (48000, 96000)
    spectrum = np.abs(np.fft.rfft(sound[:48000]))
    assert int(np.argmax(spectrum)) == 220  # one bin is 1 Hz
    assert np.abs(sound[int(1.75 * 48000) :]).max() < 1e-3  # the gate closed at 1.5 s, release 200 ms


def check_tone_live(path: Path) -> None:
    sound, rate = soundfile.read(path)
    assert rate == 48000
    loud = np.flatnonzero(np.abs(sound[:, 0]) > 0.05)
    begin, end = loud[0] + round(0.1 * rate), loud[-1] - round(0.3 * rate)  # after the attack, before the release
    assert abs(pitch_hz(sound[begin : begin + round(0.3 * rate), 0], rate) - 440.0) < 1.0
    assert abs(pitch_hz(sound[end - round(0.3 * rate) : end, 0], rate) - 220.0) < 1.0
    assert np.abs(sound[-round(0.1 * rate) :]).max() == 0.0  # the gate was closed


def check_piece(folder: Path) -> None:
    sound, rate = soundfile.read(folder / "night_train.wav")
    assert (rate, sound.shape) == (48000, (36 * 48000, 2)) and 0.2 < np.abs(sound).max() < 1
    assert (folder / "night_train.png").read_bytes().startswith(b"\x89PNG")


CHECKS: dict[str, Callable[[Path], None]] = {"README.md": check_readme}


# ---- the tests ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", TYPED)
def test_every_block_of_a_page_is_typed_and_what_it_says_comes_back(
    page: str, tmp_path: Path, default_ports: None
) -> None:
    sessions = [session(block) for block in BLOCKS if block.page == page]
    missing = [tool for tool in map(missing_tool, sessions) if tool]
    steps = [step for one in sessions if not missing_tool(one) for step in one]
    said = play(steps, clone(tmp_path / "work"))
    wrong = [told(page, *pair) for pair in zip(steps, said, strict=False) if not is_right(*pair)]
    assert not wrong, "\n".join(wrong)
    assert len(said) == len(steps), f"the page ended at line {steps[len(said)].line}"
    if missing:
        pytest.skip(
            f"all but what needs {', '.join(f'{tool} ({TOOLS[tool]})' for tool in missing)} was typed and is right"
        )
    CHECKS.get(page, lambda folder: None)(tmp_path / "work")


def told(page: str, step: Step, said: Said) -> str:
    wanted = "exit code 0" if step.output is None else f"shown:\n{step.output}"
    return f"{page}:{step.line}: $ {step.command}\n{wanted}\nexit code {said.code}, said:\n{said.text}"


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: f"{block.page}:{block.line}")
def test_every_block_says_what_it_is(block: Block) -> None:
    if block.language == "text":
        assert looks_typed(block.text) is None, "this looks like something to type: say what in behind the fence"
    else:
        assert steps_of(block), "there is nothing in it to type"


def test_what_is_done_around_a_block_belongs_to_a_block_that_there_is() -> None:
    assert set(AROUND) <= {(block.page, block.first) for block in BLOCKS}
    assert set(CHECKS) <= set(TYPED)


def test_the_comparison_tells_what_differs() -> None:
    assert matches("a ... c\n", "a b c") and matches("...", "") and not matches("a b\n", "a c\n")
    assert is_right(Step(1, "true", None), Said("anything", 0)) and not is_right(Step(1, "false", None), Said("", 1))


def test_blocks_are_found_wherever_they_are_and_split_into_what_is_typed_at_once() -> None:
    page = "```console\n$ cat <<EOF\none\nEOF\none\n$ false \\\n  || echo two\ntwo\n```\n"
    page += "1. \n   ~~~sh\n   a # b\n\n   # c\n   d\n   ~~~\n"
    console, shell = blocks_of(page)
    assert (console.line, shell.line, shell.language) == (1, 11, "sh")
    assert [(s.command, s.output) for s in steps_of(console)] == [
        ("cat <<EOF\none\nEOF", "one\n"),
        ("false \\\n  || echo two", "two\n"),
    ]
    assert typed_steps(shell.text, shell.line) == [Step(12, "a # b", None), Step(15, "d", None)]
    assert typed_steps("cat <<EOF \\\n  | sort\n$ b\nEOF\n") == [Step(1, "cat <<EOF \\\n  | sort\n$ b\nEOF", None)]


def test_a_block_that_nobody_can_run_is_an_error() -> None:
    with pytest.raises(KeyError):
        steps_of(blocks_of("```\npyengine run\n```\n")[0])
    assert looks_typed("48000 Hz\n  pyengine run\n") == "  pyengine run"
    assert looks_typed("pyengine 0.1.0: real-time clock\n") is None


def test_what_is_typed_is_typed_and_a_failure_is_seen(tmp_path: Path) -> None:
    said = play(
        [Step(1, "echo a; false", None), Step(2, "sleep 60 & exit 3", None), Step(3, "b", None)], clone(tmp_path / "w")
    )
    assert said == [Said("a\n", 1)]
