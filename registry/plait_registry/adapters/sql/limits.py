"""What a registry may ask of its database: in which way, how much, and for how long."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

LONGEST_WAIT_S = 30.0
DEFAULT_POOL = 8
DEFAULT_STATEMENT_S = 30


class Access(Enum):
    """What a transaction is for."""

    READ = auto()  # one snapshot
    WRITE = auto()  # beside others, as far as the database can
    WRITE_ALONE = auto()  # with all other writes waiting
    MIGRATE = auto()  # the schema


@dataclass(frozen=True, slots=True)
class Limits:
    """What one process keeps to."""

    wait_s: float
    """Seconds that a transaction waits for others, or is tried again, before it is busy."""
    pool: int
    """Connections that stay open; in a burst, others join them for a while."""
    statement_s: int
    """Seconds after which PostgreSQL ends a statement; SQLite knows no such limit."""
