"""Bringing a database to the schema of this program, by the Alembic scripts that come with it.

A migration is one transaction, begun as a write: where several processes start at once, the first
migrates and the others wait, then find nothing to do; killed in the middle, it leaves no trace.
Foreign keys are not enforced meanwhile, since rebuilding a table, which is how SQLite alters one,
would count as deleting its rows; they are checked before the transaction ends.
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
from plait_registry.adapters.sql.dialect import allow_writes, build_engine, enter_wal


def upgrade(url: str | URL, *, wait_s: float, revision: str = "head") -> None:
    """Upgrade the database at `url`.

    Raises:
        Unavailable: it belongs to a newer plait.
    """
    engine = build_engine(url, wait_s=wait_s, foreign_keys=False)
    try:
        with engine.connect() as connection:
            enter_wal(connection, wait_s=wait_s)
            with allow_writes(connection).begin():
                _run(connection, revision)
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
