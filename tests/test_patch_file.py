"""Patch files: both formats say the same, and a fault is told with file, line and key."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
import strategies
from hypothesis import given, settings
from hypothesis import strategies as st

from pyengine import Patch, load_patch, save_patch
from pyengine.errors import CommandError, PatchError
from pyengine.patch_file import FORMATS, guessed_format, patch_of, text_of
from pyengine.positions import json_lines, toml_lines

TOML = """\
# a tone through a filter
version = 1

[[nodes]]
id = "osc1"
type = "simple_sine"
params = { freq = 220 }

[[nodes]]
id = "filt1"
type = "biquad_filter"
params.cutoff = 800
params."mode" = 'highpass'

[[cables]]
from = "osc1"
to = "filt1"
"""
JSON = """\
{
  "version": 1,
  "nodes": [
    {"id": "osc1", "type": "simple_sine",
     "params": {"freq": 220}},
    {"id": "filt1", "type": "biquad_filter", "params": {
      "cutoff": 800,
      "mode": "highpass"}}
  ],
  "cables": [
    {"from": "osc1",
     "to": "filt1"}
  ]
}
"""


def the_patch() -> Patch:
    patch = Patch().create("osc1", "simple_sine").create("filt1", "biquad_filter").connect("osc1", "filt1")
    return patch.set("osc1", "freq", 220).set("filt1", "cutoff", 800).set("filt1", "mode", "highpass")


def faults_of(text: str, kind: str) -> list[tuple[int | None, str, str]]:
    with pytest.raises(PatchError) as caught:
        patch_of(text, kind, name=f"x.{kind}", sample_rate_hz=48000)
    assert all(fault.file == f"x.{kind}" for fault in caught.value.faults)
    return [(fault.line, fault.key, fault.message) for fault in caught.value.faults]


@pytest.mark.parametrize(("text", "kind"), [(TOML, "toml"), (JSON, "json")])
def test_both_formats_say_the_same(text: str, kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{kind}"
    path.write_text(text)
    assert load_patch(path) == the_patch()
    assert guessed_format(text) == kind


@pytest.mark.parametrize("kind", FORMATS)
def test_a_patch_comes_back_from_a_file_as_it_was(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{kind}"
    save_patch(the_patch(), path)
    assert load_patch(path, sample_rate_hz=48000) == the_patch()
    assert '"highpass"' in path.read_text()  # a choice goes by its name
    assert os.listdir(tmp_path) == [path.name]


@settings(max_examples=60, deadline=None)
@given(patch=strategies.patches(), kind=st.sampled_from(FORMATS))
def test_any_patch_survives_a_round_trip(patch: Patch, kind: str) -> None:
    assert patch_of(text_of(patch, kind), kind, registry=patch.registry) == patch


WRITTEN = """\
version = 1

[[nodes]]
id = "clock1"
type = "clock"
params = { bpm = 133.33333333333334 }

[[nodes]]
id = "seq1"
type = "seq"
params = { mute = "on", length = 0.1 }
data = { pattern = "x..X", targets = ["osc1.freq"] }

[[nodes]]
id = "seq2"
type = "seq"
data.pattern = "x..x..x.x..x..xxx..x..x.x..x..xx"
data.notes = "C4 Eb3 . C4+E4+G4"
data.lanes."osc1.gain" = "0.1 0.2 . 0.30000000000000004"
data.targets = ["osc1.freq"]

[[nodes]]
id = "osc1"
type = "osc"
params = { freq = 0.1, gain = 0.30000000000000004 }

[[nodes]]
id = "lfo1"
type = "lfo"

