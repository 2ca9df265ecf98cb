"""Task arithmetic as mergekit's `task_arithmetic`: D = scale * sum_i w_i D_i.

`normalize` divides by sum_i w_i, or by 1 where that is below 1e-8.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from plait.algebra.delta import Matrix
from plait.algebra.methods.mergekit_elements import sum_of_weights
from plait.model.recipe_methods import Value


def coefficients(
    gram: Callable[[], Matrix],  # noqa: ARG001 - the weights decide alone
    weights: Sequence[float],
    parameters: Mapping[str, Value],
) -> list[float]:
    """Return the weights, normalised and scaled as the parameters say."""
    divisor = sum_of_weights(weights) if parameters["normalize"] is True else 1.0
    scale = float(parameters["scale"])
    return [weight / divisor * scale for weight in weights]
