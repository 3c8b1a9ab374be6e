"""Writes docs/osc.md and docs/modules.md from the engine's own tables; `--check` only compares."""

from __future__ import annotations

import sys
from pathlib import Path

from pyengine import addresses
from pyengine.events import EVENTS
from pyengine.specs import registry

DOCS = Path(__file__).resolve().parent
NOTE = "<!-- written by docs/generate.py (make docs); edit the tables in the code instead -->\n\n"

OSC_HEAD = """# OSC

UDP, on 127.0.0.1:5005 unless told otherwise. Every request is answered to the address and port that it came
from: `/done ADDRESS ...` or `/fail ADDRESS REASON`, where ADDRESS is the request's and REASON says what is wrong
and how to mend it, with the nearest valid name for one that is unknown.

```sh
oscsend localhost 5005 /patch/create ss osc1 simple_sine
oscsend localhost 5005 /patch/commit
oscsend localhost 5005 /mod/osc1/freq f 660
```

(`oscsend` shows no answers; `pyengine.Client` and any OSC library that listens on its own port do.)

| request | does | answer after its address |
|---|---|---|
"""

OSC_TAIL = """
## Arguments
- Types taken: `i f h d s T F N`; others are refused. Strings up to 1024 bytes, addresses up to 255.
- `/mod/ID/PARAM` takes a number in the parameter's unit (see modules.md) or, where the parameter has named
  choices, a name. Aliases: `frequency` = `freq`, `resonance` = `q`, `filter_mode` = `mode`.
- `/gate/ID` takes 0, 1, true, false, `on`, `off`; anything else is refused. Opening an open gate retriggers.
- `/patch/connect SOURCE DEST`: SOURCE is a module (or `ID.PORT`), DEST a module, `ID.PORT`, or `ID.PARAM` for any
  parameter but deeds: its value is then the setting plus the cable, sample by sample or, where modules.md says so, looked at
  every 16 or 64 frames; a gate with a cable follows the cable alone.
- Options of `/patch/commit` and `/patch/undo` are pairs: `crossfade` ms (0 to 1000; default 5), `allow_silence`
  0 or 1, `timeout` ms (for the commit to be ready; default 500); of `/patch/undo` alone, `discard` 0 or 1.

## Patches
Edits change the pending patch, which starts as a copy of the committed one. `/patch/commit` validates it, builds
and primes it beside the running one, and swaps at a block edge; the answer comes when it is heard:

`generation`, `block` and `frame` of the swap, `received_frame` (where the output stood when the commit came),
`late_blocks`, `ready_ms` (from receiving the datagram to `prime_ready`), `total_ms`, `build_ms`, `prime_ms`, the
`warmup` figures, `carried` (ids that kept their state), `new`, `gone`, `warnings` (what is probably not meant, as `release = 0.5`,
which is half a millisecond, or voices of which nothing follows the notes). Where that does not fit a datagram,
each list is cut to its first 100, and `n_carried`, `n_new`, `n_gone` say how many there are.

A patch may have 16384 nodes and 65536 cables; an edit that goes beyond is refused and names the limit.

A refusal reads `commit refused (REASON): DETAIL`, REASON one of: invalid, silent, not finite, too slow, late,
aborted, busy, worker died, no standby, edits pending. What played plays on, bit for bit, and the edits are kept.

For 500 ms after the swap (`pyengine run --probation`), or until the next commit, the patch is on probation: should what
renders it fail by its own fault, the patch before plays again, and whoever committed gets one more message behind the
`/done`: `/fail /patch/commit commit refused (rolled back): ...`. The edits are pending again.

A commit that comes while another waits or primes is refused as busy. While one is ready and about to be heard (a few
ms), the next waits for its turn, with the patch as it was when it came.

`/patch/undo` commits the patch before this one, and so on down the stack; modules that come back are new ones, with
the values they had; the pending patch is then that one, from the moment the undo begins: edits sent right behind it change
it. While edits are pending, those of a commit that was refused too, it is refused and names them: commit them, `/patch/abort`
them, or `/patch/undo discard 1`.

A parameter or gate of a module that plays changes the sound and the pending patch; of one that is only pending, the
pending patch. Commands sent right behind a commit are not lost: those for new modules take effect with its first frame.

## Sessions
`/session/start NAME` logs all that is played from about now on to `NAME.session` in the recordings folder (no file is
ever overwritten), and answers when the log has begun: `name`, `first_frame` (of the output), `frames`, `records`,
`bytes`, `is_logging`, `error`. It needs both slots in step, and waits for that up to 10 s. `/session/stop` ends it and
answers with the same. `pyengine replay FILE -o OUT.wav` renders it, bit for bit as it was played, silences and
fall-overs included. A disk that is full ends the log, with an `error` in `/session/status`; the sound goes on.

## When a setting takes effect
A `/mod` or `/gate` without a time tag takes effect a fixed number of frames after the one that was put out when its datagram
arrived: all are late by the same, to the sample. `latency_frames` and `latency_ms` in `/engine/status` tell by how much;
it is the shortest that lead and device allow, (effective lead + requested blocks) x block + 0.25 ms, unless more is asked for
(`pyengine run --latency MS`). With `--latency asap`, and on the free-running clock, it takes effect at the first frame of
the next block that is rendered: sooner in the mean, by up to a block apart. What is handled too late for its frame gets the
first that is still open (`stamps_raised`). `/engine/sync` is answered when all before it has taken effect.

Order of arrival is order of effect for each sender, and for each module. What two senders say of two modules may change places:
numbers for modules that play go from the socket to the renderers without Python (`short_requests` of `osc` in
`/engine/status`), and do not wait for others' requests.

## Address patterns
ID and PARAM of `/mod` and ID of `/gate` may be patterns of OSC 1.0: `*` for any letters, `?` for one, `[a-c]` for one of a set,
`[!a-c]` for one outside it, `{osc1,env*}` for one of several. They stand for ids and parameters of the patch, playing
or pending, and mean those modules that have the parameter, or a gate.

```sh
oscsend localhost 5005 '/mod/*/gain' f 0.1
oscsend localhost 5005 '/mod/{osc1,osc2}/freq' f 330
oscsend localhost 5005 '/gate/env?' i 0
```

All that match are set at one frame, or none: one that does not take the value is named in the refusal. There is one answer,
`/done ADDRESS COUNT`; nothing that matches is a refusal. A message, and a bundle, sets at most 4096 parameters so. Nobody's
later request overtakes a pattern. Patterns do not stand for commands: `/patch/*` is refused.

## Over TCP
`pyengine run` on the loopback, with `--osc-tcp-port N` anywhere (or `Engine(osc_tcp_port=N)`), takes the same requests over
TCP beside UDP, by itself at the port of the same number (or any, if that is taken: `osc.tcp.port` in `/engine/status`;
`--osc-tcp-port none`: not at all), and answers on the same connection. Packets stand with their length as 4 bytes before them (OSC 1.0), or between END bytes (OSC 1.1,
SLIP); the first byte of a connection says which, and the answers follow it. `Client(transport="tcp", port=N)` does so.

Requests take effect in the order they came in, over each connection, and for each module with those of all others. Requests
are at most 65507 bytes; answers are not: a `/patch/dump` that fits no datagram comes whole, and reports are not cut. Over UDP such a
question is refused with the TCP port to ask it at; `Client` and the command line do so by themselves. Up to
32 connections; one that takes no byte for 10 s while answers wait for it, or for which more than 64 MB wait, is dropped, with
a line in the log. While more than 1 MB waits for it, nothing more is read from it. What cannot be read is told with a
`/fail` and, where the borders of packets are lost, closed.

## OSCQuery: for tools that find parameters by themselves
`pyengine run --oscquery [PORT]` (5006; or `Engine(oscquery_port=N)`; needs `pip install 'pyengine[web]'`) serves
[OSCQuery](https://github.com/Vidvox/OSCQueryProposal) over HTTP, on the address that OSC has, by default loopback:

```sh
curl 'http://127.0.0.1:5006/?HOST_INFO'             # where the OSC port is, what is understood
curl 'http://127.0.0.1:5006/mod/osc1/freq'          # FULL_PATH, TYPE, ACCESS, VALUE, RANGE, UNIT, DESCRIPTION
curl 'http://127.0.0.1:5006/mod/osc1/freq?VALUE'
```

The tree is that of the playing patch: `/mod/ID/PARAM` (`f`; `i` for whole numbers; `s` with the names in `VALS` for choices),
`/gate/ID` (`i`), and the commands with a fixed address, which can be sent but have no value. 404: nothing is there; 204: it
has no such attribute; 400: an unknown query. Over a WebSocket at any path, `{"COMMAND": "LISTEN", "DATA": PATH}` and `IGNORE`
begin and end the telling of a value, as a binary OSC message, at once and whenever anybody sets it, at most 20 times a second;
`PATH_ADDED`, `PATH_REMOVED` and `PATH_CHANGED` tell what a commit has made of the tree. Binary messages to `/mod` and
`/gate` from the tool are taken; all other commands go to the OSC port.

A process of its own serves this, and is started again if it ends; the engine's processes do nothing for it but answer
its OSC. Requests whose Host is not an address of this machine or whose Origin is another are refused (403); at most 32 tools; one
that sends more than 1000 messages a second is throttled, and then cut, as is one that reads too slowly.

Tools find it by themselves: it is announced by mDNS as `_oscjson._tcp`, and the OSC port as `_osc._udp` (and `_osc._tcp` where
there is one), under the name `pyengine MACHINE PORT`, on the interfaces that it is bound to and no others: on the loopback alone by
default, so that only tools of this machine see it; `--osc-host 0.0.0.0` (or the address of one interface) for a tablet. A name
that is taken gets a number behind. It is withdrawn when the engine ends, however it ends. `--no-announce` for none of it.

## Bundles and time tags
The settings of one bundle take effect at the same frame. A time tag in the future schedules
them to the sample: frame = origin frame + round((tag - origin time) x rate); the origin is in `/engine/status`
(`time_origin_frame`, `time_origin_s`). A tag in the past applies at once and the answer carries `late` as its last
argument. Edits, commits and questions in a bundle are executed on arrival, whatever its tag. Nested bundles are
bundles of their own. At most 4096 messages a bundle, 8 levels, one hour ahead.
"""

