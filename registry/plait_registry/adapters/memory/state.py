"""What the database in memory holds, and what its tables share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from typing import TypeVar

from plait.errors import Internal
from plait.model.ids import CommitId, ManifestId, ObjectId
from plait.model.refs import Ref, RefName
from plait_registry.domain.access import Role
from plait_registry.domain.accounts import (
    AuditRow,
    NamespaceRecord,
    Protection,
    TokenRecord,
    UserId,
    UserRecord,
)
from plait_registry.domain.bases import BaseRow
from plait_registry.domain.events import Event, EventId
from plait_registry.domain.garbage import MarkKind
from plait_registry.domain.jobs import JobId, JobRow
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
from plait_registry.domain.validations import (
    AttestationRow,
    ExpectedRow,
    KeyId,
    ValidationRow,
    ValidatorKey,
)
from plait_registry.domain.webhooks import DeliveryRow, WebhookId, WebhookRecord

K = TypeVar("K")
V = TypeVar("V")

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
    bases: dict[CommitId, BaseRow] = field(default_factory=dict)
    repository_commits: dict[tuple[RepositoryId, CommitId], None] = field(default_factory=dict)
    repository_files: dict[tuple[RepositoryId, ObjectId], None] = field(default_factory=dict)
    notes: dict[int, tuple[RepositoryId, NoteRow]] = field(default_factory=dict)
    """By the order in which they came."""
    pushes: dict[PushId, PushRow] = field(default_factory=dict)
    push_commits: dict[tuple[PushId, CommitId], StagedCommit] = field(default_factory=dict)
    push_manifests: dict[tuple[PushId, ManifestId], StagedManifest] = field(default_factory=dict)
    uploads: dict[UploadKey, UploadRow] = field(default_factory=dict)
    versions: dict[str, int] = field(default_factory=dict)
    """Of repositories, by the name's key; they outlive their repositories."""
    journaled: dict[str, int] = field(default_factory=dict)
    dated: dict[tuple[RepositoryId, CommitId], str] = field(default_factory=dict)
    expired: dict[tuple[RepositoryId, ObjectId], str] = field(default_factory=dict)
    marks: dict[tuple[MarkKind, RepositoryId, str], str] = field(default_factory=dict)
    condemned: dict[ObjectId, str] = field(default_factory=dict)
    push_documents: dict[tuple[str, ObjectId], None] = field(default_factory=dict)
    holds: dict[str, str] = field(default_factory=dict)
    users: dict[str, UserRecord] = field(default_factory=dict)
    """By the name in lower case."""
    namespaces: dict[str, NamespaceRecord] = field(default_factory=dict)
    memberships: dict[tuple[str, UserId], Role] = field(default_factory=dict)
    tokens: dict[str, TokenRecord] = field(default_factory=dict)
    """By id."""
    protections: dict[tuple[RepositoryId, str], Protection] = field(default_factory=dict)
    audit_log: dict[int, AuditRow] = field(default_factory=dict)
    events: dict[EventId, Event] = field(default_factory=dict)
    event_ids: dict[EventId, None] = field(default_factory=dict)
    """Of all events that ever were: none is given twice."""
    sealed_events: dict[EventId, None] = field(default_factory=dict)
    pruned_events: dict[EventId, None] = field(default_factory=dict)
    webhooks: dict[WebhookId, WebhookRecord] = field(default_factory=dict)
    deliveries: dict[tuple[WebhookId, EventId], DeliveryRow] = field(default_factory=dict)
    leases: dict[tuple[WebhookId, EventId], tuple[str, str]] = field(default_factory=dict)
    """Who sends a delivery, and until when."""
    jobs: dict[JobId, JobRow] = field(default_factory=dict)
    job_payloads: dict[JobId, bytes] = field(default_factory=dict)
    job_numbers: dict[int, None] = field(default_factory=dict)
    """Of all jobs that ever were: none is given twice."""
    expected: dict[tuple[RepositoryId, int], ExpectedRow] = field(default_factory=dict)
    """By the order in which they came, as the two tables that follow."""
    validations: dict[tuple[RepositoryId, int], ValidationRow] = field(default_factory=dict)
    attestations: dict[tuple[RepositoryId, int], AttestationRow] = field(default_factory=dict)
    validator_keys: dict[KeyId, ValidatorKey] = field(default_factory=dict)

    def key_of(self, repository: RepositoryId) -> str:
        """Return the key of a repository's name."""
        return next(key for key, row in self.repositories.items() if row.id == repository)

    def advance(self, repository: RepositoryId) -> None:
        """Say that what a repository names or holds has changed."""
        key = self.key_of(repository)
        self.versions[key] = self.versions.get(key, 0) + 1

    def drop_repository(self, repository: RepositoryId) -> None:
        """Remove every row that belongs to a repository."""
        pushes = {key for key, push in self.pushes.items() if push.repository == repository}
        self.repositories = _without(self.repositories, lambda _, row: row.id == repository)
        self.pushes = _without(self.pushes, lambda key, _: key in pushes)
        self.push_commits = _without(self.push_commits, lambda key, _: key[0] in pushes)
        self.push_manifests = _without(self.push_manifests, lambda key, _: key[0] in pushes)
        self.push_documents = _without(self.push_documents, lambda key, _: key[0] in pushes)
        self.notes = _without(self.notes, lambda _, row: row[0] == repository)
        self.refs = _without(self.refs, lambda key, _: key[0] == repository)
        self.retired_tags = _without(self.retired_tags, lambda key, _: key[0] == repository)
        self.uploads = _without(self.uploads, lambda key, _: key[0] == repository)
        self.protections = _without(self.protections, lambda key, _: key[0] == repository)
        self.repository_commits = _without(
            self.repository_commits, lambda key, _: key[0] == repository
        )
        self.repository_files = _without(self.repository_files, lambda key, _: key[0] == repository)
        self.dated = _without(self.dated, lambda key, _: key[0] == repository)
        self.expired = _without(self.expired, lambda key, _: key[0] == repository)
        self.marks = _without(self.marks, lambda key, _: key[1] == repository)
        self.drop_webhooks(lambda webhook: webhook.repository == repository)
        self.drop_jobs(lambda job: job.repository == repository)
        self.drop_validations(lambda owner, _: owner == repository)
        self.objects = {
            key: replace(row, home=None) if row.home == repository else row
            for key, row in self.objects.items()
        }

    def drop_webhooks(self, goes: Callable[[WebhookRecord], bool]) -> None:
        """Remove webhooks with their deliveries."""
        self.webhooks = _without(self.webhooks, lambda _, row: goes(row))
        self.deliveries = _without(self.deliveries, lambda key, _: key[0] not in self.webhooks)
        self.leases = _without(self.leases, lambda key, _: key not in self.deliveries)

    def drop_jobs(self, goes: Callable[[JobRow], bool]) -> None:
        """Remove jobs with their payloads."""
        self.jobs = _without(self.jobs, lambda _, row: goes(row))
        self.job_payloads = _without(self.job_payloads, lambda key, _: key not in self.jobs)

    def drop_validations(self, goes: Callable[[RepositoryId, CommitId], bool]) -> None:
        """Remove what was expected of, seen of and signed about commits."""
        self.expected = _without(self.expected, lambda key, row: goes(key[0], row.commit))
        self.validations = _without(self.validations, lambda key, row: goes(key[0], row.commit))
        self.attestations = _without(self.attestations, lambda key, row: goes(key[0], row.commit))

    def copy(self) -> State:
        """Return a copy that can change without the original; the rows are shared."""
        return State(**{item.name: getattr(self, item.name).copy() for item in fields(self)})


def _without(rows: dict[K, V], goes: Callable[[K, V], bool]) -> dict[K, V]:
    return {key: row for key, row in rows.items() if not goes(key, row)}


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
