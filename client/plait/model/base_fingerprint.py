r"""The fingerprint of a base model: which weights an adapter was trained on, as one digest.

It is the sha256 of the UTF-8 lines

    <tensor name> <dtype> <shape> <sha256>\n

one for each tensor, sorted as text. The dtype is safetensors' own word (`BF16`), the shape is JSON
without spaces (`[256,64]`, `[]` for a scalar), the digest is that of the tensor's little-endian
bytes. A name with a line break is refused, since it could stand for two lines.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from plait.errors import InvalidInput
from plait.model.ids import ObjectId, hash_bytes


class NamedTensor(Protocol):
    """What the fingerprint has to know of a tensor."""

    @property
    def name(self) -> str:
        """The tensor's name."""

    @property
    def dtype(self) -> str:
        """Safetensors' word."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Empty for a scalar."""

    @property
    def sha256(self) -> ObjectId:
        """Of the little-endian bytes."""


def fingerprint_tensors(tensors: Iterable[NamedTensor]) -> ObjectId:
    """Return the fingerprint of a model with these tensors.

    Raises:
        InvalidInput: `base-unknown`, two have the same name, or a name has a line break.
    """
    lines: list[str] = []
    names: set[str] = set()
    for tensor in tensors:
        if "\n" in tensor.name:
            raise InvalidInput(
                "base-unknown",
                f"The base has a tensor with a line break in its name: {tensor.name!r:.200}.",
            )
        if tensor.name in names:
            raise InvalidInput(
                "base-unknown",
                f"Two files of the base hold a tensor {tensor.name!r:.200}: does the folder hold "
                "two models?",
            )
        names.add(tensor.name)
        shape = f"[{','.join(map(str, tensor.shape))}]"
        lines.append(f"{tensor.name} {tensor.dtype} {shape} {tensor.sha256}\n")
    return hash_bytes("".join(sorted(lines)).encode())
