"""Replay: what a log says was heard, bit for bit; logs that are cut, damaged, foreign or too new."""

from __future__ import annotations

import copy
import json
import random
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from live import Samples, assert_same, chain, frequency_hz, rms, same_bits, tone
from logs import BLOCK, Mishaps, Script, logged_rig, tone_script
from rig import Rig
from waiting import wait_until

from pyengine import Patch, SessionError, cli, replay, session_file
from pyengine._native import Record, checkpoint_image
from pyengine.errors import CommandError
from pyengine.offline import render
from pyengine.playback import replay_to_wav

UP_TO_THERE = "what was played up to there is replayed"


def mono(patch: Patch, n_frames: int, **options: Any) -> Samples:
    return render(patch, frames=n_frames, **options)


def two_tones() -> tuple[Patch, Patch]:
    """A sine, and the same sine (it keeps its state) with another one beside it."""
    one = Patch().create("osc1", "simple_sine")
    two = one.copy().create("osc2", "simple_sine").set("osc2", "freq", 1000.0)
    return one, two


# ---- what is heard


def test_a_tone_with_a_setting_is_the_one_that_render_makes(tmp_path: Path) -> None:
    script, patch = tone_script()
    x, facts = replay(script.end().write(tmp_path / "a.session"))
    event = ((7 - 2) * BLOCK / 48000, ("mod", "osc1", "freq", 700.0))
    assert not x[: 2 * BLOCK].any()
    assert_same(x[2 * BLOCK :], mono(patch, 18 * BLOCK, events=[event]))
    assert (facts.n_frames, facts.swaps, facts.records, facts.warnings) == (20 * BLOCK, 1, 2, [])
    assert not facts.is_cut and not facts.is_damaged


def test_a_time_tagged_setting_takes_effect_inside_a_block(tmp_path: Path) -> None:
    patch = tone()
    script = Script().start().plan(1, patch).switch(1).heard(0, 1).send(Record(1, 0, 700.0, frame=1000))
    x, _ = replay(script.played(40, (0, 1), (3, 2)).write(tmp_path / "a.session"))
    assert_same(x, mono(patch, 40 * BLOCK, events=[(1000 / 48000, ("mod", "osc1", "freq", 700.0))]))


def test_a_switch_that_is_never_heard_changes_nothing(tmp_path: Path) -> None:
    one, two = two_tones()
    script = Script().start().plan(1, one).switch(1).heard(0, 1).plan(2, two, source=1).switch(2)
    script.plan(3, tone(333.0), source=1).switch(3)
    script.send(Record(1, 0, 600.0)).played(30, (0, 1), (5, 3), (9, 4))
    x, facts = replay(script.write(tmp_path / "a.session"))
    assert_same(x, mono(one, 30 * BLOCK, events=[(9 * BLOCK / 48000, ("mod", "osc1", "freq", 600.0))]))
    assert facts.generations == 1 or facts.swaps == 1


def test_a_late_swap_is_heard_late_and_declicked_and_ideally_at_its_block(tmp_path: Path) -> None:
    one, two = two_tones()
    script = Script().start().plan(1, one).switch(1).heard(0, 1).plan(2, two, source=1).switch(2)
    script.heard(13, 2, is_declicked=True).played(40, (0, 1), (10, 2))
    path = script.write(tmp_path / "a.session")
    at, late = 10 * BLOCK, 13 * BLOCK
    old, fresh = mono(one, 40 * BLOCK), mono(tone(1000.0), 30 * BLOCK)
    new = old.copy()
    new[at:] += fresh
    x, _ = replay(path)
    assert_same(x[:late], old[:late])
    assert_same(x[late + 240 :], new[late + 240 :])
    assert abs(float(x[late, 0] - x[late - 1, 0])) < 1e-6
    ideal, _ = replay(path, ideal=True)
    assert_same(ideal, new)


