from __future__ import annotations

import pytest

from pyengine.commands import Abort, Clear, Connect, Create, Delete, Disconnect
from pyengine.desk import MAX_UNDO, Desk, Setting
from pyengine.errors import ParamRangeError, PatchError, UnknownNameError
from pyengine.limits import MAX_CABLES, MAX_NODES
from pyengine.patch import Patch

RATE_HZ = 48000.0


def desk_with(*ids: str) -> Desk:
    """Return a desk on which sines of these names play."""
    desk = Desk(RATE_HZ)
    for id in ids:
        desk.edit(Create(id, "simple_sine"))
    commit(desk)
    return desk


def commit(desk: Desk) -> dict[str, list[str]]:
    desk.begin()
    desk.switching()
    return desk.accept()


def handles(setting: Setting) -> tuple[list[int], list[int]]:
    return [r.handle for r in setting.sent], [r.handle for r in setting.held]


def params(patch: Patch, id: str) -> dict[str, float]:
    return dict(patch.nodes[id].params)


# ---- edits


def test_edits_change_the_pending_patch_and_not_the_committed_one() -> None:
    desk = desk_with("osc1")
    desk.edit(Create("env1", "adsr"))
    desk.edit(Connect("osc1", "env1"))
    assert list(desk.committed.nodes) == ["osc1"] and desk.has_edits
    desk.edit(Disconnect("osc1", "env1"))
    desk.edit(Delete("env1"))
    assert not desk.has_edits
    desk.edit(Clear())
    assert not desk.pending.nodes and list(desk.committed.nodes) == ["osc1"]


def test_an_edit_that_is_refused_changes_nothing() -> None:
    desk = desk_with("osc1")
    for edit in (
        Create("osc1", "adsr"),
        Create("x", "simple_sin"),
        Delete("osc2"),
        Connect("osc1", "osc1"),
        Connect("osc1", "nowhere"),
        Disconnect("osc1", "osc1.freq"),
    ):
        with pytest.raises(PatchError):
            desk.edit(edit)
    assert not desk.has_edits


def test_the_pending_patch_takes_no_more_nodes_than_a_plan_does() -> None:
    desk = Desk(RATE_HZ)
    for n in range(MAX_NODES):
        desk.edit(Create(f"n{n}", "simple_sine"))
    with pytest.raises(PatchError, match=f"has {MAX_NODES} nodes, the most it may have"):
        desk.edit(Create("more", "simple_sine"))
    desk.edit(Delete("n0"))
    desk.edit(Create("more", "simple_sine"))


def test_the_pending_patch_takes_no_more_cables_than_a_plan_does() -> None:
    desk = Desk(RATE_HZ)
    for n in range(257):
        desk.edit(Create(f"osc{n}", "simple_sine"))
        desk.edit(Create(f"filt{n}", "biquad_filter"))
    for n in range(MAX_CABLES):
        desk.edit(Connect(f"osc{n // 256}", f"filt{n % 256}"))
    for edit in (Connect("osc256", "filt256"), Connect("osc0", "filt256.cutoff")):
        with pytest.raises(PatchError, match=f"has {MAX_CABLES} cables, the most it may have") as caught:
            desk.edit(edit)
        assert caught.value.limit == MAX_CABLES
    desk.edit(Disconnect("osc0", "filt0"))
    desk.edit(Connect("osc256", "filt256"))
    desk.begin()


def test_abort_throws_edits_away_and_never_gives_a_handle_twice() -> None:
    desk = desk_with("osc1")
    desk.edit(Create("osc2", "simple_sine"))
    first = desk.pending.nodes["osc2"].handle
    desk.edit(Abort())
    assert list(desk.pending.nodes) == ["osc1"] and not desk.has_edits
    desk.edit(Create("osc2", "simple_sine"))
    assert desk.pending.nodes["osc2"].handle > first


# ---- values


