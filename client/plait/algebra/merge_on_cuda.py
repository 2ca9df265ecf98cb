"""merge-fp64-v1 on an NVIDIA GPU: one fused Triton kernel, which reads W once and writes it once.

- The sum over k runs on the tensor cores for float64, where a GPU has them, else as fused
  multiply-adds. A product of float32 values is exact in float64, so a fused one rounds where
  separate instructions would. That tensor cores add in ascending k with one rounding each is
  nowhere promised, but was seen on an H100; `merge_self_test` looks at it before anything is
  believed, and the other way is taken where it does not hold.
- Ranks are filled up to multiples of `RANKS` with zeros. A sum that begins with +0.0 never becomes
  -0.0, so that adding 0 * 0 changes no bit.
- Everywhere else fusion is off, and g is read from memory in float64: Triton hands a Python float
  over as float32.

The one file that imports torch for a merge; `merge_tiles` is the kernel.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import numpy as np
import torch
import triton

from plait.algebra.exact_merge import ProductTerm, RowMerge, WeightKind, not_finite
from plait.algebra.merge_tiles import merge_tiles
from plait.errors import Unavailable

RANKS = 16
"""Ranks at once: the depth of a tensor core's product."""
ROWS, COLUMNS, WARPS = 64, 64, 4
"""Of a tile, and its warps: the fastest at rank 64 on an H100, or within 3% of it."""
UNROLLED, UNROLLED_ROWS = 2, 32
"""Up to so many blocks of ranks the loop over them is unrolled, and tiles of so few rows are the
fastest: 114 us instead of 147 at rank 16 for 4096 x 14336 in bfloat16."""
_LAUNCH: Any = merge_tiles
"""Triton's functions are launched by their grids, which type checkers do not know."""
_DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
_WITH_TENSOR_CORES = frozenset({(8, 0), (9, 0), (10, 0)})
"""Compute capabilities whose tensor cores multiply float64."""


class CudaMerge:
    """The port's implementation for a GPU: a `MergeDevice`."""

    block_size = 64 << 20
    """Large enough to fill the GPU, small beside its memory."""

    def __init__(self, device: torch.device, *, uses_tensor_cores: bool) -> None:
        self.uses_tensor_cores = uses_tensor_cores
        self._device = device
        self._desk = _Desk(device)
        self.name: str = torch.cuda.get_device_name(device)

    @classmethod
    def find(cls, *, tensor_cores: bool = True) -> CudaMerge:
        """Return the current GPU, with its tensor cores where it has them for float64.

        Raises:
            Unavailable: `unavailable`, torch sees none.
        """
        if not torch.cuda.is_available():
            raise Unavailable(
                "unavailable",
                "torch sees no NVIDIA GPU here: merge on the processor (--device cpu), which gives "
                "the same bits.",
            )
        device = torch.device("cuda", torch.cuda.current_device())
        has_them = torch.cuda.get_device_capability(device) in _WITH_TENSOR_CORES
        return cls(device, uses_tensor_cores=tensor_cores and has_them)

    def for_thread(self) -> CudaMerge:
        """Return the GPU with a stream of its own."""
        return CudaMerge(self._device, uses_tensor_cores=self.uses_tensor_cores)

    def open(self, kind: WeightKind, terms: Sequence[ProductTerm]) -> RowMerge:
        """Return what merges the rows of one weight."""
        return _Rows(self, self._desk, kind, terms)

    def load(self, terms: Sequence[ProductTerm]) -> TileMerge:
        """Return the kernel with the factors of one weight on the GPU."""
        return TileMerge(
            [torch.from_numpy(term.L).to(self._device) for term in terms],
            [torch.from_numpy(term.R).to(self._device) for term in terms],
            [term.g for term in terms],
            uses_tensor_cores=self.uses_tensor_cores,
        )

    @property
    def device(self) -> torch.device:
        """As torch names it."""
        return self._device


class _Desk:
    """What one thread works with, tensor after tensor: making it anew takes milliseconds."""

    def __init__(self, device: torch.device) -> None:
        self.stream = torch.cuda.Stream(device)
        self._pinned = torch.empty(0, dtype=torch.uint8, pin_memory=True)

    def find_memory(self, size: int) -> torch.Tensor:
        """Return so many bytes that the GPU copies from and to without a detour."""
        if self._pinned.numel() < size:
            self._pinned = torch.empty(size, dtype=torch.uint8, pin_memory=True)
        return self._pinned[:size]


