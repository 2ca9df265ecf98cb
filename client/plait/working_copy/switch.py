"""Checking out another branch or commit, without losing what is in no commit.

Changes in files that are the same in both versions come along, as in git.
"""

from __future__ import annotations

from dataclasses import dataclass

from plait.errors import InvalidInput, NotFound
from plait.model.commit_graph import is_ancestor
from plait.model.ids import CommitId
from plait.model.refs import RefName, parse_ref_name
from plait.working_copy.copy import WorkingCopy
from plait.working_copy.journal import Move
from plait.working_copy.refs import ORIGIN, Head, parse_new_name
from plait.working_copy.tree import apply_move, finish_interrupted, plan_files


@dataclass(frozen=True, slots=True)
class Switched:
    """Where HEAD is now."""

    head: Head
    commit: CommitId | None
    """None on a branch without commits."""
    is_new: bool
    """Whether the branch was made."""
    left_behind: CommitId | None
    """The commit that was checked out, where no ref leads to it any more."""


def switch(copy: WorkingCopy, branch: str, *, discard_changes: bool = False) -> Switched:
    """Check out a branch; one that only the remote has is made here at the same commit.

    Raises:
        NotFound: `ref-not-found`.
        AlreadyExists: `ref-exists`, a tag has the name of the remote's branch.
        Conflict: `uncommitted-changes`, and nothing has happened.
    """
    with copy.changing():
        finish_interrupted(copy, discard_changes=discard_changes)
        name, target = _find_branch(copy, branch)
        return _go(copy, Head(branch=name), target, discard_changes=discard_changes)


def create_and_switch(
    copy: WorkingCopy, branch: str, *, start: str | None = None, discard_changes: bool = False
) -> Switched:
    """Make a branch at `start`, or at what is checked out, and check it out.

    Raises:
        AlreadyExists: `ref-exists`.
        NotFound: `start` names nothing.
        Conflict: `uncommitted-changes`, and nothing has happened.
    """
    with copy.changing():
        finish_interrupted(copy, discard_changes=discard_changes)
        name = parse_new_name(branch, copy.read_refs())
        target = copy.find_head_commit() if start is None else copy.resolve(start)
        return _go(copy, Head(branch=name), target, discard_changes=discard_changes)


def detach(copy: WorkingCopy, revision: str, *, discard_changes: bool = False) -> Switched:
    """Check out a commit by itself; what is committed there belongs to no branch.

    Raises:
        NotFound: it names nothing.
        Conflict: `uncommitted-changes`, and nothing has happened.
    """
    with copy.changing():
        finish_interrupted(copy, discard_changes=discard_changes)
        target = copy.resolve(revision)
        return _go(copy, Head(commit=target), target, discard_changes=discard_changes)


def _find_branch(copy: WorkingCopy, branch: str) -> tuple[RefName, CommitId | None]:
    refs = copy.read_refs()
    name = parse_ref_name(branch.removeprefix(ORIGIN))
    if branch == name and name == copy.read_head().branch:
        return name, refs.branches.get(name)
    target = (refs.branches.get(name) if branch == name else None) or refs.remote_branches.get(name)
    if target is not None and (branch == name or name not in refs.branches):
        return name if name in refs.branches else parse_new_name(name, refs), target
    if refs.find(branch) is not None or copy.graph.find_by_prefix(branch):
        raise InvalidInput(
            "usage",
            f"{branch!r} is a commit, a tag or the remote's, not a branch of yours: look at it by "
            f"`plait switch --detach {branch}`, or make a branch of it by `plait switch -c NAME "
            f"{branch}`.",
        )
    raise NotFound(
        "ref-not-found",
        f"There is no branch {branch!r} here or on the remote as last fetched: `plait branch -a` "
        "lists them, `plait switch -c NAME` makes one.",
        ref=branch,
    )


def _go(
    copy: WorkingCopy, head: Head, target: CommitId | None, *, discard_changes: bool
) -> Switched:
    refs, before = copy.read_refs(), copy.read_head()
    is_new = head.branch not in {None, before.branch, *refs.branches}
    current = refs.at(before)
    move = Move(
        command="switch",
        target=f"--detach {head.commit[:12]}" if head.commit else str(head.branch),
        files=plan_files(
            copy.get_version(current), copy.get_version(target), everything=discard_changes
        ),
        head=head,
        branches={head.branch: target} if head.branch and is_new and target else {},
    )
    apply_move(copy, move, discard_changes=discard_changes)
    is_left = before.commit is not None and before.commit != target
    return Switched(head, target, is_new, _find_left_behind(copy, before) if is_left else None)


def _find_left_behind(copy: WorkingCopy, before: Head) -> CommitId | None:
    """Return the commit of a HEAD that was detached, unless a ref leads to it."""
    commit = before.commit
    tips = copy.read_refs().targets()
    is_reached = commit is None or any(is_ancestor(copy.graph, commit, tip) for tip in tips)
    return None if is_reached else commit
