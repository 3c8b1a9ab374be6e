from __future__ import annotations

import json
import math
import pickle
import time
from graphlib import CycleError, TopologicalSorter
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from strategies import REGISTRY, graph_patch, graphs, patches

from pyengine.errors import CommandError, ParamRangeError, PatchError, UnknownNameError
from pyengine.limits import MAX_CABLES, MAX_JSON_BYTES, MAX_NODES
from pyengine.patch import Cable, Patch, parse_op


@pytest.fixture
def patch() -> Patch:
    return Patch(registry=REGISTRY)


@pytest.fixture
def chain(patch: Patch) -> Patch:
    patch.create("osc1", "simple_sine").create("env1", "adsr").create("filt1", "biquad_filter")
    return patch.connect("osc1", "env1").connect("env1", "filt1")


def test_a_patch_is_built_by_chained_edits(chain: Patch) -> None:
    assert list(chain.nodes) == ["osc1", "env1", "filt1"]
    assert chain.cables == (Cable("osc1", 0, "env1", 0, False), Cable("env1", 0, "filt1", 0, False))
    assert chain.validate() is chain
    assert repr(chain) == "<Patch 3 nodes (osc1 simple_sine, env1 adsr, filt1 biquad_filter), 2 cables>"


def test_handles_start_at_one_and_are_never_reused(chain: Patch) -> None:
    assert [node.handle for node in chain.nodes.values()] == [1, 2, 3]
    twin = chain.copy()
    twin.delete("osc1").create("osc1", "simple_sine")
    assert twin.nodes["osc1"].handle == 4
    assert twin.next_handle == 5 and chain.next_handle == 4
    assert chain.clear().create("osc1", "simple_sine").nodes["osc1"].handle == 4


def test_the_handle_counter_is_set_upward_only(patch: Patch) -> None:
    patch.next_handle = 100
    assert patch.create("a", "adsr").nodes["a"].handle == 100
    for wrong in (100, 0, 2**32, True, 1.5):
        with pytest.raises(CommandError):
            patch.next_handle = wrong  # type: ignore[assignment]
    assert Patch(registry=REGISTRY, next_handle=7).next_handle == 7


@pytest.mark.parametrize("id", ["", "a" * 65, "a.b", "a/b", "a b", "\u00e4", "a\n", None, 3])
def test_an_id_that_cannot_be_an_address_is_refused(patch: Patch, id: Any) -> None:
    with pytest.raises(PatchError, match="no dots, slashes or spaces"):
        patch.create(id, "adsr")
    assert not patch.nodes


def test_an_id_can_be_taken_once(chain: Patch) -> None:
    with pytest.raises(PatchError, match="node 'osc1': the id is taken by a simple_sine"):
        chain.create("osc1", "adsr")


def test_an_unknown_type_names_the_node_and_the_nearest_type(patch: Patch) -> None:
    with pytest.raises(UnknownNameError) as caught:
        patch.create("osc1", "simple_sin")
    assert (caught.value.node, caught.value.nearest) == ("osc1", "simple_sine")
    assert isinstance(caught.value, LookupError) and isinstance(caught.value, ValueError)


def test_deleting_a_module_takes_its_cables_along(chain: Patch) -> None:
    chain.delete("env1")
    assert chain.cables == () and list(chain.nodes) == ["osc1", "filt1"]
    with pytest.raises(UnknownNameError, match="did you mean 'osc1'"):
        chain.delete("osc2")


def test_a_cable_may_name_ports_and_parameters(chain: Patch) -> None:
    chain.create("lfo", "simple_sine").connect("lfo.out", "filt1.resonance").connect("lfo.out", "osc1.freq")
    assert chain.cables[-2:] == (Cable("lfo", 0, "filt1", 1, True), Cable("lfo", 0, "osc1", 0, True))
    assert chain.cable_text(chain.cables[-2]) == ("lfo", "filt1.q")
    chain.disconnect("lfo", "filt1.q")
    assert len(chain.cables) == 3


