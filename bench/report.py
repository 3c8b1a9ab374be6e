"""Writes the page of results, and its pictures, from the JSON of one run.

python bench/report.py build/bench/results.json --page docs/benchmarks.md [--command "make bench"]

The pictures go into a folder beside the page that has the page's name. Nothing on the page is typed by hand.
"""

from __future__ import annotations

import argparse
import sys
from itertools import groupby
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent)]

from figures import is_reached, name_and_unit, number_text, required  # noqa: E402
from pictures import draw_all  # noqa: E402
from results import Bench, Results, ResultsError, file_docstring, function_docstring, read  # noqa: E402

MOST_COLUMNS = 8
CONDITIONS = {  # in this order, under these names
    "machine": "machine",
    "system": "system",
    "compiler": "compiler",
    "flags": "flags",
    "isa": "instruction sets",
    "commit": "commit",
    "audio": "audio, where a bench does not say otherwise",
}


def page(results: Results, command: str, pictures: list[tuple[str, str]]) -> str:
    """Return the page as Markdown. pictures: (path as seen from the page, caption)."""
    parts = [
        "# Benchmarks",
        f"Written by `{command}` from one run of the benches: no figure here is typed by hand. How a bench stores its "
        'figures is told in `bench/figures.py`. "Worst" is the worst of this run, and says as much about the machine.',
        "## Measured on",
        _conditions(results, command),
        *_targets(results),
        *_pictures(pictures),
    ]
    for file, of_file in groupby(results.benches, lambda bench: bench.file):
        parts += _file(file, list(of_file))
    parts += _not_run(results)
    return "\n\n".join(parts) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines)


def _conditions(results: Results, command: str) -> str:
    known = {name: results.conditions[name] for name in CONDITIONS if name in results.conditions}
    rows = [[CONDITIONS.get(name, name), text] for name, text in (known or results.conditions).items()]
    rows += [["command", f"`{command}`: `{results.command}`"], ["written", f"{results.date} UTC"]]
    lines = ["| | |", "| --- | --- |", *(f"| {_cell(name)} | {_cell(text)} |" for name, text in rows)]
    return "\n".join(lines)


def _targets(results: Results) -> list[str]:
    rows, n_reached = [], 0
    for bench in results.benches:
        for name, target in bench.targets.items():
            what, unit = name_and_unit(name)
            is_good = is_reached(bench.figures[name], target)
            n_reached += is_good
            where = f"{Path(bench.file).stem.removeprefix('test_')}: {bench.title}"
            where += f" [{bench.param}]" if bench.param else ""
            verdict = "reached" if is_good else "**missed**"
            value = f"{number_text(bench.figures[name])} {unit}".strip()
            rows.append([where, what, value, required(target), verdict])
    if not rows:
        return []
    head = ["bench", "figure", "measured", "required", "verdict"]
    return ["## What must be reached", f"{n_reached} of {len(rows)} reached.", _table(head, rows)]


def _pictures(pictures: list[tuple[str, str]]) -> list[str]:
    if not pictures:
        return []
    return ["## Pictures", *(f"![{caption}]({path})\n\n{caption}" for path, caption in pictures)]


def _file(file: str, benches: list[Bench]) -> list[str]:
    doc = file_docstring(file)
    parts = [f"## {file}", *([doc] if doc else [])]
    for function, of_function in groupby(benches, lambda bench: bench.function):
        rows = list(of_function)
        doc = function_docstring(file, function)
        parts += [f"### {rows[0].title}", *([doc] if doc else [])]
        with_figures = [bench for bench in rows if bench.figures]
        if with_figures:
            parts.append(_figures_table(with_figures))
        without = [bench for bench in rows if not bench.figures]
        if without:
            parts.append(_stats_table(without))
    return parts


def _figures_table(benches: list[Bench]) -> str:
    """A row per bench; or, where there are more figures than fit beside each other, a row per figure."""
    names = list(dict.fromkeys(name for bench in benches for name in bench.figures))
    labels = [bench.param or "this bench" for bench in benches]

    def text(bench: Bench, name: str) -> str:
        return number_text(bench.figures[name]) if name in bench.figures else ""

    def head(name: str) -> str:
        what, unit = name_and_unit(name)
        return f"{what} ({unit})" if unit else what

    if len(names) > MOST_COLUMNS or len(benches) == 1:
        columns = ["figure", *(labels if len(benches) > 1 or benches[0].param else ["measured"])]
        return _table(columns, [[head(name), *(text(bench, name) for bench in benches)] for name in names])
    rows = [[label, *(text(b, name) for name in names)] for label, b in zip(labels, benches, strict=True)]
    return _table(["", *map(head, names)], rows)


def _stats_table(benches: list[Bench]) -> str:
    """What pytest-benchmark itself measured, for benches that store no figures."""
    names = ["median", "min", "max"]
    rows = []
    for bench in benches:
        times = [number_text(1e6 * float(bench.stats[name])) if name in bench.stats else "" for name in names]
        rows.append([bench.param or bench.title, *times, str(bench.stats.get("rounds", ""))])
    return _table(["", *(f"{name} (µs)" for name in names), "rounds"], rows)


def _not_run(results: Results) -> list[str]:
    parts = []
    for outcome, head in (("skipped", "## Skipped"), ("failed", "## Failed")):
        rows = [[row["bench"], row["why"]] for row in results.not_run if row["outcome"] == outcome]
        if rows:
            lines = ["| bench | why |", "| --- | --- |", *(f"| {_cell(bench)} | {_cell(why)} |" for bench, why in rows)]
            parts += [head, "\n".join(lines)]
    return parts


def write(results: Results, path: Path, command: str) -> list[Path]:
    """Write the page and its pictures; return all that was written."""
    folder = path.with_suffix("")
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.png"):
        old.unlink()  # of a bench that is no more
    pictures = draw_all(results, folder)
    links = [(picture.relative_to(path.parent).as_posix(), caption) for picture, caption in pictures]
    path.write_text(page(results, command, links), encoding="utf-8")
    return [path, *(picture for picture, _ in pictures)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, help="what --benchmark-json wrote")
    parser.add_argument("--page", type=Path, required=True, help="the page to write, such as docs/benchmarks.md")
    parser.add_argument("--command", default="pytest bench", help="the command line that the page names")
    arguments = parser.parse_args()
    try:
        results = read(arguments.results)
    except ResultsError as error:
        print(f"report: {error}", file=sys.stderr)
        return 2
    for path in write(results, arguments.page, arguments.command):
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
