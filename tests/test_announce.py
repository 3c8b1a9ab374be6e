"""OSCQuery is found: an engine is browsed for by mDNS on the loopback, as tools do, resolved, and asked what it has."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from waiting import wait_until

from pyengine import Client, Engine
from pyengine.oscquery.announce import JSON, TCP, UDP, addresses_of, host_name, service_name
from pyengine.serving.guard import refusal

zeroconf = pytest.importorskip("zeroconf", reason="there is no zeroconf; pip install 'pyengine[web]'")


class Browser:
    """What is announced on the loopback just now, by type and name: (addresses, port, host)."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], tuple[list[str], int, str]] = {}
        self._lock = threading.Lock()
        self._zeroconf = zeroconf.Zeroconf(interfaces=["127.0.0.1"])
        self._browser = zeroconf.ServiceBrowser(self._zeroconf, [JSON, UDP, TCP], self)

    def add_service(self, source: Any, kind: str, name: str) -> None:
        told = source.get_service_info(kind, name)
        if told is not None:
            with self._lock:
                self._found[kind, name] = (told.parsed_addresses(), told.port, told.server)

    update_service = add_service

    def remove_service(self, _: Any, kind: str, name: str) -> None:
        with self._lock:
            self._found.pop((kind, name), None)

    def find(self, kind: str, port: int) -> tuple[str, list[str], str] | None:
        """Return (name, addresses, host) of the service of a type at a port."""
        with self._lock:
            rows = [(name, found) for (its, name), found in self._found.items() if its == kind and found[1] == port]
        return (rows[0][0].removesuffix(f".{kind}"), rows[0][1][0], rows[0][1][2]) if rows else None

    def close(self) -> None:
        self._zeroconf.close()


@pytest.fixture
def browser() -> Iterator[Browser]:
    browser = Browser()
    yield browser
    browser.close()


def found(browser: Browser, kind: str, port: int | None) -> tuple[str, list[str], str]:
    """Wait until a service is announced and return it."""
    wait_until(lambda: browser.find(kind, port or 0) is not None, 30)
    told = browser.find(kind, port or 0)
    assert told is not None
    return told


def get(address: str, port: int, path: str, host: str = "") -> Any:
    connection = http.client.HTTPConnection(address, port, timeout=30)
    connection.request("GET", path, headers={"Host": f"{host}:{port}"} if host else {})
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    assert answer.status == 200, body
    return json.loads(body)


def test_a_tool_finds_the_engine_its_parameters_and_its_osc_port(browser: Browser) -> None:
    with Engine("free", osc_port=0, osc_tcp_port=0, oscquery_port=0, announces=True) as engine:
        assert engine.is_announced and engine.oscquery_port is not None
        engine.create("osc1", "simple_sine")
        engine.commit()
        name, addresses, host = found(browser, JSON, engine.oscquery_port)
        assert addresses == ["127.0.0.1"] and name.startswith("pyengine")
        info = get(addresses[0], engine.oscquery_port, "/?HOST_INFO")
        assert (info["NAME"].startswith("pyengine"), info["OSC_PORT"]) == (True, engine.osc_port)
        wait_until(lambda: "osc1" in get(addresses[0], engine.oscquery_port or 0, "/mod")["CONTENTS"], 30)
        freq = get(addresses[0], engine.oscquery_port, "/mod/osc1/freq", host.rstrip("."))  # by name as well
        assert freq["RANGE"] == [{"MIN": 0.0, "MAX": 23990.0}] and freq["UNIT"] == ["time.hz"]
        _, addresses, _ = found(browser, UDP, engine.osc_port)
        with Client(addresses[0], engine.osc_port or 0, timeout_s=30) as client:
            assert client.status()["nodes"] == 1
        found(browser, TCP, engine.osc_tcp_port)
        ports = ((JSON, engine.oscquery_port), (UDP, engine.osc_port), (TCP, engine.osc_tcp_port))
    for kind, port in ports:
        wait_until(lambda kind=kind, port=port: browser.find(kind, port or 0) is None, 10)  # type: ignore[misc]


def test_two_engines_have_two_names(browser: Browser) -> None:
    with Engine("free", osc_port=0, oscquery_port=0, announces=True) as one:
        with Engine("free", osc_port=0, oscquery_port=0, announces=True) as other:
            port = other.oscquery_port or 0
            names = {
                found(browser, kind, engine.oscquery_port if kind == JSON else engine.osc_port)[0]
                for kind in (JSON, UDP)
                for engine in (one, other)
            }
            assert names == {service_name("pyengine", one.oscquery_port or 0), service_name("pyengine", port)}
        wait_until(lambda: browser.find(JSON, port) is None, 10)
        assert browser.find(JSON, one.oscquery_port or 0) is not None


