"""DoRA: the rows of the changed weight, rescaled to learned lengths.

    V = W + gamma B A        W' = m / ||V||_row * V

"DoRA: Weight-Decomposed Low-Rank Adaptation", https://arxiv.org/abs/2402.09353, eq. 5.

    lora_magnitude_vector (out) beside the factors; (dim) for an embedding, (1, out, 1...) for a
    convolution

Rows are those of the adapter's orientation: the outputs of a linear module or a convolution, the
dimensions of an embedding. All in float64 and in a fixed order: gamma B A as
`plait.algebra.dense_delta`, the squares of a row summed in 128 lanes that are folded by halves, one
rounding each for the root, the quotient m / ||V|| and its product with V. PEFT does the same in
float32, or in the base's own dtype.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from plait.algebra.adapter_tensors import AdapterTensors
from plait.algebra.delta import FunctionOfBase, LowRank, Matrix
from plait.algebra.families.form import Parts
from plait.algebra.families.reading import place, read_double, shape_error
from plait.errors import InvalidInput

MAGNITUDE = "lora_magnitude_vector"
_LANES = 128


def find_change(
    adapter: AdapterTensors,
    module: str,
    parts: Parts,
    factors: LowRank,
    inner: LowRank | FunctionOfBase,
) -> FunctionOfBase:
    """Return what DoRA does to a module's weight.

    `inner` is what happens before the rescaling: `factors` are added, and an initialisation may
    have changed the weight already.

    Raises:
        InvalidInput: `shape-mismatch`, the magnitudes are missing or do not fit; what `apply`
            raises, where a row of the changed weight is zero.
    """
    out = factors.shape[0]
    if MAGNITUDE not in parts:
        raise shape_error(adapter, module, f"there is no {MAGNITUDE}, which DoRA needs")
    magnitudes = read_double(adapter, module, parts[MAGNITUDE]).reshape(-1)
    if magnitudes.size != out:
        raise shape_error(
            adapter, module, f"its {MAGNITUDE} has {magnitudes.size} numbers for {out} rows"
        )

    def apply(weight: Matrix) -> Matrix:
        changed = _apply_inner(inner, weight)
        lengths = row_norms(changed.reshape(out, -1))
        if not lengths.all():
            raise InvalidInput(
                "tensor-not-finite",
                f"Row {int(lengths.argmin())} of the weight that {place(adapter.label, module)}, "
                "changes is zero, so that DoRA cannot rescale it: is this its base?",
                input=adapter.label,
                module=module,
            )
        factor = (magnitudes / lengths).reshape(out, *(1 for _ in weight.shape[1:]))
        changed *= factor
        return changed

    return FunctionOfBase(
        apply=apply,
        shape=factors.shape,
        rank=factors.rank,
        placement=factors.placement,
        product=factors,
    )


def row_norms(matrix: Matrix) -> NDArray[np.float64]:
    """Return the Euclidean norm of each row, (out,), summed in a fixed order."""
    lanes = np.zeros((matrix.shape[0], _LANES))
    for start in range(0, matrix.shape[1], _LANES):
        block = matrix[:, start : start + _LANES]
        lanes[:, : block.shape[1]] += block * block
    while lanes.shape[1] > 1:
        half = lanes.shape[1] // 2
        lanes = lanes[:, :half] + lanes[:, half:]
    return np.sqrt(lanes[:, 0])


def _apply_inner(inner: LowRank | FunctionOfBase, weight: Matrix) -> Matrix:
    if isinstance(inner, FunctionOfBase):
        return inner.apply(weight)
    from plait.algebra.dense_delta import multiply_out  # numba, which only computing needs

    delta = multiply_out(inner).reshape(weight.shape)
    delta += weight
    return delta
