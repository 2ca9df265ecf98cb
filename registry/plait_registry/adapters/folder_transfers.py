"""Signed requests to the folder store, and what the object gateway does when one arrives.

The same protocol as on an object store in the cloud, so that clients know only one: uploads go by
PUT with a checksum that the store verifies and may not overwrite, large objects go in parts of
which only missing ones are sent again, reads go by GET of any range.
"""

from __future__ import annotations

import os
import re
import secrets
import threading
from collections.abc import Iterator, Mapping, Sequence
from weakref import WeakValueDictionary

from typing_extensions import override

from plait.errors import Integrity, InvalidInput, Unavailable
from plait.model.ids import ObjectId, abbreviate
from plait.model.part_sizes import PartSizes
from plait_registry.adapters.folder_objects import (
    FolderObjects,
    missing,
    translated_disk_errors,
)
from plait_registry.adapters.folder_uploads import (
    PartedUpload,
    PartUpload,
    WholeUpload,
    arrived_already,
    list_parted_uploads,
)
from plait_registry.adapters.url_signing import Grant, ReadGrant, UrlSigner
from plait_registry.domain.ports import SignedPart, SignedRequest, Transfers, UnfinishedUpload

_HANDLE = re.compile(r"[0-9a-f]{32}")


class FolderTransfers(Transfers):
    """Uploads to and reads from a folder store by signed URLs of the registry itself."""

    def __init__(
        self, store: FolderObjects, signer: UrlSigner, sizes: PartSizes | None = None
    ) -> None:
        self._store = store
        self._signer = signer
        self._sizes = sizes or PartSizes()
        self._lock = threading.Lock()
        self._uploads: WeakValueDictionary[str, PartedUpload] = WeakValueDictionary()

    # --- what the services ask for ---

    @property
    @override
    def sizes(self) -> PartSizes:
        return self._sizes

    @override
    def begin_upload(self, object_id: ObjectId, size: int) -> str:
        self._store.path_of(object_id)
        if size < 0:
            raise InvalidInput("invalid-input", f"An object cannot have {size} bytes.")
        return secrets.token_hex(16)

    @override
    def sign_upload(
        self, object_id: ObjectId, size: int, handle: str, parts: Sequence[ObjectId]
    ) -> Sequence[SignedPart]:
        if self._store.stat(object_id) is not None:
            return ()
        tiles = self._sizes.tile_with(object_id, size, parts)
        whole = self._sizes.is_whole(size)
        arrived = frozenset() if whole else frozenset(self._find_upload(handle).arrived)
        return tuple(
            SignedPart(
                offset,
                part,
                None
                if offset in arrived
                else self._signer.sign_upload(Grant(object_id, handle, offset, part, size, digest)),
            )
            for offset, part, digest in tiles
        )

    @override
    def finish_upload(self, object_id: ObjectId, size: int, handle: str) -> None:
        if self._sizes.is_whole(size):
            self._verify_stored(object_id, size)
            return
        upload = self._find_upload(handle)
        with upload.lock:
            if self._store.stat(object_id) is None:
                if any(offset not in upload.arrived for offset, _ in self._sizes.tile(size)):
                    raise missing(object_id)
                upload.publish(object_id, size)
            self._verify_stored(object_id, size)
            self._drop(upload, handle)

    @override
    def abandon_upload(self, object_id: ObjectId, handle: str) -> None:
        upload = self._find_upload(handle)
        with upload.lock:
            upload.sealed = True
            self._drop(upload, handle)

    @override
    def list_uploads(self) -> Iterator[UnfinishedUpload]:
        return list_parted_uploads(self._store)

    @override
    def sign_read(self, object_id: ObjectId, span: tuple[int, int] | None = None) -> SignedRequest:
        self._store.path_of(object_id)
        return self._signer.sign_read(object_id, span)

    # --- what the gateway asks for ---

    def open_upload(
        self, path: str, query: str, headers: Mapping[str, str]
    ) -> WholeUpload | PartUpload:
        """Return where to write the body of a PUT; `headers` have lowercase names.

        Raises:
            PermissionDenied: `signed-url-invalid`, `signed-url-expired`.
            AlreadyExists: `object-exists`, nothing needs to be sent.
        """
        grant = self._signer.verify_upload(path, query, headers)
        if self._store.stat(grant.object_id) is not None:
            raise arrived_already(grant.object_id)
        if grant.is_whole:
            return WholeUpload(self._store, grant.object_id, grant.size)
        return PartUpload(self._find_upload(grant.handle), grant)

    def open_read(self, path: str, query: str) -> FolderReading:
        """Return the object that a GET or HEAD may read, and what of it.

        Raises:
            PermissionDenied: `signed-url-invalid`, `signed-url-expired`.
            NotFound: `object-not-found`.
        """
        return FolderReading(self._store, self._signer.verify_read(path, query))

    def _find_upload(self, handle: str) -> PartedUpload:
        """Return the one instance that stands for an upload while anyone holds it."""
        if _HANDLE.fullmatch(handle) is None:
            raise InvalidInput("invalid-input", "This is not an upload's handle.")
        with self._lock:
            upload = self._uploads.get(handle)
            if upload is None:
                upload = self._uploads[handle] = PartedUpload(self._store, handle)
            return upload

    def _drop(self, upload: PartedUpload, handle: str) -> None:
        """Remove a sealed upload, whose lock the caller holds.

        Whoever sends the object anew under this handle begins afresh, while requests that stalled
        stay sealed out of what was the upload's file.
        """
        upload.remove()
        with self._lock:
            if self._uploads.get(handle) is upload:
                del self._uploads[handle]

    def _verify_stored(self, object_id: ObjectId, size: int) -> None:
        stored = self._store.stat(object_id)
        if stored is None:
            raise missing(object_id)
        if stored != size:
            raise Integrity(
                "size-mismatch",
                f"The object {abbreviate(object_id)} has {stored} bytes, not {size}.",
            )


class FolderReading:
    """An object that is being read."""

    def __init__(self, store: FolderObjects, grant: ReadGrant) -> None:
        self.object_id = grant.object_id
        self.span = grant.span
        self._descriptor = store.open(grant.object_id)
        self.size = os.fstat(self._descriptor).st_size

    def read(self, offset: int, size: int) -> bytes:
        """Return exactly `size` bytes from `offset`.

        Raises:
            Unavailable: the disk has fewer, or cannot be read.
        """
        with translated_disk_errors():
            piece = os.pread(self._descriptor, size, offset)
        if len(piece) != size:
            raise Unavailable("unavailable", "The object ended early while it was read.")
        return piece

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._descriptor)
