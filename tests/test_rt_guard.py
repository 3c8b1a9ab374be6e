"""An engine under tests/c/rt_guard.c: render and audio threads do not allocate, lock or call the system."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from modules import shared_object, test_modules_path

ROOT = Path(__file__).resolve().parents[1]
EXIT_CODE = 97  # of rt_guard.c

# The real-time clock, commits with crossfades, joins, checkpoints and their hashes, commands, time tags, the tap.
BUSY_SECONDS = """
import time
from pyengine import Patch
from pyengine._native import Record
from rig import Rig

def voices(n):
    patch = Patch()
    for i in range(n):
        patch.create(f"osc{i}", "simple_sine").create(f"env{i}", "adsr").create(f"filt{i}", "biquad_filter")
        patch.connect(f"osc{i}", f"env{i}").connect(f"env{i}", f"filt{i}")
    return patch

with Rig(device="none", checkpoint_blocks=16) as rig:
    rig.segment.set_keeper(0, True)
    rig.record()
    end = time.monotonic() + 2.0
    frames = n = 0
    while time.monotonic() < end:
        patch = voices(1 + n % 4)
        rig.commit(patch, fade_frames=240)
        now = rig.segment.play_block * 64
        records = [Record(node.handle, 0, 100.0 + n) for node in patch.nodes.values()]
        records += [Record(node.handle, 1, 0.5, frame=now + 500 + n) for node in patch.nodes.values()]
        assert rig.segment.send(records)
        rig.advance(2000)
        frames += len(rig.read_tap())
        n += 1
    counters = rig.counters()
    assert counters["swaps"] == n >= 5 and frames > 48000, (n, frames, counters)
    assert counters["frames_requested"] == counters["frames_delivered"] + counters["frames_underrun"]
    assert sum(rig.segment.slot_counters(slot)["checkpoints"] for slot in (0, 1)) > n
    rig.workers[1].park(60_000)
    rig.drain()
    assert {"checkpoint", "hash", "heard", "faded", "replica"} <= {event.kind for event in rig.events}
print("done")
"""

ONE_COMMIT = """
from pyengine import Patch
from rig import Rig

with Rig(device="none") as rig:
    rig.commit(Patch().create("one", {module!r}))
    rig.advance(480)
print("done")
"""


def run_guarded(script: str, **environment: str) -> subprocess.CompletedProcess[str]:
    if not sys.platform.startswith("linux"):
        pytest.skip("the guard needs seccomp, which only Linux has")
    paths = {
        "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}",
        "LD_PRELOAD": str(shared_object("rt_guard")),
    }
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | paths | environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    if done.returncode == EXIT_CODE + 2:
        pytest.skip(done.stderr.strip())
    return done


def test_render_and_audio_threads_do_not_allocate_lock_or_call_the_system() -> None:
    done = run_guarded(BUSY_SECONDS)
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr
    assert "rt_guard: 3 threads guarded" in done.stderr


def test_the_guard_lets_a_test_module_pass_that_does_nothing_forbidden() -> None:
    done = run_guarded(ONE_COMMIT.format(module="test_slow"), PYENGINE_MODULES=test_modules_path())
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr


@pytest.mark.parametrize(
    ("module", "message"),
    [
        ("test_malloc", "rt_guard: thread pe-render called malloc"),
        ("test_open_file", "rt_guard: thread pe-render called open, system call "),
    ],
)
def test_the_guard_catches_a_module_that_does(module: str, message: str) -> None:
    done = run_guarded(ONE_COMMIT.format(module=module), PYENGINE_MODULES=test_modules_path())
    assert done.returncode == EXIT_CODE
    assert message in done.stderr
