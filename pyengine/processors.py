"""Which processors the two renderers keep to: never the same, so that what holds one of them up leaves the other alone.

A processor may be held up for milliseconds, by firmware, by a storm of interrupts or by the host of a virtual machine,
and what runs or is to wake on it waits. Two renderers that the kernel puts on one processor are then late both, and
nobody has the block. Apart, one of them has it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

_TOPOLOGY = "/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"

Halves = tuple[frozenset[int], frozenset[int]]


def halves(processors: Sequence[int], cores: Mapping[int, str]) -> Halves | None:
    """Return the processors of either renderer, None where there is only one.

    cores: what tells the core of a processor; processors of one core stay together, unless there is no other core.
    Cores are dealt out in turn, so that both have some of each socket and of each kind.
    """
    by_core: dict[str, list[int]] = {}
    for processor in sorted(processors):
        by_core.setdefault(cores.get(processor, str(processor)), []).append(processor)
    groups = list(by_core.values()) if len(by_core) > 1 else [[processor] for processor in sorted(processors)]
    if len(groups) < 2:
        return None
    first, second = (frozenset(p for group in groups[part::2] for p in group) for part in range(2))
    return first, second


def halves_here() -> Halves | None:
    """Return the halves of the processors that this process may use; None where there is one, or no way to ask."""
    if not hasattr(os, "sched_getaffinity"):
        return None
    processors, cores = sorted(os.sched_getaffinity(0)), {}
    for processor in processors:
        with suppress(OSError):
            cores[processor] = Path(_TOPOLOGY.format(processor)).read_text(encoding="ascii").strip()
    return halves(processors, cores)


@contextmanager
def keeping_to(processors: frozenset[int]) -> Iterator[frozenset[int]]:
    """Threads that are started within keep to these processors, as far as they may; yields those they keep to."""
    before = os.sched_getaffinity(0)
    with suppress(OSError):  # a set of processors that has changed since: wherever they may be
        os.sched_setaffinity(0, processors)
    try:
        yield frozenset(os.sched_getaffinity(0))
    finally:
        with suppress(OSError):
            os.sched_setaffinity(0, before)
