"""The schema of expected digests, validations, attestations and validators' keys.

What hangs on a commit goes with it, by its foreign key: also where a program of the schema before
deletes the commit.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKeyConstraint,
    Index,
    LargeBinary,
    Table,
    UniqueConstraint,
)

from plait_registry.adapters.sql.tables import ID, METADATA, SERIAL, TEXT


def _of_a_commit() -> ForeignKeyConstraint:
    return ForeignKeyConstraint(
        ["repository_id", "commit_id"],
        ["repository_commits.repository_id", "repository_commits.commit_id"],
        ondelete="CASCADE",
    )


expected_digests = Table(
    "expected_digests",
    METADATA,
    Column("number", SERIAL, primary_key=True),
    Column("repository_id", SERIAL, nullable=False),
    Column("commit_id", ID, nullable=False),
    Column("definition", TEXT, nullable=False),
    Column("base", ID, nullable=False),
    Column("base_weights", TEXT, nullable=False),
    Column("root", ID, nullable=False),
    Column("source", TEXT, nullable=False),
    Column("stored_by", TEXT, nullable=False),
    Column("stored_at", TEXT, nullable=False),
    # Canonical JSON.
    Column("body", LargeBinary, nullable=False),
    _of_a_commit(),
    CheckConstraint("source IN ('publisher', 'validation')", name="source"),
    UniqueConstraint("repository_id", "commit_id", "definition", "base"),
)

validations = Table(
    "validations",
    METADATA,
    Column("number", SERIAL, primary_key=True),
    Column("id", ID, nullable=False),
    Column("repository_id", SERIAL, nullable=False),
    Column("commit_id", ID, nullable=False),
    # No foreign key: jobs are forgotten before what came of them.
    Column("job_id", TEXT),
    Column("recorded_by", TEXT, nullable=False),
    Column("recorded_at", TEXT, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("body", LargeBinary, nullable=False),
    _of_a_commit(),
    UniqueConstraint("repository_id", "commit_id", "id"),
    UniqueConstraint("repository_id", "job_id"),
    Index(None, "repository_id", "commit_id", "number"),
)

attestations = Table(
    "attestations",
    METADATA,
    Column("number", SERIAL, primary_key=True),
    Column("id", ID, nullable=False),
    Column("repository_id", SERIAL, nullable=False),
    Column("commit_id", ID, nullable=False),
    # No foreign key: what is said where an attestation names an unknown key is for the service.
    Column("keyid", TEXT, nullable=False),
    Column("result", TEXT, nullable=False),
    Column("definition", TEXT, nullable=False),
    Column("base", ID),
    Column("root", ID),
    Column("recorded_by", TEXT, nullable=False),
    Column("recorded_at", TEXT, nullable=False),
    Column("envelope", LargeBinary, nullable=False),
    _of_a_commit(),
    UniqueConstraint("repository_id", "commit_id", "id"),
)

validator_keys = Table(
    "validator_keys",
    METADATA,
    Column("number", SERIAL, primary_key=True),
    Column("keyid", TEXT, nullable=False, unique=True),
    Column("public_key", TEXT, nullable=False),
    Column("name", TEXT, nullable=False),
    Column("role", TEXT, nullable=False),
    Column("created_at", TEXT, nullable=False),
    Column("expires_at", TEXT),
    Column("revoked_at", TEXT),
    CheckConstraint("role IN ('validator', 'publisher')", name="role"),
)