EVENTS_HEAD = """
## Being told what happens
`/notify 1` lets the sender be told what happens, by messages to where it asked from; `/notify 1 commits values` of these topics
alone; `/notify 0` ends it. Who is new to slots, recording or counters is told first how they stand. Over UDP a subscription ends
after 60 s (`expires_s` in the answer): ask again before; over TCP it lasts as long as the connection. `Client.subscribe` and
`Client.events` do this from Python.

Events are sent every 50 ms, at most 200 to a subscriber each time; 2000 may wait for one. What finds no room is not told,
but counted, in `/event/lost`. Up to 64 subscribers. While nobody listens nothing is collected.

| event | topic | when | arguments |
|---|---|---|---|
"""

DETAILS_HEAD = """
## Every command
The engine tells the same: `/engine/commands` lists it all, `/engine/commands under /patch` a part, as JSON; a long list
comes in pages: ask again with `first` and the `next` of the answer, until that is -1. `/engine/modules` does the same for
the modules. Types: string; number and integer; switch, which is 0, 1, true, false, `on` or `off`; value, which is a number in
the parameter's unit or the name of a choice.

"""

MODULES_HEAD = """# Modules

Read from the descriptors in csrc/dsp. Ranges are for 48000 Hz where they depend on the rate. A change of a ramped
parameter takes the time given, in frames, whatever the block size.

"cable": a cable drives it at every frame. "cable / 16": the engine looks at the cables every 16 frames and sets the parameter,
as a command for that frame would; "cable / 64" the same, 64 frames later. docs/patches.md has more on both.

"""


