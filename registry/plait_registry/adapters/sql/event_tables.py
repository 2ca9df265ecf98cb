"""The schema of events, webhooks and deliveries.

No column of `events` is called `repository_id`: what is so called goes with its repository, and
that a repository was deleted is an event, too.
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
    false,
)

from plait_registry.adapters.sql.tables import ID, JSON_VALUE, METADATA, SERIAL, TEXT

events = Table(
    "events",
    METADATA,
    Column("id", SERIAL, primary_key=True),
    Column("kind", TEXT, nullable=False),
    # As people write it, and in lower case: what the feed is filtered by.
    Column("repository", TEXT, nullable=False),
    Column("repository_key", TEXT, nullable=False),
    Column("namespace_key", TEXT, nullable=False),
    Column("actor", TEXT, nullable=False),
    Column("at", TEXT, nullable=False),
    Column("details", JSON_VALUE, nullable=False),
    # From before its repository was deleted: for the namespace's members only.
    Column("sealed", Boolean, nullable=False, server_default=false()),
    Index(None, "repository_key", "id"),
    Index(None, "namespace_key", "id"),
    # A cursor outlives its event: SQLite would give the number of the newest one again.
    sqlite_autoincrement=True,
)

# One row at most: up to which event the oldest ones were removed.
pruned_events = Table(
    "pruned_events",
    METADATA,
    Column("through", BigInteger, primary_key=True, autoincrement=False),
)

webhooks = Table(
    "webhooks",
    METADATA,
    Column("id", TEXT, primary_key=True),
    Column("target", TEXT, nullable=False),
    Column(
        "namespace_key",
        TEXT,
        ForeignKey("namespaces.key", ondelete="CASCADE"),
        nullable=False,
        index=True,
    ),
    # Null: of all repositories of the namespace.
    Column("repository_id", SERIAL, ForeignKey("repositories.id"), index=True),
    Column("url", TEXT, nullable=False),
    # As it is, since it must sign: see docs/decisions/0044.
    Column("secret", TEXT, nullable=False),
    Column("kinds", JSON_VALUE, nullable=False),
    Column("active", Boolean, nullable=False),
    Column("created_at", TEXT, nullable=False),
    Column("created_by", TEXT, nullable=False),
    Column("failures", Integer, nullable=False),
)

deliveries = Table(
    "deliveries",
    METADATA,
    Column("webhook_id", TEXT, ForeignKey("webhooks.id", ondelete="CASCADE"), primary_key=True),
    Column(
        "event_id",
        SERIAL,
        ForeignKey("events.id", ondelete="CASCADE"),
        primary_key=True,
        autoincrement=False,
        index=True,
    ),
    Column("state", TEXT, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("due_at", TEXT, nullable=False),
    # Who sends it now, and until when nobody else may.
    Column("holder", ID),
    # Indexed, since only the few that are being sent have one.
    Column("held_until", TEXT, index=True),
    Column("last_at", TEXT),
    Column("last_status", Integer),
    Column("last_error", TEXT),
    CheckConstraint("state IN ('pending', 'delivered', 'dead')", name="state"),
    # The oldest pending one of a webhook is one step away, however many were delivered.
    Index(None, "webhook_id", "state", "event_id"),
)
