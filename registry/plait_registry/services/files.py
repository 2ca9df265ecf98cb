"""Reading manifests, and where the bytes of files are.

An object that was uploaded to a repository holds nothing but files of its history and the salt,
which its readers may have. Any other one may hold bytes of a repository that they may not read,
and even its end, that one's salt, is not theirs: of it, each range of the file is signed by itself.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from plait.errors import NotFound
from plait.model.address import RepositoryName
from plait.model.ids import ManifestId, ObjectId, abbreviate
from plait_registry.domain.access import Caller, Right
from plait_registry.domain.extents import split_extent
from plait_registry.domain.ports import Database, SignedRequest, Transfers
from plait_registry.domain.records import Extent
from plait_registry.services.access import find_repository


@dataclass(frozen=True, slots=True)
class Source:
    """What a signed read allows: ranges of an object, or exactly one of them."""

    object: ObjectId
    span: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class DownloadPlan:
    """Files as ranges of objects, each with what allows to read it, and the signed reads."""

    files: tuple[tuple[ObjectId, Sequence[tuple[Source, Extent]]], ...]
    reads: Mapping[Source, SignedRequest]


class ReadFiles:
    """Answers what a version holds and where its bytes are."""

    def __init__(self, database: Database, transfers: Transfers) -> None:
        self._database = database
        self._transfers = transfers

    def manifests(
        self, caller: Caller, name: RepositoryName, ids: Collection[ManifestId]
    ) -> Mapping[ManifestId, bytes]:
        """Return manifests as canonical JSON.

        Raises:
            NotFound: `manifest-not-found`, one is not in the repository.
        """
        with self._database.read() as records:
            repository = find_repository(records, caller, name, Right.READ)
            found = records.files.load_manifests(repository.id, ids)
        for manifest in ids:
            if manifest not in found:
                raise NotFound(
                    "manifest-not-found", f"The manifest {abbreviate(manifest)} is not in {name}."
                )
        return found

    def downloads(
        self, caller: Caller, name: RepositoryName, files: Sequence[ObjectId]
    ) -> DownloadPlan:
        """Return where the bytes of `files` are.

        Raises:
            NotFound: `file-not-found`, one is not in the repository; `file-expired`, not any more.
        """
        with self._database.read() as records:
            repository = find_repository(records, caller, name, Right.READ)
            found = records.files.load_extents(repository.id, files)
            lacking = [file for file in files if file not in found]
            expired = records.held.find_expired(repository.id, lacking)
            own = records.files.find_own(
                repository.id, {extent.object for item in found.values() for extent in item}
            )
        for file, since in sorted(expired.items()):
            raise NotFound(
                "file-expired",
                f"The weights {abbreviate(file)} of {name} were removed on {since[:10]}: no tag "
                "and no branch pointed at a version with them for longer than the namespace keeps "
                "such, or they were damaged. Push the version again to bring them back, and tag "
                "what shall stay.",
                file=file,
                expired_at=since,
            )
        for file in files:
            if file not in found:
                raise NotFound(
                    "file-not-found", f"The file {abbreviate(file)} is not in {name}.", file=file
                )
        planned = tuple((file, tuple(_find_sources(found[file], own))) for file in files)
        sources = dict.fromkeys(source for _, parts in planned for source, _ in parts)
        reads = {item: self._transfers.sign_read(item.object, item.span) for item in sources}
        return DownloadPlan(planned, reads)


def _find_sources(
    extents: Iterable[Extent], own: Collection[ObjectId]
) -> Iterator[tuple[Source, Extent]]:
    for extent in extents:
        if extent.object in own:
            yield Source(extent.object), extent
        else:
            for piece in split_extent(extent):
                span = piece.offset, piece.offset + piece.size
                yield Source(piece.object, span), piece
