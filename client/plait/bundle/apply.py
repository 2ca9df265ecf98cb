"""Bringing a bundle into a repository of a registry, by the pushes that anybody else makes.

(1) verify all of the bundle; nothing is sent of one that is damaged;
(2) see where the repository's refs are, and which prerequisites it lacks;
(3) plan every ref before the first one moves: branches go forward only, unless forced, tags never
    move, and a ref that is there already, or further on, stays;
(4) push each, with the commits that the repository may lack. The bytes come from where they lie in
    the bundle, and only those that the registry asks for: nothing is unpacked.

A branch whose files share tensors with each other is pushed in several steps, so that a later one
finds the tensors of an earlier one in the registry. Each step leaves the branch at a commit of its
own history; whoever applies the bundle again after an interruption goes on from there.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from plait import wire
from plait.bundle.plan import is_most_of
from plait.bundle.reader import Bundle, open_bundle
from plait.bundle.refs import (
    AppliedRef,
    AskedGraph,
    BundleGraph,
    RefChange,
    choose_refs,
    plan_ref,
    verify_prerequisites,
)
from plait.bundle.verify import VerifiedBundle, verify_bundle
from plait.errors import AlreadyExists, NotFound
from plait.lookup import Refs, load_refs
from plait.model.address import RepositoryName
from plait.model.base_version import is_base
from plait.model.ids import CommitId, ManifestId, ObjectId
from plait.model.manifest import Manifest
from plait.model.refs import RefKind, RefUpdate
from plait.model.repository_kind import RepositoryKind
from plait.progress import NO_PROGRESS, Progress
from plait.push import PushRequest, push_commits
from plait.push_folder import create_repository
from plait.transport import Transport
from plait.uploads import Scattered


@dataclass(frozen=True, slots=True)
class AppliedBundle:
    """What applying a bundle did."""

    sha256: str
    """Of the bundle."""
    refs: tuple[AppliedRef, ...]
    commits: int
    """That were new to the repository."""
    bytes_stored: int
    """Of the objects that were added."""


@dataclass(frozen=True, slots=True)
class ApplyWish:
    """What to take from a bundle, and how."""

    path: Path
    refs: tuple[str, ...] = ()
    """Branches and tags of the bundle; none means all."""
    force: bool = False
    """Let branches leave commits behind."""
    create: bool = False
    """Make the repository where it is absent."""
    allow_non_finite: bool = False
    """Accept NaN and infinity in weights."""


def apply_bundle(
    transport: Transport,
    repository: RepositoryName,
    wish: ApplyWish,
    progress: Progress = NO_PROGRESS,
) -> AppliedBundle:
    """Push what a bundle holds, as the module says; the same again does nothing.

    Raises:
        NotFound: `prerequisite-missing`, `ref-not-found`, `repository-not-found`.
        Conflict: a branch would leave commits behind, or a tag would move; nothing was pushed.
        InvalidInput, Integrity: the bundle is damaged, or the registry refused a version.
    """
    # (1) verify.
    verified = verify_bundle(wish.path, progress)
    graph = BundleGraph(verified)
    refs = choose_refs(verified, wish.refs)

    # (2) look.
    there = _look(transport, repository, wish)
    verify_prerequisites(transport, repository, graph.find_required(refs), there)

    # (3) plan.
    registry = AskedGraph(transport, repository)
    planned = [plan_ref(ref, there, graph, registry, force=wish.force) for ref in refs]

    # (4) push.
    known = {*there.branches.values(), *there.tags.values()}
    commits = stored = 0
    with open_bundle(verified.path) as bundle:
        pusher = _Pusher(transport, repository, verified, _Manifests(bundle))
        for item in planned:
            if item.change is RefChange.KEPT:
                continue
            lacking = graph.list_lacking(item.ref.target, known)
            for result in pusher.push(item, lacking, wish, progress):
                commits += result.commits
                stored += result.bytes_stored
            known.add(item.ref.target)
    return AppliedBundle(verified.sha256, tuple(planned), commits, stored)


def _look(transport: Transport, repository: RepositoryName, wish: ApplyWish) -> Refs:
    """Return the repository's refs; it is made first where it is absent and that is allowed."""
    try:
        return load_refs(transport, repository)
    except NotFound as error:
        if error.kind != "repository-not-found":
            raise
        if not wish.create:
            raise NotFound(
                error.kind,
                f"There is no repository {repository} here, or you may not see it: make it with "
                f"`plait repo create {repository}`, or apply with --create (create=True).",
                **error.details,
            ) from error
    with contextlib.suppress(AlreadyExists):  # somebody else made it since we looked
        create_repository(transport, repository, kind=_find_kind(wish.path))
    return load_refs(transport, repository)


