"""Expected digests, validations, attestations and validators' keys, in SQL."""

from __future__ import annotations

import builtins
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Table, func, insert, select, update
from typing_extensions import override

from plait.model import canonical
from plait.model.ids import CommitId, ObjectId
from plait.model.merge_digests import MergeDigests
from plait.model.validation import BaseWeights
from plait_registry.adapters.sql.dialect import insert_new
from plait_registry.adapters.sql.validation_tables import (
    attestations,
    expected_digests,
    validations,
    validator_keys,
)
from plait_registry.domain.records import RepositoryId
from plait_registry.domain.validations import (
    AttestationRow,
    AttestationTable,
    ExpectedRow,
    ExpectedSource,
    ExpectedTable,
    KeyId,
    KeyRole,
    MergeKey,
    ValidationRow,
    ValidationTable,
    ValidationTally,
    ValidatorKey,
    ValidatorKeyTable,
    key_exists,
    missing_key,
)


class SqlExpectedTable(ExpectedTable):
    """Expected digests in one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @override
    def list(self, repository: RepositoryId, commit: CommitId) -> Sequence[ExpectedRow]:
        statement = (
            select(expected_digests)
            .where(*_hangs_on(expected_digests, repository, commit))
            .order_by(expected_digests.c.number)
        )
        return [_read_expected(row) for row in self._connection.execute(statement)]

    @override
    def list_roots(self, repository: RepositoryId, commit: CommitId) -> Mapping[MergeKey, ObjectId]:
        columns = expected_digests.c
        rows = self._connection.execute(
            select(columns.definition, columns.base, columns.root).where(
                *_hangs_on(expected_digests, repository, commit)
            )
        )
        return {MergeKey(row.definition, ObjectId(row.base)): ObjectId(row.root) for row in rows}

    @override
    def insert(self, repository: RepositoryId, row: ExpectedRow) -> None:
        values = {
            "repository_id": repository,
            "commit_id": row.commit,
            "definition": row.digests.definition,
            "base": row.base,
            "base_weights": row.base_weights.value,
            "root": row.digests.root,
            "source": row.source.value,
            "stored_by": row.stored_by,
            "stored_at": row.stored_at,
            "body": canonical.dumps(row.digests.to_json()),
        }
        self._connection.execute(insert(expected_digests), values)


class SqlValidationTable(ValidationTable):
    """Validations in one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @override
    def insert(self, repository: RepositoryId, row: ValidationRow) -> ValidationRow:
        values = {
            "id": row.id,
            "repository_id": repository,
            "commit_id": row.commit,
            "job_id": row.job,
            "recorded_by": row.recorded_by,
            "recorded_at": row.recorded_at,
            "size": len(row.body),
            "body": row.body,
        }
        statement = insert(validations).returning(validations)
        return _read_validation(self._connection.execute(statement, values).one())

    @override
    def find(
        self, repository: RepositoryId, commit: CommitId, validation: ObjectId
    ) -> ValidationRow | None:
        is_of = _hangs_on(validations, repository, commit)
        return self._find(*is_of, validations.c.id == validation)

    @override
    def find_by_job(self, repository: RepositoryId, job: str) -> ValidationRow | None:
        return self._find(validations.c.repository_id == repository, validations.c.job_id == job)

    @override
    def search(
        self, repository: RepositoryId, commit: CommitId, *, before: int | None, limit: int
    ) -> Sequence[ValidationRow]:
        statement = select(validations).where(*_hangs_on(validations, repository, commit))
        if before is not None:
            statement = statement.where(validations.c.number < before)
        ordered = statement.order_by(validations.c.number.desc()).limit(limit)
        return [_read_validation(row) for row in self._connection.execute(ordered)]

    @override
    def measure(self, repository: RepositoryId, commit: CommitId) -> ValidationTally:
        statement = select(func.count(), func.coalesce(func.sum(validations.c.size), 0)).where(
            *_hangs_on(validations, repository, commit)
        )
        count, size = self._connection.execute(statement).one()
        return ValidationTally(int(count), int(size))

    def _find(self, *conditions: ColumnElement[bool]) -> ValidationRow | None:
        row = self._connection.execute(select(validations).where(*conditions)).one_or_none()
        return None if row is None else _read_validation(row)


