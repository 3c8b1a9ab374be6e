"""The command line: what it prints, how it ends."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import soundfile
from waiting import wait_until

from pyengine.cli import COMMANDS, main
from pyengine.client import Client


@contextmanager
def start(*arguments: str, folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Run an engine; it does not outlive the test, whatever becomes of that."""
    with subprocess.Popen(
        [sys.executable, "-m", "pyengine", "run", "--prime-timeout", "20000", *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()  # does nothing where it has ended


def port_of(process: subprocess.Popen[str]) -> int:
    assert process.stdout is not None
    process.stdout.readline()
    return int(process.stdout.readline().split(":")[1].split(",")[0])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_run_plays_until_it_is_told_to_end_and_then_ends_well(number: int, tmp_path: Path) -> None:
    with start("--device", "none", "--osc-port", "0", folder=tmp_path) as process:
        with Client(port=port_of(process), timeout_s=30) as client:
            client.create("osc1", "simple_sine")
            assert client.commit()["generation"] == 1
        process.send_signal(number)
        assert process.wait(20) == 0
        assert process.stderr is not None
        assert "swap committed" in process.stderr.read()


def test_run_with_json_says_where_it_listens_in_one_object(tmp_path: Path) -> None:
    with start("--device", "none", "--osc-port", "0", "--json", folder=tmp_path) as process:
        assert process.stdout is not None
        facts = json.loads(process.stdout.readline())
        with Client(port=facts["osc_port"], timeout_s=30) as client:
            assert client.status()["output"] == facts["output"]
        process.terminate()
        assert process.wait(20) == 0
        assert process.stdout.read() == ""


def test_run_on_the_free_running_clock_goes_on_by_itself(tmp_path: Path) -> None:
    with start("--device", "free", "--osc-port", "0", folder=tmp_path) as process:
        with Client(port=port_of(process), timeout_s=30) as client:
            client.create("osc1", "simple_sine")
            client.commit()
            assert client.sync()["frames"] > 0
        process.terminate()
        assert process.wait(20) == 0


def test_run_logs_a_session_that_replay_plays_again(tmp_path: Path) -> None:
    arguments = ("--device", "none", "--osc-port", "0", "--session", "a.session")
    with start(*arguments, folder=tmp_path) as process:
        with Client(port=port_of(process), timeout_s=30) as client:
            client.create("osc1", "simple_sine")
            frame = client.commit()["frame"]
            client.sync()
            wait_until(lambda: client.session_status()["frames"] > frame + 4800)
        process.terminate()
        assert process.wait(20) == 0
    assert main(["replay", str(tmp_path / "a.session"), "-o", str(tmp_path / "a.wav")]) == 0
    sound, rate = soundfile.read(tmp_path / "a.wav")
    assert rate == 48000 and len(sound) > frame + 4800
    assert not sound[:frame].any() and abs(sound[frame + 480 :]).max() > 0.19


def test_a_port_in_use_is_told_with_what_to_do(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with start("--device", "none", "--osc-port", str(port), folder=tmp_path) as process:
            assert process.wait(20) == 3
            assert process.stderr is not None
            text = process.stderr.read()
    assert f"OSC port {port} on 127.0.0.1 is in use" in text
    assert "Traceback" not in text


@pytest.mark.parametrize(
    ("arguments", "fragment"),
    [
        (["--block", "0"], "block_frames=0 is outside 1..8192"),
        (["--lead", "9"], "lead_blocks=9 is outside 1..8"),
        (["--rate", "10"], "sample_rate=10 is outside 1000..768000"),
        (["--crossfade", "-1"], "crossfade_ms=-1 is outside 0..1000"),
        (["--recordings", __file__], "test_cli.py' is a file; give a folder"),
    ],
)
def test_an_option_outside_its_range_is_refused_by_name(
    arguments: list[str], fragment: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "--device", "none", *arguments]) == 2
    assert fragment in capsys.readouterr().err


def test_a_misspelt_command_is_told_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replya"]) == 2
    assert "there is no command 'replya'; did you mean 'replay'?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "nearest"),
    [
        (["run", "--port", "5006"], "--osc-port"),
        (["patch", "check", "a.toml", "--rte=1"], "--rate"),
        (["top", "-x"], ""),
    ],
)
def test_an_unknown_option_is_told_the_nearest_and_how_the_command_is_called(
    words: list[str], nearest: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"usage: pyengine {words[0]}") and "unrecognized arguments: -" in said
    assert said.rstrip().endswith(f"; did you mean {nearest}?") if nearest else "did you mean" not in said


def test_with_json_an_error_is_one_object_on_stdout_and_text_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--device", "none", "--block", "0", "--json"]) == 2
    printed = capsys.readouterr()
    error = json.loads(printed.out)["error"]
    assert error["exit"] == 2 and "block_frames=0 is outside 1..8192" in error["message"]
    assert "block_frames=0 is outside 1..8192" in printed.err


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_json_a_log_level_and_examples(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])
    printed = capsys.readouterr().out
    assert ended.value.code == 0
    if "COMMAND" not in printed:  # else its own commands have them
        assert "--json" in printed and "--log-level" in printed
    assert f"examples:\n  pyengine {name}" in printed


def test_the_demo_passes_on_the_free_running_clock_and_leaves_sound_and_picture(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    code = main(["demo", "--device", "free", "--output", str(tmp_path / "out")])
    printed = capsys.readouterr().out
    assert code == 0, printed
    assert "FAILED" not in printed
    assert (tmp_path / "out" / "demo.wav").stat().st_size > 1_000_000
    assert (tmp_path / "out" / "demo.png").read_bytes().startswith(b"\x89PNG")
