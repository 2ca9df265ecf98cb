"""Letting other steps happen between any two steps of a service, on one thread.

A step is whatever a service does as a whole: a transaction, or a call of the store. Where the
schedule says so, an action runs just before it; inside an action nothing is interrupted.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import TypeVar

from plait.model.ids import ObjectId
from plait_registry.adapters.memory_objects import MemoryObjects
from plait_registry.domain.ports import Database, ObjectStore, Records, StoredObject

T = TypeVar("T")
Action = Callable[[], None]


class Schedule:
    """Actions by the number of steps that pass before each."""

    def __init__(self) -> None:
        self._left: list[tuple[int, Action]] = []
        self._acting = False

    def plan(self, actions: list[tuple[int, Action]]) -> None:
        """Replace what is left by these actions, each that many steps after the one before."""
        self._left = list(actions)

    def step(self) -> None:
        """Run what is due before the next step."""
        if self._acting or not self._left:
            return
        wait, action = self._left[0]
        if wait > 0:
            self._left[0] = wait - 1, action
            return
        self._left.pop(0)
        self._acting = True
        try:
            action()
        finally:
            self._acting = False


class SteppedDatabase(Database):
    """A database each of whose transactions is a step."""

    def __init__(self, database: Database, schedule: Schedule) -> None:
        self._database = database
        self._schedule = schedule

    @contextmanager
    def read(self) -> Generator[Records, None, None]:
        """Open a consistent view."""
        self._schedule.step()
        with self._database.read() as records:
            yield records

    @contextmanager
    def write(self) -> Generator[Records, None, None]:
        """Open one transaction."""
        self._schedule.step()
        with self._database.write() as records:
            yield records

    def transact(self, work: Callable[[Records], T]) -> T:
        """Run one transaction."""
        self._schedule.step()
        return self._database.transact(work)


class SteppedObjects(ObjectStore):
    """A store in memory that may be written to and deleted from step by step."""

    def __init__(self, store: MemoryObjects, schedule: Schedule) -> None:
        self._store = store
        self._schedule = schedule

    def stat(self, object_id: ObjectId) -> int | None:
        """Return an object's size."""
        return self._store.stat(object_id)

    def read(self, object_id: ObjectId, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """Yield an object's bytes."""
        return self._store.read(object_id, start, stop)

    def put(self, object_id: ObjectId, data: bytes) -> None:
        """Store an object."""
        self._schedule.step()
        self._store.put(object_id, data)

    def delete(self, object_id: ObjectId) -> None:
        """Delete an object."""
        self._schedule.step()
        self._store.delete(object_id)

    def discard_wrong(self, object_id: ObjectId) -> None:
        """Delete an object that has not its name."""
        self._schedule.step()
        self._store.discard_wrong(object_id)

    def list(self) -> Iterator[StoredObject]:
        """Yield all objects."""
        return self._store.list()

    def check(self) -> None:
        """Memory is always there."""
