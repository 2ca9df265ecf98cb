"""The schema of bases."""

from __future__ import annotations

from sqlalchemy import Column, ForeignKey, Table

from plait_registry.adapters.sql.tables import ID, METADATA, TEXT

bases = Table(
    "bases",
    METADATA,
    # Goes with its commit, also where a program of the schema before deletes that.
    Column("commit_id", ID, ForeignKey("commits.id", ondelete="CASCADE"), primary_key=True),
    Column("name", TEXT, nullable=False, index=True),
    Column("revision", TEXT),
    Column("fingerprint", ID, nullable=False, index=True),
)
