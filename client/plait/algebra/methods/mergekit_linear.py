"""The weighted mean of models as mergekit's `linear`: D = sum_i w_i D_i / sum_i w_i.

mergekit adds up whole weights, of which the base's share is then 1. Its `normalize: false` would
scale the base's weights too where the inputs' do not add up to 1, which no adapter can express:
`mergekit_task_arithmetic` is the sum of deltas that is meant.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from plait.algebra.delta import Matrix
from plait.algebra.methods.mergekit_elements import NO_DIVISOR
from plait.errors import InvalidInput
from plait.model.recipe_methods import Value


def coefficients(
    gram: Callable[[], Matrix],  # noqa: ARG001 - the weights decide alone
    weights: Sequence[float],
    parameters: Mapping[str, Value],  # noqa: ARG001
) -> list[float]:
    """Return the weights' shares.

    Raises:
        InvalidInput: `invalid-recipe`, the weights cancel.
    """
    total = math.fsum(weights)
    if abs(total) < NO_DIVISOR:
        raise InvalidInput(
            "invalid-recipe",
            f"A mean needs weights that do not add up to zero, as {list(weights)} do: take "
            "mergekit_task_arithmetic, which adds deltas without a division.",
            inputs=list(range(len(weights))),
        )
    return [weight / total for weight in weights]
