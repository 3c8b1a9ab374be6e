"""MIDI: files read, rendered and played, messages of a port; the files are made by mido, the reader's own writer."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import mido
import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from live import RATE_HZ, Live, assert_same, stereo
from test_seq_live import build
from test_voices import levels, synth

from pyengine import Patch, cli, render
from pyengine.errors import CommandError, PatchError
from pyengine.midi import (
    MidiError,
    MidiEvent,
    Routes,
    bundles,
    ops_of,
    parse_routes,
    read_midi,
    render_events,
    routes_for,
)
from pyengine.patch_file import save_patch


def tune(path: Path) -> Path:
    """Write two tracks with a change of tempo: ticks of 1/480 beat, 120 bpm, from beat 2 on 60 bpm."""
    file = mido.MidiFile(ticks_per_beat=480)
    tempo, notes = mido.MidiTrack(), mido.MidiTrack()
    tempo += [mido.MetaMessage("set_tempo", tempo=500_000), mido.MetaMessage("set_tempo", tempo=1_000_000, time=960)]
    notes += [
        mido.Message("note_on", note=60, velocity=127, time=0),
        mido.Message("note_on", note=64, velocity=64, channel=1, time=480),
        mido.Message("note_on", note=60, velocity=0, time=480),  # ends it, at 1 s
        mido.Message("control_change", control=64, value=127, time=0),
        mido.Message("pitchwheel", pitch=4096, channel=1, time=240),  # 1.5 s
        mido.Message("note_off", note=64, channel=1, time=240),  # 2 s
        mido.Message("control_change", control=123, value=0, channel=1, time=0),
    ]
    file.tracks += [tempo, notes]
    file.save(path)
    return path


def test_a_file_is_read_with_its_times_channels_and_tempi(tmp_path: Path) -> None:
    assert read_midi(tune(tmp_path / "a.mid")) == [
        MidiEvent(0.0, 1, "on", 60, 1.0),
        MidiEvent(0.5, 2, "on", 64, pytest.approx(64 / 127)),
        MidiEvent(1.0, 1, "off", 60),
        MidiEvent(1.0, 1, "sustain", 0, 1.0),
        MidiEvent(1.5, 2, "bend", 0, 1.0),
        MidiEvent(2.0, 2, "off", 64),
        MidiEvent(2.0, 2, "all off"),
    ]


@given(st.binary(max_size=300))
def test_bytes_that_are_no_midi_file_are_refused(content: bytes) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        for head in (b"", b"MThd\0\0\0\6\0\1\0\1\1\xe0MTrk"):
            path = Path(folder) / "a.mid"
            path.write_bytes(head + content)
            try:
                assert all(isinstance(event, MidiEvent) for event in read_midi(path))
            except MidiError as error:
                assert str(path) in str(error)


def test_a_file_that_is_not_there_or_empty_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty.mid").touch()
    with pytest.raises(MidiError, match=r"empty\.mid is no whole MIDI file: it ends too soon; check it"):
        read_midi(tmp_path / "empty.mid")
    with pytest.raises(MidiError, match=r"nothing\.mid cannot be read"):
        read_midi(tmp_path / "nothing.mid")


def test_channels_go_where_they_are_sent() -> None:
    assert parse_routes(["poly", "10=drums"]) == Routes({10: "drums"}, "poly")
    for wrong in ("0=a", "17=a", "x=a", "3="):
        with pytest.raises(CommandError, match="is no route"):
            parse_routes([wrong])
    one = levels(2)
    assert routes_for(one, Routes()).find(7) == "poly"
    two = levels(2).create("pad", "voices")
    assert [routes_for(two, Routes()).find(channel) for channel in (1, 2, 3)] == ["poly", "pad", ""]
    with pytest.raises(PatchError, match="no voices to play MIDI on"):
        routes_for(Patch().create("osc1", "simple_sine"), Routes())
    with pytest.raises(PatchError, match="unknown module id 'pol'"):
        routes_for(one, parse_routes(["pol"]))


def test_a_file_renders_to_the_notes_at_their_frames(tmp_path: Path) -> None:
    patch = levels(4)
    events = render_events(patch, routes_for(patch, Routes()), read_midi(tune(tmp_path / "a.mid")))
    x = render(patch, seconds=3, events=events)[:, 0]
    heard = [round(float(x[round(at * RATE_HZ) + 500]), 3) for at in (0.0, 0.5, 1.0, 1.9, 2.1)]
    assert heard == [1.0, 1.504, 0.504, 0.504, 0.0]  # the pedal came after the first note had ended
    assert x[0] == 1.0
    assert x[RATE_HZ - 1] > 1.5 > x[RATE_HZ]


def test_a_file_played_into_an_engine_is_what_it_renders_to(tmp_path: Path) -> None:
    with Live(tmp_path) as live:
        patch = synth(4, attack=2, release=30)
        first = build(live, patch)
        events = read_midi(tune(tmp_path / "a.mid"))
        start = live.engine.frames + 4800
        base = live.time_of(start)
        for at_s, commands in bundles(patch, Routes({}, "poly"), events):
            replies = live.client.send_bundle(commands, at=base + at_s)
            assert not any("late" in reply.args for reply in replies)
        live.advance(3 * RATE_HZ)
        x = live.samples()[first:]
    ops = [((start - first) / RATE_HZ + at, op) for at, op in render_events(patch, Routes({}, "poly"), events)]
    assert_same(x, stereo(patch, len(x), events=ops))


def test_a_bend_reaches_no_module_that_has_none() -> None:
    patch = Patch().create("env1", "adsr")
    assert ops_of(patch, Routes({}, "env1"), MidiEvent(0, 1, "bend", 0, 1.0)) == []
    assert ops_of(patch, Routes({}, "env1"), MidiEvent(0, 1, "on", 60, 1.0)) == [("gate", "env1", None, 1)]


def test_an_engine_told_to_play_a_port_that_is_not_there_says_so_and_ends(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert (
        cli.main(["run", "--device", "none", "--osc-port", "0", "--midi", "no such port", "--log-level", "error"]) == 3
    )
    assert "MIDI" in capsys.readouterr().err


def test_without_mido_one_line_says_what_to_install(tmp_path: Path) -> None:
    code = "import sys; sys.modules['mido'] = None; from pyengine import cli; sys.exit(cli.main(['midi', 'a.mid']))"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 3
    assert "pip install 'pyengine[midi]'" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_the_command_renders_and_describes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = str(tune(tmp_path / "a.mid"))
    save_patch(synth(4), tmp_path / "p.toml")
    out = tmp_path / "a.wav"
    assert cli.main(["midi", file, "--patch", str(tmp_path / "p.toml"), "-o", str(out), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    sound, rate = soundfile.read(out)
    assert (rate, len(sound), told["frames"]) == (RATE_HZ, 4 * RATE_HZ, 4 * RATE_HZ)
    assert 0.1 < told["peak"] <= 1
    assert cli.main(["midi", file, "--describe", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told == {
        "seconds": 2.0,
        "notes": 2,
        "channels": {
            "1": {"notes": 1, "lowest": "C4", "highest": "C4"},
            "2": {"notes": 1, "lowest": "E4", "highest": "E4"},
        },
    }
    for words in (["--patch", "p.toml"], ["-o", "a.wav"]):
        assert cli.main(["midi", file, *words]) == 2
    assert np.isfinite(sound).all()


def test_the_command_plays_into_an_engine(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from pyengine import Engine

    with Engine("none", osc_port=0) as engine:
        from pyengine import Client

        with Client(port=engine.osc_port or 0, timeout_s=30) as client:
            for row in synth(2).to_dict()["nodes"]:
                client.create(row["id"], row["type"])
            for row in synth(2).to_dict()["cables"]:
                client.connect(row["from"], row["to"])
            client.commit(timeout_ms=20_000)
        words: list[Any] = ["midi", tune(tmp_path / "a.mid"), "--port", engine.osc_port, "--json", "--timeout", 30]
        assert cli.main([str(word) for word in words]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["settings"] == 9
