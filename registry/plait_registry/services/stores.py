"""Where the registry keeps bytes: objects, and apart from them its own documents.

- `objects`: what clients upload, each with its repository's salt at the end. Signed requests lead
  here and nowhere else.
- `documents`: commits, manifests and lists of extents, written by the registry alone. Whoever has a
  copy of an adapter can compute their names. So no signed request leads here: neither an answer of
  the registry nor one of the store tells whether a document is there.

Programs of the version before kept documents among the objects. One that lies there counts, until
a push or a repair writes it to its place.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from plait.errors import NotFound
from plait.model.ids import ObjectId
from plait_registry.domain.ports import ObjectStore


@dataclass(frozen=True, slots=True)
class Stores:
    """Both parts of the object store."""

    objects: ObjectStore
    documents: ObjectStore

    @property
    def all(self) -> tuple[ObjectStore, ...]:
        """Both, for what is done to one after the other."""
        return self.objects, self.documents

    def stat(self, item: ObjectId, *, is_document: bool) -> int | None:
        """Return the size of an object or a document, or None where it is absent."""
        size = self.documents.stat(item) if is_document else None
        return self.objects.stat(item) if size is None else size

    def read(self, item: ObjectId, *, is_document: bool) -> Iterator[bytes]:
        """Yield the bytes of an object or a document.

        Raises:
            NotFound: `object-not-found`.
        """
        if is_document:
            try:
                yield from self.documents.read(item)
            except NotFound:
                pass
            else:
                return
        yield from self.objects.read(item)
