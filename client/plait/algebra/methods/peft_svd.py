"""The weighted sum of deltas, cut to a rank, as PEFT's `svd`: D = sum_i w_i D_i.

The numbers of plait's `sum`, so that recipes can name it as PEFT does. PEFT multiplies the deltas
out and decomposes a dense matrix; its outcome is in float32 whatever the inputs were. What PEFT
calls `svd_clamp`, an upper limit on single elements of the factors, is not offered.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from plait.algebra.delta import Matrix
from plait.model.recipe_methods import Value


def coefficients(
    gram: Callable[[], Matrix],  # noqa: ARG001 - the weights decide alone
    weights: Sequence[float],
    parameters: Mapping[str, Value],  # noqa: ARG001
) -> list[float]:
    """Return the weights."""
    return list(weights)
