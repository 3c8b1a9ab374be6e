"""What tests compile of csrc and tests/c, once for all processes and all runs.

build/tests keeps it until a source, a header, a flag or the compiler is another one; `make clean` throws it away.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CSRC = ROOT / "csrc"
STORE = ROOT / "build" / "tests"
KEPT_S = 86400.0  # what was not asked for in so long goes
# As the extension is compiled, and nothing is let pass.
STRICT = ["-std=c11", "-O3", "-ffp-contract=off", "-fPIC", "-Wall", "-Wextra", "-Wconversion", "-Werror", f"-I{CSRC}"]


def c_compiler() -> str | None:
    """Return the system's C compiler, CC if that is set."""
    return next(filter(None, map(shutil.which, (os.environ.get("CC", "cc"), "gcc", "clang"))), None)


def made(name: str, words: Iterable[str], make: Callable[[Path], None]) -> Path:
    """Return the folder that make(folder) has filled, now or before, for these words and today's sources.

    words: all that it depends on besides csrc and tests/c. Others who want the same wait for it.
    """
    key = hashlib.sha256("\0".join([_sources(), *words]).encode()).hexdigest()[:20]
    STORE.mkdir(parents=True, exist_ok=True)
    folder, done = STORE / f"{name}-{key}", STORE / f"{name}-{key}" / "done"
    with open(STORE / f"{name}-{key}.lock", "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            _forget_old()
            shutil.rmtree(folder, ignore_errors=True)  # of one who was ended in the middle
            folder.mkdir()
            make(folder)
        done.touch()
    return folder


def objects(compiler: str, flags: Sequence[str], sources: Sequence[Path]) -> dict[Path, Path]:
    """Return the object of each source. Raises CalledProcessError, with what the compiler said, for any word of it."""

    def make(folder: Path) -> None:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(lambda source: _compile(compiler, flags, source, folder / object_name(source)), sources))

    words = [version(compiler), *flags, *map(object_name, sources)]
    folder = made("objects", words, make)
    return {source: folder / object_name(source) for source in sources}


def _compile(compiler: str, flags: Sequence[str], source: Path, out: Path) -> None:
    command = [compiler, *flags, "-c", str(source), "-o", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode or done.stderr:
        raise subprocess.CalledProcessError(done.returncode, command, done.stdout, done.stderr)


def object_name(source: Path) -> str:
    return source.relative_to(ROOT).as_posix().replace("/", "_") + ".o"


@cache
def version(compiler: str) -> str:
    """Return which compiler it is, by whatever name."""
    path = Path(shutil.which(compiler) or compiler).resolve()
    told = subprocess.run([path, "-dumpfullversion", "-dumpversion", "-dumpmachine"], capture_output=True, text=True)
    return f"{path} {told.stdout}"


@cache
def _sources() -> str:
    """Return a digest of everything that may be included."""
    digest = hashlib.sha256()
    for folder in (CSRC, ROOT / "tests" / "c"):
        for path in sorted(folder.rglob("*.[ch]")):
            digest.update(f"{path}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()


def _forget_old() -> None:
    for done in STORE.glob("*/done"):
        if time.time() - done.stat().st_mtime > KEPT_S:
            shutil.rmtree(done.parent, ignore_errors=True)
