"""A commit either happens or changes nothing: refusals, time-outs, abort, undo, and many in a row."""

from __future__ import annotations

from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from live import Live, assert_same, chain, rms, second_difference, stereo, tone
from waiting import wait_until

from pyengine import CommitRefused, Patch
from pyengine.commands import Abort, Command, Commit, Connect, Create, SetParam, Undo

SLOW_US = 100_000.0  # a block of test_slow: the 8 blocks of a warm-up take most of a second


def play_tone(live: Live, *, await_redundancy: bool = True) -> int:
    """Commit osc1; return its first frame."""
    live.client.create("osc1", "simple_sine")
    frame = int(live.commit(crossfade_ms=0)["frame"])
    if await_redundancy:
        live.await_redundancy()
    return frame


def refusal(live: Live, **options: Any) -> CommitRefused:
    with pytest.raises(CommitRefused) as caught:
        live.commit(**options)
    return caught.value


def add(live: Live, id: str, type: str, **params: float) -> None:
    live.client.create(id, type)
    for name, value in params.items():
        live.client.set(id, name, value)


def begin_slow_commit(live: Live, us: float = SLOW_US) -> Future[Any]:
    """Start a commit whose priming takes long; return when it is priming."""
    add(live, "slow1", "test_slow", us=us)
    (future,) = live.engine.submit_bundle([Commit(timeout_ms=20_000)])
    wait_until(lambda: live.status()["commit"] == "priming")
    return future


def submit(live: Live, command: Command) -> Future[Any]:
    return live.engine.submit_bundle([command])[0]


def assert_undisturbed(live: Live, first: int, patch: Patch | None = None) -> None:
    """From its first frame on, the recording is the patch alone, and nothing was missing."""
    live.advance(4800)
    counters = live.counters()
    x = live.samples()
    assert_same(x[first:], stereo(patch or tone(), len(x) - first))
    assert counters["frames_underrun"] == counters["declicks"] == counters["fallbacks"] == 0


# ---- the refusals


def test_a_patch_that_is_silent_with_its_gates_open_is_refused_and_nothing_changes(live: Live) -> None:
    first = play_tone(live)
    add(live, "osc2", "simple_sine", gain=0.0)
    live.client.delete("osc1")
    refused = refusal(live)
    assert refused.reason == "silent"
    assert "RMS 0.000000" in refused.detail and "your edits are kept" in refused.detail
    status = live.status()
    assert status["commits_refused"] == {"silent": 1} and status["has_pending_edits"]
    assert [node["id"] for node in live.client.dump()["pending"]["nodes"]] == ["osc2"]
    assert_undisturbed(live, first)


def test_a_refused_patch_can_be_mended_and_committed(live: Live) -> None:
    play_tone(live)
    add(live, "osc2", "simple_sine", gain=0.0)
    live.client.delete("osc1")
    refusal(live)
    live.client.set("osc2", "gain", 0.5)
    assert live.commit()["new"] == ["osc2"]


def test_a_silent_patch_is_taken_when_that_is_asked_for(live: Live) -> None:
    play_tone(live)
    live.client.set("osc1", "gain", 0.0)
    refusal(live)
    report = live.commit(allow_silence=True)
    assert report["warmup"]["max_rms"] == 0 and report["carried"] == ["osc1"]


@pytest.mark.parametrize("type", ["test_nan", "test_inf"])
def test_a_patch_that_is_not_finite_is_refused_and_nothing_changes(tested: Live, type: str) -> None:
    first = play_tone(tested)
    add(tested, "bad", type)
    refused = refusal(tested, allow_silence=True)
    assert refused.reason == "not finite" and "NaN or infinite" in refused.detail
    assert_undisturbed(tested, first)


def test_a_patch_that_is_too_slow_is_refused_and_nothing_changes(tested: Live) -> None:
    first = play_tone(tested)
    add(tested, "slow1", "test_slow", us=1200.0)  # of 1333 us; half of it is allowed
    refused = refusal(tested)
    assert refused.reason == "too slow" and "666.7 us" in refused.detail
    assert_undisturbed(tested, first)


def test_an_empty_patch_is_refused_unless_silence_is_asked_for(live: Live) -> None:
    refused = refusal(live)
    assert refused.reason == "invalid" and "empty" in refused.detail
    play_tone(live)
    live.client.clear()
    assert refusal(live).reason == "invalid"
    assert live.commit(allow_silence=True)["gone"] == ["osc1"]
    live.advance(4800)
    assert not live.samples()[-4000:].any()


