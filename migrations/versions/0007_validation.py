"""Expected digests, validations, attestations, keys; what protected refs demand of them.

Revision: 0007
Follows: 0006
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
ID = sa.String(length=64).with_variant(sa.String(length=64, collation="C"), "postgresql")
TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.add_column(
        "protections",
        sa.Column("attestations", sa.Integer(), server_default="0", nullable=False),
    )
    op.create_table(
        "expected_digests",
        sa.Column("number", SERIAL, nullable=False),
        sa.Column("repository_id", SERIAL, nullable=False),
        sa.Column("commit_id", ID, nullable=False),
        sa.Column("definition", TEXT, nullable=False),
        sa.Column("base", ID, nullable=False),
        sa.Column("base_weights", TEXT, nullable=False),
        sa.Column("root", ID, nullable=False),
        sa.Column("source", TEXT, nullable=False),
        sa.Column("stored_by", TEXT, nullable=False),
        sa.Column("stored_at", TEXT, nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.CheckConstraint(
            "source IN ('publisher', 'validation')", name=op.f("ck_expected_digests_source")
        ),
        _of_a_commit("expected_digests"),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_expected_digests")),
        sa.UniqueConstraint(
            "repository_id",
            "commit_id",
            "definition",
            "base",
            name=op.f("uq_expected_digests_repository_id_commit_id_definition_base"),
        ),
    )
    _create_validations()
    _create_attestations()
    op.create_table(
        "validator_keys",
        sa.Column("number", SERIAL, nullable=False),
        sa.Column("keyid", TEXT, nullable=False),
        sa.Column("public_key", TEXT, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("role", TEXT, nullable=False),
        sa.Column("created_at", TEXT, nullable=False),
        sa.Column("expires_at", TEXT, nullable=True),
        sa.Column("revoked_at", TEXT, nullable=True),
        sa.CheckConstraint(
            "role IN ('validator', 'publisher')", name=op.f("ck_validator_keys_role")
        ),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_validator_keys")),
        sa.UniqueConstraint("keyid", name=op.f("uq_validator_keys_keyid")),
    )


def _create_validations() -> None:
    op.create_table(
        "validations",
        sa.Column("number", SERIAL, nullable=False),
        sa.Column("id", ID, nullable=False),
        sa.Column("repository_id", SERIAL, nullable=False),
        sa.Column("commit_id", ID, nullable=False),
        sa.Column("job_id", TEXT, nullable=True),
        sa.Column("recorded_by", TEXT, nullable=False),
        sa.Column("recorded_at", TEXT, nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        _of_a_commit("validations"),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_validations")),
        sa.UniqueConstraint(
            "repository_id",
            "commit_id",
            "id",
            name=op.f("uq_validations_repository_id_commit_id_id"),
        ),
        sa.UniqueConstraint(
            "repository_id", "job_id", name=op.f("uq_validations_repository_id_job_id")
        ),
    )
    op.create_index(
        op.f("ix_validations_repository_id_commit_id_number"),
        "validations",
        ["repository_id", "commit_id", "number"],
        unique=False,
    )


def _create_attestations() -> None:
    op.create_table(
        "attestations",
        sa.Column("number", SERIAL, nullable=False),
        sa.Column("id", ID, nullable=False),
        sa.Column("repository_id", SERIAL, nullable=False),
        sa.Column("commit_id", ID, nullable=False),
        sa.Column("keyid", TEXT, nullable=False),
        sa.Column("result", TEXT, nullable=False),
        sa.Column("definition", TEXT, nullable=False),
        sa.Column("base", ID, nullable=True),
        sa.Column("root", ID, nullable=True),
        sa.Column("recorded_by", TEXT, nullable=False),
        sa.Column("recorded_at", TEXT, nullable=False),
        sa.Column("envelope", sa.LargeBinary(), nullable=False),
        _of_a_commit("attestations"),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_attestations")),
        sa.UniqueConstraint(
            "repository_id",
            "commit_id",
            "id",
            name=op.f("uq_attestations_repository_id_commit_id_id"),
        ),
    )


def _of_a_commit(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["repository_id", "commit_id"],
        ["repository_commits.repository_id", "repository_commits.commit_id"],
        name=op.f(f"fk_{table}_repository_id_commit_id"),
        ondelete="CASCADE",
    )


def downgrade() -> None:
    op.drop_table("validator_keys")
    op.drop_table("attestations")
    op.drop_table("validations")
    op.drop_table("expected_digests")
    op.drop_column("protections", "attestations")