def test_a_value_for_a_module_that_plays_is_sent_and_kept_in_the_pending_copy() -> None:
    desk = desk_with("osc1")
    setting = desk.set("osc1", "frequency", 220)
    (record,) = setting.sent
    assert (record.handle, record.value) == (desk.committed.nodes["osc1"].handle, 220.0)
    assert setting.held == () and setting.value == 220.0
    assert params(desk.committed, "osc1") == params(desk.pending, "osc1") == {"freq": 220}
    assert not desk.has_edits


def test_a_value_for_a_module_that_is_only_pending_is_sent_nowhere() -> None:
    desk = desk_with("osc1")
    desk.edit(Create("osc2", "simple_sine"))
    assert desk.set("osc2", "freq", 220) == Setting(220.0)
    assert params(desk.pending, "osc2") == {"freq": 220}


def test_a_value_for_a_module_deleted_from_the_pending_patch_still_changes_the_sound() -> None:
    desk = desk_with("osc1")
    old = desk.committed.nodes["osc1"].handle
    desk.edit(Delete("osc1"))
    assert handles(desk.set("osc1", "gain", 0.5)) == ([old], [])


def test_while_a_commit_primes_values_of_its_new_modules_are_held_and_of_carried_ones_are_sent() -> None:
    desk = desk_with("osc1")
    old = desk.committed.nodes["osc1"].handle
    desk.edit(Create("osc2", "simple_sine"))
    new = desk.begin().nodes["osc2"].handle
    assert handles(desk.set("osc1", "freq", 330)) == ([old], [])
    assert handles(desk.set("osc2", "freq", 330)) == ([], [new])
    desk.switching()
    assert handles(desk.set("osc2", "freq", 550)) == ([new], [])  # behind the SWITCH record by now
    desk.accept()
    assert handles(desk.set("osc2", "freq", 660)) == ([new], [])
    assert params(desk.committed, "osc1") == {"freq": 330}
    assert params(desk.committed, "osc2") == params(desk.pending, "osc2") == {"freq": 660}


def test_edits_made_while_a_commit_primes_are_not_part_of_it() -> None:
    desk = desk_with("osc1")
    desk.edit(Create("osc2", "simple_sine"))
    desk.begin()
    desk.edit(Create("osc3", "simple_sine"))
    assert desk.set("osc3", "freq", 330) == Setting(330.0)
    desk.accept()
    assert list(desk.committed.nodes) == ["osc1", "osc2"]
    assert list(desk.pending.nodes) == ["osc1", "osc2", "osc3"] and desk.has_edits


def test_an_id_deleted_and_created_again_is_a_new_module() -> None:
    desk = desk_with("osc1")
    old = desk.committed.nodes["osc1"].handle
    desk.set("osc1", "freq", 220)
    desk.edit(Delete("osc1"))
    desk.edit(Create("osc1", "simple_sine"))
    new = desk.pending.nodes["osc1"].handle
    assert new > old and params(desk.pending, "osc1") == {} and desk.has_edits
    desk.begin()
    assert handles(desk.set("osc1", "gain", 0.1)) == ([old], [new])
    desk.switching()
    assert desk.accept() == {"carried": [], "new": ["osc1"], "gone": ["osc1"]}


def test_what_is_said_to_an_id_of_two_types_is_meant_for_the_one_that_plays() -> None:
    desk = desk_with("a")
    desk.edit(Delete("a"))
    desk.edit(Create("a", "biquad_filter"))
    setting = desk.set("a", "freq", 100)
    assert len(setting.sent) == 1 and params(desk.pending, "a") == {}
    with pytest.raises(PatchError, match="cutoff"):
        desk.set("a", "cutoff", 100)


def test_gates_take_words_and_numbers_and_go_to_the_module_s_gate() -> None:
    desk = Desk(RATE_HZ)
    desk.edit(Create("env1", "adsr"))
    assert desk.gate("env1", "off").value == 0
    assert params(desk.pending, "env1") == {"gate": 0}
    commit(desk)
    (record,) = desk.gate("env1", True).sent
    assert record.value == 1.0
    with pytest.raises(PatchError, match="gate"):
        desk.gate("env1", 0.3)


