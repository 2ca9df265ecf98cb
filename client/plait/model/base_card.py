"""A base card: the document that says which tensors a base model is made of.

    {"format": "plait.base/1", "name": "org/model", "revision": null, "fingerprint": "889c…",
     "dtype": "BF16", "quantization": null, "tied": {"lm_head.weight": "model.embed_tokens.weight"},
     "tensors": [{"name": "…", "dtype": "BF16", "shape": [256, 64], "sha256": "…"}]}

Each version of a base holds it as `plait_base.json`, with or without the weights. Fingerprint
(`plait.model.base_fingerprint`) and dtype follow from the tensors and are computed anew whenever a
card is read: one that lies about them is refused.

`tied` says which tensors the model has that its files do not hold, since each is another of its
tensors; `quantization` is what the model's configuration says about it, as it stands there. The
fingerprint does not cover these two, nor name and revision.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from math import prod
from typing import Any

from plait.errors import InvalidInput, TooLarge
from plait.model import canonical
from plait.model.base_fingerprint import NamedTensor, fingerprint_tensors
from plait.model.commit import Base
from plait.model.fields import Fields
from plait.model.ids import ObjectId, parse_object_id
from plait.model.manifest import LARGEST_MANIFEST
from plait.model.paths import FilePath
from plait.model.safetensors_layout import tensor_size

FORMAT = "plait.base/1"
FILE_NAME = FilePath("plait_base.json")
BASE_TYPE = "BASE"
"""Beside PEFT's types, where versions are listed."""
LARGEST_CARD = LARGEST_MANIFEST
"""Bytes. A tensor takes about as many in a card as in a manifest."""
LONGEST_NAME = 500
"""Characters of a model's name, and of its revision."""

_KIND = "invalid-base-card"
_FIELDS = ("format", "name", "revision", "fingerprint", "dtype", "quantization", "tied", "tensors")


@dataclass(frozen=True, slots=True)
class BaseTensor:
    """A tensor of a base, wherever it is stored."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    sha256: ObjectId


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseCard:
    """A base model as a list of tensors."""

    name: str
    """As adapters' configurations name it, often `org/model`."""
    revision: str | None
    """Of the model where it comes from, such as a commit of its hub."""
    tensors: tuple[BaseTensor, ...]
    """Sorted by name."""
    quantization: Mapping[str, Any] | None = field(default=None, hash=False)
    """`quantization_config` of the model's configuration; None for original weights."""
    tied: Mapping[str, str] = field(default_factory=dict, hash=False)
    """Names that no file holds, each with the name of the tensor that it is."""

    @classmethod
    def of(
        cls, base: Base, tensors: Iterable[NamedTensor], *,
        quantization: Mapping[str, Any] | None = None, tied: Mapping[str, str] | None = None,
    ) -> BaseCard:  # fmt: skip
        """Return the card of a base with these tensors, in any order.

        Raises:
            InvalidInput: `invalid-base-card`.
        """
        card = cls(
            name=base.name,
            revision=base.revision,
            tensors=tuple(
                BaseTensor(item.name, item.dtype, item.shape, item.sha256)
                for item in sorted(tensors, key=lambda item: item.name)
            ),
            quantization=quantization,
            tied=dict(tied or {}),
        )
        _verify(card)
        return card

    @classmethod
    def from_json(cls, document: object) -> BaseCard:
        """Parse a card's document.

        Raises:
            InvalidInput: `invalid-base-card`; also where the fingerprint is not that of the
                tensors.
        """
        fields = Fields(document, kind=_KIND, where="The base card")
        fields.only(_FIELDS)
        if fields.text("format") != FORMAT:
            raise fields.error(f"is not of the format {FORMAT!r}")
        card = cls(
            name=fields.text("name"),
            revision=fields.optional_text("revision"),
            tensors=tuple(_parse_tensor(item) for item in fields.items("tensors")),
            quantization=_parse_object(fields, "quantization"),
            tied=_parse_tied(fields),
        )
        _verify(card)
        if fields.text("fingerprint") != card.fingerprint:
            raise fields.error(
                f"has a fingerprint that is not the one of its tensors, {card.fingerprint}"
            )
        if fields.text("dtype") != card.dtype:
            raise fields.error(f"has a dtype that is not the one of its tensors, {card.dtype}")
        return card

    @classmethod
    def from_bytes(cls, data: bytes) -> BaseCard:
        """Parse the bytes of a `plait_base.json`, which may be laid out for people.

        Raises:
            InvalidInput: `invalid-base-card`.
            TooLarge: it is over the limit.
        """
        if len(data) > LARGEST_CARD:
            raise TooLarge(
                "file-too-large", f"{FILE_NAME} has over {LARGEST_CARD} bytes.", limit=LARGEST_CARD
            )
        try:
            document = canonical.loads(data)
        except InvalidInput as error:
            raise InvalidInput(_KIND, f"{FILE_NAME} cannot be read. {error.message}") from error
        return cls.from_json(document)

    @property
    def fingerprint(self) -> ObjectId:
        """Which weights these are; computed at each call."""
        return fingerprint_tensors(self.tensors)

    @property
    def base(self) -> Base:
        """The base as commits name it; computed at each call."""
        return Base(self.name, self.revision, self.fingerprint)

    @property
    def dtype(self) -> str:
        """What most of the elements are stored in; of equals, the first by name."""
        counts: Counter[str] = Counter()
        for tensor in self.tensors:
            counts[tensor.dtype] += prod(tensor.shape)
        return min(counts, key=lambda dtype: (-counts[dtype], dtype))

    @property
    def size(self) -> int:
        """Bytes of all tensors."""
        return sum(map(_measure, self.tensors))

    def to_json(self) -> dict[str, Any]:
        """Return the document."""
        return {
            "format": FORMAT,
            "name": self.name,
            "revision": self.revision,
            "fingerprint": self.fingerprint,
            "dtype": self.dtype,
            "quantization": None if self.quantization is None else dict(self.quantization),
            "tied": dict(self.tied),
            "tensors": [
                {
                    "name": tensor.name,
                    "dtype": tensor.dtype,
                    "shape": list(tensor.shape),
                    "sha256": tensor.sha256,
                }
                for tensor in self.tensors
            ],
        }

    def to_bytes(self) -> bytes:
        """Return the canonical bytes, which a version holds as `plait_base.json`."""
        return canonical.dumps(self.to_json())


