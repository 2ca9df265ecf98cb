"""VeRA: D = diag(b) B diag(d) A, with random A and B that all modules share.

"VeRA: Vector-based Random Matrix Adaptation", https://arxiv.org/abs/2310.11454.

    vera_lambda_b (out,)   vera_lambda_d (r,)   of the module
    vera_A (r, widest in)  vera_B (widest out, r)   of the model

A module takes the first columns of A and the first rows of B. Its lambdas tell how many rows those
are; how many columns, only the base's weight tells. Without `save_projection` A and B are not in
the file: PEFT draws them anew by torch's generator, for the widest modules of the base.
"""

from __future__ import annotations

from plait.algebra.adapter_tensors import AdapterTensors
from plait.algebra.delta import Delta, DeltaOfShape, LowRank, Matrix, NoDelta
from plait.algebra.families.form import Form, Parts
from plait.algebra.families.module_tensors import ModuleTensors
from plait.model.adapter_families import Effect

_PROJECTIONS = frozenset({"vera_A", "vera_B"})


def find_delta(adapter: AdapterTensors, module: str, parts: Parts, shared: Parts) -> Delta:
    """Return what the module's tensors do to its weight.

    Raises:
        InvalidInput: `shape-mismatch` or `tensor-not-finite`.
    """
    if not shared.keys() >= _PROJECTIONS:
        return NoDelta(
            Effect.LOW_RANK_DELTA,
            "the random projections were not saved with it (save_projection is off)",
        )
    own, common = ModuleTensors(adapter, module, parts), ModuleTensors(adapter, module, shared)
    lambda_b = own.read("vera_lambda_b", ndim=1)
    lambda_d = own.read("vera_lambda_d", ndim=1)
    A, B = common.read("vera_A", ndim=2), common.read("vera_B", ndim=2)
    if lambda_d.size != A.shape[0] or lambda_d.size != B.shape[1] or lambda_b.size > B.shape[0]:
        raise own.error(
            f"its vectors of {lambda_b.size} and {lambda_d.size} numbers do not belong to "
            f"projections of {B.shape} and {A.shape}"
        )
    scaled_B: Matrix = lambda_b[:, None] * B[: lambda_b.size]  # (out, r)

    def give(shape: tuple[int, int]) -> LowRank:
        if shape[0] != lambda_b.size or shape[1] > A.shape[1]:
            raise own.error(
                f"its tensors are for {lambda_b.size} rows and up to {A.shape[1]} columns, and the "
                f"base's weight is {shape}"
            )
        scaled_A: Matrix = lambda_d[:, None] * A[:, : shape[1]]  # (r, in)
        return LowRank(B=scaled_B, A=scaled_A, gamma=1.0, placement=own.placement)

    return DeltaOfShape(
        given=give,
        rank=lambda_d.size,
        placement=own.placement,
        largest=(lambda_b.size, A.shape[1]),
    )


FORM = Form(
    find_delta=find_delta,
    parts=frozenset({"vera_lambda_b", "vera_lambda_d"}),
    shared=_PROJECTIONS,
)
