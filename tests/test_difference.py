"""What turns one patch into another leaves what both have alone."""

from __future__ import annotations

import strategies
from hypothesis import given

from pyengine.commands import Clear, Command, Connect, Create, Delete, Disconnect, SetParam, SetVoices
from pyengine.difference import anew, edits
from pyengine.patch import Patch


def done(patch: Patch, commands: tuple[Command, ...]) -> Patch:
    for command in commands:
        match command:
            case Create(id, type):
                patch.create(id, type)
            case Delete(id):
                patch.delete(id)
            case Connect():
                patch.connect(command.source, command.dest, command.depth, command.offset, feedback=command.feedback)
            case Disconnect(source, dest):
                patch.disconnect(source, dest)
            case SetParam(id, param, value):
                patch.set(id, param, value)
            case SetVoices(id, voices):
                patch.give(id, {"voices": voices})
            case Clear():
                patch.clear()
            case _:
                raise AssertionError(command)
    return patch


def plain(patch: Patch) -> tuple[dict[str, object], set[tuple[str, str]]]:
    """Return nodes with all their values, and cables: what sounds alike is alike."""
    nodes = {}
    for id, node in patch.nodes.items():
        values = {param.name: node.params.get(param.name, param.default) for param in patch.spec(id).params}
        nodes[id] = (node.type, values)
    return nodes, {patch.cable_text(cable) for cable in patch.cables}


@given(before=strategies.patches(), after=strategies.patches())
def test_any_patch_is_turned_into_any_other_and_what_both_have_stays(before: Patch, after: Patch) -> None:
    made = edits(before, after)
    handles = {id: node.handle for id, node in before.nodes.items() if id in after.nodes}
    kept = {id: handle for id, handle in handles.items() if after.nodes[id].type == before.nodes[id].type}
    changed = done(before.copy(), made.build + made.settings)
    assert plain(changed) == plain(after)
    assert {id: changed.nodes[id].handle for id in kept} == kept
    assert all(command.module_id in kept for command in made.settings if isinstance(command, SetParam))


def test_a_cable_that_is_turned_up_is_changed_and_not_unplugged() -> None:
    before = Patch().create("a", "simple_sine").create("b", "biquad_filter").connect("a", "b.cutoff", 100, 500)
    after = before.copy().connect("a", "b.cutoff", 200, 500)
    assert edits(before, after).build == (Connect("a", "b.cutoff", 200, 500),)
    assert done(before, edits(before, after).build) == after


def test_voices_and_what_they_own_go_and_come_together() -> None:
    voices = Patch().create("poly", "voices").create("poly.osc", "osc").connect("poly.freq", "poly.osc.freq")
    voices.give("poly", {"voices": 3})
    plain_one = Patch().create("poly", "simple_sine")
    made = done(plain_one.copy(), edits(plain_one, voices).build)
    assert plain(made) == plain(voices) and made.nodes["poly"].data == {"voices": 3}
    assert plain(done(voices.copy(), edits(voices, plain_one).build)) == plain(plain_one)


@given(patch=strategies.patches())
def test_nothing_is_done_where_nothing_differs(patch: Patch) -> None:
    assert edits(patch, patch.copy()) == edits(Patch(registry=patch.registry), Patch(registry=patch.registry))


@given(before=strategies.patches(), after=strategies.patches())
def test_anew_makes_every_module_a_new_one(before: Patch, after: Patch) -> None:
    made = anew(after)
    changed = done(before.copy(), made.build)
    assert made.settings == () and plain(changed) == plain(after)
    assert not {n.handle for n in before.nodes.values()} & {n.handle for n in changed.nodes.values()}
