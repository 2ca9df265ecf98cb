"""SHiRA: a sparse D.

"Rapid Switching and Multi-Adapter Fusion via Sparse High Rank Adapters",
https://arxiv.org/abs/2406.13175.

    shira_weight (n,)   the numbers that are not zero, n = r (out + in)
    shira_indices (2, n)   their rows and columns
"""

from __future__ import annotations

import numpy as np

from plait.algebra.adapter_tensors import AdapterTensors
from plait.algebra.delta import Delta, DeltaOfShape, Dense, Matrix
from plait.algebra.families.form import Form, Parts
from plait.algebra.families.module_tensors import USUAL_RANK, ModuleTensors


def find_delta(adapter: AdapterTensors, module: str, parts: Parts, _: Parts) -> Delta:
    """Return what the module's tensors do to its weight.

    Raises:
        InvalidInput: `shape-mismatch` or `tensor-not-finite`.
    """
    tensors = ModuleTensors(adapter, module, parts)
    numbers = tensors.read("shira_weight", ndim=1)
    rows, columns = tensors.read_indices("shira_indices", ndim=2, below=2**24).reshape(2, -1)
    if not numbers.size == rows.size == columns.size:
        raise tensors.error(f"it has {numbers.size} numbers at {rows.size} places")
    rank = adapter.config.rank or USUAL_RANK

    def give(shape: tuple[int, int]) -> Dense:
        if rows.max() >= shape[0] or columns.max() >= shape[1]:
            raise tensors.error(f"its places lie outside a weight of {shape}")

        def compute() -> Matrix:
            delta = np.zeros(shape)
            np.add.at(delta, (rows, columns), numbers)  # one after another, in their order
            return delta

        return Dense(compute=compute, shape=shape, rank=rank, placement=tensors.placement)

    return DeltaOfShape(given=give, rank=rank, placement=tensors.placement)


FORM = Form(find_delta=find_delta, parts=frozenset({"shira_weight", "shira_indices"}))
