"""Events: what the world outside learns of each change, and the table that keeps them.

- An event is written in the transaction that makes its change: neither is there without the other.
- Ids grow in the order in which transactions end. Who has read up to one of them has missed none
  before it, which is what makes a cursor safe.
- A repository's events are readable for who may read the repository now. Those from before it was
  deleted are for its namespace's members only: the same name may come back as somebody else's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NewType, Protocol

from plait.errors import InvalidInput, NotFound
from plait.model.address import RepositoryName
from plait_registry.domain.access import Caller, Readable
from plait_registry.domain.change import Action, Change

EventId = NewType("EventId", int)
START = EventId(0)
"""Before the first event."""
LATEST = "latest"
"""What a caller may give for a cursor to begin after the newest event."""

_CURSOR = re.compile(r"e([0-9a-f]{1,15})")


class EventKind(StrEnum):
    """What happened; append-only, since receivers choose by it."""

    PUSH = "push"  # commits came, and a ref moved or was made
    REF_CREATED = "ref.created"  # a branch or tag was made at a commit that was there
    REF_MOVED = "ref.moved"  # a branch moved between commits that were there
    REF_DELETED = "ref.deleted"
    NOTE_ADDED = "note.added"
    REPOSITORY_CREATED = "repository.created"
    REPOSITORY_UPDATED = "repository.updated"
    REPOSITORY_DELETED = "repository.deleted"
    JOB_SUBMITTED = "job.submitted"
    JOB_ENDED = "job.ended"  # done, failed or cancelled
    VALIDATION_RECORDED = "validation.recorded"  # a validator said what it saw of a commit
    ATTESTATION_ADDED = "attestation.added"  # and signed it


KIND_OF_ACTION: Mapping[Action, EventKind] = {
    Action.PUSH: EventKind.PUSH,
    Action.REF_CREATE: EventKind.REF_CREATED,
    Action.REF_MOVE: EventKind.REF_MOVED,
    Action.REF_DELETE: EventKind.REF_DELETED,
    Action.NOTE_ADD: EventKind.NOTE_ADDED,
    Action.REPOSITORY_CREATE: EventKind.REPOSITORY_CREATED,
    Action.REPOSITORY_UPDATE: EventKind.REPOSITORY_UPDATED,
    Action.REPOSITORY_DELETE: EventKind.REPOSITORY_DELETED,
    Action.JOB_SUBMIT: EventKind.JOB_SUBMITTED,
    Action.JOB_END: EventKind.JOB_ENDED,
    Action.VALIDATION_RECORD: EventKind.VALIDATION_RECORDED,
    Action.ATTESTATION_ADD: EventKind.ATTESTATION_ADDED,
}
"""Changes of people, tokens and rules are for the audit log alone."""


@dataclass(frozen=True, slots=True)
class Event:
    """One change of a repository."""

    kind: EventKind
    repository: RepositoryName
    actor: str
    at: str
    """UTC to the second."""
    details: Mapping[str, Any]
    id: EventId = START
    """The order of the feed; given by the database."""

    @property
    def namespace(self) -> str:
        """The key of the namespace that it happened in."""
        return self.repository.namespace.lower()

    def to_json(self) -> dict[str, Any]:
        """Return the document that the feed shows and webhooks carry."""
        return {
            "id": write_cursor(self.id),
            "kind": self.kind.value,
            "repository": str(self.repository),
            "actor": self.actor,
            "at": self.at,
            "details": dict(self.details),
        }


@dataclass(frozen=True, slots=True)
class EventQuery:
    """Which part of the feed to read, oldest first; None and the empty set mean any."""

    readable: Readable
    after: EventId = START
    namespace: str | None = None
    repository: RepositoryName | None = None
    kinds: frozenset[EventKind] = frozenset()
    limit: int = 50


class EventTable(Protocol):
    """The events that are kept."""

    def append(self, event: Event) -> None:
        """Add an event, and a delivery for every active webhook that wants it.

        Call it last in a transaction: from here on, others that append wait for its end.
        """

    def search(self, query: EventQuery) -> Sequence[Event]:
        """Return the matching events, oldest first."""

    def newest(self) -> EventId:
        """Return the newest event's id; `START` where there is none."""

    def pruned(self) -> EventId:
        """Return the id up to which events are no longer kept."""

    def seal(self, repository: RepositoryName) -> None:
        """Keep the events so far of a repository that is deleted for its namespace's members."""

    def forget_namespace(self, key: str) -> None:
        """Remove all events of a namespace that is deleted, and what was to be delivered."""

    def prune(self, before: str) -> int:
        """Remove the events from before a time with their deliveries; return how many events.

        What is pending goes, too: a receiver that is gone for good must not keep everything.
        """


def describe_event(change: Change, caller: Caller, at: str) -> Event | None:
    """Return the event that a change is; None for one that concerns no repository's readers."""
    kind = KIND_OF_ACTION.get(change.action)
    if kind is None:
        return None
    # Where the refs of a deleted repository pointed is for the audit log.
    details = {} if kind is EventKind.REPOSITORY_DELETED else change.details
    return Event(kind, RepositoryName.parse(change.subject), caller.name, at, details)


def write_cursor(event: EventId) -> str:
    """Return the place after an event, as callers keep it."""
    return f"e{event:x}"


def parse_cursor(text: str) -> EventId:
    """Return the event after which to go on.

    Raises:
        InvalidInput: `invalid-input`, no feed ever answered with that.
    """
    match = _CURSOR.fullmatch(text)
    if match is None:
        raise InvalidInput(
            "invalid-input",
            f"{text!r:.80} is no cursor: send the `next` of the page before, 'latest', or nothing "
            "to begin with the oldest event.",
        )
    return EventId(int(match[1], 16))


def parse_kind(text: str) -> EventKind:
    """Return the kind of event that a request names.

    Raises:
        InvalidInput: there is no such kind.
    """
    try:
        return EventKind(text)
    except ValueError:
        kinds = ", ".join(EventKind)
        raise InvalidInput(
            "invalid-input", f"{text!r:.80} is no kind of event: expected one of {kinds}."
        ) from None


def events_expired() -> NotFound:
    """Return the error that events after a cursor were pruned, so that some would be missed."""
    return NotFound(
        "events-expired",
        "Events after this cursor are no longer kept, so that some would be missed: read the "
        "repositories anew, then go on with 'latest' as the cursor.",
    )
