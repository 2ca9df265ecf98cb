"""A working copy as the source of a bundle: its own branches and tags, without a registry."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from plait.bundle.create import Part, Version
from plait.errors import Integrity
from plait.model.commit import Commit
from plait.model.commit_graph import Walk
from plait.model.ids import CommitId, ManifestId
from plait.model.manifest import Manifest
from plait.model.refs import Ref, RefKind
from plait.progress import Progress
from plait.transport import PIECE_SIZE
from plait.working_copy.copy import WorkingCopy


class WorkingCopySource:
    """Implements `plait.bundle.create.BundleSource`."""

    def __init__(self, copy: WorkingCopy) -> None:
        self._copy = copy

    def load_refs(self) -> Sequence[Ref]:
        """Return the branches and tags of the copy, without what was fetched of its remote."""
        refs = self._copy.read_refs()
        branches = [Ref(RefKind.BRANCH, name, target) for name, target in refs.branches.items()]
        return branches + [Ref(RefKind.TAG, name, target) for name, target in refs.tags.items()]

    def resolve(self, revision: str) -> CommitId:
        """Return the commit that a revision names."""
        return self._copy.resolve(revision)

    def load_history(
        self, tips: Sequence[CommitId], hidden: Sequence[CommitId]
    ) -> Sequence[Version]:
        """Return the commits that `tips` reach and `hidden` do not."""
        return [
            Version(node.id, self._copy.get_commit(node.id), node.generation)
            for node in Walk(self._copy.graph, tips, hidden=hidden)
        ]

    def load_commit(self, commit: CommitId) -> Commit:
        """Return one commit."""
        return self._copy.get_commit(commit)

    def load_manifests(self, manifests: Sequence[ManifestId]) -> Mapping[ManifestId, Manifest]:
        """Return manifests by their ids."""
        return {manifest: self._copy.get_manifest(manifest) for manifest in manifests}

    def read(
        self,
        parts: Sequence[Part],
        folder: Path,  # noqa: ARG002 - nothing needs to be fetched
        progress: Progress,
    ) -> Iterator[Iterator[memoryview]]:
        """Yield the bytes of each part, as they lie in the copy's objects."""
        progress.total(sum(part.carried.member.size for part in parts), what="Bundling")
        try:
            for part in parts:
                yield self._read(part, progress)
        finally:
            progress.finish()

    def _read(self, part: Part, progress: Progress) -> Iterator[memoryview]:
        path = self._copy.objects.path_of(part.file.sha256)
        buffer = memoryview(bytearray(PIECE_SIZE))
        try:
            file = path.open("rb", buffering=0)
        except FileNotFoundError as error:
            raise _damaged(part) from error
        with file:
            for begin, end in part.carried.carried:
                file.seek(begin)
                left = end - begin
                while left:
                    count = file.readinto(buffer[:left])
                    if not count:
                        raise _damaged(part)
                    left -= count
                    progress.advance(count)
                    yield buffer[:count]


def _damaged(part: Part) -> Integrity:
    return Integrity(
        "object-corrupt",
        f"{part.file.path} of an earlier version is damaged or missing in this working copy: run "
        "`plait fetch --repair`, then create the bundle again.",
        path=part.file.path,
    )
