"""How a kernel is compiled: the one place, so that none is compiled in another way.

- `fastmath` is never set, so LLVM neither reorders a sum nor contracts `a * b + c` into one
  rounding. What is left is IEEE 754, and its bits are the same on every machine.
- `nogil`: callers run kernels over modules in several threads.
- `cache`: compiling takes seconds, so its result is kept on disk (see `plait.kernel_cache`).
- `error_model="numpy"`: a division by zero gives an infinity, without a branch in every loop.
- Nothing is compiled at import: no signature is named, and the first call decides.

With NUMBA_DISABLE_JIT=1 kernels are plain Python, and give the same bits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

import numba

_Kernel = TypeVar("_Kernel", bound=Callable[..., object])


def kernel(function: _Kernel) -> _Kernel:
    """Compile `function`, on its first call for each combination of dtypes."""
    compile_lazily = numba.njit(cache=True, nogil=True, error_model="numpy")
    return cast("_Kernel", compile_lazily(function))
