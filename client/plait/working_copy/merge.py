"""Joining two versions file by file into a commit on what is checked out.

`plait.working_copy.three_way` decides about the files; here the outcome is checked, committed and
brought into the folder. Both `pull --merge` and `revert` end so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from plait.errors import Conflict, InvalidInput
from plait.model.adapter import FILE_NAME
from plait.model.commit import Base, Commit, Origin
from plait.model.ids import CommitId
from plait.model.manifest import Manifest
from plait.model.stack import is_stack, verify_stack_files
from plait.working_copy.commit import Authorship
from plait.working_copy.copy import WorkingCopy
from plait.working_copy.journal import Move
from plait.working_copy.three_way import Merged
from plait.working_copy.tree import apply_move, plan_files

MOST_NAMED = 10


@dataclass(frozen=True, slots=True)
class MergeCommit:
    """The commit that a merge shall make."""

    command: str
    """The verb, as `pull`."""
    target: str
    """What the verb was given."""
    message: str
    authorship: Authorship
    parents: tuple[CommitId, ...]
    """The first is what is checked out."""
    base: Base
    origin: Origin


def commit_merged(
    copy: WorkingCopy, manifest: Manifest, wish: MergeCommit, *, discard_changes: bool
) -> CommitId:
    """Commit a merged version and check it out; the caller holds the lock.

    Raises:
        Conflict: `uncommitted-changes`, and nothing has happened.
        InvalidInput: the outcome is no version of an adapter.
    """
    _verify_version(manifest)
    head = copy.read_head()
    commit = Commit(
        manifest=manifest.id,
        parents=wish.parents,
        author=wish.authorship.author,
        time=wish.authorship.time,
        message=wish.message,
        base=wish.base,
        origin=wish.origin,
    )
    commit_id = copy.record(Commit.from_json(commit.to_json()), manifest)
    move = Move(
        command=wish.command,
        target=wish.target,
        files=plan_files(copy.get_version(wish.parents[0]), manifest, everything=discard_changes),
        head=head.moved_to(commit_id),
        branches={} if head.branch is None else {head.branch: commit_id},
    )
    apply_move(copy, move, discard_changes=discard_changes)
    return commit_id


def get_merged(merged: Merged, *, advice: str) -> Manifest:
    """Return the merged version.

    Raises:
        Conflict: `merge-conflict`, naming the files.
        InvalidInput: files of the two sides cannot live side by side.
    """
    if merged.conflicts:
        raise conflict(merged.conflicts, advice=advice)
    return Manifest.of(merged.files)


def conflict(what: Sequence[str], *, advice: str) -> Conflict:
    """Return the error that both sides changed the same."""
    shown = ", ".join(what[:MOST_NAMED])
    more = f" and {len(what) - MOST_NAMED} more" if len(what) > MOST_NAMED else ""
    return Conflict(
        "merge-conflict",
        f"Both sides changed the same: {shown}{more}. {advice}",
        files=list(what),
    )


def _verify_version(manifest: Manifest) -> None:
    if is_stack(manifest):
        verify_stack_files(manifest)
        return
    if manifest.find(FILE_NAME) is None:
        raise InvalidInput(
            "adapter-config-missing", f"The outcome would have no {FILE_NAME}: nothing was changed."
        )
    if not any(file.tensors and file.tensors.entries for file in manifest.files):
        raise InvalidInput(
            "adapter-empty", "The outcome would have no tensors: nothing was changed."
        )
