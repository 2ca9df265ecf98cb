"""C3A: D made of circulant blocks.

"Parameter-Efficient Fine-Tuning via Circular Convolution", https://arxiv.org/abs/2407.19342;
the factor 1 / in is PEFT's.

    c3a_kernel (out / b, in / b, b)   D[m b + p, n b + q] = kernel[m, n, (q - p) mod b] / in

Nothing is summed, so that no Fourier transform is needed.
"""

from __future__ import annotations

import numpy as np

from plait.algebra.adapter_tensors import AdapterTensors
from plait.algebra.delta import Delta, Dense, Matrix
from plait.algebra.families.form import Form, Parts
from plait.algebra.families.module_tensors import USUAL_RANK, ModuleTensors


def find_delta(adapter: AdapterTensors, module: str, parts: Parts, _: Parts) -> Delta:
    """Return what the module's tensors do to its weight.

    Raises:
        InvalidInput: `shape-mismatch` or `tensor-not-finite`.
    """
    tensors = ModuleTensors(adapter, module, parts)
    kernel = tensors.read("c3a_kernel", ndim=3)
    rows, columns, size = kernel.shape
    shape = (rows * size, columns * size)

    def compute() -> Matrix:
        step = np.arange(size)
        turned = kernel[:, :, (step - step[:, None]) % size]  # (out / b, in / b, b, b)
        delta: Matrix = turned.transpose(0, 2, 1, 3).reshape(shape) / shape[1]
        return delta

    return Dense(compute=compute, shape=shape, rank=USUAL_RANK, placement=tensors.placement)


FORM = Form(find_delta=find_delta, parts=frozenset({"c3a_kernel"}))
