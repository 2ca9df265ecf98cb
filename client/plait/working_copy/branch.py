"""Local branches: made, renamed and deleted without touching a file."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from plait.errors import Conflict, InvalidInput, NotFound
from plait.model.commit_graph import is_ancestor
from plait.model.ids import CommitId, abbreviate
from plait.model.refs import RefName, parse_ref_name
from plait.working_copy.copy import WorkingCopy
from plait.working_copy.divergence import Divergence, find_divergence
from plait.working_copy.journal import verify_not_interrupted
from plait.working_copy.refs import Refs, parse_new_name, write_head, write_refs


@dataclass(frozen=True, slots=True)
class BranchInfo:
    """A branch as the list shows it."""

    name: RefName
    target: CommitId | None
    """None: it has no commit yet."""
    is_current: bool
    divergence: Divergence | None


def list_branches(copy: WorkingCopy) -> list[BranchInfo]:
    """Return the local branches by name, with the one that is checked out even if it is empty."""
    refs, head = copy.read_refs(), copy.read_head()
    names = {*refs.branches, *([head.branch] if head.branch is not None else [])}
    return [
        BranchInfo(
            name,
            refs.branches.get(name),
            is_current=name == head.branch,
            divergence=find_divergence(copy, name),
        )
        for name in sorted(names)
    ]


def create_branch(copy: WorkingCopy, name: str, *, start: str | None = None) -> CommitId:
    """Make a branch at `start`, or at what is checked out, and return its commit.

    Raises:
        AlreadyExists: `ref-exists`.
        NotFound: `start` names nothing.
    """
    with copy.changing():
        refs = copy.read_refs()
        branch = parse_new_name(name, refs)
        target = copy.get_head_commit() if start is None else copy.resolve(start)
        write_refs(copy.layout, refs.with_branch(branch, target))
    return target


def delete_branch(copy: WorkingCopy, name: str, *, force: bool = False) -> CommitId:
    """Delete a branch and return where it was; the remote's stays.

    Raises:
        NotFound: `ref-not-found`.
        Conflict: its commits are neither on its upstream nor in what is checked out, and `force`
            is off.
    """
    with copy.changing():
        verify_not_interrupted(copy.layout)
        refs = copy.read_refs()
        branch, target = _get_branch(refs, name)
        if branch == copy.read_head().branch:
            raise InvalidInput(
                "usage", f"The branch {name!r} is checked out: switch to another one first."
            )
        if not force and not _is_merged(copy, refs, branch):
            raise Conflict(
                "branch-not-merged",
                f"The branch {name!r} has commits that are neither on the remote's branch of that "
                f"name nor in what is checked out: push it, or delete it all the same by -D "
                f"(it was at {abbreviate(target)}).",
                branch=branch,
                commit=target,
            )
        write_refs(copy.layout, refs.without_branch(branch))
    return target


def rename_branch(copy: WorkingCopy, old: str | None, new: str) -> RefName:
    """Rename a branch, or the one that is checked out, and return its new name.

    Raises:
        NotFound: `ref-not-found`.
        AlreadyExists: `ref-exists`.
    """
    with copy.changing():
        verify_not_interrupted(copy.layout)
        refs, head = copy.read_refs(), copy.read_head()
        current = head.branch if old is None else parse_ref_name(old)
        if current is None:
            raise InvalidInput("usage", "HEAD is at no branch: say which one to rename.")
        target = parse_new_name(new, refs)
        if current in refs.branches:
            # The new name first: a kill between the two files must leave HEAD on a branch.
            both = refs.with_branch(target, refs.branches[current])
            write_refs(copy.layout, both)
            refs = both.without_branch(current)
        elif current != head.branch:
            raise _no_branch(current)
        if current == head.branch:
            write_head(copy.layout, dataclasses.replace(head, branch=target))
        write_refs(copy.layout, refs)
    return target


def _get_branch(refs: Refs, name: str) -> tuple[RefName, CommitId]:
    branch = parse_ref_name(name)
    if branch not in refs.branches:
        raise _no_branch(name)
    return branch, refs.branches[branch]


def _no_branch(name: str) -> NotFound:
    return NotFound(
        "ref-not-found", f"There is no branch {name!r} here: `plait branch` lists them.", ref=name
    )


def _is_merged(copy: WorkingCopy, refs: Refs, branch: RefName) -> bool:
    """Tell as git does: into the upstream where there is one, else into what is checked out."""
    into = refs.remote_branches.get(branch) or refs.at(copy.read_head())
    return into is not None and is_ancestor(copy.graph, refs.branches[branch], into)
