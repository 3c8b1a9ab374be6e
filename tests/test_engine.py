from __future__ import annotations

import math
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from waiting import wait_until

import pyengine
from pyengine import CommitRefused, Engine, EngineError, PatchError, _native, commands
from pyengine.errors import CommandError, DeviceError, RecordingError


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    with Engine("free", recordings=tmp_path) as engine:
        yield engine


# ---- options


@pytest.mark.parametrize(
    ("option", "value", "text"),
    [
        ("sample_rate", 999, "1000..768000"),
        ("sample_rate", 1e6, "1000..768000"),
        ("sample_rate", math.nan, "1000..768000"),
        ("block_frames", 0, "1..8192"),
        ("block_frames", 8193, "1..8192"),
        ("lead_blocks", 0, "1..8"),
        ("lead_blocks", 9, "1..8"),
        ("channels", 0, "1..8"),
        ("channels", 9, "1..8"),
        ("osc_port", -1, "0..65535"),
        ("osc_port", 65536, "0..65535"),
        ("prime_timeout_ms", 0, "1..60000"),
        ("crossfade_ms", -1, "0..1000"),
        ("crossfade_ms", math.inf, "0..1000"),
        ("on_prime_timeout", "wait", "'keep' nor 'swap'"),
        ("sample_rate", "fast", "not a number; give 1000..768000"),
        ("sample_rate", 10**400, "1000..768000"),
        ("block_frames", 64.5, "not a whole number; give 1..8192"),
        ("block_frames", None, "not a whole number; give 1..8192"),
        ("lead_blocks", True, "not a whole number; give 1..8"),
        ("stall_ms", "long", "not a number; give 200..60000"),
    ],
)
def test_an_option_out_of_range_is_named_with_its_range(option: str, value: Any, text: str) -> None:
    with pytest.raises(CommandError) as caught:
        Engine("free", **{option: value})
    assert option in str(caught.value) and text in str(caught.value)


def test_all_options_out_of_range_are_named_at_once() -> None:
    with pytest.raises(CommandError, match=r"block_frames=0 .*; lead_blocks=99 .*; .*on_prime_timeout"):
        Engine("free", block_frames=0, lead_blocks=99, on_prime_timeout="x")


def test_a_device_that_is_not_there_is_refused_by_name_and_leaves_no_thread() -> None:
    before = threading.active_count()
    with pytest.raises(DeviceError, match="no such thing|PortAudio"):
        Engine("no such thing")
    wait_until(lambda: threading.active_count() <= before)


@pytest.mark.parametrize(
    "options",
    [
        {"block_frames": 1, "lead_blocks": 8},
        {"block_frames": 8192, "lead_blocks": 1},
        {"sample_rate": 8000, "channels": 1},
        {"sample_rate": 192_000, "channels": 8},
    ],
)
def test_the_ends_of_the_ranges_play(options: dict[str, Any]) -> None:
    with Engine("free", **options) as engine:
        engine.create("osc1", "simple_sine")
        assert engine.commit(timeout_ms=20_000)["new"] == ["osc1"]
        engine.advance(0.05)
        counters = engine.status()["counters"]
        assert counters["frames_requested"] == counters["frames_delivered"] >= 0.05 * engine.options.sample_rate_hz


# ---- commands from Python


def test_every_method_does_what_its_command_does(engine: Engine) -> None:
    engine.create("osc1", "simple_sine")
    engine.create("env1", "adsr")
    engine.connect("osc1", "env1")
    engine.commit(crossfade_ms=1, timeout_ms=20_000)
    wait_until(lambda: engine.status()["is_redundant"])  # from here on the paused clock stands still
    engine.set("osc1", "freq", 330.0, immediate=True)
    engine.gate("env1", "off")
    engine.disconnect("osc1", "env1")
    engine.delete("env1")
    assert engine.dump()["has_edits"]
    engine.abort()
    assert not engine.dump()["has_edits"]
    engine.clear()
    assert engine.dump()["pending"]["nodes"] == []
    engine.abort()
    engine.sync()
    assert engine.record_start("a.wav")["is_recording"]
    engine.advance(frames=960)
    assert engine.record_stop()["frames"] == 960
    assert engine.sync()["seq"] > 0
    assert engine.undo(allow_silence=True)["gone"] == ["osc1", "env1"]


def test_refusals_are_exceptions_with_their_facts(engine: Engine) -> None:
    engine.create("osc1", "simple_sine")
    with pytest.raises(PatchError) as caught:
        engine.set("osc1", "freq", 1e6)
    assert (caught.value.node, caught.value.limit) == ("osc1", 23990)
    with pytest.raises(PatchError) as caught:
        engine.create("x", "simple_sin")
    assert caught.value.nearest == "simple_sine"
    with pytest.raises(RecordingError):
        engine.record_stop()
    engine.clear()
    with pytest.raises(CommitRefused) as refused:
        engine.commit()
    assert refused.value.reason == "invalid"


