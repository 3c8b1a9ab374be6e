"""Sequences and voices in a running engine: edited, carried, killed, replayed; not one bit differs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from live import RATE_HZ, Live, Samples, assert_same, stereo

from pyengine import Patch, replay
from pyengine.commands import Gate, NoteOff, NoteOn, SeqPattern, SetParam
from pyengine.difference import anew, edits
from pyengine.errors import CommandError, EngineError, PatchError
from pyengine.playing import note_on

STEP = 6000  # frames, at 120 bpm and four steps to a beat


def drum(pattern: str, **data: Any) -> Patch:
    """Return a gate that is heard as it is, played by a sequence."""
    patch = Patch().create("clock1", "clock").create("env1", "adsr").create("seq1", "seq")
    for name, value in {"attack": 0, "decay": 0, "sustain": 1, "release": 0}.items():
        patch.set("env1", name, value)
    return patch.give("seq1", {"pattern": pattern, "targets": ["env1"], **data})


def band() -> Patch:
    """Return a drum and four voices that one clock drives."""
    patch = drum("X..x..x.")
    patch.create("poly", "voices").give("poly", {"voices": 4})
    patch.create("poly.osc", "simple_sine").create("poly.env", "adsr").create("filt1", "biquad_filter")
    patch.connect("poly.osc", "poly.env").connect("poly.env", "filt1")
    patch.connect("poly.freq", "poly.osc.freq").connect("poly.gate", "poly.env.gate")
    patch.connect("poly.velocity", "poly.osc.gain", 0.1)
    patch.create("seq2", "seq").set("seq2", "probability", 0.7).set("clock1", "swing", 0.2)
    lanes = {"filt1.cutoff": "400 900 . 2500 1200"}
    notes = {"pattern": "x-x.X-", "notes": "C4+E4 G4 B4 A3+C4+E4", "targets": ["poly"], "lanes": lanes}
    return patch.give("seq2", notes)


def build(live: Live, patch: Patch) -> int:
    """Build a patch over OSC, swap to it without a fade; return its first frame."""
    made = anew(patch)
    for command in (*made.build, *made.settings):
        live.client.send(command)
    assert Patch.from_json(live.client.dump()["pending"]) == patch
    frame = int(live.commit(crossfade_ms=0, allow_silence=True)["frame"])
    live.await_redundancy()
    return frame


def hits(x: Samples) -> list[int]:
    is_open = np.concatenate([[False], x[:, 0] > 0.5])
    return [int(frame) for frame in np.flatnonzero(~is_open[:-1] & is_open[1:])]


def test_a_patch_of_sequences_and_voices_sounds_live_as_offline_and_as_replayed(tmp_path: Path) -> None:
    path = tmp_path / "a.session"
    with Live(tmp_path, session=path) as live:
        patch = band()
        first = build(live, patch)
        start = live.engine.frames + 4096
        live.send_at(start, SetParam("clock1", "bpm", 131.5), NoteOn("poly", "C5", 0.875))
        live.send_at(start + 10_007, NoteOff("poly", "C5"), SetParam("seq1", "mute", 1))
        live.advance(60_000)
        x = live.samples()
        assert live.counters()["frames_underrun"] == 0
        assert live.status()["commands_late"] == 0
    events = [
        ((start - first) / RATE_HZ, ("mod", "clock1", "bpm", 131.5)),
        ((start - first) / RATE_HZ, ("mod", "poly", "velocity", 0.875)),
        ((start - first) / RATE_HZ, ("mod", "poly", "note_on", 72)),
        ((start + 10_007 - first) / RATE_HZ, ("mod", "poly", "note_off", 72)),
        ((start + 10_007 - first) / RATE_HZ, ("mod", "seq1", "mute", 1)),
    ]
    assert_same(x[first:], stereo(patch, len(x) - first, events=events))
    replayed, facts = replay(path)
    assert facts.warnings == []
    assert_same(replayed[: len(x)], x)


@pytest.mark.parametrize("victim", ["active", "standby", "both in turn"])
def test_a_kill_in_the_middle_of_a_pattern_changes_no_bit(tmp_path: Path, victim: str) -> None:
    with Live(tmp_path) as live:
        patch = band()
        first = build(live, patch)
        for turn in range(4):
            live.advance(9_001)
            active = int(live.status()["active_slot"])
            is_active = victim == "active" or (victim == "both in turn" and turn % 2 == 0)
            live.kill(active if is_active else 1 - active)
            live.advance(3_000)
            live.await_redundancy()
        live.advance(20_000)
        x = live.samples()
        assert live.counters()["frames_underrun"] == 0
    assert len(x) - first > 60_000
    assert_same(x[first:], stereo(patch, len(x) - first))


def test_a_pattern_that_is_changed_while_it_plays_keeps_the_beat(tmp_path: Path) -> None:
    before, after = "x...x...x.x.x...", "x.x.xxxx.x.xx"
    with Live(tmp_path) as live:
        first = build(live, drum(before))
        live.advance(70_000)
        live.client.sequence("seq1", pattern=after)
        frame = int(live.commit(crossfade_ms=0)["frame"])
        live.advance(150_000)
        x = live.samples()[first:]
    at = frame - first
    steps = range(len(x) // STEP + 1)
    wanted = [k * STEP for k in steps if before[k % 16] == "x" and k * STEP < at]
    wanted += [k * STEP for k in steps if after[k % 13] == "x" and at <= k * STEP < len(x)]
    assert hits(x) == wanted


def test_a_note_that_a_deleted_sequence_began_is_ended(tmp_path: Path) -> None:
    with Live(tmp_path) as live:
        first = build(live, drum("x" + "-" * 1000))
        live.advance(10_000)
        live.client.delete("seq1")
        frame = int(live.commit(crossfade_ms=0, allow_silence=True)["frame"])
        live.advance(2_000)
        x = live.samples()[:, 0]
    assert x[first:frame].min() == 1
    assert x[frame:].max() == 0


def test_notes_go_on_when_there_are_more_voices_and_those_that_go_are_no_more(tmp_path: Path) -> None:
    with Live(tmp_path) as live:
        patch = band().delete("seq2").delete("seq1").delete("env1").delete("clock1").set("poly.env", "attack", 0)
        first = build(live, patch)
        live.client.note_on("poly", "C4", 0.5)
        live.client.note_on("poly", "E4", 0.5)
        live.client.sync()
        live.advance(9_000)
        live.client.voices("poly", 9)
        grown = int(live.commit(crossfade_ms=0)["frame"]) - first
        live.advance(9_000)
        live.client.note_on("poly", "G4", 0.5)
        live.client.sync()
        live.advance(9_000)
        live.client.voices("poly", 1)
        live.commit(crossfade_ms=0)
        live.await_redundancy()
        live.advance(9_000)
        x = live.samples()[first:, 0]
    steady = np.abs(np.diff(x[grown - 500 : grown + 500], 2)).max()
    assert steady <= 1.05 * np.abs(np.diff(x[grown - 3000 : grown - 500], 2)).max()  # nothing begins anew
    spectrum = np.abs(np.fft.rfft(x[-8192:] * np.hanning(8192)))
    assert np.argmax(spectrum) == pytest.approx(261.63 / RATE_HZ * 8192, abs=1)  # the first voice's note alone
    assert spectrum[round(329.63 / RATE_HZ * 8192)] < 0.02 * spectrum.max()


def test_a_deed_leaves_no_value_behind(tmp_path: Path) -> None:
    with Live(tmp_path, is_recorded=False) as live:
        build(live, band())
        live.client.note_on("poly", 60.5)
        live.client.set("clock1", "position", 3.0)
        live.client.set("poly", "note_on", 64)
        live.client.sync()
        dump = live.client.dump()
        assert not dump["has_edits"]
        params = {node["id"]: node["params"] for node in dump["committed"]["nodes"]}
        assert params["poly"] == {"velocity": pytest.approx(0.8)}
        assert params["clock1"] == {"swing": 0.2}


def test_mistakes_are_answered_and_the_sound_goes_on(tmp_path: Path) -> None:
    with Live(tmp_path) as live:
        patch = band()
        first = build(live, patch)
        client = live.client
        for mistake, message in [
            (lambda: client.sequence("seq1", pattern="x?x"), "'?' at position 2 of the pattern 'x?x' is unknown"),
            (lambda: client.sequence("seq1", notes="C4 Q4"), "notes, word 2: 'Q4' is no note"),
            (lambda: client.sequence("seq1", targets=["kick"]), "unknown module to play 'kick'"),
            (lambda: client.sequence("env1", pattern="x"), "it is a adsr, not a seq"),
            (lambda: client.sequence("nobody", pattern="x"), "unknown module id 'nobody'"),
            (lambda: client.voices("poly", 65), "n=65 is outside 1..64"),
            (lambda: client.voices("seq1", 5), "it is a seq, not a voices"),
            (lambda: client.note_on("poly", 128), "note 128 is outside 0..127"),
            (lambda: client.note_on("poly", "H2"), "'H2' is no note"),
            (lambda: client.note_on("filt1", 60), "biquad_filter plays no notes"),
            (lambda: client.note_on("nobody", 60), "unknown module id 'nobody'"),
            (lambda: client.note_on("poly", 60, 1.5), "velocity=1.5 is outside 0..1"),
            (lambda: client.note_off("poly", -1), "note -1 is outside 0..127"),
            (lambda: client.all_off("osc"), "unknown module id 'osc'"),
            (lambda: client.create("poly.x.y", "adsr"), "is not valid"),
        ]:
            with pytest.raises((PatchError, CommandError)) as error:
                mistake()
            assert message in str(error.value)
        client.delete("clock1")
        with pytest.raises(EngineError, match="there is no clock to follow"):
            client.commit()
        live.advance(30_000)
        x = live.samples()
    assert_same(x[first:], stereo(patch, len(x) - first))


def test_sequences_are_dumped_as_they_were_given(tmp_path: Path) -> None:
    with Live(tmp_path, is_recorded=False) as live:
        build(live, drum("x..."))
        live.client.sequence(
            "seq1", pattern="xx", notes="C4", velocities="0.5", division="1/2", lanes={"env1.sustain": "1 ."}
        )
        told = live.client.sequences("seq1")
        assert told["committed"]["seq1"] == {"pattern": "x...", "targets": ["env1"]}
        assert told["pending"]["seq1"] == {
            "pattern": "xx",
            "division": "1/2",
            "notes": "C4",
            "velocities": "0.5",
            "lanes": {"env1.sustain": "1 ."},
            "targets": ["env1"],
        }
        live.client.ask("/seq/clear", "seq1")
        assert live.client.sequences()["pending"]["seq1"] == {"targets": ["env1"]}
        with pytest.raises(PatchError, match="not a sequence"):
            live.client.sequences("env1")


def test_a_gate_and_a_note_open_a_module_without_voices(tmp_path: Path) -> None:
    with Live(tmp_path) as live:
        patch = drum("....").gate("env1", 0)
        build(live, patch)
        start = live.engine.frames + 2048
        live.send_at(start, NoteOn("env1", 60))
        live.send_at(start + 1000, NoteOff("env1", 60))
        live.send_at(start + 2000, Gate("env1", 1))
        live.advance(6000)
        x = live.samples()
    assert hits(x) == [start, start + 2000]
    assert x[start + 999, 0] == 1
    assert x[start + 1000, 0] == 0


def test_the_difference_of_two_patches_turns_one_into_the_other() -> None:
    before = band()
    after = drum("x.x.x", notes="A3").create("poly", "voices").give("poly", {"voices": 12}).create("poly.env", "adsr")
    after.connect("poly.gate", "poly.env.gate")
    made = edits(before, after)
    assert json.dumps([str(c) for c in made.build])
    assert SeqPattern("seq1", "x.x.x") in made.build
    from pyengine.desk import Desk

    desk = Desk(48000)
    desk.pending = before.copy()
    for command in made.build:
        desk.set(command.module_id, command.param, command.value) if isinstance(command, SetParam) else desk.edit(
            command
        )
    assert {n.id: n.data for n in desk.pending.nodes.values()} == {n.id: n.data for n in after.nodes.values()}
    assert sorted(map(str, desk.pending.to_dict()["cables"])) == sorted(map(str, after.to_dict()["cables"]))


def test_a_track_whose_targets_change_ends_the_note_it_began_on_the_old_one(tmp_path: Path) -> None:
    with Live(tmp_path) as live:
        patch = drum("x" + "-" * 1000).create("env2", "adsr").gate("env2", 0)
        first = build(live, patch)
        live.advance(5_000)
        live.client.sequence("seq1", targets=["env2"])
        frame = int(live.commit(crossfade_ms=0, allow_silence=True)["frame"])
        live.advance(2_000)
        x = live.samples()[:, 0]
    assert x[first:frame].min() == 1
    assert x[frame:].max() == 0


def test_commands_beyond_what_a_chunk_holds_are_left_out_counted_and_the_same_in_both_replicas(tmp_path: Path) -> None:
    """64 voices with 72 parameters that follow each note: they set 4608 at one frame, more than 4096."""
    patch = Patch().create("clock1", "clock").create("poly", "voices").give("poly", {"voices": 64})
    for number in range(12):
        patch.create(f"poly.o{number}", "osc").set(f"poly.o{number}", "gain", 0.001)
        for param in ("freq", "pitch", "detune", "width", "phase", "gain"):
            patch.connect("poly.note", f"poly.o{number}.{param}", 0.0001 if param != "freq" else 1)
    with Live(tmp_path) as live:
        first = build(live, patch)
        start = live.engine.frames + 2049  # inside a block: what comes at its edge is set at once
        live.send_at(start, *(NoteOn("poly", 20 + n) for n in range(64)))
        live.send_at(start + 1000, SetParam("poly", "bend", 1.0))
        live.advance(9_000)
        counters = [slot["counters"]["emit_full"] for slot in live.status()["slots"]]
        x = live.samples()[first:]
    events = [((start - first) / RATE_HZ, op) for n in range(64) for op in note_on(patch, "poly", 20 + n)]
    events.append(((start + 1000 - first) / RATE_HZ, ("mod", "poly", "bend", 1.0)))
    assert counters[0] == counters[1] > 0
    assert_same(x, stereo(patch, len(x), events=events))


def test_a_log_that_begins_in_the_middle_of_a_pattern_is_replayed_bit_for_bit(tmp_path: Path) -> None:
    with Live(tmp_path) as live:
        build(live, band())
        live.advance(31_000)
        first = int(live.client.session_start("middle")["first_frame"])
        live.client.sequence("seq1", pattern="xx.x")
        live.commit(crossfade_ms=0)
        live.advance(30_000)
        live.client.note_on("poly", "C6")
        live.client.sync()
        live.advance(20_000)
        live.client.session_stop()
        live.advance(1_000)
        x = live.samples()
    replayed, facts = replay(tmp_path / "middle.session")
    assert facts.warnings == []
    assert len(replayed) > 50_000
    assert_same(replayed, x[first : first + len(replayed)])
