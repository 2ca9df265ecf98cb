"""The weighted mean of deltas: a model soup of adapters.

    D = (w_1 D_1 + w_2 D_2 + ...) / (w_1 + w_2 + ...)

Model soups, https://arxiv.org/abs/2203.05482, the uniform soup where all weights are equal. All
inputs count in the divisor, also those that do not adapt a module: their delta there is zero.
Negative weights are allowed as long as the sum of weights is not zero.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from plait.algebra.delta import Matrix
from plait.errors import InvalidInput
from plait.model.recipe_methods import Value


def coefficients(
    gram: Callable[[], Matrix],  # noqa: ARG001 - the weights decide alone
    weights: Sequence[float],
    parameters: Mapping[str, Value],  # noqa: ARG001 - the same
) -> list[float]:
    """Return each weight's part of their sum.

    Raises:
        InvalidInput: `invalid-recipe`, the sum is zero, or as good as zero.
    """
    total, size = 0.0, 0.0
    for weight in weights:
        total += weight
        size += abs(weight)
    # What cancels to the last digits would be blown up: 0.1 + 0.2 - 0.3 is 6e-17 and means 0.
    if not abs(total) > 1e-12 * size or not math.isfinite(1.0 / total):
        raise InvalidInput(
            "invalid-recipe",
            f"The weights of a mean add up to {total}: give weights whose sum is not zero, or use "
            "the method sum, which does not divide by it.",
            inputs=list(range(len(weights))),
        )
    return [weight / total for weight in weights]
