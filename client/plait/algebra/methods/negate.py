"""What takes back what one adapter does.

    D = -w D_1

Task arithmetic's forgetting, https://arxiv.org/abs/2212.04089, section 3. The factors stay as they
are but for the sign of B, so that negating twice gives the same bytes again.
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
    """Return the weights with the other sign."""
    return [-weight for weight in weights]