class _Rows:
    """One weight's factors on the GPU."""

    def __init__(
        self, gpu: CudaMerge, desk: _Desk, kind: WeightKind, terms: Sequence[ProductTerm]
    ) -> None:
        self._device = gpu.device
        self._desk = desk
        self._kind = kind
        with torch.cuda.stream(desk.stream):
            self._merge = gpu.load(terms)
            self._is_bad = torch.zeros(1, dtype=torch.int32, device=self._device)

    def __call__(self, weight: memoryview, first: int) -> memoryview:
        rows = len(weight) // self._kind.row_size
        memory = self._desk.find_memory(len(weight))
        memory.numpy()[:] = np.frombuffer(weight, np.uint8)
        with torch.cuda.stream(self._desk.stream):
            self._merge_rows(memory, first, rows)
            is_bad = self._is_bad.item()  # waits for all of it
        if is_bad:
            raise not_finite(self._kind.name)
        return memoryview(memory.numpy().data)

    def _merge_rows(self, memory: torch.Tensor, first: int, rows: int) -> None:
        """Merge rows in place of what `memory` holds, in smaller pieces where there is no room."""
        piece = rows
        done = 0
        while done < rows:
            count = min(piece, rows - done)
            at = done * self._kind.row_size
            codes = memory[at : at + count * self._kind.row_size]
            try:
                loaded = codes.to(self._device, non_blocking=True)
                W = loaded.view(_DTYPES[self._kind.dtype]).view(count, self._kind.columns)
                out = torch.empty_like(W)
            except torch.cuda.OutOfMemoryError as error:
                if piece == 1:
                    raise self._no_room() from error
                piece = max(1, piece // 2)
                torch.cuda.empty_cache()
                continue
            self._merge(W, out, first + done, self._is_bad)
            codes.copy_(out.view(-1).view(torch.uint8), non_blocking=True)
            done += count

    def _no_room(self) -> Unavailable:
        return Unavailable(
            "unavailable",
            f"The GPU has no memory left for one row of {self._kind.name}: end what else runs on "
            "it, or merge on the processor (--device cpu).",
            tensor=self._kind.name,
        )


class TileMerge:
    """The kernel with the factors of one weight, all on the GPU."""

    def __init__(
        self,
        L: Sequence[torch.Tensor],
        R: Sequence[torch.Tensor],
        g: Sequence[float],
        *,
        uses_tensor_cores: bool,
    ) -> None:
        """Take, for each term, L (rows, r) and R (r, columns), which float32 holds exactly."""
        device = L[0].device
        sizes = [-(-part.shape[0] // RANKS) * RANKS for part in R]
        starts = [0, *accumulate(sizes)]
        is_full = all(part.shape[0] == size for part, size in zip(R, sizes, strict=True))
        make = torch.empty if is_full else torch.zeros
        self._L = make((L[0].shape[0], starts[-1]), dtype=torch.float64, device=device)
        self._R = make((starts[-1], R[0].shape[1]), dtype=torch.float64, device=device)
        for left, right, start in zip(L, R, starts, strict=False):
            self._L[:, start : start + left.shape[1]] = left
            self._R[start : start + right.shape[0]] = right
        # In one copy, from pinned memory, that the processor does not wait for.
        numbers = torch.tensor([*g, *starts], dtype=torch.float64).pin_memory()
        self._numbers = numbers.to(device, non_blocking=True)
        self._terms = len(g)
        self._uses_tensor_cores = uses_tensor_cores

    def __call__(
        self, W: torch.Tensor, out: torch.Tensor, first: int, is_bad: torch.Tensor
    ) -> None:
        """Write the merged rows of W (rows, columns), the first of which is row `first`, to out.

        is_bad, one int32, becomes 1 where W is not finite.
        """
        rows, columns = W.shape
        ranks = self._R.shape[0]
        is_short = self._terms == 1 and ranks <= UNROLLED * RANKS
        tile = UNROLLED_ROWS if is_short else ROWS
        grid = (triton.cdiv(columns, COLUMNS), triton.cdiv(rows, tile))
        _LAUNCH[grid](
            W,
            out,
            self._L[first : first + rows],
            self._R,
            self._numbers,
            is_bad,
            rows,
            columns,
            ranks,
            self._terms,
            ranks // RANKS if is_short else 0,
            self._uses_tensor_cores,
            tile,
            COLUMNS,
            RANKS,
            num_warps=WARPS,
            enable_fp_fusion=False,
        )
