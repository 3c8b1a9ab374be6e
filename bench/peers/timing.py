"""ns per voice-sample of two systems in turn, in CPU time of one process each."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from pathlib import Path

from peers.voices import RATE_HZ, Misbehaved, Peer

ROUNDS = 7
SPAN_CPU_S = 0.3  # so much of it per round that a few ms of other things do not matter
LONGEST_S = 4000
TEST_CPU_S = 20.0


@dataclass(frozen=True, slots=True)
class Pair:
    """Medians over the rounds; ratio is the median of peer / ours of each round."""

    ours_ns: float
    peer_ns: float
    ratio: float
    n_rounds: int
    spread: tuple[float, float]
    """The smallest and largest ratio."""


def _cpu_s(peer: Peer, n_voices: int, seconds: int, folder: Path) -> float:
    """Return the CPU time that so many seconds of sound take, without the start-up."""
    if not peer.is_start_up_timed:
        return peer.render(n_voices, seconds, folder, is_kept=False)[1]
    long = peer.render(n_voices, 1 + seconds, folder, is_kept=False)[1]
    return long - peer.render(n_voices, 1, folder, is_kept=False)[1]


def span_s(peer: Peer, n_voices: int, folder: Path) -> int:
    """Return how many seconds of sound take about SPAN_CPU_S. Raises Misbehaved if none seem to."""
    seconds = max(1, round(64 / n_voices))
    while (cpu_s := _cpu_s(peer, n_voices, seconds, folder)) < SPAN_CPU_S / 8:
        seconds *= 8
        if seconds > LONGEST_S:
            raise Misbehaved(f"{seconds} s of sound took it {1e3 * cpu_s:.1f} ms: it cannot have rendered them")
    return max(1, round(seconds * SPAN_CPU_S / cpu_s))


def ns_per_voice_sample(peer: Peer, n_voices: int, seconds: int, folder: Path) -> float:
    return 1e9 * _cpu_s(peer, n_voices, seconds, folder) / (seconds * RATE_HZ * n_voices)


def compare(ours: Peer, peer: Peer, n_voices: int, folder: Path) -> Pair:
    """Return what both cost, measured in turn; fewer rounds where one of them takes long."""
    spans = {system: span_s(system, n_voices, folder) for system in (ours, peer)}
    one_s = sum(_cpu_s(system, n_voices, span, folder) for system, span in spans.items())
    n_rounds = max(3, min(ROUNDS, int(TEST_CPU_S / one_s)))
    costs: list[tuple[float, float]] = []
    for _ in range(n_rounds):
        mine = ns_per_voice_sample(ours, n_voices, spans[ours], folder)
        costs.append((mine, ns_per_voice_sample(peer, n_voices, spans[peer], folder)))
    if min(min(cost) for cost in costs) <= 0:
        raise Misbehaved("a longer sound took it less time than a shorter one")
    ratios = [theirs / mine for mine, theirs in costs]
    ours_ns, peer_ns = (statistics.median(column) for column in zip(*costs, strict=True))
    return Pair(ours_ns, peer_ns, statistics.median(ratios), n_rounds, (min(ratios), max(ratios)))
