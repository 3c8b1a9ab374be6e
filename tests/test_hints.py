"""What is right and probably not meant is told with what to do, and what is meant is not."""

from __future__ import annotations

import contextlib
import random
from pathlib import Path

import pytest
from live import Live
from shell import answer
from shell import pyengine as run

import pyengine
from pyengine.errors import PatchError
from pyengine.hints import MAX_HINTS, hints
from pyengine.patch import Patch
from pyengine.patch_file import load_patch
from pyengine.specs import registry

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


def poly() -> Patch:
    patch = Patch().create("pad", "voices").create("pad.osc", "osc").create("pad.env", "adsr")
    return patch.connect("pad.osc", "pad.env")


def test_voices_whose_notes_nothing_follows_are_told_until_it_does() -> None:
    patch = poly()
    gate, pitch = hints(patch)
    assert gate == (
        "node 'pad': nothing follows its gate, so notes do not begin or end; /patch/connect pad.gate pad.env.gate"
    )
    assert pitch.endswith("so all notes sound alike; /patch/connect pad.freq pad.osc.freq")
    patch.connect("pad.gate", "pad.env.gate")
    assert hints(patch) == [pitch]
    patch.connect("pad.note", "pad.osc.pitch", depth=1.0, offset=-69.0)
    assert hints(patch) == []


def test_voices_that_own_nothing_or_nothing_with_a_gate_are_told_what_to_create() -> None:
    patch = Patch().create("pad", "voices")
    assert [text.partition(";")[2] for text in hints(patch)] == [" /patch/create pad.osc osc"]
    patch.create("pad.osc", "osc").connect("pad.freq", "pad.osc.freq")
    assert hints(patch)[0].endswith("/patch/connect pad.gate pad.env.gate, where pad.env is an adsr behind what sounds")
    drums = Patch().create("kit", "voices").create("kit.kick", "kick").connect("kit.gate", "kit.kick.gate")
    assert hints(drums) == []


@pytest.mark.parametrize(
    "type", ["biquad_filter", "svf", "gain", "mixer", "pan", "drive", "delay", "reverb", "limiter"]
)
def test_an_effect_that_no_cable_leads_to_is_told_and_is_silent(type: str) -> None:
    patch = Patch().create("fx", type)
    assert hints(patch) == ["node 'fx': no cable leads to an input of it, so it is silent; /patch/connect MODULE fx"]
    assert not pyengine.render(patch, seconds=0.1).any()
    patch.create("lfo1", "lfo").connect("lfo1", f"fx.{patch.spec('fx').cable_params[0].name}")
    assert len(hints(patch)) == 1  # a parameter is no input
    patch.create("osc1", "osc").connect("osc1", "fx")
    assert hints(patch) == []


@pytest.mark.parametrize(
    ("type", "param", "value", "is_told"),
    [
        ("adsr", "release", 0.3, True),
        ("adsr", "release", 2, True),
        ("adsr", "release", 5, False),
        ("adsr", "release", 0, False),
        ("adsr", "decay", 0.5, True),
        ("adsr", "attack", 0.01, True),
        ("adsr", "attack", 0.5, False),
        ("delay", "time", 0.35, True),
        ("delay", "time", 3, False),
        ("lfo", "freq", 0.3, False),
    ],
)
def test_a_time_that_would_be_a_usual_one_in_seconds_is_told(
    type: str, param: str, value: float, is_told: bool
) -> None:
    patch = Patch().create("osc1", "osc").create("m", type).set("m", param, value)
    patch.connect("m", "osc1.freq") if type == "lfo" else patch.connect("osc1", "m")
    found = hints(patch)
    assert len(found) == is_told
    if is_told:
        assert found[0].startswith(f"node 'm': {param}={value:g} ms is next to nothing")
        assert found[0].endswith(f"{value:g} s are {1000 * value:g}")


def test_what_turns_parameters_and_is_heard_itself_is_told() -> None:
    patch = Patch().create("osc1", "osc").create("wobble", "lfo").create("env1", "adsr")
    assert hints(patch) == [
        f"node '{id}': no cable leads from it, so it is heard as it is; /patch/connect {id} MODULE.PARAM depth N"
        for id in ("wobble", "env1")
    ]
    patch.connect("wobble", "osc1.freq", depth=5.0).connect("osc1", "env1")
    assert hints(patch) == []


