"""A version that is a base: its card, and the weights that must be those of the card."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from plait.errors import InvalidInput
from plait.model.adapter import FILE_NAME as CONFIG_NAME
from plait.model.base_card import FILE_NAME, LARGEST_CARD, BaseCard
from plait.model.base_fingerprint import NamedTensor
from plait.model.manifest import Manifest
from plait.model.stack import FILE_NAME as STACK_NAME

_KIND = "invalid-base-card"


@dataclass(frozen=True, slots=True)
class TensorMismatch:
    """A tensor that is not what a card says."""

    name: str
    what: str
    """How it differs, to be read after the name."""

    def __str__(self) -> str:
        return f"{self.name!r:.200} {self.what}"


def is_base(manifest: Manifest) -> bool:
    """Tell whether a version is a base: it has a `plait_base.json` and no adapter's config.

    A file of that name beside an adapter's config belongs to the adapter.
    """
    return manifest.find(FILE_NAME) is not None and manifest.find(CONFIG_NAME) is None


def verify_base_files(manifest: Manifest) -> None:
    """Check the files of a version that is a base, as far as a manifest tells.

    Raises:
        InvalidInput: it is a stack as well, has weights in a folder of their own, or a card that
            is too large.
    """
    for file in manifest.files:
        if file.path == STACK_NAME:
            raise InvalidInput(_KIND, f"A version with a {FILE_NAME} cannot have a {STACK_NAME}.")
        if file.path == FILE_NAME and file.size > LARGEST_CARD:
            raise InvalidInput(_KIND, f"{FILE_NAME} has more than {LARGEST_CARD} bytes.")
        if file.tensors is not None and "/" in file.path:
            raise InvalidInput(
                _KIND,
                f"{file.path!r}: the weights of a base lie beside its {FILE_NAME}, in no folder of "
                "their own.",
                path=file.path,
            )


def verify_weights(card: BaseCard, manifest: Manifest) -> None:
    """Check that the weights of a version are those of its card; a version may have none.

    Raises:
        InvalidInput: `invalid-base-card`, with the name of the first tensor that differs.
    """
    stored = [tensor for file in manifest.files if file.tensors for tensor in file.tensors.entries]
    mismatch = next(find_mismatches(card, stored), None) if stored else None
    if mismatch is not None:
        raise InvalidInput(
            _KIND,
            f"The tensor {mismatch}: push the whole folder again with `plait base push`, or "
            "without weights (--manifest-only).",
            tensor=mismatch.name,
        )


def find_mismatches(card: BaseCard, tensors: Iterable[NamedTensor]) -> Iterator[TensorMismatch]:
    """Yield the tensors that are not what the card says, and at the end those that are lacking."""
    known = {tensor.name: tensor for tensor in card.tensors}
    seen: set[str] = set()
    for tensor in tensors:
        expected = known.get(tensor.name)
        if tensor.name in seen:
            yield TensorMismatch(tensor.name, "is in two files")
        elif expected is None:
            yield TensorMismatch(tensor.name, f"is not in {FILE_NAME}")
        elif (tensor.dtype, tensor.shape) != (expected.dtype, expected.shape):
            yield TensorMismatch(tensor.name, f"has another dtype or shape than {FILE_NAME} says")
        elif tensor.sha256 != expected.sha256:
            yield TensorMismatch(tensor.name, f"has other bytes than {FILE_NAME} says")
        seen.add(tensor.name)
    for name in sorted(known.keys() - seen):
        yield TensorMismatch(name, f"is in {FILE_NAME} and in no file")
