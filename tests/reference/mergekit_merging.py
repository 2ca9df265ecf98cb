"""Merges by the real mergekit: of whole weights W + D_i, from which W is taken again."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Stack = NDArray[np.float64]


def random_base(shape: tuple[int, int]) -> NDArray[np.float64]:
    """Return weights that float32 holds exactly, as do sums with `random_deltas` in float64."""
    return np.random.default_rng(3).standard_normal(shape).astype(np.float32).astype(np.float64)


def random_deltas(count: int, shape: tuple[int, int], *, size: float = 0.1) -> Stack:
    """Return deltas of low rank, rounded to float32, of which some elements are zero."""
    random = np.random.default_rng(5)
    deltas = np.stack(
        [random.standard_normal((shape[0], 4)) @ random.standard_normal((4, shape[1]))] * count
    ) + random.standard_normal((count, *shape))
    deltas[:, :, 0] = 0.0
    deltas[0, 2] = 0.0
    return (size * deltas).astype(np.float32).astype(np.float64)


def delta_by_mergekit(
    method: str,
    base: NDArray[np.float64],
    deltas: Stack,
    *,
    precision: str = "float64",
    **parameters: Any,
) -> NDArray[np.float64]:
    """Return what a method adds to the base that it is given with base + delta."""
    dtype = np.dtype(precision)
    tensors = [base.astype(dtype), *(base + deltas).astype(dtype)]
    merged = merge_by_mergekit(method, tensors, base_index=0, **parameters)
    return np.asarray(merged.astype(np.float64) - tensors[0])


def merge_by_mergekit(
    method: str, tensors: Sequence[NDArray[Any]], *, base_index: int | None, **parameters: Any
) -> NDArray[Any]:
    """Return a method's outcome; parameters have mergekit's names."""
    import torch
    from mergekit.merge_methods import merge_tensors

    merged = merge_tensors(
        [torch.from_numpy(np.ascontiguousarray(tensor)) for tensor in tensors],
        method,
        parameters=parameters,
        base_index=base_index,
    )
    return np.asarray(merged.numpy())
