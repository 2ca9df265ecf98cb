"""What the registry keeps, as values: the rows that cross the ports of `ports.py`.

No database row and no HTTP shape: adapters translate on one side, the API on the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NewType

from plait.model.address import RepositoryName
from plait.model.ids import CommitId, ManifestId, ObjectId
from plait.model.refs import RefName, RefUpdate
from plait.model.repository_kind import RepositoryKind
from plait_registry.domain.access import Readable
from plait_registry.domain.validation_wish import ValidationTrigger

RepositoryId = NewType("RepositoryId", int)
PushId = NewType("PushId", str)


@dataclass(frozen=True, slots=True)
class RepositoryRecord:
    """A repository, with what its default branch points at."""

    id: RepositoryId
    name: RepositoryName
    description: str
    private: bool
    """Only who has a role in the namespace may see it."""
    salt: bytes
    """Ends every object that is uploaded to it: see `plait_registry.domain.dedup`."""
    default_branch: RefName
    created_at: str
    head: CommitId | None
    adapter_type: str | None
    base: str | None
    kind: RepositoryKind = RepositoryKind.ADAPTER
    validate_on: ValidationTrigger = ValidationTrigger.NONE
    """When validations are asked for without anybody asking."""


@dataclass(frozen=True, slots=True)
class NewRepository:
    """A repository that is about to be made."""

    name: RepositoryName
    description: str
    created_at: str
    private: bool
    salt: bytes
    kind: RepositoryKind = RepositoryKind.ADAPTER


@dataclass(frozen=True, slots=True)
class RepositoryQuery:
    """Which repositories to list; None and "" mean any."""

    readable: Readable
    text: str = ""
    """A part of `namespace/name` or of the description, in any case."""
    namespace: str | None = None
    base: str | None = None
    """The base model's name at the head, exactly."""
    adapter_type: str | None = None
    """PEFT's type at the head, STACK or BASE, exactly (upper case)."""
    kind: RepositoryKind | None = None
    after: str | None = None
    """Only names (as `RepositoryName.key`) that sort after this one."""
    limit: int = 50


@dataclass(frozen=True, slots=True)
class CommitRow:
    """A commit with what the registry indexes about it."""

    id: CommitId
    body: bytes
    """Its canonical JSON."""
    manifest: ManifestId
    parents: tuple[CommitId, ...]
    generation: int
    """1 for a root, else one more than the highest of the parents."""
    depth: int
    """Number of first-parent ancestors."""
    skip: CommitId | None
    """A first-parent ancestor some way back; see `plait_registry.domain.ancestry`."""
    time: str
    adapter_type: str | None
    base: str
    size: int
    """Bytes of all files of the version."""


@dataclass(frozen=True, slots=True)
class NoteRow:
    """Facts that hang on a commit."""

    commit: CommitId
    kind: str
    body: Mapping[str, Any]
    created_at: str


@dataclass(frozen=True, slots=True)
class Extent:
    """A range of an object; a file is its extents in order."""

    object: ObjectId
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class TensorRow:
    """A tensor of a stored file, for finding its bytes again by digest."""

    sha256: ObjectId
    offset: int
    """First byte, counted from the start of the file."""
    size: int


@dataclass(frozen=True, slots=True)
class FileRow:
    """A verified file and where its bytes are."""

    sha256: ObjectId
    size: int
    extents: tuple[Extent, ...]
    """They join to exactly the file's bytes; none of size 0."""
    table: ObjectId | None
    """sha256 of the tensor table's canonical JSON; None for files that are not safetensors, and for
    those whose weights were accepted without a look at NaN and infinity."""
    tensors: tuple[TensorRow, ...]
    """Empty for files that are not safetensors."""
    document: ObjectId | None = None
    """The object from which `extents` can be rebuilt; see `plait_registry.domain.extents`."""


@dataclass(frozen=True, slots=True)
class ObjectRow:
    """A verified object."""

    sha256: ObjectId
    size: int
    home: RepositoryId | None = None
    """The repository that it was uploaded to, where that is known and still there."""


class PushState(StrEnum):
    """Where a push stands."""

    OPEN = "open"  # commits are staged, objects arrive
    COMPLETED = "completed"  # its ref moved; a repeated completion gets the same answer


@dataclass(frozen=True, slots=True)
class PushRow:
    """A push under way."""

    id: PushId
    repository: RepositoryId
    update: RefUpdate
    notes: tuple[NoteRow, ...]
    allow_non_finite: bool
    created_at: str
    state: PushState
    result: Mapping[str, Any] | None
    """What a completed push answered."""


@dataclass(frozen=True, slots=True)
class StagedCommit:
    """A commit of an open push; nobody sees it yet."""

    id: CommitId
    body: bytes


@dataclass(frozen=True, slots=True)
class StagedManifest:
    """A manifest of an open push; nobody sees it yet."""

    id: ManifestId
    body: bytes


@dataclass(frozen=True, slots=True)
class UploadRow:
    """An object that a push announced; resumed pushes of the repository find it again."""

    repository: RepositoryId
    file: ObjectId
    """The file that it belongs to."""
    ranges: tuple[tuple[int, int], ...]
    """Which bytes of the file the object joins, in order."""
    object: ObjectId
    size: int
    handle: str
    """What the store knows the upload by."""
