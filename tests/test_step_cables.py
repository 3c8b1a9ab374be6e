"""Cables into parameters that modules do not read frame by frame: the same bits as commands at the same frames."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from cable_model import LOOK, LOOK_EVENTS, RATE_HZ, Samples, Settings, commands, scaled
from live import Live, assert_same
from modules import test_modules_path

from pyengine import Patch, _native, load_patch, render, replay
from pyengine.commands import SetParam
from pyengine.difference import anew
from pyengine.errors import PatchError
from pyengine.specs import ParamSpec, registry

N_FRAMES = 6000
DRUMS = {"kick", "snare", "hihat", "pluck", "sampler", "adsr"}  # struck all the time, so that every value is heard

ALL = [(m.name, p) for m in registry().modules for p in m.params]
IN_STEPS = [(type, p) for type, p in ALL if p.cable_frames == LOOK]
OF_EVENTS = [(type, p) for type, p in ALL if p.cable_frames == LOOK_EVENTS]
DEEDS = [(type, p) for type, p in ALL if p.cable_frames == 0]


def names(value: object) -> str:
    return value.name if isinstance(value, ParamSpec) else str(value)


def events_of(id: str, param: ParamSpec, settings: Settings) -> list[tuple[float, tuple[Any, ...]]]:
    return [(frame / RATE_HZ, ("mod", id, param.name, value)) for frame, value in settings]


def span(param: ParamSpec) -> tuple[float, float, float]:
    """Return (setting, depth, offset) for which a signal from -1 to 1 goes beyond both ends; times are short."""
    low, high = param.range_at(RATE_HZ)
    high = min(high, 40.0) if param.unit == "ms" else min(high, 40_000.0)
    setting = float(np.floor(low + 0.25 * (high - low)))
    return max(setting, low), 0.6 * (high - low), 0.25 * (high - low)


def source(patch: Patch, shape: str = "random", freq_hz: float = 197.0) -> Patch:
    return patch.create("mod1", "lfo").set("mod1", "shape", shape).set("mod1", "freq", freq_hz).set("mod1", "seed", 3)


def signal(shape: str = "random", freq_hz: float = 197.0, n_frames: int = N_FRAMES) -> Samples:
    return render(source(Patch(), shape, freq_hz), frames=n_frames, channels=1)[:, 0]


def stage(type: str, folder: Path) -> Patch:
    """Return a patch in which a module `it` of the type is heard, fed, and struck some hundred times a second."""
    patch = Patch().create("it", type)
    spec = patch.spec("it")
    if spec.inputs:
        patch.create("tone", "osc").set("tone", "shape", "saw").set("tone", "freq", 523.0)
        for port in spec.inputs:
            patch.connect("tone", f"it.{port}")
    if type in DRUMS:
        patch.create("strikes", "lfo").set("strikes", "shape", "square").set("strikes", "freq", 97.0)
        patch.connect("strikes", f"it.{spec.gate_param.name}" if spec.gate_param else "it")
    if type == "adsr":
        for name in ("attack", "decay", "release"):
            patch.set("it", name, 1.5)
    if type == "sampler":
        noise = np.random.default_rng(1).uniform(-1, 1, 300).astype(np.float32)
        soundfile.write(folder / "noise.wav", noise, 48000, subtype="FLOAT")
        patch.give("it", {"file": "noise.wav"}).set("it", "mode", "gate").set("it", "loop", "on")
    if type == "limiter":
        patch.set("it", "gain", 12.0)
    if type == "lfo":
        patch.set("it", "shape", "random").set("it", "freq", 50.0)
    return patch


def heard_and_expected(
    patch: Patch, param: ParamSpec, settings: Settings, folder: Path, block_frames: int = 64
) -> tuple[Samples, Samples]:
    """Return the patch with a cable into it.PARAM, and without the cable but with the commands that it stands for."""
    setting, depth, offset = span(param)
    cabled, plain = source(patch.copy()), source(patch.copy())
    cabled.set("it", param.name, setting).connect("mod1", f"it.{param.name}", depth, offset)
    plain.create("sink", "gain").set("sink", "gain", 0.0).connect("mod1", "sink")  # what feeds a parameter is not heard
    plain.set("it", param.name, param.default)
    found = commands(param, scaled(signal(), depth, offset), [(0, setting), *settings])
    given, wanted = events_of("it", param, settings), events_of("it", param, found)
    heard = render(cabled, frames=N_FRAMES, block_frames=block_frames, events=given, samples=folder)
    return heard, render(plain, frames=N_FRAMES, channels=heard.shape[1], events=wanted, samples=folder)


def test_every_parameter_takes_a_cable_but_deeds() -> None:
    assert {(type, p.name) for type, p in DEEDS} == {
        ("clock", "position"),
        ("voices", "note_on"),
        ("voices", "note_off"),
        ("voices", "all_off"),
    }
    assert all(p.is_event for _, p in DEEDS)
    assert {("adsr", "decay"), ("adsr", "sustain"), ("osc", "shape"), ("noise", "seed")} <= {
        (t, p.name) for t, p in IN_STEPS
    }
    assert {("clock", "bpm"), ("seq", "probability"), ("voices", "bend")} <= {(t, p.name) for t, p in OF_EVENTS}


@pytest.mark.parametrize(("type", "param"), DEEDS, ids=names)
def test_a_deed_refuses_a_cable_and_says_why(type: str, param: ParamSpec) -> None:
    with pytest.raises(PatchError, match=f"{param.name} is a deed, not a value that a cable could hold; param"):
        source(Patch()).create("it", type).connect("mod1", f"it.{param.name}")


@pytest.mark.parametrize(("type", "param"), IN_STEPS, ids=names)
def test_a_cable_sets_a_parameter_as_commands_at_the_same_frames_do(
    type: str, param: ParamSpec, tmp_path: Path
) -> None:
    settings = [] if param.is_gate else [(1003, param.default), (1005, span(param)[0]), (3999, param.min)]
    patch = stage(type, tmp_path)
    heard, expected = heard_and_expected(patch, param, settings, tmp_path)
    assert_same(heard, expected)
    patch.set("it", param.name, span(param)[0])
    unmoved = render(patch, frames=N_FRAMES, channels=heard.shape[1], samples=tmp_path)
    assert np.any(heard != unmoved), "the cable changed nothing: this test would not see a fault"
    for block_frames in (1, 37, 500):
        assert_same(heard_and_expected(patch, param, settings, tmp_path, block_frames)[0], heard)


# ---- what has no audio: clocks, sequences, voices


def band() -> Patch:
    """Return two tracks of a clock, one on two voices; their sounds tell when and which notes come."""
    patch = Patch().create("clock1", "clock").set("clock1", "bpm", 900).create("voices1", "voices")
    patch.create("voices1.osc", "simple_sine").create("voices1.env", "adsr").create("kick1", "kick")
    patch.connect("voices1.osc", "voices1.env").connect("voices1.freq", "voices1.osc.freq")
    patch.connect("voices1.gate", "voices1.env.gate").connect("voices1.velocity", "voices1.osc.gain", 0.3)
    patch.create("seq1", "seq").create("seq2", "seq")
    for name, value in {"attack": 0.0, "decay": 1.0, "release": 5.0}.items():
        patch.set("voices1.env", name, value)
    patch.give("voices1", {"voices": 2})
    patch.give("seq1", {"pattern": "xXx.", "targets": ["voices1"], "division": 8})
    return patch.give("seq2", {"pattern": "x.Xx", "targets": ["kick1"], "division": 8})


EVENT_DEPTHS = {"bpm": 300.0, "seed": 9.0e5, "note": 20.0, "tail": 20.0}  # of others 0.6 of the range
UNHEARD = {"seed", "tail", "sustain"}  # in this band


@pytest.mark.parametrize(("type", "param"), OF_EVENTS, ids=names)
def test_a_cable_sets_what_has_no_audio_64_frames_later(type: str, param: ParamSpec) -> None:
    id, n_frames = f"{type}1", 24_000
    low, high = param.range_at(RATE_HZ)
    depth = EVENT_DEPTHS.get(param.name, 0.6 * (high - low))
    patch = band()
    notes: list[tuple[float, tuple[Any, ...]]] = []
    if (type, param.name) == ("voices", "velocity"):  # a sequence would set it with each note
        patch.give("seq1", {"pattern": "x", "targets": ["kick1"]})
        notes = [(frame / RATE_HZ, ("mod", id, "note_on", 50 + frame % 17)) for frame in range(0, n_frames, 700)]
    base = patch.nodes[id].params.get(param.name, param.default)
    settings = [] if param.is_gate else [(5000, low), (9001, base)]
    cabled, plain = source(patch.copy(), freq_hz=41.0), source(patch.copy(), freq_hz=41.0)
    cabled.connect("mod1", f"{id}.{param.name}", depth)  # without an offset it begins at 0
    plain.create("sink", "gain").set("sink", "gain", 0.0).connect("mod1", "sink")
    x = scaled(signal(freq_hz=41.0, n_frames=n_frames), depth)
    found = commands(param, x, [(0, base), *settings])
    if param.is_gate:
        assert found[0] == (0, 0.0)  # follows the cable alone, which is 0 at first
    heard = render(cabled, frames=n_frames, events=[*notes, *events_of(id, param, settings)])
    assert_same(heard, render(plain, frames=n_frames, events=[*notes, *events_of(id, param, found)]))
    for block_frames in (1, 37, 500):
        events = [*notes, *events_of(id, param, settings)]
        again = render(cabled, frames=n_frames, block_frames=block_frames, events=events)
        assert_same(again, heard)
    if param.name not in UNHEARD:
        assert np.any(heard != render(plain, frames=n_frames, events=[*notes, *events_of(id, param, settings)]))


def test_the_offset_of_a_cable_into_a_sequence_is_there_from_the_first_note_on() -> None:
    """The lfo stands at 0: what comes out of the cable is 12 semitones, also in the first 64 frames."""
    cabled = band().create("mod1", "lfo").set("mod1", "depth", 0.0).connect("mod1", "seq1.transpose", 1.0, 12.0)
    assert_same(render(cabled, frames=9000), render(band().set("seq1", "transpose", 12.0), frames=9000))


def test_what_a_sequence_plays_may_lead_back_to_it_without_a_feedback_cable() -> None:
    patch = band().connect("kick1", "clock1.bpm", 300.0, -100.0).connect("voices1.env", "voices1.bend", 6.0)
    patch.validate()
    x = render(patch, frames=24_000)
    for block_frames in (1, 37, 500):
        assert_same(render(patch, frames=24_000, block_frames=block_frames), x)
    assert np.any(x != render(band(), frames=24_000))


# ---- values


def test_a_choice_is_the_nearest_one_and_ends_hold() -> None:
    """A cable of constants: the lfo stands still, so that what comes out is the offset."""
    for offset, shape in [(-7.0, 0), (0.4, 0), (0.6, 1), (1.5, 2), (2.7, 3), (99.0, 3)]:
        patch = Patch().create("still", "lfo").set("still", "depth", 0.0).create("it", "osc")
        patch.connect("still", "it.shape", 1.0, offset)
        assert_same(
            render(patch, frames=900), render(Patch().create("it", "osc").set("it", "shape", shape), frames=900)
        )


def test_a_seed_that_does_not_move_does_not_begin_anew() -> None:
    patch = Patch().create("still", "lfo").set("still", "depth", 0.0).create("it", "noise")
    patch.connect("still", "it.seed", 1.0, 5.0)
    assert_same(render(patch, frames=5000), render(Patch().create("it", "noise").set("it", "seed", 5), frames=5000))


def test_nan_gives_the_least_value() -> None:
    code = """
        import numpy as np
        from pyengine import Patch, render
        def shaped(patch): return patch.create("it", "osc").set("it", "shape", "sine").set("it", "freq", 440)
        bad = shaped(Patch().create("nan", "test_nan")).connect("nan", "it.shape")
        assert np.array_equal(render(bad, frames=900), render(shaped(Patch()).set("it", "shape", 0), frames=900))
        beat = Patch().create("clock1", "clock").create("kick1", "kick").create("seq1", "seq")
        beat.give("seq1", {"pattern": "x", "targets": ["kick1"], "division": 64})
        slow = beat.copy().create("nan", "test_nan").connect("nan", "clock1.bpm")
        events = [(64 / 48000, ("mod", "clock1", "bpm", 20))]
        assert np.array_equal(render(slow, frames=9000), render(beat, frames=9000, events=events))
        print("equal")
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env={**os.environ, _native.MODULES_VARIABLE: test_modules_path()},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "equal\n", done.stderr


