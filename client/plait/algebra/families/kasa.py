"""KaSA: a low-rank delta with singular values of its own, on a base without its smallest ones.

    W_cut = W less its r smallest singular components        W' = W_cut + gamma B diag(d) A

"KaSA: Knowledge-Aware Singular-Value Adaptation", https://arxiv.org/abs/2412.06071.

    lora_diag (r) beside the factors of a linear module

PEFT cuts the base whenever it loads such an adapter, so gamma B diag(d) A alone would belong to
another base than people have. W_cut is computed by `plait.algebra.dense_svd` as the best
approximation of rank min(out, in) - r; it needs nearly all singular vectors of W, which took 2 s at
512 x 512 and grows with the cube of the side.
"""

from __future__ import annotations

from plait.algebra.delta import FunctionOfBase, LowRank, Matrix

DIAGONAL = "lora_diag"


def find_change(factors: LowRank) -> FunctionOfBase:
    """Return what KaSA does to a weight, from its factors with d in A."""
    return FunctionOfBase(
        apply=lambda weight: _apply(factors, weight),
        shape=factors.shape,
        rank=2 * factors.rank,
        placement=factors.placement,
        product=factors,
    )


def _apply(factors: LowRank, weight: Matrix) -> Matrix:
    # numba, which only computing needs
    from plait.algebra.dense_delta import multiply_out
    from plait.algebra.dense_svd import recompress_dense

    kept = max(min(weight.shape) - factors.rank, 1)
    cut = recompress_dense(weight, rank=kept, energy=None)
    changed = multiply_out(LowRank(B=cut.B, A=cut.A, gamma=1.0, placement=factors.placement))
    changed += multiply_out(factors)
    return changed
