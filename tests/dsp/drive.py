"""Drives one module of csrc/dsp alone: inputs and cables as arrays, commands at frames, blocks split at will.

The modules are compiled with the system's compiler, together with tests/c/drive.c (built.py).
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import built
import cffi
import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[2]
RATE_HZ = 48000.0

Samples = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Param:
    """One parameter as the descriptor has it; `high` is the maximum at RATE_HZ."""

    index: int
    name: str
    unit: str
    low: float
    high: float
    default: float
    ramp_us: int
    is_ramped: bool
    is_integer: bool
    is_gate: bool
    takes_cable: bool


@dataclass(frozen=True, slots=True)
class Module:
    index: int
    name: str
    inputs: tuple[str, ...]
    n_outputs: int
    params: tuple[Param, ...]
    state_bytes: int

    @property
    def n_inputs(self) -> int:
        return len(self.inputs)

    def param(self, name: str) -> Param:
        return next(p for p in self.params if p.name == name)


@dataclass(frozen=True, slots=True)
class Command:
    """kind: 'set', 'reset' (module and parameters as new) or 'open' (the warm-up's)."""

    frame: int
    param: str = ""
    value: float = 0.0
    is_immediate: bool = False
    kind: str = "set"


@dataclass(frozen=True, slots=True)
class Result:
    outputs: list[Samples]
    state: bytes = field(repr=False)

    @property
    def out(self) -> Samples:
        return self.outputs[0]


@cache
def build() -> tuple[Any, Any, list[Path]]:
    """Return (ffi, library, objects). At import already, as the tests are parametrised over the registry."""
    compiler = built.c_compiler()
    assert compiler, "there is no C compiler on this machine"
    found = built.objects(compiler, built.STRICT, sorted(built.CSRC.rglob("*.c")))
    objects = [out for source, out in found.items() if source.parent.name == "dsp"]
    words = [str(ROOT / "tests" / "c" / "drive.c"), *map(str, objects)]
    command = [compiler, *built.STRICT, "-shared", *words]

    def link(folder: Path) -> None:
        subprocess.run([*command, "-o", str(folder / "drive.so")], check=True)

    folder = built.made("drive", [built.version(compiler), *command], link)
    ffi = cffi.FFI()
    ffi.cdef((ROOT / "csrc" / "api.h").read_text() + (ROOT / "tests" / "c" / "drive.h").read_text())
    return ffi, ffi.dlopen(str(folder / "drive.so")), objects


def _param(ffi: Any, lib: Any, index: int, p: Any) -> Param:
    is_nyquist = bool(p.flags & lib.PE_PARAM_NYQUIST)
    return Param(
        index=index,
        name=ffi.string(p.name).decode(),
        unit=ffi.string(p.unit).decode(),
        low=p.min,
        high=RATE_HZ / 2 - 10 if is_nyquist else p.max,
        default=p.default_value,
        ramp_us=p.ramp_us,
        is_ramped=bool(p.flags & lib.PE_PARAM_RAMPED),
        is_integer=bool(p.flags & lib.PE_PARAM_INTEGER),
        is_gate=bool(p.flags & lib.PE_PARAM_GATE),
        takes_cable=bool(p.flags & lib.PE_PARAM_CABLE),
    )


@cache
def modules() -> dict[str, Module]:
    """Every module of the registry by its name."""
    ffi, lib, _ = build()
    found = {}
    for i in range(lib.drive_count()):
        info = ffi.new("PeModuleInfo *")
        lib.drive_info(i, info)
        params = tuple(_param(ffi, lib, k, info.params[k]) for k in range(info.n_params))
        name = ffi.string(info.name).decode()
        inputs = tuple(filter(None, ffi.string(info.inputs).decode().split(",")))
        assert len(inputs) == info.n_inputs, name
        found[name] = Module(i, name, inputs, info.n_outputs, params, info.state_bytes)
    return found


def _pointers(ffi: Any, arrays: Sequence[Samples | None], keep: list[Any]) -> Any:
    pointers = ffi.new("float *[]", max(len(arrays), 1))
    for i, array in enumerate(arrays):
        if array is not None:
            keep.append(ffi.from_buffer("float[]", array))
            pointers[i] = keep[-1]
    keep.append(pointers)
    return pointers


def run(
    name: str,
    n_frames: int,
    *,
    commands: Sequence[Command] = (),
    inputs: Sequence[Samples | None] | None = None,
    cables: Mapping[str, Samples] | None = None,
    splits: Sequence[int] = (64,),
    rate_hz: float = RATE_HZ,
    fill: int = 0,
    isa: int | None = None,
    data: bytes = b"",
) -> Result:
    """Render n_frames of a new module. inputs: an array or None for each; cables: what drives a parameter.

    isa: the number of an instruction set, the best one by default. data: what the node is given.
    """
    ffi, lib, _ = build()
    module = modules()[name]
    cables = cables or {}
    kinds = {"set": lib.DRIVE_SET, "reset": lib.DRIVE_RESET, "open": lib.DRIVE_OPEN}
    keep: list[Any] = []
    given = inputs or [None] * module.n_inputs
    ins = [None if x is None else np.ascontiguousarray(x, np.float32) for x in given]
    mods = [np.ascontiguousarray(cables[p.name], np.float32) if p.name in cables else None for p in module.params]
    assert len(ins) == module.n_inputs and all(len(x) >= n_frames for x in ins + mods if x is not None)
    outs = [np.full(n_frames, np.nan, np.float32) for _ in range(module.n_outputs)]
    ordered = sorted(commands, key=lambda c: c.frame)
    records = ffi.new("DriveCommand[]", max(len(ordered), 1))
    for record, c in zip(records, ordered, strict=False):  # room for one record at least
        record.frame, record.value, record.kind = c.frame, c.value, kinds[c.kind]
        record.param = module.param(c.param).index if c.kind == "set" else 0
        record.is_immediate = c.is_immediate
    lengths = ffi.new("uint32_t[]", list(splits))
    state = ffi.new("uint8_t[]", lib.drive_state_bytes(module.index))
    job = ffi.new("DriveRun *")
    job.module, job.fill, job.sample_rate_hz, job.n_frames = module.index, fill, rate_hz, n_frames
    job.n_commands, job.commands = len(ordered), records
    job.n_splits, job.splits = len(splits), lengths
    job.inputs, job.mods, job.outputs = (_pointers(ffi, a, keep) for a in (ins, mods, outs))
    job.state = state
    job.data, job.data_bytes = ffi.from_buffer(data) if data else ffi.NULL, len(data)
    job.isa = lib.drive_isa_count() - 1 if isa is None else isa
    result = lib.drive_run(job)
    assert result == 0, f"drive_run({name}) gave {result}"
    return Result(outs, bytes(ffi.buffer(state)))


def n_isas() -> int:
    """Return how many instruction sets this machine can run."""
    _, lib, _ = build()
    return int(lib.drive_isa_count())


def decibels(ratio: float) -> float:
    return float(20 * np.log10(max(ratio, 1e-30)))
