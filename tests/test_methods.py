"""Notes and sequences from Python: the methods of Engine and Client, those of Patch, and what they sound like."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from live import RATE_HZ, Live, assert_same, frequency_hz, stereo
from test_seq_live import hits
from test_voices import levels, synth

from pyengine import Client, Engine, Patch, note_events, render
from pyengine.errors import CommandError, PatchError
from pyengine.methods import Methods

STEP = 6000  # frames, at 120 bpm and four steps to a beat


def asker(live: Live, who: str) -> Any:
    return live.engine if who == "engine" else live.client


def test_engine_and_client_have_the_same_methods_and_each_says_what_it_does() -> None:
    for name, method in inspect.getmembers(Methods, inspect.isfunction):
        if name.startswith("_"):
            continue
        assert (method.__doc__ or "").strip(), name
        ours = set(inspect.signature(method).parameters)
        for owner in (Engine, Client):
            assert ours <= set(inspect.signature(getattr(owner, name)).parameters), (owner, name)


@pytest.mark.parametrize("who", ["engine", "client"])
def test_notes_and_sequences_are_played_by_methods(tmp_path: Path, who: str) -> None:
    with Live(tmp_path) as live:
        one = asker(live, who)
        one.create("clock1", "clock")
        one.create("env1", "adsr")
        for name, value in {"attack": 0, "decay": 0, "sustain": 1, "release": 0}.items():
            one.set("env1", name, value)
        one.create("seq1", "seq")
        one.sequence("seq1", pattern="x.x.", targets="env1", division=4, velocities="1 0.5", notes="C4")
        one.sequence("seq1", notes="", clock="clock1", lanes={"env1.sustain": "1 0.75"})
        told = one.sequences("seq1")["pending"]["seq1"]
        assert told["pattern"] == "x.x." and told["lanes"] == {"env1.sustain": "1 0.75"} and "notes" not in told
        first = int(one.commit(crossfade_ms=0, allow_silence=True, timeout_ms=20_000)["frame"])
        live.await_redundancy()
        live.advance(4 * STEP)
        one.clear_sequence("seq1")
        assert "pattern" not in one.sequences("seq1")["pending"]["seq1"]
        x = live.samples()[first:]
    patch = Patch().create("clock1", "clock").create("env1", "adsr").create("seq1", "seq")
    for name, value in {"attack": 0, "decay": 0, "sustain": 1, "release": 0}.items():
        patch.set("env1", name, value)
    patch.sequence("seq1", pattern="x.x.", targets=["env1"], division=4, velocities="1 0.5", clock="clock1")
    patch.sequence("seq1", lanes={"env1.sustain": "1 0.75"})
    assert hits(x)[:2] == [0, 2 * STEP]
    assert_same(x, stereo(patch, len(x)))


@pytest.mark.parametrize("who", ["engine", "client"])
def test_a_note_is_played_and_ended_by_methods(tmp_path: Path, who: str) -> None:
    with Live(tmp_path) as live:
        one = asker(live, who)
        for row in synth(2).to_dict()["nodes"]:
            one.create(row["id"], row["type"])
        for row in synth(2).to_dict()["cables"]:
            one.connect(row["from"], row["to"])
        one.voices("poly", 2)
        one.commit(crossfade_ms=0, allow_silence=True, timeout_ms=20_000)
        live.await_redundancy()
        silent_until = live.engine.frames
        one.note_on("poly", "A4", 0.5)
        one.note_on("poly", 69, 0)  # a velocity of 0 ends it
        one.note_on("poly", 60.5)
        one.note_off("poly", 60.5)
        one.note_on("poly", "A5")
        live.advance(RATE_HZ)
        one.all_off("poly")
        live.advance(RATE_HZ)
        x = live.samples()[:, 0]
    assert frequency_hz(x[silent_until + RATE_HZ // 2 : silent_until + RATE_HZ]) == pytest.approx(880, abs=0.01)
    assert not x[-RATE_HZ // 4 :].any()


@pytest.fixture(scope="module")
def askers() -> Iterator[tuple[Engine, Client]]:
    """Yield an engine and a client of it, with a pending patch."""
    with Engine("free", osc_port=0) as engine, Client(port=engine.osc_port or 0, timeout_s=30) as client:
        for id, type in (("poly", "voices"), ("seq1", "seq"), ("gain1", "gain"), ("clock1", "clock")):
            engine.create(id, type)
        yield engine, client


@pytest.mark.parametrize(
    ("ask", "text"),
    [
        (lambda one: one.note_on("poly", "H4"), "no note"),
        (lambda one: one.note_on("poly", 128), "outside 0..127"),
        (lambda one: one.note_on("poly", 60, 1.5), "outside 0..1"),
        (lambda one: one.note_on("poly", 60, 100), "100 of MIDI's 127 is 0.787"),
        (
            lambda one: one.sequence("seq1", velocities="1 64"),
            r"word 2: '64' is no .* 0\.\.1 \(64 of MIDI's 127 is 0\.504",
        ),
        (lambda one: one.note_on("gain1", 60), "plays no notes"),
        (lambda one: one.note_off("pol", 60), "unknown module id 'pol'"),
        (lambda one: one.voices("poly", 65), "1..64"),
        (lambda one: one.voices("seq1", 2), "voices"),
        (lambda one: one.sequence("seq1", pattern="x?"), "position 2"),
        (lambda one: one.sequence("seq1", notes="C4 Q"), "word 2"),
        (lambda one: one.sequence("seq1", velocities="2"), "0..1"),
        (lambda one: one.sequence("seq1", division="1/0"), "no division"),
        (lambda one: one.sequence("seq1", targets=["nobody"]), "nobody"),
        (lambda one: one.sequence("seq1", lanes={"gain1.nothing": "1"}), "nothing"),
        (lambda one: one.sequence("poly", pattern="x"), "voices"),
    ],
)
def test_what_is_wrong_is_said_and_changes_nothing(
    askers: tuple[Engine, Client], ask: Callable[[Any], object], text: str
) -> None:
    before = askers[0].dump()["pending"]
    for one in askers:
        with pytest.raises((PatchError, CommandError), match=text):
            ask(one)
    assert askers[0].dump()["pending"] == before


def test_a_patch_takes_all_of_a_sequence_or_nothing() -> None:
    patch = Patch().create("clock1", "clock").create("seq1", "seq").create("kick1", "kick")
    patch.sequence("seq1", pattern="x...", targets="kick1", velocities="1")
    before = dict(patch.node("seq1").data)
    with pytest.raises(PatchError, match=r"(?s)position 1.*word 1"):
        patch.sequence("seq1", pattern="?", notes="Q")
    assert dict(patch.node("seq1").data) == before
    patch.sequence("seq1", velocities="", lanes={"kick1.velocity": "1 0.5"})
    assert dict(patch.node("seq1").data) == {
        "pattern": "x...",
        "targets": ["kick1"],
        "lanes": {"kick1.velocity": "1 0.5"},
    }
    assert "lanes" not in patch.sequence("seq1", lanes={"kick1.velocity": ""}).node("seq1").data
    with pytest.raises(PatchError, match="takes no data"):
        patch.sequence("kick1", pattern="x")
    with pytest.raises(PatchError, match="1..64"):
        Patch().create("poly", "voices").voices("poly", 0)
    assert Patch().create("s", "sampler").sample("s", "a.wav").node("s").data["file"] == "a.wav"


def test_notes_are_rendered_from_their_frame_to_their_end() -> None:
    patch = levels(2)
    notes = [(0.1, "C4", 0.2, 1.0), (0.3, "C4", 0.1, 0.5), (0.2, 67, 0.3, 0.25)]
    x = render(patch, 0.7, events=note_events(patch, "poly", notes))[:, 0]
    frames = np.arange(7) * RATE_HZ // 10
    heard = [round(float(v), 3) for v in x[frames + 1000]]  # a level ramps in 5 ms
    assert heard == [0.0, 1.0, 1.25, 0.75, 0.25, 0.0, 0.0]
    assert list(np.flatnonzero(np.diff(x)) + 1)[0] == RATE_HZ // 10
    rows = np.array([(0.1, 60, 0.2, 1.0), (0.3, 60, 0.1, 0.5), (0.2, 67, 0.3, 0.25)])
    assert note_events(patch, "poly", rows) == note_events(patch, "poly", notes)
    drum = Patch().create("env1", "adsr").gate("env1", 0)
    assert note_events(drum, "env1", [(0, 60, 1)]) == [
        (0.0, ("gate", "env1", None, 1)),
        (1.0, ("gate", "env1", None, 0)),
    ]


@pytest.mark.parametrize(
    ("row", "text"),
    [
        ((0, "C4"), "note 2: .*is no note"),
        ("abc", "note 2: .*is no note"),
        ((-1, "C4", 1), "note 2: seconds=-1"),
        ((0, "C4", 0), "note 2: length=0"),
        ((0, "C4", float("nan")), "note 2: length=nan"),
        ((0, "X", 1), "note 2: 'X' is no note"),
        ((0, "C4", 1, 2), "note 2: velocity 2"),
    ],
)
def test_a_row_that_is_no_note_is_told_with_its_number(row: Any, text: str) -> None:
    with pytest.raises(CommandError, match=text):
        note_events(levels(2), "poly", [(0, "C4", 1), row])
    with pytest.raises(PatchError, match="plays no notes"):
        note_events(Patch().create("f", "biquad_filter"), "f", [(0, "C4", 1)])
