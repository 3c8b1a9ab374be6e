"""Shared objects of tests/c, compiled once per process: module types for tests, and the real-time guard.

To use the modules: start a process with PYENGINE_MODULES=<test_modules_path()> in its environment.
"""

from __future__ import annotations

import atexit
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FLAGS = ["-std=c11", "-O2", "-fPIC", "-shared", "-Wall", "-Wextra", "-Wconversion", "-Werror"]


@cache
def _folder() -> Path:
    folder = tempfile.mkdtemp(prefix="pyengine-tests-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


@cache
def shared_object(name: str) -> Path:
    """Return tests/c/<name>.c as a shared object; skips the test where there is no C compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("there is no C compiler on this machine")
    out = _folder() / f"{name}.so"
    source = ROOT / "tests" / "c" / f"{name}.c"
    command = [compiler, *FLAGS, f"-I{ROOT / 'csrc'}", str(source), "-o", str(out), "-lpthread", "-ldl"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return out


def test_modules_path() -> str:
    """Return the path of the module types that only tests use: tests/c/test_modules.c."""
    return str(shared_object("test_modules"))


test_modules_path.__test__ = False  # type: ignore[attr-defined]  # a helper, whatever its name


@pytest.fixture(scope="session")
def test_modules() -> str:
    return test_modules_path()


test_modules.__test__ = False
