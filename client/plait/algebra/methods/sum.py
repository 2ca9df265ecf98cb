"""The weighted sum of deltas, as close as a rank allows.

    D = w_1 D_1 + w_2 D_2 + ...

Task arithmetic, https://arxiv.org/abs/2212.04089, equation 2, with a weight for each task vector
and none for their sum; a negative weight takes a task back. Cut to its best approximation of a rank
(Eckart and Young) without being multiplied out, so that order and weights are all that counts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from plait.algebra.delta import Matrix
from plait.model.recipe_methods import Value


def coefficients(
    gram: Callable[[], Matrix],  # noqa: ARG001 - the weights decide alone
    weights: Sequence[float],
    parameters: Mapping[str, Value],  # noqa: ARG001 - the same
) -> list[float]:
    """Return the weights."""
    return list(weights)
