"""Address patterns: against a matcher that tries everything, and on an engine that plays."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from live import Live, assert_same, stereo

from pyengine import Engine, Patch, commands
from pyengine.errors import CommandError, EngineError, PatchError
from pyengine.patterns import is_pattern, matching

# ---- the matcher, against one that tries everything


def forms_of(pattern: str) -> list[str]:
    """Write alternatives out, the first brace first."""
    if "{" not in pattern:
        return [pattern]
    before, _, rest = pattern.partition("{")
    inside, _, after = rest.partition("}")
    return [form for word in inside.split(",") for form in forms_of(before + word + after)]


def is_in_set(letter: str, inside: str) -> bool:
    if inside.startswith("!"):
        return not is_listed(letter, inside[1:])
    return is_listed(letter, inside)


def is_listed(letter: str, inside: str) -> bool:
    while inside:
        if inside[1:2] == "-" and len(inside) > 2:
            if inside[0] <= letter <= inside[2]:
                return True
            inside = inside[3:]
        elif letter == inside[0]:
            return True
        else:
            inside = inside[1:]
    return False


def fits(form: str, name: str) -> bool:
    """Return whether a form without alternatives matches, by trying every length for every star."""
    if not form:
        return not name
    if form[0] == "*":
        return any(fits(form[1:], name[n:]) for n in range(len(name) + 1))
    if not name:
        return False
    if form[0] == "?":
        return fits(form[1:], name[1:])
    if form[0] == "[":
        inside, _, rest = form[1:].partition("]")
        return is_in_set(name[0], inside) and fits(rest, name[1:])
    return form[0] == name[0] and fits(form[1:], name[1:])


letters = st.sampled_from("ab-_1.")
sets = st.one_of(
    st.text("ab1_.", min_size=1, max_size=3),
    st.sampled_from(["a-b", "!a", "!a-b1", "0-9", "-a", "a-", "^a", "a^", "a-b-", "!!", "\\", "&&", "~~", "--1"]),
).map(lambda inside: f"[{inside}]")
simple = st.lists(st.one_of(letters, sets, st.just("*"), st.just("?")), max_size=4).map("".join)
braces = st.lists(simple, min_size=1, max_size=3).map(lambda words: "{" + ",".join(words) + "}")
patterns = st.lists(st.one_of(letters, sets, st.just("*"), st.just("?"), braces), max_size=6).map("".join)


@settings(max_examples=1500, deadline=None)
@given(patterns, st.lists(st.text("ab-_1.^\\&~!", max_size=7), max_size=8))
def test_a_pattern_matches_what_trying_everything_finds(pattern: str, names: list[str]) -> None:
    try:
        found = matching(pattern, names)
    except CommandError as error:
        assert len(forms_of(pattern)) > 64 or "runs backwards" in str(error)
        return
    assert found == [name for name in names if any(fits(form, name) for form in forms_of(pattern))]


@settings(max_examples=500, deadline=None)
@given(st.text("ab*?[]{},!-^\\()|.+$", max_size=30))
def test_any_text_is_a_pattern_or_refused_with_a_reason(text: str) -> None:
    try:
        matching(text, ["ab", "a", ""])
    except CommandError as error:
        assert "is no sound one: " in str(error)


@pytest.mark.parametrize("text", ["osc1", "a,b", "a!", "a-b", "a.b"])
def test_plain_text_is_no_pattern_and_means_itself(text: str) -> None:
    assert not is_pattern(text) and matching(text, [text, "x", text + "x"]) == [text]


@pytest.mark.parametrize(
    "pattern", ["*a" * 100, "?*" * 100, "*{a,b}" * 6 + "*x", "*[!b]" * 60 + "b", "{*a*a,*a*b}" * 6]
)
def test_no_pattern_takes_long_whatever_it_looks_at(pattern: str) -> None:
    """In proportion to pattern and name: a search that goes back would take years for these."""
    started = time.thread_time()
    matching(pattern, ["a" * 64, "a" * 63 + "b"] * 500)
    assert time.thread_time() - started < 5.0


# ---- on an engine


def choir(n: int) -> Patch:
    patch = Patch()
    for k in range(n):
        patch.create(f"osc{k}", "simple_sine").set(f"osc{k}", "freq", 200.0 + 50 * k)
        patch.create(f"env{k}", "adsr").connect(f"osc{k}", f"env{k}")
    return patch


def build_choir(live: Live, n: int) -> None:
    for k in range(n):
        live.client.create(f"osc{k}", "simple_sine")
        live.client.set(f"osc{k}", "freq", 200.0 + 50 * k)
        live.client.create(f"env{k}", "adsr")
        live.client.connect(f"osc{k}", f"env{k}")


def params(live: Live, id: str, which: str = "pending") -> dict[str, Any]:
    nodes = live.client.dump()[which]["nodes"]
    found: dict[str, Any] = next(node["params"] for node in nodes if node["id"] == id)
    return found


def test_what_a_pattern_sets_is_heard_at_one_frame_in_all_modules_and_is_one_answer(tmp_path: Path) -> None:
    with Live(tmp_path) as live:
        build_choir(live, 4)
        begin = live.commit()["frame"]
        live.advance(4800)
        frame = live.engine.frames + 1000
        tag = live.time_of(frame)
        [told] = live.client.send_bundle([commands.SetParam("osc[0-2]", "gain", 0.1)], at=tag)
        assert told.args == (3,)
        [told] = live.client.send_bundle([commands.Gate("{env1,env3}", 0)], at=tag)
        assert told.args == (2,)
        live.advance(9600)
        heard = live.samples()[begin:]
        at = (frame - begin) / 48000
    events: list[Any] = [(at, ("mod", f"osc{k}", "gain", 0.1)) for k in range(3)]
    events += [(at, ("gate", f"env{k}", None, 0)) for k in (1, 3)]
    wanted = stereo(choir(4), len(heard), events=events)
    fade = 480  # from silence to the first patch
    assert_same(heard[fade:], wanted[fade:])


def test_patterns_reach_modules_that_play_and_pending_ones_and_only_those_that_have_the_parameter(live: Live) -> None:
    build_choir(live, 2)
    live.commit()
    live.client.create("filt1", "biquad_filter")
    assert live.client.send(commands.SetParam("*", "frequency", 330.0)).args == (2,)
    assert live.client.send(commands.SetParam("*1", "{cutoff,freq}", 500.0)).args == (2,)
    assert params(live, "osc0", "committed")["freq"] == 330.0 and params(live, "osc1", "committed")["freq"] == 500.0
    assert params(live, "filt1")["cutoff"] == 500.0
    assert live.client.send(commands.Gate("env?", "off")).args == (2,)
    assert params(live, "env0")["gate"] == 0
    live.engine.set("osc*", "gain", 0.25)
    assert params(live, "osc0")["gain"] == params(live, "osc1")["gain"] == 0.25


def test_one_match_that_does_not_take_the_value_leaves_all_as_they_were(live: Live) -> None:
    build_choir(live, 2)
    live.client.create("filt1", "biquad_filter")
    before = live.client.dump()
    with pytest.raises(
        PatchError, match=r"1 of the 3 parameters that match do not take it, so none is set: .*cutoff=5"
    ):
        live.client.set("*", "{freq,cutoff}", 5.0)
    with pytest.raises(EngineError, match="unknown module id 'nobody\\*'"):
        live.client.set("nobody*", "freq", 5.0)
    assert live.client.dump() == before


def test_more_than_a_group_holds_is_refused_and_the_sound_goes_on(tmp_path: Path) -> None:
    with Engine("free", recordings=tmp_path, prime_timeout_ms=60_000, probation_ms=0) as engine:
        for k in range(2100):
            engine.create(f"osc{k}", "simple_sine")
        engine.commit(allow_silence=True)
        with pytest.raises(CommandError, match="4200 parameters match, and 4096 at most"):
            engine.set("*", "{freq,gain}", 0.5)
        results = engine.submit_bundle([commands.SetParam("*", "gain", 0.001 * n) for n in range(3)])
        assert results[0].result(30) == (2100,)
        assert all("4096 at most" in str(r.exception(30)) for r in results[1:])
        results = engine.submit_bundle([commands.SetParam("osc1", "g*", 0.5)] * 100)
        refused = [r for r in results if r.exception(30) is not None]
        assert 20 < len(refused) < 60 and "too many patterns in one bundle" in str(refused[0].exception())
        engine.advance(0.1)
        status = engine.status()
        assert status["counters"]["frames_underrun"] == 0 and status["commands_lost"] == 0


def test_a_pattern_lists_as_one_in_the_engines_own_table(live: Live) -> None:
    [mod] = live.client.commands("/mod")
    assert [a["takes_pattern"] for a in mod["arguments"]] == [True, True, False]
