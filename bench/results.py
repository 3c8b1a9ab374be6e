"""The JSON of a run of `pytest bench`, read and checked."""

from __future__ import annotations

import ast
import json
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from figures import Target
from machine import ROOT


class ResultsError(ValueError):
    """The file is not what --benchmark-json wrote."""


@dataclass(frozen=True)
class Bench:
    """One row of a run. param: what pytest puts in brackets, '' for none. notes: what else it stored, as text."""

    file: str
    function: str
    param: str
    params: dict[str, Any]
    figures: dict[str, float]
    targets: dict[str, Target]
    histograms: dict[str, dict[str, list[float]]]
    notes: dict[str, str]
    stats: dict[str, Any]

    @property
    def title(self) -> str:
        """Return 'module' for test_module."""
        return self.function.removeprefix("test_").replace("_", " ")


@dataclass(frozen=True)
class Results:
    conditions: dict[str, str]
    command: str
    date: str
    not_run: list[dict[str, str]]
    benches: list[Bench] = field(default_factory=list)

    def of_file(self, name: str) -> list[Bench]:
        """Return the benches of a file, named without its folder and its ending."""
        return [bench for bench in self.benches if Path(bench.file).stem == name]


def read(path: Path) -> Results:
    """Return what a run found. Raises ResultsError that says what is wrong with the file."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        benches = [_bench(row) for row in data["benchmarks"]]
    except OSError as error:
        raise ResultsError(
            f"{path} cannot be read ({error}); make it with pytest bench --benchmark-json={path}"
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        what = f"{type(error).__name__}: {error}"
        raise ResultsError(
            f"{path} is not what pytest --benchmark-json writes ({what}); run the bench again"
        ) from error
    own = data.get("pyengine", {})
    machine = {name: str(value) for name, value in data.get("machine_info", {}).items() if isinstance(value, str)}
    return Results(
        own.get("conditions", machine),
        own.get("command", "pytest, without bench/conftest.py"),
        str(data.get("datetime", ""))[:16].replace("T", " "),
        own.get("not_run", []),
        benches,
    )


def _bench(row: dict[str, Any]) -> Bench:
    file, _, rest = row["fullname"].partition("::")
    function = rest.partition("[")[0].rpartition("::")[2]
    extra = dict(row.get("extra_info", {}))
    found, histograms = extra.pop("figures", {}), _histograms(row["fullname"], extra.pop("histogram", None) or {})
    figures = {name: float(value) for name, value in found.items() if isinstance(value, (int, float))}
    for name, value in found.items():
        if isinstance(value, dict) and "counts" in value:
            histograms |= _histograms(row["fullname"], {"" if name == "histogram" else name: value})
    targets = dict(extra.pop("targets", {}))
    for name in targets:
        if name not in figures:
            raise ValueError(f"{row['fullname']} has a target for {name}, but no such figure")
    return Bench(
        file,
        function,
        row.get("param") or "",
        row.get("params") or {},
        figures,
        targets,
        histograms,
        {name: str(value) for name, value in extra.items()},
        row.get("stats", {}),
    )


def _histograms(name: str, found: dict[str, Any]) -> dict[str, dict[str, list[float]]]:
    """One histogram, or several by name; checked. Its edges may be called edges_ms: then ms is their unit."""
    by_name = {}
    for own, histogram in ({"": found} if "counts" in found else found).items():
        key = next((key for key in histogram if key.startswith("edges")), "edges")
        if len(histogram[key]) != len(histogram["counts"]) + 1:
            raise ValueError(f"a histogram of {name} has not one edge more than it has counts")
        unit = key.removeprefix("edges").removeprefix("_")
        label = f"{own}, {unit}".removeprefix(", ") if unit else own
        by_name[label] = {"edges": histogram[key], "counts": histogram["counts"]}
    return by_name


@cache
def _tree(file: str) -> ast.Module | None:
    path = ROOT / file
    return ast.parse(path.read_text(encoding="utf-8")) if path.suffix == ".py" and path.is_file() else None


def file_docstring(file: str) -> str:
    """Return what a bench file says of itself."""
    tree = _tree(file)
    return (ast.get_docstring(tree) if tree else None) or ""


def function_docstring(file: str, function: str) -> str:
    """Return what a bench says of itself, in one paragraph."""
    tree = _tree(file)
    for node in tree.body if tree else []:
        if isinstance(node, ast.FunctionDef) and node.name == function:
            return (ast.get_docstring(node) or "").replace("\n\n", "\0").replace("\n", " ").replace("\0", "\n\n")
    return ""
