"""The page's server without a browser: whom it refuses, what it takes, what it costs, how it ends."""

from __future__ import annotations

import http.client
import importlib.util
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from live import tone
from waiting import wait_until

pytest.importorskip("websockets", reason="the page needs it: pip install 'pyengine[web]'")
from websockets.exceptions import ConnectionClosed, InvalidStatus  # noqa: E402
from websockets.sync.client import ClientConnection, connect  # noqa: E402

from pyengine import Client, Engine, render  # noqa: E402
from pyengine.commands import SeqNotes, SeqPattern, SeqTarget  # noqa: E402
from pyengine.errors import CommandError, PortInUseError  # noqa: E402
from pyengine.eyes import picture  # noqa: E402
from pyengine.eyes.scene import MAX_DRAWN, draw  # noqa: E402
from pyengine.patch import Patch  # noqa: E402
from pyengine.serving.guard import Throttle, refusal  # noqa: E402


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    with Engine("none", osc_port=0, recordings=tmp_path, prime_timeout_ms=20_000, probation_ms=0) as engine:
        engine.create("osc1", "simple_sine")
        engine.commit()
        yield engine


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A page of an engine that tests share: they ask for nothing that is done."""
    folder = tmp_path_factory.mktemp("shared")
    with Engine("none", osc_port=0, recordings=folder, prime_timeout_ms=20_000, probation_ms=0) as engine:
        engine.create("osc1", "simple_sine")
        engine.commit()
        yield engine.open_page()


def page_at(address: str, **options: Any) -> Any:
    return connect(address.replace("http", "ws") + "ws", compression=None, max_size=None, **options)


def get(address: str, path: str = "/", **headers: str) -> tuple[int, str, dict[str, str]]:
    """Return status, body and headers of a request with exactly these headers."""
    place = urlsplit(address)
    connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=20)
    connection.putrequest("GET", path, skip_host="Host" in headers)
    for name, value in headers.items():
        connection.putheader(name, value)
    connection.endheaders()
    response = connection.getresponse()
    body = response.read().decode()
    connection.close()
    return response.status, body, dict(response.headers)


def line_of(page: ClientConnection, kind: str, **wanted: Any) -> dict[str, Any]:
    """Return the next line of a kind that holds what is wanted."""
    until = time.monotonic() + 30
    while time.monotonic() < until:
        data = page.recv(timeout=20)
        if isinstance(data, str):
            line: dict[str, Any] = json.loads(data)
            if line["t"] == kind and all(line.get(name) == value for name, value in wanted.items()):
                return line
    raise AssertionError(f"no line {kind} {wanted} within 30 s")


def picture_of(page: ClientConnection) -> tuple[int, int, bytes]:
    """Return (revision, nodes, bytes) of the next picture."""
    while True:
        data = page.recv(timeout=20)
        if isinstance(data, bytes):
            revision, n_nodes = struct.unpack_from("<2I", data)
            return revision, n_nodes, data


def counts_of(page: ClientConnection) -> dict[str, int]:
    counts: dict[str, int] = line_of(page, "status")["web"]
    return counts


# ---- whom it talks to -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "is_refused"),
    [
        ({"Host": "127.0.0.1:5080"}, False),
        ({"Host": "localhost:5080"}, False),
        ({"Host": "localhost:5080", "Origin": "http://localhost:5080"}, False),
        ({"Host": "127.0.0.1:5080", "Origin": "http://127.0.0.1:5080"}, False),
        ({}, True),
        ({"Host": "127.0.0.1"}, True),
        ({"Host": "127.0.0.1:5081"}, True),
        ({"Host": "evil.example:5080"}, True),
        ({"Host": "127.0.0.1:5080.evil.example"}, True),
        ({"Host": "127.0.0.1:5080", "Origin": "http://evil.example"}, True),
        ({"Host": "127.0.0.1:5080", "Origin": "http://127.0.0.1:5081"}, True),
        ({"Host": "127.0.0.1:5080", "Origin": "https://127.0.0.1:5080"}, True),
        ({"Host": "127.0.0.1:5080", "Origin": "null"}, True),
        ({"Host": "127.0.0.1:5080", "Origin": ""}, True),
    ],
)
def test_only_this_host_and_this_origin_are_served(headers: dict[str, str], is_refused: bool) -> None:
    assert bool(refusal(headers, 5080, is_loopback=True)) == is_refused


def test_a_request_from_elsewhere_gets_403_with_the_reason_and_is_counted(engine: Engine) -> None:
    address = engine.open_page()
    port = urlsplit(address).port
    assert get(address)[0] == 200
    code, text, _ = get(address, Host=f"evil.example:{port}")
    assert code == 403 and "evil.example" in text and address in text
    code, text, _ = get(address, Host=f"127.0.0.1:{port}", Origin="http://evil.example")
    assert code == 403
    with pytest.raises(InvalidStatus, match="403"), page_at(address, origin="http://evil.example"):
        pass
    with page_at(address, origin=address.rstrip("/")) as page:
        assert counts_of(page)["pages_refused"] == 3


def test_it_listens_on_the_loopback_alone(engine: Engine) -> None:
    assert engine.open_page().startswith("http://127.0.0.1:")
    assert engine._feed is not None
    assert engine._feed._listener.getsockname()[0] == "127.0.0.1"


def test_files_come_with_headers_that_keep_other_pages_out(engine: Engine) -> None:
    address = engine.open_page()
    for path, type in (("/", "text/html"), ("/main.js", "text/javascript"), ("/page.css", "text/css")):
        code, body, headers = get(address, path)
        assert code == 200 and len(body) > 500
        assert headers["Content-Type"].startswith(type)
        assert "default-src 'self'" in headers["Content-Security-Policy"]
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff"
    for path in ("/nothing", "/../feed.py", "/%2e%2e/feed.py", "//etc/passwd", "/page/main.js"):
        assert get(address, path)[0] == 404


# ---- what it shows ------------------------------------------------------------------------------------------------


def test_a_page_is_told_the_patch_its_types_and_what_the_engine_does(engine: Engine) -> None:
    with page_at(engine.open_page()) as page:
        hello = line_of(page, "hello")
        assert hello["osc_port"] == engine.osc_port
        assert hello["modules"]["simple_sine"]["params"][0]["unit"] == "Hz"
        patch = line_of(page, "patch")
        assert [(node["id"], node["type"], node["state"]) for node in patch["nodes"]] == [("osc1", "simple_sine", "on")]
        status = line_of(page, "status")["status"]
        assert status["generation"] == 1 and len(status["slots"]) == 2
        revision, n_nodes, data = picture_of(page)
        assert (revision, n_nodes) == (patch["revision"], 1)
        n_floats = 4 + 2 * n_nodes + 2 * picture.SCOPE_FRAMES + picture.BANDS
        assert len(data) == 40 + 4 * n_floats


def test_the_level_of_a_node_is_in_the_picture(engine: Engine) -> None:
    with page_at(engine.open_page()) as page:
        line_of(page, "patch")

        def level() -> float:
            floats = np.frombuffer(picture_of(page)[2], "<f4", offset=40)
            return float(floats[4])

        wait_until(lambda: level() == pytest.approx(0.2, rel=0.05), 20)


def shown_in(data: bytes) -> dict[int, tuple[int, int]]:
    """Return by its number among the nodes what each clock, seq and voices of a picture shows."""
    (n,) = struct.unpack_from("<I", data, 16)
    return {row[0]: row[1:] for row in struct.iter_unpack("<IQQ", data[len(data) - 20 * n :])}


def test_beat_step_and_held_notes_are_in_the_picture(engine: Engine) -> None:
    for id, type in (
        ("clock1", "clock"),
        ("seq1", "seq"),
        ("poly", "voices"),
        ("poly.osc", "osc"),
        ("poly.env", "adsr"),
    ):
        engine.create(id, type)
    engine.connect("poly.osc", "poly.env")
    engine.connect("poly.gate", "poly.env.gate")
    engine.submit(SeqTarget("seq1", ("poly",))).result(30)
    engine.submit(SeqPattern("seq1", "x---")).result(30)
    engine.submit(SeqNotes("seq1", "C4+E4 G9")).result(30)
    engine.set("clock1", "bpm", 600)
    engine.commit()
    with page_at(engine.open_page()) as page:
        line_of(page, "patch")
        pictures = [shown_in(picture_of(page)[2]) for _ in range(60)]
    beats = [rows[1][0] / 2**32 for rows in pictures if 1 in rows]
    steps = [rows[2][0] for rows in pictures if 2 in rows]
    held = {low | high << 64 for low, high in (rows.get(3, (0, 0)) for rows in pictures if rows)}
    assert beats == sorted(beats) and 8 < beats[-1] - beats[0] < 40  # 10 a second, 40 pictures a second
    assert steps == sorted(steps) and all(abs(4 * beat - step) < 2 for beat, step in zip(beats, steps, strict=True))
    assert {1 << 60 | 1 << 64, 1 << 127} <= held  # C4 and E4, then G9


def test_a_patch_without_such_modules_shows_nothing(engine: Engine) -> None:
    with page_at(engine.open_page()) as page:
        line_of(page, "patch")
        assert [shown_in(picture_of(page)[2]) for _ in range(5)] == [{}] * 5


def test_who_plays_whom_is_drawn_and_what_a_cable_does(engine: Engine) -> None:
    patch = Patch()
    for id, type in (("c", "clock"), ("s", "seq"), ("k", "kick"), ("d", "delay")):
        patch.create(id, type)
    patch.give("s", {"pattern": "x", "targets": ["k"], "lanes": {"d.mix": "0 1"}})
    patch.connect("k", "d", 0.5).connect("d", "k.pitch", 2, -1, feedback=True)
    changed = patch.copy()
    changed.connect("k", "d", 0.25)
    drawn = draw(patch, changed)
    ids = {node["handle"]: node["id"] for node in drawn["nodes"]}
    cues = [(ids[cue["from"]], ids[cue["to"]], cue["text"], cue["state"]) for cue in drawn["cues"]]
    assert cues == [("c", "s", "", "on"), ("s", "k", "velocity gate", "on"), ("s", "d", "mix", "on")]
    near, back = drawn["cables"]
    assert (near["depth"], near["is_changed"], near["state"]) == (0.25, True, "on")
    assert (back["is_feedback"], back["depth"], back["offset"], back["dest"]) == (True, 2, -1, "k.pitch")
    assert drawn["nodes"][1]["data"]["pattern"] == "x"
    assert [node["id"] for node in drawn["nodes"] if node.get("is_heard")] == ["d"]


def test_a_command_of_the_page_is_answered_and_logged_and_so_is_a_refusal(engine: Engine) -> None:
    with page_at(engine.open_page()) as page:
        line_of(page, "patch")
        page.send(json.dumps({"address": "/mod/osc1/freq", "args": [330.5]}))
        assert line_of(page, "reply", address="/mod/osc1/freq") | {"ok": True, "args": [330.5]}
        wait_until(lambda: engine.dump()["committed"]["nodes"][0]["params"]["freq"] == 330.5)
        page.send(json.dumps({"address": "/mod/osc1/frequ", "args": [330.5]}))
        told = line_of(page, "log", ok=False)
        assert told["address"] == "/mod/osc1/frequ 330.5" and "did you mean 'freq'?" in told["text"]
        page.send(json.dumps({"address": "/patch/commit", "args": ["sideways", 1]}))
        assert "/patch/commit" in line_of(page, "log", ok=False)["address"]


def test_a_setting_of_the_short_way_is_told_with_its_value(engine: Engine) -> None:
    assert engine.osc_port
    with page_at(engine.open_page()) as page, Client(port=engine.osc_port, timeout_s=20) as client:
        handle = line_of(page, "patch")["nodes"][0]["handle"]
        picture_of(page)
        client.set("osc1", "freq", 555.0)
        assert [handle, 0, 555.0] in line_of(page, "values", is_news=True)["values"]


def test_an_edit_a_commit_and_a_death_are_told_as_they_happen(engine: Engine) -> None:
    with page_at(engine.open_page()) as page:
        line_of(page, "patch")
        engine.create("osc2", "simple_sine")
        engine.connect("osc2", "osc1.freq")
        patch = line_of(page, "patch")
        while len(patch["cables"]) == 0:
            patch = line_of(page, "patch")
        assert [(node["id"], node["state"]) for node in patch["nodes"]] == [("osc1", "on"), ("osc2", "new")]
        assert [(cable["text"], cable["state"]) for cable in patch["cables"]] == [("osc2 → osc1.freq", "new")]
        engine.commit()
        for state in ("priming", "ready", "active"):
            line_of(page, "slot", state=state)
        wait_until(lambda: engine.status()["is_redundant"])
        page.send(json.dumps({"kill": "active"}))
        line_of(page, "slot", state="dead")
        wait_until(lambda: engine.status()["worker_deaths"] == 1)


def test_a_patch_of_many_nodes_is_cut_and_says_so() -> None:
    patch = Patch()
    for n in range(MAX_DRAWN + 10):
        patch.create(f"osc{n}", "simple_sine")
    patch.connect(f"osc{MAX_DRAWN + 1}", "osc0.freq").connect("osc1", "osc0.freq")
    drawn = draw(patch, patch)
    assert (drawn["n_nodes"], len(drawn["nodes"]), len(drawn["cables"])) == (MAX_DRAWN + 10, MAX_DRAWN, 1)


def test_a_module_created_again_under_its_name_stands_beside_the_one_that_plays() -> None:
    playing = Patch().create("osc1", "simple_sine").create("env1", "adsr").connect("osc1", "env1")
    pending = playing.copy()
    pending.delete("osc1").create("osc1", "simple_sine").connect("osc1", "env1")
    drawn = draw(playing, pending)
    assert [(n["id"], n["state"]) for n in drawn["nodes"]] == [("osc1", "gone"), ("env1", "on"), ("osc1", "new")]
    assert sorted(cable["state"] for cable in drawn["cables"]) == ["gone", "new"]


def test_the_spectrum_of_a_tone_has_its_level_at_its_place_whatever_its_frequency() -> None:
    for hz in (55.0, 440.0, 3000.3, 15_000.0):
        x = np.array(render(tone(hz, gain=0.5), frames=2 * picture.FFT_FRAMES))[:, 0]
        bands = picture.spectrum_db(x, 48_000)
        middle = picture.band_hz(48_000)
        best = int(np.argmax(bands))
        assert middle[best] == pytest.approx(hz, rel=0.06)
        assert bands[best] == pytest.approx(-6.02, abs=1.6)  # between two bins a Hann window loses 1.4 dB


def test_the_scope_stands_still_on_a_tone() -> None:
    x = np.array(render(tone(441.0), frames=20_000))[:, 0]
    starts = [
        x[end - picture.FFT_FRAMES : end][picture.trigger(x[end - picture.FFT_FRAMES : end])]
        for end in (9000, 9777, 12_345)
    ]
    assert max(map(abs, starts)) < 0.2 * 2 * np.pi * 441 / 48_000 * 1.01


# ---- what it takes --------------------------------------------------------------------------------------------------


def test_a_throttle_lets_a_burst_and_a_rate_through_and_counts_every_message() -> None:
    throttle = Throttle(rate_a_s=10, burst=5, most_dropped=20)
    assert [throttle.takes(1.0) for _ in range(8)] == [True] * 5 + [False] * 3
    assert throttle.takes(1.1) and not throttle.takes(1.1)
    assert (throttle.received, throttle.taken, throttle.dropped, throttle.is_flooded) == (10, 6, 4, False)
    for _ in range(17):
        throttle.takes(1.1)
    assert throttle.is_flooded and throttle.received == throttle.taken + throttle.dropped == 27


def test_a_browser_that_floods_is_throttled_and_cut_and_the_sound_goes_on(engine: Engine) -> None:
    address = engine.open_page()
    before = engine.status()["counters"]
    message = json.dumps({"address": "/mod/osc1/freq", "args": [300.0]})
    with page_at(address) as other:
        with page_at(address, max_queue=None) as page:  # it reads all the same
            with pytest.raises(ConnectionClosed) as cut:
                for _ in range(1_000_000):
                    page.send(message)
                page.recv(timeout=20)
            assert cut.value.rcvd is not None and cut.value.rcvd.code == 1008
        told: list[dict[str, int]] = []  # the oldest are from before the other page came

        def is_over() -> bool:
            told.append(counts_of(other))
            return (told[-1]["pages"], told[-1]["pages_cut"]) == (1, 1)

        wait_until(is_over)
        counts = told[-1]
        assert counts["pages_cut"] == 1
        assert counts["messages_received"] == counts["messages_taken"] + counts["messages_dropped"]
        assert counts["messages_dropped"] == 4001 and counts["messages_taken"] >= 400
        picture_of(other)
    status = engine.status()
    counters = status["counters"]
    assert counters["frames_requested"] == counters["frames_delivered"] + counters["frames_underrun"]
    assert counters["frames_delivered"] > before["frames_delivered"]
    assert status["osc"]["requests"] == status["osc"]["datagrams"] <= counts["messages_taken"]
    assert counters["diverged_blocks"] == 0


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "3",
        "null",
        '"kill"',
        "{}",
        '{"address": 3}',
        '{"address": "mod"}',
        '{"address": "/mod/osc1/freq", "args": 3}',
        '{"address": "/mod/osc1/freq", "args": [[]]}',
        '{"address": "/mod/osc1/freq", "args": [1, 2, 3, 4, 5, 6, 7, 8, 9]}',
        '{"address": "/mod/osc1/freq", "args": [1e999]}',
        '{"address": "/mod/osc1/freq", "args": [123456789012345678901234567890]}',
        '{"address": "/\\u0000", "args": []}',
        '{"address": "/mod/\\ud800", "args": []}',
        '{"echo": "x"}',
        "[" * 4000,
    ],
)
def test_a_message_that_is_none_is_answered_with_the_reason_and_the_page_goes_on(address: str, text: str) -> None:
    with page_at(address) as page:
        line_of(page, "patch")
        page.send(text)
        assert line_of(page, "reply")["ok"] is False
        page.send(json.dumps({"echo": 7}))
        assert line_of(page, "echo")["n"] == 7


def test_a_message_that_is_too_long_ends_its_page_alone(engine: Engine) -> None:
    address = engine.open_page()
    with page_at(address) as other, page_at(address) as page:
        page.send("x" * 5000)
        with pytest.raises(ConnectionClosed) as cut:
            while True:
                page.recv(timeout=20)
        assert cut.value.rcvd is not None and cut.value.rcvd.code == 1009
        picture_of(other)


def test_a_browser_that_does_not_read_holds_up_nobody_and_keeps_little(engine: Engine) -> None:
    address = engine.open_page()
    assert engine._feed is not None

    def resident_kb() -> int:
        text = Path(f"/proc/{engine._feed.pid}/status").read_text() if engine._feed else ""
        return int(text.split("VmRSS:")[1].split()[0])

    with page_at(address) as other:
        picture_of(other)
        before = resident_kb()
        with socket.create_connection(("127.0.0.1", urlsplit(address).port or 0)) as deaf:
            host = urlsplit(address).netloc
            head = f"GET /ws HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            deaf.sendall(
                f"{head}Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
            )
            for _ in range(150):  # five seconds of pictures for one that reads none: 1.5 MB
                picture_of(other)
            assert counts_of(other)["pages"] == 2
            assert resident_kb() - before < 8000


def test_no_more_than_so_many_pages_are_served(engine: Engine) -> None:
    from contextlib import ExitStack

    address = engine.open_page()
    with ExitStack() as stack:
        for _ in range(16):
            line_of(stack.enter_context(page_at(address)), "hello")
        with pytest.raises(InvalidStatus, match="503"), page_at(address):
            pass


# ---- how it begins and ends -------------------------------------------------------------------------------------


def test_nothing_is_measured_while_no_page_is_open(engine: Engine) -> None:
    address = engine.open_page()

    def metered() -> int:
        return sum(slot["counters"]["metered_blocks"] for slot in engine.status()["slots"])

    assert metered() == 0
    with page_at(address) as page:
        line_of(page, "patch")
        wait_until(lambda: metered() > 100)
    segment = engine._running.segment
    wait_until(lambda: segment.play_block > segment.watched_until, 20)
    n = metered()
    played = segment.play_block
    wait_until(lambda: segment.play_block > played + 200)
    assert metered() == n


def test_a_port_in_use_is_told_with_what_to_do(engine: Engine) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(PortInUseError, match=r"web port \d+ is in use; give another with --web PORT"):
            engine.open_page(taken.getsockname()[1])
    with pytest.raises(CommandError, match="web port 70000 is outside 0..65535"):
        engine.open_page(70000)
    engine.open_page()
    with pytest.raises(CommandError, match="the page is open already"):
        engine.open_page()


def test_without_the_package_it_says_how_to_get_it(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "websockets" else find(name))
    with pytest.raises(CommandError, match=r"pip install 'pyengine\[web\]'"):
        engine.open_page()


def test_without_osc_there_is_no_page(tmp_path: Path) -> None:
    with Engine("free", recordings=tmp_path) as engine, pytest.raises(CommandError, match="give it osc_port"):
        engine.open_page()


def is_there(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_the_page_ends_with_the_engine_however_that_ends(tmp_path: Path, number: int) -> None:
    command = [sys.executable, "-m", "pyengine", "run", "--device", "none", "--osc-port", "0", "--web", "0", "--json"]
    with subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        facts = json.loads(process.stdout.readline())
        with page_at(facts["web"]) as page:
            line_of(page, "hello")
            children = subprocess.run(["ps", "--ppid", str(process.pid), "-o", "pid="], capture_output=True, text=True)
            pids = [int(word) for word in children.stdout.split()]
            os.kill(process.pid, number)
            process.wait(20)
            with pytest.raises((ConnectionClosed, OSError)):
                while True:
                    page.recv(timeout=20)
        wait_until(lambda: not any(map(is_there, pids)), 20)
