"""Bringing a database to the schema of this program, by the Alembic scripts that come with it.

A migration is one transaction, begun as a write: where several processes start at once, the first
migrates and the others wait, then find nothing to do; killed in the middle, it leaves no trace.

- On SQLite, foreign keys are not enforced meanwhile, since rebuilding a table, which is how SQLite
  alters one, would count as deleting its rows; they are checked before the transaction ends.
- On PostgreSQL, an advisory lock is what the others wait for. A table that programs of the schema
  before still use is waited for no longer than any lock: whoever comes after would queue up behind.
"""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.util import CommandError
from sqlalchemy import URL, Connection

import plait_registry
from plait.errors import Internal, Unavailable
from plait_registry.adapters.sql.dialect import begin, build_engine
from plait_registry.adapters.sql.limits import Access, Limits
from plait_registry.adapters.sql.postgres_engine import lock_for_migration
from plait_registry.adapters.sql.sqlite_engine import enter_wal


def upgrade(url: str | URL, limits: Limits, *, revision: str = "head") -> None:
    """Upgrade the database at `url`.

    Raises:
        Unavailable: it belongs to a newer plait.
    """
    engine = build_engine(url, limits, migrates=True)
    on_sqlite = engine.dialect.name == "sqlite"
    try:
        with engine.connect() as connection:
            if on_sqlite:
                enter_wal(connection, wait_s=limits.wait_s)
            with begin(connection, Access.MIGRATE):
                if not on_sqlite:
                    lock_for_migration(connection)
                _run(connection, revision)
                if on_sqlite:
                    _verify_foreign_keys(connection)
    finally:
        engine.dispose()


def read_revision(connection: Connection) -> str | None:
    """Return the revision that the database has."""
    return MigrationContext.configure(connection).get_current_revision()


def build_config(connection: Connection | None = None) -> Config:
    """Return Alembic's settings for the packaged scripts, to run over `connection`."""
    config = Config()
    config.set_main_option("script_location", str(find_scripts()).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


def find_scripts() -> Path:
    """Return the folder of migrations: inside the package in a wheel, else in the checkout."""
    package = Path(plait_registry.__file__).parent
    packed = package / "migrations"
    return packed if packed.is_dir() else package.parents[1] / "migrations"


def _run(connection: Connection, revision: str) -> None:
    try:
        command.upgrade(build_config(connection), revision)
    except CommandError as error:
        raise Unavailable(
            "unavailable",
            f"The database cannot be migrated: {error}. It may have been migrated by a newer "
            "plait: upgrade this one.",
        ) from error


def _verify_foreign_keys(connection: Connection) -> None:
    broken = connection.exec_driver_sql("PRAGMA foreign_key_check").all()
    if broken:
        raise Internal(
            "internal", f"The migration would leave {len(broken)} rows without what they refer to."
        )