def test_all_faults_of_a_patch_are_told_at_once_and_a_cycle_is_named(live: Live) -> None:
    first = play_tone(live)
    for id in ("a", "b", "c", "d"):
        live.client.create(id, "biquad_filter")
    for source, dest in [("a", "b"), ("b", "a"), ("c", "d"), ("d", "c")]:
        live.client.connect(source, dest)
    refused = refusal(live)
    assert refused.reason == "invalid"
    assert "2 faults" in refused.detail and "a -> b -> a" in refused.detail and "c -> d -> c" in refused.detail
    assert_undisturbed(live, first)


# ---- a commit on its way


def test_a_second_commit_while_one_primes_is_refused_as_busy_and_the_first_goes_on(tested: Live) -> None:
    play_tone(tested)
    first = begin_slow_commit(tested)
    refused = refusal(tested)
    assert refused.reason == "busy" and "priming" in refused.detail
    with pytest.raises(CommitRefused, match="busy"):
        tested.client.undo()
    tested.client.set("slow1", "us", 0.0)  # held until the switch
    with pytest.raises(CommitRefused) as caught:
        first.result(30)
    assert caught.value.reason == "too slow"
    assert tested.status()["commits_refused"] == {"busy": 2, "too slow": 1}


def behind_a_primed_commit(live: Live, more: list[Command]) -> list[Any]:
    """Let commands arrive in the instant in which the next commit is ready and not yet heard; return their answers."""
    commits: Any = live.engine._supervisor.commits  # type: ignore[union-attr]
    dispatcher: Any = live.engine._dispatcher
    on_primed = commits.on_primed
    answers: list[Any] = []

    def then_more(slot: int, message: dict[str, Any]) -> None:
        commits.on_primed = on_primed
        on_primed(slot, message)
        assert commits.phase == "switching"
        dispatcher.group([(command, answers.append) for command in more], 0.0, None)

    commits.on_primed = then_more
    return answers


def test_a_commit_right_behind_one_that_is_about_to_be_heard_waits_and_takes_the_patch_as_it_was(live: Live) -> None:
    play_tone(live)
    more: list[Command] = [Create("filt1", "biquad_filter"), Connect("env1", "filt1"), Commit(timeout_ms=20_000)]
    more += [Commit(), SetParam("filt1", "cutoff", 800.0), Create("late1", "simple_sine")]
    answers = behind_a_primed_commit(live, more)
    live.client.create("env1", "adsr")
    live.client.connect("osc1", "env1")
    assert live.commit()["new"] == ["env1"]
    wait_until(lambda: len(answers) == 6)
    assert isinstance(answers[2], CommitRefused) and answers[2].reason == "busy"  # there is one place in the queue
    report = answers[-1]
    assert (report["carried"], report["new"]) == (["osc1", "env1"], ["filt1"])
    dump = live.client.dump()
    filt1 = next(node for node in dump["committed"]["nodes"] if node["id"] == "filt1")
    assert filt1["params"] == {"cutoff": 800.0}
    assert [node["id"] for node in dump["pending"]["nodes"]] == ["osc1", "env1", "filt1", "late1"]


def test_an_abort_answers_the_commit_that_waits_for_its_turn(live: Live) -> None:
    play_tone(live)
    answers = behind_a_primed_commit(live, [Create("osc2", "simple_sine"), Commit(), Abort()])
    live.client.create("env1", "adsr")
    live.client.connect("osc1", "env1")
    assert live.commit()["new"] == ["env1"]  # too far to be aborted
    assert isinstance(answers[1], CommitRefused) and answers[1].reason == "aborted"
    assert live.status()["nodes"] == 2 and live.status()["commit"] == "none"


def test_a_commit_not_primed_in_time_is_refused_and_the_next_one_is_not_harmed(tested: Live) -> None:
    first = play_tone(tested)
    add(tested, "slow1", "test_slow", us=SLOW_US)
    refused = refusal(tested, timeout_ms=50)
    assert refused.reason == "late" and "50 ms" in refused.detail
    assert tested.status()["has_pending_edits"]
    tested.client.delete("slow1")
    report = tested.commit(timeout_ms=20_000)  # waits until the worker has given the other one up
    assert report["carried"] == ["osc1"] and not report["new"]
    assert tested.status()["worker_deaths"] == 0
    assert_undisturbed(tested, first)