class SqlAttestationTable(AttestationTable):
    """Attestations in one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @override
    def insert(self, repository: RepositoryId, row: AttestationRow) -> None:
        values = {
            "id": row.id,
            "repository_id": repository,
            "commit_id": row.commit,
            "keyid": row.keyid,
            "result": row.result,
            "definition": row.definition,
            "base": row.base,
            "root": row.root,
            "recorded_by": row.recorded_by,
            "recorded_at": row.recorded_at,
            "envelope": row.envelope,
        }
        self._connection.execute(insert(attestations), values)

    @override
    def list(self, repository: RepositoryId, commit: CommitId) -> Sequence[AttestationRow]:
        statement = (
            select(attestations)
            .where(*_hangs_on(attestations, repository, commit))
            .order_by(attestations.c.number)
        )
        return [_read_attestation(row) for row in self._connection.execute(statement)]


class SqlValidatorKeyTable(ValidatorKeyTable):
    """Validators' keys in one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @override
    def insert(self, key: ValidatorKey) -> None:
        row = {
            "keyid": key.keyid,
            "public_key": key.public_key,
            "name": key.name,
            "role": key.role.value,
            "created_at": key.created_at,
            "expires_at": key.expires_at,
            "revoked_at": key.revoked_at,
        }
        if insert_new(self._connection, validator_keys, [row]) == 0:
            raise key_exists(key.keyid)

    @override
    def get(self, keyid: KeyId) -> ValidatorKey:
        statement = select(validator_keys).where(validator_keys.c.keyid == keyid)
        row = self._connection.execute(statement).one_or_none()
        if row is None:
            raise missing_key(keyid)
        return _read_key(row)

    @override
    def list(self) -> builtins.list[ValidatorKey]:
        rows = self._connection.execute(select(validator_keys).order_by(validator_keys.c.number))
        return [_read_key(row) for row in rows]

    @override
    def revoke(self, keyid: KeyId, at: str) -> None:
        self._connection.execute(
            update(validator_keys)
            .where(validator_keys.c.keyid == keyid, validator_keys.c.revoked_at.is_(None))
            .values(revoked_at=at)
        )


def _hangs_on(
    table: Table, repository: RepositoryId, commit: CommitId
) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return table.c.repository_id == repository, table.c.commit_id == commit


def _read_expected(row: Row[Any]) -> ExpectedRow:
    return ExpectedRow(
        commit=CommitId(row.commit_id),
        digests=MergeDigests.from_json(canonical.loads(row.body)),
        base=ObjectId(row.base),
        base_weights=BaseWeights(row.base_weights),
        source=ExpectedSource(row.source),
        stored_by=row.stored_by,
        stored_at=row.stored_at,
    )


def _read_validation(row: Row[Any]) -> ValidationRow:
    return ValidationRow(
        id=ObjectId(row.id),
        commit=CommitId(row.commit_id),
        body=row.body,
        job=row.job_id,
        recorded_by=row.recorded_by,
        recorded_at=row.recorded_at,
        number=row.number,
    )


def _read_attestation(row: Row[Any]) -> AttestationRow:
    return AttestationRow(
        id=ObjectId(row.id),
        commit=CommitId(row.commit_id),
        keyid=KeyId(row.keyid),
        result=row.result,
        definition=row.definition,
        base=None if row.base is None else ObjectId(row.base),
        root=None if row.root is None else ObjectId(row.root),
        envelope=row.envelope,
        recorded_by=row.recorded_by,
        recorded_at=row.recorded_at,
    )


def _read_key(row: Row[Any]) -> ValidatorKey:
    return ValidatorKey(
        keyid=KeyId(row.keyid),
        public_key=row.public_key,
        name=row.name,
        role=KeyRole(row.role),
        created_at=row.created_at,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
    )
