"""The C core under sanitizers: tests/c/*_stress.c, compiled with clang."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import built
import pytest

ROOT = Path(__file__).resolve().parents[1]
CSRC = ROOT / "csrc"
FLAGS = ["-std=c11", "-g1", "-O1", "-ffp-contract=off", "-fno-omit-frame-pointer", f"-I{CSRC}"]
SANITIZERS = {
    "thread": ["-fsanitize=thread"],
    "memory": ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"],
    "none": [],
}
WARNINGS = ["-Wall", "-Wextra", "-Wconversion", "-Werror"]
FAILING = ["-Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc,--wrap=aligned_alloc"]
SKIPPED = 77  # exit code of a program that says why on stderr
LIBRARIES = ["-lpthread", "-ldl", "-lm"]


# Who reads what may be written anew at this moment, and throws it away when the stamp says so: the callback's copy of
# a block that a successor of another generation writes, and the checkpoints of a worker that is alive.
THROWN_AWAY = ("copy_block", "newest_of", "pe_checkpoint_latest", "pe_checkpoint_load")


def run(*command: str | Path, timeout_s: float = 1200, **more: str) -> str:
    """Return stdout and stderr of a command that must succeed, or skip (exit code 77).

    The limit is for one that hangs: a busy machine does not come near it.
    """
    environment = os.environ | {
        "TSAN_OPTIONS": "halt_on_error=1 exitcode=66",
        "ASAN_OPTIONS": "detect_leaks=1 exitcode=66",
        "UBSAN_OPTIONS": "print_stacktrace=1",
    }
    environment |= more
    done = subprocess.run(
        [str(word) for word in command],
        capture_output=True,
        text=True,
        timeout=timeout_s,
        env=environment,
    )
    if done.returncode == SKIPPED:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, f"{command[0]} ended with {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr


class Builds:
    """Programs by name and sanitizer, each made when it is first asked for (built.py)."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._able: set[str] = set()  # sanitizers that work here

    def program(self, name: str, sanitizer: str, *extra: str) -> Path:
        self._require(sanitizer)
        compiler = self._compiler(sanitizer)
        source = ROOT / "tests" / "c" / f"{name}.c"
        flags = [*FLAGS, *SANITIZERS[sanitizer]] if SANITIZERS[sanitizer] else built.STRICT  # as it is shipped
        core = built.objects(compiler, flags, sorted(CSRC.rglob("*.c"))).values()
        command = [compiler, *flags, "-D_GNU_SOURCE", *WARNINGS, *extra, str(source), *map(str, core), *LIBRARIES]

        def link(folder: Path) -> None:
            run(*command, "-o", folder / name)

        return built.made(f"{name}_{sanitizer}", [built.version(compiler), *command], link) / name

    def _compiler(self, sanitizer: str) -> str:
        names = ("clang",) if sanitizer != "none" else ("cc", "gcc", "clang")
        found = next(filter(None, map(shutil.which, names)), None)
        if found is None:
            pytest.skip(f"there is no {' or '.join(names)} on this machine")
        return found

    def _require(self, sanitizer: str) -> None:
        if sanitizer in self._able:
            return
        probe = self._folder / f"probe_{sanitizer}"
        source = probe.with_suffix(".c")
        source.write_text("int main(void) { return 0; }\n")
        command = [self._compiler(sanitizer), *SANITIZERS[sanitizer], str(source), "-o", str(probe)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode == 0:
            done = subprocess.run([str(probe)], capture_output=True, text=True)
        if done.returncode != 0:
            pytest.skip(f"the {sanitizer} sanitizer does not work here: {done.stderr.strip()[-200:]}")
        self._able.add(sanitizer)


@pytest.fixture(scope="session")
def builds(tmp_path_factory: pytest.TempPathFactory) -> Builds:
    return Builds(tmp_path_factory.mktemp("stress"))


def test_the_ring_hands_over_every_block_whole_between_two_threads(builds: Builds) -> None:
    run(builds.program("ring_stress", "thread"))


def test_the_ring_hands_over_every_block_whole_between_two_processes(builds: Builds) -> None:
    run(builds.program("ring_stress", "none"), "fork")


def test_both_slots_obey_one_decision_per_block_and_no_bundle_is_cut(builds: Builds) -> None:
    run(builds.program("journal_stress", "thread"))


@pytest.mark.parametrize("sanitizer", ["thread", "memory"])
def test_200_commits_and_joins_under_load_lose_no_frame_and_race_nowhere(builds: Builds, sanitizer: str) -> None:
    assert "swaps=200 " in run(builds.program("engine_stress", sanitizer), "200")


def test_200_commits_on_the_free_running_clock_lose_no_frame_and_race_nowhere(builds: Builds) -> None:
    out = run(builds.program("engine_stress", "thread"), "200", "clock")
    assert "underrun=0 swaps=200 " in out


@pytest.mark.parametrize("sanitizer", ["none", "memory"])
@pytest.mark.parametrize("seed", ["1", "2"])
def test_workers_die_at_random_and_every_block_heard_has_the_bits_of_one_undisturbed_run(
    builds: Builds, sanitizer: str, seed: str
) -> None:
    assert "commits=150 " in run(builds.program("death_stress", sanitizer), "150", seed)


def test_workers_die_at_random_and_nothing_races_but_what_its_reader_throws_away(
    builds: Builds, tmp_path: Path
) -> None:
    if not any(map(shutil.which, ("llvm-symbolizer", "addr2line"))):
        pytest.skip("there is no llvm-symbolizer here to tell functions by name")
    names = tmp_path / "thrown_away"
    names.write_text("".join(f"race:{name}\n" for name in THROWN_AWAY))
    options = f"halt_on_error=1 exitcode=66 suppressions={names}"
    assert "commits=100 " in run(builds.program("death_stress", "thread"), "100", TSAN_OPTIONS=options)


def test_the_output_has_one_caller_while_devices_come_and_go(builds: Builds) -> None:
    run(builds.program("port_stress", "thread"), "2000")


@pytest.mark.parametrize("sanitizer", ["thread", "memory"])
def test_the_inbox_loses_nothing_and_nothing_of_a_sender_is_overtaken_while_tables_change(
    builds: Builds, sanitizer: str
) -> None:
    assert "datagrams=60000 " in run(builds.program("inbox_stress", sanitizer), "20000")


@pytest.mark.parametrize("seed", ["1", "2", "3"])
def test_whatever_bytes_come_the_short_way_takes_only_what_is_sound(builds: Builds, seed: str) -> None:
    run(builds.program("wire_fuzz", "memory"), "300000", seed)


@pytest.mark.parametrize("sanitizer", ["thread", "memory"])
def test_the_timeline_keeps_jitter_out_and_follows_what_a_device_leaves_out(builds: Builds, sanitizer: str) -> None:
    run(builds.program("timeline_check", sanitizer))


@pytest.mark.parametrize("sanitizer", ["memory"])
def test_blocks_are_begun_well_before_they_are_due_whatever_sizes_lead_block_and_request_have(
    builds: Builds, sanitizer: str
) -> None:
    run(builds.program("pace_check", sanitizer))


def test_random_patches_render_to_the_same_bits_however_they_are_split(builds: Builds) -> None:
    run(builds.program("setup_stress", "memory", *FAILING), "plans", "300")


def test_every_allocation_of_the_setup_code_may_fail_and_nothing_leaks(builds: Builds) -> None:
    assert "pe_worker_join" in run(builds.program("setup_stress", "memory", *FAILING), "memory")


def test_death_after_any_instruction_leaves_the_old_or_the_new_whole_and_a_successor_goes_on(builds: Builds) -> None:
    if not sys.platform.startswith("linux"):
        pytest.skip("single steps are taken by ptrace as Linux has it")
    out = run(builds.program("step_kill", "none"))
    assert [line.split(":")[0] for line in out.splitlines()] == ["ring", "event", "checkpoint", "worker", "callback"]