def test_on_a_prime_time_out_swap_cuts_the_warm_up_short_and_says_so(more_modules: None, tmp_path: Path) -> None:
    with Live(tmp_path, on_prime_timeout="swap") as live:
        play_tone(live)
        add(live, "slow1", "test_slow", us=10_000.0)  # 80 ms of warm-up; 50 blocks in a row reach the CPU limit
        report = live.commit(timeout_ms=5)
        assert report["warmup_cut_short"] is True and report["warmup"]["n_blocks"] < 8
        live.client.set("slow1", "us", 0.0)
        live.client.delete("slow1")
        live.commit(timeout_ms=20_000)
        assert live.counters()["frames_underrun"] == 0


def test_an_abort_ends_a_commit_that_is_priming_and_throws_its_edits_away(tested: Live) -> None:
    first = play_tone(tested)
    future = begin_slow_commit(tested)
    tested.client.abort()
    with pytest.raises(CommitRefused) as caught:
        future.result(30)
    assert caught.value.reason == "aborted"
    dump = tested.client.dump()
    assert dump["pending"] == dump["committed"] and not dump["has_edits"]
    assert tested.commit(timeout_ms=20_000)["carried"] == ["osc1"]
    assert_undisturbed(tested, first)


def test_settings_that_arrive_while_a_commit_primes_change_the_sound_if_it_is_refused(tested: Live) -> None:
    first = play_tone(tested)
    future = begin_slow_commit(tested)
    at = tested.engine.frames + 6400
    tested.send_at(at, SetParam("osc1", "gain", 0.5))
    with pytest.raises(CommitRefused):
        future.result(30)
    tested.advance(9600)
    x = tested.samples()[first:]
    events = [((at - first) / 48000, ("mod", "osc1", "gain", 0.5))]
    assert_same(x, stereo(tone(), len(x), events=events))


def test_a_commit_and_an_abort_right_behind_it_are_both_answered(live: Live) -> None:
    play_tone(live)
    for n in range(20):
        futures = live.engine.submit_bundle([Create(f"x{n}", "simple_sine"), Commit(), Abort()])
        futures[0].result(10)
        futures[2].result(10)
        with pytest.raises(CommitRefused, match="aborted"):
            futures[1].result(10)
    assert live.status()["nodes"] == 1
    assert live.commit()["carried"] == ["osc1"]


# ---- undo


def test_undo_goes_back_twice_and_then_says_that_there_is_nothing_left(live: Live) -> None:
    play_tone(live)
    for source, dest, type in [("osc1", "env1", "adsr"), ("env1", "filt1", "biquad_filter")]:
        live.client.create(dest, type)
        live.client.connect(source, dest)
        live.commit()
    assert live.client.undo()["gone"] == ["filt1"]
    assert live.client.undo()["gone"] == ["env1"]
    live.advance(480)
    live.await_redundancy()
    status = live.status()
    assert (status["nodes"], status["undo_depth"], status["has_pending_edits"]) == (1, 1, False)
    with pytest.raises(CommitRefused, match="only the empty one; undo with allow_silence 1"):
        live.client.undo()
    assert live.client.undo(allow_silence=True)["gone"] == ["osc1"]
    with pytest.raises(CommitRefused, match="nothing to undo"):
        live.client.undo()


def test_undo_loses_no_edits_of_a_refused_commit_unless_it_is_told_to(live: Live) -> None:
    first = play_tone(live)
    live.client.create("osc2", "simple_sine")
    live.client.set("osc2", "gain", 0.0)
    live.client.delete("osc1")
    with pytest.raises(CommitRefused, match="silent"):
        live.commit()
    said = r"\(new: osc2; gone: osc1\); commit that, .*/patch/abort.* discard 1"
    with pytest.raises(CommitRefused, match=said) as caught:
        live.client.undo(allow_silence=True)
    assert caught.value.reason == "edits pending" and live.status()["commits_refused"]["edits pending"] == 1
    assert [node["id"] for node in live.client.dump()["pending"]["nodes"]] == ["osc2"]
    assert_undisturbed(live, first)
    assert live.client.undo(allow_silence=True, discard=True)["gone"] == ["osc1"]
    assert not live.status()["has_pending_edits"]


def test_an_edit_sent_right_behind_an_undo_is_kept(live: Live) -> None:
    play_tone(live)
    live.client.create("env1", "adsr")
    live.client.connect("osc1", "env1")
    live.commit()
    futures = live.engine.submit_bundle([Undo(), Create("filt1", "svf"), Connect("osc1", "filt1")])
    for future in reversed(futures):
        future.result(10)
    dump = live.client.dump()
    assert [node["id"] for node in dump["committed"]["nodes"]] == ["osc1"]
    assert [node["id"] for node in dump["pending"]["nodes"]] == ["osc1", "filt1"] and dump["has_edits"]
    assert live.commit()["new"] == ["filt1"]


