"""The events that are kept, in SQL."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    and_,
    delete,
    exists,
    false,
    func,
    insert,
    not_,
    or_,
    select,
    text,
    true,
    update,
)
from typing_extensions import override

from plait.model.address import RepositoryName
from plait_registry.adapters.sql.event_tables import deliveries, events, pruned_events
from plait_registry.adapters.sql.tables import repositories
from plait_registry.adapters.sql.webhooks import find_receivers
from plait_registry.domain.access import Readable
from plait_registry.domain.events import (
    START,
    Event,
    EventId,
    EventKind,
    EventQuery,
    EventTable,
)
from plait_registry.domain.webhooks import DeliveryState

_APPEND_LOCK = 0x706C_6169_7401
"""A number for PostgreSQL's advisory lock that nothing else uses: `plait` in ASCII, and 1."""


class SqlEventTable(EventTable):
    """Events in one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @override
    def append(self, event: Event) -> None:
        receivers = find_receivers(self._connection, event)
        self._queue()
        added = self._connection.execute(insert(events).values(_write(event)))
        key = added.inserted_primary_key
        rows = [
            {
                "webhook_id": webhook,
                "event_id": None if key is None else key.id,
                "state": DeliveryState.PENDING.value,
                "attempts": 0,
                "due_at": event.at,
            }
            for webhook in receivers
        ]
        if rows:
            self._connection.execute(insert(deliveries), rows)

    @override
    def search(self, query: EventQuery) -> Sequence[Event]:
        statement = select(events).where(*_conditions(query)).order_by(events.c.id)
        return [read_event(row) for row in self._connection.execute(statement.limit(query.limit))]

    @override
    def newest(self) -> EventId:
        newest = self._connection.execute(select(func.max(events.c.id))).scalar_one()
        # Where all were removed, the newest one was among them.
        return self.pruned() if newest is None else EventId(newest)

    @override
    def pruned(self) -> EventId:
        through = self._connection.execute(select(pruned_events.c.through)).scalar_one_or_none()
        return START if through is None else EventId(through)

    @override
    def seal(self, repository: RepositoryName) -> None:
        self._connection.execute(
            update(events).where(events.c.repository_key == repository.key).values(sealed=True)
        )

    @override
    def forget_namespace(self, key: str) -> None:
        self._connection.execute(delete(events).where(events.c.namespace_key == key))

    @override
    def prune(self, before: str) -> int:
        # Always all up to one of them, although times need not grow as ids do.
        first_kept = select(func.min(events.c.id)).where(events.c.at >= before).scalar_subquery()
        last = self._connection.execute(
            select(func.max(events.c.id)).where(or_(first_kept.is_(None), events.c.id < first_kept))
        ).scalar_one()
        if last is None:
            return 0
        self._connection.execute(delete(pruned_events))
        self._connection.execute(insert(pruned_events).values(through=last))
        return self._connection.execute(delete(events).where(events.c.id <= last)).rowcount

    def _queue(self) -> None:
        """Wait until no other transaction that appended is still open, as SQLite does by itself.

        Without that, PostgreSQL could show event 8 before 7, and a reader who saw 8 would never ask
        for 7. The lock ends with the transaction, after its rows are there to be seen.
        """
        if self._connection.dialect.name == "postgresql":
            statement = text("SELECT pg_advisory_xact_lock(:key)")
            self._connection.execute(statement, {"key": _APPEND_LOCK})


def read_event(row: Row[Any]) -> Event:
    """Return the event that a row with all columns of `events` holds."""
    return Event(
        kind=EventKind(row.kind),
        repository=RepositoryName.parse(row.repository),
        actor=row.actor,
        at=row.at,
        details=row.details,
        id=EventId(row.id),
    )


def _write(event: Event) -> dict[str, Any]:
    return {
        "kind": event.kind.value,
        "repository": str(event.repository),
        "repository_key": event.repository.key,
        "namespace_key": event.namespace,
        "actor": event.actor,
        "at": event.at,
        "details": dict(event.details),
        "sealed": False,
    }


def _conditions(query: EventQuery) -> Iterator[ColumnElement[bool]]:
    yield events.c.id > query.after
    yield _is_readable(query.readable)
    if query.namespace is not None:
        yield events.c.namespace_key == query.namespace.lower()
    if query.repository is not None:
        yield events.c.repository_key == query.repository.key
    if query.kinds:
        yield events.c.kind.in_(sorted(kind.value for kind in query.kinds))


def _is_readable(readable: Readable) -> ColumnElement[bool]:
    """Return the condition that an event is of a repository that a caller may read."""
    conditions: list[ColumnElement[bool]] = []
    if readable.members is not None:
        is_public = exists().where(
            repositories.c.key == events.c.repository_key, repositories.c.private.is_(false())
        )
        conditions.append(
            or_(
                events.c.namespace_key.in_(sorted(readable.members)),
                and_(not_(events.c.sealed), is_public),
            )
        )
    if readable.namespaces is not None:
        conditions.append(
            or_(
                events.c.namespace_key.in_(sorted(readable.namespaces)),
                events.c.repository_key.in_(sorted(readable.repositories)),
            )
        )
    return and_(true(), *conditions)
