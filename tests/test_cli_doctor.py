"""pyengine doctor and bench: what this machine can do, as it was found."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from shell import answer, pyengine

from pyengine import Engine, _native

QUICK = ["--device", "none", "--seconds", "0.2"]


def states(facts: dict[str, object]) -> dict[str, dict[str, str]]:
    rows = facts["checks"]
    assert isinstance(rows, list)
    return {row["name"]: row for row in rows}


def test_doctor_says_of_each_thing_whether_it_works() -> None:
    facts = answer("doctor", *QUICK)
    found = states(facts)
    assert {"compiler", "extension", "portaudio", "devices", "priority", "memory", "commit", "sound"} <= set(found)
    assert found["extension"]["state"] == "ok" and _native.isa_names()[-1] in found["extension"]["found"]
    assert found["commit"]["state"] == "ok" and "real-time clock" in found["sound"]["found"]
    assert facts["is_good"] and facts["fail"] == 0
    assert all(row["advice"] for row in found.values() if row["state"] != "ok")


def test_doctor_prints_a_line_for_each_and_what_to_do_below() -> None:
    done = pyengine("doctor", *QUICK)
    lines = done.stdout.splitlines()
    assert done.returncode == 0 and lines[-1].endswith("0 failures")
    words = {line.split()[0] for line in lines[:-1]}
    assert words <= {"ok", "warn", "fail", "->"}
    assert sum(line.startswith("warn") for line in lines) == sum(line.strip().startswith("->") for line in lines)


def test_a_device_that_is_not_there_fails() -> None:
    facts = answer("doctor", "--device", "no such device", "--seconds", "0.1", code=1)
    assert states(facts)["engine"]["state"] == "fail" and not facts["is_good"]


def test_a_compiler_that_is_not_there_or_does_not_work_is_a_warning_and_with_strict_a_failure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CC", "no-such-compiler")
    row = states(answer("doctor", *QUICK, "--strict", code=1))["compiler"]
    assert row["state"] == "warn" and "no-such-compiler" in row["found"] and "build-essential" in row["advice"]
    monkeypatch.setenv("CC", "false")
    assert "does not compile" in states(answer("doctor", *QUICK))["compiler"]["found"]


def test_a_slower_instruction_set_than_the_machine_has_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    if len(_native.isa_names()) < 2:
        pytest.skip("this machine has one instruction set only")
    monkeypatch.setenv("PYENGINE_ISA", _native.isa_names()[0])
    row = states(answer("doctor", *QUICK))["extension"]
    assert row["state"] == "warn" and "unset it" in row["advice"]


def test_an_extension_that_cannot_be_loaded_is_a_line_and_no_traceback() -> None:
    code = (
        "import sys; sys.modules['pyengine._core'] = None; from pyengine.cli import main;"
        "sys.exit(main(['doctor', '--device', 'none', '--seconds', '0.1']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "fail  extension" in done.stdout and "pip install" in done.stdout and "fail  engine" in done.stdout


def test_the_osc_port_is_looked_at(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        number = str(taken.getsockname()[1])
        row = states(answer("doctor", *QUICK, "--osc-port", number))[f"OSC port {number}"]
    assert row["state"] == "warn" and "no pyengine" in row["found"]
    with Engine("none", osc_port=0, recordings=tmp_path) as engine:
        row = states(answer("doctor", *QUICK, "--osc-port", str(engine.osc_port)))[f"OSC port {engine.osc_port}"]
    assert row["state"] == "ok" and "a pyengine plays there" in row["found"]


@pytest.mark.parametrize("words", [["--seconds", "0"], ["--osc-port", "0"], ["--device", "free"]])
def test_what_doctor_cannot_do_is_refused(words: list[str]) -> None:
    assert pyengine("doctor", *words).returncode == 2


def test_bench_measures_what_it_has_checked() -> None:
    facts = answer("bench")
    rows = {row["voices"]: row for row in facts["voices"]}
    assert set(rows) >= {1, 64, 1024}
    assert all(0 < row["lowest"] <= row["ns_per_voice_sample"] <= row["highest"] for row in rows.values())
    engine = facts["engine"]
    assert 0 < engine["ready_ms"] <= engine["ready_worst_ms"] and engine["frames_requested"] > 0
    assert facts["offline"]["times_real_time"] > 0
    assert facts["machine"]["processors"] == os.cpu_count()
