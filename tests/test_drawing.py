"""A drawing of a patch shows its cables, all of them and no others: each line is followed to its end."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import strategies
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pyengine import render
from pyengine.drawing import OUT, as_graph, as_list, layers, save_picture, wires
from pyengine.errors import CommandError, Fault, PatchError
from pyengine.patch import Patch

ACYCLIC = strategies.graphs().map(lambda graph: (graph[0], list(dict.fromkeys(tuple(sorted(e)) for e in graph[1]))))
N, E, S, W = (0, -1), (1, 0), (0, 1), (-1, 0)
BACK = {N: S, S: N, E: W, W: E}
WAYS = {"─": {E, W}, "│": {N, S}, "┌": {S, E}, "┐": {S, W}, "└": {N, E}, "┘": {N, W}, "├": {N, S, E}}
WAYS |= {"╌": {E, W}, "┆": {N, S}, "┤": {N, S, W}, "┬": {E, W, S}, "┴": {E, W, N}, "●": {N, E, S, W}}


def a_patch() -> Patch:
    patch = Patch()
    for id, kind in [("osc1", "simple_sine"), ("osc2", "simple_sine"), ("env1", "adsr"), ("filt1", "biquad_filter")]:
        patch.create(id, kind)
    for source, dest in [("osc1", "env1"), ("osc2", "env1"), ("env1", "filt1"), ("osc2", "filt1.cutoff")]:
        patch.connect(source, dest)
    return patch.set("osc1", "freq", 220).set("filt1", "mode", "highpass")


def followed(text: str, ids: list[str]) -> set[tuple[str, str]]:
    """Return (id, id) of each line in a drawing, from the right edge of a box to an arrow before another."""
    rows = text.splitlines()
    at = {(x, y): sign for y, row in enumerate(rows) for x, sign in enumerate(row)}
    owner: dict[tuple[int, int], str] = {}  # of the cells of each box, its border too
    for id in ids:
        [(x, y)] = [
            (match.start(), y)
            for y, row in enumerate(rows)
            for match in re.finditer(rf"│ {re.escape(id)}(  \S+)? *│", row)
        ]
        top, right = y - 1, rows[y - 1].index("┐", x)
        bottom = next(below for below in range(y, len(rows)) if rows[below][x] == "└")
        owner |= {(column, row): id for column in range(x, right + 1) for row in range(top, bottom + 1)}
    found = set()
    for (x, y), id in owner.items():
        if owner.get((x + 1, y)) is None and at.get((x + 1, y), " ") not in " ▶" and at[x, y] == "│":
            found |= {(id, end) for end in ends_of((x + 1, y), at, owner)}
    return found


def ends_of(start: tuple[int, int], at: dict[tuple[int, int], str], owner: dict[tuple[int, int], str]) -> set[str]:
    ends, seen, open_ways = set(), set(), [(start, E)]
    while open_ways:
        (x, y), way = open_ways.pop()
        if ((x, y), way) in seen:
            continue
        seen.add(((x, y), way))
        sign = at[x, y]
        if sign == "▶":
            ends.add(owner[x + 1, y])
            continue
        onward = {way} if sign == "┼" else WAYS[sign] - {BACK[way]}
        assert sign == "┼" or BACK[way] in WAYS[sign] or (x, y) == start, f"a line breaks at {x}, {y}"
        for dx, dy in onward:
            if (x + dx, y + dy) not in owner:
                open_ways.append(((x + dx, y + dy), (dx, dy)))
    return ends


def test_the_lines_of_a_drawing_are_its_cables() -> None:
    text = as_graph(a_patch(), 200)
    assert followed(text, ["osc1", "osc2", "env1", "filt1", OUT]) == {
        ("osc1", "env1"),
        ("osc2", "env1"),
        ("env1", "filt1"),
        ("osc2", "filt1"),
        ("filt1", OUT),
    }
    assert "freq 220 Hz" in text and "mode highpass" in text and "cutoff" in text


@settings(max_examples=200, deadline=None)
@given(graph=ACYCLIC)
def test_the_lines_of_any_drawing_are_its_cables(graph: tuple[int, list[tuple[int, int]]]) -> None:
    patch = strategies.graph_patch(*graph)
    text = as_graph(patch, 10_000)
    assume(text)
    assert followed(text, [*patch.nodes, OUT]) == {(wire.source, wire.dest) for wire in wires(patch)}


@settings(max_examples=60, deadline=None)
@given(graph=ACYCLIC)
def test_every_cable_leads_to_a_later_layer(graph: tuple[int, list[tuple[int, int]]]) -> None:
    patch = strategies.graph_patch(*graph)
    rank = {id: number for number, ids in enumerate(layers(patch)) for id in ids}
    assert set(rank) == set(patch.nodes)
    assert all(rank[wire.source] < rank[wire.dest] for wire in wires(patch) if wire.dest != OUT)


def test_depth_feedback_and_what_voices_own_are_drawn() -> None:
    patch = Patch().create("poly", "voices").create("poly.osc", "osc").connect("poly.freq", "poly.osc.freq")
    patch.create("lfo1", "lfo").create("svf1", "svf").create("mix1", "mixer").connect("poly.osc", "mix1.in1")
    patch.connect("mix1", "svf1").connect("lfo1", "svf1.cutoff", 300, 800)
    patch.connect("svf1.band", "mix1.in2", 0.5, feedback=True)
    text = as_graph(patch, 200)
    assert followed(text, [*patch.nodes, OUT]) == {
        ("poly", "poly.osc"),
        ("poly.osc", "mix1"),
        ("mix1", "svf1"),
        ("lfo1", "svf1"),
        ("svf1", OUT),
    }
    assert "cutoff depth 300 offset 800" in text and "in2 <~ svf1.band depth 0.5" in text
    listed = as_list(patch)
    assert "-> svf1.cutoff (depth 300 offset 800)" in listed and "band -> mix1.in2 (depth 0.5, feedback)" in listed


def test_what_plays_what_is_drawn_in_dashes() -> None:
    patch = Patch().create("clock1", "clock").create("form", "seq").create("kicks", "seq").create("kick1", "kick")
    patch.create("poly", "voices").create("poly.osc", "osc").connect("poly.freq", "poly.osc.freq")
    patch.give(
        "form", {"pattern": "x", "lanes": {"kicks.mute": "on off", "kick1.decay": "100 " * 20}, "targets": ["poly"]}
    )
    patch.give("kicks", {"pattern": "X... x...", "targets": ["kick1"]})
    text = as_graph(patch, 300)
    played = {("clock1", "form"), ("clock1", "kicks"), ("form", "kicks"), ("form", "kick1"), ("form", "poly")}
    played |= {("kicks", "kick1"), ("poly", "poly.osc"), ("kick1", OUT), ("poly.osc", OUT)}
    assert followed(text, [*patch.nodes, OUT]) == played
    assert "╌" in text and "pattern X... x..." in text and "voices 8" in text
    assert "kick1.decay 100 100 100 100 100 100 100 100 1..." in text
    assert "leads form, leads kicks" in as_list(patch) and "plays kick1 (velocity gate)" in as_list(patch)


def test_a_module_called_out_is_not_where_the_sound_leaves() -> None:
    patch = Patch().create("osc1", "osc").create("out", "mixer").connect("osc1", "out")
    assert followed(as_graph(patch, 200), ["osc1", "out", OUT]) == {("osc1", "out"), ("out", OUT)}


def test_a_sequence_that_sets_its_own_clock_leads_back() -> None:
    patch = Patch().create("clock1", "clock").create("form", "seq").create("osc1", "osc")
    patch.give("form", {"pattern": "x", "lanes": {"clock1.bpm": "100 120"}})
    text = as_graph(patch, 200)
    assert followed(text, ["clock1", "form"]) == {("clock1", "form")}
    assert "bpm <~ form" in text


def test_what_moves_the_voices_that_own_it_leads_back() -> None:
    patch = Patch().create("poly", "voices").create("poly.osc", "osc").create("poly.wow", "lfo")
    patch.connect("poly.freq", "poly.osc.freq").connect("poly.velocity", "poly.wow.freq", 8)
    patch.connect("poly.wow", "poly.bend", 0.5).validate(48000)
    text = as_graph(patch, 200)
    assert followed(text, [*patch.nodes, OUT]) == {("poly", "poly.osc"), ("poly", "poly.wow"), ("poly.osc", OUT)}
    assert "bend <~ poly.wow depth 0.5" in text
    assert "-> poly.bend (depth 0.5, feedback)" in as_list(patch)
    patch.connect("poly.osc", "poly.wow.freq").connect("poly.osc", "poly.tail")
    assert "tail <~ poly.osc" in as_graph(patch, 200)
    assert {wire.source for wire in wires(patch) if wire.is_feedback} == {"poly.wow", "poly.osc"}


def test_what_moves_the_clock_of_the_sequence_that_plays_it_leads_back() -> None:
    patch = Patch().create("clock1", "clock").create("form", "seq").create("osc1", "osc").create("lfo1", "lfo")
    patch.give("form", {"pattern": "x", "lanes": {"osc1.freq": "1 2"}})
    patch.connect("osc1", "clock1.bpm").connect("lfo1", "clock1.swing").validate(48000)
    text = as_graph(patch, 200)
    assert followed(text, list(patch.nodes)) == {("clock1", "form"), ("form", "osc1"), ("lfo1", "clock1")}
    assert "bpm <~ osc1" in text and "swing" in text


def test_a_circle_through_a_feedback_module_is_drawn_and_what_feeds_it_is_heard_as_it_is_drawn() -> None:
    patch = Patch().create("osc1", "osc").create("mix1", "mixer").create("back", "feedback")
    patch.connect("osc1", "mix1.in1").connect("mix1", "back").connect("back", "mix1.in2", 0.5).validate(48000)
    assert followed(as_graph(patch, 200), [*patch.nodes, OUT]) == {("osc1", "mix1"), ("back", "mix1"), ("mix1", OUT)}
    assert patch.heard == ["mix1"]
    plain = Patch().create("osc1", "osc").create("mix1", "mixer").connect("osc1", "mix1.in1")
    heard = [render(one, frames=128)[:64] for one in (patch, plain)]
    assert np.any(heard[0]) and np.array_equal(*heard)


@settings(max_examples=100, deadline=None)
@given(graph=strategies.graphs(), late=st.sets(st.integers(0, 11)))
def test_a_drawing_of_any_valid_circles_has_the_lines_that_lead_onward(
    graph: tuple[int, list[tuple[int, int]]], late: set[int]
) -> None:
    patch = Patch()
    for number in range(graph[0]):
        patch.create(f"n{number}", "feedback" if number in late else "gain")
    for source, dest in graph[1]:
        patch.connect(f"n{source}", f"n{dest}")
    assume(not _faults(patch))
    assert all(wire.dest == OUT or patch.spec(wire.dest).is_late for wire in wires(patch) if wire.is_feedback)
    text = as_graph(patch, 10_000)
    assume(text)
    onward = {(wire.source, wire.dest) for wire in wires(patch) if not wire.is_feedback}
    assert followed(text, [*patch.nodes, OUT]) == onward
    rank = {id: number for number, ids in enumerate(layers(patch)) for id in ids}
    assert all(rank[source] < rank[dest] for source, dest in onward if dest != OUT)


def _faults(patch: Patch) -> list[Fault]:
    try:
        patch.validate(48000)
    except PatchError as error:
        return list(error.faults)
    return []


def test_left_and_right_that_do_the_same_are_one_line() -> None:
    patch = Patch().create("osc1", "osc").create("pan1", "pan").create("lim1", "limiter").create("lim2", "limiter")
    patch.connect("osc1", "pan1").connect("pan1", "lim1").connect("pan1.left", "lim2.right").connect(
        "osc1", "lim2.left"
    )
    drawn = [(w.source, w.source_port, w.dest, w.dest_port) for w in wires(patch) if w.dest != OUT]
    assert ("pan1", "", "lim1", "") in drawn and ("pan1", "left", "lim2", "right") in drawn
    assert ("osc1", "", "lim2", "left") in drawn and len(drawn) == 4


def test_a_patch_with_a_cycle_is_listed_and_not_drawn() -> None:
    patch = strategies.graph_patch(2, [(0, 1), (1, 0)])
    assert as_graph(patch, 200) == "" and "-> n1" in as_list(patch)


def test_a_drawing_that_does_not_fit_is_none_and_the_list_says_the_same() -> None:
    assert as_graph(a_patch(), 60) == ""
    lines = as_list(a_patch()).splitlines()
    assert [line.split()[1] for line in lines] == ["osc1", "osc2", "env1", "filt1"]
    assert re.search(r"osc2 +simple_sine +-> env1, -> filt1\.cutoff$", lines[1])
    assert re.search(r"filt1 +biquad_filter +-> \(out\) +mode highpass$", lines[3])
    assert as_list(Patch()) == "an empty patch"


def test_a_picture_holds_every_module(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    save_picture(a_patch(), tmp_path / "a.svg")
    svg = (tmp_path / "a.svg").read_text()
    assert all(f'id="{id}"' in svg for id in ("osc1", "osc2", "env1", "filt1", OUT))
    save_picture(a_patch(), tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    save_picture(Patch(), tmp_path / "empty.png")
    with pytest.raises(CommandError, match=r"\.png, \.svg, \.pdf"):
        save_picture(a_patch(), tmp_path / "a.bmp")