def test_a_value_that_is_refused_changes_no_patch_and_names_the_nearest() -> None:
    desk = desk_with("osc1")
    desk.edit(Create("osc2", "simple_sine"))
    with pytest.raises(UnknownNameError, match="osc1|osc2"):
        desk.set("osc", "freq", 1)
    with pytest.raises(UnknownNameError, match="'freq'"):
        desk.set("osc1", "frq", 1)
    with pytest.raises(ParamRangeError, match="23990"):
        desk.set("osc1", "freq", 24000)
    with pytest.raises(PatchError):
        desk.gate("osc1", 1)  # it has no gate
    with pytest.raises(PatchError):
        desk.set("osc1", "gain", float("nan"))
    assert params(desk.committed, "osc1") == params(desk.pending, "osc1") == {}


# ---- commits and the way back


def test_a_refused_candidate_leaves_committed_and_pending_patch_as_they_were() -> None:
    desk = desk_with("osc1")
    desk.edit(Create("osc2", "simple_sine"))
    desk.begin()
    desk.set("osc1", "freq", 330)
    desk.set("osc2", "freq", 550)
    desk.refuse()
    assert list(desk.committed.nodes) == ["osc1"] and params(desk.committed, "osc1") == {"freq": 330}
    assert params(desk.pending, "osc2") == {"freq": 550} and desk.has_edits and desk.candidate is None


def test_an_invalid_pending_patch_is_refused_with_all_faults_and_stays() -> None:
    desk = Desk(RATE_HZ)
    for id in ("a", "b"):
        desk.edit(Create(id, "biquad_filter"))
    desk.edit(Connect("a", "b"))
    desk.edit(Connect("b", "a"))
    with pytest.raises(PatchError, match="cycle: a -> b -> a"):
        desk.begin()
    assert desk.candidate is None and len(desk.pending.nodes) == 2


def test_undo_goes_back_patch_by_patch_and_modules_that_went_come_back_new() -> None:
    desk = desk_with("osc1")
    desk.edit(Create("osc2", "simple_sine"))
    commit(desk)
    desk.edit(Delete("osc1"))
    commit(desk)
    old = 1
    assert desk.undo_depth == 3
    desk.set("osc2", "freq", 700)
    patch = desk.begin_undo()
    assert list(patch.nodes) == ["osc1", "osc2"]
    assert patch.nodes["osc1"].handle > old  # fresh
    assert params(patch, "osc2") == {"freq": 700}  # it plays: it keeps what was set
    assert desk.accept() == {"carried": ["osc2"], "new": ["osc1"], "gone": []}
    desk.begin_undo()
    assert desk.accept()["gone"] == ["osc2"]
    assert desk.undo_depth == 1 and list(desk.committed.nodes) == ["osc1"]
    desk.begin_undo()
    desk.accept()
    with pytest.raises(PatchError, match="nothing to undo"):
        desk.begin_undo()


def test_a_refused_undo_can_be_tried_again() -> None:
    desk = desk_with("osc1")
    desk.edit(Create("osc2", "simple_sine"))
    commit(desk)
    desk.begin_undo()
    desk.refuse()
    assert desk.undo_depth == 2 and list(desk.begin_undo().nodes) == ["osc1"]


def test_edits_right_behind_an_undo_change_what_it_brings_back_and_are_kept() -> None:
    for is_heard in (True, False):
        desk = desk_with("osc1")
        desk.edit(Create("osc2", "simple_sine"))
        commit(desk)
        desk.begin_undo()
        desk.edit(Create("env1", "adsr"))
        desk.accept() if is_heard else desk.refuse()
        assert list(desk.pending.nodes) == ["osc1", "env1"] and desk.has_edits
        assert desk.undo_depth == 2 - is_heard