@pytest.mark.parametrize(
    ("source", "dest", "text"),
    [
        ("env1", "osc1", "simple_sine has no input; its parameters that take a cable: osc1.freq, osc1.gain"),
        ("osc1", "filt1.mod", "did you mean 'mode'"),
        ("osc1", "filt1.cutof", "did you mean 'cutoff'"),
        ("osc1.ou", "filt1", "did you mean 'out'"),
        ("filt1", "filt1.cutoff", "cannot be connected to itself"),
        ("osc1", "env1.in", "osc1 -> env1 is there already"),
        ("osc1", "", "unknown module id ''"),
        ("osc1", "filt1.", "unknown input or parameter of biquad_filter ''"),
        ("osc1", "filt1.in.x", "unknown input or parameter"),
        ("osc1", 5, "the dest must be a string"),
        ("osk1", "film1", "2 faults: [1] unknown module id 'osk1'; did you mean 'osc1'?"),
    ],
)
def test_a_wrong_cable_is_refused_at_once(chain: Patch, source: Any, dest: Any, text: str) -> None:
    before = chain.cables
    with pytest.raises(PatchError) as caught:
        chain.connect(source, dest)
    assert text in str(caught.value)
    assert chain.cables == before


def test_a_missing_cable_is_refused_naming_those_that_are_there(chain: Patch) -> None:
    with pytest.raises(PatchError) as caught:
        chain.disconnect("osc1", "filt1")
    assert str(caught.value) == (
        "there is no cable osc1 -> filt1; cables of these modules: osc1 -> env1, env1 -> filt1"
    )


def test_a_value_above_nyquist_says_what_why_and_how_to_fix(chain: Patch) -> None:
    text = (
        "node 'filt1': cutoff=24000 Hz is outside 10..23990 Hz (Nyquist - 10 at 48000 Hz); "
        "lower it or raise the sample rate"
    )
    with pytest.raises(ParamRangeError) as caught:
        chain.set("filt1", "cutoff", 24_000, 48_000)
    assert str(caught.value) == text
    chain.set("filt1", "cutoff", 24_000)
    with pytest.raises(ParamRangeError) as caught:
        chain.validate(48_000)
    assert str(caught.value) == text
    assert (caught.value.node, caught.value.param, caught.value.limit) == ("filt1", "cutoff", 23_990)
    chain.validate(96_000)


@pytest.mark.parametrize("value", [math.nan, math.inf, True, None, "440", -1, 17, b"1", [1]])
def test_a_value_that_is_no_number_in_range_changes_nothing(chain: Patch, value: object) -> None:
    with pytest.raises(ParamRangeError, match="node 'osc1': gain="):
        chain.set("osc1", "gain", value)
    assert not chain.nodes["osc1"].params


def test_values_are_stored_under_the_proper_name(chain: Patch) -> None:
    chain.set("filt1", "resonance", 2).set("filt1", "filter_mode", "notch").set("osc1", "freq", np.float32(0.5))
    chain.set("env1", "gate", "off").gate("env1", True).set("osc1", "gain", np.int64(1))
    assert chain.nodes["filt1"].params == {"q": 2.0, "mode": 3.0}
    assert chain.nodes["osc1"].params == {"freq": 0.5, "gain": 1.0}
    assert all(type(value) is float for node in chain.nodes.values() for value in node.params.values())
    assert chain.ops() == [
        ("mod", "osc1", "freq", 0.5),
        ("mod", "osc1", "gain", 1.0),
        ("gate", "env1", None, 1),
        ("mod", "filt1", "q", 2.0),
        ("mod", "filt1", "mode", 3.0),
    ]


def test_a_module_without_a_gate_names_the_types_that_have_one(chain: Patch) -> None:
    with pytest.raises(PatchError, match="node 'osc1': simple_sine has no gate; module types with one: adsr"):
        chain.gate("osc1", 1)
    with pytest.raises(UnknownNameError):
        chain.set("osc1", "gate", 1)


def test_an_unknown_parameter_gets_the_nearest(chain: Patch) -> None:
    with pytest.raises(UnknownNameError) as caught:
        chain.set("osc1", "frq", 1)
    assert (caught.value.node, caught.value.nearest) == ("osc1", "freq")
    with pytest.raises(PatchError, match="must be a string"):
        chain.set("osc1", 3, 1)  # type: ignore[arg-type]


