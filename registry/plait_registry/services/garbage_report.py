"""What a run of garbage collection found, or removed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from typing import Any

from plait_registry.domain.moments import shift

Tell = Callable[[str], None]
"""Takes a line of progress."""


@dataclass(frozen=True, slots=True)
class Run:
    """What one run goes by."""

    now: str
    cutoff: str
    """What has been garbage since then, or longer, is swept."""
    sweep: bool
    """False: nothing is changed, and the report says what would be."""

    @classmethod
    def at(cls, now: str, *, grace: timedelta, sweep: bool) -> Run:
        """Return the run that begins now."""
        return cls(now, shift(now, -grace), sweep)


@dataclass(slots=True)
class RepositoryGarbage:
    """What one repository lets go of."""

    name: str
    commits: int = 0
    files: int = 0
    expired_files: int = 0
    """Those of `files` that retention takes from commits that stay."""
    bytes: int = 0
    """Of `files`; other repositories may hold them as well."""


@dataclass(slots=True)
class GarbageReport:
    """What a run removed, or would remove; what is marked waits for its grace to pass."""

    swept: bool
    repositories: list[RepositoryGarbage] = field(default_factory=list)
    """Those that let go of something."""
    pushes: int = 0
    uploads: int = 0
    commits: int = 0
    manifests: int = 0
    files: int = 0
    objects: int = 0
    object_bytes: int = 0
    waiting_objects: int = 0
    """Garbage whose grace has not passed."""
    waiting_bytes: int = 0
    busy_repositories: list[str] = field(default_factory=list)
    """Those that changed again and again meanwhile: the next run looks at them."""
    held: bool = False
    """A backup was under way, so that no object was deleted."""

    def to_json(self) -> dict[str, Any]:
        """Return the report as a JSON object."""
        return asdict(self)
