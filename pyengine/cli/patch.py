"""pyengine patch: patch files checked, shown, converted, sent to a running engine and fetched from it."""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyengine.cli.shared import (
    EXIT_OK,
    UsageError,
    add_command,
    add_engine_address,
    can_print,
    check_rate,
    print_error,
    print_result,
    print_warning,
    print_warnings,
    running_engine,
    terminal_columns,
)
from pyengine.errors import EngineError, NoReplyError
from pyengine.hints import hints
from pyengine.patch import Patch
from pyengine.patch_file import FORMATS, as_text, format_of, guessed_format, load_patch, patch_of, save_patch, text_of

if TYPE_CHECKING:
    from pyengine.client import Client

EXAMPLES = """
pyengine patch check bells.toml
pyengine patch show bells.toml
pyengine patch load bells.toml         and hear it, on a running engine
pyengine patch dump -o now.toml
"""
_LOOK_S = 0.1  # between two looks at a file that is watched
ABOUT = "A patch file is TOML or JSON, by its name; docs/patches.md has the schema. FILE may be - for stdin."


def add(commands: Any) -> None:
    group = commands.add_parser(
        "patch",
        help="check, show, convert, load and dump patch files",
        description=ABOUT,
        epilog="examples:\n" + "\n".join(f"  {line}" for line in EXAMPLES.strip().splitlines()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = group.add_subparsers(required=True, metavar="COMMAND")
    _add_check(actions)
    _add_show(actions)
    _add_convert(actions)
    _add_load(actions)
    _add_dump(actions)


def _add_check(actions: Any) -> None:
    examples = "pyengine patch check bells.toml\npyengine patch check - --json < bells.json"
    help = "tell all that is wrong in a file, with line and key"
    one = add_command(actions, "check", check, help, examples=examples)
    _add_file(one)


def _add_show(actions: Any) -> None:
    examples = """
    pyengine patch show bells.toml
    pyengine patch show bells.toml --picture bells.svg
    pyengine patch show bells.toml --list
    """
    one = add_command(actions, "show", show, "draw a patch as text, or as a picture", examples=examples)
    _add_file(one)
    one.add_argument("--picture", type=Path, metavar="OUT.png|svg|pdf", help="draw into a file (needs matplotlib)")
    one.add_argument("--list", action="store_true", help="a line for each module, in order of the signal")
    one.add_argument("--width", type=int, metavar="N", help="columns that a drawing may take (the terminal's)")


def _add_convert(actions: Any) -> None:
    examples = "pyengine patch convert bells.toml bells.json\npyengine patch convert bells.json - --to toml"
    one = add_command(actions, "convert", convert, "write a patch in the other format", examples=examples)
    _add_file(one)
    one.add_argument("output", metavar="OUT", help="file to write, .toml or .json; - for stdout")
    one.add_argument("--to", choices=FORMATS, metavar="toml|json", help="format of stdout (toml)")


def _add_load(actions: Any) -> None:
    about = (
        "What the engine plays is turned into the patch of the file: a module of the same id and type stays, and\n"
        "keeps its state. All is one commit; edits that were pending in the engine are thrown away.\n"
        "With --watch and --json it prints one object for each time."
    )
    examples = """
    pyengine patch load bells.toml
    pyengine patch load bells.toml --watch         hear each change as it is saved
    pyengine patch load bells.toml --crossfade 200 --anew
    """
    one = add_command(
        actions, "load", load, "send a patch to a running engine and commit it", examples=examples, about=about
    )
    _add_file(one)
    add_engine_address(one)
    one.add_argument("--watch", action="store_true", help="load it again whenever it changes, until Ctrl-C")
    one.add_argument("--anew", action="store_true", help="let no module keep its state")
    one.add_argument("--crossfade", type=float, metavar="MS", help="of the swap (the engine's setting)")
    one.add_argument("--commit-timeout", type=float, metavar="MS", help="for the commit (the engine's setting)")
    one.add_argument("--allow-silence", action="store_true", help="commit a patch that makes no sound, too")


def _add_dump(actions: Any) -> None:
    examples = "pyengine patch dump\npyengine patch dump -o now.toml\npyengine patch dump --pending -o next.json"
    one = add_command(actions, "dump", dump, "fetch the patch that a running engine plays", examples=examples)
    one.add_argument("-o", "--output", metavar="OUT", help="file to write, .toml or .json; stdout without")
    one.add_argument("--to", choices=FORMATS, metavar="toml|json", help="format of stdout (toml)")
    one.add_argument("--pending", action="store_true", help="with the edits that are not committed")
    add_engine_address(one)


def _add_file(one: argparse.ArgumentParser) -> None:
    one.add_argument("file", metavar="FILE", help="patch file, .toml or .json; - for stdin")
    one.add_argument("--rate", type=float, default=48000, metavar="HZ", help="sample rate to check ranges at (48000)")


# ---- what they do ----


def check(arguments: argparse.Namespace) -> int:
    """Say that a file is a patch. Raises PatchError with all that is wrong."""
    patch = _read(arguments)
    nodes, cables = len(patch.nodes), patch.n_cables
    warnings = hints(patch)
    facts = {"file": arguments.file, "nodes": nodes, "cables": cables, "sample_rate": arguments.rate}
    print_result(
        arguments, facts | {"warnings": warnings}, f"{arguments.file}: {nodes} nodes, {cables} cables, nothing wrong"
    )
    print_warnings(arguments, warnings)
    return EXIT_OK


def show(arguments: argparse.Namespace) -> int:
    """Draw a patch."""
    from pyengine.drawing import as_graph, as_list, layers, save_picture
    from pyengine.routing import ASCII

    patch = _read(arguments)
    facts: dict[str, Any] = {"file": arguments.file, "layers": layers(patch), **patch.to_dict()}
    if arguments.picture is not None:
        save_picture(patch, arguments.picture)
        print_result(arguments, facts | {"picture": str(arguments.picture)}, f"picture: {arguments.picture}")
        return EXIT_OK
    width = terminal_columns() if arguments.width is None else arguments.width
    drawn = "" if arguments.list else as_graph(patch, width)
    if not can_print(drawn):
        drawn = drawn.translate(ASCII)
    print_result(arguments, facts, drawn or as_list(patch))
    return EXIT_OK


def convert(arguments: argparse.Namespace) -> int:
    """Write a patch in a format."""
    _write(arguments, _read(arguments), arguments.output)
    return EXIT_OK


def load(arguments: argparse.Namespace) -> int:
    """Turn what a running engine plays into the patch of a file; with --watch again whenever the file changes."""
    if arguments.watch and arguments.file == "-":
        raise UsageError("--watch needs a file, and not stdin")
    with running_engine(arguments) as client:
        if not arguments.watch:
            _load(arguments, client)
            return EXIT_OK
        seen = None
        while True:
            now = _stamp(arguments.file)
            if now != seen:
                seen = now
                try:
                    _load(arguments, client)
                except NoReplyError:
                    raise
                except EngineError as error:  # what plays plays on; the next change may mend it
                    print_error(error, as_json=arguments.json)
            time.sleep(_LOOK_S)


def _load(arguments: argparse.Namespace, client: Client) -> None:
    from pyengine.difference import anew, edits

    arguments.rate = client.status()["sample_rate"]
    patch = _read(arguments)
    client.abort()
    playing = None if arguments.anew else _playing(client)
    made = anew(patch) if playing is None else edits(playing, patch)
    try:
        client.send_all(made.build)
        report = client.commit(
            crossfade_ms=arguments.crossfade,
            allow_silence=arguments.allow_silence,
            timeout_ms=arguments.commit_timeout,
        )
    except EngineError:
        client.abort()  # it is the file that is to be mended
        raise
    client.send_all(made.settings)
    n = {kind: report.get(f"n_{kind}", len(report[kind])) for kind in ("new", "carried", "gone")}  # lists may be cut
    print_result(
        arguments,
        {"file": arguments.file, "settings": len(made.settings), **report},
        f"{arguments.file}: generation {report['generation']} is heard from frame {report['frame']}: "
        f"{n['new']} new modules, {n['carried']} stay, {n['gone']} gone; "
        f"{report['total_ms']:.1f} ms",
    )
    print_warnings(arguments, report["warnings"])


def _stamp(file: str) -> tuple[int, int]:
    """Return what differs once a file has been written again; an editor may have taken it away for a moment."""
    try:
        found = os.stat(file)
    except OSError:
        return 0, 0
    return found.st_mtime_ns, found.st_size


def dump(arguments: argparse.Namespace) -> int:
    """Write what a running engine plays."""
    if arguments.output is not None:
        format_of(arguments.output)  # before the engine is asked
    with running_engine(arguments) as client:
        found = client.dump()["pending" if arguments.pending else "committed"]
    _write(arguments, Patch.from_json(found), arguments.output or "-")
    return EXIT_OK


def _read(arguments: argparse.Namespace) -> Patch:
    check_rate(arguments)
    if arguments.file != "-":
        return load_patch(arguments.file, sample_rate_hz=arguments.rate)
    text = as_text(sys.stdin.buffer.read(), "<stdin>")
    return patch_of(text, guessed_format(text), name="<stdin>", sample_rate_hz=arguments.rate)


def _write(arguments: argparse.Namespace, patch: Patch, output: str) -> None:
    """Write a patch to a file, or to stdout; there --json asks for JSON."""
    if output == "-":
        kind = arguments.to or "toml"
        print_result(arguments, patch.to_dict(), text_of(patch, kind).rstrip("\n"))
        return
    if arguments.to is not None:
        raise UsageError("--to is the format of stdout; a file has that of its name")
    save_patch(patch, output)
    nodes, cables = len(patch.nodes), patch.n_cables
    print_result(
        arguments, {"file": output, "nodes": nodes, "cables": cables}, f"{output}: {nodes} nodes, {cables} cables"
    )


def _playing(client: Client) -> Patch | None:
    """Return what an engine plays, None where that does not fit its answer."""
    try:
        found = client.dump()
    except NoReplyError:
        raise
    except EngineError as error:
        print_warning(f"every module is a new one, as what plays cannot be fetched: {error}")
        return None
    return Patch.from_json(found["committed"])
