"""pyengine patch: files checked, shown, converted, sent to a running engine and fetched from it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from shell import TOML, answer, patch_file, pyengine

from pyengine import Client, Engine, Patch, load_patch, save_patch
from pyengine.measure import voices_patch
from pyengine.patch_file import text_of


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return patch_file(tmp_path / "a.toml")


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    with Engine("none", osc_port=0, recordings=tmp_path, prime_timeout_ms=20_000) as engine:
        yield engine


def at(engine: Engine) -> list[str]:
    return ["--port", str(engine.osc_port), "--timeout", "30"]


def test_check_says_that_a_file_is_right(file: Path) -> None:
    assert pyengine("patch", "check", file).stdout == f"{file}: 2 nodes, 1 cables, nothing wrong\n"
    assert answer("patch", "check", file)["nodes"] == 2
    assert answer("patch", "check", "-", stdin=TOML)["file"] == "-"
    assert answer("patch", "check", "-", stdin=load_patch(file).to_json())["cables"] == 1


def test_check_tells_every_fault_on_a_line_of_its_own_as_a_compiler_does(file: Path) -> None:
    file.write_text(TOML.replace("220", "-1").replace('"adsr"', '"adsl"'))
    done = pyengine("patch", "check", file)
    lines = done.stderr.splitlines()
    assert done.returncode == 3 and done.stdout == ""
    assert lines[0].startswith(f"{file}:3: nodes[0].params.freq: node 'osc1': freq=-1 Hz is outside 0..23990 Hz")
    assert lines[1].startswith(f"{file}:4: nodes[1].type: ") and "did you mean 'adsr'" in lines[1]
    assert lines[2:] == ["pyengine: 2 faults"]
    error = answer("patch", "check", file, code=3)["error"]
    assert [(fault["line"], fault["key"]) for fault in error["faults"]] == [
        (3, "nodes[0].params.freq"),
        (4, "nodes[1].type"),
    ]


def test_check_looks_at_ranges_at_the_rate_that_is_given(file: Path) -> None:
    file.write_text(TOML.replace("220", "15000"))
    assert pyengine("patch", "check", file).returncode == 0
    assert "Nyquist - 10 at 22050 Hz" in pyengine("patch", "check", file, "--rate", "22050").stderr


def test_show_draws_text_and_a_picture(file: Path, tmp_path: Path) -> None:
    drawn = pyengine("patch", "show", file).stdout
    assert "│ osc1  simple_sine │──▶│ env1  adsr │──▶│ (out) │" in drawn
    assert "-> env1" in pyengine("patch", "show", file, "--list").stdout
    assert "-> env1" in pyengine("patch", "show", file, "--width", "20").stdout
    assert answer("patch", "show", file)["layers"] == [["osc1"], ["env1"]]
    pytest.importorskip("matplotlib")
    picture = tmp_path / "a.png"
    assert pyengine("patch", "show", file, "--picture", picture).stdout == f"picture: {picture}\n"
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert pyengine("patch", "show", file, "--picture", tmp_path / "a.txt").returncode == 2


def test_convert_writes_the_other_format(file: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.json"
    assert pyengine("patch", "convert", file, out).returncode == 0
    assert load_patch(out) == load_patch(file)
    assert Patch.from_json(pyengine("patch", "convert", file, "-", "--to", "json").stdout) == load_patch(file)
    assert pyengine("patch", "convert", out, "-").stdout.startswith("version = 1\n")
    assert pyengine("patch", "convert", file, tmp_path / "a.yaml").returncode == 2


def test_a_file_is_loaded_into_a_running_engine_and_dumped_from_it(file: Path, tmp_path: Path, engine: Engine) -> None:
    assert answer("patch", "load", file, *at(engine))["new"] == ["osc1", "env1"]
    out = tmp_path / "now.toml"
    assert pyengine("patch", "dump", "-o", out, *at(engine)).returncode == 0
    assert load_patch(out) == load_patch(file)
    assert Patch.from_json(pyengine("patch", "dump", "--to", "json", *at(engine)).stdout) == load_patch(file)


def test_a_file_loaded_again_keeps_the_modules_that_stay(file: Path, engine: Engine) -> None:
    answer("patch", "load", file, *at(engine))
    file.write_text(TOML.replace("220", "330") + '[[cables]]\nfrom = "env1"\nto = "filt1"\n')
    text = file.read_text().replace("[[cables]]", "#").replace("\nfrom", "\n#").replace("\nto =", "\n#")
    file.write_text(text.replace('type = "adsr" },', 'type = "adsr" },\n  { id = "filt1", type = "biquad_filter" },'))
    report = answer("patch", "load", file, *at(engine))
    assert (report["carried"], report["new"]) == (["osc1", "env1"], ["filt1"])
    playing = Patch.from_json(engine.dump()["committed"])
    assert playing.nodes["osc1"].params["freq"] == 330
    assert answer("patch", "load", file, "--anew", *at(engine))["carried"] == []


def test_a_large_patch_is_loaded_and_all_of_its_modules_are_counted(tmp_path: Path, engine: Engine) -> None:
    """Its report's lists do not fit a datagram and are cut."""
    patch = Patch()
    for n in range(6000):
        patch.create(f"a_module_of_a_large_patch_{n}", "adsr")
    patch.create("osc1", "simple_sine")
    save_patch(patch, tmp_path / "large.json")
    done = pyengine("patch", "load", tmp_path / "large.json", "--allow-silence", *at(engine))
    assert "6001 new modules, 0 stay, 0 gone" in done.stdout, done


