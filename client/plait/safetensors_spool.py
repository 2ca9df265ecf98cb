"""Writing a safetensors file whose header is known only at the end, without holding it in memory.

Tensors are appended to `NAME.data` as they come; `finish` writes the header and copies the data
after it. The order of the tensors in the file is the order in which they were appended.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from plait.model.safetensors_layout import TensorRange, build_header
from plait.partial_file import disk_errors
from plait.transport import PIECE_SIZE

if TYPE_CHECKING:
    from plait.algebra.outcome import EncodedTensor

METADATA: Mapping[str, str] = {"format": "pt"}
"""What PEFT and transformers write, and look for."""


class SafetensorsSpool:
    """A safetensors file that is being written; use it in `with`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._spooled = path.with_name(f"{path.name}.data")
        self._tensors: list[TensorRange] = []
        self._file = self._spooled.open("wb")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()
        self._spooled.unlink(missing_ok=True)

    def append(self, tensor: EncodedTensor) -> None:
        """Add a tensor.

        Raises:
            Unavailable: `disk-full`.
        """
        with disk_errors(self._spooled):
            self._file.write(tensor.data)
        size = len(tensor.data)
        self._tensors.append(TensorRange(tensor.name, tensor.dtype, tensor.shape, 0, size))

    def finish(self, metadata: Mapping[str, str] = METADATA) -> None:
        """Write the file; raises as `append`."""
        header, _ = build_header(self._tensors, metadata)
        with disk_errors(self._path):
            self._file.flush()
            with self._path.open("wb") as target, self._spooled.open("rb") as source:
                target.write(header)
                shutil.copyfileobj(source, target, PIECE_SIZE)