def test_a_feedback_cable_sets_a_parameter_and_a_loop_of_two_is_the_same_in_any_blocks() -> None:
    patch = Patch().create("a", "osc").create("b", "osc").set("a", "freq", 300.0).set("b", "freq", 470.0)
    patch.connect("a", "b.shape", 8.0, 1.5).connect("b", "a.shape", 8.0, 1.5, feedback=True)
    patch.connect("a", "a.freq", 900.0, feedback=True)
    x = render(patch, frames=9000)
    for block_frames in (1, 37, 500):
        assert_same(render(patch, frames=9000, block_frames=block_frames), x)
    assert np.any(x[:64] == 0.0) and len(np.unique(x)) > 1000


@contextmanager
def new_registry(monkeypatch: pytest.MonkeyPatch, **environment: str) -> Iterator[None]:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    _native._registry.cache_clear()
    yield
    monkeypatch.undo()
    _native._registry.cache_clear()


def test_banks_and_instruction_sets_change_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty voices of which every third has a modulated decay, and two shapes that voices in a bank drive."""
    patch = source(Patch(), freq_hz=11.0)
    for i in range(20):
        patch.create(f"o{i}", "simple_sine").create(f"e{i}", "adsr").create(f"f{i}", "biquad_filter")
        patch.set(f"o{i}", "freq", 100.0 + 37 * i).connect(f"o{i}", f"e{i}").connect(f"e{i}", f"f{i}")
        if i % 3 == 0:
            patch.connect("mod1", f"e{i}.decay", 40.0).connect("mod1", f"f{i}.mode", 3.0, 3.0)
    for i in range(8):
        patch.create(f"s{i}", "simple_sine").set(f"s{i}", "freq", 3.0 + i).create(f"p{i}", "osc")
        patch.connect(f"s{i}", f"p{i}.shape", 20.0)
    patch.create("clock1", "clock").create("k", "kick").create("seq1", "seq").connect("s3", "clock1.bpm", 900.0)
    patch.give("seq1", {"pattern": "x", "targets": ["k"], "division": 16})
    x = render(patch, frames=6000)
    with new_registry(monkeypatch, PYENGINE_BANKS="0"):
        assert_same(render(patch, frames=6000), x)
    for isa in _native.isa_names():
        with new_registry(monkeypatch, PYENGINE_ISA=isa):
            assert_same(render(patch, frames=6000), x)


# ---- live


def test_a_cable_comes_and_goes_while_it_sounds_and_the_setting_stays(tmp_path: Path) -> None:
    """Connected, turned, killed, committed around, turned again, cut: each frame as commands would have it."""
    decay, shape = registry()["adsr"].param("decay"), registry()["osc"].param("shape")
    path = tmp_path / "a.session"
    with Live(tmp_path, session=path) as live:
        client = live.client
        for id, type in [("mod1", "lfo"), ("o", "osc"), ("e", "adsr"), ("g", "lfo"), ("sink", "gain")]:
            client.create(id, type)
        for id, name, value in [
            ("mod1", "freq", 23.0),
            ("g", "shape", "square"),
            ("g", "freq", 50.0),
            ("sink", "gain", 0),
        ]:
            client.set(id, name, value)
        client.set("e", "attack", 1.0)
        client.set("e", "decay", 8.0)
        for ends in [("o", "e"), ("g", "e.gate"), ("mod1", "sink")]:
            client.connect(*ends)
        first = live.commit(crossfade_ms=0)["frame"]
        live.await_redundancy()
        live.advance(3200)
        client.connect("mod1", "o.shape", 2.0, 1.0)
        client.connect("mod1", "e.decay", 6.0)
        connected = live.commit(crossfade_ms=0)["frame"]
        live.await_redundancy()
        turned = live.engine.frames + 2000
        live.send_at(turned + 5, SetParam("e", "decay", 12.0), SetParam("o", "shape", 1.0))
        live.advance(5000)
        live.kill(live.status()["active_slot"])
        live.await_redundancy()
        live.advance(3200)
        client.create("filt1", "biquad_filter")  # silent: it has no input
        live.commit(crossfade_ms=0)
        live.await_redundancy()
        live.advance(3200)
        for slot in (0, 1):
            live.kill(slot)
        live.await_redundancy()
        live.advance(3200)
        client.disconnect("mod1", "o.shape")
        client.disconnect("mod1", "e.decay")
        cut = live.commit(crossfade_ms=0)["frame"]
        live.await_redundancy()
        live.advance(3200)
        told = Patch.from_json(client.dump()["committed"])
        x = live.samples()
        status = live.status()
    assert status["counters"]["frames_underrun"] == 0 and status["states_diverged"] == 0
    assert told.nodes["o"].params["shape"] == 1.0 and told.nodes["e"].params["decay"] == 12.0
    plain = told.copy().set("o", "shape", shape.default).set("e", "decay", 8.0)
    n_frames = len(x) - first
    m = render(Patch().create("mod1", "lfo").set("mod1", "freq", 23.0), frames=n_frames, channels=1)[:, 0]
    events = []
    for id, param, before, after, ends in [("o", shape, 0.0, 1.0, (2.0, 1.0)), ("e", decay, 8.0, 12.0, (6.0, 0.0))]:
        settings = [(0, before), (turned + 5 - first, after)]
        found = commands(param, scaled(m, *ends)[: cut - first], settings, connected - first)
        events += events_of(id, param, [*found, (cut - first, after)])
    assert_same(x[first:], render(plain, frames=n_frames, channels=2, events=events))
    replayed, facts = replay(path)
    assert facts.warnings == []
    assert_same(replayed[: len(x)], x)


def test_tempo_on_a_cable_sounds_live_through_a_kill_and_a_commit_as_offline(tmp_path: Path) -> None:
    patch = source(band(), "smooth", 7.0).connect("mod1", "clock1.bpm", 90.0).connect("mod1", "seq1.transpose", 9.0)
    patch.connect("voices1.env", "voices1.bend", 3.0)
    with Live(tmp_path) as live:
        made = anew(patch)
        for command in (*made.build, *made.settings):
            live.client.send(command)
        first = live.commit(crossfade_ms=0)["frame"]
        live.await_redundancy()
        live.advance(6400)
        live.kill(live.status()["active_slot"])
        live.await_redundancy()
        live.advance(6400)
        live.client.create("filt1", "biquad_filter")
        live.commit(crossfade_ms=0)
        live.await_redundancy()
        live.advance(6400)
        x = live.samples()
    assert_same(x[first:], render(patch, frames=len(x) - first, channels=2))


def test_a_setting_behind_a_cable_lives_on_when_a_sequence_loses_it(tmp_path: Path) -> None:
    """bend goes back to the setting at the commit's frame, for the notes that sound too."""
    n, at = 12_800, 6400
    bend = registry()["voices"].param("bend")
    with Live(tmp_path) as live:
        patch = band().create("still", "lfo").set("still", "depth", 0.0).set("voices1", "bend", 2.0)
        made = anew(patch.connect("still", "voices1.bend", 1.0, 5.0))
        for command in (*made.build, *made.settings):
            live.client.send(command)
        first = live.commit(crossfade_ms=0)["frame"]
        live.await_redundancy()
        live.advance(at)
        live.client.disconnect("still", "voices1.bend")
        live.client.connect("still", "voices1.osc.freq")  # else it would be heard
        cut = live.commit(crossfade_ms=0)["frame"]
        live.await_redundancy()
        live.advance(n)
        x = live.samples()
    plain = band().set("voices1", "bend", 7.0)
    events = events_of("voices1", bend, [(cut - first, 2.0)])
    assert_same(x[first:], render(plain, frames=len(x) - first, channels=2, events=events))


