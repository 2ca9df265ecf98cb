"""Writing down a change, in the transaction that makes it: for the audit log and for the world."""

from __future__ import annotations

from plait_registry.domain.access import Caller
from plait_registry.domain.change import Action, Change, describe
from plait_registry.domain.events import describe_event
from plait_registry.domain.ports import Records


def record_change(records: Records, caller: Caller, change: Change, *, at: str) -> None:
    """Add a change to the audit log, and the event that it is, if it is one.

    Call it last in a transaction: others who have an event to tell wait from then on. With a
    namespace, its events go as well, since others may take the name.
    """
    records.audit.append(describe(change, caller, at))
    event = describe_event(change, caller, at)
    if event is not None:
        records.events.append(event)
    if event is not None and change.action is Action.REPOSITORY_DELETE:
        records.events.seal(event.repository)
    if change.action is Action.NAMESPACE_DELETE and change.namespace is not None:
        records.events.forget_namespace(change.namespace)
