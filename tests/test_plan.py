"""Patch -> native plan: order, sums and buffers, against a model that gives every cable memory of its own.

The model runs each module alone (tests/dsp/drive.py) and sums in numpy in the order of DESIGN section 10 and
csrc/plan.c; all comparisons are bit for bit.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import cable_model
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pyengine._core import lib
from strategies import SAMPLE_RATE_HZ, graph_patch, graphs, patches

from pyengine import _native, render
from pyengine.errors import CommandError, NativeError, PatchError, UnknownNameError
from pyengine.patch import Op, Patch
from pyengine.plan import Blueprint, address, new_plan, prime

sys.path.append(str(Path(__file__).parent / "dsp"))
import drive  # noqa: E402

Samples = NDArray[np.float32]
N_ACCUMULATORS = 16
N_FRAMES = 500


def same_bits(a: Samples, b: Samples) -> bool:
    return a.shape == b.shape and a.tobytes() == b.tobytes()


def tree_sum(sources: Sequence[Samples]) -> Samples:
    """Source i goes to accumulator i mod 16, accumulators start at +0.0; then halves are added to halves."""
    accumulators = [np.zeros_like(sources[0]) for _ in range(N_ACCUMULATORS)]
    for i, source in enumerate(sources):
        accumulators[i % N_ACCUMULATORS] = accumulators[i % N_ACCUMULATORS] + source
    stride = N_ACCUMULATORS // 2
    while stride:
        accumulators = [accumulators[a] + accumulators[a + stride] for a in range(stride)]
        stride //= 2
    return accumulators[0]


def flushed(x: Samples) -> Samples:
    """As a rendering call sees it: denormals are zero."""
    return np.where(np.abs(x) < np.finfo(np.float32).tiny, np.copysign(np.float32(0), x), x).astype(np.float32)


def wired(sources: Sequence[Samples]) -> Samples:
    """One cable is read as it is, several are summed."""
    return sources[0] if len(sources) == 1 else flushed(tree_sum([flushed(x) for x in sources]))


def evaluate(patch: Patch, n_frames: int, events: Sequence[tuple[int, Op]] = ()) -> Samples:
    """Return the output by naive recursion from the sinks: each node alone, nothing shared."""
    done: dict[str, Samples] = {}

    def output_of(id: str) -> Samples:
        if id not in done:
            spec = patch.spec(id)
            cables = [c for c in patch.cables if c.dest == id]
            inputs: list[Samples | None] = []
            for port in range(len(spec.inputs)):
                feeding = [output_of(c.source) for c in cables if not c.to_param and c.dest_port == port]
                inputs.append(wired(feeding) if feeding else None)
            driven: dict[str, list[Samples]] = {}
            for c in cables:
                if c.to_param:
                    driven.setdefault(spec.params[c.dest_port].name, []).append(output_of(c.source))
            mods = {name: wired(sources) for name, sources in driven.items()}
            done[id] = run_alone(patch, id, n_frames, inputs, mods, events)
        return done[id]

    sources = {c.source for c in patch.cables}
    sinks = [output_of(id) for id in patch.nodes if id not in sources]
    return flushed(tree_sum([flushed(x) for x in sinks])) if sinks else np.zeros(n_frames, np.float32)


def run_alone(
    patch: Patch,
    id: str,
    n_frames: int,
    inputs: Sequence[Samples | None],
    mods: Mapping[str, Samples],
    events: Sequence[tuple[int, Op]],
) -> Samples:
    def command(frame: int, op: Op) -> drive.Command:
        name = "gate" if op[0] == "gate" else op[2]
        return drive.Command(frame, str(name), float(op[3]), is_immediate=frame == 0)

    commands = [command(0, op) for op in patch.ops() if op[1] == id]
    commands += [command(frame, op) for frame, op in events if op[1] == id]
    read = {name: mod for name, mod in mods.items() if patch.spec(id).param(name).cable_frames == 1}
    for name in mods.keys() - read.keys():  # set in steps, by the plan
        settings = [(c.frame, c.value) for c in commands if c.param == name]
        commands = [c for c in commands if c.param != name]
        found = cable_model.commands(patch.spec(id).param(name), mods[name], settings)
        commands += [drive.Command(frame, name, value) for frame, value in found]
    out: Samples = drive.run(
        patch.nodes[id].type, n_frames, commands=commands, inputs=inputs, cables=read, splits=(64,)
    ).out
    return out


def rendered(patch: Patch, n_frames: int = N_FRAMES, events: Sequence[tuple[int, Op]] = (), block: int = 64) -> Samples:
    timed = [(frame / SAMPLE_RATE_HZ, op) for frame, op in events]
    out: Samples = render(patch, frames=n_frames, events=timed, block_frames=block)[:, 0]
    return out


def sines(count: int, *, seed: int = 0) -> Patch:
    """Sines of very different gains, so that every order of summation rounds differently."""
    rng = random.Random(seed)
    patch = Patch()
    for n in range(count):
        patch.create(f"osc{n}", "simple_sine").set(f"osc{n}", "freq", rng.uniform(20, 20_000))
        patch.set(f"osc{n}", "gain", 10 ** rng.uniform(-4, 1))
    return patch


def alone(patch: Patch, id: str, n_frames: int = N_FRAMES) -> Samples:
    """Return what one node without cables sounds like in a patch of its own."""
    one = Patch().create(id, patch.nodes[id].type)
    for name, value in patch.nodes[id].params.items():
        one.set(id, name, value)
    return rendered(one, n_frames)


def wire(patch: Patch, id: str) -> Patch:
    """Add an envelope that is open from frame 0 on: it puts out its input as it is."""
    patch.create(id, "adsr").set(id, "sustain", 1)
    for name in ("attack", "decay", "release"):
        patch.set(id, name, 0)
    return patch


# ---- sums ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", range(1, 41))
def test_sinks_are_summed_in_the_tree_of_16_accumulators(count: int) -> None:
    patch = sines(count)
    expected = tree_sum([alone(patch, id) for id in patch.nodes])
    assert same_bits(rendered(patch), expected)


@pytest.mark.parametrize("count", range(1, 41))
def test_sources_of_an_input_are_summed_in_the_tree_in_the_order_of_their_cables(count: int) -> None:
    patch = wire(sines(count, seed=1), "env1")
    order = list(range(count))
    random.Random(count).shuffle(order)
    for n in order:
        patch.connect(f"osc{n}", "env1")
    expected = tree_sum([alone(patch, f"osc{n}") for n in order])
    assert same_bits(rendered(patch), expected)


def test_the_order_of_the_cables_is_heard_in_the_last_bits_and_nothing_else_is() -> None:
    """So the tests above can tell one order from another; and a cable taken out and put back comes last."""
    order = random.Random(3).sample(range(20), 20)
    forth, mixed = wire(sines(20), "env1"), wire(sines(20), "env1")
    for n in range(20):
        forth.connect(f"osc{n}", "env1")
        mixed.connect(f"osc{order[n]}", "env1")
    assert not same_bits(rendered(forth), rendered(mixed))
    assert np.allclose(rendered(forth), rendered(mixed), atol=1e-4)
    for n in range(20):
        mixed.disconnect(f"osc{n}", "env1").connect(f"osc{n}", "env1")
    assert same_bits(rendered(forth), rendered(mixed))


@pytest.mark.parametrize("block", [1, 63, 64, 65, 128, 200, 8192])
def test_sums_of_blocks_of_any_length_are_complete(block: int) -> None:
    patch = wire(sines(37), "env1")
    for n in range(35):
        patch.connect(f"osc{n}", "env1")
    assert same_bits(rendered(patch, 9000, block=block), rendered(patch, 9000, block=64))


@pytest.mark.parametrize("silent", [0, 7, 16, 19])
def test_leaving_a_silent_voice_out_of_its_accumulator_changes_no_bit(silent: int) -> None:
    patch = wire(sines(20).set(f"osc{silent}", "gain", 0), "env1")
    for n in range(20):
        patch.connect(f"osc{n}", "env1")
    voices = [alone(patch, f"osc{n}") for n in range(20)]
    assert not voices[silent].any()
    voices[silent] = np.full(N_FRAMES, -0.0, np.float32)  # adding it is the same as not adding
    assert same_bits(rendered(patch), tree_sum(voices))


# ---- fan-out -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [2, 3, 16, 17, 40])
def test_one_output_may_feed_many(count: int) -> None:
    patch = Patch().create("osc1", "simple_sine")
    for n in range(count):
        wire(patch, f"env{n}").connect("osc1", f"env{n}")
    one = alone(patch, "osc1")
    assert same_bits(rendered(patch), tree_sum([one] * count))


def test_one_output_may_feed_input_and_parameters_of_the_same_module() -> None:
    patch = Patch().create("osc1", "simple_sine").set("osc1", "gain", 2).create("filt1", "biquad_filter")
    patch.connect("osc1", "filt1").connect("osc1", "filt1.q").connect("osc1", "filt1.cutoff")
    assert same_bits(rendered(patch), evaluate(patch, N_FRAMES))


def test_a_node_that_feeds_another_is_not_heard_itself() -> None:
    patch = wire(Patch().create("osc1", "simple_sine"), "env1").connect("osc1", "env1").gate("env1", 0)
    assert not rendered(patch).any()


# ---- cables to parameters ------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 16, 17])
@pytest.mark.parametrize("setting", [0.0, 0.3, 7.5, 16.0])
def test_a_driven_parameter_is_the_setting_plus_the_sum_clamped(setting: float, count: int) -> None:
    patch = sines(count, seed=2).create("osc", "simple_sine").set("osc", "gain", setting)
    for n in range(count):
        patch.connect(f"osc{n}", "osc.gain")
    total = wired([alone(patch, f"osc{n}") for n in range(count)])
    unit = alone(Patch().create("osc", "simple_sine").set("osc", "gain", 1), "osc")
    gain = np.clip(setting + total.astype(np.float64), 0, 16)
    assert (gain == 0).any() or setting > 0.3
    assert same_bits(rendered(patch), gain.astype(np.float32) * unit + np.float32(0))


def test_a_driven_frequency_is_clamped_at_nyquist_minus_10_and_at_0() -> None:
    """The largest number a cable carries is +-1e6: an envelope of a sine 16 loud stays within; many add up."""
    patch = wire(Patch(), "one").create("osc1", "simple_sine").set("osc1", "freq", 23_989.5).connect("one", "osc1.freq")
    highest = Patch().create("osc1", "simple_sine").set("osc1", "freq", 23_990)
    assert same_bits(rendered(patch), rendered(highest))
    steady = Patch().create("down", "simple_sine").set("down", "freq", 0).create("osc1", "simple_sine")
    assert same_bits(rendered(steady.connect("down", "osc1.freq")), rendered(Patch().create("osc1", "simple_sine")))


def test_a_driven_gate_follows_the_cable_alone() -> None:
    for setting in (0, 1):
        patch = wire(Patch().create("lfo", "simple_sine"), "env1").set("lfo", "freq", 500).set("lfo", "gain", 0.8)
        patch.connect("lfo", "env1.gate").gate("env1", setting)
        expected = (alone(patch, "lfo") >= 0.5).astype(np.float32)
        assert 0 < expected.sum() < N_FRAMES
        assert same_bits(rendered(patch), expected)


def test_summed_cables_open_a_gate_at_half() -> None:
    patch = wire(sines(3, seed=5), "env1")
    for n in range(3):
        patch.set(f"osc{n}", "gain", 0.4).connect(f"osc{n}", "env1.gate")
    expected = (tree_sum([alone(patch, f"osc{n}") for n in range(3)]) >= 0.5).astype(np.float32)
    assert 0 < expected.sum() < N_FRAMES
    assert same_bits(rendered(patch), expected)


# ---- order and buffers -----------------------------------------------------------------------------------------


@st.composite
def jobs(draw: st.DrawFn) -> tuple[Patch, list[tuple[int, Op]]]:
    patch = Patch.from_json(draw(patches(max_nodes=14)).to_json())
    events: list[tuple[int, Op]] = []
    for _ in range(draw(st.integers(0, 4)) if patch.nodes else 0):
        id = draw(st.sampled_from(list(patch.nodes)))
        param = draw(st.sampled_from(patch.spec(id).params))
        low, high = param.range_at(SAMPLE_RATE_HZ)
        value = draw(st.integers(int(low), int(high)) if param.is_gate or param.is_integer else st.floats(low, high))
        op: Op = ("gate", id, None, value) if param.is_gate else ("mod", id, param.name, value)
        events.append((draw(st.integers(1, N_FRAMES - 1)), op))
    return patch, sorted(events, key=lambda event: event[0])


@settings(max_examples=150)
@given(job=jobs(), block=st.integers(1, 600))
def test_random_patches_equal_a_naive_recursive_evaluation(job: tuple[Patch, list[tuple[int, Op]]], block: int) -> None:
    patch, events = job
    assert same_bits(rendered(patch, events=events, block=block), evaluate(patch, N_FRAMES, events))


def dense(n_nodes: int, seed: int) -> Patch:
    """Return a patch whose cables run from any node to any later one of a random order, whatever the stored order."""
    rng = random.Random(seed)
    patch = Patch()
    for n in range(n_nodes):
        patch.create(f"n{n}", rng.choice(["simple_sine", "adsr", "biquad_filter", "biquad_filter"]))
    names = list(patch.nodes)
    rng.shuffle(names)
    for place, dest in enumerate(names):
        spec = patch.spec(dest)
        ends = [*([dest] * 2 if spec.inputs else []), *(f"{dest}.{p.name}" for p in spec.cable_params)]
        for source in rng.sample(names[:place], min(place, rng.randint(0, 4))):
            patch.connect(source, rng.choice(ends))
        patch.set(dest, spec.params[0].name, rng.uniform(20, 2000))
    return patch


@pytest.mark.parametrize("seed", range(12))
def test_buffers_are_reused_without_aliasing_in_large_patches(seed: int) -> None:
    patch = dense(120, seed)
    assert same_bits(rendered(patch, 300), evaluate(patch, 300))


def test_a_chain_of_any_length_runs_in_a_few_buffers() -> None:
    """16,000 buffers of 8192 frames would be half a gigabyte: that they are reused shows in the memory used."""
    patch = Patch().create("n0", "simple_sine")
    for n in range(1, 16_000):
        patch.create(f"n{n}", "adsr").connect(f"n{n - 1}", f"n{n}")
    resource = pytest.importorskip("resource")
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with new_plan(patch, sample_rate_hz=48000, max_block_frames=8192, n_channels=1) as plan:
        assert plan.state_bytes < 16_000 * 1000
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb < 200_000


@settings(max_examples=150)
@given(graph=graphs())
def test_a_cycle_given_natively_is_refused_exactly_where_the_patch_refuses_it(
    graph: tuple[int, list[tuple[int, int]]],
) -> None:
    patch = graph_patch(*graph)
    try:
        patch.validate()
    except PatchError:
        with pytest.raises(NativeError, match="cycle") as caught:
            new_plan(patch, sample_rate_hz=48000, max_block_frames=64, n_channels=1)
        assert caught.value.status == lib.PE_CYCLE
    else:
        new_plan(patch, sample_rate_hz=48000, max_block_frames=64, n_channels=1).close()


def test_a_module_connected_to_itself_natively_is_a_cycle() -> None:
    index = Patch().registry["biquad_filter"].index
    with pytest.raises(NativeError) as caught:
        _native.Plan(
            [(1, index, 0)], [(0, 0, 0, 0, 0, 1.0, 0.0)], sample_rate_hz=48000, max_block_frames=64, n_channels=1
        )
    assert caught.value.status == lib.PE_CYCLE


def test_the_state_is_a_function_of_the_patch_alone() -> None:
    hashes, sizes = set(), set()
    for _ in range(5):
        clutter = [bytearray(b"\xff" * size) for size in (100, 1000, 10_000, 100_000)]  # other memory each time
        with new_plan(dense(30, 1), sample_rate_hz=48000, max_block_frames=64, n_channels=1) as plan:
            del clutter
            prime(plan, dense(30, 1), dense(30, 1).ops(), 48000)
            out = np.zeros((1000, 1), np.float32)
            plan.render(_native.commands([]), 0, 1000, 64, out)
            hashes.add(plan.state_hash)
            sizes.add(plan.state_bytes)
    assert len(hashes) == 1 and len(sizes) == 1


@pytest.mark.parametrize("block", [1, 17, 64, 1000])
def test_the_state_after_rendering_does_not_depend_on_the_block(block: int) -> None:
    def state(block_frames: int) -> int:
        patch = dense(40, 2)
        with new_plan(patch, sample_rate_hz=48000, max_block_frames=block_frames, n_channels=1) as plan:
            prime(plan, patch, patch.ops(), 48000)
            records = [_native.Record(patch.nodes["n3"].handle, 0, 500.0, frame=333)]
            plan.render(_native.commands(records), 1, 1000, block_frames, np.zeros((1000, 1), np.float32))
            return plan.state_hash

    assert state(block) == state(64)


# ---- the functions of plan.py --------------------------------------------------------------------------------


def test_a_blueprint_numbers_nodes_and_cables_in_the_stored_order() -> None:
    patch = Patch(next_handle=7).create("b", "biquad_filter").create("a", "simple_sine").create("e", "adsr")
    patch.connect("a", "b").connect("e", "b.q").connect("a", "e")
    registry = patch.registry
    q = registry["biquad_filter"].param("q").index
    patch.set("b", "q", 2.0).gate("e", 0)
    blueprint = Blueprint.of(patch)
    assert list(_native.NODE.iter_unpack(blueprint.nodes)) == [
        (7, registry["biquad_filter"].index, 0),
        (8, registry["simple_sine"].index, 0),
        (9, registry["adsr"].index, 0),
    ]
    cables = [(1, 0, 0, 0, 0, 1.0, 0.0), (2, 0, 0, q, 1, 1.0, 0.0), (1, 0, 2, 0, 0, 1.0, 0.0)]
    assert list(_native.CABLE.iter_unpack(blueprint.cables)) == cables
    gate = registry["adsr"].param("gate").index
    assert list(_native.SETTING.iter_unpack(blueprint.settings)) == [(7, q, 2.0), (9, gate, 0.0)]
    assert (blueprint.types, blueprint.ids) == (registry.names, "b a e")
    assert len(list(blueprint.addresses())) == sum(
        len(registry[type].params) for type in ("biquad_filter", "simple_sine", "adsr")
    )
    assert ("b", "q", 7, q) in blueprint.addresses()


def test_a_blueprint_of_a_process_that_numbers_its_module_types_otherwise_means_the_same() -> None:
    patch = Patch().create("a", "simple_sine").create("e", "adsr").connect("a", "e").set("a", "freq", 300.0)
    blueprint = Blueprint.of(patch)
    types = tuple(reversed(blueprint.types))
    rows = _native.NODE.iter_unpack(blueprint.nodes)
    nodes = b"".join(_native.NODE.pack(handle, len(types) - 1 - type, 0) for handle, type, _ in rows)
    other = blueprint._replace(types=types, nodes=nodes)
    assert set(other.addresses()) == set(blueprint.addresses())
    out = np.zeros((64, 1), np.float32)
    with other.plan(sample_rate_hz=48000, max_block_frames=64, n_channels=1) as plan:
        plan.set_all(other.settings)
        plan.render(_native.commands([]), 0, 64, 64, out)
    assert same_bits(out[:, 0], rendered(patch, 64))
    with pytest.raises(UnknownNameError, match="unknown module type 'theremin'"):
        blueprint._replace(types=("theremin", *types[1:])).plan(sample_rate_hz=48000, max_block_frames=64, n_channels=1)


def test_a_setting_that_the_core_refuses_is_named_and_those_before_it_are_taken() -> None:
    patch = Patch().create("osc1", "simple_sine")
    rows = [(1, 1, 0.5), (1, 9, 1.0), (1, 0, 300.0)]
    packed = b"".join(_native.SETTING.pack(*row) for row in rows)
    out = np.zeros((64, 1), np.float32)
    with new_plan(patch, sample_rate_hz=48000, max_block_frames=64, n_channels=1) as plan:
        with pytest.raises(NativeError, match="cannot set parameter 9 of node 1"):
            plan.set_all(packed)
        with pytest.raises(NativeError, match="no whole number of PeSetting"):
            plan.set_all(packed[:-1])
        plan.render(_native.commands([]), 0, 64, 64, out)
    assert same_bits(out[:, 0], rendered(patch.set("osc1", "gain", 0.5), 64))


def test_an_address_is_handle_parameter_and_value() -> None:
    patch = Patch(next_handle=3).create("osc1", "simple_sine").create("env1", "adsr")
    spec = patch.registry["adsr"]
    assert address(patch, ("mod", "osc1", "gain", 1)) == (3, 1, 1.0)
    assert address(patch, ("gate", "env1", None, 1)) == (4, spec.param("gate").index, 1.0)
    for op in (("mod", "osc2", "gain", 1.0), ("mod", "osc1", "gian", 1.0)):
        with pytest.raises(UnknownNameError):
            address(patch, op)
    with pytest.raises(PatchError, match="no gate"):
        address(patch, ("gate", "osc1", None, 1))


def test_priming_warns_of_what_names_nothing_and_applies_the_rest() -> None:
    patch = Patch().create("osc1", "simple_sine")
    ops = [
        ("mod", "gone", "freq", 1),
        ("mod", "osc1", "freq", 1e9),
        ("mod", "osc1", "gain", 1),
        ("gate", "osc1", None, 1),
    ]
    with new_plan(patch, sample_rate_hz=48000, max_block_frames=64, n_channels=1) as plan:
        warnings = prime(plan, patch, ops, 48000)
        out = np.zeros((64, 1), np.float32)
        plan.render(_native.commands([]), 0, 64, 64, out)
    assert [text.split(";")[0] for text in warnings] == [
        "unknown module id 'gone'",
        "node 'osc1': freq=1000000000 Hz is outside 0..23990 Hz (Nyquist - 10 at 48000 Hz)",
        "node 'osc1': simple_sine has no gate",
    ]
    assert same_bits(out[:, 0], rendered(Patch().create("osc1", "simple_sine").set("osc1", "gain", 1), 64))


def test_priming_with_what_is_no_op_is_an_error() -> None:
    patch = Patch().create("osc1", "simple_sine")
    with (
        new_plan(patch, sample_rate_hz=48000, max_block_frames=64, n_channels=1) as plan,
        pytest.raises(CommandError, match="is no op"),
    ):
        prime(plan, patch, [("mod", "osc1", "freq")], 48000)


@pytest.mark.parametrize("handle", [0, -1, 1 << 32, "7", 1.0, True])
def test_a_handle_that_the_core_would_refuse_is_refused_by_the_patch(handle: object) -> None:
    patch = Patch().create("osc1", "simple_sine", handle=7)
    with pytest.raises(CommandError, match="is no handle; give a whole number"):
        patch.create("osc2", "simple_sine", handle=handle)  # type: ignore[arg-type]
    with pytest.raises(CommandError, match="is no handle"):
        patch.renew("osc1", handle)  # type: ignore[arg-type]
    assert list(patch.nodes) == ["osc1"] and patch.nodes["osc1"].handle == 7


@pytest.mark.parametrize("mode", ["lowpass", "highpass", "peak"])
def test_a_node_that_is_all_that_is_heard_has_the_bits_of_a_sum(mode: str) -> None:
    """A filter that puts out the sum itself, and one that is summed with a silent node: no bit differs, none is -0."""
    patch = Patch().create("osc1", "simple_sine").create("env1", "adsr").create("filt1", "biquad_filter")
    patch.connect("osc1", "env1").connect("env1", "filt1").set("filt1", "mode", mode)
    patch.set("osc1", "gain", 1.0)
    events: list[tuple[int, Op]] = [
        (70, ("mod", "filt1", "cutoff", 300.0)),
        (1999, ("mod", "osc1", "gain", 0.0)),
        (2500, ("gate", "env1", None, 0)),
        (2600, ("mod", "osc1", "freq", 80.0)),
    ]
    seconds = [(frame / SAMPLE_RATE_HZ, op) for frame, op in events]
    summed = patch.copy().create("mix1", "mixer")
    for channels in (1, 2):
        for block in (64, 48, 7):
            options = {"frames": 40_000, "events": seconds, "block_frames": block, "channels": channels}
            out = render(patch, sample_rate=SAMPLE_RATE_HZ, **options)
            assert same_bits(out, render(summed, sample_rate=SAMPLE_RATE_HZ, **options))
            assert np.abs(out[:1000]).max() > 0.1 and not out[-100:].any() and not np.signbit(out[out == 0.0]).any()