def test_listings_and_dumps_tell_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    from pyengine.cli import main
    from pyengine.drawing import as_list

    rows: Sequence[dict[str, Any]] = registry()["adsr"].as_dict()["params"]
    assert [(row["name"], row["takes_cable"], row["cable_frames"]) for row in rows] == [
        ("attack", True, LOOK),
        ("decay", True, LOOK),
        ("sustain", True, LOOK),
        ("release", True, LOOK),
        ("gate", True, 1),
    ]
    assert main(["modules", "clock"]) == 0
    assert f"every {LOOK_EVENTS}" in capsys.readouterr().out
    patch = source(Patch()).create("it", "adsr").connect("mod1", "it.decay", 40.0, 60.0)
    assert patch.to_dict()["cables"] == [{"from": "mod1", "to": "it.decay", "depth": 40.0, "offset": 60.0}]
    assert Patch.from_json(patch.to_json()) == patch
    assert "-> it.decay (depth 40 offset 60)" in as_list(patch)


def test_marbles_of_the_gallery_has_another_shape_and_another_decay_with_its_notes() -> None:
    path = Path(__file__).resolve().parents[1] / "examples" / "patches" / "marbles.toml"
    patch, n_frames = load_patch(path, sample_rate_hz=48000), 120_000
    plain, events, values = patch.copy(), [], {}
    for source, id, name in [("pick", "tone", "shape"), ("drift", "env", "decay")]:
        cable = next(c for c in patch.cables if (c.source, c.dest, c.to_param) == (source, id, True))
        param = patch.spec(id).param(name)
        alone = patch.copy().create("solo", "gain").connect(source, "solo")
        alone.create("mute", "gain").set("mute", "gain", 0.0).connect("room", "mute")
        m = render(alone, frames=n_frames, channels=1)[:, 0]
        base = patch.nodes[id].params.get(name, param.default)
        found = commands(param, scaled(m, cable.depth, cable.offset), [(0, base)])
        values[name] = [value for _, value in found]
        plain.disconnect(source, f"{id}.{name}").set(id, name, param.default)
        events += events_of(id, param, found)
        plain.create(f"sink_{id}", "gain").set(f"sink_{id}", "gain", 0.0).connect(source, f"sink_{id}")
    assert {0.0, 1.0, 2.0, 3.0} == set(values["shape"])
    assert max(values["decay"]) - min(values["decay"]) > 100.0
    assert_same(render(patch, frames=n_frames), render(plain, frames=n_frames, events=events))
