"""The weighted sum exactly: factors stacked side by side, ranks added.

    D = w_1 D_1 + w_2 D_2 + ... = [w_1 gamma_1 B_1, w_2 gamma_2 B_2, ...] [A_1; A_2; ...]

Task arithmetic, https://arxiv.org/abs/2212.04089, equation 2, with a weight for each task vector
and none for their sum. No number is lost but by the last rounding; the rank is the sum of ranks.
The coefficients are those of `sum`; what differs is that nothing is cut.
"""

from __future__ import annotations

from plait.algebra.methods.sum import coefficients

__all__ = ["coefficients"]
