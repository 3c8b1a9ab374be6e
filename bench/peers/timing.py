"""ns per voice-sample of two systems in turn, in CPU time of one process each."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from pathlib import Path

from peers.voices import BLOCK_FRAMES, RATE_HZ, Misbehaved, Peer

ROUNDS, FEWEST_ROUNDS = 5, 3
SPAN_CPU_S = 0.2  # so much of it per round that a few ms of other things do not matter
UNIT_S = 96 * BLOCK_FRAMES / RATE_HZ  # all lengths are so many whole blocks
SHORT_S = 2 * UNIT_S
LONGEST_S = 4000
TEST_S = 15.0  # after so long no more than FEWEST_ROUNDS


@dataclass(frozen=True, slots=True)
class Pair:
    """Medians over the rounds; ratio is the median of peer / ours of each round."""

    ours_ns: float
    peer_ns: float
    ratio: float
    n_rounds: int
    spread: tuple[float, float]
    """The smallest and largest ratio."""


def _cpu_s(peer: Peer, n_voices: int, seconds: float, folder: Path) -> float:
    """Return the CPU time that so many seconds of sound take, without the start-up."""
    if not peer.is_start_up_timed:
        return peer.render(n_voices, seconds, folder, is_kept=False)[1]
    long = peer.render(n_voices, SHORT_S + seconds, folder, is_kept=False)[1]
    return long - peer.render(n_voices, SHORT_S, folder, is_kept=False)[1]


def span_s(peer: Peer, n_voices: int, folder: Path) -> float:
    """Return how many seconds of sound take about SPAN_CPU_S. Raises Misbehaved if none seem to."""
    n_units = max(1, round(256 / n_voices))
    while (cpu_s := _cpu_s(peer, n_voices, n_units * UNIT_S, folder)) < SPAN_CPU_S / 8:
        n_units *= 8
        if n_units * UNIT_S > LONGEST_S:
            raise Misbehaved(
                f"{n_units * UNIT_S:.0f} s of sound took it {1e3 * cpu_s:.1f} ms: it cannot have rendered them"
            )
    return max(1, round(n_units * SPAN_CPU_S / cpu_s)) * UNIT_S


def ns_per_voice_sample(peer: Peer, n_voices: int, seconds: float, folder: Path) -> float:
    return 1e9 * _cpu_s(peer, n_voices, seconds, folder) / (seconds * RATE_HZ * n_voices)


def compare(ours: Peer, peer: Peer, n_voices: int, folder: Path) -> Pair:
    """Return what both cost, measured in turn; fewer rounds where they take long."""
    spans = [span_s(system, n_voices, folder) for system in (ours, peer)]
    costs: list[tuple[float, float]] = []
    until = time.monotonic() + TEST_S
    while len(costs) < FEWEST_ROUNDS or (len(costs) < ROUNDS and time.monotonic() < until):
        mine = ns_per_voice_sample(ours, n_voices, spans[0], folder)
        costs.append((mine, ns_per_voice_sample(peer, n_voices, spans[1], folder)))
    if min(min(cost) for cost in costs) <= 0:
        raise Misbehaved("a longer sound took it less time than a shorter one")
    ratios = [theirs / mine for mine, theirs in costs]
    ours_ns, peer_ns = (statistics.median(column) for column in zip(*costs, strict=True))
    return Pair(ours_ns, peer_ns, statistics.median(ratios), len(costs), (min(ratios), max(ratios)))
