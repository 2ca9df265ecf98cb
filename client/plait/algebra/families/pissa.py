"""PiSSA and other initialisations that take something out of the base's weight.

"PiSSA: Principal Singular Values and Singular Vectors Adaptation", https://arxiv.org/abs/2404.02948.
The training begins with the r principal components of W in the factors and the rest in the base:

    W_res = W - top_r(W)        W' = W_res + gamma B A        W' - W = gamma B A - top_r(W)

So an adapter that was saved in this form is a delta for W_res, and one of rank 2r for the model
that people have. (PEFT makes that LoRA itself where it is asked to, by
`path_initial_model_for_weight_conversion`; what it saves then is a plain one.)

top_r(W) is the first r components of more that `plait.algebra.dense_svd` finds, since the last ones
of a Krylov space have not settled. Small weights are exact; at 1024 x 1024 and singular values that
fall as slowly as i^-0.3 it was within 2e-6 of the exact part. Where they hardly fall at all, as in
random numbers, rounding decides which directions are the first r.

- PEFT rounds W_res to the base's dtype, which is left out here.
- `pissa_niter_N` takes out what a randomised search finds, without a seed, and not the principal
  part: on a real adapter with N = 4, two loads by PEFT differ by nine tenths of the delta's norm,
  and none is what it was trained on. Which part was taken out is lost: no delta for W is known.
- So it is with CorDA, LoftQ and LoRA-GA, whose part depends on data, on a quantiser or on
  gradients; and OLoRA's depends on the order of the columns, which plait does not follow.
"""

from __future__ import annotations

import numpy as np

from plait.algebra.delta import FunctionOfBase, LowRank, Matrix, NoDelta
from plait.model.adapter_families import Effect

_EXACT = "pissa"
_MARGIN = 16
"""Components beyond 2r that are searched for. With r alone, trained weights were off by 2e-3."""
_NAMES = {"corda": "CorDA", "olora": "OLoRA", "loftq": "LoftQ", "lora_ga": "LoRA-GA"}


def find_change(init: str, factors: LowRank) -> FunctionOfBase | NoDelta:
    """Return what `factors` do to the weight as it was before the initialisation `init`."""
    if init != _EXACT:
        return NoDelta(Effect.OPAQUE, _explain(init), factors)

    def find_factors(weight: Matrix) -> LowRank:
        B, A = _principal_part(weight, factors.rank)
        return LowRank(
            B=np.hstack([factors.gamma * np.asarray(factors.B, np.float64), -B]),  # (out, 2r)
            A=np.vstack([np.asarray(factors.A, np.float64), A]),  # (2r, in)
            gamma=1.0,
            placement=factors.placement,
        )

    def apply(weight: Matrix) -> Matrix:
        from plait.algebra.dense_delta import multiply_out  # numba, which only computing needs

        changed = multiply_out(find_factors(weight))
        changed += weight
        return changed

    return FunctionOfBase(
        apply=apply,
        shape=factors.shape,
        rank=2 * factors.rank,
        placement=factors.placement,
        find_factors=find_factors,
        product=factors,
    )


def _explain(init: str) -> str:
    """Return why what an initialisation took out of the base is not known."""
    is_random = init.startswith(_EXACT)
    name = f"PiSSA by a random search ({init:.40})" if is_random else _NAMES.get(init.lower(), init)
    return (
        f"{name:.80} took a part out of the base's weight when the training began, which is not "
        "saved with it (PEFT can save it as a plain LoRA: path_initial_model_for_weight_conversion)"
    )


def _principal_part(weight: Matrix, rank: int) -> tuple[Matrix, Matrix]:
    """Return the best approximation of a weight by a product B A of `rank`."""
    from plait.algebra.dense_svd import recompress_dense  # numba, which only computing needs

    found = recompress_dense(weight, rank=min(2 * rank + _MARGIN, *weight.shape), energy=None)
    return found.B[:, :rank], found.A[:rank]
