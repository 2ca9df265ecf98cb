"""PostgreSQL through psycopg 3, for any number of processes.

- A write is SERIALIZABLE: of two that could not have run one after the other, one is told so,
  whatever either of them read. `Database.transact` runs it again, alone this time: beside others, a
  long one would lose to short ones for ever (docs/decisions/0040).
- A read is REPEATABLE READ, READ ONLY: one snapshot. It takes no part in the bookkeeping of the
  writes, waits for none and is never run again.
- The driver sends no BEGIN by itself; plait's own says which kind it is, in the one message that a
  transaction costs at its start. It is also how a connection shows that the server still knows it:
  there is no ping (docs/decisions/0040).
- Every connection brings its time limits along, so that a client that hangs, a lock that is not
  let go or a query that got lost does not hold the others up for longer.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from sqlalchemy import (
    ARRAY,
    URL,
    Connection,
    Engine,
    Table,
    bindparam,
    create_engine,
    func,
    select,
)
from sqlalchemy.dialects.postgresql import Insert, insert

from plait_registry.adapters.sql.limits import Access, Limits

DRIVER = "postgresql+psycopg"
CONNECT_S = 10
"""Seconds for the network and the server's greeting."""
IDLE_IN_TRANSACTION_S = 60
"""Between two statements of plait lie milliseconds: a process that takes longer hangs."""
KEEPALIVE_S = 30
UNANSWERED_S = 30
"""After which a network that swallows what is sent counts as broken."""
LONGEST_MIGRATION_S = 600
"""How long one process waits for another one's migration."""
MIGRATION_LOCK = 0x706C616974
"""`plait` in ASCII: whatever else lives in the database may lock numbers of its own."""

_BEGIN = {
    Access.READ: "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
    Access.WRITE: "BEGIN ISOLATION LEVEL SERIALIZABLE READ WRITE",
    Access.WRITE_ALONE: "BEGIN ISOLATION LEVEL SERIALIZABLE READ WRITE",
    # Only so does a migration that waited for another one's lock see what that one did.
    Access.MIGRATE: "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE",
}
# A table that every schema has and no write touches: its lock is the gate that all writes go
# through side by side, and one that must be alone shuts.
_LOCK = {
    Access.WRITE: "LOCK TABLE alembic_version IN ROW SHARE MODE",
    Access.WRITE_ALONE: "LOCK TABLE alembic_version IN EXCLUSIVE MODE",
}


def build_postgres_engine(url: URL, limits: Limits, *, migrates: bool) -> Engine:
    """Return an engine; one that migrates may take as long as it needs for a statement."""
    settings: dict[str, object] = {"lock_timeout": f"{max(int(limits.wait_s * 1_000), 1)}ms"}
    if not migrates:
        settings |= {
            "statement_timeout": f"{limits.statement_s}s",
            "idle_in_transaction_session_timeout": f"{IDLE_IN_TRANSACTION_S}s",
            # Queries go by indexes. The planner would rather read a small table as a whole, and
            # every other write to that table would then stand in the way.
            "enable_seqscan": "off",
            # Compiling a query pays after seconds, and older servers try where the above costs.
            "jit": "off",
        }
    options = [f"-c {name}={value}" for name, value in settings.items()]
    # What the operator's URL says comes last, and wins.
    given = url.query.get("options", ())
    options.extend([given] if isinstance(given, str) else given)
    return create_engine(
        url.set(drivername=DRIVER).difference_update_query(["options"]),
        pool_size=limits.pool,
        max_overflow=limits.pool,
        pool_timeout=limits.wait_s,
        connect_args={
            "autocommit": True,
            "connect_timeout": CONNECT_S,
            "application_name": "plait",
            "keepalives_idle": KEEPALIVE_S,
            "tcp_user_timeout": UNANSWERED_S * 1_000,
            "options": " ".join(options),
        },
        hide_parameters=True,
        # Saves a question for its number at the start.
        use_native_hstore=False,
    )


def begin_on_postgres(connection: Connection, access: Access) -> None:
    """Begin a transaction."""
    connection.exec_driver_sql(_BEGIN[access])
    if lock := _LOCK.get(access):
        # LOCK comes before the snapshot, so that whoever waited sees what it waited for.
        connection.exec_driver_sql(lock)


def lock_for_migration(connection: Connection) -> None:
    """Wait until no other process migrates; the transaction's end lets the next one go on."""
    connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{LONGEST_MIGRATION_S}s'")
    connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({MIGRATION_LOCK})")
    connection.exec_driver_sql("SET LOCAL lock_timeout TO DEFAULT")


@cache
def insert_arrays(table: Table, columns: Sequence[str]) -> Insert:
    """Return a statement that inserts new rows, given as one array for each column.

    However many rows there are, it is one statement that is planned once.
    """
    arrays = [bindparam(name, type_=ARRAY(table.c[name].type, dimensions=1)) for name in columns]
    given = func.unnest(*arrays).table_valued(*columns, with_ordinality="place")
    rows = given.render_derived(name="rows")
    # In their order: the numbers that rows get say which one came first.
    chosen = select(*(rows.c[name] for name in columns)).order_by(rows.c.place)
    return insert(table).from_select(columns, chosen).on_conflict_do_nothing()
