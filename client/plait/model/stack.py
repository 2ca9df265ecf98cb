"""A stack: an ordered list of adapters that a server applies together, as references.

    {"format": "plait.stack/1", "adapters": [{"adapter": "team/sql", "commit": "3fa9...",
                                              "manifest": "7d3d...", "weight": 0.7}, ...]}

A version that is a stack holds this document as `stack.json`, perhaps with words about it, and
neither weights nor an adapter's configuration. Its adapters are named by commit and manifest, so
that the stack's own id says which weights it means. Of a stack that was composed they are parents,
so that its repository holds them; one that was written by hand may name commits of others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from plait.errors import InvalidInput, TooLarge
from plait.model import canonical
from plait.model.adapter import FILE_NAME as CONFIG_NAME
from plait.model.address import RepositoryName
from plait.model.commit import MOST_PARENTS
from plait.model.fields import Fields
from plait.model.finite_numbers import check_number
from plait.model.ids import CommitId, ManifestId, parse_commit_id, parse_manifest_id
from plait.model.manifest import Manifest
from plait.model.paths import FilePath

FORMAT = "plait.stack/1"
FILE_NAME = FilePath("stack.json")
ADAPTER_TYPE = "STACK"
"""Beside PEFT's types, where versions are listed."""
LARGEST_STACK = 500_000
MOST_ADAPTERS = MOST_PARENTS - 1
"""All of them are parents of the commit, beside the version that it continues."""

_KIND = "invalid-stack"


@dataclass(frozen=True, slots=True, kw_only=True)
class StackedAdapter:
    """One adapter of a stack."""

    adapter: str
    """The repository, `namespace/name`."""
    commit: CommitId
    manifest: ManifestId
    """What the commit holds, for who has the files without the history."""
    weight: float = 1.0
    """A factor of what the adapter does; finite, and not 0."""


@dataclass(frozen=True, slots=True)
class Stack:
    """Adapters in the order in which they are applied."""

    adapters: tuple[StackedAdapter, ...]

    @classmethod
    def from_json(cls, document: object) -> Stack:
        """Parse a stack's document.

        Raises:
            InvalidInput: `invalid-stack`.
        """
        fields = Fields(document, kind=_KIND, where="The stack")
        fields.only(("format", "adapters"))
        if fields.text("format") != FORMAT:
            raise fields.error(f"is not of the format {FORMAT!r}")
        items = fields.items("adapters")
        if not 1 <= len(items) <= MOST_ADAPTERS:
            raise fields.error(f"has {len(items)} adapters, which must be 1 to {MOST_ADAPTERS}")
        stack = cls(tuple(_parse_adapter(item, number) for number, item in enumerate(items, 1)))
        if len({item.commit for item in stack.adapters}) != len(items):
            raise fields.error("names the same commit twice: give it once, with one weight")
        return stack

    @classmethod
    def from_bytes(cls, data: bytes) -> Stack:
        """Parse the bytes of a `stack.json`, which may be laid out for people.

        Raises:
            InvalidInput: `invalid-stack`.
            TooLarge: it is over the limit.
        """
        if len(data) > LARGEST_STACK:
            raise TooLarge(
                "file-too-large",
                f"{FILE_NAME} has over {LARGEST_STACK} bytes.",
                limit=LARGEST_STACK,
            )
        try:
            document = canonical.loads(data)
        except InvalidInput as error:
            raise InvalidInput(_KIND, f"{FILE_NAME} cannot be read. {error.message}") from error
        return cls.from_json(document)

    def to_json(self) -> dict[str, Any]:
        """Return the document."""
        return {
            "format": FORMAT,
            "adapters": [
                {
                    "adapter": item.adapter,
                    "commit": item.commit,
                    "manifest": item.manifest,
                    "weight": item.weight,
                }
                for item in self.adapters
            ],
        }

    def to_bytes(self) -> bytes:
        """Return the canonical bytes, which a version holds as `stack.json`."""
        return canonical.dumps(self.to_json())


def is_stack(manifest: Manifest) -> bool:
    """Tell whether a version is meant to be a stack: it has a `stack.json` and no adapter's config.

    A file of that name beside an adapter's config belongs to the adapter.
    """
    return manifest.find(FILE_NAME) is not None and manifest.find(CONFIG_NAME) is None


def verify_stack_files(manifest: Manifest) -> None:
    """Check the files of a version that is a stack, as far as a manifest tells.

    Raises:
        InvalidInput: it holds weights as well, or `stack.json` is too large for one.
    """
    for file in manifest.files:
        if file.tensors is not None:
            raise InvalidInput(
                _KIND,
                f"A stack holds no weights, and {file.path!r} has some: stack adapters by their "
                f"commits, or push an adapter with its {CONFIG_NAME}.",
                path=file.path,
            )
        if file.path == FILE_NAME and file.size > LARGEST_STACK:
            raise InvalidInput(_KIND, f"{FILE_NAME} has more than {LARGEST_STACK} bytes.")


def _parse_adapter(value: object, number: int) -> StackedAdapter:
    fields = Fields(value, kind=_KIND, where=f"Adapter {number} of the stack")
    fields.only(("adapter", "commit", "manifest", "weight"))
    try:
        parsed = StackedAdapter(
            adapter=str(RepositoryName.parse(fields.text("adapter"))),
            commit=parse_commit_id(fields.get("commit")),
            manifest=parse_manifest_id(fields.get("manifest")),
            weight=check_number(fields.get("weight")),
        )
    except ValueError as error:
        raise fields.error(f"needs a 'weight': {error}") from error
    except InvalidInput as error:
        if error.kind == _KIND:
            raise
        raise fields.error(f"is not well-formed. {error.message.removesuffix('.')}") from error
    if parsed.weight == 0.0:
        raise fields.error("has the weight 0, so that it does nothing: leave it out")
    return parsed