def test_a_fall_back_goes_on_with_the_old_patch_as_if_nothing_had_been(tmp_path: Path) -> None:
    one, two = two_tones()
    script = Script().start().plan(1, one).switch(1).heard(0, 1).plan(2, two, source=1).switch(2)
    script.heard(10, 2).heard(14, 1, is_declicked=True).send(Record(1, 0, 500.0)).heard(30, 2, is_declicked=True)
    path = script.played(60, (0, 1), (10, 2), (12, 3)).write(tmp_path / "a.session")
    events = [(12 * BLOCK / 48000, ("mod", "osc1", "freq", 500.0))]
    old = mono(one, 60 * BLOCK, events=events)
    new = old.copy()
    new[10 * BLOCK :] += mono(tone(1000.0), 50 * BLOCK)
    x, facts = replay(path)
    assert_same(x[: 10 * BLOCK], old[: 10 * BLOCK])
    assert_same(x[10 * BLOCK : 14 * BLOCK], new[10 * BLOCK : 14 * BLOCK])
    assert_same(x[14 * BLOCK + 240 : 30 * BLOCK], old[14 * BLOCK + 240 : 30 * BLOCK])
    assert_same(x[30 * BLOCK + 240 :], new[30 * BLOCK + 240 :])
    assert facts.swaps == 4
    ideal, _ = replay(path, ideal=True)
    assert_same(ideal, new)


def test_silence_is_declicked_on_both_sides_and_time_stands_still_in_it(tmp_path: Path) -> None:
    script, patch = tone_script()
    script.event("underrun", 20, 20 * BLOCK).event("resumed", 20, 20 * BLOCK + 1000, 1000)
    script.heard(20, 1, silence=1000, is_declicked=True).played(40, frames=40 * BLOCK + 1000)
    path = script.write(tmp_path / "a.session")
    whole, _ = replay(path, ideal=True)
    x, facts = replay(path)
    begin, end = 20 * BLOCK, 20 * BLOCK + 1000
    assert (len(x), facts.silent_frames) == (40 * BLOCK + 1000, 1000)
    assert_same(
        whole[2 * BLOCK :], mono(patch, 38 * BLOCK, events=[(5 * BLOCK / 48000, ("mod", "osc1", "freq", 700.0))])
    )
    assert_same(x[:begin], whole[:begin])
    assert x[begin, 0] == x[begin - 1, 0] and not x[begin + 240 : end].any()
    assert_same(x[end + 240 :], whole[begin + 240 :])


@pytest.mark.parametrize("frames", [20 * BLOCK, 20 * BLOCK + 1, 20 * BLOCK + 999, 20 * BLOCK + 1000])
def test_a_log_that_ends_in_silence_ends_there(tmp_path: Path, frames: int) -> None:
    script, _ = tone_script()
    script.event("underrun", 20, 20 * BLOCK).event("resumed", 20, 20 * BLOCK + 1000, 1000)
    script.heard(20, 1, silence=1000, is_declicked=True).played(20, frames=frames)
    x, facts = replay(script.write(tmp_path / "a.session"))
    y, _ = replay(
        tone_script()[0].event("underrun", 20, 20 * BLOCK).played(20, frames=frames).write(tmp_path / "b.session")
    )
    assert len(x) == facts.n_frames == frames
    assert_same(x, y)


def test_a_part_of_a_block_that_was_played_is_replayed(tmp_path: Path) -> None:
    script, _ = tone_script()
    whole, _ = replay(script.played(30).write(tmp_path / "a.session"))
    script, _ = tone_script()
    x, _ = replay(script.played(29, frames=29 * BLOCK + 17).write(tmp_path / "b.session"))
    assert_same(x, whole[: 29 * BLOCK + 17])


def test_a_crossfade_is_that_of_the_engine(tmp_path: Path) -> None:
    path = tmp_path / "a.session"
    with logged_rig(path) as rig:
        rig.commit_logged(tone())
        rig.advance(1000)
        rig.commit_logged(chain(2, freq=555.0), fade_frames=700)
        rig.advance(3000)
        x = rig.read_tap()
    y, facts = replay(path)
    assert facts.warnings == []
    assert_same(x, y)


def test_a_declick_at_the_first_block_of_a_log_from_the_middle_is_told(tmp_path: Path) -> None:
    script = Script().start(block=5, first_frame=320).event("underrun", 5, 320).event("resumed", 5, 420, 100)
    x, facts = replay(
        script.heard(5, 0, silence=100, is_declicked=True).played(9, frames=676).end().write(tmp_path / "a")
    )
    assert len(x) == 676 - 320 and not x.any()
    assert facts.warnings == ["a declick begins with the log: its 5 ms are not as they were played"]


