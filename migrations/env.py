"""How Alembic runs the scripts of this folder.

The registry hands its own connection in, inside a transaction that is already a write. With none,
Alembic is asked for SQL text (`--sql`), and `dialect` says for which database.
"""

from __future__ import annotations

from alembic import context

from plait_registry.adapters.sql.tables import METADATA


def run() -> None:
    settings = context.config.attributes
    context.configure(
        connection=settings.get("connection"),
        dialect_name=settings.get("dialect"),
        target_metadata=METADATA,
        # SQLite alters a table by building it anew.
        render_as_batch=True,
    )
    with context.begin_transaction():
        context.run_migrations()


run()
