"""DELLA without the election, as mergekit's `della_linear`.

    p   = (density - epsilon) + 2 epsilon r / (c - 1),   r = 0 .. c-1 the rank of |D_i| in its row
    T_i = m_i D_i ||D_i||_1 / ||m_i D_i||_1,   m_i = 1 with the probability p, else 0
    D   = scale * sum_i w_i T_i

Rows are those of the weight as the base stores it. Of a convolution, a row is (in * kernel) long,
where mergekit ranks along the input channels alone.
"""

from __future__ import annotations

from collections.abc import Sequence

from plait.algebra.delta import Matrix
from plait.algebra.methods.mergekit_elements import add_task_vectors, drop_by_rank
from plait.algebra.methods.options import ElementwiseOptions, Stack


def combine(deltas: Stack, weights: Sequence[float], options: ElementwiseOptions) -> Matrix:
    """Return the outcome (out, in) of deltas (k, out, in).

    Raises:
        InvalidInput: `invalid-recipe`, density and epsilon give no probabilities.
    """
    kept = [drop_by_rank(delta, options, stream) for stream, delta in enumerate(deltas)]
    return add_task_vectors(kept, weights, options).reshape(deltas.shape[1:])