# ---- restarts


def test_a_restart_begins_with_the_states_of_a_block_and_skips_what_came_before(tmp_path: Path) -> None:
    """Generation 1 dies of record 3; generation 2 has its states of block 10, from block 14 on, without the records."""
    patch = tone()
    script = Script().start().plan(1, patch).switch(1).heard(0, 1).send(Record(1, 0, 500.0), Record(1, 0, 5000.0))
    script.restart(2, patch, source=1, from_block=10, block=14, base=3)
    script.heard(14, 2, is_declicked=True).send(Record(1, 1, 0.1)).played(40, (0, 1), (4, 2), (12, 3), (20, 4))
    x, _ = replay(script.write(tmp_path / "a.session"))
    rate = 48000
    set500, set5000 = (
        (4 * BLOCK / rate, ("mod", "osc1", "freq", 500.0)),
        (12 * BLOCK / rate, ("mod", "osc1", "freq", 5000.0)),
    )
    assert_same(x[: 14 * BLOCK], mono(patch, 14 * BLOCK, events=[set500, set5000]))
    quieter = (16 * BLOCK / rate, ("mod", "osc1", "gain", 0.1))  # block 20 is the 16th of the states' own time
    calm = mono(patch, 40 * BLOCK, events=[set500, quieter])
    assert_same(x[14 * BLOCK + 240 :], calm[10 * BLOCK + 240 : 36 * BLOCK])


def test_a_commit_may_follow_a_restart(tmp_path: Path) -> None:
    one, two = two_tones()
    script = Script().start().plan(1, one).switch(1).heard(0, 1)
    script.restart(2, one, source=1, from_block=8, block=8, base=1).heard(8, 2)
    script.plan(3, two, source=2).switch(3).heard(20, 3).played(50, (0, 1), (20, 2))
    x, _ = replay(script.write(tmp_path / "a.session"))
    expected = mono(one, 50 * BLOCK)
    expected[20 * BLOCK :] += mono(tone(1000.0), 30 * BLOCK)
    assert_same(x, expected)


def test_a_restart_from_before_the_log_begins_with_the_patchs_values_and_says_so(tmp_path: Path) -> None:
    patch = tone(650.0)
    script = Script().start(block=100, first_frame=6400).restart(2, patch, source=1, from_block=90, block=104, base=0)
    script.heard(104, 2).played(120)
    x, facts = replay(script.write(tmp_path / "a.session"))
    assert_same(x[4 * BLOCK :], mono(patch, 16 * BLOCK))
    assert "does not reach back" in " ".join(facts.warnings)