def test_commands_may_come_from_many_threads(engine: Engine) -> None:
    faults: list[BaseException] = []

    def build(n: int) -> None:
        try:
            for i in range(50):
                engine.create(f"t{n}_{i}", "simple_sine")
                engine.set(f"t{n}_{i}", "gain", 0.001)
        except BaseException as error:
            faults.append(error)

    threads = [threading.Thread(target=build, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not faults
    assert len(engine.dump()["pending"]["nodes"]) == 300


def test_a_bundle_too_far_ahead_for_a_real_clock_refuses_each_of_its_commands() -> None:
    with Engine("none") as engine:
        engine.create("osc1", "simple_sine")
        futures = engine.submit_bundle([commands.SetParam("osc1", "gain", 0.1)] * 3, at=4e9)
        for future in futures:
            with pytest.raises(CommandError, match="3600 s ahead"):
                future.result(10)


# ---- the clock


def test_advance_puts_out_exactly_so_many_frames(engine: Engine) -> None:
    frames = engine.frames
    assert engine.advance(frames=1000) == frames + 1000
    assert engine.advance(0.5) == frames + 25_000
    assert engine.advance(frames=0) == frames + 25_000
    counters = engine.status()["counters"]
    assert counters["frames_requested"] == frames + 25_000
    assert counters["frames_delivered"] == counters["frames_requested"]


def test_advance_on_a_clock_that_runs_freely_waits_for_so_much_more(engine: Engine) -> None:
    engine.run_free()
    before = engine.frames
    assert engine.advance(frames=4800, timeout_s=10) >= before + 4800


def test_advance_takes_either_seconds_or_frames(engine: Engine) -> None:
    for arguments in ({}, {"seconds": 1.0, "frames": 48}):
        with pytest.raises(CommandError, match="either seconds or frames"):
            engine.advance(**arguments)  # type: ignore[arg-type]


def test_only_the_free_running_clock_can_be_advanced() -> None:
    with Engine("none") as engine:
        with pytest.raises(CommandError, match="'free'"):
            engine.advance(1.0)
        with pytest.raises(CommandError, match="'free'"):
            engine.run_free()
        frames = engine.frames
        wait_until(lambda: engine.frames > frames)  # it goes on by itself


def test_a_clock_that_runs_free_goes_on_until_the_engine_is_closed(engine: Engine) -> None:
    engine.run_free()
    for _ in range(3):
        frames = engine.frames
        wait_until(lambda frames=frames: engine.frames > frames + 4800)  # type: ignore[misc]


# ---- status


STATUS_KEYS = {
    "output", "output_kind", "output_is_alive", "output_latency_ms", "output_switches", "is_realtime_clock",
    "sample_rate", "block_frames",
    "lead_blocks", "effective_lead_blocks", "largest_request_frames", "uptime_s", "frames", "play_block",
    "generation", "active_slot", "is_redundant", "slots", "nodes", "has_pending_edits", "undo_depth", "commit",
    "commits", "commits_refused", "prime_warnings", "worker_deaths", "commands_sent", "commands_waiting",
    "commands_lost", "commands_late", "time_origin_frame", "time_origin_s", "time_origin_latched_again",
    "counters", "recording",
}  # fmt: skip
SLOT_KEYS = {
    "state", "pid", "generation", "render_head", "applied", "heartbeat", "is_at_rest", "prime_ready", "is_realtime",
    "is_locked", "is_limited", "processors", "counters",
}  # fmt: skip


def test_status_has_every_counter_and_is_plain_data(engine: Engine) -> None:
    import json

    status = engine.status()
    assert status.keys() >= STATUS_KEYS
    assert set(status["counters"]) == set(_native.COUNTER_NAMES)
    assert [slot["state"] for slot in status["slots"]] == ["active", "replica"] and status["active_slot"] == 0
    for slot in status["slots"]:
        assert slot.keys() >= SLOT_KEYS
        assert set(slot["counters"]) == set(_native.SLOT_COUNTER_NAMES)
    assert json.loads(json.dumps(status)) == status
    assert (status["output_kind"], status["is_redundant"], status["commit"]) == ("free", True, "none")
    with Engine("free", osc_port=0) as other:
        osc = other.status()["osc"]
    assert osc["port"] == other.osc_port or other.osc_port is None
    assert osc.keys() >= {"datagrams", "requests", "refused", "dropped_by_kernel", "replies_lost"}


def test_the_counts_of_status_follow_what_happens(engine: Engine) -> None:
    engine.create("osc1", "simple_sine")
    engine.commit()
    engine.set("osc1", "gain", 0.1)
    engine.sync()
    status = engine.status()
    assert (status["commits"], status["nodes"], status["generation"], status["undo_depth"]) == (1, 1, 1, 1)
    assert status["commands_sent"] == 3  # the SWITCH record, the value, the mark of sync
    assert status["counters"]["swaps"] == 1


# ---- the end


def test_a_closed_engine_says_so_to_whoever_uses_it() -> None:
    engine = Engine("free", osc_port=0)
    assert repr(engine).startswith("<pyengine.Engine device='free' rate=48000 block=64 frames=")
    assert isinstance(engine.osc_port, int)
    engine.close()
    assert "closed" in repr(engine)
    for use in (
        engine.status,
        engine.commit,
        engine.sync,
        engine.run_free,
        lambda: engine.create("osc1", "simple_sine"),
        lambda: engine.advance(1.0),
        lambda: engine.frames,
    ):
        with pytest.raises(EngineError, match="closed"):
            use()
    assert engine.wait(10)


def test_calls_under_way_are_answered_or_refused_when_the_engine_closes() -> None:
    engine = Engine("free")
    engine.create("osc1", "simple_sine")
    answers: list[Any] = []

    def ask() -> None:
        try:
            while True:
                answers.append(engine.do(commands.EngineStatus()))
        except EngineError as error:
            answers.append(str(error))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(answers) > 20)
    engine.close()
    for thread in threads:
        thread.join(30)
    assert not any(thread.is_alive() for thread in threads)
    assert sum("closed" in answer for answer in answers if isinstance(answer, str)) == 4


def test_a_commit_on_its_way_is_refused_when_the_engine_closes() -> None:
    for _ in range(5):
        engine = Engine("free")
        engine.create("osc1", "simple_sine")
        future = engine.submit(commands.Commit())
        engine.close()
        if future.exception(10) is None:  # or it was quicker
            assert future.result()["new"] == ["osc1"]


def test_engines_side_by_side_do_not_know_of_each_other(tmp_path: Path) -> None:
    with Engine("free") as one, Engine("free") as two:
        one.create("osc1", "simple_sine")
        one.commit()
        one.advance(frames=4800)
        assert two.frames == 0 and two.dump()["committed"]["nodes"] == []


# ---- the import


HEAVY = ("sounddevice", "soundfile", "pythonosc", "matplotlib", "numpy", "scipy", "multiprocessing", "cffi")


def test_importing_the_package_loads_no_audio_library_no_server_no_plotting_and_no_numpy() -> None:
    code = f"import sys, pyengine; print(*[m for m in {HEAVY!r} if m in sys.modules])"
    root = str(Path(pyengine.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {root!r}); {code}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == []


def test_an_unknown_name_of_the_package_is_an_attribute_error_and_all_public_names_are_there() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Motor'"):
        _ = pyengine.Motor
    for name in pyengine.__all__:
        assert getattr(pyengine, name) is not None


def test_a_block_that_a_commit_needs_is_granted_at_once_after_a_long_advance() -> None:
    """Only a granted block that took long is followed by a pause, not what the user let the clock play."""
    with Engine("free") as engine:
        supervisor = engine._running

        def advance_and_look() -> int:
            until = supervisor.allow(480_000)
            supervisor.grant()  # something waits meanwhile: there are frames to come
            return until

        until = engine._ask(advance_and_look)
        wait_until(lambda: engine.frames >= until)
        engine.create("osc1", "simple_sine")
        assert engine.commit()["late_blocks"] == 0


def test_workers_show_signs_of_life_however_long_a_block_lasts() -> None:
    """A worker that is silent for `stall_ms` counts as dead; a block of 8192 frames at 1 kHz lasts 8 s."""
    with Engine("none", sample_rate=1000, block_frames=8192) as engine:
        before = [slot["heartbeat"] for slot in engine.status()["slots"]]
        wait_until(
            lambda: all(slot["heartbeat"] > n + 10 for slot, n in zip(engine.status()["slots"], before, strict=True)), 7
        )
        assert engine.status()["worker_deaths"] == 0


def test_an_engine_rests_while_it_is_silent_until_something_is_set(tmp_path: Path) -> None:
    """Without a patch, and with one that is silent; one that sounds is never further ahead than the lead. What was
    rendered at one look is compared with what is played at a later one, however long the looks take.
    """

    def ahead(engine: Engine) -> int:
        heads = [slot["render_head"] for slot in engine.status()["slots"]]
        return max(heads) - int(engine.status()["play_block"])

    def is_at_rest(engine: Engine) -> bool:
        return all(slot["is_at_rest"] for slot in engine.status()["slots"])

    with Engine("none", osc_port=0, recordings=tmp_path, probation_ms=0) as engine:
        lead = engine.status()["effective_lead_blocks"]
        wait_until(lambda: is_at_rest(engine))
        engine.create("osc1", "simple_sine")
        engine.commit()
        wait_until(lambda: engine.status()["is_redundant"])
        assert all(ahead(engine) <= lead and not is_at_rest(engine) for _ in range(50))
        engine.set("osc1", "gain", 0.0)  # it goes on: nobody says that it comes back
        assert not any(is_at_rest(engine) for _ in range(50))
        engine.clear()
        engine.commit(allow_silence=True)
        wait_until(lambda: is_at_rest(engine))
