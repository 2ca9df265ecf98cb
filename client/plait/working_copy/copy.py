"""A working copy as one value: its state on disk, and lookups over it.

Nothing is remembered between two calls but the commit graph, whose lines never change: what is
read after the lock was taken is what is there.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from plait.errors import InvalidInput, NotFound
from plait.model import canonical
from plait.model.commit import Commit
from plait.model.ids import CommitId, ManifestId, ObjectId
from plait.model.refs import HEAD
from plait.working_copy.graph import LocalGraph
from plait.working_copy.layout import Layout, Remote, get_layout, read_remote
from plait.working_copy.lock import ATTEMPTS, locked
from plait.working_copy.objects import ObjectFolder
from plait.working_copy.refs import Head, Refs, read_head, read_refs

if TYPE_CHECKING:
    from plait.model.manifest import Manifest

# Manifests and revisions are imported where they are used: the log, which people wait for, needs
# neither, and they take as long to import as it takes to print.


class WorkingCopy:
    """A folder with `.plait/`."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.root = layout.root
        self.objects = ObjectFolder(layout.objects, incoming=layout.incoming)
        self.graph = LocalGraph(layout.graph, self.objects)

    @classmethod
    def find(cls, folder: Path) -> WorkingCopy:
        """Open the working copy that `folder` lies in.

        Raises:
            NotFound: `working-copy-not-found`.
        """
        return cls(get_layout(folder))

    @contextlib.contextmanager
    def changing(self, *, attempts: int = ATTEMPTS) -> Generator[None]:
        """Hold the lock that whoever changes something needs; raises Unavailable `busy`."""
        with locked(self.layout, attempts=attempts):
            yield

    def get_remote(self) -> Remote:
        """Return the repository that this copy belongs to.

        Raises:
            InvalidInput: `usage`, it has none.
        """
        remote = read_remote(self.layout)
        if remote is None:
            raise InvalidInput(
                "usage",
                "This working copy has no remote repository: run `plait init --remote NS/NAME` "
                "here to name one.",
            )
        return remote

    def read_refs(self) -> Refs:
        """Return the refs as they are now."""
        return read_refs(self.layout)

    def read_head(self) -> Head:
        """Return what is checked out."""
        return read_head(self.layout)

    def find_head_commit(self) -> CommitId | None:
        """Return the commit that is checked out; None on a branch without one."""
        return self.read_refs().at(self.read_head())

    def get_head_commit(self) -> CommitId:
        """Return the commit that is checked out.

        Raises:
            NotFound: `revision-not-found`, the branch has no commit yet.
        """
        commit = self.find_head_commit()
        if commit is None:
            raise NotFound(
                "revision-not-found",
                f"The branch {self.read_head().branch!r} has no commit yet: `plait commit` makes "
                "the first one, `plait pull` gets the remote's.",
                revision=HEAD,
            )
        return commit

    def get_commit(self, commit: CommitId) -> Commit:
        """Return a commit that is here, verified against its id."""
        return Commit.from_json(canonical.loads(self.objects.read(ObjectId(commit))))

    def get_manifest(self, manifest: ManifestId) -> Manifest:
        """Return a manifest that is here, verified against its id."""
        from plait.model.manifest import Manifest

        return Manifest.from_json(canonical.loads(self.objects.read(ObjectId(manifest))))

    def get_version(self, commit: CommitId | None) -> Manifest:
        """Return the files of a commit; none where there is no commit."""
        if commit is not None:
            return self.get_manifest(self.get_commit(commit).manifest)
        from plait.model.manifest import Manifest

        return Manifest(())

    def resolve(self, revision: str) -> CommitId:
        """Return the commit that `revision` names.

        Raises:
            InvalidInput: it is no revision, or an abbreviation of several commits.
            NotFound: nothing is there.
        """
        if revision in {HEAD, "@"}:
            return self.get_head_commit()
        from plait.model.revision import resolve_revision

        return resolve_revision(revision, _Revisions(self))

    def record(self, commit: Commit, manifest: Manifest) -> CommitId:
        """Store a commit whose files and parents are here; no ref names it yet."""
        self.objects.add(manifest.to_bytes())
        commit_id = CommitId(self.objects.add(commit.to_bytes()))
        self.graph.append([(commit_id, commit)])
        return commit_id


class _Revisions:
    """What resolving a revision needs to know."""

    def __init__(self, copy: WorkingCopy) -> None:
        self._graph = copy.graph
        self._refs = copy.read_refs()
        self._head = copy.read_head()

    def find_ref(self, name: str) -> CommitId | None:
        return self._refs.at(self._head) if name == HEAD else self._refs.find(name)

    def find_by_prefix(self, prefix: str) -> Sequence[CommitId]:
        return self._graph.find_by_prefix(prefix)

    def find_parents(self, commit: CommitId) -> tuple[CommitId, ...]:
        return self._graph.load((commit,))[commit].parents

    def find_ancestor(self, commit: CommitId, generations: int) -> CommitId | None:
        return self._graph.find_ancestor(commit, generations)