def test_a_restart_from_before_the_log_may_bring_its_checkpoint_along(tmp_path: Path) -> None:
    patch = tone(650.0)
    with Rig(n_channels=1) as rig:
        first = rig.commit(patch)
        rig.advance(3000)
        rig.segment.request_checkpoint(rig.segment.active_slot, 1)
        wait_until(lambda: (rig.segment.checkpoint(1) or (0, 0))[0] > first // BLOCK + 20)
        checkpoint = rig.segment.checkpoint(1)
        image = checkpoint_image(rig.segment, 1)
    assert checkpoint is not None
    script = Script().start(block=100, first_frame=6400)
    script.restart(2, patch, source=1, from_block=checkpoint[0], block=104, base=0, image=session_file.pack(image))
    path = script.heard(104, 2).played(120).write(tmp_path / "a.session")
    x, facts = replay(path)
    begin = checkpoint[0] * BLOCK - first
    assert facts.warnings == ["the log was cut off behind line 5: the engine did not end it; " + UP_TO_THERE]
    assert_same(x[4 * BLOCK :], mono(patch, begin + 16 * BLOCK)[begin:])
    for wrong in (image[:-1], image[:40], image + b"\0"):
        script.entries[2]["restart"]["image"] = session_file.pack(wrong)
        with pytest.raises(SessionError, match="a checkpoint in the log cannot be used"):
            replay(script.write(path))


# ---- the same as an engine of one process


def test_a_late_swap_a_fall_back_and_an_underrun_are_replayed_bit_for_bit(tmp_path: Path) -> None:
    path = tmp_path / "a.session"
    one, two = two_tones()
    with logged_rig(path) as rig:
        segment = rig.segment
        rig.commit_logged(one)
        slot, generation = rig.arm(two, fade_frames=300)
        segment.set_playable(slot, False)
        rig.advance(10 * 64)
        assert segment.heard_generation == 1
        segment.set_playable(slot, True)
        rig.advance(777)
        assert segment.heard_generation == generation == 2
        segment.send([Record(1, 0, 523.25, frame=rig.output.frames + 900)])
        segment.set_playable(slot, False)  # the other one still has the patch before
        rig.advance(1000)
        assert segment.heard_generation == 1
        segment.set_playable(slot, True)
        rig.settle()
        for silent in (33, 512, 100):
            segment.set_playable(0, False)
            segment.set_playable(1, False)
            rig.output.process(silent)
            rig.output.process(silent)
            segment.set_playable(0, True)
            segment.set_playable(1, True)
            rig.output.process(64 * 2 + silent % 64)
            rig.settle()
        rig.advance(5000)
        rig.drain()
        counters = rig.counters()
        kinds = {event.kind for event in rig.events}
        x = rig.read_tap()
    assert counters["late_swaps"] == 1 and counters["fallbacks"] >= 1 and counters["frames_underrun"] > 1000
    assert {"swap", "fallback", "underrun", "resumed", "heard"} <= kinds
    y, facts = replay(path)
    assert facts.warnings == [] and facts.silent_frames == counters["frames_underrun"]
    assert_same(x, y)
    ideal, facts = replay(path, ideal=True)
    assert len(ideal) == len(y) - counters["frames_underrun"] and facts.silences == 0


@pytest.mark.parametrize("seed", range(8))
def test_any_order_of_swaps_lateness_falls_and_silences_is_replayed_bit_for_bit(tmp_path: Path, seed: int) -> None:
    path = tmp_path / "a.session"
    rng = random.Random(seed)
    sizes = {"block_frames": rng.choice([16, 64, 100, 512]), "lead": rng.choice([1, 2, 8])}
    with logged_rig(path, n_channels=rng.choice([1, 2]), **sizes) as rig:
        mishaps = Mishaps(rig, rng)
        for _ in range(25):
            mishaps.step()
        rig.drain()
        x = rig.read_tap()
    y, facts = replay(path)
    assert facts.warnings == [] and facts.swaps > 0
    assert_same(x, y)
    ideal, _ = replay(path, ideal=True)
    assert len(ideal) == len(y) - facts.silent_frames


# ---- another rate


@pytest.mark.parametrize("rate", [44100, 96000, 22050.5])
def test_another_rate_keeps_pitch_and_length(tmp_path: Path, rate: float) -> None:
    patch = tone(441.0)
    script = Script().start().plan(1, patch).switch(1).heard(0, 1).played(1500, (0, 1)).end()
    path = script.write(tmp_path / "a.session")
    x, facts = replay(path, sample_rate=rate)
    assert (facts.sample_rate_hz, len(x)) == (rate, round(1500 * BLOCK * rate / 48000))
    assert abs(frequency_hz(x[:, 0]) * rate / 48000 - 441.0) < 0.05
    assert_same(x, render(patch, frames=len(x), sample_rate=rate))


def test_at_another_rate_positions_fades_and_silences_are_scaled(tmp_path: Path) -> None:
    script, patch = tone_script(100)
    script.send(Record(1, 1, 0.0, frame=6400)).played(150, (99, 3))
    script.event("underrun", 150, 9600).event("resumed", 150, 10600, 1000)
    script.heard(150, 1, silence=1000, is_declicked=True).played(160, frames=160 * BLOCK + 1000)
    x, facts = replay(script.write(tmp_path / "a.session"), sample_rate=96000)
    assert len(x) == facts.n_frames == 2 * (160 * BLOCK + 1000)
    events = [(5 * BLOCK / 48000, ("mod", "osc1", "freq", 700.0)), ((6400 - 128) / 48000, ("mod", "osc1", "gain", 0.0))]
    assert_same(x[256 : 2 * 9600], render(patch, frames=2 * 9600 - 256, events=events, sample_rate=96000))


def test_a_rate_out_of_range_is_refused(tmp_path: Path) -> None:
    path = tone_script()[0].write(tmp_path / "a.session")
    with pytest.raises(CommandError, match="sample_rate=5 is outside 1000..768000 Hz"):
        replay(path, sample_rate=5)


# ---- logs that are not whole


def test_every_place_at_which_a_log_may_be_cut_is_replayed_up_to_there(tmp_path: Path) -> None:
    script, _ = tone_script(10)
    script.event("underrun", 10, 640).event("resumed", 10, 700, 60).heard(10, 1, silence=60, is_declicked=True)
    lines = (
        script.played(12, frames=12 * BLOCK + 60)
        .send(Record(1, 0, 300.0))
        .played(14, (13, 3), frames=956)
        .end()
        .lines()
    )
    data = b"".join(lines)
    path = tmp_path / "a.session"
    path.write_bytes(data)
    whole, facts = replay(path)
    assert len(whole) == 956 and facts.warnings == []
    ends = np.cumsum([len(line) for line in lines])
    seen = set()
    for n_bytes in range(len(data)):
        path.write_bytes(data[:n_bytes])
        if n_bytes < ends[0] - 1:
            with pytest.raises(SessionError, match="no session log, or cut off in its first line"):
                replay(path)
            continue
        x, facts = replay(path)
        assert same_bits(x, whole[: len(x)])
        assert not facts.is_damaged and len(facts.warnings) == (n_bytes < ends[-1] - 1)
        seen.add(len(x))
    assert seen == {0, 640, 12 * BLOCK + 60, 956}


def test_every_flipped_byte_is_seen_and_what_stands_before_it_replayed(tmp_path: Path) -> None:
    script, _ = tone_script(10)
    lines = script.played(14).end().lines()
    data = b"".join(lines)
    path = tmp_path / "a.session"
    path.write_bytes(data)
    whole, _ = replay(path)
    ends = np.cumsum([len(line) for line in lines])
    for at in range(len(data)):
        for bit in (1, 0x20, 0x80):
            flipped = bytearray(data)
            flipped[at] ^= bit
            path.write_bytes(flipped)
            if at < ends[0]:
                with pytest.raises(SessionError):
                    replay(path)
                continue
            x, facts = replay(path)
            line = int(np.searchsorted(ends, at, side="right")) + 1
            is_last_newline = at == len(data) - 1
            assert facts.is_damaged != is_last_newline
            assert f"line {line} of the log is damaged" in facts.warnings[0] or is_last_newline
            assert same_bits(x, whole[: len(x)])


def test_lines_that_make_no_sense_are_damage_and_not_a_crash(tmp_path: Path) -> None:
    nonsense: list[Any] = [
        {"played": [1]},
        {"played": [1, "x"], "decided": []},
        {"played": [-1, 0], "decided": []},
        {"played": [30, 1920], "decided": [[3, 99]]},
        {"records": [7, [[1, 0, 1.0]]]},
        {"records": [3, [["x", 0, 1.0]]]},
        {"records": [3, [[1, 0]]]},
        {"records": [3, [[-1, 0, 1.0]]]},
        {"records": [3, [[1 << 40, 0, 1.0]]]},
        {"records": 3},
        {"event": []},
        {"event": ["heard", 1.5, 0, 1, 0]},
        {"event": ["heard", 1, 0, 1, None]},
        {"plan": {}},
        {"plan": None},
        {"restart": {"from": 1}},
        {"start": []},
        {"start": {"generation": 0, "block": 0, "seq": 0, "first_frame": 0, "plan": None, "image": "%%%"}},
        {"start": {"generation": 0, "block": 0, "seq": 0, "first_frame": 0, "plan": None, "image": "AAAA"}},
        {"what": 1},
        {},
    ]
    whole, _ = replay(tone_script()[0].write(tmp_path / "whole.session"))
    for entry in nonsense:
        script, _ = tone_script()
        script.entries.append(entry)
        x, facts = replay(script.played(40).write(tmp_path / "a.session"))
        assert facts.is_damaged and "line 8 of the log is damaged" in facts.warnings[0], entry
        assert same_bits(x, whole)
    for line in (b"\xff\xfe\n", b"\n", b"00000000 []\n", b"x" * 100 + b"\n", session_file.encode([])):  # type: ignore[arg-type]
        path = tmp_path / "a.session"
        path.write_bytes(b"".join([*tone_script()[0].lines(), line, *tone_script()[0].lines()]))
        x, facts = replay(path)
        assert facts.is_damaged and same_bits(x, whole)


LEAVES = st.sampled_from([-1, 0, 1, 2, 3, 8, 13, 64, 900, 1.5, True, None, "", "x", "adsr", [], [1], {}, {"x": 1}])


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_whatever_a_sound_line_says_the_replay_ends_with_sound_or_a_session_error(data: st.DataObject) -> None:
    one, two = two_tones()
    script = Script().start().plan(1, one).switch(1).heard(2, 1).plan(2, two, source=1, fade=100).switch(2)
    script.restart(3, one, source=1, from_block=9, block=14, base=3).send(Record(1, 0, 500.0, frame=1000))
    script.heard(13, 2, is_declicked=True).heard(14, 3).event("underrun", 20, 1280).event("resumed", 20, 1300, 20)
    script.heard(20, 3, silence=20, is_declicked=True).played(30, (2, 1), (10, 2), (15, 3)).end()
    entries = json.loads(json.dumps(script.entries))
    for _ in range(data.draw(st.integers(1, 3))):
        place: Any = entries[data.draw(st.integers(1, len(entries) - 1))]
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            if not keys:
                break
            key = data.draw(st.sampled_from(keys))
            if isinstance(place[key], (dict, list)) and data.draw(st.booleans()):
                place = place[key]
                continue
            place[key] = copy.deepcopy(data.draw(LEAVES))
            break
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.session"
        path.write_bytes(b"".join(session_file.encode(entry) for entry in entries))
        for options in ({}, {"ideal": True}, {"sample_rate": 32000.0}):
            try:
                x, facts = replay(path, **options)  # type: ignore[arg-type]
            except SessionError:
                continue
            assert len(x) == facts.n_frames < 64 * 1000


def test_a_generation_that_the_log_does_not_explain_ends_the_replay(tmp_path: Path) -> None:
    script, _ = tone_script()
    whole, _ = replay(script.write(tmp_path / "a.session"))
    x, facts = replay(script.heard(20, 9).played(30).write(tmp_path / "a.session"))
    assert_same(x, whole)
    assert facts.is_damaged and "generation 9, of which the log says nothing" in facts.warnings[-1]


@pytest.mark.parametrize("data", [b"", b"\n", b"RIFF....WAVE", b'{"version": 1, "nodes": []}', bytes(100_000)])
def test_what_is_no_session_log_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a.session"
    path.write_bytes(data)
    with pytest.raises(SessionError, match="is no session log, or cut off in its first line; give a file that"):
        replay(path)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SessionError, match="cannot read .*: No such file or directory"):
        replay(tmp_path / "a.session")
    with pytest.raises(SessionError, match="cannot read .*: Is a directory"):
        replay(tmp_path)