def osc_page() -> str:
    """Return docs/osc.md."""
    rows = []
    for route in addresses.TABLE:
        answer = ("JSON: " if route.is_json else "") + ", ".join(field.name for field in route.reply[:4])
        answer += ", ..." if len(route.reply) > 4 else ""
        rows.append(f"| `{_cell(route.usage)}` | {route.help} | {answer if route.reply else ''} |")
    details = "\n".join(_details(route) for route in addresses.TABLE if route.arguments or route.reply)
    return NOTE + OSC_HEAD + "\n".join(rows) + "\n" + OSC_TAIL + _events() + DETAILS_HEAD + details


def _events() -> str:
    """Return what subscribers are told."""
    rows = []
    for event in EVENTS:
        fields = ("JSON: " if event.is_json else "") + ", ".join(field.name for field in event.fields)
        rows.append(f"| `{event.address}` | {event.topic or 'any'} | {_cell(event.help)} | {fields} |")
    return EVENTS_HEAD + "\n".join(rows) + "\n"


def _details(route: addresses.Route) -> str:
    """Return the arguments and the answer of one command."""
    lines = [f"### `{route.address}`", f"{route.help} Example: `{route.example}`", ""]
    if route.arguments:
        lines += ["| argument | type | range | default | |", "|---|---|---|---|---|"]
        lines += [_argument(argument) for argument in route.arguments] + [""]
    if route.reply and route.is_json and route in _same_reply():
        lines += [f"Answers as `{_same_reply()[route].address}` does.", ""]
    elif route.reply:
        lines += [f"| answer{' (JSON)' if route.is_json else ''} | type | unit | |", "|---|---|---|---|"]
        lines += _fields(route.reply) + [""]
    return "\n".join(lines)


