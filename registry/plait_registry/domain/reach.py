"""What a repository needs of what it holds: pure functions over its commits."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from plait.model.ids import CommitId
from plait_registry.domain.garbage import HeldCommit


def find_unreachable(
    commits: Sequence[HeldCommit], roots: Collection[CommitId]
) -> list[HeldCommit]:
    """Return the commits that no root reaches, children before their parents."""
    by_id = {commit.id: commit for commit in commits}
    reached: set[CommitId] = set()
    pending = [root for root in roots if root in by_id]
    while pending:
        commit = pending.pop()
        if commit not in reached:
            reached.add(commit)
            pending.extend(parent for parent in by_id[commit].parents if parent in by_id)
    left = [commit for commit in commits if commit.id not in reached]
    return sorted(left, key=lambda commit: (-commit.generation, commit.id))


def choose_due(
    unreachable: Iterable[HeldCommit], marks: Mapping[str, str], cutoff: str
) -> list[CommitId]:
    """Return those that were marked by `cutoff`, but none with a child that was not.

    So a repository always holds the parents of what it holds. `unreachable` is in the order of
    `find_unreachable`, and so is the result.
    """
    blocked: set[CommitId] = set()
    due = []
    for commit in unreachable:
        since = marks.get(commit.id)
        if commit.id in blocked or since is None or since > cutoff:
            blocked.update(commit.parents)
        else:
            due.append(commit.id)
    return due


def find_outdated(
    commits: Iterable[HeldCommit], heads: Collection[CommitId], oldest: str
) -> set[CommitId]:
    """Return the commits that no ref points at and that the registry has had since `oldest`."""
    return {
        commit.id
        for commit in commits
        if commit.added_at is not None and commit.added_at <= oldest and commit.id not in heads
    }


def split(
    commits: Iterable[HeldCommit], goes: Callable[[HeldCommit], bool]
) -> tuple[list[HeldCommit], list[HeldCommit]]:
    """Return the commits that stay and those that go."""
    stay: list[HeldCommit] = []
    gone: list[HeldCommit] = []
    for commit in commits:
        (gone if goes(commit) else stay).append(commit)
    return stay, gone
