"""The schema of jobs."""

from __future__ import annotations

from sqlalchemy import BigInteger, CheckConstraint, Column, ForeignKey, Index, Integer, Table

from plait_registry.adapters.sql.tables import ID, JSON_VALUE, METADATA, SERIAL, TEXT

jobs = Table(
    "jobs",
    METADATA,
    # The order in which they came.
    Column("number", SERIAL, primary_key=True),
    Column("id", TEXT, nullable=False, unique=True),
    Column("kind", TEXT, nullable=False),
    # Goes with its repository, also where a program of the schema before deletes that.
    Column(
        "repository_id", SERIAL, ForeignKey("repositories.id", ondelete="CASCADE"), nullable=False
    ),
    # Who asked: the name for people, the user (null for the folder's token), and by which token.
    Column("requester", TEXT, nullable=False),
    Column("user_id", SERIAL, ForeignKey("users.id")),
    Column("token_id", TEXT, ForeignKey("tokens.id")),
    # The names of the repositories that it reads.
    Column("inputs", JSON_VALUE, nullable=False),
    # The branch that gets the outcome; empty where nothing is pushed.
    Column("ref_name", TEXT, nullable=False),
    # Canonical JSON, as text: any database's own JSON type may write numbers in another way.
    Column("payload", TEXT, nullable=False),
    Column("state", TEXT, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("due_at", TEXT, nullable=False),
    # sha256 of the token of the process that does it, and until when nobody else may.
    Column("digest", ID, unique=True),
    Column("lease_until", TEXT),
    Column("done", BigInteger, nullable=False),
    Column("total", BigInteger, nullable=False),
    Column("what", TEXT, nullable=False),
    Column("log", TEXT, nullable=False),
    Column("result", JSON_VALUE),
    Column("error", JSON_VALUE),
    Column("created_at", TEXT, nullable=False),
    Column("started_at", TEXT),
    Column("ended_at", TEXT),
    # What it is about, where one job is enough; and which base it needs, if that is known.
    Column("subject", TEXT),
    Column("base", TEXT),
    CheckConstraint("state IN ('queued', 'running', 'done', 'failed', 'cancelled')", name="state"),
    Index(None, "repository_id", "number"),
    # The open ones of a repository, and of a user, are counted before another one is taken.
    Index(None, "repository_id", "state"),
    Index(None, "repository_id", "subject"),
    Index(None, "user_id", "state"),
    Index(None, "state", "due_at"),
)
