"""`make bench` in small: a bench is really run, and the page is made of what it wrote."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / "bench"))
PNG = b"\x89PNG\r\n\x1a\n"
pytest.importorskip("matplotlib", reason="the page has pictures; pip install 'pyengine[test]'")

import figures  # noqa: E402

# What a bench may find, in one file: figures with targets, a histogram, one that does not run here, one that is wrong.
BENCHES = '''"""Benches of a bench."""
import time
import numpy as np
import pytest
from figures import at_least, at_most

@pytest.mark.parametrize("n", [1, 64])
def test_voices(n, figures):
    """Voices."""
    figures(f"{n}", avx2_ns_per_voice_sample=2.0 / n, sse2_ns_per_voice_sample=3.0)

def test_latency(figures):
    """Late."""
    figures("late", p99_ms=4.5, p50_ms=1.25)
    figures.histogram("late, ms", np.arange(100.0))
    figures.want({"p99_ms": at_most(5), "p50_ms": at_least(2)})

def test_by_hand(benchmark):
    benchmark.pedantic(time.sleep, args=(0.001,), rounds=2)
    benchmark.extra_info["figures"] = {"scsynth_over_pyengine_ratio": 6.25}

def test_plain(benchmark):
    benchmark(len, "x")

def test_of_another_machine(figures):
    figures("half", half_ms=0.5)
    pytest.skip("there is no frobnicator; Debian: apt install frobnicator")

def test_skipped_while_it_is_timed(benchmark):
    benchmark.pedantic(pytest.skip, args=("no luck",), rounds=1)

def test_that_is_wrong(figures):
    figures("half", half_ms=0.25)
    figures("said", lost=float("nan"))
'''


def run_bench(paths: list[str], folder: Path, *arguments: str, cwd: Path = ROOT) -> tuple[int, Path]:
    """Run benches as `make bench` does; return the exit code and the JSON."""
    out = folder / "results.json"
    command = [sys.executable, "-m", "pytest", *paths, *arguments, "--benchmark-quiet", f"--benchmark-json={out}"]
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "PYENGINE"))}
    done = subprocess.run(command, cwd=cwd, env=kept, capture_output=True, text=True, timeout=120)
    assert out.exists() and out.stat().st_size > 0, done.stdout + done.stderr
    return done.returncode, out


def report(results: Path, page: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "bench" / "report.py"), str(results), "--page", str(page)]
    return subprocess.run(
        [*command, "--command", "make bench"], capture_output=True, text=True, timeout=120, cwd=page.parent
    )


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[int, dict[str, Any], str, Path]:
    """Return exit code, JSON, page and folder of a run of BENCHES with the fixtures of bench/conftest.py."""
    folder = tmp_path_factory.mktemp("small")
    (folder / "bench" / "peers").mkdir(parents=True)
    (folder / "bench" / "conftest.py").symlink_to(ROOT / "bench" / "conftest.py")
    (folder / "pytest.ini").write_text("[pytest]\naddopts = -q -p no:cacheprovider\nfilterwarnings = error\n")
    (folder / "bench" / "test_voice.py").write_text(BENCHES)
    by_hand = BENCHES[BENCHES.index("def test_by_hand") : BENCHES.index("def test_plain")]
    (folder / "bench" / "peers" / "test_peers.py").write_text("import time\n" + by_hand)
    code, results = run_bench(["bench"], folder, cwd=folder)
    page = folder / "page.md"
    done = report(results, page)
    assert done.returncode == 0, done.stderr
    return code, json.loads(results.read_text()), page.read_text(), folder


def test_a_figure_is_a_number_that_is_stored_once_and_a_target_is_for_a_figure() -> None:
    extra_info: dict[str, Any] = {}
    lines: list[str] = []
    found = figures.Figures(extra_info, lines.append)
    found("said", late_p99_ms=5.0)
    with pytest.raises(ValueError, match="there already"):
        found("again", late_p99_ms=6.0)
    with pytest.raises(ValueError, match="is inf"):
        found("none", late_worst_ms=float("inf"))
    with pytest.raises(ValueError, match="no figure late_p50_ms to be at most 3"):
        found.want({"late_p50_ms": figures.at_most(3)})
    with pytest.raises(ValueError, match="asks for nothing"):
        found.want({"late_p99_ms": {}})
    found.want({"late_p99_ms": figures.at_most(5)})
    assert lines == ["said", "         required: late p99 at most 5 ms: 5, reached"]
    assert extra_info["figures"] == {"late_p99_ms": 5.0}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("ready_p99_ms", ("ready p99", "ms")),
        ("avx2_ns_per_voice_sample", ("avx2", "ns per voice-sample")),
        ("ns_per_sample", ("ns per sample", "")),
        ("swaps", ("swaps", "")),
        ("late_swaps", ("late swaps", "")),
    ],
)
def test_the_unit_of_a_figure_is_the_end_of_its_name(name: str, text: tuple[str, str]) -> None:
    assert figures.name_and_unit(name) == text


def test_a_histogram_holds_every_value() -> None:
    extra_info: dict[str, Any] = {}
    found = figures.Figures(extra_info, print)
    found.histogram("a", [1.0 + i / 1000 for i in range(999)] + [1e6])
    found.histogram("all alike", [2.0] * 10)
    assert [sum(h["counts"]) for h in extra_info["histogram"].values()] == [1000, 10]
    assert extra_info["histogram"]["a"]["edges"][-1] < 10.0  # one that is far off does not hide the others


def rows(page: str, start: str) -> list[list[str]]:
    """Return the cells of the rows that begin so."""
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in page.splitlines()
        if line.startswith(f"| {start}")
    ]


def test_a_real_bench_is_on_the_page_with_the_figures_it_measured(tmp_path: Path) -> None:
    code, results = run_bench(["bench/test_modules.py"], tmp_path, "-k", "adsr and steady")
    assert code == 0
    page = tmp_path / "docs" / "benchmarks.md"
    page.parent.mkdir()
    done = report(results, page)
    assert done.returncode == 0, done.stderr
    text = page.read_text()
    (bench,) = json.loads(results.read_text())["benchmarks"]
    ns = bench["extra_info"]["figures"]["ns_per_sample"]
    assert 0.0 < ns < 1000.0
    shown = dict(row[:2] for row in rows(text, "ns per sample"))
    assert float(shown["ns per sample"]) == pytest.approx(ns, rel=5e-3)
    assert "Every module alone" in text
    (compiler,) = rows(text, "compiler")
    (flags,) = rows(text, "flags")
    assert compiler[1] and "-ffp-contract=off" in flags[1]
    assert len(rows(text, "machine")) == len(rows(text, "commit")) == len(rows(text, "audio")) == 1
    assert "`make bench`" in text and "bench/test_modules.py -k adsr and steady" in text
    assert "](benchmarks/modules.png)" in text
    assert (page.parent / "benchmarks" / "modules.png").read_bytes().startswith(PNG)


def test_the_verdict_of_a_target_is_computed(small: tuple[int, dict[str, Any], str, Path]) -> None:
    _, _, page, _ = small
    verdicts = {tuple(row[1:4]): row[4] for row in rows(page, "voice: latency")}
    assert verdicts == {("p99", "4.50 ms", "at most 5"): "reached", ("p50", "1.25 ms", "at least 2"): "**missed**"}
    assert "1 of 2 reached." in page


def test_a_bench_that_stores_its_figures_by_hand_is_on_the_page_too(
    small: tuple[int, dict[str, Any], str, Path],
) -> None:
    _, _, page, folder = small
    assert ["scsynth over pyengine (x)", "6.25"] in rows(page, "scsynth")
    assert (folder / "page" / "peers.png").read_bytes().startswith(PNG)


def test_a_bench_without_figures_shows_what_pytest_benchmark_measured(
    small: tuple[int, dict[str, Any], str, Path],
) -> None:
    _, results, page, _ = small
    (plain,) = [b for b in results["benchmarks"] if b["name"] == "test_plain"]
    (row,) = rows(page, "plain")
    assert float(row[1]) == pytest.approx(1e6 * plain["stats"]["median"], rel=5e-3)


def test_what_did_not_run_is_named_with_the_reason(small: tuple[int, dict[str, Any], str, Path]) -> None:
    code, _, page, _ = small
    assert code == 1  # a bench that is wrong is no success
    skipped, failed = page.split("## Skipped")[1].split("## Failed")
    assert "test_of_another_machine" in skipped and "apt install frobnicator" in skipped
    assert "test_skipped_while_it_is_timed" in skipped and "no luck" in skipped
    assert "test_that_is_wrong" in failed and "the figure lost is nan" in failed
    assert "half" not in page  # what it stored before does not count


def test_pictures_are_drawn_of_what_there_is(small: tuple[int, dict[str, Any], str, Path]) -> None:
    _, _, page, folder = small
    names = {path.name for path in (folder / "page").iterdir()}
    assert names == {"voices.png", "peers.png", "histogram-late-ms.png"}
    assert all((folder / "page" / name).read_bytes().startswith(PNG) for name in names)
    assert all(f"](page/{name})" in page for name in names)


def test_an_unrelated_file_is_refused_with_the_way_to_make_one(tmp_path: Path) -> None:
    for content in ("", "{}", '{"benchmarks": [{"fullname": 3}]}', '{"benchmarks": 3}'):
        (tmp_path / "other.json").write_text(content)
        done = report(tmp_path / "other.json", tmp_path / "page.md")
        assert done.returncode == 2 and "run the bench again" in done.stderr, done.stderr
    done = report(tmp_path / "none.json", tmp_path / "page.md")
    assert done.returncode == 2 and "--benchmark-json" in done.stderr
    assert not (tmp_path / "page.md").exists()