def test_a_log_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    path = Script(**{session_file.KEY: 2, "version": "9.1"}).start().write(tmp_path / "a.session")
    with pytest.raises(SessionError, match="session format 2, this pyengine reads 1; replay it with .*9.1"):
        replay(path)


@pytest.mark.parametrize("head", [{"rate": 1}, {"rate": "x"}, {"block": 0}, {"channels": 99}, {"modules": 3}])
def test_a_first_line_that_makes_no_sense_is_refused(tmp_path: Path, head: dict[str, Any]) -> None:
    with pytest.raises(SessionError, match="makes no sense"):
        replay(Script(**head).start().write(tmp_path / "a.session"))


def test_a_patch_with_modules_that_are_not_here_is_refused_by_name(tmp_path: Path) -> None:
    script, _ = tone_script()
    script.entries[2]["plan"]["nodes"][0][1] = "granulator"
    with pytest.raises(SessionError, match="cannot be built here: .*granulator.*PYENGINE_MODULES"):
        replay(script.write(tmp_path / "a.session"))


# ---- to a file, and the command line


def test_a_wav_holds_the_same_bits(tmp_path: Path) -> None:
    script, _ = tone_script()
    path = script.played(5000).end().write(tmp_path / "a.session")
    facts = replay_to_wav(path, tmp_path / "a.wav")
    x, rate = soundfile.read(tmp_path / "a.wav", dtype="float32", always_2d=True)
    assert (rate, len(x), facts.n_frames) == (48000, 5000 * BLOCK, 5000 * BLOCK)
    assert_same(x, replay(path)[0])


