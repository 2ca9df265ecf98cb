"""Fetching: everything that the remote has and this copy lacks, without touching a file of it.

1. Ask for the refs; what they reach and is not here are the new commits, with their manifests.
2. Download the contents that are lacking, each verified. Those that an interrupted fetch completed
   are not fetched again, and a large one goes on where it was.
3. Store manifests, then commits, parents before children.
4. Write down where the remote's refs are. New tags become tags here; a branch that is gone there
   is forgotten. Local branches stay as they are.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path

from plait import lookup
from plait.cache import verify_digest
from plait.downloads import Downloader, Fetch, Piece
from plait.errors import Integrity
from plait.lookup import CommitInfo, iter_log, load_manifests, load_refs
from plait.model.address import RepositoryName
from plait.model.commit_graph import is_ancestor
from plait.model.ids import CommitId, ManifestId, ObjectId, abbreviate
from plait.model.manifest import File, Manifest
from plait.model.refs import RefKind, RefName
from plait.progress import NO_PROGRESS, Progress
from plait.transport import Transport
from plait.working_copy.copy import WorkingCopy
from plait.working_copy.notes import write_notes
from plait.working_copy.refs import ORIGIN, Refs, write_refs

MOST_EXCLUDED = 50
"""Commits that one request names as known: they travel in its address."""


class RefChange(StrEnum):
    """What became of a ref of the remote since it was last asked."""

    NEW = "new"
    MOVED = "moved"  # forward
    FORCED = "forced"  # to a commit that is no descendant
    GONE = "gone"
    REFUSED = "refused"  # a tag whose name means something else here


@dataclass(frozen=True, slots=True)
class RefReport:
    """One ref that changed."""

    kind: RefKind
    name: RefName
    change: RefChange
    old: CommitId | None
    new: CommitId | None


@dataclass(frozen=True, slots=True)
class Fetched:
    """What a fetch brought."""

    commits: int
    received: int
    """Bytes of file contents."""
    refs: tuple[RefReport, ...]
    """Those that changed, branches first."""


def fetch(
    copy: WorkingCopy,
    transport: Transport,
    *,
    repair: bool = False,
    progress: Progress = NO_PROGRESS,
) -> Fetched:
    """Fetch from the copy's remote; with `repair` also whatever is missing or damaged here.

    Raises:
        InvalidInput: `usage`, the copy has no remote.
        NotFound: the repository is gone, or may not be seen.
        Unavailable: the registry cannot be reached; what arrived is kept.
    """
    repository = copy.get_remote().repository
    with copy.changing():
        return fetch_locked(copy, transport, repository, repair=repair, progress=progress)


def fetch_locked(
    copy: WorkingCopy,
    transport: Transport,
    repository: RepositoryName,
    *,
    repair: bool = False,
    progress: Progress = NO_PROGRESS,
) -> Fetched:
    """Fetch where the caller holds the lock already; see `fetch`."""
    before = copy.read_refs()
    theirs = load_refs(transport, repository)  # (1)
    commits = _find_commits(
        copy, transport, repository, known=None if repair else before, theirs=theirs
    )
    new = sum(not copy.graph.has(commit) for commit in commits)
    is_here = copy.objects.has_intact if repair else copy.objects.has
    manifests = _load_manifests(transport, repository, commits.values(), is_here)
    files = _find_lacking(copy, commits.values(), manifests, is_here)  # (2)
    received = _download(copy, Downloader(transport, repository, progress), files)
    for manifest in manifests.values():  # (3)
        copy.objects.add(manifest.to_bytes())
    ordered = sorted(commits.values(), key=lambda info: info.generation)
    for info in ordered:
        if not is_here(ObjectId(info.id)):
            copy.objects.add(info.commit.to_bytes())
    copy.graph.append((info.id, info.commit) for info in ordered)
    write_notes(copy.layout, {info.id: info.notes for info in ordered})
    after, reports = _merge_refs(copy, before, theirs)  # (4)
    if after != before:
        write_refs(copy.layout, after)
    return Fetched(new, received, tuple(reports))


def _find_commits(
    copy: WorkingCopy,
    transport: Transport,
    repository: RepositoryName,
    *,
    known: Refs | None,
    theirs: lookup.Refs,
) -> dict[CommitId, CommitInfo]:
    """Return the commits that the remote's refs reach and this copy lacks.

    Where nothing is to be relied on as `known`, those are all that the refs reach.
    """
    found: dict[CommitId, CommitInfo] = {}

    def is_wanted(commit: CommitId) -> bool:
        return commit not in found and (known is None or not copy.graph.has(commit))

    # Whatever else is known arrives again and is passed over; the bound keeps addresses short.
    excluded = [] if known is None else sorted(known.remote_targets())[: MOST_EXCLUDED // 2]
    for tip in [*theirs.branches.values(), *theirs.tags.values()]:
        if not is_wanted(tip):
            continue
        for info in iter_log(transport, repository, tip, exclude=excluded):
            if is_wanted(info.id):
                found[info.id] = info
        excluded = [*excluded, tip][-MOST_EXCLUDED:]
    _verify_closed(copy, found)
    return found


def _verify_closed(copy: WorkingCopy, found: Mapping[CommitId, CommitInfo]) -> None:
    """Check that no commit has a parent that is neither here nor on its way."""
    for info in found.values():
        for parent in info.commit.parents:
            if parent not in found and not copy.graph.has(parent):
                raise Integrity(
                    "digest-mismatch",
                    f"The registry left out the commit {abbreviate(parent)}, a parent of "
                    f"{abbreviate(info.id)}: nothing was taken over; try again.",
                )


def _load_manifests(
    transport: Transport,
    repository: RepositoryName,
    commits: Iterable[CommitInfo],
    is_here: Callable[[ObjectId], bool],
) -> dict[ManifestId, Manifest]:
    """Return the manifests of the commits that are not here yet."""
    named = sorted({info.commit.manifest for info in commits})
    wanted = [manifest for manifest in named if not is_here(ObjectId(manifest))]
    return load_manifests(transport, repository, wanted)


def _find_lacking(
    copy: WorkingCopy,
    commits: Iterable[CommitInfo],
    manifests: Mapping[ManifestId, Manifest],
    is_here: Callable[[ObjectId], bool],
) -> list[File]:
    """Return the files whose contents are to be downloaded."""
    versions = dict(manifests)
    wanted = {info.commit.manifest for info in commits}
    for manifest_id in wanted - versions.keys():
        versions[manifest_id] = copy.get_manifest(manifest_id)
    files = {file.sha256: file for manifest in versions.values() for file in manifest.files}
    return [file for digest, file in files.items() if not is_here(digest)]


def _download(copy: WorkingCopy, downloader: Downloader, files: Iterable[File]) -> int:
    return downloader.fetch(
        [
            Fetch(
                file=file.sha256,
                size=file.size,
                destination=copy.objects.path_of(file.sha256),
                pieces=[Piece(0, file.size, 0)],
                verify=partial(_seal, digest=file.sha256),
            )
            for file in files
        ]
    )


def _seal(path: Path, digest: ObjectId) -> None:
    verify_digest(path, digest)
    path.chmod(0o444)


def _merge_refs(
    copy: WorkingCopy, before: Refs, theirs: lookup.Refs
) -> tuple[Refs, list[RefReport]]:
    """Return the refs after a fetch, and what changed."""
    reports = [
        report
        for name in sorted({*before.remote_branches, *theirs.branches})
        if (
            report := _compare(
                copy, name, before.remote_branches.get(name), theirs.branches.get(name)
            )
        )
    ]
    tags = dict(before.tags)
    for name, target in sorted(theirs.tags.items()):
        if tags.get(name) == target:
            continue
        is_taken = name in tags or name in before.branches or name.startswith(ORIGIN)
        change = RefChange.REFUSED if is_taken else RefChange.NEW
        if not is_taken:
            tags[name] = target
        if before.remote_tags.get(name) != target:
            reports.append(RefReport(RefKind.TAG, name, change, None, target))
    after = dataclasses.replace(
        before,
        tags=tags,
        remote_branches=dict(theirs.branches),
        remote_tags=dict(theirs.tags),
        remote_default=theirs.default_branch,
    )
    return after, reports


def _compare(
    copy: WorkingCopy, name: RefName, old: CommitId | None, new: CommitId | None
) -> RefReport | None:
    if old == new:
        return None
    if old is None:
        change = RefChange.NEW
    elif new is None:
        change = RefChange.GONE
    else:
        is_forward = is_ancestor(copy.graph, old, new)
        change = RefChange.MOVED if is_forward else RefChange.FORCED
    return RefReport(RefKind.BRANCH, name, change, old, new)
