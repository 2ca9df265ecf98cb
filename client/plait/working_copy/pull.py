"""Pulling: a fetch, then the branch that is checked out catches up with its upstream.

Histories that have not diverged are fast-forwarded. Diverged ones are joined only when asked to,
by whole files (`plait.working_copy.three_way`).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from plait.errors import Conflict, InvalidInput, NotFound
from plait.model.commit import Origin, OriginKind
from plait.model.commit_graph import find_merge_bases, is_ancestor
from plait.model.ids import CommitId
from plait.model.refs import RefName
from plait.progress import NO_PROGRESS, Progress
from plait.transport import Transport
from plait.working_copy.commit import Authorship
from plait.working_copy.copy import WorkingCopy
from plait.working_copy.divergence import count_commits
from plait.working_copy.fetch import Fetched, fetch_locked
from plait.working_copy.journal import Move
from plait.working_copy.merge import MergeCommit, commit_merged, conflict, get_merged
from plait.working_copy.refs import ORIGIN
from plait.working_copy.three_way import Side, merge_bases, merge_manifests
from plait.working_copy.tree import apply_move, finish_interrupted, plan_files

_ADVICE = (
    "Keep your files with --ours or take the remote's with --theirs (both lines stay in history), "
    "or put your version on a branch of its own: `plait switch -c NAME`, `plait push`."
)


@dataclass(frozen=True, slots=True)
class PullRequest:
    """How to catch up."""

    authorship: Authorship
    """Of the commit that a merge makes."""
    merge: bool = False
    """Join diverged histories."""
    prefer: Side | None = None
    """Which side settles conflicts."""
    discard_changes: bool = False


class Outcome(StrEnum):
    """What a pull did."""

    UP_TO_DATE = "up-to-date"  # the upstream holds nothing new
    FAST_FORWARD = "fast-forward"  # the branch moved to the upstream
    MERGED = "merged"  # a commit with two parents was made


@dataclass(frozen=True, slots=True)
class PulledCopy:
    """Where the branch is now."""

    branch: RefName
    outcome: Outcome
    old: CommitId | None
    new: CommitId
    fetched: Fetched


def pull(
    copy: WorkingCopy,
    transport: Transport,
    request: PullRequest,
    *,
    progress: Progress = NO_PROGRESS,
) -> PulledCopy:
    """Pull as the module says.

    Raises:
        Conflict: `diverged`, `merge-conflict` or `uncommitted-changes`; the fetch has happened
            then, and no file has changed.
        NotFound: the remote has no branch of that name; `merge-base-not-found`.
        InvalidInput: HEAD is detached, or the copy has no remote.
    """
    repository = copy.get_remote().repository
    with copy.changing():
        finish_interrupted(copy, discard_changes=request.discard_changes)
        branch = copy.read_head().branch
        if branch is None:
            raise InvalidInput(
                "usage", "HEAD is at no branch: `plait switch BRANCH` first, or only `plait fetch`."
            )
        fetched = fetch_locked(copy, transport, repository, progress=progress)
        refs = copy.read_refs()
        ours, theirs = refs.branches.get(branch), refs.remote_branches.get(branch)
        if theirs is None:
            raise NotFound(
                "ref-not-found",
                f"{repository} has no branch {branch!r}: `plait push` makes it.",
                ref=branch,
            )
        if ours is not None and is_ancestor(copy.graph, theirs, ours):
            return PulledCopy(branch, Outcome.UP_TO_DATE, ours, ours, fetched)
        if ours is None or is_ancestor(copy.graph, ours, theirs):
            _fast_forward(copy, branch, ours, theirs, discard_changes=request.discard_changes)
            return PulledCopy(branch, Outcome.FAST_FORWARD, ours, theirs, fetched)
        if not request.merge:
            raise _diverged(copy, branch, ours, theirs)
        new = _merge(copy, request, branch, ours, theirs)
        return PulledCopy(branch, Outcome.MERGED, ours, new, fetched)


def _fast_forward(
    copy: WorkingCopy,
    branch: RefName,
    ours: CommitId | None,
    theirs: CommitId,
    *,
    discard_changes: bool,
) -> None:
    files = plan_files(copy.get_version(ours), copy.get_version(theirs), everything=discard_changes)
    move = Move(
        command="pull", target="", files=files, head=copy.read_head(), branches={branch: theirs}
    )
    apply_move(copy, move, discard_changes=discard_changes)


def _merge(
    copy: WorkingCopy, request: PullRequest, branch: RefName, ours: CommitId, theirs: CommitId
) -> CommitId:
    bases = find_merge_bases(copy.graph, ours, theirs)
    if not bases:
        raise NotFound(
            "merge-base-not-found",
            f"{branch!r} and the remote's have no commit in common, so there is nothing to merge "
            "by: push yours to a branch of its own (`plait switch -c NAME`, `plait push`).",
        )
    mine, other = copy.get_commit(ours), copy.get_commit(theirs)
    known = [copy.get_commit(base) for base in bases]
    base = merge_bases([item.base for item in known], mine.base, other.base, prefer=request.prefer)
    if base is None:
        raise conflict(["the base model"], advice=_ADVICE)
    merged = merge_manifests(
        [copy.get_manifest(item.manifest) for item in known],
        copy.get_manifest(mine.manifest),
        copy.get_manifest(other.manifest),
        prefer=request.prefer,
    )
    wish = MergeCommit(
        command="pull",
        target="--merge",
        message=f"Merge {ORIGIN}{branch} into {branch}",
        authorship=request.authorship,
        parents=(ours, theirs),
        base=base,
        origin=Origin(OriginKind.MERGE),
    )
    manifest = get_merged(merged, advice=_ADVICE)
    return commit_merged(copy, manifest, wish, discard_changes=request.discard_changes)


def _diverged(copy: WorkingCopy, branch: RefName, ours: CommitId, theirs: CommitId) -> Conflict:
    ahead = count_commits(copy, ours, without=theirs)
    behind = count_commits(copy, theirs, without=ours)
    return Conflict(
        "diverged",
        f"{branch!r} and the remote's have diverged; commits only here: {ahead}, only there: "
        f"{behind}. Join them by `plait pull --merge` (file by file), or keep yours apart by "
        f"`plait switch -c NAME`; `plait log --graph {branch} {ORIGIN}{branch}` shows both.",
        branch=branch,
        ahead=ahead,
        behind=behind,
    )