def test_validate_reports_all_faults_at_once(chain: Patch) -> None:
    chain.create("filt2", "biquad_filter").connect("filt1", "filt2").connect("filt2", "filt1")
    chain.set("filt1", "cutoff", 30_000).set("osc1", "freq", 30_000)
    with pytest.raises(PatchError) as caught:
        chain.validate(48_000)
    assert [fault.node for fault in caught.value.faults] == ["osc1", "filt1", ""]
    assert (
        caught.value.faults[2].message
        == "cycle: filt1 -> filt2 -> filt1; remove one of these cables or make it a feedback cable"
    )
    assert str(caught.value).startswith("3 faults: [1] node 'osc1': freq=30000 Hz")
    assert len(pickle.loads(pickle.dumps(caught.value)).faults) == 3


def test_an_empty_patch_is_valid(patch: Patch) -> None:
    assert patch.validate() is patch


def test_a_cycle_through_a_parameter_is_a_cycle(chain: Patch) -> None:
    chain.connect("filt1", "osc1.freq")
    with pytest.raises(PatchError, match="cycle: osc1 -> env1 -> filt1 -> osc1; remove"):
        chain.validate()


@given(graphs())
def test_a_cycle_is_refused_naming_a_real_one_and_the_rest_accepted(
    graph: tuple[int, list[tuple[int, int]]],
) -> None:
    n_nodes, edges = graph
    patch = graph_patch(n_nodes, edges)
    sorter: TopologicalSorter[int] = TopologicalSorter({n: [] for n in range(n_nodes)})
    for source, dest in edges:
        sorter.add(dest, source)
    try:
        list(sorter.static_order())
    except CycleError:
        with pytest.raises(PatchError) as caught:
            patch.validate()
        seen: set[int] = set()
        for fault in caught.value.faults:
            text = fault.message.removeprefix("cycle: ").removesuffix(
                "; remove one of these cables or make it a feedback cable"
            )
            path = [int(name[1:]) for name in text.split(" -> ")]
            assert path[0] == path[-1] == min(path) and len(set(path)) == len(path) - 1
            assert all(edge in edges for edge in zip(path, path[1:], strict=False))
            assert not seen & set(path)  # a component is reported once
            seen |= set(path)
    else:
        patch.validate()


@given(patches())
def test_a_patch_survives_a_json_round_trip(patch: Patch) -> None:
    patch.validate()
    again = Patch.from_json(patch.to_json(indent=1), registry=REGISTRY)
    assert again == patch
    assert again.structure() == patch.structure()  # nothing was deleted, so the handles agree too
    assert again.ops() == patch.ops()
    assert Patch.from_json(patch.to_dict(), registry=REGISTRY) == patch


@given(patches())
def test_the_ops_of_a_patch_give_its_values_to_a_bare_one(patch: Patch) -> None:
    data = patch.to_dict()
    for node in data["nodes"]:
        del node["params"]
    bare = Patch.from_json(data, registry=REGISTRY)
    for op in patch.ops():
        kind, id, param, value = parse_op(op, bare)
        if kind == "gate":
            bare.gate(id, value)
        else:
            bare.set(id, str(param), value)
    assert bare == patch


@given(patches())
def test_a_copy_is_equal_and_independent(patch: Patch) -> None:
    twin = patch.copy()
    assert twin == patch and twin.structure() == patch.structure()
    assert pickle.loads(pickle.dumps(patch)) == patch
    for id in list(twin.nodes):
        twin.delete(id)
    assert not twin.cables and (twin == patch) == (not patch.nodes)
    patch.validate()


def test_structure_changes_with_cables_and_nodes_but_not_with_values(chain: Patch) -> None:
    before = chain.structure()
    hash(before)
    assert chain.set("osc1", "freq", 220).structure() == before
    twin = chain.copy().delete("osc1").create("osc1", "simple_sine").connect("osc1", "env1")
    assert twin.structure() != before
    assert chain.copy().disconnect("osc1", "env1").structure() != before
    assert chain != chain.copy().set("osc1", "freq", 330) and chain != 3
    with pytest.raises(TypeError):
        hash(chain)


