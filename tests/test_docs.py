"""README, docs and examples do what they say: every snippet is run."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def snippets(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def environment() -> dict[str, str]:
    """The environment of a user who has activated the one that runs the tests."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    return {**os.environ, "PATH": path}


def run(command: list[str], folder: Path, timeout_s: float = 60.0) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=folder, env=environment(), capture_output=True, text=True, timeout=timeout_s, check=False
    )


def pitch_hz(tone: np.ndarray, rate: int) -> float:
    """Return the frequency of a tone from the median distance of its rising zero crossings.

    The median: this plays on the real-time clock, and a machine that takes the processor away in the middle leaves
    a counted silence, which must not be taken for another pitch. At 440 Hz one frame is 4 Hz: hence interpolated.
    """
    up = np.flatnonzero((tone[:-1] < 0) & (tone[1:] >= 0))
    at = up - tone[up] / (tone[up + 1] - tone[up])
    return float(rate / np.median(np.diff(at)))


@pytest.mark.parametrize("number", range(len(snippets("python"))))
def test_every_python_snippet_of_the_readme_runs(number: int, tmp_path: Path) -> None:
    done = run([sys.executable, "-c", snippets("python")[number]], tmp_path)
    assert done.returncode == 0, done.stderr


def test_the_first_snippet_writes_the_tone_it_speaks_of(tmp_path: Path) -> None:
    assert run([sys.executable, "-c", snippets("python")[0]], tmp_path).returncode == 0
    sound, rate = soundfile.read(tmp_path / "tone.wav")
    assert (rate, len(sound)) == (48000, 96000)
    spectrum = np.abs(np.fft.rfft(sound[:48000]))
    assert int(np.argmax(spectrum)) == 220  # one bin is 1 Hz
    assert np.abs(sound[int(1.75 * 48000) :]).max() < 1e-3  # the gate closed at 1.5 s, release 200 ms


def test_the_shell_snippet_of_the_readme_plays_and_records(tmp_path: Path) -> None:
    if shutil.which("oscsend") is None or shutil.which("pyengine", path=environment()["PATH"]) is None:
        pytest.skip("needs oscsend (Debian: liblo-tools) and the installed pyengine command")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(("127.0.0.1", 5005))
        except OSError:
            pytest.skip("port 5005 is in use on this machine")
    script = next(s for s in snippets("sh") if "oscsend" in s)
    done = run(["bash", "-c", script + "\nwait"], tmp_path)
    assert "OSC on 127.0.0.1:5005" in done.stdout, done.stderr
    sound, rate = soundfile.read(tmp_path / "recordings" / "tone-live.wav")
    assert rate == 48000
    loud = np.flatnonzero(np.abs(sound[:, 0]) > 0.05)
    begin, end = loud[0] + round(0.1 * rate), loud[-1] - round(0.3 * rate)  # after the attack, before the release
    assert abs(pitch_hz(sound[begin : begin + round(0.3 * rate), 0], rate) - 440.0) < 1.0
    assert abs(pitch_hz(sound[end - round(0.3 * rate) : end, 0], rate) - 220.0) < 1.0
    assert np.abs(sound[-round(0.1 * rate) :]).max() == 0.0  # the gate was closed


def test_the_piece_of_the_readme_is_rendered_and_seen(tmp_path: Path) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    script = next(s for s in snippets("sh") if "night_train" in s).replace(".venv/bin/", "")
    done = run(["bash", "-ec", script], tmp_path)
    assert done.returncode == 0, done.stderr
    sound, rate = soundfile.read(tmp_path / "night_train.wav")
    assert (rate, sound.shape) == (48000, (36 * 48000, 2)) and 0.2 < np.abs(sound).max() < 1
    assert (tmp_path / "night_train.png").read_bytes().startswith(b"\x89PNG")
    assert "No clicks, dropouts, clipping or DC." in done.stdout


def test_the_patch_file_of_the_page_on_patch_files_is_one(tmp_path: Path) -> None:
    blocks = re.findall(r"```toml\n(.*?)```", (ROOT / "docs" / "patches.md").read_text(encoding="utf-8"), re.DOTALL)
    assert blocks
    for number, block in enumerate(blocks):
        file = tmp_path / f"page{number}.toml"
        file.write_text(block if "version" in block else f"version = 1\n{block}", encoding="utf-8")
        done = run([sys.executable, "-m", "pyengine", "patch", "check", str(file)], tmp_path)
        assert done.returncode == 0, f"block {number}: {done.stderr}"


def test_the_tone_of_the_readme_is_described_as_the_readme_says(tmp_path: Path) -> None:
    assert run([sys.executable, "-c", snippets("python")[0]], tmp_path).returncode == 0
    told = run([sys.executable, "-m", "pyengine", "listen", "tone.wav"], tmp_path).stdout.splitlines()[0]
    assert told in README.replace("\n", " ")


@pytest.mark.parametrize("name", sorted(p.name for p in (ROOT / "examples").glob("*.py")))
def test_every_example_runs(name: str, tmp_path: Path) -> None:
    done = run([sys.executable, str(ROOT / "examples" / name)], tmp_path)
    assert done.returncode == 0, done.stderr


def test_generated_docs_are_up_to_date() -> None:
    done = run([sys.executable, str(ROOT / "docs" / "generate.py"), "--check"], ROOT)
    assert done.returncode == 0, done.stderr


def test_no_page_is_named_that_is_not_there() -> None:
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for name in re.findall(r"docs/[a-z]+\.md|tests/test_[a-z_]+\.py|csrc/[a-z_]+\.[ch]", page.read_text()):
            assert (ROOT / name).exists(), f"{page.name} names {name}"
