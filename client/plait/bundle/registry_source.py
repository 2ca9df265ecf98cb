"""A repository of a registry as the source of a bundle.

Costs a request for each hundred commits, each hundred manifests and each two hundred files. Files
are fetched beside the bundle, in parallel and a batch at a time, so that little more than the
bundle itself takes room on the disk.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from plait.bundle.create import Part, Version
from plait.downloads import BATCH, Downloader, Fetch, Piece
from plait.errors import InvalidInput
from plait.lookup import iter_log, load_commit, load_manifests, load_refs, resolve
from plait.model.address import RepositoryName
from plait.model.commit import Commit
from plait.model.ids import CommitId, ManifestId
from plait.model.manifest import Manifest
from plait.model.refs import Ref, RefKind
from plait.partial_file import disk_errors
from plait.progress import Progress
from plait.transport import PIECE_SIZE, Transport

MOST_EXCLUDED = 50
"""Commits named in one request; keeps its address short."""
BATCH_SIZE = 256 << 20
"""Bytes that are fetched before they are written to the bundle; more only where one file has."""


class RegistrySource:
    """Implements `plait.bundle.create.BundleSource`."""

    def __init__(self, transport: Transport, repository: RepositoryName) -> None:
        self._transport = transport
        self._repository = repository

    def load_refs(self) -> Sequence[Ref]:
        """Return all branches and tags."""
        refs = load_refs(self._transport, self._repository)
        branches = [Ref(RefKind.BRANCH, name, target) for name, target in refs.branches.items()]
        return branches + [Ref(RefKind.TAG, name, target) for name, target in refs.tags.items()]

    def resolve(self, revision: str) -> CommitId:
        """Return the commit that a revision names."""
        return resolve(self._transport, self._repository, revision)[0]

    def load_history(
        self, tips: Sequence[CommitId], hidden: Sequence[CommitId]
    ) -> Sequence[Version]:
        """Return the commits that `tips` reach and `hidden` do not."""
        if len(hidden) >= MOST_EXCLUDED:
            raise InvalidInput("usage", f"Give less than {MOST_EXCLUDED} revisions to begin after.")
        found: dict[CommitId, Version] = {}
        done: list[CommitId] = []
        for tip in tips:
            if tip in found:
                continue
            # What an earlier tip reached may arrive again, and is passed over.
            excluded = [*hidden, *done[len(hidden) - MOST_EXCLUDED :]]
            for info in iter_log(self._transport, self._repository, tip, exclude=excluded):
                found.setdefault(info.id, Version(info.id, info.commit, info.generation))
            done.append(tip)
        return list(found.values())

    def load_commit(self, commit: CommitId) -> Commit:
        """Return one commit."""
        return load_commit(self._transport, self._repository, commit).commit

    def load_manifests(self, manifests: Sequence[ManifestId]) -> Mapping[ManifestId, Manifest]:
        """Return manifests by their ids."""
        return load_manifests(self._transport, self._repository, manifests)

    def read(
        self, parts: Sequence[Part], folder: Path, progress: Progress
    ) -> Iterator[Iterator[memoryview]]:
        """Yield the bytes of each part."""
        downloader = Downloader(self._transport, self._repository, progress)
        for batch in _split(parts):
            downloader.fetch([_plan_fetch(part, folder) for part in batch])
            for part in batch:
                path = folder / part.file.sha256
                yield _read(path)
                with disk_errors(path):
                    path.unlink()


def _split(parts: Sequence[Part]) -> Iterator[list[Part]]:
    batch: list[Part] = []
    size = 0
    for part in parts:
        added = part.carried.member.size
        if batch and (size + added > BATCH_SIZE or len(batch) == BATCH):
            yield batch
            batch, size = [], 0
        batch.append(part)
        size += added
    if batch:
        yield batch


def _plan_fetch(part: Part, folder: Path) -> Fetch:
    pieces = []
    position = 0
    for begin, end in part.carried.carried:
        pieces.append(Piece(begin, end, position))
        position += end - begin
    return Fetch(
        file=part.file.sha256,
        size=position,
        destination=folder / part.file.sha256,
        pieces=pieces,
        verify=_leave_to_the_writer,
    )


def _leave_to_the_writer(path: Path) -> None:
    """Accept the bytes: they are checked when they are read again, and nobody else sees them."""


def _read(path: Path) -> Iterator[memoryview]:
    buffer = memoryview(bytearray(PIECE_SIZE))
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            yield buffer[:count]
