"""What the plan itself costs per node and block: chains of nodes that do nothing.

PYENGINE_MODULES=nothing.so python bench/nodes.py 64 1024    prints {type: {nodes: ns per node and block}} as JSON
"""

from __future__ import annotations

import json
import sys

import numpy as np
from voices import BLOCK_FRAMES, Bank

from pyengine.patch import Patch


def chain(type: str, n: int) -> Patch:
    patch = Patch().create("n0", type)
    for i in range(1, n):
        patch.create(f"n{i}", type).connect(f"n{i - 1}", f"n{i}")
    return patch


def node_ns(type: str, n: int) -> float:
    n_blocks = max(20, 400_000 // n)
    with Bank(chain(type, n)) as bank:
        assert not bank.render(BLOCK_FRAMES).any()
        return bank.block_ns(n_blocks * BLOCK_FRAMES, 9) / n


def main(counts: list[int]) -> None:
    for n in counts:  # every node of such a plan is run, once a block, in order
        with Bank(chain("bench_one_more", n)) as bank:
            assert np.array_equal(bank.render(3 * BLOCK_FRAMES), np.full(3 * BLOCK_FRAMES, n, np.float32))
    types = ("bench_nothing", "bench_params")
    print(json.dumps({type: {n: node_ns(type, n) for n in counts} for type in types}))


if __name__ == "__main__":
    main([int(n) for n in sys.argv[1:]])
