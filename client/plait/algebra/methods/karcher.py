"""The mean direction of deltas on the sphere, and their mean length.

With u_i = D_i / |D_i| and shares s_i = w_i / (w_1 + w_2 + ...), x is the point of the unit sphere
for which sum of s_i angle(x, u_i)^2 is least, found by steps along the mean of the directions to
the u_i (the gradient), each as far as it is long:

    c_i = <x, u_i>,   a_i = arc cosine(c_i),   v = sum of s_i (a_i / sin(a_i)) (u_i - c_i x)
    x <- cos(|v|) x + sin(|v|) v / |v|,        from x = sum of s_i u_i, made 1 long

until |v| <= tolerance (radians) or `iterations` steps are done, and

    D = (sum of s_i |D_i|) x

Karcher, "Riemannian center of mass and mollifier smoothing", https://doi.org/10.1002/cpa.3160300502.
For two inputs it is slerp. x stays a combination of the u_i, so the inner products are all that is
needed, and the deltas are never multiplied out. Where the inputs are further than 90 degrees from
their mean the mean need not be the only one; the start decides.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from plait.algebra.angles import arc_cosine, cosine, sine
from plait.algebra.delta import Matrix
from plait.algebra.methods.directions import (
    OPPOSITE,
    PARALLEL,
    Directions,
    find_directions,
    opposite,
)
from plait.model.recipe_methods import Value

_Combination = NDArray[np.float64]
"""Of the directions (k,)."""
_LEAST_START = 2.0**-15
"""The length of the mean of the directions below which it points nowhere: as OPPOSITE for two."""


def coefficients(
    gram: Callable[[], Matrix], weights: Sequence[float], parameters: Mapping[str, Value]
) -> list[float]:
    """Return the coefficients of the deltas.

    Raises:
        InvalidInput: a weight is negative, all are zero, a delta is zero (`find_directions`), or
            the directions cancel; `details["inputs"]` has the indices.
    """
    found = find_directions("karcher", gram(), weights)
    shares = np.array(found.shares)
    length = _norm(found, shares)
    if length < _LEAST_START:
        raise opposite("karcher", found.indices)
    x = shares / length
    for _ in range(int(parameters["iterations"])):
        step = _find_step(found, x)
        length = _norm(found, step)
        if length <= float(parameters["tolerance"]):
            break
        x = cosine(length) * x + (sine(length) / length) * step
        x = x / _norm(found, x)  # what the step lost to rounding
    return found.scale_to_mean_norm([float(part) for part in x], len(weights))


def _find_step(found: Directions, x: _Combination) -> _Combination:
    """Return v as a combination of the directions."""
    products = _multiply(found, x)
    pulls = np.empty(len(x))
    along = 0.0
    for i, product in enumerate(products):
        near = min(1.0, max(-1.0, product))
        if near < OPPOSITE:
            raise opposite("karcher", [found.indices[i]])
        ratio = 1.0
        if near < PARALLEL:
            ratio = arc_cosine(near) / math.sqrt((1.0 - near) * (1.0 + near))
        pulls[i] = found.shares[i] * ratio
        along += pulls[i] * near
    return pulls - along * x


def _norm(found: Directions, x: _Combination) -> float:
    total = 0.0
    for part, product in zip(x, _multiply(found, x), strict=True):
        total += float(part) * product
    return math.sqrt(max(0.0, total))


def _multiply(found: Directions, x: _Combination) -> list[float]:
    """Return <x, u_i> for each i, added in the order of the inputs."""
    products = []
    for row in found.cosines:
        total = 0.0
        for cosine_of_two, part in zip(row, x, strict=True):
            total += float(cosine_of_two) * float(part)
        products.append(total)
    return products