def test_a_refused_undo_brings_back_what_it_was_to_discard_with_what_was_set_meanwhile() -> None:
    desk = desk_with("osc1")
    desk.edit(Create("osc2", "simple_sine"))
    commit(desk)
    desk.edit(Create("env1", "adsr"))
    desk.begin_undo()
    assert list(desk.pending.nodes) == ["osc1"]
    desk.set("osc1", "freq", 330)
    desk.set("env1", "attack", 20)
    desk.refuse()
    assert list(desk.pending.nodes) == ["osc1", "osc2", "env1"] and list(desk.committed.nodes) == ["osc1", "osc2"]
    assert params(desk.pending, "osc1") == {"freq": 330} and params(desk.pending, "env1") == {"attack": 20}
    old = desk.pending.nodes["env1"].handle
    desk.edit(Create("env2", "adsr"))
    assert desk.pending.nodes["env2"].handle > old


def test_an_abort_while_an_undo_is_on_its_way_leaves_no_edits() -> None:
    desk = desk_with("osc1")
    desk.edit(Create("osc2", "simple_sine"))
    commit(desk)
    desk.edit(Create("env1", "adsr"))
    desk.begin_undo()
    desk.edit(Abort())
    desk.refuse()
    assert list(desk.pending.nodes) == ["osc1", "osc2"] and not desk.has_edits


def test_what_is_pending_is_told_in_words() -> None:
    desk = desk_with("osc1", "osc2")
    assert desk.edits_text() == ""
    desk.edit(Connect("osc1", "osc2.freq"))
    assert desk.edits_text() == "cables"
    desk.edit(Delete("osc2"))
    desk.edit(Delete("osc1"))
    desk.edit(Create("osc1", "osc"))
    for n in range(10):
        desk.edit(Create(f"x{n}", "adsr"))
    said = "new: x0, x1, x2, x3, x4, x5, x6, x7 and 2 more; gone: osc2; changed: osc1"
    assert desk.edits_text() == said
    desk.edit(Abort())
    desk.set("osc1", "freq", 200)
    assert desk.edits_text() == "" and not desk.has_edits


def test_a_commit_that_changes_no_structure_is_no_step_of_undo_and_the_stack_has_an_end() -> None:
    desk = desk_with("osc1")
    commit(desk)
    assert desk.undo_depth == 1
    for n in range(MAX_UNDO + 20):
        desk.edit(Create(f"x{n}", "simple_sine"))
        commit(desk)
    assert desk.undo_depth == MAX_UNDO


def test_a_patch_that_is_rolled_back_is_a_pending_edit_and_the_one_before_has_the_values_set_since() -> None:
    desk = desk_with("osc1")
    desk.settle()
    desk.edit(Create("env1", "adsr"))
    desk.begin()
    desk.accept()
    desk.set("osc1", "freq", 330)
    desk.edit(Create("osc2", "simple_sine"))
    desk.rollback()
    assert list(desk.committed.nodes) == ["osc1"] and params(desk.committed, "osc1") == {"freq": 330}
    assert list(desk.pending.nodes) == ["osc1", "env1", "osc2"] and desk.has_edits and desk.undo_depth == 1


def test_an_undo_that_is_rolled_back_can_be_undone_again() -> None:
    desk = desk_with("osc1")
    desk.edit(Create("env1", "adsr"))
    desk.begin()
    desk.accept()
    desk.begin_undo()
    desk.accept()
    assert list(desk.committed.nodes) == ["osc1"] and desk.undo_depth == 1
    desk.rollback()
    assert list(desk.committed.nodes) == ["osc1", "env1"] and desk.undo_depth == 2


def test_after_an_undo_that_was_rolled_back_what_comes_back_is_carried_all_the_same() -> None:
    desk = desk_with("osc1", "env1")
    for edit in (Create("osc2", "simple_sine"), Delete("env1")):
        desk.edit(edit)
        desk.begin()
        desk.accept()
    for is_to_stay in (False, True):
        desk.begin_undo()
        assert desk.accept()["new"] == ["env1"]
        if not is_to_stay:
            desk.rollback()
    desk.begin_undo()
    assert desk.accept()["carried"] == ["osc1", "env1"]


