"""How much one writer can make everybody else carry.

Whatever one answer lists whole, or one step of a push loads whole, has a limit here; files have
quotas instead. No limit is a setting: each is far above what honest use needs, and below what
hurts. What is there already is never refused: a limit only stops what would add to it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate

from plait.errors import Conflict, TooLarge
from plait.model.ids import CommitId, abbreviate
from plait.model.refs import RefUpdate
from plait_registry.domain.accounts import UserId
from plait_registry.domain.ports import Records
from plait_registry.domain.records import NoteRow, PushId, RepositoryRecord
from plait_registry.domain.tallies import NoteTally, measure_body

MOST_NOTES = 1_000
"""Of one commit, which shows all of them."""
LARGEST_NOTES = 4_000_000
"""Bytes of the notes of one commit."""
LARGEST_PAGE = 16_000_000
"""Bytes of notes of one page of the log, unless its first commit alone has more."""
LARGEST_PUSH = 256_000_000
"""Bytes of commits and manifests that a push may stage: completing it holds all of them in memory.
Some 100,000 commits, or 20,000 versions of an adapter with 100 tensors."""
MOST_OPEN_PUSHES = 1_000
"""Of one repository; each can be as large as that, until garbage collection ends it."""
MOST_OPEN_JOBS = 20
"""Of one repository, and of one user: each waits for a process, and holds a recipe."""
MOST_REFS = 10_000
"""Of one repository: the list of refs has no pages."""
MOST_REPOSITORIES = 100_000
"""Of one namespace."""


def verify_room_for_repository(records: Records, namespace: str) -> None:
    """Check that a namespace, by key, may have one repository more.

    Raises:
        TooLarge: `too-many-repositories`.
    """
    if records.tallies.count_repositories(namespace) >= MOST_REPOSITORIES:
        raise TooLarge(
            "too-many-repositories",
            f"The namespace {namespace} has {MOST_REPOSITORIES} repositories and may not have "
            "more: delete some, or use another namespace.",
            limit=MOST_REPOSITORIES,
        )


def verify_room_for_ref(records: Records, repository: RepositoryRecord, update: RefUpdate) -> None:
    """Check that a repository may have one ref more, if the update makes one.

    Raises:
        TooLarge: `too-many-refs`.
    """
    if records.refs.find(repository.id, update.name) is not None:
        return
    if records.tallies.count_refs(repository.id) >= MOST_REFS:
        raise TooLarge(
            "too-many-refs",
            f"{repository.name} has {MOST_REFS} branches and tags and may not have more: delete "
            "those that nobody needs.",
            limit=MOST_REFS,
        )


def verify_room_for_push(records: Records, repository: RepositoryRecord) -> None:
    """Check that one more push may be begun.

    Raises:
        Conflict: `too-many-pushes`.
    """
    if records.tallies.count_open_pushes(repository.id) >= MOST_OPEN_PUSHES:
        raise Conflict(
            "too-many-pushes",
            f"{MOST_OPEN_PUSHES} pushes to {repository.name} were begun and not completed: "
            "complete those under way, or try again when garbage collection has ended the others.",
            limit=MOST_OPEN_PUSHES,
        )


def verify_room_for_job(
    records: Records, repository: RepositoryRecord, user: UserId | None
) -> None:
    """Check that one more job may be queued.

    Raises:
        Conflict: `too-many-jobs`.
    """
    whose = {
        f"{repository.name} has": records.tallies.count_open_jobs(repository.id),
        "You have": records.tallies.count_open_jobs_of(user),
    }
    for who, count in whose.items():
        if count >= MOST_OPEN_JOBS:
            raise Conflict(
                "too-many-jobs",
                f"{who} {MOST_OPEN_JOBS} jobs that have not ended, and may not have more: wait for "
                "one of them, or cancel it by `plait job cancel`.",
                limit=MOST_OPEN_JOBS,
            )


def has_room_for_job(records: Records, repository: RepositoryRecord, user: UserId | None) -> bool:
    """Tell whether `verify_room_for_job` would let one more job pass."""
    try:
        verify_room_for_job(records, repository, user)
    except Conflict:
        return False
    return True


def verify_staged(records: Records, push: PushId) -> None:
    """Check that what a push has staged, the last call's part too, is not too much.

    Raises:
        TooLarge: `push-too-large`.
    """
    size = records.tallies.measure_staged(push)
    if size > LARGEST_PUSH:
        raise TooLarge(
            "push-too-large",
            f"The commits and manifests of this push have {size} bytes, and a push takes at most "
            f"{LARGEST_PUSH}: push an earlier commit of the history first, and the rest after.",
            size=size,
            limit=LARGEST_PUSH,
        )


def verify_room_for_notes(
    records: Records, repository: RepositoryRecord, notes: Sequence[NoteRow]
) -> None:
    """Check that notes may be hung on their commits beside those that are there.

    Raises:
        TooLarge: `too-many-notes`.
    """
    named = {note.commit for note in notes}
    tallies = dict(records.tallies.measure_notes(repository.id, named)) if named else {}
    for note in notes:
        before = tallies.get(note.commit, NoteTally(0, 0))
        after = NoteTally(before.count + 1, before.size + measure_body(note.body))
        if after.count > MOST_NOTES or after.size > LARGEST_NOTES:
            raise TooLarge(
                "too-many-notes",
                f"The commit {abbreviate(note.commit)} would have more than {MOST_NOTES} notes, or "
                f"more than {LARGEST_NOTES} bytes of them: hang one note with the result on it, "
                "not every step, or put large results into a file of the version.",
                most=MOST_NOTES,
                limit=LARGEST_NOTES,
            )
        tallies[note.commit] = after


def count_on_page(commits: Iterable[CommitId], notes: Mapping[CommitId, NoteTally]) -> int:
    """Return how many of `commits`, in order, a page has room for: at least the first one."""
    sizes = (notes[commit].size if commit in notes else 0 for commit in commits)
    totals = list(accumulate(sizes))
    return max(sum(total <= LARGEST_PAGE for total in totals), min(1, len(totals)))
