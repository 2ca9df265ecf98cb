"""How much of a namespace's quota is used."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol

from plait.errors import TooLarge
from plait.model.ids import ObjectId


@dataclass(frozen=True, slots=True)
class Usage:
    """What the repositories of a namespace hold together."""

    namespace: str
    used_bytes: int
    """Of all different files; one that several repositories hold counts once."""
    files: int
    quota_bytes: int | None
    """None: no limit."""


class UsageTable(Protocol):
    """What namespaces hold."""

    def measure(self, namespace: str) -> tuple[int, int]:
        """Return the bytes and the number of different files that a namespace, by key, holds."""

    def find_unheld(self, namespace: str, files: Collection[ObjectId]) -> frozenset[ObjectId]:
        """Return those of `files` that no repository of the namespace holds."""


def quota_exceeded(usage: Usage, needed: int) -> TooLarge:
    """Return the error that a namespace would hold more than it may."""
    return TooLarge(
        "quota-exceeded",
        f"The namespace {usage.namespace} holds {usage.used_bytes} of at most {usage.quota_bytes} "
        f"bytes, and this push needs {needed} more: delete what is not needed, or ask the "
        "registry's administrator for a larger quota.",
        used=usage.used_bytes,
        limit=usage.quota_bytes,
        needed=needed,
    )


def quota_exceeded_here(namespace: str, limit: int) -> TooLarge:
    """Return the same error for a caller who may not read all of the namespace."""
    return TooLarge(
        "quota-exceeded",
        f"This push may need more room than the namespace {namespace} has left of its {limit} "
        "bytes: ask one of its owners to delete what is not needed, or the registry's "
        "administrator for a larger quota.",
        limit=limit,
    )
