"""Storing and showing what merges of a commit shall give: the first digests stay."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from plait.errors import Conflict, InvalidInput
from plait.model.address import RepositoryName
from plait.model.ids import CommitId, ObjectId, abbreviate
from plait.model.merge_digests import MergeDigests
from plait.model.validation import BaseWeights, parse_definition
from plait_registry.domain.access import Caller, Right, verify_judges
from plait_registry.domain.change import Action, Change
from plait_registry.domain.ports import Clock, Database, Records
from plait_registry.domain.validations import ExpectedRow, ExpectedSource
from plait_registry.services.access import find_repository, get_commit
from plait_registry.services.changes import record_change

MOST_EXPECTED = 20
"""Of one commit, for each definition and base; `GET` shows all of them."""


@dataclass(frozen=True, slots=True)
class ExpectedWish:
    """Digests that shall be stored."""

    commit: CommitId
    digests: MergeDigests
    base: ObjectId
    base_weights: BaseWeights
    source: ExpectedSource


class StoreExpected:
    """Stores expected digests."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def __call__(self, caller: Caller, name: RepositoryName, wish: ExpectedWish) -> ExpectedRow:
        """Return what is stored now: the same as is wished for.

        Raises:
            NotFound: `commit-not-found`.
            Conflict: `expected-digests-differ`, others came first; `too-many-validations`.
            InvalidInput: there are no digests.
            PermissionDenied: `permission-denied`, also of a job's process for another commit.
        """
        verify_judges(caller, wish.commit)
        parse_definition(wish.digests.definition)
        if not wish.digests.tensors:
            raise InvalidInput("invalid-validation", "These digests are those of no tensor.")
        now = self._clock.now()

        def store(records: Records) -> ExpectedRow:
            repository = find_repository(records, caller, name, Right.WRITE)
            get_commit(records, repository, wish.commit)
            row = ExpectedRow(
                commit=wish.commit,
                digests=wish.digests,
                base=wish.base,
                base_weights=wish.base_weights,
                # A job publishes nothing: what it saw is a validation.
                source=wish.source if caller.job is None else ExpectedSource.VALIDATION,
                stored_by=caller.name,
                stored_at=now,
            )
            stored = records.expected.list(repository.id, wish.commit)
            for other in stored:
                if other.key == row.key:
                    _verify_agreement(other, row)
                    return other
            if len(stored) >= MOST_EXPECTED:
                raise Conflict(
                    "too-many-validations",
                    f"The commit {abbreviate(wish.commit)} has digests for {MOST_EXPECTED} "
                    "definitions and bases, and takes no more.",
                    limit=MOST_EXPECTED,
                )
            records.expected.insert(repository.id, row)
            change = Change.of_repository(
                Action.EXPECTED_DIGESTS_STORE,
                repository.name,
                commit=wish.commit,
                definition=row.digests.definition,
                base=row.base,
                root=row.digests.root,
                source=row.source.value,
            )
            record_change(records, caller, change, at=now)
            return row

        return self._database.transact(store)


class ListExpected:
    """Shows expected digests."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def __call__(
        self, caller: Caller, name: RepositoryName, commit: CommitId
    ) -> Sequence[ExpectedRow]:
        """Return those of a commit, oldest first.

        Raises:
            NotFound: `commit-not-found`.
        """
        with self._database.read() as records:
            repository = find_repository(records, caller, name, Right.READ)
            get_commit(records, repository, commit)
            return records.expected.list(repository.id, commit)


def _verify_agreement(stored: ExpectedRow, wished: ExpectedRow) -> None:
    if stored.agrees_with(wished):
        return
    names = stored.digests.find_differences(wished.digests)
    what = (
        f"{len(names)} tensors differ, first {names[0]!r:.200}" if names else "other base weights"
    )
    raise Conflict(
        "expected-digests-differ",
        f"Other digests by {stored.digests.definition} were stored for the commit "
        f"{abbreviate(stored.commit)} at {stored.stored_at} by {stored.stored_by}, and the first "
        f"ones stay: {what}. Either the weights or the merge were not the same: run "
        "`plait validate` to see which.",
        expected=stored.digests.root,
        actual=wished.digests.root,
        differing=len(names),
    )
