"""What a repository is for."""

from __future__ import annotations

from enum import StrEnum

from plait.errors import InvalidInput


class RepositoryKind(StrEnum):
    """What the versions of a repository are; given when it is made, and never changed."""

    ADAPTER = "adapter"
    """Adapters, and stacks of adapters."""
    BASE = "base"
    """Models that adapters belong to, each with its card."""


def parse_repository_kind(text: str) -> RepositoryKind:
    """Return `text` as the kind of a repository.

    Raises:
        InvalidInput: it is none.
    """
    try:
        return RepositoryKind(text)
    except ValueError:
        known = " or ".join(repr(kind.value) for kind in RepositoryKind)
        raise InvalidInput(
            "invalid-input", f"A repository is of the kind {known}, not {text!r:.80}.", field="kind"
        ) from None
