"""pyengine completion: what a shell offers behind what has been typed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from shell import answer, pyengine

from pyengine.cli import COMMANDS


@pytest.fixture(scope="module")
def script() -> str:
    return pyengine("completion", "bash").stdout


def offered(script: str, *words: str, folder: Path) -> list[str]:
    """Return what bash offers for the last word."""
    if shutil.which("bash") is None:
        pytest.skip("there is no bash")
    typed = " ".join(f"'{word}'" for word in ("pyengine", *words))
    code = f'{script}\nCOMP_WORDS=({typed}); COMP_CWORD={len(words)}; _pyengine; printf "%s\\n" "${{COMPREPLY[@]}}"'
    done = subprocess.run(["bash", "-c", code], cwd=folder, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout.split()


def test_commands_options_and_values_are_offered(script: str, tmp_path: Path) -> None:
    (tmp_path / "bells.toml").touch()
    assert set(COMMANDS) <= set(offered(script, "", folder=tmp_path))
    assert offered(script, "rep", folder=tmp_path) == ["replay"]
    assert offered(script, "patch", "", folder=tmp_path) == ["check", "show", "convert", "load", "dump"]
    assert offered(script, "render", "--sec", folder=tmp_path) == ["--seconds"]
    assert offered(script, "run", "--standby", "", folder=tmp_path)[:2] == ["hot", "cold"]
    assert offered(script, "patch", "check", "be", folder=tmp_path) == ["bells.toml"]
    assert offered(script, "modules", "bi", folder=tmp_path) == ["biquad_filter"]
    assert offered(script, "send", "/patch/com", folder=tmp_path) == ["/patch/commit"]


@pytest.mark.parametrize("name", ["bash", "zsh", "fish"])
def test_the_script_of_each_shell_can_be_read_by_it(name: str) -> None:
    text = pyengine("completion", name).stdout
    assert "render" in text and "--seconds" in text or "-l seconds" in text
    if shutil.which(name) is None:
        pytest.skip(f"there is no {name}")
    done = subprocess.run([name, "-n"], input=text, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_with_json_the_script_is_in_an_object() -> None:
    assert answer("completion", "fish")["script"].startswith("complete -c pyengine")