def test_a_name_that_is_taken_is_left_to_whoever_has_it(browser: Browser) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    name = service_name("pyengine", port)
    other = zeroconf.Zeroconf(interfaces=["127.0.0.1"])
    try:
        taken = zeroconf.ServiceInfo(
            JSON, f"{name}.{JSON}", addresses=[b"\x7f\0\0\1"], port=1, properties={}, server="elsewhere.local."
        )
        other.register_service(taken)
        assert found(browser, JSON, 1)[0] == name
        with Engine("free", osc_port=0, oscquery_port=port, announces=True):
            assert found(browser, JSON, port)[0] == f"{name}-2"
            wait_until(lambda: get("127.0.0.1", port, "/?HOST_INFO")["NAME"] == f"{name}-2", 30)
            assert found(browser, JSON, 1)[0] == name
    finally:
        other.close()


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL, signal.SIGINT])
def test_an_engine_that_is_ended_or_killed_is_announced_no_more(browser: Browser, how: int, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pyengine", "run", "--device", "none", "--osc-port", "0", "--oscquery", "0"]
    with subprocess.Popen(
        [*command, "--json", "--log-level", "error"], cwd=tmp_path, stdout=subprocess.PIPE, text=True
    ) as engine:
        assert engine.stdout is not None
        told = json.loads(engine.stdout.readline())
        assert told["is_announced"] is True
        found(browser, JSON, told["oscquery_port"])
        found(browser, UDP, told["osc_port"])
        os.kill(engine.pid, how)
        assert engine.wait(20) == (-how if how == signal.SIGKILL else 0)
    for kind, port in ((JSON, told["oscquery_port"]), (UDP, told["osc_port"])):
        wait_until(lambda kind=kind, port=port: browser.find(kind, port) is None, 10)  # type: ignore[misc]


def test_the_process_that_announces_is_replaced_when_it_dies(browser: Browser) -> None:
    with Engine("free", osc_port=0, oscquery_port=0, announces=True) as engine:
        found(browser, JSON, engine.oscquery_port)
        assert engine._oscquery is not None
        before = engine._oscquery.pid
        os.kill(before, signal.SIGKILL)
        wait_until(lambda: engine._oscquery.pid not in (0, before), 30)  # type: ignore[union-attr]
        found(browser, JSON, engine.oscquery_port)
        wait_until(
            lambda: get("127.0.0.1", engine.oscquery_port or 0, "/?HOST_INFO")["NAME"].startswith("pyengine"), 30
        )


def test_nothing_is_announced_where_that_is_not_wanted_or_zeroconf_is_missing(tmp_path: Path) -> None:
    run = ["run", "--device", "none", "--osc-port", "0", "--oscquery", "0", "--log-level", "warning"]
    silent = "import sys; from pyengine import cli; sys.exit(cli.main([*sys.argv[1:], '--no-announce']))"
    without = "import sys, importlib.util as u; f = u.find_spec; "
    without += "u.find_spec = lambda n, *a: None if n == 'zeroconf' else f(n, *a); "
    without += "from pyengine import cli; sys.exit(cli.main(sys.argv[1:]))"
    for code, told in ((silent, ""), (without, "pip install 'pyengine[web]'")):
        with subprocess.Popen(
            [sys.executable, "-c", code, *run],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as engine:
            assert engine.stdout is not None
            lines = [engine.stdout.readline() for _ in range(4)]  # with the one of OSC over TCP
            engine.terminate()
            _, errors = engine.communicate(timeout=20)
        assert lines[3].startswith("OSCQuery on http://127.0.0.1:") and "announced" not in lines[3]
        assert told in errors and ("not announced" in errors) == bool(told)


def test_addresses_are_those_that_a_server_is_bound_to() -> None:
    assert addresses_of("127.0.0.1") == addresses_of("localhost") == ["127.0.0.1"]
    everywhere = addresses_of("0.0.0.0")
    assert everywhere and len(set(everywhere)) == len(everywhere)
    assert everywhere == ["127.0.0.1"] or not any(address.startswith("127.") for address in everywhere)


def test_the_announced_name_may_be_asked_and_no_other() -> None:
    name = host_name(5006)
    assert name.endswith("-5006.local") and " " not in name
    assert refusal({"Host": f"{name}:5006"}, 5006, True, (name,)) == ""
    assert refusal({"Host": f"{name}:5007"}, 5006, True, (name,)) != ""
    assert refusal({"Host": "pyengine-elsewhere-5006.local:5006"}, 5006, True, (name,)) != ""
    assert refusal({"Host": f"{name}:5006"}, 5006, True) != ""