def test_the_command_line_replays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, out = tone_script()[0].end().write(tmp_path / "a.session"), tmp_path / "a.wav"
    assert cli.main(["replay", str(path), "-o", str(out)]) == 0
    printed = capsys.readouterr()
    assert "1280 frames" in printed.out and "times real time" in printed.out and printed.err == ""
    assert cli.main(["replay", str(path), "-o", str(out), "--rate", "96000", "--ideal", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["n_frames"], facts["sample_rate_hz"], facts["path"]) == (2560, 96000, str(out))
    assert soundfile.info(out).samplerate == 96000


def test_the_exit_code_tells_a_cut_from_damage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, out = tmp_path / "a.session", tmp_path / "a.wav"
    data = b"".join(tone_script()[0].end().lines())
    path.write_bytes(data[:-10])
    assert cli.main(["replay", str(path), "-o", str(out)]) == cli.EXIT_OK
    assert "pyengine: warning: the log is cut off in line 8" in capsys.readouterr().err
    path.write_bytes(data[:-60] + b"?" + data[-59:])
    assert cli.main(["replay", str(path), "-o", str(out)]) == cli.EXIT_DAMAGED == 4
    assert "line 7 of the log is damaged" in capsys.readouterr().err
    path.write_bytes(b"something else")
    assert cli.main(["replay", str(path), "-o", str(out)]) == cli.EXIT_ENGINE
    assert "is no session log" in capsys.readouterr().err


def test_a_replay_does_not_write_over_its_log_nor_where_it_may_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tone_script()[0].write(tmp_path / "a.session")
    before = path.read_bytes()
    assert cli.main(["replay", str(path), "-o", str(path)]) == cli.EXIT_ENGINE
    assert cli.main(["replay", str(path), "-o", str(tmp_path / "no" / "a.wav")]) == cli.EXIT_ENGINE
    assert path.read_bytes() == before
    assert "is the session log itself" in capsys.readouterr().err
    nowhere = tmp_path / "nowhere" / "a.wav"
    assert cli.main(["replay", str(path), "-o", str(nowhere)]) == 3
    assert f"cannot be written: there is no folder {nowhere.parent}" in capsys.readouterr().err
    with pytest.raises(SessionError, match=r"cannot write .*: No such file or directory; give another place"):
        replay_to_wav(path, nowhere)


def test_a_long_session_is_replayed_in_pieces_and_many_times_faster_than_played(tmp_path: Path) -> None:
    """Ten minutes with a setting every 0.1 s. The speed is told, not judged."""
    patch = tone()
    script = Script().start().plan(1, patch).switch(1).heard(0, 1)
    n_blocks = 10 * 60 * 48000 // BLOCK
    blocks = range(75, n_blocks, 75)
    script.send(*(Record(1, 0, 200.0 + n % 1000) for n in range(len(blocks))))
    script.played(n_blocks, (0, 1), *((block, 2 + n) for n, block in enumerate(blocks))).end()
    path, begin_s = script.write(tmp_path / "a.session"), time.perf_counter()
    facts = replay_to_wav(path, tmp_path / "a.wav")
    print(f"{600 / (time.perf_counter() - begin_s):.0f} times real time")
    assert facts.n_frames == n_blocks * BLOCK and facts.records == len(blocks) + 1
    x, _ = soundfile.read(tmp_path / "a.wav", start=facts.n_frames - 48000, dtype="float32")
    assert abs(rms(x) - 0.2 / np.sqrt(2)) < 1e-3
