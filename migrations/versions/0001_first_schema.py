"""The first schema: repositories, refs, commits, files, and pushes under way.

Revision: 0001
Follows: nothing
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# The types of `plait_registry.adapters.sql.tables` as they were; later changes there leave these.
SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
ID = sa.String(length=64).with_variant(sa.String(length=64, collation="C"), "postgresql")
TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "files",
        sa.Column("sha256", ID, nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("tensor_table", ID, nullable=True),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_files")),
    )
    op.create_table(
        "manifests",
        sa.Column("id", ID, nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_manifests")),
    )
    op.create_table(
        "objects",
        sa.Column("sha256", ID, nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("encoding", TEXT, server_default="raw", nullable=False),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_objects")),
    )
    op.create_table(
        "repositories",
        sa.Column("id", SERIAL, nullable=False),
        sa.Column("key", TEXT, nullable=False),
        sa.Column("namespace", TEXT, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("description", TEXT, nullable=False),
        sa.Column("search_text", TEXT, nullable=False),
        sa.Column("default_branch", TEXT, nullable=False),
        sa.Column("created_at", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_repositories")),
        sa.UniqueConstraint("key", name=op.f("uq_repositories_key")),
    )
    op.create_table(
        "commits",
        sa.Column("id", ID, nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("depth", sa.Integer(), nullable=False),
        sa.Column("first_parent", ID, nullable=True),
        sa.Column("skip", ID, nullable=True),
        sa.Column("time", TEXT, nullable=False),
        sa.Column("manifest_id", ID, nullable=False),
        sa.Column("adapter_type", TEXT, nullable=True),
        sa.Column("base", TEXT, nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["first_parent"], ["commits.id"], name=op.f("fk_commits_first_parent")
        ),
        sa.ForeignKeyConstraint(
            ["manifest_id"], ["manifests.id"], name=op.f("fk_commits_manifest_id")
        ),
        sa.ForeignKeyConstraint(["skip"], ["commits.id"], name=op.f("fk_commits_skip")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_commits")),
    )
    op.create_index(op.f("ix_commits_manifest_id"), "commits", ["manifest_id"], unique=False)
    op.create_table(
        "file_extents",
        sa.Column("file_sha256", ID, nullable=False),
        sa.Column("position", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("object_sha256", ID, nullable=False),
        sa.Column("offset", sa.BigInteger(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["file_sha256"], ["files.sha256"], name=op.f("fk_file_extents_file_sha256")
        ),
        sa.ForeignKeyConstraint(
            ["object_sha256"], ["objects.sha256"], name=op.f("fk_file_extents_object_sha256")
        ),
        sa.PrimaryKeyConstraint("file_sha256", "position", name=op.f("pk_file_extents")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "pushes",
        sa.Column("id", TEXT, nullable=False),
        sa.Column("repository_id", SERIAL, nullable=False),
        sa.Column("ref_kind", TEXT, nullable=False),
        sa.Column("ref_name", TEXT, nullable=False),
        sa.Column("expected", ID, nullable=True),
        sa.Column("new", ID, nullable=False),
        sa.Column("force", sa.Boolean(), nullable=False),
        sa.Column("notes", sa.JSON(), nullable=False),
        sa.Column("allow_non_finite", sa.Boolean(), nullable=False),
        sa.Column("created_at", TEXT, nullable=False),
        sa.Column("state", TEXT, nullable=False),
        sa.Column("result", sa.JSON(), nullable=True),
        sa.ForeignKeyConstraint(
            ["repository_id"], ["repositories.id"], name=op.f("fk_pushes_repository_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_pushes")),
    )
    op.create_table(
        "repository_files",
        sa.Column("repository_id", SERIAL, nullable=False),
        sa.Column("file_sha256", ID, nullable=False),
        sa.ForeignKeyConstraint(
            ["file_sha256"], ["files.sha256"], name=op.f("fk_repository_files_file_sha256")
        ),
        sa.ForeignKeyConstraint(
            ["repository_id"], ["repositories.id"], name=op.f("fk_repository_files_repository_id")
        ),
        sa.PrimaryKeyConstraint("repository_id", "file_sha256", name=op.f("pk_repository_files")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "retired_tags",
        sa.Column("repository_id", SERIAL, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.ForeignKeyConstraint(
            ["repository_id"], ["repositories.id"], name=op.f("fk_retired_tags_repository_id")
        ),
        sa.PrimaryKeyConstraint("repository_id", "name", name=op.f("pk_retired_tags")),
    )
    op.create_table(
        "tensors",
        sa.Column("sha256", ID, nullable=False),
        sa.Column("file_sha256", ID, nullable=False),
        sa.Column("offset", sa.BigInteger(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["file_sha256"], ["files.sha256"], name=op.f("fk_tensors_file_sha256")
        ),
        sa.PrimaryKeyConstraint("sha256", "file_sha256", name=op.f("pk_tensors")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "uploads",
        sa.Column("id", SERIAL, nullable=False),
        sa.Column("repository_id", SERIAL, nullable=False),
        sa.Column("file_sha256", ID, nullable=False),
        sa.Column("object_sha256", ID, nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("ranges", sa.JSON(), nullable=False),
        sa.Column("handle", TEXT, nullable=False),
        sa.ForeignKeyConstraint(
            ["repository_id"], ["repositories.id"], name=op.f("fk_uploads_repository_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_uploads")),
        sa.UniqueConstraint(
            "repository_id",
            "file_sha256",
            "object_sha256",
            name=op.f("uq_uploads_repository_id_file_sha256_object_sha256"),
        ),
    )
    op.create_table(
        "commit_parents",
        sa.Column("commit_id", ID, nullable=False),
        sa.Column("position", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("parent", ID, nullable=False),
        sa.ForeignKeyConstraint(
            ["commit_id"], ["commits.id"], name=op.f("fk_commit_parents_commit_id")
        ),
        sa.ForeignKeyConstraint(["parent"], ["commits.id"], name=op.f("fk_commit_parents_parent")),
        sa.PrimaryKeyConstraint("commit_id", "position", name=op.f("pk_commit_parents")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "push_commits",
        sa.Column("id", SERIAL, nullable=False),
        sa.Column("push_id", TEXT, nullable=False),
        sa.Column("commit_id", ID, nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["push_id"], ["pushes.id"], name=op.f("fk_push_commits_push_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_push_commits")),
        sa.UniqueConstraint("push_id", "commit_id", name=op.f("uq_push_commits_push_id_commit_id")),
    )
    op.create_table(
        "push_manifests",
        sa.Column("push_id", TEXT, nullable=False),
        sa.Column("manifest_id", ID, nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["push_id"], ["pushes.id"], name=op.f("fk_push_manifests_push_id")),
        sa.PrimaryKeyConstraint("push_id", "manifest_id", name=op.f("pk_push_manifests")),
    )
    op.create_table(
        "repository_commits",
        sa.Column("repository_id", SERIAL, nullable=False),
        sa.Column("commit_id", ID, nullable=False),
        sa.ForeignKeyConstraint(
            ["commit_id"], ["commits.id"], name=op.f("fk_repository_commits_commit_id")
        ),
        sa.ForeignKeyConstraint(
            ["repository_id"], ["repositories.id"], name=op.f("fk_repository_commits_repository_id")
        ),
        sa.PrimaryKeyConstraint("repository_id", "commit_id", name=op.f("pk_repository_commits")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "notes",
        sa.Column("id", SERIAL, nullable=False),
        sa.Column("repository_id", SERIAL, nullable=False),
        sa.Column("commit_id", ID, nullable=False),
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("body", sa.JSON(), nullable=False),
        sa.Column("created_at", TEXT, nullable=False),
        sa.ForeignKeyConstraint(
            ["repository_id", "commit_id"],
            ["repository_commits.repository_id", "repository_commits.commit_id"],
            name=op.f("fk_notes_repository_id_commit_id"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_notes")),
    )
    op.create_index(
        op.f("ix_notes_repository_id_commit_id"),
        "notes",
        ["repository_id", "commit_id"],
        unique=False,
    )
    op.create_table(
        "refs",
        sa.Column("repository_id", SERIAL, autoincrement=False, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("target", ID, nullable=False),
        sa.CheckConstraint("kind IN ('branch', 'tag')", name=op.f("ck_refs_kind")),
        sa.ForeignKeyConstraint(
            ["repository_id", "target"],
            ["repository_commits.repository_id", "repository_commits.commit_id"],
            name=op.f("fk_refs_repository_id_target"),
        ),
        sa.PrimaryKeyConstraint("repository_id", "name", name=op.f("pk_refs")),
    )


def downgrade() -> None:
    op.drop_table("refs")
    op.drop_table("notes")
    op.drop_table("repository_commits")
    op.drop_table("push_manifests")
    op.drop_table("push_commits")
    op.drop_table("commit_parents")
    op.drop_table("uploads")
    op.drop_table("tensors")
    op.drop_table("retired_tags")
    op.drop_table("repository_files")
    op.drop_table("pushes")
    op.drop_table("file_extents")
    op.drop_table("commits")
    op.drop_table("repositories")
    op.drop_table("objects")
    op.drop_table("manifests")
    op.drop_table("files")
