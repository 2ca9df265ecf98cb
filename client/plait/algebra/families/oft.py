"""OFT: W' = W R^T, with R block-diagonal and each block a rotation by Cayley's map.

"Controlling Text-to-Image Diffusion by Orthogonal Finetuning", https://arxiv.org/abs/2306.07280,
and for the series "Orthogonal Finetuning Made Scalable", https://arxiv.org/abs/2506.19847; the
exact form is PEFT's.

    oft_R.weight (blocks, b (b - 1) / 2)   the upper triangles of the skew-symmetric Q, by rows;
                                           (1, ...) with `block_share`: one block for all
    oft_embedding_R.weight   of an embedding E (vocab, dim): E' = E R

- `use_cayley_neumann`: R is a part of the series of (I + Q)(I - Q)^-1, the inverse rotation, with
  `num_cayley_neumann_terms`. PEFT changed it in 0.18: an adapter that was trained before has no
  delta here, since its rotation was another one.
- `coft`: a Q of a norm over eps / sqrt(blocks) is first shortened to that.
"""

from __future__ import annotations

import math
from functools import partial

import numpy as np

from plait.algebra.adapter_tensors import AdapterTensors
from plait.algebra.delta import (
    Delta,
    FunctionOfBase,
    Matrix,
    ModuleKind,
    NoDelta,
    Placement,
)
from plait.algebra.families.form import Form, Parts
from plait.algebra.families.module_tensors import ModuleTensors, is_embedding
from plait.algebra.families.rotations import map_by_cayley, rotate_inputs, sum_neumann_terms
from plait.algebra.kernels.products import multiply
from plait.model.adapter_families import Effect
from plait.model.adapter_fields import ConfigFields

_PARTS = frozenset({"oft_R.weight", "oft_embedding_R.weight"})
_SERIES_CHANGED = (0, 18)


def find_delta(adapter: AdapterTensors, module: str, parts: Parts, _: Parts) -> Delta:
    """Return what the module's tensors do to its weight.

    Raises:
        InvalidInput: `shape-mismatch` or `tensor-not-finite`, or the configuration is wrong.
    """
    reason = _reason_against(adapter, parts)
    if reason is not None:
        return NoDelta(Effect.FUNCTION_OF_BASE, reason)
    tensors = ModuleTensors(adapter, module, parts)
    embeds = is_embedding(parts, "oft")
    triangles = tensors.read("oft_embedding_R.weight" if embeds else "oft_R.weight", ndim=2)
    size = _size_of(triangles.shape[1])
    if size * (size - 1) // 2 != triangles.shape[1]:
        raise tensors.error(f"{triangles.shape[1]} numbers do not fill the triangle of a block")
    is_shared = bool(adapter.config.values.get("block_share"))
    width = None if is_shared else triangles.shape[0] * size
    apply = partial(_rotate, triangles=triangles, size=size, tensors=tensors)
    if not embeds:
        return FunctionOfBase(
            apply=apply, shape=(None, width), rank=size, placement=tensors.placement
        )
    return FunctionOfBase(
        apply=lambda weight: _transpose(apply(_transpose(weight), is_inverse=True)),
        shape=(width, None),
        rank=size,
        placement=Placement(ModuleKind.EMBEDDING),
    )


def _reason_against(adapter: AdapterTensors, parts: Parts) -> str | None:
    values = adapter.config.values
    if "oft_block_size" not in values or parts.keys().isdisjoint(_PARTS):
        return "it was written by an older PEFT, whose OFT was another one"
    version = str(values.get("peft_version") or "0.0").partition("@")[0].split(".")[:2]
    if values.get("use_cayley_neumann") and (
        not all(part.isdecimal() for part in version) or tuple(map(int, version)) < _SERIES_CHANGED
    ):
        return (
            "it was trained before PEFT 0.18, which sums the Cayley-Neumann series in another way"
        )
    return None


def _rotate(
    weight: Matrix,
    *,
    triangles: Matrix,
    size: int,
    tensors: ModuleTensors,
    is_inverse: bool = False,
) -> Matrix:
    """Return W R^T, or W R where `is_inverse`."""
    flat = weight.reshape(weight.shape[0], -1)  # (out, in * k...)
    count = flat.shape[1] // size
    if count * size != flat.shape[1] or len(triangles) not in {1, count}:
        raise tensors.error(
            f"{len(triangles)} blocks of {size} do not fit a weight of {weight.shape}"
        )
    blocks = _find_blocks(triangles, size, ConfigFields(tensors.adapter.config.values))
    blocks = blocks.transpose(0, 2, 1) if is_inverse else blocks
    return rotate_inputs(flat, np.broadcast_to(blocks, (count, size, size))).reshape(weight.shape)


def _find_blocks(triangles: Matrix, size: int, fields: ConfigFields) -> Matrix:
    """Return the blocks of R, (blocks, b, b)."""
    skew = np.zeros((len(triangles), size, size))
    rows, columns = np.triu_indices(size, 1)
    skew[:, rows, columns] = triangles
    skew -= skew.transpose(0, 2, 1)
    if fields.flag("coft"):
        longest = fields.number("eps", 6e-5) / math.sqrt(len(triangles))
        skew = np.stack([_shorten(block, longest) for block in skew])
    if fields.flag("use_cayley_neumann"):
        return sum_neumann_terms(skew, fields.count("num_cayley_neumann_terms", 5))
    return map_by_cayley(skew)


def _shorten(block: Matrix, longest: float) -> Matrix:
    flat = block.reshape(1, -1)
    norm = math.sqrt(multiply(flat, flat.T)[0, 0])
    return block if norm <= longest else longest * (block / norm)


def _size_of(elements: int) -> int:
    """Return b for b (b - 1) / 2 elements, or the next smaller one."""
    return (1 + math.isqrt(1 + 8 * elements)) // 2


def _transpose(matrix: Matrix) -> Matrix:
    return np.ascontiguousarray(matrix.T)


FORM = Form(find_delta=find_delta, parts=_PARTS)