@pytest.mark.parametrize(
    ("data", "texts"),
    [
        ("{", ["not JSON"]),
        ("[" * 100_000, ["not JSON"]),
        (b"\xff\xfe\xff", ["not JSON"]),
        ("[]", ["the patch must be an object"]),
        ("null", ["the patch must be an object"]),
        ({}, ["lacks the key 'version'", "lacks the key 'nodes'"]),
        ({"version": 2, "nodes": []}, ["version 2; this engine reads version 1"]),
        ({"version": True, "nodes": []}, ["version True"]),
        ({"version": 1, "nodes": {}}, ["nodes must be a list"]),
        ({"version": 1, "nodes": [], "cabels": []}, ["did you mean 'cables'"]),
        ({"version": 1, "nodes": [3, {"id": "a"}]}, ["nodes[0] must be", "nodes[1] lacks the key 'type'"]),
        ({"version": 1, "nodes": [{"id": [], "type": []}]}, ["id [] is not valid"]),
        ({"version": 1, "nodes": [{"id": "a", "type": []}]}, ["type must be a string"]),
        (
            {
                "version": 1,
                "nodes": [
                    {"id": "a", "type": "simple_sin"},
                    {"id": "f", "type": "biquad_filter", "params": {"q": 1, "resonance": 2, "cutof": 3}},
                    {"id": "g", "type": "adsr", "params": [1], "parms": {}},
                ],
                "cables": [{"from": "a", "to": "f"}, {"from": "f"}, 7],
            },
            [
                "did you mean 'simple_sine'",
                "q is given twice",
                "did you mean 'cutoff'",
                "params must be an object",
                "did you mean 'params'",
                "cables[1] lacks the key 'to'",
                "cables[2] must be an object",
            ],
        ),
    ],
)
def test_wrong_json_is_refused_with_all_its_faults(data: Any, texts: list[str]) -> None:
    with pytest.raises(PatchError) as caught:
        Patch.from_json(data, registry=REGISTRY)
    assert len(caught.value.faults) == len(texts)
    for text in texts:
        assert text in str(caught.value)


def test_json_may_hold_choices_and_gates_by_name_but_no_nan() -> None:
    row = {"id": "f", "type": "biquad_filter", "params": {"mode": "peak"}}
    env = {"id": "e", "type": "adsr", "params": {"gate": "off"}}
    patch = Patch.from_json({"version": 1, "nodes": [row, env]}, registry=REGISTRY, next_handle=9)
    assert json.loads(patch.to_json())["nodes"][0]["params"] == {"mode": 4}
    assert patch.ops() == [("mod", "f", "mode", 4.0), ("gate", "e", None, 0)]
    assert patch.next_handle == 11
    text = '{"version": 1, "nodes": [{"id": "o", "type": "simple_sine", "params": {"gain": NaN}}]}'
    with pytest.raises(ParamRangeError, match="not finite"):
        Patch.from_json(text, registry=REGISTRY)


def test_reading_a_hopeless_patch_ends_soon() -> None:
    nodes = [{"id": f"n{number}", "type": "simple_sin"} for number in range(10_000)]
    started = time.process_time()
    with pytest.raises(PatchError, match="first 200 faults"):
        Patch.from_json({"version": 1, "nodes": nodes}, registry=REGISTRY)
    assert time.process_time() - started < 2


def test_ten_thousand_nodes_are_built_and_validated_in_well_under_a_second(patch: Patch) -> None:
    started = time.process_time()
    for number in range(10_000):
        patch.create(f"n{number}", "biquad_filter").set(f"n{number}", "cutoff", 100.0)
        if number:
            patch.connect("n0", f"n{number}")  # one node with all the cables
            if number > 1:
                patch.connect(f"n{number - 1}", f"n{number}.q")
    patch.copy().validate(48_000)
    assert time.process_time() - started < 1.5  # 0.2 s here; the rest is for slow machines
    started = time.process_time()
    for number in range(10_000):
        patch.delete(f"n{number}")
    assert not patch.cables and time.process_time() - started < 1