def _same_reply() -> dict[addresses.Route, addresses.Route]:
    """Return for each command whose answer stands with an earlier one that earlier one."""
    first: dict[object, addresses.Route] = {}
    return {r: first[r.reply] for r in addresses.TABLE if r.reply and first.setdefault(r.reply, r) is not r}


def _argument(argument: addresses.Argument) -> str:
    name = f"`{argument.name}`" + (" (by name)" if argument.is_option else "")
    default = argument.default if argument.is_optional or argument.is_option else "(needed)"
    unit = f" {argument.unit}" if argument.unit and default not in (None, "") else ""
    shown = "" if default in (None, "") else f"{default:g}" if isinstance(default, float) else default
    return f"| {name} | {argument.kind} | {_cell(argument.range_text)} | {shown}{unit} | {_cell(argument.help)} |"


def _fields(fields: tuple[addresses.Field, ...], prefix: str = "") -> list[str]:
    rows = []
    for field in fields:
        rows.append(f"| `{prefix}{field.name}` | {field.kind} | {field.unit} | {_cell(field.help)} |")
        if field.nested and field.name not in ("recording", "session"):  # those have a table of their own
            rows += _fields(field.nested, f"{prefix}{field.name}{'[]' if field.kind == 'list' else ''}.")
    return rows


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def modules_page() -> str:
    """Return docs/modules.md."""
    parts = []
    for module in registry().modules:
        ports = f"inputs: {', '.join(module.inputs) or 'none'}; outputs: {', '.join(module.outputs)}"
        rows = ["| parameter | range | default | ramp | | |", "|---|---|---|---|---|---|"]
        for p in module.params:
            name = f"`{p.name}`" + (f" (`{p.alias}`)" if p.alias else "")
            ramp = f"{p.ramp_ms:g} ms" if p.is_ramped else "step"
            choices = ", ".join(f"{i} {c}" for i, c in enumerate(p.choices))
            text = f"{p.help}{': ' + choices if choices else ''}"
            unit = f" {p.unit}" if p.unit else ""
            cable = {0: "", 1: "cable"}.get(p.cable_frames, f"cable / {p.cable_frames}")
            rows.append(f"| {name} | {p.range_text(48000)} | {p.default:g}{unit} | {ramp} | {cable} | {text} |")
        parts.append(f"## {module.name}\n{module.help}\n\n{ports}\n\n" + "\n".join(rows) + "\n")
    return NOTE + MODULES_HEAD + "\n".join(parts)


def main() -> int:
    """Write the pages, or with --check tell which are out of date."""
    stale = []
    for name, text in (("osc.md", osc_page()), ("modules.md", modules_page())):
        path = DOCS / name
        if "--check" in sys.argv:
            if not path.exists() or path.read_text(encoding="utf-8") != text:
                stale.append(name)
        else:
            path.write_text(text, encoding="utf-8")
    if stale:
        print(f"out of date: {', '.join(stale)}; run make docs", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