def test_undo_leaves_the_phase_of_what_goes_on_unbroken(live: Live) -> None:
    first = play_tone(live)
    for id in ("osc2", "osc3"):
        live.client.create(id, "simple_sine")
        live.commit()
    for _ in range(2):
        assert "osc1" in live.client.undo()["carried"]
    live.advance(960)
    at = live.engine.frames
    live.advance(4800)
    x = live.samples()
    assert_same(x[at:], stereo(tone(), len(x) - first)[at - first :])


def test_undo_with_nothing_committed_is_refused(live: Live) -> None:
    with pytest.raises(CommitRefused, match="nothing to undo"):
        live.client.undo()


def test_a_module_that_undo_brings_back_is_fresh_with_the_values_it_had(live: Live) -> None:
    add(live, "osc1", "simple_sine", freq=660.0)
    first = live.commit(crossfade_ms=0)["frame"]
    live.advance(4800)
    live.client.delete("osc1")
    live.client.create("osc2", "simple_sine")
    live.commit(crossfade_ms=0)
    live.advance(4800)
    report = live.client.undo(crossfade_ms=0)
    assert report["new"] == ["osc1"] and report["gone"] == ["osc2"]
    live.advance(4800)
    x = live.samples()
    again = report["frame"]
    assert_same(x[again:], stereo(tone(660.0), len(x) - again))
    assert_same(x[first : first + 4800], stereo(tone(660.0), 4800))


def test_a_module_deleted_and_created_again_in_one_commit_begins_anew(live: Live) -> None:
    play_tone(live)
    live.client.delete("osc1")
    live.client.create("osc1", "simple_sine")
    report = live.commit(crossfade_ms=0)
    assert report["new"] == report["gone"] == ["osc1"]
    live.advance(4800)
    x = live.samples()[report["frame"] :]
    assert_same(x, stereo(tone(), len(x)))


# ---- the crossfade


