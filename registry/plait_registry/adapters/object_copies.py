"""Whole objects copied into a folder store, verified on the way."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from typing_extensions import override

from plait.errors import Integrity
from plait.model.ids import ObjectId, abbreviate
from plait_registry.adapters.folder_objects import FolderObjects, IncomingFile
from plait_registry.domain.backup import ObjectIntake


class FolderIntake(ObjectIntake):
    """Takes objects into a folder."""

    def __init__(self, store: FolderObjects) -> None:
        self._store = store

    @override
    def take(self, object_id: ObjectId, pieces: Iterator[bytes]) -> None:
        if self._store.stat(object_id) is not None:
            return
        digest = hashlib.sha256()
        file = IncomingFile(self._store)
        try:
            for piece in pieces:
                digest.update(piece)
                file.write([piece])
            if digest.hexdigest() != object_id:
                raise Integrity(
                    "digest-mismatch",
                    f"The bytes of the object {abbreviate(object_id)} are not what its name says: "
                    "run `plait-registry fsck --full`.",
                )
            file.publish(object_id)
        finally:
            file.discard()
