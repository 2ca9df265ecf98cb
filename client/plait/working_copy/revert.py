"""Taking back what one commit changed, by whole files, as a new commit.

That is a three-way merge whose base is the commit, and whose other side is its parent: what the
commit changed goes back to what it was, what was changed later stays, and both is a conflict.
"""

from __future__ import annotations

from dataclasses import dataclass

from plait.errors import Conflict, InvalidInput
from plait.model.commit import Commit, Origin, OriginKind
from plait.model.ids import CommitId, abbreviate
from plait.working_copy.commit import Authorship
from plait.working_copy.copy import WorkingCopy
from plait.working_copy.journal import Move
from plait.working_copy.merge import MergeCommit, commit_merged, conflict, get_merged
from plait.working_copy.three_way import Side, merge_bases, merge_manifests
from plait.working_copy.tree import finish_interrupted

_ADVICE = (
    "Settle it by --ours (keep what is there now) or --theirs (go back to what was before that "
    "commit), or change the files by hand and commit."
)


@dataclass(frozen=True, slots=True)
class RevertRequest:
    """What to take back, and how."""

    revision: str
    authorship: Authorship
    mainline: int | None = None
    """Which parent of a merge is the line that stays, from 1 on."""
    prefer: Side | None = None
    """Which side settles conflicts: ours is what is there now, theirs what was before."""
    discard_changes: bool = False


@dataclass(frozen=True, slots=True)
class Reverted:
    """The commit that takes another one back."""

    id: CommitId
    reverted: CommitId
    message: str


def revert(copy: WorkingCopy, request: RevertRequest) -> Reverted:
    """Make the commit and bring it into the folder.

    Raises:
        NotFound: the revision names nothing.
        InvalidInput: it is a merge and `mainline` names no parent, or the outcome is no version.
        Conflict: `merge-conflict`, `nothing-to-commit`, `uncommitted-changes`; nothing has
            happened then.
    """
    with copy.changing():
        interrupted = finish_interrupted(copy, discard_changes=request.discard_changes)
        head = copy.get_head_commit()
        if interrupted is not None and _is_same(interrupted, request):
            # The call that was interrupted is complete now; a second one is not wanted.
            done = copy.get_commit(head)
            return Reverted(head, CommitId(str(done.origin.facts["commit"])), done.message)
        return _revert(copy, request, head, copy.resolve(request.revision))


def _revert(
    copy: WorkingCopy, request: RevertRequest, head: CommitId, target: CommitId
) -> Reverted:
    ours, theirs = copy.get_commit(head), copy.get_commit(target)
    parent = _choose_parent(theirs, target, request.mainline)
    before = None if parent is None else copy.get_commit(parent).base
    base = merge_bases([theirs.base], ours.base, before or ours.base, prefer=request.prefer)
    if base is None:
        raise conflict(["the base model"], advice=_ADVICE)
    current = copy.get_manifest(ours.manifest)
    merged = merge_manifests(
        [copy.get_manifest(theirs.manifest)],
        current,
        copy.get_version(parent),
        prefer=request.prefer,
    )
    manifest = get_merged(merged, advice=_ADVICE)
    if manifest == current:
        raise Conflict(
            "nothing-to-commit",
            f"Nothing to take back: what {abbreviate(target)} changed is no longer there.",
        )
    message = f'Revert "{theirs.subject}"\n\nThis takes back commit {target}.'
    wish = MergeCommit(
        command="revert",
        target=request.revision,
        message=message,
        authorship=request.authorship,
        parents=(head,),
        base=base,
        origin=Origin(OriginKind.REVERT, {"commit": target}),
    )
    new = commit_merged(copy, manifest, wish, discard_changes=request.discard_changes)
    return Reverted(new, target, message)


def _choose_parent(commit: Commit, commit_id: CommitId, mainline: int | None) -> CommitId | None:
    """Return the version to go back to; None for that before the first commit."""
    count = len(commit.parents)
    if mainline is None and count > 1:
        raise InvalidInput(
            "usage",
            f"{abbreviate(commit_id)} is a merge of {count} lines: say by -m N which parent is "
            "the one that stays (`plait show` lists them).",
        )
    if mainline is not None and not 1 <= mainline <= count:
        raise InvalidInput("usage", f"{abbreviate(commit_id)} has no parent number {mainline}.")
    return commit.parents[(mainline or 1) - 1] if count else None


def _is_same(interrupted: Move, request: RevertRequest) -> bool:
    return interrupted.command == "revert" and interrupted.target == request.revision
