"""The command line: what it prints, how it ends."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile
from waiting import wait_until

from pyengine.cli import main
from pyengine.client import Client


def start(*arguments: str, folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "pyengine", "run", "--prime-timeout", "20000", *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


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
    ],
)
def test_an_option_outside_its_range_is_refused_by_name(
    arguments: list[str], fragment: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "--device", "none", *arguments]) == 2
    assert fragment in capsys.readouterr().err


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
