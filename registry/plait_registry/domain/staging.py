"""Commits on their way in: parsed, checked against each other, and placed in the graph."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from plait.errors import InvalidInput
from plait.model.commit import Commit
from plait.model.commit_graph import CommitSource, Node
from plait.model.ids import CommitId, ManifestId, ObjectId, abbreviate
from plait.model.manifest import File, Manifest
from plait_registry.domain.ancestry import Link, choose_skip
from plait_registry.domain.policy import verify_version
from plait_registry.domain.records import CommitRow


@dataclass(frozen=True, slots=True)
class IncomingCommit:
    """A commit of a push, with the manifest that it names."""

    id: CommitId
    body: bytes
    commit: Commit
    manifest: Manifest


def collect(
    commits: Sequence[tuple[CommitId, bytes]], manifests: Mapping[ManifestId, Manifest]
) -> list[IncomingCommit]:
    """Return the staged commits with their manifests.

    Raises:
        InvalidInput: a manifest was not sent, or cannot be a version of an adapter.
    """
    for candidate in manifests.values():
        verify_version(candidate)
    incoming = []
    for commit_id, body in commits:
        commit = Commit.from_bytes(body)
        manifest = manifests.get(commit.manifest)
        if manifest is None:
            raise InvalidInput(
                "invalid-commit",
                f"The commit {abbreviate(commit_id)} names the manifest "
                f"{abbreviate(commit.manifest)}, which was not sent: push again.",
            )
        incoming.append(IncomingCommit(commit_id, body, commit, manifest))
    return incoming


def find_outside_parents(commits: Iterable[IncomingCommit]) -> list[CommitId]:
    """Return the parents that must be in the repository already, in order.

    Commits come parents first, so a parent that comes later counts as outside, and is unknown
    there. A cycle cannot be written down: a commit's id is a digest over its parents' ids.
    """
    inside: set[CommitId] = set()
    outside: dict[CommitId, None] = {}
    for item in commits:
        for parent in item.commit.parents:
            if parent not in inside:
                outside[parent] = None
        inside.add(item.id)
    return list(outside)


def verify_parents_known(commits: Iterable[IncomingCommit], known: Collection[CommitId]) -> None:
    """Check that every parent is in the push, before its child, or in the repository.

    Raises:
        InvalidInput: `parent-unknown`.
    """
    seen: set[CommitId] = set(known)
    for item in commits:
        for parent in item.commit.parents:
            if parent not in seen:
                raise InvalidInput(
                    "parent-unknown",
                    f"The commit {abbreviate(item.id)} continues {abbreviate(parent)}, which is "
                    "neither in the repository nor earlier in the push: push that one too.",
                    commit=item.id,
                    parent=parent,
                )
        seen.add(item.id)


def list_files(manifests: Iterable[Manifest]) -> dict[ObjectId, File]:
    """Return the files of `manifests` by digest.

    Where one digest stands under several names, the one with a tensor table speaks for it. Only
    that one is verified against the bytes, so the others must say the same.

    Raises:
        InvalidInput: two files of one digest differ in size or in their tensors.
    """
    files: dict[ObjectId, File] = {}
    for manifest in manifests:
        for file in manifest.files:
            other = files.setdefault(file.sha256, file)
            if not _agree(file, other):
                raise InvalidInput(
                    "invalid-manifest",
                    f"{other.path!r} and {file.path!r} have one sha256 and differ in what the "
                    "manifest says about them.",
                )
            if file.tensors is not None:
                files[file.sha256] = file
    return files


def _agree(one: File, other: File) -> bool:
    """Tell whether two files of one digest can both be what they claim to be."""
    return one.size == other.size and (
        one.tensors is None or other.tensors is None or one.tensors == other.tensors
    )


def place_in_graph(
    item: IncomingCommit,
    *,
    parents: Sequence[CommitRow],
    links: Mapping[CommitId, Link],
    adapter_type: str | None,
) -> CommitRow:
    """Return the commit's row, with its generation and its skip pointer.

    `links` holds the first parent, where its jump leads, and where the jump after that leads.
    """
    depth, skip = 0, None
    if parents:
        parent = links[parents[0].id]
        landing = links[parent.skip] if parent.skip is not None else parent
        beyond = links[landing.skip] if landing.skip is not None else landing
        depth, skip = parent.depth + 1, choose_skip(parent, landing, beyond)
    return CommitRow(
        id=item.id,
        body=item.body,
        manifest=item.commit.manifest,
        parents=item.commit.parents,
        generation=1 + max((parent.generation for parent in parents), default=0),
        depth=depth,
        skip=skip,
        time=item.commit.time,
        adapter_type=adapter_type,
        base=item.commit.base.name,
        size=item.manifest.size,
    )


class IncomingSource:
    """The graph of the repository with the commits of a push on top of it."""

    def __init__(self, below: CommitSource, rows: Iterable[CommitRow]) -> None:
        self._below = below
        self._nodes = {row.id: Node(row.id, row.parents, row.generation, row.time) for row in rows}

    def load(self, commits: Collection[CommitId]) -> Mapping[CommitId, Node]:
        """Return nodes from the push, else from the repository."""
        found = {commit: self._nodes[commit] for commit in commits if commit in self._nodes}
        rest = [commit for commit in commits if commit not in found]
        return {**self._below.load(rest), **found} if rest else found
