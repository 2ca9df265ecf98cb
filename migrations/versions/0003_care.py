"""Garbage collection, retention, holds of backups, versions of repositories.

The new indexes are for deletions: a row that goes must find those that refer to it. That of pushes
is for counting the open ones of a repository.

Revision: 0003
Follows: 0002
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
ID = sa.String(length=64).with_variant(sa.String(length=64, collation="C"), "postgresql")
TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")

INDEXES = (
    ("commits", "first_parent"),
    ("commits", "skip"),
    ("commit_parents", "parent"),
    ("repository_commits", "commit_id"),
    ("file_extents", "object_sha256"),
    ("tensors", "file_sha256"),
    ("files", "document"),
    ("uploads", "object_sha256"),
    ("push_commits", "commit_id"),
    ("push_manifests", "manifest_id"),
)


def upgrade() -> None:
    op.add_column("files", sa.Column("document", ID, nullable=True))
    op.add_column("repository_commits", sa.Column("added_at", TEXT, nullable=True))
    for table, column in INDEXES:
        op.create_index(op.f(f"ix_{table}_{column}"), table, [column], unique=False)
    op.create_index(
        op.f("ix_pushes_repository_id_state"), "pushes", ["repository_id", "state"], unique=False
    )
    op.create_table(
        "repository_versions",
        sa.Column("key", TEXT, nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("journaled", sa.BigInteger(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_repository_versions")),
    )
    op.execute("INSERT INTO repository_versions (key, version) SELECT key, 1 FROM repositories")
    op.create_table(
        "garbage_marks",
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("repository_id", SERIAL, autoincrement=False, nullable=False),
        sa.Column("id", ID, nullable=False),
        sa.Column("since", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("kind", "repository_id", "id", name=op.f("pk_garbage_marks")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "condemned_objects",
        sa.Column("sha256", ID, nullable=False),
        sa.Column("condemned_at", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_condemned_objects")),
    )
    op.create_table(
        "expired_files",
        sa.Column("repository_id", SERIAL, autoincrement=False, nullable=False),
        sa.Column("file_sha256", ID, nullable=False),
        sa.Column("expired_at", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("repository_id", "file_sha256", name=op.f("pk_expired_files")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "push_documents",
        sa.Column("push_id", TEXT, nullable=False),
        sa.Column("sha256", ID, nullable=False),
        sa.PrimaryKeyConstraint("push_id", "sha256", name=op.f("pk_push_documents")),
        sqlite_with_rowid=False,
    )
    op.create_index(op.f("ix_push_documents_sha256"), "push_documents", ["sha256"], unique=False)
    op.create_table(
        "holds",
        sa.Column("name", TEXT, nullable=False),
        sa.Column("until", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_holds")),
    )


def downgrade() -> None:
    op.drop_table("holds")
    op.drop_table("push_documents")
    op.drop_table("expired_files")
    op.drop_table("condemned_objects")
    op.drop_table("garbage_marks")
    op.drop_table("repository_versions")
    op.drop_index(op.f("ix_pushes_repository_id_state"), table_name="pushes")
    for table, column in reversed(INDEXES):
        op.drop_index(op.f(f"ix_{table}_{column}"), table_name=table)
    op.drop_column("repository_commits", "added_at")
    op.drop_column("files", "document")
