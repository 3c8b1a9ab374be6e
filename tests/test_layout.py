"""What Python sees of the C core is what the compiler made of it; memory that is not known is refused."""

from __future__ import annotations

import itertools
import mmap
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import memory
import pytest
from pyengine._core import ffi, lib

from pyengine import _native, specs

ROOT = Path(__file__).resolve().parents[1]
API = (ROOT / "csrc" / "api.h").read_text(encoding="utf-8")
STRUCTS = re.findall(r"^typedef struct (\w+) \{", API, re.MULTILINE)


def constants(prefix: str) -> dict[str, int]:
    """Return the integer constants of api.h that begin with a prefix, without it, in their order."""
    found = re.findall(rf"^#define {prefix}(\w+) ", API, re.MULTILINE)
    return {name: getattr(lib, prefix + name) for name in found}


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> dict[str, int]:
    """Size of every struct and offset of every field, as the C compiler has them."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("there is no C compiler on this machine")
    folder = tmp_path_factory.mktemp("layout")
    lines = [f'  printf("{name} %zu\\n", sizeof({name}));' for name in STRUCTS]
    for name in STRUCTS:
        for field, _ in ffi.typeof(name).fields:
            lines.append(f'  printf("{name}.{field} %zu\\n", offsetof({name}, {field}));')
    source = folder / "layout.c"
    source.write_text('#include <stdio.h>\n#include "pe.h"\nint main(void) {\n' + "\n".join(lines) + "\n}\n")
    command = [compiler, "-std=c11", f"-I{ROOT / 'csrc'}", str(source), "-o", str(folder / "layout")]
    subprocess.run(command, check=True)
    out = subprocess.run([str(folder / "layout")], check=True, capture_output=True, text=True).stdout
    return {key: int(number) for key, number in (line.split() for line in out.splitlines())}


def test_every_plain_struct_is_found() -> None:
    assert {"PeCommand", "PeConfig", "PeEvent", "PeCheckpointInfo", "PeParam", "PePlanSpec"} <= set(STRUCTS)


@pytest.mark.parametrize("name", STRUCTS)
def test_a_struct_has_one_layout_for_python_and_for_the_compiler(name: str, compiled: dict[str, int]) -> None:
    assert ffi.sizeof(name) == compiled[name]
    for field, _ in ffi.typeof(name).fields:
        assert ffi.offsetof(name, field) == compiled[f"{name}.{field}"], field


@pytest.mark.parametrize("name", ["PeCommand", "PeEvent", "PeConfig", "PeCheckpointInfo"])
def test_a_struct_that_leaves_the_process_has_no_padding(name: str) -> None:
    at = 0
    for field, info in ffi.typeof(name).fields:
        assert info.offset == at, field
        at += ffi.sizeof(info.type)
    assert at == ffi.sizeof(name)


def test_param_flags_of_python_are_those_of_c() -> None:
    flags = constants("PE_PARAM_")
    assert flags == {
        "RAMPED": specs._RAMPED,
        "NYQUIST": specs._NYQUIST,
        "GATE": specs._GATE,
        "INTEGER": specs._INTEGER,
        "CABLE": specs._CABLE,
        "EVENT": specs._EVENT,
        "TUNES": specs._TUNES,
    }
    assert all(a & b == 0 for a, b in itertools.combinations(flags.values(), 2))


@pytest.mark.parametrize(
    ("prefix", "names"),
    [("PE_COUNT_", _native.COUNTER_NAMES), ("PE_SLOT_COUNT_", _native.SLOT_COUNTER_NAMES)],
)
def test_counters_are_named_in_the_order_of_c(prefix: str, names: tuple[str, ...]) -> None:
    in_c = constants(prefix)
    assert list(in_c.values()) == list(range(len(names)))
    assert [name for name, c in zip(names, in_c, strict=True) if not name.startswith(c.lower())] == []
    assert len(names) <= (lib.PE_SLOT_COUNTERS if "SLOT" in prefix else lib.PE_COUNTERS)


def test_every_event_has_the_name_it_has_in_c() -> None:
    kinds = {name: value for name, value in constants("PE_EVENT_").items() if name != "SOURCES"}
    assert {value: name.lower().replace("_", " ") for name, value in kinds.items()} == _native.EVENT_NAMES


def test_every_seat_and_the_callback_have_a_source_of_events_and_every_slot_a_seat_besides_a_spare() -> None:
    assert lib.PE_EVENT_SOURCES == _native.N_SEATS + 1 == _native.CALLBACK + 1
    assert lib.PE_SLOTS < _native.N_SEATS
    assert lib.PE_HEARD_DECLICKED > lib.PE_NO_SLOT  # the slot and the flag share a number


def test_the_offsets_that_tests_read_from_the_header_are_those_of_the_layout() -> None:
    segment = _native.Segment.create(_native.Config(n_commands=8192, n_journal=1024, tap_frames=64))
    assert segment.send([_native.Record(7, 3, 0.5, frame=1234)]) == 1
    record = ffi.from_buffer("PeCommand *", memoryview(segment._memory)[memory.record_at(segment, 1) :], True)
    assert (record.seq, record.frame, record.handle, record.param, record.value) == (1, 1234, 7, 3, 0.5)
    ats = [place.at for seat in range(_native.N_SEATS) for place in memory.checkpoint_places(segment, seat)]
    n_bytes = memory.HEAD_BYTES + memory.SCHEDULE_BYTES + segment.config.checkpoint_bytes
    assert [b - a for a, b in itertools.pairwise(ats)] == [n_bytes] * (len(ats) - 1)
    assert ats[-1] + n_bytes == len(segment._memory)
    assert memory.head_at(segment, 0, 0) < memory.block_at(segment, 0, 0) < memory.head_at(segment, 1, 0)
    assert memory.journal_at(segment) == memory.record_at(segment, 0) + 8192 * 64


def test_every_status_has_a_sentence_of_its_own_without_a_period() -> None:
    sentences = [_native.strerror(status) for status in range(lib.PE_STATUS_COUNT)]
    assert len(set(sentences)) == lib.PE_STATUS_COUNT
    assert _native.strerror(lib.PE_STATUS_COUNT) == "unknown status" not in sentences
    assert [text for text in sentences if not text or text.endswith(".")] == []


# ---- attaching ---------------------------------------------------------------------------------------


def segment_memory(**numbers: Any) -> tuple[mmap.mmap, Any, int]:
    """Return a laid-out segment: its memory, a pointer to it, its size."""
    small = {"n_commands": 8192, "n_journal": 1024, "tap_frames": 64, "checkpoint_bytes": 64} | numbers
    config = _native._native_config(_native.Config(**small))
    n_bytes = lib.pe_segment_bytes(config)
    raw = mmap.mmap(-1, n_bytes)
    pointer = ffi.from_buffer("char[]", raw)
    assert lib.pe_segment_init(pointer, n_bytes, config) == lib.PE_OK
    return raw, pointer, n_bytes


def attach(pointer: Any, n_bytes: int) -> int:
    out = ffi.new("PeSegment **")
    status = int(lib.pe_segment_attach(pointer, n_bytes, out))
    assert (out[0] == ffi.NULL) == (status != lib.PE_OK)
    return status


def test_attaching_to_what_was_laid_out_gives_the_same_config() -> None:
    raw, pointer, n_bytes = segment_memory(block_frames=96, n_channels=3)
    out, config = ffi.new("PeSegment **"), ffi.new("PeConfig *")
    assert lib.pe_segment_attach(pointer, n_bytes, out) == lib.PE_OK
    lib.pe_segment_config(out[0], config)
    assert (config.block_frames, config.n_channels, config.n_journal) == (96, 3, 1024)


@pytest.mark.parametrize(
    ("at", "status"),
    [
        (0, "PE_BAD_MAGIC"),
        (7, "PE_BAD_MAGIC"),
        (8, "PE_BAD_VERSION"),
        (11, "PE_BAD_VERSION"),
        (16, "PE_BAD_SIZE"),
        (22, "PE_BAD_SIZE"),
    ],
)
def test_attaching_refuses_another_magic_version_or_size(at: int, status: str) -> None:
    raw, pointer, n_bytes = segment_memory()
    raw[at] ^= 0x41
    assert attach(pointer, n_bytes) == getattr(lib, status)
    raw[at] ^= 0x41
    assert attach(pointer, n_bytes) == lib.PE_OK


@pytest.mark.parametrize("missing", [1, 64, 4096, 1 << 16])
def test_attaching_refuses_memory_that_was_cut_short(missing: int) -> None:
    raw, pointer, n_bytes = segment_memory()
    assert attach(pointer, n_bytes - missing) == lib.PE_BAD_SIZE


def test_attaching_refuses_scraps_blanks_and_unaligned_memory() -> None:
    raw, pointer, n_bytes = segment_memory()
    blank = ffi.from_buffer("char[]", mmap.mmap(-1, n_bytes))
    assert attach(blank, n_bytes) == lib.PE_BAD_MAGIC
    assert attach(pointer, 32) == lib.PE_BAD_SIZE
    assert attach(pointer + 8, n_bytes - 8) == lib.PE_BAD_ARGUMENT
    assert attach(ffi.NULL, n_bytes) == lib.PE_BAD_ARGUMENT


def test_attaching_refuses_a_config_that_does_not_make_this_layout() -> None:
    raw, pointer, n_bytes = segment_memory(block_frames=64)
    at = raw.find((64).to_bytes(4, "little") + (2).to_bytes(4, "little") + (2).to_bytes(4, "little"))
    assert 0 < at < 256
    raw[at : at + 4] = (65).to_bytes(4, "little")
    assert attach(pointer, n_bytes) == lib.PE_BAD_SIZE


@pytest.mark.parametrize(
    "numbers",
    [
        {"sample_rate_hz": 999.0},
        {"sample_rate_hz": float("nan")},
        {"block_frames": 0},
        {"block_frames": 8193},
        {"n_channels": 0},
        {"n_channels": 9},
        {"lead_blocks": 0},
        {"lead_blocks": 9},
        {"n_commands": 4096},
        {"n_commands": 8193},
        {"n_journal": 1000},
        {"n_journal": 1024, "block_frames": 1},  # shorter than the rings: a slot would lap the other
        {"tap_frames": 0},
        {"tap_frames": 100},
        {"checkpoint_bytes": (1 << 30) + 1},
    ],
    ids=str,
)
def test_a_config_with_a_number_outside_its_range_has_no_layout(numbers: dict[str, Any]) -> None:
    assert lib.pe_segment_bytes(_native._native_config(_native.Config(**numbers))) == 0
