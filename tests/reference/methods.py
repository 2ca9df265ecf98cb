"""The methods of composition as their formulas read, on dense float64 arrays."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def keep_largest(x: Array, count: int) -> NDArray[np.bool_]:
    """Return the mask of the largest magnitudes; of equal ones the first."""
    order = np.argsort(-np.abs(x).ravel(), kind="stable")
    mask = np.zeros(x.size, bool)
    mask[order[:count]] = True
    return mask.reshape(x.shape)


def count_of(density: float, size: int) -> int:
    """Return how many elements a density keeps."""
    return max(1, int(np.floor(density * size + 0.5)))


def trim(deltas: Array, density: float) -> Array:
    """Return the deltas without their smallest elements."""
    return np.stack([d * keep_largest(d, count_of(density, d.size)) for d in deltas])


def cut_band(deltas: Array, density: float, gamma: float) -> Array:
    """Return the deltas without their smallest and their largest elements."""
    kept = []
    for delta in deltas:
        count = count_of(density, delta.size)
        over = min(int(np.floor(gamma * delta.size + 0.5)), delta.size - count)
        mask = keep_largest(delta, count + over) & ~keep_largest(delta, over)
        kept.append(delta * mask)
    return np.stack(kept)


def draw(deltas: Array, density: float, numbers: Array) -> Array:
    """Return DARE's deltas; numbers are (k, out, in)."""
    return np.where(numbers < density, deltas / density, 0.0)


def draw_by_rank(deltas: Array, density: float, epsilon: float, numbers: Array) -> Array:
    """Return DELLA's deltas: the ranks are those within rows, 0 for the largest."""
    ranks = np.argsort(np.argsort(-np.abs(deltas), axis=2, kind="stable"), axis=2)
    last = max(1, deltas.shape[2] - 1)
    spread = epsilon if deltas.shape[2] > 1 else 0.0
    densities = density + spread - 2 * spread * ranks / last
    return np.where(numbers < densities, deltas / densities, 0.0)


def weighted_sum(deltas: Array, weights: Sequence[float]) -> Array:
    """Return the sum of w_i D_i."""
    terms = [weight * delta for weight, delta in zip(weights, deltas, strict=True)]
    return np.asarray(np.sum(terms, axis=0), np.float64)


def elect(deltas: Array, weights: Sequence[float], majority: str, scale: float) -> Array:
    """Return the weighted mean of what has the elected sign."""
    sizes = np.abs(weights)[:, None, None]
    values = np.asarray(weights)[:, None, None] * deltas
    ballots = values if majority == "total" else np.sign(values)
    elected = np.sign(sum(ballots))  # of arrays, in their order
    agrees = (np.sign(values) == elected) & (elected != 0)
    total, divisor = (values * agrees).sum(axis=0), (sizes * agrees).sum(axis=0)
    return np.asarray(scale * total / np.where(divisor > 0, divisor, 1.0))


def slerp(one: Array, other: Array, t: float) -> Array:
    """Return the point at t of the arc, of a length between theirs."""
    norms = np.linalg.norm(one), np.linalg.norm(other)
    u, v = one / norms[0], other / norms[1]
    # Also right where the angle is small: half of it from the chord.
    angle = 2 * np.arctan2(np.linalg.norm(u - v), np.linalg.norm(u + v))
    direction = (np.sin((1 - t) * angle) * u + np.sin(t * angle) * v) / np.sin(angle)
    return np.asarray(((1 - t) * norms[0] + t * norms[1]) * direction)


def karcher(deltas: Array, weights: Sequence[float], steps: int = 200) -> Array:
    """Return the mean direction on the sphere with the mean length."""
    shares = np.asarray(weights) / np.sum(weights)
    vectors = deltas.reshape(len(deltas), -1)
    norms = np.linalg.norm(vectors, axis=1)
    units = vectors / norms[:, None]
    x = shares @ units / np.linalg.norm(shares @ units)
    for _ in range(steps):
        cosines = np.clip(units @ x, -1, 1)
        angles = np.arccos(cosines)
        step = (shares * angles / np.maximum(np.sin(angles), 1e-300)) @ (
            units - np.outer(cosines, x)
        )
        x = (x + step) / np.linalg.norm(x + step)
    return np.asarray((shares @ norms) * x).reshape(deltas.shape[1:])
