"""What PEFT does to factors A and B, one beside the other, instead of to the delta B A.

    s_i = w_i gamma_i,   A = op(sign(s_i) sqrt|s_i|, A_i),   B = op(sqrt|s_i|, B_i)

The outcome's delta B A is *not* the combination of the inputs' deltas: of a sum of two, say,

    B A = s_1 B_1 A_1 + s_2 B_2 A_2 + sqrt(s_1 s_2) (B_1 A_2 + B_2 A_1)

with cross terms, which are as large as the sum itself where the inputs are not related. It is here
so that numbers made with PEFT can be had again (peft/tuners/lora/model.py, add_weighted_adapter);
`sum` and `concat` are what people mean.

The outcome's gamma is 1. PEFT sets alpha to the rank, which gives 1 too, but keeps `use_rslora` of
the first input, which then makes it sqrt(rank); it also drops what `lora_bias` adds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from plait.algebra.delta import LowRank, Matrix
from plait.algebra.methods.options import ElementwiseOptions
from plait.algebra.methods.peft_elements import LINEAR, Operation, combine_tensors
from plait.errors import InvalidInput


def combine_sides(
    inputs: Sequence[LowRank],
    weights: Sequence[float],
    options: ElementwiseOptions,
    operation: Operation,
) -> tuple[Matrix, Matrix]:
    """Return B (out, r) and A (r, in), an operation's outcomes on all A and on all B.

    An input that does not adapt the module has rank 0, and is passed over as PEFT does it. One
    input is summed in any case: nothing is pruned.

    Raises:
        InvalidInput: `rank-invalid`, the inputs' ranks differ.
    """
    present = [index for index, factors in enumerate(inputs) if factors.rank]
    first = inputs[present[0]]
    _verify_same_rank(inputs, present)
    scales = [weights[index] * inputs[index].gamma for index in present]
    roots = [math.sqrt(abs(scale)) for scale in scales]
    signed = [root if scale >= 0 else -root for root, scale in zip(roots, scales, strict=True)]
    chosen = LINEAR if len(inputs) == 1 else operation
    every_a, every_b = [inputs[i].A for i in present], [inputs[i].B for i in present]
    A = combine_tensors(every_a, signed, options, chosen, streams=[2 * i for i in present])
    B = combine_tensors(every_b, roots, options, chosen, streams=[2 * i + 1 for i in present])
    return B.reshape(first.B.shape), A.reshape(first.A.shape)


def _verify_same_rank(inputs: Sequence[LowRank], present: Sequence[int]) -> None:
    ranks = {inputs[index].rank for index in present}
    if len(ranks) > 1:
        raise InvalidInput(
            "rank-invalid",
            "PEFT adds factors element by element, for which they must have one rank, and here "
            f"they have {sorted(ranks)}: take the form that ends in _svd, or plait's own method.",
            ranks=sorted(ranks),
            inputs=list(present),
        )
