"""Recording what a validator saw of a commit, and showing it."""

from __future__ import annotations

from collections.abc import Sequence

from plait.errors import Conflict, InvalidInput
from plait.model.address import RepositoryName
from plait.model.ids import CommitId, abbreviate
from plait.model.validation import Validation
from plait_registry.domain.access import Caller, Right, verify_judges
from plait_registry.domain.change import Action, Change
from plait_registry.domain.ports import Clock, Database, Records
from plait_registry.domain.records import RepositoryRecord
from plait_registry.domain.validations import ValidationRow
from plait_registry.services.access import find_repository, get_commit
from plait_registry.services.changes import record_change

MOST_VALIDATIONS = 1_000
"""Of one commit."""
LARGEST_VALIDATIONS = 64_000_000
"""Bytes of the validations of one commit, since a page may show all of them."""


class RecordValidation:
    """Records validations."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def __call__(
        self, caller: Caller, name: RepositoryName, commit: CommitId, validation: Validation
    ) -> ValidationRow:
        """Return the record: the one that is there for the same document, and for the same job.

        Raises:
            NotFound: `commit-not-found`.
            Conflict: `too-many-validations`.
            InvalidInput: the document is about another commit.
            PermissionDenied: `permission-denied`, also of a job's process for another commit.
        """
        verify_judges(caller, commit)
        if validation.commit != commit:
            raise InvalidInput(
                "invalid-validation",
                f"The validation is of {abbreviate(validation.commit)}, not of "
                f"{abbreviate(commit)}: record it there.",
            )
        row = ValidationRow(
            id=validation.id,
            commit=commit,
            body=validation.to_bytes(),
            job=None if caller.job is None else caller.token,
            recorded_by=caller.name,
            recorded_at=self._clock.now(),
        )

        def record(records: Records) -> ValidationRow:
            repository = find_repository(records, caller, name, Right.WRITE)
            get_commit(records, repository, commit)
            earlier = _find_earlier(records, repository, row)
            if earlier is not None:
                return earlier
            _verify_room(records, repository, row)
            stored = records.validations.insert(repository.id, row)
            change = Change.of_repository(
                Action.VALIDATION_RECORD,
                repository.name,
                commit=commit,
                validation=row.id,
                verdict=validation.verdict.value,
                definition=validation.definition,
                root=validation.root,
            )
            record_change(records, caller, change, at=row.recorded_at)
            return stored

        return self._database.transact(record)


class ListValidations:
    """Shows validations."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def __call__(
        self,
        caller: Caller,
        name: RepositoryName,
        commit: CommitId,
        *,
        before: int | None,
        limit: int,
    ) -> Sequence[ValidationRow]:
        """Return those of a commit, newest first.

        Raises:
            NotFound: `commit-not-found`.
        """
        with self._database.read() as records:
            repository = find_repository(records, caller, name, Right.READ)
            get_commit(records, repository, commit)
            return records.validations.search(repository.id, commit, before=before, limit=limit)


def _find_earlier(
    records: Records, repository: RepositoryRecord, row: ValidationRow
) -> ValidationRow | None:
    # A job that is tried again, since nobody heard of its end, has one result all the same.
    if row.job is not None:
        of_job = records.validations.find_by_job(repository.id, row.job)
        if of_job is not None:
            return of_job
    return records.validations.find(repository.id, row.commit, row.id)


def _verify_room(records: Records, repository: RepositoryRecord, row: ValidationRow) -> None:
    tally = records.validations.measure(repository.id, row.commit)
    if tally.count >= MOST_VALIDATIONS or tally.size + len(row.body) > LARGEST_VALIDATIONS:
        raise Conflict(
            "too-many-validations",
            f"The commit {abbreviate(row.commit)} has {tally.count} validations of {tally.size} "
            f"bytes, and may have {MOST_VALIDATIONS} of {LARGEST_VALIDATIONS}: what those say is "
            "not going to change.",
            limit=MOST_VALIDATIONS,
        )
