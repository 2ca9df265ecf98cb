r"""What a merge came out as: the sha256 of each merged tensor, and one digest over all of them.

The root is the sha256 of the UTF-8 lines

    <tensor name> <sha256 of the merged tensor's little-endian bytes>\n

sorted by name: how the tensors are spread over files does not count.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from plait.errors import InvalidInput
from plait.model.ids import ObjectId, parse_object_id

DEFINITION = "merge-fp64-v1"
"""See `docs/merge-definitions.md`: the same bits on every machine, or it is another definition."""


@dataclass(frozen=True, slots=True)
class MergeDigests:
    """The digests of one merged model."""

    definition: str
    root: ObjectId
    tensors: Mapping[str, ObjectId]
    """By the base's tensor names."""

    @classmethod
    def of(cls, tensors: Mapping[str, ObjectId], *, definition: str = DEFINITION) -> MergeDigests:
        """Return the digests of a model with these merged tensors."""
        return cls(definition, compute_root(tensors), dict(sorted(tensors.items())))

    @classmethod
    def from_json(cls, held: object) -> MergeDigests:
        """Return what a document says.

        Raises:
            InvalidInput: `invalid-input`, it is none, or its root is not that of its tensors.
        """
        if not isinstance(held, dict) or held.keys() != {"definition", "root", "tensors"}:
            raise _invalid("they are an object of definition, root and tensors")
        definition, tensors = held["definition"], held["tensors"]
        if not isinstance(definition, str) or not isinstance(tensors, dict):
            raise _invalid("the definition is a text, the tensors are an object")
        digests = cls.of(
            {_verify_name(name): parse_object_id(digest) for name, digest in tensors.items()},
            definition=definition,
        )
        if digests.root != held["root"]:
            raise _invalid("their root is not that of their tensors")
        return digests

    def to_json(self) -> dict[str, Any]:
        """Return the document, as `plait merge --json` prints it."""
        return {"definition": self.definition, "root": self.root, "tensors": dict(self.tensors)}

    def find_differences(self, other: MergeDigests) -> list[str]:
        """Return the names of the tensors that differ, or that one side alone has, sorted."""
        names = self.tensors.keys() | other.tensors.keys()
        return sorted(name for name in names if self.tensors.get(name) != other.tensors.get(name))


def compute_root(tensors: Mapping[str, str]) -> ObjectId:
    """Return the digest over all tensors of a merged model."""
    lines = "".join(f"{name} {digest}\n" for name, digest in sorted(tensors.items()))
    return ObjectId(hashlib.sha256(lines.encode()).hexdigest())


def _verify_name(name: object) -> str:
    if not isinstance(name, str) or not name or "\n" in name or len(name) > 1024:
        raise _invalid("a tensor's name is a text of one line")
    if not name.isascii() and any("\ud800" <= letter <= "\udfff" for letter in name):
        raise _invalid("a tensor's name is a text that has UTF-8")
    return name


def _invalid(rule: str) -> InvalidInput:
    return InvalidInput("invalid-input", f"These are no digests of a merge: {rule}.")
