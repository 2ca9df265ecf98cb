"""Telling the world outside of a change, in the transaction that makes it."""

from __future__ import annotations

from plait_registry.domain.access import Caller
from plait_registry.domain.change import Action, Change
from plait_registry.domain.events import describe_event
from plait_registry.domain.ports import Records


def record_event(records: Records, caller: Caller, change: Change, *, at: str) -> None:
    """Add the event that a change is, if it is one; call it last, since others wait from then on.

    With a namespace, its events go as well, since others may take the name.
    """
    event = describe_event(change, caller, at)
    if event is not None:
        records.events.append(event)
    if event is not None and change.action is Action.REPOSITORY_DELETE:
        records.events.seal(event.repository)
    if change.action is Action.NAMESPACE_DELETE and change.namespace is not None:
        records.events.forget_namespace(change.namespace)
