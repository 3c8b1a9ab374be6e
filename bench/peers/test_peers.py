"""The same voices on pyengine and on every peer that is installed, in turn in one run: `make peers`.

See bench/peers/README.md for how each is driven and what can be compared.
"""

from __future__ import annotations

import importlib
import pkgutil
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import peers
from peers.check import CHECKED_S, faults
from peers.ours import OURS
from peers.timing import compare, ns_per_voice_sample, span_s
from peers.voices import Misbehaved, Peer
from pyengine import _native

Tell = Callable[[str], None]
SIZES = (1, 64, 1024)
IS_WIDE = _native.isa_name() == "avx512"
TARGETS = {
    "scsynth": {1: 3.0, 64: 6.0 if IS_WIDE else 3.0, 1024: 6.0 if IS_WIDE else 3.0}
}  # peer to pyengine, at least


def found() -> list[Peer]:
    """Return every PEER and all PEERS of this folder's modules."""
    names = sorted(m.name for m in pkgutil.iter_modules(peers.__path__) if not m.name.startswith("test_"))
    modules = [importlib.import_module(f"peers.{name}") for name in names]
    return [peer for m in modules for peer in (*getattr(m, "PEERS", ()), *([m.PEER] if hasattr(m, "PEER") else ()))]


def what_is_wrong(system: Peer, n_voices: int, folder: Path) -> str | None:
    """Return how a render differs from the work, or None."""
    try:
        samples, _ = system.render(n_voices, CHECKED_S, folder, is_kept=True)
    except Misbehaved as error:
        return str(error)
    assert samples is not None
    return faults(samples, n_voices)


@pytest.mark.parametrize("n_voices", SIZES)
@pytest.mark.parametrize("peer", found(), ids=lambda peer: peer.name)
def test_peer(peer: Peer, n_voices: int, tmp_path: Path, benchmark: Any, tell: Tell) -> None:
    def skip(why: str) -> None:
        tell(f"peers    {n_voices:5} voices  {peer.name:22}: not counted: {why}")
        pytest.skip(f"{peer.name}: {why}")

    if why := peer.why_missing():
        skip(why)
    assert (wrong := what_is_wrong(OURS, n_voices, tmp_path)) is None, wrong
    if wrong := what_is_wrong(peer, n_voices, tmp_path):
        skip(wrong)
    try:
        pair = benchmark.pedantic(compare, args=(OURS, peer, n_voices, tmp_path), rounds=1)
    except Misbehaved as error:
        skip(str(error))
    low, high = pair.spread
    benchmark.extra_info.update(peer=peer.name, version=peer.version(), how=peer.how)
    benchmark.extra_info["figures"] = {
        "voices": n_voices,
        "pyengine_ns_per_voice_sample": pair.ours_ns,
        "peer_ns_per_voice_sample": pair.peer_ns,
        "peer_to_pyengine": pair.ratio,
        "smallest_ratio": low,
        "largest_ratio": high,
    }
    if peer.name in TARGETS:
        benchmark.extra_info["targets"] = {"peer_to_pyengine": {"at_least": TARGETS[peer.name][n_voices]}}
    tell(
        f"peers    {n_voices:5} voices  {peer.name:22}: {pair.peer_ns:7.2f} ns per voice-sample, pyengine "
        f"{pair.ours_ns:6.2f}: ratio {pair.ratio:6.2f} ({low:.2f} to {high:.2f} in {pair.n_rounds} rounds); "
        f"{peer.version()}: {peer.how}"
    )


@pytest.mark.parametrize("n_voices", [1, 16, 64, 256, 1024, 4096])
def test_pyengine_alone(n_voices: int, tmp_path: Path, benchmark: Any, tell: Tell) -> None:
    """What the number of voices does to the cost of one."""
    assert (wrong := what_is_wrong(OURS, n_voices, tmp_path)) is None, wrong
    seconds, costs = span_s(OURS, n_voices, tmp_path), []
    benchmark.pedantic(lambda: costs.append(ns_per_voice_sample(OURS, n_voices, seconds, tmp_path)), rounds=5)
    median = statistics.median(costs)
    benchmark.extra_info["figures"] = {"voices": n_voices, "pyengine_ns_per_voice_sample": median}
    tell(f"voices   {n_voices:5} voices  pyengine: {median:6.2f} ns per voice-sample (worst {max(costs):.2f})")
