"""Whether an object is what its name says."""

from __future__ import annotations

import hashlib

from plait.errors import NotFound
from plait.model.ids import ObjectId
from plait_registry.domain.ports import ObjectStore


def has_its_name(store: ObjectStore, object_id: ObjectId) -> bool:
    """Tell whether an object is there and its bytes are what its id says, by reading it once."""
    digest = hashlib.sha256()
    try:
        for piece in store.read(object_id):
            digest.update(piece)
    except NotFound:
        return False
    return digest.hexdigest() == object_id