def _parse_tensor(value: object) -> BaseTensor:
    fields = Fields(value, kind=_KIND, where="A tensor of the base card")
    fields.only(("name", "dtype", "shape", "sha256"))
    shape = fields.items("shape")
    if not all(isinstance(it, int) and not isinstance(it, bool) and it >= 0 for it in shape):
        raise fields.error("has a shape that is no list of whole numbers >= 0")
    return BaseTensor(
        fields.text("name"),
        fields.text("dtype"),
        tuple(shape),
        parse_object_id(fields.get("sha256")),
    )


def _parse_object(fields: Fields, name: str) -> dict[str, Any] | None:
    value = fields.get(name)
    if value is not None and not isinstance(value, dict):
        raise fields.error(f"needs a JSON object, or null, as {name!r}")
    return value


def _parse_tied(fields: Fields) -> dict[str, str]:
    tied = _parse_object(fields, "tied") or {}
    if not all(isinstance(value, str) for value in tied.values()):
        raise fields.error("has a 'tied' that does not map names to names")
    return tied


def _verify(card: BaseCard) -> None:
    names = [tensor.name for tensor in card.tensors]
    for what, text in (("name", card.name), ("revision", card.revision)):
        if text is not None and not (text.isprintable() and 0 < len(text) <= LONGEST_NAME):
            raise _refuse(f"needs a printable {what} of 1 to {LONGEST_NAME} characters")
    if not names:
        raise _refuse("has no tensors")
    if any(one >= other for one, other in pairwise(names)):
        raise _refuse("must list its tensors sorted by name, each once")
    for tensor in card.tensors:
        _measure(tensor)
    present = set(names)
    for name, target in card.tied.items():
        if name in present or target not in present:
            raise _refuse(
                f"ties {name!r:.200} to {target!r:.200}, where only a name that it does not list "
                "may be tied, to one that it lists"
            )
    fingerprint_tensors(card.tensors)


def _measure(tensor: BaseTensor) -> int:
    """Return the tensor's bytes."""
    try:
        return tensor_size(tensor.dtype, tensor.shape)
    except InvalidInput as error:
        raise InvalidInput(_KIND, f"{tensor.name!r:.200}: {error.message}") from error


def _refuse(what: str) -> InvalidInput:
    return InvalidInput(_KIND, f"The base card {what}.")
