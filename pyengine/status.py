"""What /engine/status tells: plain data."""

from __future__ import annotations

import time
from typing import Any

from pyengine.slots import Slot
from pyengine.supervisor import Supervisor


def status(supervisor: Supervisor, late_commands: int) -> dict[str, Any]:
    """Return what the engine is doing, with its counters, as plain data."""
    s, o = supervisor.segment, supervisor.options
    driver = supervisor.driver
    return {
        "output": driver.description if driver else "not started",
        "output_kind": driver.kind if driver else "none",
        "output_latency_ms": round(1e3 * driver.latency_s, 3) if driver else 0.0,
        "output_is_alive": bool(driver and driver.is_alive),
        "is_realtime_clock": bool(driver and driver.is_realtime),
        "sample_rate": o.sample_rate_hz,
        "block_frames": o.block_frames,
        "lead_blocks": o.lead_blocks,
        "effective_lead_blocks": s.effective_lead,
        "largest_request_frames": s.largest_request,
        "uptime_s": round(time.monotonic() - supervisor.started_s, 3),
        "frames": supervisor.frames,
        "play_block": s.play_block,
        "generation": s.heard_generation,
        "active_slot": s.active_slot,
        "is_redundant": supervisor.is_redundant,
        "slots": [_slot_status(supervisor, slot) for slot in supervisor.slots],
        "nodes": len(supervisor.desk.committed.nodes),
        "has_pending_edits": supervisor.desk.has_edits,
        "undo_depth": supervisor.desk.undo_depth,
        "commit": supervisor.phase,
        "commits": supervisor.commits,
        "commits_refused": dict(supervisor.refused_commits),
        "prime_warnings": supervisor.prime_warnings,
        "worker_deaths": supervisor.worker_deaths,
        "commands_sent": supervisor.intake.sent,
        "commands_waiting": supervisor.intake.n_waiting,
        "commands_lost": supervisor.intake.lost,
        "commands_late": late_commands,
        "time_origin_frame": supervisor.time_base.origin_frame if supervisor.time_base else 0,
        "time_origin_s": supervisor.time_base.origin_s if supervisor.time_base else 0.0,
        "time_origin_latched_again": supervisor.time_base.latched_again if supervisor.time_base else 0,
        "counters": s.counters(),
        "recording": supervisor.recorder.status(),
        "session": supervisor.session.status(),
    }


def _slot_status(supervisor: Supervisor, slot: Slot) -> dict[str, Any]:
    s, i = supervisor.segment, slot.index
    worker = supervisor.workers[i]
    generation, is_ready = s.prime_ready(i)
    return {
        "state": slot.state.value,
        "pid": worker.pid if worker else None,
        "generation": s.slot_generation(i),
        "render_head": s.render_head(i),
        "applied": s.applied(i),
        "heartbeat": s.heartbeat(i),
        "prime_ready": [generation, is_ready],
        **supervisor.worker_facts[i],
        "counters": s.slot_counters(i),
    }
