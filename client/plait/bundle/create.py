"""Making a bundle: commits, manifests and files of a repository in one file.

(1) choose the branches and tags, and find the commits that they reach and `since` does not;
(2) commits outside of these that they continue become prerequisites, with their documents;
(3) plan which bytes of which files are carried (`plait.bundle.plan`), which fixes every byte of
    the archive but those of the files;
(4) write it in one pass, each file checked against its digests on the way.

Memory holds the documents, which are about 250 bytes a tensor of each version, and no file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from plait.bundle.archive import Member
from plait.bundle.contents import (
    NAME,
    CarriedFile,
    Contents,
    Document,
    commit_name,
    manifest_name,
)
from plait.bundle.plan import Planner, RegionCheck
from plait.bundle.writer import CONTENT, BundleWriter, publish, unfinished, verify_absent
from plait.errors import Integrity, InvalidInput, NotFound
from plait.model.commit import Commit
from plait.model.ids import CommitId, ManifestId, ObjectId, abbreviate
from plait.model.manifest import File, Manifest
from plait.model.refs import Ref
from plait.partial_file import disk_errors
from plait.progress import NO_PROGRESS, Progress


@dataclass(frozen=True, slots=True)
class Version:
    """A commit and its place in history."""

    id: CommitId
    commit: Commit
    generation: int
    """1 for a root, else one more than the highest of the parents."""


@dataclass(frozen=True, slots=True)
class Part:
    """A file, and which of its bytes are wanted."""

    file: File
    carried: CarriedFile


class BundleSource(Protocol):
    """Where the versions come from: a repository of a registry, or a working copy."""

    def load_refs(self) -> Sequence[Ref]:
        """Return all branches and tags."""

    def resolve(self, revision: str) -> CommitId:
        """Return the commit that a revision names; raises NotFound or InvalidInput."""

    def load_history(
        self, tips: Sequence[CommitId], hidden: Sequence[CommitId]
    ) -> Sequence[Version]:
        """Return the commits that `tips` reach and `hidden` do not, in any order."""

    def load_commit(self, commit: CommitId) -> Commit:
        """Return one commit."""

    def load_manifests(self, manifests: Sequence[ManifestId]) -> Mapping[ManifestId, Manifest]:
        """Return manifests by their ids."""

    def read(
        self, parts: Sequence[Part], folder: Path, progress: Progress
    ) -> Iterator[Iterator[memoryview]]:
        """Yield the bytes of each part; all of one before the next.

        `folder` is there for temporary files, on the disk of the bundle.
        """


@dataclass(frozen=True, slots=True)
class BundleWish:
    """What shall be in a bundle, and where it goes."""

    path: Path
    refs: tuple[str, ...] = ()
    """Branches and tags; none means all."""
    since: tuple[str, ...] = ()
    """Revisions that the receiver has; none makes a complete bundle."""
    force: bool = False
    """Replace a file."""


@dataclass(frozen=True, slots=True)
class CreatedBundle:
    """A bundle that was made."""

    path: Path
    sha256: str
    """Of all of it; equal contents have an equal one."""
    size: int
    """Bytes."""
    contents: Contents


def create_bundle(
    source: BundleSource, wish: BundleWish, progress: Progress = NO_PROGRESS
) -> CreatedBundle:
    """Make a bundle as the module says.

    Raises:
        AlreadyExists: `destination-exists`.
        NotFound: there is no such branch, tag or revision.
        InvalidInput: `bundle-empty`, nothing is new since those revisions.
        Integrity: a file is not what its version says, or a commit is missing; nothing is left of
            the bundle.
        Unavailable: `disk-full`, `busy`, or the registry cannot be reached.
    """
    verify_absent(wish.path, force=wish.force)
    # (1) choose.
    refs = _choose(source.load_refs(), wish.refs)
    since = [source.resolve(revision) for revision in wish.since]
    history = source.load_history(list(dict.fromkeys(ref.target for ref in refs)), since)
    if not history:
        raise InvalidInput(
            "bundle-empty", "There is no commit that the bundle could carry: nothing was written."
        )
    history = sorted(history, key=lambda version: (version.generation, version.id))

    # (2) find what they continue.
    inside = {version.id for version in history}
    required = {parent for item in history for parent in item.commit.parents} - inside
    if required and not since:
        raise Integrity(
            "bundle-incomplete",
            f"The history that was read lacks the commit {abbreviate(min(required))}: nothing was "
            "written; try again.",
        )
    if wish.refs:
        required |= {ref.target for ref in refs} - inside
    refs = [ref for ref in refs if ref.target in inside or ref.target in required]
    prerequisites = {commit: source.load_commit(commit) for commit in sorted(required)}

    # (3) plan.
    plan = _plan(source, refs, prerequisites, {item.id: item.commit for item in history})

    # (4) write.
    with unfinished(wish.path, force=wish.force) as folder:
        made = folder / CONTENT
        with disk_errors(made):
            file = made.open("xb")
        with file:
            writer = BundleWriter(file, wish.path)
            digest = _write(writer, plan, source.read(plan.parts, folder, progress))
        publish(made, wish.path, force=wish.force)
    return CreatedBundle(wish.path, digest, writer.size, plan.contents)


@dataclass(frozen=True, slots=True)
class _Plan:
    """Everything that is written."""

    contents: Contents
    documents: Mapping[str, bytes]
    """By the names of their members, in their order."""
    parts: Sequence[Part]


def _choose(refs: Sequence[Ref], names: Sequence[str]) -> list[Ref]:
    known = {ref.name: ref for ref in refs}
    for name in names:
        if name not in known:
            raise NotFound(
                "ref-not-found",
                f"There is no branch or tag {name!r}: a bundle carries branches and tags, since "
                "these are what its receiver gets to see.",
                name=name,
            )
    chosen = set(names) or known.keys()
    if not chosen:
        raise InvalidInput("bundle-empty", "There is no branch and no tag that could be carried.")
    return sorted((ref for ref in refs if ref.name in chosen), key=lambda ref: (ref.kind, ref.name))


def _plan(
    source: BundleSource,
    refs: Sequence[Ref],
    prerequisites: Mapping[CommitId, Commit],
    commits: Mapping[CommitId, Commit],
) -> _Plan:
    required = dict.fromkeys(commit.manifest for commit in prerequisites.values())
    ordered = list(dict.fromkeys([*required, *(commit.manifest for commit in commits.values())]))
    manifests = source.load_manifests(ordered)
    planner = Planner(manifests[item] for item in required)
    parts = [
        Part(file, carried)
        for item in ordered
        if item not in required
        for file in manifests[item].files
        if (carried := planner.plan(file)) is not None
    ]
    first = {commit_name(key): item.to_bytes() for key, item in prerequisites.items()}
    second = {commit_name(key): item.to_bytes() for key, item in commits.items()}
    third = {manifest_name(item): manifests[item].to_bytes() for item in ordered}
    contents = Contents(
        refs=tuple(refs),
        prerequisites=_list_documents(prerequisites, first),
        commits=_list_documents(commits, second),
        manifests=_list_documents(ordered, third),
        files=tuple(part.carried for part in parts),
    )
    return _Plan(contents, {**first, **second, **third}, parts)


def _list_documents(
    names: Mapping[CommitId, Commit] | Sequence[ManifestId], bodies: Mapping[str, bytes]
) -> tuple[Document, ...]:
    return tuple(
        Document(ObjectId(name), len(body))
        for name, body in zip(names, bodies.values(), strict=True)
    )


def _write(writer: BundleWriter, plan: _Plan, contents: Iterator[Iterator[memoryview]]) -> str:
    first = plan.contents.to_bytes()
    writer.add(Member(NAME, len(first)), (first,))
    for name, body in plan.documents.items():
        writer.add(Member(name, len(body)), (body,))
    for part, pieces in zip(plan.parts, contents, strict=True):
        writer.add(part.carried.member, _checked(part, pieces))
    return writer.finish()


def _checked(part: Part, pieces: Iterator[memoryview]) -> Iterator[memoryview]:
    check = RegionCheck(part.file, part.carried)
    for piece in pieces:
        check.update(piece)
        yield piece
    check.finish()
