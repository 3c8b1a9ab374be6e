"""What a plan costs beside its modules: per node, for ten thousand nodes, and while two plans fade."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from figures import Figures, at_most
from machine import ROOT, flags
from references import RATE_HZ, three_modules
from voices import BLOCK_FRAMES, Bank, frames_for, reference, voices_patch

from pyengine import _native
from pyengine.patch import Patch
from pyengine.plan import new_plan, prime

NODE_TARGETS = {"nothing_ns_per_node_block": at_most(10), "params_ns_per_node_block": at_most(10)}
N_VOICES = 3333  # and a sine: ten thousand nodes


@pytest.fixture(scope="module")
def nothing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return bench/nothing.c as a shared object."""
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None:
        pytest.skip("no C compiler; Debian: apt install gcc")
    path = tmp_path_factory.mktemp("nothing") / "nothing.so"
    command = [compiler, *flags().replace("-fvisibility=hidden", "").split(), "-fPIC", "-shared", f"-I{ROOT / 'csrc'}"]
    subprocess.run([*command, str(ROOT / "bench" / "nothing.c"), "-o", str(path)], check=True)
    return path


@pytest.mark.parametrize("n", [64, 1024, 8192])
def test_nodes(n: int, nothing: Path, figures: Figures) -> None:
    """A chain of nodes that do nothing: what is left is the plan. params: the nodes have four parameters, at rest."""
    command = [sys.executable, str(ROOT / "bench" / "nodes.py"), str(n)]
    environment = {**os.environ, "PYENGINE_MODULES": str(nothing)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = {type.removeprefix("bench_"): ns[str(n)] for type, ns in json.loads(done.stdout).items()}
    told = ", ".join(f"{name} {ns:.2f} ns" for name, ns in found.items())
    figures(
        f"plan     {n:5} nodes that do nothing, per node and block: {told}",
        **{f"{name}_ns_per_node_block": ns for name, ns in found.items()},
    )
    figures.want(NODE_TARGETS)


def test_ten_thousand_nodes(figures: Figures) -> None:
    """3333 voices and a sine, compared with float64, then timed."""
    patch = voices_patch(N_VOICES).create("one_more", "simple_sine")
    assert len(patch.nodes) == 10_000
    with Bank(patch) as bank:
        n_frames = 4800
        tone = 0.2 * np.sin(2 * np.pi * 440.0 * np.arange(n_frames) / RATE_HZ)
        error = float(np.abs(bank.render(n_frames) - reference(N_VOICES, n_frames) - tone).max())
        assert error < 2e-6 * N_VOICES, f"ten thousand nodes are off by {error:g}: not worth timing"
        block_ns = bank.block_ns(frames_for(N_VOICES))
        state_bytes, build_ms = bank.plan.state_bytes, bank.build_ms
    share = 100 * block_ns / (1e9 * BLOCK_FRAMES / RATE_HZ)
    figures(
        f"plan     10000 nodes: {block_ns / 1e3:.0f} us per block, {share:.0f} % of the period; plan made in "
        f"{build_ms:.1f} ms; largest error {error:.2g}",
        us_per_block=block_ns / 1e3,
        period_percent=share,
        ns_per_node_sample=block_ns / 10_000 / BLOCK_FRAMES,
        plan_made_ms=build_ms,
        state_bytes=state_bytes,
    )


def primed(patch: Patch) -> _native.Plan:
    plan = new_plan(patch, sample_rate_hz=RATE_HZ, max_block_frames=BLOCK_FRAMES, n_channels=1)
    prime(plan, patch, patch.ops(), RATE_HZ)
    return plan


def two_runs(patch: Patch, n_frames: int) -> tuple[_native.Replay, _native.Replay]:
    """Two runs of one patch; the second turns to another plan of it and fades for the whole of n_frames."""
    plain, fading = _native.Replay(primed(patch), 1), _native.Replay(primed(patch), 1)
    for run in (plain, fading):
        run.render(0, 4800)
    fading.turn(primed(patch), 2, n_frames)
    return plain, fading


@pytest.mark.parametrize("n", [1, 64])
def test_crossfade(n: int, figures: Figures) -> None:
    """Blocks in which one plan fades to another of the same size, against blocks of the first one alone; in turn."""
    patch, n_frames = three_modules() if n == 1 else voices_patch(n), max(9600, frames_for(n) // 4)
    plain, fading = two_runs(patch, n_frames)
    heard = []
    for run in (plain, fading):
        out, samples = _native.ReplayOut(RATE_HZ, 1), np.zeros((n_frames, 1), np.float32)
        out.play(run, 4800, n_frames, samples)
        heard.append(samples)
        run.close()
    assert heard[0].any()
    error = float(np.abs(heard[1] - heard[0]).max())
    assert error < 1e-6 * n, f"a fade to the same patch is heard, by {error:g}: not worth timing"
    took: tuple[list[float], list[float]] = ([], [])
    for _ in range(15):
        for run, times in zip(two_runs(patch, n_frames), took, strict=True):
            start = time.thread_time_ns()
            run.render(4800, n_frames)
            times.append((time.thread_time_ns() - start) * BLOCK_FRAMES / n_frames / 1e3)
            run.close()
    alone, both = (statistics.median(times) for times in took)
    figures(
        f"plan     crossfade, {n:2} voices: {both:.2f} us per block while it lasts, {alone:.2f} without; "
        f"{both / alone:.2f} x",
        fading_us_per_block=both,
        plain_us_per_block=alone,
        fading_over_plain_ratio=both / alone,
    )