def test_more_nodes_and_cables_than_the_engine_takes_are_faults(patch: Patch) -> None:
    for number in range(MAX_NODES + 1):
        patch.create(f"n{number}", "adsr")
    for number in range(1, 10):
        for source in range(8000):
            if 8000 * (number - 1) + source <= MAX_CABLES:
                patch.connect(f"n{source}", f"n{16_000 + number}")
    with pytest.raises(PatchError) as caught:
        patch.validate()
    assert [fault.limit for fault in caught.value.faults] == [MAX_NODES, MAX_CABLES]


def test_a_file_beyond_the_limits_is_refused_before_anything_of_it_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = [{"id": f"n{n}", "type": "adsr"} for n in range(MAX_NODES + 1)]
    cables = [{"from": "n0", "to": "n1"}] * (MAX_CABLES + 2)
    monkeypatch.setattr(Patch, "create", lambda *_: pytest.fail("something of it was built"))
    with pytest.raises(PatchError) as caught:
        Patch.from_json(json.dumps({"version": 1, "nodes": nodes, "cables": cables}))
    assert [str(fault) for fault in caught.value.faults] == [
        f"{MAX_NODES + 1} nodes are more than the {MAX_NODES} a patch may have; delete 1",
        f"{MAX_CABLES + 2} cables are more than the {MAX_CABLES} a patch may have; delete 2",
    ]
    with pytest.raises(PatchError, match=f"bytes of JSON, the most that is read is {MAX_JSON_BYTES}; make it smaller"):
        Patch.from_json(b" " * (MAX_JSON_BYTES + 1))


def test_the_largest_patch_there_can_be_is_not_too_large_a_file(patch: Patch) -> None:
    for n in range(MAX_NODES):
        id = f"{n:064}"
        patch.create(id, "biquad_filter")
        for param in patch.spec(id).params:
            patch.set(id, param.name, param.range_at(48000)[1] - (0 if param.is_integer else 1 / 3))
    for n in range(MAX_CABLES):
        patch.connect(f"{n // 10:064}", f"{7000 + n % 10:064}.cutoff")
    assert MAX_JSON_BYTES / 4 < len(patch.to_json(indent=1)) < MAX_JSON_BYTES


@pytest.mark.parametrize(
    "op",
    [
        None,
        "mod",
        (),
        ("mod", "osc1", "freq"),
        ("set", "osc1", "freq", 1),
        ([], "osc1", "freq", 1),
        ("mod", 1, "freq", 1),
        ("mod", "osc1", None, 1),
        ("mod", "osc1", "freq", "x"),
        ("mod", "osc1", "freq", True),
        ("gate", "env1", "gate", 1),
        ("gate", "env1", None, "yes"),
    ],
)
def test_what_is_no_op_is_refused(op: object) -> None:
    with pytest.raises((CommandError, PatchError)):
        parse_op(op)


def test_an_op_is_normalised(chain: Patch) -> None:
    assert parse_op(("gate", "env1", None, "on")) == ("gate", "env1", None, 1)
    assert parse_op(["mod", "x", "y", 2]) == ("mod", "x", "y", 2.0)
    assert parse_op(("mod", "filt1", "filter_mode", "peak"), chain) == ("mod", "filt1", "mode", 4.0)
    assert parse_op(("mod", "env1", "gate", "off"), chain) == ("gate", "env1", None, 0)
    with pytest.raises(ParamRangeError):
        parse_op(("mod", "filt1", "cutoff", 24_000), chain, 48_000)
    with pytest.raises(PatchError, match="has no gate"):
        parse_op(("gate", "osc1", None, 1), chain)


def test_what_only_leads_back_is_heard_on_its_sides_too() -> None:
    patch = Patch().create("osc1", "osc").create("room", "reverb").create("back", "feedback").create("poly", "voices")
    patch.connect("osc1", "room").connect("room.left", "back").connect("back", "osc1.pitch")
    assert patch.heard == ["room"] and patch.is_stereo
    patch.connect("osc1", "poly.bend").connect("room.right", "osc1.gain", feedback=True)
    assert patch.heard == ["room"] and patch.is_stereo
    patch.create("amp", "gain").connect("room.left", "amp")
    assert patch.heard == ["amp"] and not patch.is_stereo
