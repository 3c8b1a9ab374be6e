"""Builds the C core as the extension pyengine._core (cffi, API mode).

csrc/api.h is read twice: here as the cdef, and by the compiler through pe.h. Nothing is declared twice.
"""

from __future__ import annotations

import os
import sys
import zlib
from pathlib import Path

from cffi import FFI

ROOT = Path(__file__).resolve().parent
CSRC = ROOT / "csrc"

# No -ffast-math and no contraction: every machine and every instruction set gives the same bits.
FLAGS = ["-std=c11", "-O3", "-ffp-contract=off", "-fno-math-errno", "-fvisibility=hidden", "-Wall", "-Wextra"]


def sources() -> list[str]:
    """Every C source of the core, relative to the project, in a fixed order."""
    return sorted(path.relative_to(ROOT).as_posix() for path in CSRC.rglob("*.c"))


def headers() -> list[str]:
    """Every header: a change of one rebuilds the extension."""
    return sorted(path.relative_to(ROOT).as_posix() for path in CSRC.rglob("*.h"))


API = (CSRC / "api.h").read_bytes()

ffibuilder = FFI()
ffibuilder.cdef(API.decode("utf-8") + "\n#define PE_API_CRC ...\n")  # _native.py tells a build of another api.h by it
ffibuilder.set_source(
    "pyengine._core",
    '#include "pe.h"\n',
    sources=sources(),
    depends=headers(),
    include_dirs=[os.path.relpath(CSRC, os.getcwd())],
    define_macros=[("PE_API_CRC", str(zlib.crc32(API)))],
    extra_compile_args=FLAGS + os.environ.get("PYENGINE_CFLAGS", "").split(),
    extra_link_args=os.environ.get("PYENGINE_LDFLAGS", "").split(),
    libraries=["pthread", "dl"] if sys.platform.startswith("linux") else [],
)

if __name__ == "__main__":
    os.chdir(ROOT)
    ffibuilder.compile(verbose=True)
