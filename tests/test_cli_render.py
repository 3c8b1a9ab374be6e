"""pyengine render: a patch file becomes a sound file."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from shell import TOML, answer, patch_file, pyengine

import pyengine as package
from pyengine import load_patch
from pyengine.playing import note_hz


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return patch_file(tmp_path / "a.toml")


def test_the_file_holds_what_render_returns_and_the_facts_are_its_own(file: Path, tmp_path: Path) -> None:
    facts = answer("render", file, "-o", tmp_path / "a.wav", "--seconds", "1.5")
    sound, rate = soundfile.read(tmp_path / "a.wav", dtype="float32", always_2d=True)
    assert rate == 48000 and np.array_equal(sound, package.render(load_patch(file), 1.5))
    assert facts["frames"] == 72000 and facts["seconds"] == 1.5
    assert facts["peak"] == float(np.abs(sound).max())
    assert abs(facts["rms"] - np.sqrt(np.mean(sound.astype(float) ** 2))) < 1e-9
    assert abs(facts["peak_db"] - 20 * np.log10(facts["peak"])) < 1e-9


def test_settings_and_gates_are_what_events_are(file: Path, tmp_path: Path) -> None:
    words = ["--set", "osc1.freq=440", "--set", "osc1.freq=330@0.25", "--gate", "env1@0.1-0.4", "--gate", "env1@0.6"]
    answer("render", file, "-o", tmp_path / "a.wav", "--seconds", "1", *words)
    sound, _ = soundfile.read(tmp_path / "a.wav", dtype="float32", always_2d=True)
    patch = load_patch(file).set("osc1", "freq", 440).gate("env1", 0)
    events = [
        (0.1, ("gate", "env1", None, 1)),
        (0.4, ("gate", "env1", None, 0)),
        (0.6, ("gate", "env1", None, 1)),
        (0.25, ("mod", "osc1", "freq", 330.0)),
    ]
    assert np.array_equal(sound, package.render(patch, 1.0, events=events))
    assert not sound[:4800].any() and sound[4900:9000].any()


def test_a_render_is_brought_to_a_loudness_by_one_factor(file: Path, tmp_path: Path) -> None:
    for lufs in (-14.0, -40.0):
        facts = answer("render", file, "-o", tmp_path / "a.wav", "--seconds", "2", "--lufs", str(lufs))
        sound, _ = soundfile.read(tmp_path / "a.wav", dtype="float32", always_2d=True)
        figures = package.describe(sound, 48000).loudness
        assert figures["integrated_lufs"] == pytest.approx(lufs, abs=0.02) and facts["lufs"] == lufs
        gain = np.float32(10 ** (facts["gain_db"] / 20))
        assert np.array_equal(sound, package.render(load_patch(file), 2.0) * gain)
        assert facts["peak"] == float(np.abs(sound).max())


def test_a_loudness_that_cannot_be_reached_is_told(file: Path, tmp_path: Path) -> None:
    words = ["render", file, "-o", tmp_path / "a.wav"]
    loud = pyengine(*words, "--lufs", "0", "--gate", "env1@0-0.3")
    assert loud.returncode == 0 and "beyond full scale; give a lower --lufs, or the patch a limiter" in loud.stderr
    assert "0 LUFS by a gain of +" in loud.stdout
    for more, said, code in (
        (["--lufs", "-14", "--seconds", "0.2"], "loudness needs 0.4 s of sound", 2),
        (["--lufs", "-14", "--gate", "env1@9"], "quieter than -70 LUFS throughout", 2),
        (["--lufs", "3"], "--lufs 3 is outside -70..0", 2),
        (["--lufs", "nan"], "is outside -70..0", 2),
    ):
        done = pyengine(*words, *more)
        assert done.returncode == code and said in done.stderr, done


VOICES = """\
version = 1
nodes = [
  { id = "pad", type = "voices", data = { voices = 4 } },
  { id = "pad.osc", type = "simple_sine" },
  { id = "pad.env", type = "adsr" },
]
cables = [
  { from = "pad.freq", to = "pad.osc.freq" },
  { from = "pad.gate", to = "pad.env.gate" },
  { from = "pad.osc", to = "pad.env" },
]
"""


def test_notes_are_played_on_voices_by_name_or_number(file: Path, tmp_path: Path) -> None:
    file.write_text(VOICES)
    words = ["--note", "pad=A4@0.1-0.5", "--note", "pad=60@0.3", "--set", "pad.osc.gain=0.1"]
    answer("render", file, "-o", tmp_path / "a.wav", "--seconds", "1", *words)
    sound, _ = soundfile.read(tmp_path / "a.wav", dtype="float32", always_2d=True)
    events = [(0.1, 69, "note_on"), (0.3, 60, "note_on"), (0.5, 69, "note_off")]
    played = [(at_s, ("mod", "pad", deed, note)) for at_s, note, deed in events]
    expected = package.render(load_patch(file).set("pad.osc", "gain", 0.1), 1.0, events=played)
    assert np.array_equal(sound, expected) and not sound[:4800].any()
    assert "is no note" in pyengine("render", file, "-o", tmp_path / "a.wav", "--note", "pad=H4@0").stderr
    assert pyengine("render", file, "-o", tmp_path / "a.wav", "--note", "pad=C4").returncode == 2


STRING = """\
version = 1
nodes = [
  { id = "string", type = "pluck" },
  { id = "kick", type = "kick", params = { velocity = 0.4 } },
  { id = "env", type = "adsr", params = { attack = 0 } },
  { id = "osc", type = "osc" },
]
cables = [{ from = "osc", to = "env" }]
"""


def test_notes_are_played_on_modules_with_a_gate_too_and_as_hard_as_said(file: Path, tmp_path: Path) -> None:
    file.write_text(STRING)
    words = ["--note", "string=E3:0.3@0.1-0.4", "--note", "kick=C2@0.2", "--note", "env=C4@0.3-0.5"]
    answer("render", file, "-o", tmp_path / "a.wav", "--seconds", "1", *words)
    sound, _ = soundfile.read(tmp_path / "a.wav", dtype="float32", always_2d=True)
    patch = load_patch(file).gate("env", 0)  # its default is open
    string = package.note_events(patch, "string", [(0.1, "E3", 0.3, 0.3)])
    kick = [(0.2, ("mod", "kick", "freq", note_hz(36))), (0.2, ("gate", "kick", None, 1))]
    env = [(0.3, ("gate", "env", None, 1)), (0.5, ("gate", "env", None, 0))]
    assert np.array_equal(sound, package.render(patch, 1.0, events=[*string, *kick, *env]))
    assert not sound[:4800].any() and sound[4800:9000].any()
    for note, said in {"osc=C4@0": "osc plays no notes", "string=C4:2@0": "outside 0..1"}.items():
        assert said in pyengine("render", file, "-o", tmp_path / "b.wav", "--note", note).stderr


def test_the_block_changes_no_bit_and_rate_and_channels_are_those_asked_for(file: Path, tmp_path: Path) -> None:
    for block in ("64", "1000"):
        answer("render", file, "-o", tmp_path / f"{block}.wav", "--block", block, "--rate", "44100", "--channels", "2")
    (a, rate), (b, _) = (soundfile.read(tmp_path / f"{block}.wav") for block in ("64", "1000"))
    assert rate == 44100 and a.shape == (220500, 2) and np.array_equal(a, b)


def test_flac_is_written_by_its_name(file: Path, tmp_path: Path) -> None:
    answer("render", file, "-o", tmp_path / "a.flac")
    assert soundfile.info(tmp_path / "a.flac").format == "FLAC"


def test_silence_and_clipping_are_warned_of(file: Path, tmp_path: Path) -> None:
    done = pyengine("render", file, "-o", tmp_path / "a.wav", "--set", "env1.gate=0")
    assert done.returncode == 0 and "it is silent" in done.stderr and "silent" in done.stdout
    assert answer("render", file, "-o", tmp_path / "a.wav", "--set", "env1.gate=0")["peak_db"] is None
    file.write_text(
        TOML.replace("freq = 220", "freq = 220, gain = 1").replace(
            "]\ncables", '  { id = "o2", type = "simple_sine", params = { gain = 1 } },\n]\ncables'
        )
    )
    assert "beyond full scale" in pyengine("render", file, "-o", tmp_path / "a.wav").stderr


@pytest.mark.parametrize(
    ("words", "code", "fragment"),
    [
        (["--set", "osc1.frq=1"], 3, "did you mean 'freq'"),
        (["--set", "osc1.freq"], 2, "is not ID.PARAM=VALUE"),
        (["--set", "osc1.freq=1e9"], 3, "outside 0..23990 Hz"),
        (["--set", "osc1.freq=100@-1"], 2, "the time of an event"),
        (["--gate", "env1"], 2, "is not ID@FROM-TO"),
        (["--gate", "env1@2-1"], 2, "ends before it begins"),
        (["--gate", "env1@1e-5-1..2"], 2, "is not ID@FROM-TO"),
        (["--gate", "osc1@0-1"], 3, "has no gate"),
        (["--seconds", "-1"], 2, "outside 0..86400 s"),
        (["--block", "0"], 2, "outside 1..8192"),
        (["--channels", "9"], 2, "outside 1..8"),
        (["--rate", "10"], 2, "outside 1000..768000"),
        (["--rate", "44100.5"], 2, "not a whole number"),
        (["-o", "a.mp3"], 2, "neither .wav nor .flac"),
        (["-o", "no/such/folder/a.wav"], 3, "cannot be written"),
    ],
)
def test_what_cannot_be_rendered_is_refused_with_the_reason(
    words: list[str], code: int, fragment: str, file: Path, tmp_path: Path
) -> None:
    done = pyengine("render", file, *(["-o", "a.wav"] if "-o" not in words else []), *words, folder=tmp_path)
    assert (done.returncode, done.stdout) == (code, "") and fragment in done.stderr


def test_a_broken_file_is_told_with_its_line(file: Path, tmp_path: Path) -> None:
    file.write_text(TOML.replace("220", "-1"))
    error = answer("render", file, "-o", tmp_path / "a.wav", code=3)["error"]
    assert error["faults"][0]["line"] == 3 and not (tmp_path / "a.wav").exists()


def test_a_long_render_shows_how_far_it_is_where_somebody_looks_and_nowhere_else(file: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pyengine", "render", str(file), "-o", str(tmp_path / "a.flac")]
    command += ["--seconds", "200"]
    ours, theirs = pty.openpty()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=theirs) as process:
        os.close(theirs)
        seen = b""
        while True:
            try:
                part = os.read(ours, 4096)
            except OSError:  # the other end is closed
                break
            if not part:
                break
            seen += part
        assert process.wait(120) == 0
    os.close(ours)
    assert b"#" in seen and b"of 200.0 s" in seen
    assert pyengine("render", file, "-o", tmp_path / "a.wav").stderr == ""


@pytest.mark.parametrize("n_frames", [0, 1, 63, 64, 6400, 48_000, 100_003])
def test_a_render_that_is_looked_at_gives_the_same_bits(n_frames: int, file: Path) -> None:
    patch, seen = load_patch(file), []
    events = [(0.3 * n_frames / 48000, ("mod", "osc1", "freq", 500)), (64 / 48000, ("gate", "env1", None, 0))]
    sound = package.render(patch, frames=n_frames, events=events, progress=lambda done, all: seen.append((done, all)))
    assert np.array_equal(sound, package.render(patch, frames=n_frames, events=events))
    assert [done for done, _ in seen] == sorted({done for done, _ in seen}) and len(seen) <= 101
    assert not n_frames or seen[-1] == (n_frames, n_frames)
