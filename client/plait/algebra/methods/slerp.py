"""Between two deltas along the arc from one direction to the other.

With u_i = D_i / |D_i|, cos(a) = <u_1, u_2> and t = w_2 / (w_1 + w_2):

    D = ((1 - t) |D_1| + t |D_2|) * (sin((1 - t) a) u_1 + sin(t a) u_2) / sin(a)

Shoemake, "Animating rotation with quaternion curves", https://doi.org/10.1145/325165.325242, for
unit vectors; the length goes from the one to the other in a straight line. |D| is the Frobenius
norm, over all elements of a module. Where all lengths are equal this is what others do, too, that
apply the sines to the deltas as they are.

- The angle comes from the inner products alone, so the deltas are never multiplied out, and the
  outcome is a sum of two low-rank products.
- Directions whose cosine is 1 to 2^-50 are interpolated in a straight line, the limit of the arc.
- Weights are positive; an input of weight zero leaves the other as it is.
- sin and arc cosine are those of `plait.algebra.angles`, with the same bits everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from plait.algebra.angles import arc_cosine, sine
from plait.algebra.delta import Matrix
from plait.algebra.methods.directions import OPPOSITE, PARALLEL, find_directions, opposite
from plait.model.recipe_methods import Value


def coefficients(
    gram: Callable[[], Matrix],
    weights: Sequence[float],
    parameters: Mapping[str, Value],  # noqa: ARG001 - the weights decide alone
) -> list[float]:
    """Return the coefficients of the two deltas.

    Raises:
        InvalidInput: a weight is negative, all are zero, a delta is zero (`find_directions`), or
            the directions are opposite; `details["inputs"]` has the indices.
    """
    found = find_directions("slerp", gram(), weights)
    if len(found.indices) == 1:
        return found.scale_to_mean_norm([1.0], len(weights))
    cosine = float(found.cosines[0, 1])
    if cosine < OPPOSITE:
        raise opposite("slerp", found.indices)
    parts = list(found.shares)
    if cosine < PARALLEL:
        angle = arc_cosine(cosine)
        parts = [sine(share * angle) / sine(angle) for share in found.shares]
    return found.scale_to_mean_norm(parts, len(weights))