[[cables]]
from = "lfo1"
to = "osc1.freq"
depth = 1e-07
offset = -300
"""


def test_a_toml_file_has_the_nodes_first_then_the_cables_and_stays_as_it_is_written() -> None:
    text = text_of(patch_of(WRITTEN, "toml"), "toml")
    assert text == WRITTEN
    assert text_of(patch_of(text, "toml"), "toml") == text
    assert text_of(Patch(), "toml") == "version = 1\nnodes = []\n"


@settings(max_examples=60, deadline=None)
@given(
    depth=st.floats(-1e6, 1e6), offset=st.floats(-1e6, 1e6), freq=st.floats(10, 20_000), kind=st.sampled_from(FORMATS)
)
def test_every_number_comes_back_to_the_last_bit(depth: float, offset: float, freq: float, kind: str) -> None:
    patch = Patch().create("a", "osc").create("b", "osc").connect("a", "b.freq", depth, offset)
    patch.set("a", "freq", freq).set("b", "pitch", -0.0)
    back = patch_of(text_of(patch, kind), kind)
    numbers = [[c.depth, c.offset, p.nodes["a"].params["freq"]] for p in (patch, back) for c in p.cables]
    assert [x.hex() for x in numbers[0]] == [x.hex() for x in numbers[1]]
    assert back.nodes["b"].params["pitch"].hex() == "-0x0.0p+0"


def test_every_fault_of_a_toml_file_is_told_with_its_line_and_key() -> None:
    text = TOML.replace("simple_sine", "simple_sin").replace("800", "90000").replace('"mode"', '"mod"')
    found = faults_of(text + '[[cables]]\nfrom = "filt1"\nto = "filt1.inn"\nfro = 1\n', "toml")
    assert [(line, key) for line, key, _ in found] == [
        (6, "nodes[0].type"),
        (12, "nodes[1].params.cutoff"),
        (13, "nodes[1].params.mod"),
        (20, "cables[1].to"),
        (21, "cables[1].fro"),
    ]
    hints = ["did you mean 'simple_sine'", "10..23990 Hz", "did you mean 'mode'", "did you mean 'in'", "'from'"]
    assert all(hint in message for hint, (_, _, message) in zip(hints, found, strict=True))


def test_every_fault_of_a_json_file_is_told_with_its_line_and_key() -> None:
    text = JSON.replace("simple_sine", "simple_sin").replace("800", "90000").replace('"mode"', '"mod"')
    found = faults_of(text, "json")
    assert [(line, key) for line, key, _ in found] == [
        (4, "nodes[0].type"),
        (7, "nodes[1].params.cutoff"),
        (8, "nodes[1].params.mod"),
    ]


@pytest.mark.parametrize(
    ("kind", "text", "line", "fragment"),
    [
        ("toml", "version = 1\nnodes = [\n", 2, "this is not TOML"),
        ("toml", "version = 1\nversion = 1\n", 2, "this is not TOML"),
        ("toml", "version = 1\n\nnodes = {]\n", 3, "this is not TOML"),
        ("json", '{"version": 1,\n "nodes": [}\n', 2, "this is not JSON"),
        ("json", '{"version": 1,\n "nodes": [],\n "version": 1}', 3, "given twice"),
        ("json", '{"nodes": [], "version": 1, "nodes": [{"id": "a", "type": "adsr",\n"id": "b"}]}', 1, "given twice"),
        ("json", "[" * 100_000, None, "cannot be read as JSON"),
        ("toml", "a = " + "[" * 100_000, None, "cannot be read as TOML"),
        ("json", "[]", 1, "must be an object"),
        ("toml", "", 1, "lacks the key 'version'"),
        ("toml", "version = 2\nnodes = []", 1, "reads version 1"),
        ("toml", "version = 1\nnodes = 3", 2, "nodes must be a list"),
        ("toml", "version = 1\n[[nodes]]\nid = 1979-05-27\ntype = 'adsr'", 3, "is not valid"),
        ("toml", "version = 1\n[[nodes]]\nid = 'a'\ntype = 'simple_sine'\nparams.freq = nan", 5, "not finite"),
        (
            "json",
            '{"version": 1,\n"nodes": [{"id": "a", "type": "simple_sine",\n"params": 7}]}',
            3,
            "must be an object",
        ),
    ],
)
def test_a_broken_file_is_refused_with_the_line(kind: str, text: str, line: int | None, fragment: str) -> None:
    found = faults_of(text, kind)
    assert fragment in found[0][2] and found[0][0] == line


def test_a_cycle_is_told_with_the_cable_that_closes_it() -> None:
    text = 'version = 1\ncables = [\n{from="b", to="c"},\n{from="a", to="b"},\n{from="b", to="a"},\n]\nnodes = [\n'
    rows = "".join(f'{{id="{id}", type="biquad_filter"}},\n' for id in "abc")
    [(line, key, message)] = faults_of(f"{text}{rows}]\n", "toml")
    assert (line, key) == (5, "cables[2]") and "cycle: a -> b -> a" in message


def test_a_row_that_is_wrong_makes_no_faults_of_the_cables_to_it() -> None:
    text = 'version = 1\nnodes = [{id="a", type="no"}]\ncables = [{from="a", to="b"}]'
    assert [key for _, key, _ in faults_of(text, "toml")] == ["nodes[0].type"]


def test_a_file_that_cannot_be_read_or_is_no_text_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b'{"version": 1,\n"nodes": "\xff"}')
    (tmp_path / "folder.toml").mkdir()
    for name, text in [("a.json", "a.json:2: byte 0xff"), ("b.toml", "No such file"), ("folder.toml", "directory")]:
        with pytest.raises(PatchError, match=text):
            load_patch(tmp_path / name)
    with pytest.raises(PatchError, match="cannot be written"):
        save_patch(the_patch(), tmp_path / "no" / "a.toml")
    with pytest.raises(CommandError, match=r"neither \.toml nor \.json"):
        load_patch(tmp_path / "a.yaml")


def test_an_editor_of_another_system_does_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_bytes(b"\xef\xbb\xbf" + TOML.replace("\n", "\r\n").encode())
    assert load_patch(path) == the_patch()
    path.write_bytes(b"\xef\xbb\xbf" + TOML.replace("220", "-1").replace("\n", "\r\n").encode())
    with pytest.raises(PatchError, match=r"a\.toml:7: nodes\[0\]\.params\.freq"):
        load_patch(path)


def test_the_page_about_patch_files_shows_one_that_is_right() -> None:
    page = (Path(__file__).resolve().parents[1] / "docs" / "patches.md").read_text(encoding="utf-8")
    shown = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    the_same = the_patch().create("lfo1", "lfo").connect("lfo1", "filt1.cutoff", 300, 100)
    assert len(shown) == 1 and patch_of(shown[0], "toml", sample_rate_hz=48000) == the_same


def test_places_are_found_whatever_the_style() -> None:
    text = '''a.b = 1 # x = 2
"c d" = """one
[two]
""""
e = [ # comment ]
  { f = 'x}', g = [1,
     2], "h.i" = 2020-01-01 00:00:00 },
  '#', "\\"]",
]
[j]
k = """x\\""" y"""
[[j.l]]
m = {n.o = {}}
[[ j . l ]]
[j.l.p]
q = []
'''
    lines = toml_lines(text)
    expected = {"a": 1, "a.b": 1, "c d": 2, "e": 5, "e[0]": 6, "e[0].f": 6, "e[0].g[1]": 7, "e[0].h.i": 7, "e[2]": 8}
    expected |= {"j": 10, "j.k": 11, "j.l": 12, "j.l[0]": 12, "j.l[0].m.n.o": 13, "j.l[1]": 14, "j.l[1].p.q": 16}
    assert {place: lines.get(place) for place in expected} == expected


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_every_place_of_a_json_text_has_a_line(data: object) -> None:
    text = json.dumps(data, indent=1)
    lines = json_lines(text)

    def look(place: str, value: object) -> None:
        assert 1 <= lines[place] <= text.count("\n") + 1
        if isinstance(value, dict):
            for key, inner in value.items():
                look(f"{place}.{key}" if place else key, inner)
        elif isinstance(value, list):
            for number, inner in enumerate(value):
                look(f"{place}[{number}]", inner)

    look("", data)
