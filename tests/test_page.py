"""The page in a real browser: what it shows, what its controls do, and that a page from elsewhere gets nothing."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from waiting import wait_until

pytest.importorskip("websockets", reason="the page needs it: pip install 'pyengine[web]'")
from browser import Browser, program  # noqa: E402

from pyengine import Engine  # noqa: E402

IDS = ["osc1", "env1", "filt1"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    program()
    with Browser() as browser:
        yield browser


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """An engine in real time, of one voice, that shows a page."""
    with Engine("none", osc_port=0, recordings=tmp_path, prime_timeout_ms=20_000, probation_ms=0) as engine:
        for id, type in zip(IDS, ("simple_sine", "adsr", "biquad_filter"), strict=True):
            engine.create(id, type)
        engine.connect("osc1", "env1")
        engine.connect("env1", "filt1")
        engine.commit()
        await_redundancy(engine)
        yield engine


@pytest.fixture
def page(engine: Engine, browser: Browser) -> Iterator[Browser]:
    browser.errors.clear()
    browser.open(engine.open_page())
    wait_until(lambda: browser.evaluate("eyes.drawn > 3 && eyes.nodes.length > 0"), 30, 0.02)
    yield browser
    assert browser.errors == []
    browser.open("about:blank")  # before its engine goes


def await_redundancy(engine: Engine) -> None:
    wait_until(lambda: engine.status()["is_redundant"] and engine.status()["commit"] == "none", 30)


def committed(engine: Engine) -> dict[str, dict[str, Any]]:
    """Return the parameters that were set of each module that plays."""
    return {node["id"]: node["params"] for node in engine.dump()["committed"]["nodes"]}


def heard_slot(page: Browser) -> str:
    found: str = page.evaluate("document.querySelector('.slot.is-heard')?.dataset.slot ?? ''")
    return found


def test_the_page_shows_the_modules_of_the_patch_and_draws_their_levels(page: Browser) -> None:
    assert page.texts(".card h3 span:first-child") == IDS
    assert page.evaluate("eyes.nodes.map(n => n.id)") == IDS
    assert page.texts("#counts") == ["3 modules · 2 cables"]
    wait_until(lambda: page.evaluate("[...eyes.levels].filter((_, i) => i % 2 == 0).every(x => x > 0.05)"), 20, 0.02)
    inked = """(id => { const c = document.getElementById(id), g = c.getContext('2d');
      const d = g.getImageData(0, 0, c.width, c.height).data;
      let n = 0; for (let i = 3; i < d.length; i += 4) n += d[i] > 0; return n; })"""
    for canvas in ("still", "live", "scope", "spectrum", "out", "timeline"):
        assert page.evaluate(f"{inked}({canvas!r})") > 100, canvas


def test_there_is_a_control_for_every_parameter_with_its_range_and_unit(page: Browser) -> None:
    names = page.evaluate("[...document.querySelectorAll('[data-param]')].map(e => e.dataset.param)")
    from pyengine.specs import registry

    types = dict(zip(IDS, ("simple_sine", "adsr", "biquad_filter"), strict=True))
    assert names == [f"{id}.{param.name}" for id in IDS for param in registry()[types[id]].params]
    assert page.evaluate("document.querySelector('[data-param=\"env1.gate\"]').className") == "gate on"
    title = page.evaluate("document.querySelector('[data-param=\"filt1.cutoff\"]').closest('.row').title")
    assert "10..23990 Hz" in title


def test_a_slider_that_is_dragged_sets_the_parameter_in_the_engine(page: Browser, engine: Engine) -> None:
    page.drag('[data-param="filt1.cutoff"]', 0.25)
    shown = float(page.evaluate("document.querySelector('[data-number=\"filt1.cutoff\"]').value"))
    assert 40 < shown < 100  # a quarter of the way from 10 to 23990 Hz, for the ear
    wait_until(lambda: committed(engine)["filt1"].get("cutoff") == pytest.approx(shown, rel=0.01))


def test_a_gate_is_a_button(page: Browser, engine: Engine) -> None:
    page.click('[data-param="env1.gate"]')
    wait_until(lambda: committed(engine)["env1"].get("gate") == 0)
    page.await_text('[data-param="env1.gate"]', "closed")


def test_a_setting_made_elsewhere_moves_the_slider(page: Browser, engine: Engine) -> None:
    engine.set("osc1", "freq", 1234.5)
    wait_until(lambda: page.evaluate("document.querySelector('[data-number=\"osc1.freq\"]').value") == "1235", 20, 0.02)
    page.await_text("#lines li", "osc1.freq = 1235 Hz")


def test_a_pending_edit_is_seen_and_a_commit_by_the_button_is_seen_as_a_swap(page: Browser, engine: Engine) -> None:
    before = heard_slot(page)
    engine.create("osc2", "simple_sine")
    page.await_text(".card.new h3", "osc2")
    page.await_text("#phase", "edits pending")
    page.click("#commit")
    page.await_text("#generation", "gen 2")
    wait_until(lambda: heard_slot(page) not in ("", before), 20, 0.02)
    page.await_text("#lines li", "/patch/commit")
    await_redundancy(engine)
    page.await_text("#redundant", "redundant")
    wait_until(lambda: page.evaluate("document.querySelectorAll('.card.new').length") == 0, 20, 0.02)
    states = page.evaluate("eyes.slots.past.map(past => past.map(([_, state]) => state))")
    assert {"priming", "ready", "active"} <= set(states[1 - int(before)])
    page.click("#undo")
    page.await_text("#generation", "gen 3")
    wait_until(lambda: page.texts(".card h3 span:first-child") == IDS, 20, 0.02)


def test_a_worker_killed_by_the_button_is_seen_to_be_replaced(page: Browser, engine: Engine) -> None:
    status = engine.status()
    active, pid = status["active_slot"], status["slots"][status["active_slot"]]["pid"]
    wait_until(lambda: heard_slot(page) == str(active), 20, 0.02)
    page.click("#kill")
    wait_until(lambda: engine.status()["worker_deaths"] == 1)
    wait_until(lambda: heard_slot(page) == str(1 - active), 20, 0.02)
    page.await_text("#lines li", f"slot {active} is dead")
    page.await_text("#lines li", f"slot {active} is replica")
    shown = f".slot[data-slot='{active}'] [data-f=pid]"
    wait_until(lambda: page.texts(shown)[0] not in ("–", str(pid)), 20, 0.02)
    counters = engine.status()["counters"]
    assert counters["diverged_blocks"] == 0
    assert counters["frames_requested"] == counters["frames_delivered"] + counters["frames_underrun"]


def test_what_the_engine_refuses_is_shown_with_the_reason(page: Browser) -> None:
    page.type("#words", "/mod/osc1/frequenzy 3")
    page.await_text("#lines li.bad", "did you mean 'frequency'?")
    page.type("#words", "/patch/connect osc1")
    page.await_text("#lines li.bad", "/patch/connect")


def test_a_page_whose_server_was_killed_comes_back(page: Browser, engine: Engine) -> None:
    import os
    import signal

    assert engine._feed is not None
    os.kill(engine._feed.pid, signal.SIGKILL)
    wait_until(lambda: page.evaluate("document.body.dataset.state") == "gone", 20, 0.02)
    wait_until(lambda: page.evaluate("document.body.dataset.state") == "live", 40, 0.05)
    assert page.texts(".card h3 span:first-child") == IDS
    counters = engine.status()["counters"]
    assert counters["frames_requested"] == counters["frames_delivered"] + counters["frames_underrun"]
    page.errors.clear()  # the browser tells of the connections that were refused meanwhile


@pytest.fixture
def played(engine: Engine, browser: Browser) -> Iterator[Browser]:
    """The page of an engine that plays a pattern, a lane and voices, with a cable that scales."""
    from pyengine.commands import Connect, SeqLane, SeqNotes, SeqPattern, SeqTarget

    for id, type in (
        ("clock1", "clock"),
        ("seq1", "seq"),
        ("poly", "voices"),
        ("poly.osc", "osc"),
        ("poly.env", "adsr"),
    ):
        engine.create(id, type)
    for command in (
        SeqTarget("seq1", ("env1",)),
        SeqPattern("seq1", "x...|X..."),
        SeqNotes("seq1", "C4 E4"),
        SeqLane("seq1", "filt1.cutoff", "800 . 1200"),
        Connect("poly.freq", "poly.osc.freq"),
        Connect("poly.gate", "poly.env.gate"),
        Connect("poly.osc", "poly.env"),
        Connect("poly.env", "filt1", 0.5),
    ):
        engine.submit(command).result(30)
    engine.commit()
    await_redundancy(engine)
    browser.errors.clear()
    browser.open(engine.open_page())
    wait_until(lambda: browser.evaluate("eyes.drawn > 3 && eyes.nodes.length > 0"), 30, 0.02)
    yield browser
    assert browser.errors == []
    browser.open("about:blank")


def data_of(engine: Engine, id: str) -> dict[str, Any]:
    """Return what a module that plays is given besides parameters."""
    found: dict[str, Any] = next(node for node in engine.dump()["committed"]["nodes"] if node["id"] == id)["data"]
    return found


def test_a_sequence_is_drawn_as_steps_of_which_the_one_that_plays_is_lit(played: Browser) -> None:
    steps = played.evaluate("[...document.querySelectorAll('[data-step]')].map(e => e.className.split(' ')[1])")
    assert steps == ["hit", "rest", "rest", "rest", "accent", "rest", "rest", "rest"]
    assert played.texts("[data-word]") == ["C4", "E4", "800", ".", "1200"]
    lit = "document.querySelector('.step.now')?.dataset.step ?? ''"
    seen: set[str] = set()

    def has_seen_three() -> bool:
        seen.add(played.evaluate(lit))
        return len(seen - {""}) >= 3

    wait_until(has_seen_three, 20, 0.02)
    assert seen - {""} <= {f"seq1.{n}" for n in range(8)}
    wait_until(lambda: played.evaluate("document.querySelectorAll('.word.now').length") >= 1, 20, 0.02)


def test_a_click_on_a_step_changes_the_pattern_and_is_heard_with_a_commit(played: Browser, engine: Engine) -> None:
    generation = engine.status()["generation"]
    played.click('[data-step="seq1.1"]')
    wait_until(lambda: data_of(engine, "seq1")["pattern"] == "xx..|X...", 20, 0.02)
    assert engine.status()["generation"] == generation + 1
    played.await_text("#lines li", "/seq/pattern seq1 xx..|X...")
    wait_until(
        lambda: played.evaluate("document.querySelector('[data-step=\"seq1.1\"]').classList.contains('hit')"), 20
    )
    played.evaluate("document.querySelector('[data-step=\"seq1.1\"]').focus()")
    played.press("7")
    wait_until(lambda: data_of(engine, "seq1")["pattern"] == "x7..|X...", 20, 0.02)
    wait_until(lambda: played.evaluate("document.activeElement.dataset.step") == "seq1.1", 20, 0.02)
    played.press("ArrowRight")
    assert played.evaluate("document.activeElement.dataset.step") == "seq1.2"


def test_without_the_tick_a_step_waits_for_the_commit(played: Browser, engine: Engine) -> None:
    played.click("#atonce")
    played.click('[data-step="seq1.2"]')
    wait_until(lambda: played.evaluate("document.querySelectorAll('.step.edited').length") == 1, 20, 0.02)
    assert data_of(engine, "seq1")["pattern"] == "x...|X..."
    played.click("#commit")
    wait_until(lambda: data_of(engine, "seq1")["pattern"] == "x.x.|X...", 20, 0.02)


def test_what_is_typed_over_a_lane_and_refused_is_in_the_log_and_changes_nothing(
    played: Browser, engine: Engine
) -> None:
    played.click('[data-word="seq1.filt1.cutoff.0"]')
    played.fill("input.word", "loud")
    played.await_text("#lines li.bad", "/seq/lane")
    assert data_of(engine, "seq1")["lanes"] == {"filt1.cutoff": "800 . 1200"}
    played.click('[data-word="seq1.filt1.cutoff.0"]')
    played.fill("input.word", "900")
    wait_until(lambda: data_of(engine, "seq1")["lanes"] == {"filt1.cutoff": "900 . 1200"}, 20, 0.02)


def commit_elsewhere(page: Browser, engine: Engine) -> None:
    """Commit; return when the page knows, and that no edits but its own are pending."""
    engine.commit()
    page.await_text("#generation", f"gen {engine.status()['generation']}")


def test_notes_and_velocities_are_added_to_a_sequence_that_has_none_and_to_one_that_has(
    played: Browser, engine: Engine
) -> None:
    def add(name: str, words: str) -> None:
        wait_until(lambda: played.evaluate(f"document.querySelectorAll('[data-add=\"seq1.{name}\"]').length") == 1, 20)
        played.click(f'[data-add="seq1.{name}"]')
        played.fill("input.word", words)

    engine.sequence("seq1", notes="")
    commit_elsewhere(played, engine)
    wait_until(lambda: played.texts("[data-word]") == ["800", ".", "1200"], 20, 0.02)
    assert played.texts("[data-add]") == ["+", "+ notes", "+ velocities"]
    add("notes", "loud")
    played.await_text("#lines li.bad", "/seq/notes")
    assert "notes" not in data_of(engine, "seq1")
    add("notes", "A3 . C4+E4")
    wait_until(lambda: data_of(engine, "seq1").get("notes") == "A3 . C4+E4", 20, 0.02)
    wait_until(lambda: played.texts("[data-word]") == ["A3", ".", "C4+E4", "800", ".", "1200"], 20, 0.02)
    wait_until(lambda: played.evaluate("document.activeElement.dataset.add") == "seq1.notes", 20, 0.02)
    add("notes", "G4")
    wait_until(lambda: data_of(engine, "seq1")["notes"] == "A3 . C4+E4 G4", 20, 0.02)
    add("velocities", "1 0.5")
    wait_until(lambda: data_of(engine, "seq1").get("velocities") == "1 0.5", 20, 0.02)
    add("filt1.cutoff", "2000")
    wait_until(lambda: data_of(engine, "seq1")["lanes"] == {"filt1.cutoff": "800 . 1200 2000"}, 20, 0.02)


def test_what_is_being_typed_stays_when_the_patch_changes_and_is_added_to_what_is_there_by_then(
    played: Browser, engine: Engine
) -> None:
    played.click('[data-add="seq1.notes"]')
    engine.sequence("seq1", notes="D4 F4")
    commit_elsewhere(played, engine)
    told = "eyes.nodes.find(node => node.id === 'seq1').data.notes"
    wait_until(lambda: played.evaluate(told) == "D4 F4", 20, 0.02)
    assert played.evaluate("document.querySelectorAll('input.word').length") == 1
    played.fill("input.word", "G4")
    wait_until(lambda: data_of(engine, "seq1")["notes"] == "D4 F4 G4", 20, 0.02)
    played.click('[data-add="seq1.notes"]')
    engine.sequence("seq1", notes="A3")
    commit_elsewhere(played, engine)
    wait_until(lambda: played.evaluate(told) == "A3", 20, 0.02)
    played.press("Escape")
    wait_until(lambda: played.texts("[data-word]") == ["A3", "800", ".", "1200"], 20, 0.02)


def test_a_keyboard_plays_notes_and_shows_those_that_are_held(played: Browser, engine: Engine) -> None:
    x, y, _ = played.middle_of('[data-note="poly.60"]')
    played.mouse("mousePressed", x, y + 15)
    played.await_text("#lines li", "/note/on poly 60 0.8")
    wait_until(lambda: played.texts("[data-held=poly]") == ["C4"], 20, 0.02)
    played.mouse("mouseReleased", x, y + 15)
    wait_until(lambda: played.texts("[data-held=poly]") == [""], 20, 0.02)
    played.key("keyDown", "d")  # the keyboard that was touched last takes the computer's keys: E, a third above C
    wait_until(lambda: played.texts("[data-held=poly]") == ["E4"], 20, 0.02)
    played.key("keyUp", "d")
    wait_until(lambda: played.texts("[data-held=poly]") == [""], 20, 0.02)


def test_tempo_and_mute_are_set_where_the_tracks_are(played: Browser, engine: Engine) -> None:
    played.fill("[data-quick='clock1.bpm']", "133.5")
    wait_until(lambda: committed(engine)["clock1"].get("bpm") == 133.5, 20, 0.02)
    played.click("[data-mute=seq1]")
    wait_until(lambda: committed(engine)["seq1"].get("mute") == 1, 20, 0.02)
    assert played.evaluate("document.querySelector('[data-mute=seq1]').ariaPressed") == "true"


def test_a_cable_shows_its_depth_which_can_be_changed(played: Browser, engine: Engine) -> None:
    field = "[data-cable='poly.env>filt1'][data-kind=depth]"
    assert played.evaluate(f"document.querySelector({field!r}).value") == "0.5"
    played.fill(field, "0.25")

    def depths() -> list[float]:
        return [row["depth"] for row in engine.dump()["committed"]["cables"] if "depth" in row]

    wait_until(lambda: depths() == [0.25], 20, 0.02)
    played.await_text("#lines li", "/patch/connect poly.env filt1 depth 0.25")


class Elsewhere(BaseHTTPRequestHandler):
    """A page of another origin."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<title>elsewhere</title>")

    def log_message(self, *_: object) -> None:
        pass


def test_a_page_of_another_origin_gets_neither_files_nor_a_socket(engine: Engine, browser: Browser) -> None:
    address = engine.open_page()
    with ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        browser.open(f"http://127.0.0.1:{server.server_port}/")
        code = f"""new Promise(done => {{ const s = new WebSocket({address.replace("http", "ws") + "ws"!r});
          s.onopen = () => done('open'); s.onerror = () => done('refused'); }})"""
        assert browser.evaluate(code) == "refused"
        assert browser.evaluate(f"fetch({address!r}).then(() => 'read', () => 'refused')") == "refused"
        browser.open("about:blank")
        server.shutdown()


@pytest.mark.parametrize(("wide", "high"), [(1920, 1080), (1280, 720), (820, 1180), (390, 844)])
def test_nothing_sticks_out_of_a_window_of_any_size(page: Browser, wide: int, high: int) -> None:
    page.resize(wide, high)
    try:
        assert page.evaluate("document.documentElement.scrollWidth") <= wide
        sizes = page.evaluate(
            "['stage', 'scope', 'spectrum', 'out', 'cards', 'lines'].map(i => document.getElementById(i).clientHeight)"
        )
        assert min(sizes) > 40
    finally:
        page.resize(1440, 900)
