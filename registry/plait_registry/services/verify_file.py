"""Verifying a file that arrived, by reading it once as a stream.

(1) find the upload and let the store finish it; (2) read the file through its extents; (3) check
its size and digest, the safetensors header's rules, the digest of every tensor, and that no
weight is NaN or infinite; (4) check the digest of the uploaded object itself, which later files
may refer to. An object that fails is removed, so that it can be sent anew.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from plait.algebra.finite import FiniteCheck
from plait.errors import Integrity, NotFound, PlaitError
from plait.model import canonical
from plait.model.digesting import FileDigester
from plait.model.ids import ObjectId, hash_bytes
from plait.model.manifest import File
from plait_registry.domain.dedup import join_extents
from plait_registry.domain.extents import describe_extents
from plait_registry.domain.ports import ObjectStore, Transfers
from plait_registry.domain.records import Extent, FileRow, ObjectRow, TensorRow, UploadRow


@dataclass(frozen=True, slots=True)
class VerifiedFile:
    """A file that is what it claims to be, and the object that it brought, if any."""

    row: FileRow
    uploaded: ObjectRow | None


class VerifyFile:
    """Checks one file of a push against its manifest."""

    def __init__(
        self, store: ObjectStore, transfers: Transfers, *, salt: bytes, allow_non_finite: bool
    ) -> None:
        """Take the salt of the repository, which objects that come to it end with."""
        self._store = store
        self._transfers = transfers
        self._salt = salt
        self._allow_non_finite = allow_non_finite

    def uploaded(
        self,
        file: File,
        uploads: Sequence[UploadRow],
        located: Mapping[ObjectId, Sequence[Extent]],
    ) -> VerifiedFile:
        """Verify a file that came by one of `uploads`, newest last.

        Raises:
            NotFound: `object-not-found`, none of the uploads arrived.
            Integrity, InvalidInput: the bytes are not what the manifest says, or break a rule.
        """
        upload = self._finish(file, uploads)
        extents = join_extents(file, upload.ranges, uploaded=upload.object, located=located)
        row = self._read(file, extents, upload)
        return VerifiedFile(row, ObjectRow(upload.object, upload.size, home=upload.repository))

    def stored(self, file: File, extents: Sequence[Extent]) -> VerifiedFile:
        """Verify a manifest's words about a file that is stored; raises as `uploaded`."""
        return VerifiedFile(self._read(file, tuple(extents), None), None)

    def _finish(self, file: File, uploads: Sequence[UploadRow]) -> UploadRow:
        for upload in reversed(uploads):
            try:
                self._transfers.finish_upload(upload.object, upload.size, upload.handle)
            except NotFound:
                continue
            return upload
        raise NotFound(
            "object-not-found",
            f"{file.path} has not been uploaded completely: push again to send what is missing.",
            path=file.path,
            file=file.sha256,
        )

    def _read(self, file: File, extents: tuple[Extent, ...], upload: UploadRow | None) -> FileRow:
        observe = None if self._allow_non_finite else FiniteCheck()
        digester = FileDigester(file.path, file.size, observe=observe)
        try:
            wrong = None if upload is None else self._read_uploaded(digester, file, extents, upload)
            if upload is None:
                for extent in extents:
                    for piece in self._pieces(extent):
                        digester.update(piece)
            found = digester.finish()
        except PlaitError as error:
            raise type(error)(
                error.kind, f"{file.path}: {error.message}", **{"path": file.path, **error.details}
            ) from error
        if found.sha256 != file.sha256:
            raise _mismatch(file, "its bytes have another sha256 than its manifest says")
        if found.tensors != file.tensors:
            raise _mismatch(file, "its tensors are not those that its manifest lists")
        if wrong is not None:
            raise _mismatch(file, wrong)
        # A file whose weights nobody looked at keeps no table, so that each push that brings it
        # verifies it again: what one allowed does not slip into another that did not.
        return _describe(file, extents, table=digest_table(file) if observe else None)

    def _read_uploaded(
        self, digester: FileDigester, file: File, extents: tuple[Extent, ...], upload: UploadRow
    ) -> str | None:
        """Read a file and the object that it brought; return what is wrong with the object."""
        is_whole = upload.ranges == ((0, file.size),)
        own = hashlib.sha256()
        for extent in extents:
            for piece in self._pieces(extent):
                digester.update(piece)
                # Of a file that is one object with a salt, the digester knows that digest too.
                if extent.object == upload.object and not is_whole:
                    own.update(piece)
        salt = b"".join(self._store.read(upload.object, upload.size - len(self._salt), upload.size))
        if salt != self._salt:
            return "the uploaded object does not end with the repository's salt"
        own.update(salt)
        digest = digester.digest_with(salt) if is_whole else ObjectId(own.hexdigest())
        if digest != upload.object:
            return "the uploaded ranges have another sha256 than was announced"
        return None

    def _pieces(self, extent: Extent) -> Iterator[bytes]:
        return self._store.read(extent.object, extent.offset, extent.offset + extent.size)


def digest_table(file: File) -> ObjectId | None:
    """Return the digest that stands for a file's tensor table in the records."""
    if file.tensors is None:
        return None
    return hash_bytes(canonical.dumps(file.tensors.to_json()))


def _describe(file: File, extents: tuple[Extent, ...], *, table: ObjectId | None) -> FileRow:
    entries = file.tensors.entries if file.tensors is not None else ()
    return FileRow(
        sha256=file.sha256,
        size=file.size,
        extents=extents,
        table=table,
        tensors=tuple(TensorRow(entry.sha256, entry.offset, entry.size) for entry in entries),
        document=describe_extents(file.sha256, extents).id,
    )


def _mismatch(file: File, what: str) -> Integrity:
    return Integrity(
        "digest-mismatch",
        f"{file.path}: {what}. Nothing was stored; push again.",
        path=file.path,
        expected=file.sha256,
    )
