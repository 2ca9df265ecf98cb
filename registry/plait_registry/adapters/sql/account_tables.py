"""The schema of users, namespaces, tokens, protected refs and the audit log.

A key is a name in lower case: what people type is found whatever its case.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    Table,
)

from plait_registry.adapters.sql.tables import ID, JSON_VALUE, METADATA, SERIAL, TEXT

_ROLES = "role IN ('reader', 'writer', 'maintainer', 'owner')"

users = Table(
    "users",
    METADATA,
    Column("id", SERIAL, primary_key=True),
    Column("key", TEXT, nullable=False, unique=True),
    Column("name", TEXT, nullable=False),
    Column("is_admin", Boolean, nullable=False),
    Column("created_at", TEXT, nullable=False),
    Column("disabled_at", TEXT),
)

namespaces = Table(
    "namespaces",
    METADATA,
    Column("key", TEXT, primary_key=True),
    Column("name", TEXT, nullable=False),
    Column("created_at", TEXT, nullable=False),
    Column("quota_bytes", BigInteger),
    Column("keep_untagged_days", Integer),
)

memberships = Table(
    "memberships",
    METADATA,
    # A request asks for all roles of one user, so the key begins with the user.
    Column("user_id", SERIAL, ForeignKey("users.id"), primary_key=True),
    Column("namespace_key", TEXT, ForeignKey("namespaces.key"), primary_key=True, index=True),
    Column("role", TEXT, nullable=False),
    CheckConstraint(_ROLES, name="role"),
    sqlite_with_rowid=False,
)

tokens = Table(
    "tokens",
    METADATA,
    Column("id", TEXT, primary_key=True),
    Column("user_id", SERIAL, ForeignKey("users.id"), nullable=False, index=True),
    Column("label", TEXT, nullable=False),
    Column("digest", ID, nullable=False, unique=True),
    # Null: no scopes, which lets everything through; a list otherwise.
    Column("scopes", JSON_VALUE),
    Column("created_at", TEXT, nullable=False),
    Column("expires_at", TEXT),
    Column("revoked_at", TEXT),
    Column("last_used_on", TEXT),
)

protections = Table(
    "protections",
    METADATA,
    Column("repository_id", SERIAL, ForeignKey("repositories.id"), primary_key=True),
    Column("pattern", TEXT, primary_key=True),
    Column("role", TEXT, nullable=False),
    Column("fast_forward_only", Boolean, nullable=False),
    # A default, so that a program of the schema before can insert while others are upgraded.
    Column("attestations", Integer, nullable=False, server_default="0"),
    CheckConstraint(_ROLES, name="role"),
    sqlite_with_rowid=False,
)

audit_log = Table(
    "audit_log",
    METADATA,
    Column("id", SERIAL, primary_key=True),
    Column("at", TEXT, nullable=False),
    Column("actor", TEXT, nullable=False),
    Column("token", TEXT),
    Column("action", TEXT, nullable=False),
    Column("subject", TEXT, nullable=False),
    # The namespace of the subject, by which its owners may read the row; null for what concerns
    # the registry as a whole.
    Column("namespace_key", TEXT),
    Column("details", JSON_VALUE, nullable=False),
    Index(None, "namespace_key", "id"),
)
