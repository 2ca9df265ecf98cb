"""Writing down a change, in the transaction that makes it."""

from __future__ import annotations

from plait_registry.domain.access import Caller
from plait_registry.domain.change import Change, describe
from plait_registry.domain.ports import Records
from plait_registry.services.record_event import record_event


def record_change(records: Records, caller: Caller, change: Change, *, at: str) -> None:
    """Add a change to the audit log, and tell the world outside of it.

    Call it last in a transaction: others who have an event to tell wait from then on.
    """
    records.audit.append(describe(change, caller, at))
    record_event(records, caller, change, at=at)
