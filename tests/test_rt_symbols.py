"""The real-time files call nothing but a short list of functions; both compilers pass all of csrc."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import built
import pytest

CSRC = built.CSRC
SOURCES = sorted(CSRC.rglob("*.c"))
RT_SOURCES = [source for source in SOURCES if not source.stem.endswith("_setup")]
TABLES = {"dsp/registry.c"}  # data and no function

# What the real-time side may call: copies of memory, the clocks, and the wait and wake on a shared word.
# No libm, no malloc, no stdio, no pthread.
ALLOWED = {"memcpy", "memset", "memmove", "clock_gettime", "_GLOBAL_OFFSET_TABLE_", "__stack_chk_fail"}
DIVISION = {"__divmodti4", "__divti3", "__modti3"}  # of 128 bits, by the compiler itself
ALLOWED_IN = {
    "wake.c": {"syscall", "nanosleep"},  # futex: the one system call of the real-time side
    "dsp/clock.c": DIVISION,
    "dsp/seq.c": DIVISION,
    "clock.c": {"clock_nanosleep", "nanosleep"},  # the callback's own clock where there is no device
}


def name_of(source: Path) -> str:
    return source.relative_to(CSRC).as_posix()


def symbols(obj: Path) -> tuple[set[str], set[str]]:
    """Return (undefined, defined) symbols of an object file."""
    lines = subprocess.run(["nm", "-P", str(obj)], capture_output=True, text=True, check=True).stdout.splitlines()
    pairs = [line.split()[:2] for line in lines]
    return {name for name, kind in pairs if kind == "U"}, {name for name, kind in pairs if kind not in "Uw"}


@pytest.fixture(scope="session")
def objects() -> dict[str, Path]:
    compiler = built.c_compiler()
    if compiler is None or shutil.which("nm") is None:
        pytest.skip("there is no C compiler or no nm on this machine")
    found = built.objects(compiler, built.STRICT, SOURCES)
    return {name_of(source): found[source] for source in RT_SOURCES}


@pytest.mark.parametrize("name", [name_of(source) for source in RT_SOURCES])
def test_a_real_time_file_calls_only_what_is_on_the_short_list(name: str, objects: dict[str, Path]) -> None:
    undefined, _ = symbols(objects[name])
    allowed = ALLOWED | ALLOWED_IN.get(name, set())
    assert {symbol for symbol in undefined - allowed if not symbol.startswith("pe_")} == set()


def test_what_a_real_time_file_calls_of_our_own_is_in_a_real_time_file(objects: dict[str, Path]) -> None:
    pairs = {name: symbols(obj) for name, obj in objects.items()}
    defined = set().union(*(own for _, own in pairs.values()))
    missing = {name: sorted(s for s in used - defined if s.startswith("pe_")) for name, (used, _) in pairs.items()}
    assert {name: names for name, names in missing.items() if names} == {}


@pytest.mark.parametrize("name", sorted({name_of(source) for source in RT_SOURCES} - TABLES))
def test_a_real_time_file_says_so_at_its_head(name: str) -> None:
    head = (CSRC / name).read_text(encoding="utf-8").splitlines()[0]
    assert head.startswith("/* RT: no locks, no allocation, no ")


def test_a_setup_file_does_not_claim_to_be_real_time() -> None:
    setup = [source for source in SOURCES if source not in RT_SOURCES]
    assert [name_of(source) for source in setup if "/* RT:" in source.read_text(encoding="utf-8")] == []


def test_gcc_has_nothing_to_say_about_csrc() -> None:
    """Not even about what only an optimiser sees; the objects are those that other tests use."""
    if shutil.which("gcc") is None:
        pytest.skip("there is no gcc on this machine")
    assert set(built.objects("gcc", built.STRICT, SOURCES)) == set(SOURCES)


def test_clang_has_nothing_to_say_about_csrc() -> None:
    """All its warnings are made before it generates code."""
    if shutil.which("clang") is None:
        pytest.skip("there is no clang on this machine")
    done = subprocess.run(["clang", *built.STRICT, "-fsyntax-only", *map(str, SOURCES)], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_word_of_a_compiler_is_an_error_and_nothing_is_kept_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(built, "ROOT", tmp_path)
    monkeypatch.setattr(built, "STORE", tmp_path / "store")
    source = tmp_path / "a.c"
    for text, is_good in [("int f(double x) { return x; }\n", False), ("int f(int x) { return x; }\n", True)]:
        source.write_text(text)
        if is_good:
            assert built.objects("cc", built.STRICT, [source])[source].exists()
        else:
            with pytest.raises(subprocess.CalledProcessError) as failed:
                built.objects("cc", built.STRICT, [source])
            assert "conver" in failed.value.stderr


def test_no_source_turns_the_rules_of_floating_point_off() -> None:
    text = "".join(source.read_text(encoding="utf-8") for source in SOURCES)
    assert not re.search(r"fast-math|FP_CONTRACT\s+ON|float_control", text)