def test_a_sequence_without_pattern_or_target_is_told() -> None:
    patch = Patch().create("clock1", "clock").create("kick1", "kick").create("beat", "seq")
    assert [text.partition("; ")[2] for text in hints(patch)] == [
        "/seq/pattern beat 'X...x...'",
        "/seq/target beat MODULE",
    ]
    patch.sequence("beat", pattern="x", targets=["kick1"])
    assert hints(patch) == []


@pytest.mark.parametrize("path", sorted(EXAMPLES.rglob("*.toml")), ids=lambda path: path.stem)
def test_what_the_examples_do_is_meant(path: Path) -> None:
    assert hints(load_patch(path)) == []


@pytest.mark.parametrize("seed", range(10))
def test_any_patch_has_hints_that_name_a_node_of_it(seed: int) -> None:
    """A commit that is heard already asks for them: they may not fail."""
    rng, n_told = random.Random(seed), 0
    for _ in range(40):
        patch = Patch()
        for n in range(rng.randrange(12)):
            owner = next((id for id in patch.nodes if patch.spec(id).is_voices), "")
            id = f"{owner}.m{n}" if owner and rng.random() < 0.5 else f"m{n}"
            with contextlib.suppress(PatchError):
                patch.create(id, rng.choice(registry().names))
        ids = list(patch.nodes)
        for _ in range(4 * len(ids)):
            source, dest = rng.choice(ids), rng.choice(ids)
            outputs, params = patch.spec(source).outputs, patch.spec(dest).params
            with contextlib.suppress(PatchError):
                end = f"{dest}.{rng.choice(params).name}" if params and rng.random() < 0.5 else dest
                patch.connect(f"{source}.{rng.choice(outputs)}" if outputs and rng.random() < 0.7 else source, end)
            with contextlib.suppress(PatchError, IndexError):
                patch.set(dest, rng.choice(params).name, rng.choice([0, 0.5, 1, 2]))
        found = hints(patch)
        n_told += len(found)
        for text in found:
            assert text.split("'")[1] in patch.nodes and "; " in text and text.isprintable()
    assert n_told > 40


def test_a_list_of_hints_has_an_end_and_a_large_patch_none() -> None:
    patch = Patch()
    for n in range(900):
        patch.create(f"fx{n}", "svf")
    assert len(hints(patch)) == MAX_HINTS
    for n in range(200):
        patch.create(f"more{n}", "svf")
    assert hints(patch) == []


def test_a_commit_tells_what_is_probably_not_meant(live: Live, caplog: pytest.LogCaptureFixture) -> None:
    live.client.create("osc1", "osc")
    live.client.create("env1", "adsr")
    live.client.connect("osc1", "env1")
    live.client.set("env1", "release", 0.5)
    (warning,) = live.commit()["warnings"]
    assert warning.startswith("node 'env1': release=0.5 ms is next to nothing")
    assert live.status()["prime_warnings"] == 0
    live.client.create("osc2", "osc")
    assert live.commit()["warnings"] == [warning]
    logged = [r.getMessage() for r in caplog.records if "probably not meant" in r.getMessage()]
    assert logged == [f"probably not meant generation=1: {warning}"]  # once
    live.client.set("env1", "release", 500)
    assert live.commit()["warnings"] == []


def test_the_command_line_tells_what_is_probably_not_meant(tmp_path: Path, live: Live) -> None:
    file = tmp_path / "dull.toml"
    file.write_text('version = 1\nnodes = [{ id = "osc1", type = "osc" }, { id = "hall", type = "reverb" }]\n')
    said = "node 'hall': no cable leads to an input of it"
    for words in (
        ("patch", "check", file),
        ("render", file, "-o", tmp_path / "dull.wav"),
        ("patch", "load", file, "--port", str(live.client.port)),
        ("send", "--port", str(live.client.port), "/patch/commit"),
    ):
        done = run(*words)
        assert done.returncode == 0 and done.stderr.startswith(f"pyengine: warning: {said}"), done
    assert answer("patch", "check", file)["warnings"][0].startswith(said)
