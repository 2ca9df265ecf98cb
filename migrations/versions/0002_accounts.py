"""Users, namespaces, tokens, protected refs, the audit log; private repositories and their own.

Namespaces that hold repositories become organisations without members, which the administrator
looks after. Their repositories stay what they were: readable for whoever has a token.

Revision: 0002
Follows: 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
ID = sa.String(length=64).with_variant(sa.String(length=64, collation="C"), "postgresql")
TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
ROLES = "role IN ('reader', 'writer', 'maintainer', 'owner')"


def upgrade() -> None:
    op.create_table(
        "users",
        sa.Column("id", SERIAL, nullable=False),
        sa.Column("key", TEXT, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("is_admin", sa.Boolean(), nullable=False),
        sa.Column("created_at", TEXT, nullable=False),
        sa.Column("disabled_at", TEXT, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_users")),
        sa.UniqueConstraint("key", name=op.f("uq_users_key")),
    )
    op.create_table(
        "namespaces",
        sa.Column("key", TEXT, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("created_at", TEXT, nullable=False),
        sa.Column("quota_bytes", sa.BigInteger(), nullable=True),
        sa.Column("keep_untagged_days", sa.Integer(), nullable=True),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_namespaces")),
    )
    op.create_table(
        "memberships",
        sa.Column("user_id", SERIAL, nullable=False),
        sa.Column("namespace_key", TEXT, nullable=False),
        sa.Column("role", TEXT, nullable=False),
        sa.CheckConstraint(ROLES, name=op.f("ck_memberships_role")),
        sa.ForeignKeyConstraint(
            ["namespace_key"], ["namespaces.key"], name=op.f("fk_memberships_namespace_key")
        ),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_memberships_user_id")),
        sa.PrimaryKeyConstraint("user_id", "namespace_key", name=op.f("pk_memberships")),
        sqlite_with_rowid=False,
    )
    op.create_index(
        op.f("ix_memberships_namespace_key"), "memberships", ["namespace_key"], unique=False
    )
    op.create_table(
        "tokens",
        sa.Column("id", TEXT, nullable=False),
        sa.Column("user_id", SERIAL, nullable=False),
        sa.Column("label", TEXT, nullable=False),
        sa.Column("digest", ID, nullable=False),
        sa.Column("scopes", sa.JSON(), nullable=True),
        sa.Column("created_at", TEXT, nullable=False),
        sa.Column("expires_at", TEXT, nullable=True),
        sa.Column("revoked_at", TEXT, nullable=True),
        sa.Column("last_used_on", TEXT, nullable=True),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_tokens_user_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tokens")),
        sa.UniqueConstraint("digest", name=op.f("uq_tokens_digest")),
    )
    op.create_index(op.f("ix_tokens_user_id"), "tokens", ["user_id"], unique=False)
    op.create_table(
        "protections",
        sa.Column("repository_id", SERIAL, nullable=False),
        sa.Column("pattern", TEXT, nullable=False),
        sa.Column("role", TEXT, nullable=False),
        sa.Column("fast_forward_only", sa.Boolean(), nullable=False),
        sa.CheckConstraint(ROLES, name=op.f("ck_protections_role")),
        sa.ForeignKeyConstraint(
            ["repository_id"], ["repositories.id"], name=op.f("fk_protections_repository_id")
        ),
        sa.PrimaryKeyConstraint("repository_id", "pattern", name=op.f("pk_protections")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "audit_log",
        sa.Column("id", SERIAL, nullable=False),
        sa.Column("at", TEXT, nullable=False),
        sa.Column("actor", TEXT, nullable=False),
        sa.Column("token", TEXT, nullable=True),
        sa.Column("action", TEXT, nullable=False),
        sa.Column("subject", TEXT, nullable=False),
        sa.Column("namespace_key", TEXT, nullable=True),
        sa.Column("details", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_log")),
    )
    op.create_index(
        op.f("ix_audit_log_namespace_key_id"), "audit_log", ["namespace_key", "id"], unique=False
    )
    op.create_index(
        op.f("ix_repository_files_file_sha256"), "repository_files", ["file_sha256"], unique=False
    )
    op.add_column("objects", sa.Column("home_id", sa.BigInteger(), nullable=True))
    op.create_index(op.f("ix_objects_home_id"), "objects", ["home_id"], unique=False)
    _extend_repositories()


def _extend_repositories() -> None:
    sqlite = op.get_context().dialect.name == "sqlite"
    random = "(randomblob(16))" if sqlite else "uuid_send(gen_random_uuid())"
    # Defaults, so that a program of the schema before can insert while others are upgraded.
    # SQLite takes such a default only for a table that is made anew.
    with op.batch_alter_table("repositories", recreate="always" if sqlite else "never") as batch:
        batch.add_column(
            sa.Column("private", sa.Boolean(), server_default=sa.false(), nullable=False)
        )
        batch.add_column(
            sa.Column("salt", sa.LargeBinary(), server_default=sa.text(random), nullable=False)
        )
    op.execute(
        "INSERT INTO namespaces (key, name, created_at) "
        "SELECT lower(namespace), min(namespace), min(created_at) FROM repositories "
        "GROUP BY lower(namespace)"
    )


def downgrade() -> None:
    with op.batch_alter_table("repositories") as batch:
        batch.drop_column("salt")
        batch.drop_column("private")
    op.drop_index(op.f("ix_objects_home_id"), table_name="objects")
    with op.batch_alter_table("objects") as batch:
        batch.drop_column("home_id")
    op.drop_index(op.f("ix_repository_files_file_sha256"), table_name="repository_files")
    op.drop_table("audit_log")
    op.drop_table("protections")
    op.drop_table("tokens")
    op.drop_table("memberships")
    op.drop_table("namespaces")
    op.drop_table("users")
