"""OSCQuery: the tree of the playing patch over HTTP, values over WebSockets, and no harm from anybody."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from live import Live
from waiting import wait_until
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from pyengine import Engine, addresses, osc
from pyengine.errors import CommandError, PortInUseError
from pyengine.messages import build, parse
from pyengine.oscquery.namespace import Namespace
from pyengine.serving.guard import Throttle, refusal
from pyengine.specs import registry

TYPES = registry().as_list(48000)
ROWS = addresses.describe()


# ---- the tree


def tree(*nodes: tuple[str, str], **params: Any) -> Namespace:
    namespace = Namespace(TYPES, ROWS)
    namespace.set_patch(patch(*nodes, **params))
    return namespace


def patch(*nodes: tuple[str, str], **params: Any) -> dict[str, Any]:
    return {"nodes": [{"id": id, "type": type, "params": params.get(id, {})} for id, type in nodes]}


def test_a_parameter_has_type_value_range_unit_and_help() -> None:
    namespace = tree(("osc1", "simple_sine"), ("filt1", "biquad_filter"), ("env1", "adsr"), osc1={"freq": 330.0})
    assert namespace.describe("/mod/osc1/freq") == {
        "FULL_PATH": "/mod/osc1/freq",
        "DESCRIPTION": registry().get("simple_sine").param("freq").help,
        "ACCESS": 3,
        "CLIPMODE": ["none"],
        "TYPE": "f",
        "VALUE": [330.0],
        "RANGE": [{"MIN": 0.0, "MAX": 23990.0}],
        "UNIT": ["time.hz"],
    }
    mode = namespace.describe("/mod/filt1/mode")
    assert mode is not None and mode["TYPE"] == "s" and mode["VALUE"] == ["lowpass"]
    assert mode["RANGE"] == [{"VALS": list(registry().get("biquad_filter").param("mode").choices)}]
    gate = namespace.describe("/gate/env1")
    assert gate is not None and (gate["TYPE"], gate["VALUE"], gate["RANGE"]) == ("i", [1], [{"MIN": 0, "MAX": 1}])


def check(node: dict[str, Any], path: str) -> int:
    """Check a node and all below it; return how many values there are."""
    assert node["FULL_PATH"] == path and node["DESCRIPTION"] and node["ACCESS"] in (0, 2, 3)
    if "CONTENTS" in node:
        base = path.rstrip("/")
        return sum(check(inside, f"{base}/{name}") for name, inside in node["CONTENTS"].items())
    for name in ("RANGE", "VALUE", "UNIT", "CLIPMODE"):
        assert name not in node or len(node[name]) == len(node["TYPE"])
    return int("VALUE" in node)


def test_every_parameter_of_every_type_and_every_command_is_in_the_tree() -> None:
    namespace = tree(*[(f"m{n}", row["name"]) for n, row in enumerate(TYPES)])
    root = namespace.describe("/")
    assert root is not None
    n_gates = sum(any(p["is_gate"] for p in row["params"]) for row in TYPES)
    assert check(root, "/") == sum(len(row["params"]) for row in TYPES) + n_gates
    for route in addresses.TABLE:
        node = namespace.describe(route.address)
        assert (node is None) == bool(route.in_address), route.address
    record = namespace.describe("/record/start")
    assert record is not None and (record["ACCESS"], record["TYPE"]) == (2, "s")


def test_every_value_is_told_as_an_osc_message_that_the_engine_takes() -> None:
    namespace = tree(*[(f"m{n}", row["name"]) for n, row in enumerate(TYPES)])
    for n, row in enumerate(TYPES):
        for param in row["params"]:
            message = namespace.message(f"/mod/m{n}/{param['name']}")
            assert message is not None and osc.decode(message)[0].requests[0].command is not None
            assert parse(message, 1024)[0] == f"/mod/m{n}/{param['name']}"
    assert namespace.message("/mod") is None and namespace.message("/patch/commit") is None


def test_what_changes_between_two_patches_is_told_by_path() -> None:
    namespace = tree(("a", "simple_sine"), ("b", "adsr"), ("c", "adsr"))
    changes = namespace.set_patch(patch(("a", "adsr"), ("c", "adsr"), ("d", "adsr"), ("e", "simple_sine")))
    assert changes.removed == ("/mod/b", "/gate/b") and changes.added == ("/mod/d", "/gate/d", "/mod/e")
    assert changes.changed == ("/mod/a",)
    changes = namespace.set_patch(patch(*[(f"x{n}", "adsr") for n in range(200)]))
    assert changes.added == changes.removed == () and changes.changed == ("/mod", "/gate")
    assert namespace.set_value("x1", "gate", 0.0) == ["/mod/x1/gate", "/gate/x1"]
    assert namespace.set_value("a", "gate", 0.0) == [] == namespace.set_value("x1", "none", 0.0)


@given(st.text("/modgate1.-_ \0ä%", max_size=20))
def test_any_path_is_a_node_or_nothing(path: str) -> None:
    node = tree(("osc1", "simple_sine")).describe(path)
    assert node is None or node["FULL_PATH"] == path.rstrip("/") or path == "/"


# ---- who may ask


@pytest.mark.parametrize("host", ["127.0.0.1:80", "localhost:80", "[::1]:80", "127.9.9.9:80"])
def test_who_asks_this_machine_by_address_is_answered(host: str) -> None:
    assert refusal({"Host": host}, 80, True) == ""
    assert refusal({"Host": host, "Origin": f"http://{host}"}, 80, True) == ""
    assert refusal({"Host": host, "Origin": "http://evil.example"}, 80, True) != ""
    assert refusal({"Host": host, "Origin": "null"}, 80, True) != ""
    assert refusal({"Host": host, "Origin": f"https://{host}"}, 80, True) != ""


@pytest.mark.parametrize(
    "host",
    [
        "",
        "evil.example:80",
        "127.0.0.1:81",
        "127.0.0.1",
        "127.0.0.1.evil.example:80",
        "a@127.0.0.1:80",
        "[::1:80",
        "127.0.0.1:80/x",
        "127.0.0.1:80?x",
    ],
)
def test_who_asks_by_another_name_is_refused(host: str) -> None:
    assert refusal({"Host": host}, 80, True) != "" and refusal({"Host": host}, 80, False) != ""


def test_another_machine_may_ask_by_address_where_the_engine_listens_for_it() -> None:
    assert refusal({"Host": "192.168.1.5:80"}, 80, True) != ""
    assert refusal({"Host": "192.168.1.5:80"}, 80, False) == ""


def test_a_throttle_takes_its_rate_and_no_more() -> None:
    throttle = Throttle(100.0, 50.0, most_dropped=1000)
    assert sum(throttle.takes(1.0) for _ in range(200)) == 50
    assert sum(throttle.takes(1.0 + k / 1000) for k in range(1, 1001)) == 100


# ---- on an engine


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Live]:
    with Live(tmp_path, is_recorded=False, oscquery_port=0) as live:
        live.client.create("osc1", "simple_sine")
        live.client.create("env1", "adsr")
        live.client.connect("osc1", "env1")
        live.commit()
        yield live


def get(live: Live, path: str, method: str = "GET", **headers: str) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", live.engine.oscquery_port, timeout=30)
    try:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        body = answer.read()
        return answer.status, json.loads(body) if body else None
    finally:
        connection.close()


@pytest.fixture
def tool(live: Live) -> Iterator[ClientConnection]:
    with connect(f"ws://127.0.0.1:{live.engine.oscquery_port}/", open_timeout=30) as tool:
        yield tool


def listen(tool: ClientConnection, path: str, command: str = "LISTEN") -> None:
    tool.send(json.dumps({"COMMAND": command, "DATA": path}))


def value(tool: ClientConnection) -> tuple[str, Any]:
    message = tool.recv(timeout=30)
    assert isinstance(message, bytes)
    path, args = parse(message, 1024)
    return path, args[0]


def test_a_tool_finds_the_playing_patch_and_its_values(live: Live) -> None:
    status, root = get(live, "/")
    assert status == 200 and list(root["CONTENTS"]["mod"]["CONTENTS"]) == ["osc1", "env1"]
    assert list(root["CONTENTS"]["gate"]["CONTENTS"]) == ["env1"]
    live.client.set("osc1", "freq", 220.0)
    wait_until(lambda: get(live, "/mod/osc1/freq?VALUE") == (200, {"VALUE": [220.0]}))
    assert get(live, "/mod/osc1/freq?UNIT") == (200, {"UNIT": ["time.hz"]})
    assert get(live, "/mod/osc1")[1] == get(live, "/")[1]["CONTENTS"]["mod"]["CONTENTS"]["osc1"]
    live.client.create("osc2", "simple_sine")
    assert get(live, "/mod/osc2")[0] == 404  # it does not play yet
    live.commit()
    wait_until(lambda: get(live, "/mod/osc2/gain?VALUE")[0] == 200)


def test_host_info_names_the_osc_port_and_what_is_understood(live: Live) -> None:
    status, info = get(live, "/?HOST_INFO")
    assert status == 200 and (info["OSC_IP"], info["OSC_PORT"]) == ("127.0.0.1", live.engine.osc_port)
    assert info["OSC_TRANSPORT"] == "UDP" and info["WS_PORT"] == live.engine.oscquery_port
    for name in ("LISTEN", "PATH_CHANGED", "PATH_ADDED", "PATH_REMOVED", "UNIT", "RANGE"):
        assert info["EXTENSIONS"][name] is True


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/mod/nobody", 404),
        ("/mod/osc1/freq/more", 404),
        ("//", 404),
        ("/mod//osc1", 404),
        ("/%00", 404),
        ("/mod?VALUE", 204),
        ("/patch/commit?VALUE", 204),
        ("/mod/osc1/gain?UNIT", 204),
        ("/mod/osc1?NONSENSE", 400),
        ("/?VALUE=1", 400),
    ],
)
def test_what_is_not_there_or_not_understood_has_the_status_of_the_protocol(live: Live, path: str, status: int) -> None:
    assert get(live, path)[0] == status


def test_a_page_of_another_origin_or_name_is_refused(live: Live) -> None:
    assert get(live, "/", Host="evil.example")[0] == 403
    assert get(live, "/", Origin="http://evil.example")[0] == 403
    with pytest.raises(InvalidStatus, match="403"):
        connect(f"ws://127.0.0.1:{live.engine.oscquery_port}/", origin="http://evil.example", open_timeout=30)  # type: ignore[arg-type]
    assert get(live, "/")[0] == 200


def test_a_tool_that_listens_is_told_values_whoever_sets_them(live: Live, tool: ClientConnection) -> None:
    listen(tool, "/mod/osc1/freq")
    assert value(tool) == ("/mod/osc1/freq", 440.0)
    live.client.set("osc1", "freq", 220.0)
    assert value(tool) == ("/mod/osc1/freq", 220.0)
    listen(tool, "/gate/env1")
    assert value(tool) == ("/gate/env1", 1)
    live.engine.gate("env1", 0)
    assert value(tool) == ("/gate/env1", 0)
    listen(tool, "/mod/osc1/freq", "IGNORE")
    listen(tool, "/mod/osc1/gain")
    assert value(tool) == ("/mod/osc1/gain", pytest.approx(0.2))
    live.client.set("osc1", "freq", 330.0)
    live.client.set("osc1", "gain", 0.5)
    assert value(tool) == ("/mod/osc1/gain", 0.5)


def test_a_tool_sets_values_over_its_own_connection(live: Live, tool: ClientConnection) -> None:
    tool.send(build("/mod/osc1/freq", [550.0]))
    tool.send(build("/patch/clear", []))  # not over this way
    wait_until(lambda: live.client.dump()["committed"]["nodes"][0]["params"].get("freq") == 550.0)
    assert len(live.client.dump()["pending"]["nodes"]) == 2


def test_paths_that_come_and_go_are_told(live: Live, tool: ClientConnection) -> None:
    get(live, "/")
    live.client.create("env2", "adsr")
    live.client.delete("osc1")
    live.commit(allow_silence=True)
    told = [json.loads(tool.recv(timeout=30)) for _ in range(3)]
    assert sorted((t["COMMAND"], t["DATA"]) for t in told) == [
        ("PATH_ADDED", "/gate/env2"),
        ("PATH_ADDED", "/mod/env2"),
        ("PATH_REMOVED", "/mod/osc1"),
    ]
    live.client.undo(allow_silence=True)
    told = [json.loads(tool.recv(timeout=30)) for _ in range(3)]
    assert ("PATH_ADDED", "/mod/osc1") in [(t["COMMAND"], t["DATA"]) for t in told]


@pytest.mark.parametrize(
    "message",
    ["", "nonsense", "[]", "{}", '{"COMMAND": "LISTEN"}', '{"COMMAND": 1, "DATA": 2}', "[" * 5000, b"", b"/mod"],
)
def test_nonsense_over_a_websocket_is_passed_over(live: Live, tool: ClientConnection, message: Any) -> None:
    tool.send(message)
    listen(tool, "/mod/osc1/nothing")
    listen(tool, "/mod/osc1/freq")
    assert value(tool)[0] == "/mod/osc1/freq"


def test_a_tool_that_floods_is_cut_and_the_sound_goes_on(live: Live) -> None:
    with connect(f"ws://127.0.0.1:{live.engine.oscquery_port}/", open_timeout=30) as flood:
        sent = build("/mod/osc1/gain", [0.5])
        with pytest.raises(ConnectionClosed):
            for _ in range(200_000):
                flood.send(sent)
    assert get(live, "/mod/osc1/freq")[0] == 200
    live.advance(4800)
    counters = live.counters()
    assert counters["frames_underrun"] == 0 and counters["frames_requested"] == counters["frames_delivered"]


def test_many_tools_and_half_open_connections_leave_the_engine_alone(live: Live) -> None:
    port = live.engine.oscquery_port or 0
    halves = [socket.create_connection(("127.0.0.1", port), timeout=30) for _ in range(40)]
    for half in halves[:20]:
        half.sendall(b"GET / HTTP/1.1\r\nHost: ")
    results: list[int] = []
    askers = [threading.Thread(target=lambda: results.extend(get(live, "/")[0] for _ in range(10))) for _ in range(4)]
    for asker in askers:
        asker.start()
    while any(asker.is_alive() for asker in askers):
        live.client.set("osc1", "freq", 440.0)
        live.advance(480)
    assert results == [200] * 40
    counters = live.counters()
    assert counters["frames_underrun"] == 0 and counters["frames_requested"] == counters["frames_delivered"]
    for half in halves:
        half.close()


def test_the_process_that_serves_may_die_and_comes_back_while_the_sound_goes_on(live: Live) -> None:
    assert get(live, "/")[0] == 200
    query = live.engine._oscquery
    assert query is not None
    before = query.pid
    os.kill(before, signal.SIGKILL)
    live.advance(4800)
    wait_until(lambda: query.starts == 2 and query.pid not in (0, before), 20)
    assert get(live, "/mod/osc1/freq?VALUE") == (200, {"VALUE": [440.0]})
    assert live.counters()["frames_underrun"] == 0


def test_nothing_is_left_when_the_engine_ends(tmp_path: Path) -> None:
    with Live(tmp_path, is_recorded=False, oscquery_port=0) as live:
        assert get(live, "/")[0] == 200
        query = live.engine._oscquery
        assert query is not None
        pid = query.pid
    assert not Path(f"/proc/{pid}").exists()
    with pytest.raises(ConnectionRefusedError):
        get(live, "/")


def test_a_port_that_is_taken_or_osc_that_is_missing_is_refused(live: Live, tmp_path: Path) -> None:
    with pytest.raises(PortInUseError, match="cannot serve OSCQuery"):
        Engine("free", osc_port=0, oscquery_port=live.engine.oscquery_port, recordings=tmp_path)
    with pytest.raises(CommandError, match="oscquery_port is given without osc_port"):
        Engine("free", oscquery_port=0)
