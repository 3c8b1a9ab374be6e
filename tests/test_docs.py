"""Docs that are generated are up to date, and no page names what is not there; tests/test_pages.py runs the pages."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_generated_docs_are_up_to_date() -> None:
    command = [sys.executable, str(ROOT / "docs" / "generate.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_no_page_is_named_that_is_not_there() -> None:
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for name in re.findall(r"docs/[a-z]+\.md|tests/test_[a-z_]+\.py|csrc/[a-z_]+\.[ch]", page.read_text()):
            assert (ROOT / name).exists(), f"{page.name} names {name}"
