"""Generators for property based tests, and the module types they draw from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st

from pyengine.patch import Patch
from pyengine.specs import Registry

settings.register_profile("pyengine", deadline=None)  # a busy machine is no fault of the code
settings.load_profile("pyengine")

RAMPED, NYQUIST, GATE, INTEGER, CABLE = 1, 2, 4, 8, 16
MODES = "lowpass,highpass,bandpass,notch,peak,lowshelf,highshelf,allpass"


def param_row(name: str, low: float, high: float, default: float, flags: int, **more: Any) -> dict[str, Any]:
    """Return a parameter as `_native.describe_modules()` gives it."""
    row = {"name": name, "alias": "", "unit": "", "choices": "", "help": f"the {name}", "ramp_us": 0}
    return {**row, "min": low, "max": high, "default_value": default, "flags": flags, **more}


def module_row(name: str, inputs: str, params: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a module type as `_native.describe_modules()` gives it."""
    return {
        "name": name,
        "help": f"a {name}",
        "inputs": inputs,
        "outputs": "out",
        "state_version": 1,
        "params": params,
    }


ROWS = [
    module_row(
        "simple_sine",
        "",
        [
            param_row(
                "freq",
                0,
                0,
                440,
                RAMPED | NYQUIST | CABLE,
                alias="frequency",
                unit="Hz",
                ramp_us=10_000,
            ),
            param_row("gain", 0, 16, 0.2, RAMPED | CABLE, ramp_us=5_000),
        ],
    ),
    module_row(
        "adsr",
        "in",
        [
            param_row("attack", 0, 60_000, 10, 0, unit="ms"),
            param_row("decay", 0, 60_000, 50, 0, unit="ms"),
            param_row("sustain", 0, 1, 0.7, 0),
            param_row("release", 0, 60_000, 200, 0, unit="ms"),
            param_row("gate", 0, 1, 1, GATE | CABLE),
        ],
    ),
    module_row(
        "biquad_filter",
        "in",
        [
            param_row("cutoff", 10, 0, 2000, RAMPED | NYQUIST | CABLE, unit="Hz", ramp_us=25_000),
            param_row("q", 0.1, 20, 1, RAMPED | CABLE, alias="resonance", ramp_us=25_000),
            param_row("mode", 0, 7, 0, INTEGER, alias="filter_mode", choices=MODES),
            param_row("gain_db", -40, 40, 0, 0, unit="dB"),
        ],
    ),
]
REGISTRY = Registry.from_dicts(ROWS)
EFFECTS = ("adsr", "biquad_filter")
SAMPLE_RATE_HZ = 48_000.0

ids = st.from_regex(r"[A-Za-z0-9_-]{1,12}", fullmatch=True)


@st.composite
def patches(draw: st.DrawFn, max_nodes: int = 8, registry: Registry = REGISTRY, types: Sequence[str] = ()) -> Patch:
    """Return a valid patch: any types, or these, cables only from earlier to later nodes, some values set."""
    patch = Patch(registry=registry)
    names = draw(st.lists(ids, max_size=max_nodes, unique=True))
    for name in names:
        patch.create(name, draw(st.sampled_from(types or registry.names)))
    for number, dest in enumerate(names[1:], 1):
        spec = patch.spec(dest)
        ends = [*([dest] if spec.inputs else []), *(f"{dest}.{p.name}" for p in spec.cable_params)]
        if not ends:
            continue
        pairs = st.tuples(st.sampled_from(names[:number]), st.sampled_from(ends))
        for source, end in draw(st.lists(pairs, max_size=3, unique=True)):
            patch.connect(source, end)
    for name in names:
        params = patch.spec(name).params
        for param in draw(st.lists(st.sampled_from(params), max_size=4)) if params else ():
            low, high = param.range_at(SAMPLE_RATE_HZ)
            if param.is_integer or param.is_gate:
                patch.set(name, param.name, draw(st.integers(int(low), int(high))))
            else:
                patch.set(name, param.name, draw(st.floats(low, high)))
    return patch


@st.composite
def graphs(draw: st.DrawFn, max_nodes: int = 12) -> tuple[int, list[tuple[int, int]]]:
    """Return (number of nodes, edges without loops at one node or doubles), with or without cycles."""
    n_nodes = draw(st.integers(2, max_nodes))
    nodes = st.integers(0, n_nodes - 1)
    edges = st.tuples(nodes, nodes).filter(lambda edge: edge[0] != edge[1])
    return n_nodes, draw(st.lists(edges, max_size=2 * n_nodes, unique=True))


def graph_patch(n_nodes: int, edges: list[tuple[int, int]]) -> Patch:
    """Return the patch of filters that a graph describes."""
    patch = Patch(registry=REGISTRY)
    for number in range(n_nodes):
        patch.create(f"n{number}", "biquad_filter")
    for source, dest in edges:
        patch.connect(f"n{source}", f"n{dest}")
    return patch
