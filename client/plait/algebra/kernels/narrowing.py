"""Codes of float32 to codes of bfloat16: the upper half, rounded to nearest even."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from plait.algebra.kernels.compiled import kernel

Codes16 = NDArray[np.uint16]
Codes32 = NDArray[np.uint32]


@kernel
def narrow_bf16(wide: Codes32, out: Codes16) -> None:
    """Write the bfloat16 codes that float32 codes round to; none may be a NaN."""
    for i in range(wide.size):
        code = wide[i]
        half = np.uint32(0x7FFF) + ((code >> np.uint32(16)) & np.uint32(1))
        out[i] = np.uint16((code + half) >> np.uint32(16))
