"""What the database in memory holds, and what its tables share."""

from __future__ import annotations

from dataclasses import dataclass, field, fields

from plait.errors import Internal
from plait.model.ids import CommitId, ManifestId, ObjectId
from plait.model.refs import Ref, RefName
from plait_registry.domain.records import (
    CommitRow,
    FileRow,
    NoteRow,
    ObjectRow,
    PushId,
    PushRow,
    RepositoryId,
    RepositoryRecord,
    StagedCommit,
    StagedManifest,
    UploadRow,
)

UploadKey = tuple[RepositoryId, ObjectId, ObjectId]
"""Repository, file, object."""


@dataclass(slots=True)
class State:
    """Every table; keys that begin with a repository's id belong to that repository."""

    repositories: dict[str, RepositoryRecord] = field(default_factory=dict)
    """By the name's key; head, adapter type and base are found when it is read."""
    refs: dict[tuple[RepositoryId, RefName], Ref] = field(default_factory=dict)
    retired_tags: dict[tuple[RepositoryId, RefName], None] = field(default_factory=dict)
    objects: dict[ObjectId, ObjectRow] = field(default_factory=dict)
    files: dict[ObjectId, FileRow] = field(default_factory=dict)
    manifests: dict[ManifestId, bytes] = field(default_factory=dict)
    commits: dict[CommitId, CommitRow] = field(default_factory=dict)
    repository_commits: dict[tuple[RepositoryId, CommitId], None] = field(default_factory=dict)
    repository_files: dict[tuple[RepositoryId, ObjectId], None] = field(default_factory=dict)
    notes: dict[int, tuple[RepositoryId, NoteRow]] = field(default_factory=dict)
    """By the order in which they came."""
    pushes: dict[PushId, PushRow] = field(default_factory=dict)
    push_commits: dict[tuple[PushId, CommitId], StagedCommit] = field(default_factory=dict)
    push_manifests: dict[tuple[PushId, ManifestId], StagedManifest] = field(default_factory=dict)
    uploads: dict[UploadKey, UploadRow] = field(default_factory=dict)

    def copy(self) -> State:
        """Return a copy that can change without the original; the rows are shared."""
        return State(**{item.name: getattr(self, item.name).copy() for item in fields(self)})


class MemoryTable:
    """One table of the port, over the state of a transaction."""

    def __init__(self, state: State, *, writable: bool) -> None:
        self._state = state
        self._writable = writable

    @property
    def _draft(self) -> State:
        """The state, to be changed."""
        if not self._writable:
            raise Internal("internal", "A read transaction cannot write.")
        return self._state


def verify_present(there: bool, what: str) -> None:  # noqa: FBT001 - reads as a sentence
    """Check what a foreign key of the SQL schema checks."""
    if not there:
        raise Internal("internal", f"A row broke a rule of the registry's database: no {what}.")