def test_a_pending_edit_is_dumped_where_it_is_asked_for_and_gone_after_a_load(file: Path, engine: Engine) -> None:
    assert engine.osc_port is not None
    with Client(port=engine.osc_port, timeout_s=30) as client:
        client.create("other", "simple_sine")
    assert "other" in pyengine("patch", "dump", "--pending", *at(engine)).stdout
    assert "other" not in pyengine("patch", "dump", *at(engine)).stdout
    answer("patch", "load", file, *at(engine))
    assert "other" not in pyengine("patch", "dump", "--pending", *at(engine)).stdout


def test_a_file_that_is_watched_is_loaded_again_whenever_it_is_saved(file: Path, engine: Engine) -> None:
    command = [sys.executable, "-m", "pyengine", "patch", "load", str(file), "--watch", "--json", *at(engine)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["new"] == ["osc1", "env1"]
        file.write_text(TOML.replace('"adsr"', '"adsl"'))
        assert json.loads(process.stdout.readline())["error"]["faults"][0]["line"] == 4
        file.write_text(TOML.replace("220", "330"))
        assert json.loads(process.stdout.readline())["carried"] == ["osc1", "env1"]
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
    assert Patch.from_json(engine.dump()["committed"]).nodes["osc1"].params["freq"] == 330
    assert pyengine("patch", "load", "-", "--watch", stdin=TOML).returncode == 2


def test_run_begins_with_a_patch_file(file: Path, tmp_path: Path) -> None:
    words = ["run", "--device", "none", "--osc-port", "0", "--prime-timeout", "20000", "--json", "--patch", str(file)]
    command = [sys.executable, "-m", "pyengine", *words]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=tmp_path
    ) as process:
        assert process.stdout is not None
        facts = json.loads(process.stdout.readline())
        port = facts["osc_port"]
        assert facts["osc_tcp_port"]  # by itself, on the loopback
        dumped = pyengine("patch", "dump", "--port", str(port), "--timeout", "30").stdout
        process.terminate()
        assert process.wait(20) == 0
    assert dumped == text_of(load_patch(file), "toml")
    file.write_text(TOML.replace('"adsr"', '"adsl"'))
    assert pyengine("run", "--device", "none", "--osc-port", "0", "--patch", file).returncode == 3


def test_a_patch_too_large_for_udp_goes_over_tcp_where_there_is_tcp_and_else_is_made_anew(tmp_path: Path) -> None:
    large = tmp_path / "large.json"
    save_patch(voices_patch(200), large)
    patient = ["--timeout", "60", "--commit-timeout", "60000"]
    with Engine("none", osc_port=0, osc_tcp_port=0, recordings=tmp_path) as engine:
        words = ["patch", "load", large, "--port", str(engine.osc_port), *patient]
        assert answer(*words)["carried"] == [] and len(answer(*words)["carried"]) == 600
        dumped = pyengine("patch", "dump", "--to", "json", *at(engine)).stdout
        assert Patch.from_json(dumped) == load_patch(large)
        assert answer("send", "/patch/dump", *at(engine))["reply"]["committed"] == load_patch(large).to_dict()
        tcp = ["--tcp", "--port", str(engine.osc_tcp_port)]
        assert pyengine("patch", "dump", "--to", "json", *tcp).stdout == dumped
        assert answer("send", "/patch/dump", *tcp)["reply"]["committed"] == load_patch(large).to_dict()
    with Engine("none", osc_port=0, recordings=tmp_path) as engine:
        words = ["patch", "load", large, "--port", str(engine.osc_port), *patient]
        assert "every module is a new one" not in pyengine(*words).stderr
        assert "every module is a new one" in pyengine(*words).stderr
        told = pyengine("patch", "dump", *at(engine)).stderr
        assert "does not fit a datagram; start the engine with --osc-tcp-port N" in told


def test_a_file_that_is_wrong_changes_nothing_in_the_engine(file: Path, engine: Engine) -> None:
    answer("patch", "load", file, *at(engine))
    file.write_text(TOML.replace('"adsr"', '"adsl"'))
    assert answer("patch", "load", file, *at(engine), code=3)["error"]["faults"][0]["line"] == 4
    assert set(Patch.from_json(engine.dump()["pending"]).nodes) == {"osc1", "env1"}


def test_a_silent_patch_is_refused_with_the_reason_unless_it_is_meant(file: Path, engine: Engine) -> None:
    file.write_text('version = 1\nnodes = [{ id = "e", type = "biquad_filter" }]\n')
    assert "silent" in answer("patch", "load", file, *at(engine), code=3)["error"]["message"]
    assert not engine.status()["has_pending_edits"]  # it is the file that is to be mended
    assert answer("patch", "load", file, "--allow-silence", *at(engine))["new"] == ["e"]


def test_where_no_engine_runs_the_answer_is_that_and_what_to_do(file: Path) -> None:
    error = answer("patch", "load", file, "--port", "9", code=5)["error"]
    assert error["kind"] == "NoReplyError" and "pyengine run" in error["message"]


def test_a_drawing_is_printed_in_ascii_where_the_terminal_has_nothing_else(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    assert "| osc1  simple_sine |-->| env1  adsr |" in pyengine("patch", "show", file).stdout


def test_what_json_prints_is_the_patch_itself(file: Path) -> None:
    done = pyengine("patch", "convert", file, "-", "--json")
    assert json.loads(done.stdout) == load_patch(file).to_dict()
