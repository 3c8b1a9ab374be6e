from __future__ import annotations

from dataclasses import replace

from pyengine._native import SETTING
from pyengine.lineage import Lineage, Restart, Stage
from pyengine.patch import Patch


def lineage(*switches: int) -> Lineage:
    """Generations 1, 2 ... entered through the records with these numbers, each but the last settled."""
    lineage = Lineage()
    for generation, seq in enumerate(switches, 1):
        lineage.settle()
        lineage.add(Stage.of(generation, Patch(), switch_seq=seq))
    return lineage


def test_it_begins_with_the_empty_patch_and_keeps_every_record() -> None:
    new = Lineage()
    assert new.last.generation == 0 and new.keep == 0
    assert new.chain() == [new.last] and not new.last.patch.nodes


def test_records_are_kept_from_the_older_of_the_two_newest_checkpoints_on() -> None:
    a = lineage(10)
    a.settle()
    a.note_checkpoint(1, 12)
    assert a.keep == 0
    a.note_checkpoint(1, 20)
    assert a.keep == 12
    a.note_checkpoint(1, 30)
    assert a.keep == 20


def test_stages_that_no_checkpoint_starts_from_are_forgotten_but_for_two() -> None:
    a = lineage(10, 20, 30)
    assert a.generations == [0, 1, 2, 3]
    a.note_checkpoint(2, 25)
    assert a.generations == [2, 3]
    a.note_checkpoint(3, 35)
    a.note_checkpoint(3, 36)
    assert a.generations == [2, 3]
    a.note_checkpoint(1, 15)  # of a forgotten one
    assert a.keep == 35


def test_while_the_patch_before_may_come_back_its_newest_checkpoint_is_kept_too() -> None:
    a = lineage(10)
    a.note_checkpoint(0, 4)
    a.note_checkpoint(1, 12)
    a.note_checkpoint(0, 11)  # the old slot's, beyond the SWITCH: the new patch does not start from it
    a.note_checkpoint(1, 20)
    assert a.keep == 11
    a.note_checkpoint(0, 19)
    assert a.keep == 12
    a.settle()
    assert a.keep == 12


def test_a_checkpoint_of_the_patch_before_that_is_told_late_holds_no_records_up() -> None:
    """Written before the end of a probation, and read behind it."""
    a = lineage(10)
    a.settle()
    a.note_checkpoint(0, 11)
    for seq in (20, 30, 40):
        a.note_checkpoint(1, seq)
    assert a.keep == 30


def test_after_a_roll_back_the_patch_before_starts_from_its_own_checkpoints() -> None:
    a = lineage(10, 20)
    a.note_checkpoint(1, 15)
    a.note_checkpoint(2, 21)
    a.note_checkpoint(1, 22)
    assert a.drop_last().generation == 2
    assert a.last.generation == 1 and a.keep == 15
    a.note_checkpoint(2, 23)  # what was rolled back has nothing to tell any more
    a.note_checkpoint(1, 30)
    assert a.keep == 22 and [stage.generation for stage in a.chain()] == [0, 1][-len(a.chain()) :]


def test_a_restart_begins_a_chain_and_a_generation_after_it_goes_on() -> None:
    a = lineage(10)
    a.settle()
    a.add(replace(Stage.of(2, Patch()), restart=Restart(block=100, base=15, source=1)))
    a.settle()
    assert [stage.generation for stage in a.chain()] == [2]
    a.note_checkpoint(1, 14)  # of the one that died, told late
    a.add(Stage.of(3, Patch(), switch_seq=20))
    assert [stage.generation for stage in a.chain()] == [2, 3]
    assert a.drop_last().generation == 3 and [stage.generation for stage in a.chain()] == [2]


def test_a_stage_tells_a_worker_how_to_build_and_prime_it() -> None:
    patch = Patch().create("osc1", "simple_sine").create("env1", "adsr").connect("osc1", "env1")
    patch.set("osc1", "freq", 550.0)
    stage = Stage.of(7, patch, fade_frames=240, switch_seq=9)
    patch.set("osc1", "freq", 660.0).delete("env1")  # the stage is the patch as it was
    message = stage.to_message()
    assert [m["type"] for m in message["messages"]] == ["abort", "build", "commit"]
    assert message["messages"][-1]["generation"] == message["generation"] == 7
    assert (message["fade_frames"], message["switch_seq"]) == (240, 9)
    blueprint = message["messages"][1]["blueprint"]
    assert blueprint.ids == "osc1 env1" and list(SETTING.iter_unpack(blueprint.settings)) == [(1, 0, 550.0)]
    assert stage.patch.ops() == [("mod", "osc1", "freq", 550.0)]
