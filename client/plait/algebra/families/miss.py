"""MiSS, once Bone: one block of rows, repeated along the inputs.

"MiSS: Revisiting the Trade-off in LoRA with an Efficient Shard-Sharing Structure",
https://arxiv.org/abs/2409.15371.

    miss_block (r, out)          D[o, i] = block[i mod r, o]: rank r, with A[k, i] = [i mod r = k]
    miss_block (r, n)            with init "mini": the block is repeated out / n times
    miss_block (out / r, r, r)   with init "bat": each r x r block V of W becomes V + V X + X, X the
                                 stored block of V's rows

The stored block does not tell how many inputs there are. An adapter of the type BONE is of a PEFT
before 0.18 and calls it bone_block.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from plait.algebra.adapter_tensors import AdapterTensors
from plait.algebra.delta import Delta, DeltaOfShape, FunctionOfBase, LowRank, Matrix
from plait.algebra.families.form import Form, Parts
from plait.algebra.families.module_tensors import ModuleTensors
from plait.algebra.kernels.products import multiply

_PARTS = frozenset({"miss_block", "bone_block"})


def find_delta(adapter: AdapterTensors, module: str, parts: Parts, _: Parts) -> Delta:
    """Return what the module's tensors do to its weight.

    Raises:
        InvalidInput: `shape-mismatch` or `tensor-not-finite`.
    """
    tensors = ModuleTensors(adapter, module, parts)
    part = next(iter(sorted(_PARTS & parts.keys())), "miss_block")
    init = adapter.config.values.get("init_weights")
    if init != "bat":
        block = tensors.read(part, ndim=2)
        return DeltaOfShape(
            given=partial(_repeat, block, tensors, is_mini=init == "mini"),
            rank=block.shape[0],
            placement=tensors.placement,
        )
    blocks = tensors.read(part, ndim=3)
    count, size, other = blocks.shape
    if size != other:
        raise tensors.error(f"its blocks of {size} x {other} are not square")
    return FunctionOfBase(
        apply=partial(_apply_blocks, blocks=blocks, tensors=tensors),
        shape=(count * size, None),
        rank=size,
        placement=tensors.placement,
    )


def _repeat(
    block: Matrix, tensors: ModuleTensors, shape: tuple[int, int], *, is_mini: bool
) -> LowRank:
    rank, width = block.shape
    out, columns = shape
    times = out // width if is_mini else 1
    if times * width != out or rank > columns:
        raise tensors.error(f"its block of {block.shape} does not fit a weight of {shape}")
    A = (np.arange(columns) % rank == np.arange(rank)[:, None]).astype(np.float64)  # (r, in)
    B = np.tile(block, (1, times)).T  # (out, r)
    return LowRank(B=B, A=A, gamma=1.0, placement=tensors.placement)


def _apply_blocks(weight: Matrix, *, blocks: Matrix, tensors: ModuleTensors) -> Matrix:
    count, size, _ = blocks.shape
    if weight.ndim != 2 or weight.shape[0] != count * size or weight.shape[1] % size:
        raise tensors.error(f"{count} blocks of {size} do not fit a weight of {weight.shape}")
    changed = np.empty(weight.shape)
    for index, block in enumerate(blocks):
        rows = weight[index * size : (index + 1) * size].reshape(-1, size)  # (r * in / r, r)
        tiled = np.repeat(block, weight.shape[1] // size, axis=0)  # the same rows of X
        changed[index * size : (index + 1) * size] = (
            rows + (multiply(rows, block) + tiled)
        ).reshape(size, -1)
    return changed


FORM = Form(find_delta=find_delta, parts=_PARTS)