@pytest.mark.parametrize("fade_ms", [0.0, 1.0, 5.0, 40.0, 1000.0])
def test_the_crossfade_takes_as_long_as_it_is_told_to(live: Live, fade_ms: float) -> None:
    first = play_tone(live)
    live.client.delete("osc1")
    add(live, "osc2", "simple_sine", freq=1000.0)
    frame = live.commit(crossfade_ms=fade_ms)["frame"]
    live.advance(52_800)
    x = live.samples()
    n_fade = round(48 * fade_ms)
    new = stereo(tone(1000.0), len(x) - frame)
    assert_same(x[first:frame], stereo(tone(), frame - first))
    assert_same(x[frame + n_fade :], new[n_fade:])
    if n_fade:  # up to its last frame, which is the new tone alone, it is neither of the two
        assert np.any(x[frame + n_fade // 2 : frame + n_fade - 1] != new[n_fade // 2 : n_fade - 1])


def test_the_engine_s_own_crossfade_is_used_where_a_commit_names_none(tmp_path: Path) -> None:
    with Live(tmp_path, crossfade_ms=20.0) as live:
        frame = (live.client.create("osc1", "simple_sine"), live.commit())[1]["frame"]
        live.advance(4800)
        x = live.samples()[frame:]
    offline = stereo(tone(), len(x))
    assert_same(x[960:], offline[960:])
    assert rms(x[:960]) < 0.8 * rms(offline[:960])


# ---- many


def is_delivered(counters: dict[str, int]) -> bool:
    return counters["frames_requested"] == counters["frames_delivered"]


def test_1000_commits_in_a_row_miss_no_frame_and_every_one_is_done(tmp_path: Path) -> None:
    with Live(tmp_path, is_recorded=False) as live:
        play_tone(live)
        live.engine.run_free()
        for n in range(1000):
            if n % 2:
                live.client.delete("env1")
            else:
                live.client.create("env1", "adsr")
                live.client.connect("osc1", "env1")
            report = live.commit(timeout_ms=20_000)
            assert report["carried"] == ["osc1"] and report["warnings"] == []
        status = live.status()
        wait_until(lambda: is_delivered(live.status()["counters"]), 60)  # a look may fall between the two counters
    counters = status["counters"]
    assert (status["commits"], status["commits_refused"]) == (1001, {})
    assert counters["swaps"] == 1001
    assert counters["frames_underrun"] == counters["none_reads"] == counters["fallbacks"] == 0
    assert counters["torn_blocks"] == counters["events_lost"] == status["worker_deaths"] == 0


def test_commits_in_a_row_while_recording_are_smooth(live: Live) -> None:
    """One right behind the other: each fade begins when the one before it is over, or earlier."""
    first = play_tone(live)
    live.advance(4800)
    for n in range(30):
        (live.client.delete if n % 2 else lambda id: live.client.create(id, "simple_sine"))("osc2")
        live.client.set("osc2", "freq", 660.0) if not n % 2 else None
        live.commit()
    live.advance(9600)
    counters = live.counters()
    x = live.samples()[first:, 0]
    own = second_difference(stereo(tone(), 4800)) + second_difference(stereo(tone(660.0), 4800))
    assert second_difference(x) <= 1.1 * own
    assert counters["declicks"] == 0 and counters["swaps"] == 31


def test_a_patch_of_1000_nodes_is_committed_and_sounds_as_it_does_offline(tmp_path: Path) -> None:
    with Live(tmp_path, block_frames=1024) as live:
        patch = Patch()
        for n in range(500):
            patch.create(f"osc{n}", "simple_sine").set(f"osc{n}", "freq", 100.0 + n)
            patch.set(f"osc{n}", "gain", 0.01).create(f"env{n}", "adsr").connect(f"osc{n}", f"env{n}")
        for node in patch.nodes.values():
            add(live, node.id, node.type, **node.params)
        for cable in patch.cables:
            live.client.connect(*patch.cable_text(cable))
        frame = live.commit(crossfade_ms=0, timeout_ms=20_000)["frame"]
        live.advance(9600)
        x = live.samples()[frame:]
    assert_same(x, stereo(patch, len(x)))


def piece_by_piece(messages: list[Any], patch: Patch) -> list[Any]:
    """Return the messages of a commit with one for each module and cable, and the values as ops, one of them stray."""
    abort, _, commit, prime = messages
    creates = [
        {"type": "create", "module_id": n.id, "module_type": n.type, "handle": n.handle} for n in patch.nodes.values()
    ]
    cables = map(patch.cable_text, patch.cables)
    connects = [{"type": "connect", "source_id": source, "dest_id": dest} for source, dest in cables]
    return [abort, *creates, *connects, commit, prime | {"ops": [*patch.ops(), ("mod", "nobody", "freq", 1.0)]}]


def test_a_worker_takes_a_patch_piece_by_piece_and_counts_ops_that_name_nothing_as_warnings(live: Live) -> None:
    """The supervisor sends patches whole, and no stray op; the forms of the patch queue stay."""
    supervisor: Any = live.engine._supervisor
    send, patch = supervisor.crew.send, chain(3, freq=330.0).gate("env1", 1)

    def send_in_pieces(slot: int, messages: list[Any]) -> None:
        is_commit = [m["type"] for m in messages] == ["abort", "build", "commit", "prime"]
        send(slot, piece_by_piece(messages, supervisor.desk.candidate) if is_commit else messages)

    supervisor.crew.send = send_in_pieces
    for node in patch.nodes.values():
        add(live, node.id, node.type, **node.params)
    for cable in patch.cables:
        live.client.connect(*patch.cable_text(cable))
    report = live.commit(crossfade_ms=0)
    assert len(report["warnings"]) == 1 and "nobody" in report["warnings"][0]
    assert live.status()["prime_warnings"] == 1
    live.advance(9600)
    x = live.samples()[report["frame"] :]
    assert_same(x, stereo(patch, len(x)))


def test_the_report_of_a_commit_has_its_figures(live: Live) -> None:
    live.client.create("osc1", "simple_sine")
    report = live.commit()
    assert report["generation"] == 1 and report["frame"] == report["block"] * 64
    assert 0 < report["prime_ms"] <= report["ready_ms"] <= report["total_ms"]
    assert report["received_frame"] <= report["frame"] and report["late_blocks"] == 0
    assert report["warmup"]["n_blocks"] == 8 and report["warmup"]["is_finite"]
    assert 0.1 < report["warmup"]["max_rms"] < 0.2 and report["warmup"]["peak"] == pytest.approx(0.2, rel=0.01)
    assert (report["new"], report["carried"], report["gone"], report["warnings"]) == (["osc1"], [], [], [])
