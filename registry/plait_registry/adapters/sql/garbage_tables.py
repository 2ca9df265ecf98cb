"""The schema of garbage collection, backup and the journal of refs.

None of these refers to another table by a foreign key: they speak of what is about to go.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Table

from plait_registry.adapters.sql.tables import ID, METADATA, SERIAL, TEXT

repository_versions = Table(
    "repository_versions",
    METADATA,
    # The repository's key: also where it is deleted and made anew, the number only grows.
    Column("key", TEXT, primary_key=True),
    # Grows with every change of what the repository names or holds.
    Column("version", BigInteger, nullable=False),
    # The version that the journal of refs has.
    Column("journaled", BigInteger, nullable=False, server_default="0"),
)

garbage_marks = Table(
    "garbage_marks",
    METADATA,
    Column("kind", TEXT, primary_key=True),
    # 0 for what belongs to no repository.
    Column("repository_id", SERIAL, primary_key=True, autoincrement=False),
    Column("id", ID, primary_key=True),
    Column("since", TEXT, nullable=False),
    sqlite_with_rowid=False,
)

condemned_objects = Table(
    "condemned_objects",
    METADATA,
    Column("sha256", ID, primary_key=True),
    Column("condemned_at", TEXT, nullable=False),
)

expired_files = Table(
    "expired_files",
    METADATA,
    Column("repository_id", SERIAL, primary_key=True, autoincrement=False),
    Column("file_sha256", ID, primary_key=True),
    Column("expired_at", TEXT, nullable=False),
    sqlite_with_rowid=False,
)

push_documents = Table(
    "push_documents",
    METADATA,
    Column("push_id", TEXT, primary_key=True),
    # Indexed the other way round as well: garbage collection asks who needs a document.
    Column("sha256", ID, primary_key=True, index=True),
    sqlite_with_rowid=False,
)

holds = Table(
    "holds",
    METADATA,
    Column("name", TEXT, primary_key=True),
    Column("until", TEXT, nullable=False),
)
