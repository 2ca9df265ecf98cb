"""Reading a small stored file through its extents."""

from __future__ import annotations

from collections.abc import Sequence

from plait_registry.domain.ports import ObjectStore
from plait_registry.domain.records import Extent


def read_file(store: ObjectStore, extents: Sequence[Extent]) -> bytes:
    """Return the bytes of a file that fits in memory, such as an adapter's config."""
    return b"".join(
        piece
        for extent in extents
        for piece in store.read(extent.object, extent.offset, extent.offset + extent.size)
    )