def test_stepping_back_goes_down_the_stack_and_ends_in_silence_with_the_edits_kept() -> None:
    desk = desk_with("osc1")
    desk.edit(Create("env1", "adsr"))
    desk.begin()
    desk.accept()
    desk.settle()
    desk.step_back()
    assert list(desk.committed.nodes) == ["osc1"] and list(desk.pending.nodes) == ["osc1", "env1"] and desk.has_edits
    for _ in range(3):
        desk.step_back()
    assert not desk.committed.nodes and list(desk.pending.nodes) == ["osc1", "env1"]


def test_the_dump_holds_both_patches_and_reads_back() -> None:
    desk = desk_with("osc1")
    desk.edit(Create("env1", "adsr"))
    desk.edit(Connect("osc1", "env1"))
    dump = desk.dump()
    assert dump["has_edits"] is True and dump["undo_depth"] == 1
    assert Patch.from_json(dump["committed"]) == desk.committed
    assert Patch.from_json(dump["pending"]) == desk.pending


def test_a_queued_patch_is_the_pending_one_of_its_moment_with_the_values_that_came_later() -> None:
    desk = desk_with("osc1")
    desk.edit(Create("env1", "adsr"))
    desk.begin()
    desk.switching()
    desk.edit(Create("filt1", "biquad_filter"))
    desk.queue()
    desk.edit(Create("late1", "simple_sine"))
    assert handles(desk.set("filt1", "cutoff", 800.0)) == ([], [])
    desk.accept()
    desk.begin_queued()
    assert desk.candidate is not None and desk.queued is None
    assert list(desk.candidate.nodes) == ["osc1", "env1", "filt1"]
    assert params(desk.candidate, "filt1") == params(desk.pending, "filt1") == {"cutoff": 800.0}
    assert desk.accept() == {"carried": ["osc1", "env1"], "new": ["filt1"], "gone": []}


def test_values_that_a_restart_has_skipped_are_taken_back_everywhere_but_for_those_set_since() -> None:
    desk = desk_with("osc1")
    desk.edit(Create("osc2", "simple_sine"))
    desk.set("osc1", "freq", 300.0)  # skipped
    desk.set("osc1", "gain", 0.3)
    desk.begin_restart()
    desk.set("osc1", "gain", 0.4)  # comes after it
    desk.set("osc2", "freq", 500.0)  # pending only
    desk.restarted({("osc1", "freq"): 440.0, ("osc1", "gain"): 0.2})
    for patch in (desk.committed, desk.pending):
        assert (params(patch, "osc1")["freq"], params(patch, "osc1")["gain"]) == (440.0, 0.4)
    assert params(desk.pending, "osc2")["freq"] == 500.0


def test_an_abort_while_a_patch_is_about_to_be_heard_goes_back_to_that_one() -> None:
    desk = desk_with("osc1")
    desk.edit(Create("osc2", "simple_sine"))
    desk.begin()
    desk.switching()
    desk.edit(Create("osc3", "simple_sine"))
    desk.edit(Abort())
    desk.accept()
    assert list(desk.pending.nodes) == ["osc1", "osc2"] and not desk.has_edits


def test_an_undo_that_was_rolled_back_leaves_the_handles_of_the_patches_before_as_they_were() -> None:
    desk = desk_with("osc1")
    desk.settle()
    desk.edit(Create("osc2", "simple_sine"))
    commit(desk)
    desk.edit(Delete("osc1"))
    commit(desk)
    handle = desk._undo[-1].nodes["osc1"].handle
    desk.begin_undo()
    desk.accept()  # osc1 came back, as another
    assert desk._undo[-1].nodes["osc1"].handle == desk.committed.nodes["osc1"].handle != handle
    desk.rollback()
    assert [patch.nodes["osc1"].handle for patch in desk._undo[1:]] == [handle, handle]


def test_an_undo_that_waits_while_its_patch_is_rolled_back_has_nothing_left_to_undo() -> None:
    desk = desk_with("osc1")
    desk.settle()
    desk.edit(Create("osc2", "simple_sine"))
    commit(desk)
    desk.begin_undo()
    assert not desk.is_undone_already
    desk.rollback()
    assert desk.is_undone_already and desk.undo_depth == 1  # of the first commit
    desk.refuse()
    assert not desk.is_undone_already
