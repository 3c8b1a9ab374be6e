"""What /engine/status tells: plain data."""

from __future__ import annotations

import time
from typing import Any

from pyengine import _native, listing
from pyengine.slots import Slot
from pyengine.supervisor import Supervisor


def status(supervisor: Supervisor, late_commands: int) -> dict[str, Any]:
    """Return what the engine is doing, with its counters, as plain data."""
    s, board = supervisor.segment, supervisor.board
    o, driver = board.options, supervisor.driver
    delay = supervisor.inbox.delay_frames
    mender, commits, time_base = supervisor.mender, supervisor.commits, supervisor.time_base
    return {
        "output": driver.description if driver else "not started",
        "output_kind": driver.kind if driver else "none",
        "output_latency_ms": round(1e3 * driver.latency_s, 3) if driver else 0.0,
        "output_is_alive": bool(driver and driver.is_alive),
        "output_switches": driver.switches if driver else 0,
        "is_realtime_clock": bool(driver and driver.is_realtime),
        "instruction_set": _native.isa_name(),
        "sample_rate": o.sample_rate_hz,
        "block_frames": o.block_frames,
        "lead_blocks": o.lead_blocks,
        "effective_lead_blocks": s.effective_lead,
        "largest_request_frames": s.largest_request,
        "uptime_s": round(time.monotonic() - board.started_s, 3),
        "frames": supervisor.frames,
        "play_block": s.play_block,
        "generation": s.heard_generation,
        "active_slot": s.active_slot,
        "standby": o.standby,
        "is_redundant": mender.is_redundant,
        "is_reserve_ready": supervisor.crew.is_reserve_ready,
        "slots": [_slot_status(supervisor, slot) for slot in board.slots],
        "nodes": len(board.desk.committed.nodes),
        "has_pending_edits": board.desk.has_edits,
        "undo_depth": board.desk.undo_depth,
        "commit": commits.phase,
        "commits": commits.done,
        "commits_refused": dict(commits.refused),
        "prime_warnings": commits.prime_warnings,
        "worker_deaths": supervisor.crew.deaths,
        **mender.status(),
        "commands_sent": s.newest,
        "commands_waiting": board.intake.n_waiting,
        "commands_lost": board.intake.lost,
        "commands_late": late_commands,
        "latency": "constant" if delay else "asap",
        "latency_frames": delay,
        "latency_ms": round(1e3 * delay / o.sample_rate_hz, 3),
        "stamps_raised": supervisor.inbox.counts()["stamps_raised"],
        "time_origin_frame": time_base.origin_frame if time_base else 0,
        "time_origin_s": time_base.origin_s if time_base else 0.0,
        "time_origin_latched_again": time_base.latched_again if time_base else 0,
        "counters": s.counters(),
        "recording": supervisor.recorder.status(),
        "session": supervisor.session.status(),
    }


LEVELS_S = 1.0  # how long levels are measured beyond each request
OUTPUT_S = 0.1


class Levels:
    """Has them measured while somebody asks."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self._since = 0  # block from which they have been measured

    def tell(self, first: int) -> dict[str, Any]:
        """Return the levels of the output and of modules, from the number `first` on. Raises CommandError."""
        segment, config = self._supervisor.segment, self._supervisor.segment.config
        block_s = config.block_frames / config.sample_rate_hz
        play = segment.play_block
        if segment.watched_until <= play:
            self._since = play
        segment.watch(max(segment.watched_until, play + segment.effective_lead + round(LEVELS_S / block_s) + 1))
        found, silent = segment.levels(), (0.0, 0.0)
        nodes = self._supervisor.desk.committed.nodes.values()
        rows = [{"id": n.id, "type": n.type} | _level(*found.get(n.handle, silent)) for n in nodes]
        output = [_level(*level) for level in segment.output_level(round(OUTPUT_S * config.sample_rate_hz))]
        told = {"output": output, "measured_s": round((play - self._since) * block_s, 6)}
        return listing.page("levels", rows, first) | told


def _level(peak: float, rms: float) -> dict[str, float]:
    return {"peak": float(f"{peak:.5g}"), "rms": float(f"{rms:.5g}")}


def _slot_status(supervisor: Supervisor, slot: Slot) -> dict[str, Any]:
    s, i = supervisor.segment, slot.index
    worker = supervisor.crew.workers[i]
    generation, is_ready = s.prime_ready(i)
    return {
        "state": slot.state.value,
        "pid": worker.pid if worker else None,
        "seat": s.seat(i),
        "generation": s.slot_generation(i),
        "render_head": s.render_head(i),
        "applied": s.applied(i),
        "heartbeat": s.heartbeat(i),
        "is_at_rest": s.slot_rests(i),
        "prime_ready": [generation, is_ready],
        **(worker.facts if worker else {}),
        "counters": s.slot_counters(i),
    }