def _find_kind(path: Path) -> RepositoryKind:
    """Return what the versions of a bundle are, all of which came from one repository."""
    with open_bundle(path) as bundle:
        first = next(iter(_Manifests(bundle).values()), None)
    is_of_bases = first is not None and is_base(first)
    return RepositoryKind.BASE if is_of_bases else RepositoryKind.ADAPTER


class _Manifests(Mapping[ManifestId, Manifest]):
    """The bundle's manifests, read when they are asked for."""

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle
        self._ids = [ManifestId(item.id) for item in bundle.contents.manifests]

    def __getitem__(self, key: ManifestId) -> Manifest:
        return self._bundle.load_manifest(key)

    def __iter__(self) -> Iterator[ManifestId]:
        return iter(self._ids)

    def __len__(self) -> int:
        return len(self._ids)


class _Pusher:
    """Pushes refs of one bundle."""

    def __init__(
        self,
        transport: Transport,
        repository: RepositoryName,
        verified: VerifiedBundle,
        manifests: Mapping[ManifestId, Manifest],
    ) -> None:
        self._transport = transport
        self._repository = repository
        self._verified = verified
        self._manifests = manifests

    def push(
        self,
        planned: AppliedRef,
        commits: Sequence[CommitId],
        wish: ApplyWish,
        progress: Progress,
    ) -> Iterator[wire.PushResult]:
        """Push the commits and move the ref, in as many steps as pay."""
        ref, expected = planned.ref, planned.old
        is_forced = planned.change is RefChange.FORCED
        steps = [commits]
        if ref.kind is RefKind.BRANCH and not is_forced:
            steps = split_steps(self._verified, commits, planned.old) or [[]]
        for step in steps:
            new = step[-1] if step else ref.target
            request = PushRequest(
                update=RefUpdate(ref.kind, ref.name, expected, new, force=is_forced),
                commits=[self._verified.commits[commit] for commit in step],
                manifests=self._manifests,
                find_file=self._find,
                allow_non_finite=wish.allow_non_finite,
            )
            yield push_commits(self._transport, self._repository, request, progress)
            expected = new

    def _find(self, file: ObjectId) -> Scattered:
        pieces = self._verified.files[file].pieces
        return Scattered(
            self._verified.path,
            [(piece.begin, piece.end, piece.at) for piece in pieces if piece.at is not None],
        )


def split_steps(
    verified: VerifiedBundle, commits: Sequence[CommitId], old: CommitId | None
) -> list[Sequence[CommitId]]:
    """Return the commits in groups to be pushed one after the other; parents come first.

    A group ends before a commit most of one of whose files lies with files of the same group, if
    the branch, which is at `old`, can be there in between: everything so far leads up to it.
    """
    steps: list[Sequence[CommitId]] = []
    begin = 0
    carried: set[int] = set()  # by the files of this group
    heads: set[CommitId] = set() if old is None else {old}
    for index, commit in enumerate(commits):
        document = verified.commits[commit]
        places = [verified.files[file] for file in verified.first_files.get(document.manifest, ())]
        shares = any(
            is_most_of(sum(item.borrowed.get(number, 0) for number in carried), item.size)
            for item in places
            if item.borrowed
        )
        if shares and heads == {commits[index - 1]}:
            steps.append(commits[begin:index])
            begin, carried = index, set()
        carried |= {item.number for item in places}
        heads = heads.difference(document.parents) | {commit}
    if begin < len(commits):
        steps.append(commits[begin:])
    return steps
