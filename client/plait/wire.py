"""The shapes of the HTTP API: what both sides write and read, as plain frozen dataclasses.

The registry hands these classes to FastAPI, which validates requests against them and describes
them in OpenAPI; the client builds and reads them with `encode` and `decode`, which need nothing
but the standard library. Documents whose bytes matter (commits and manifests) travel as their
canonical JSON and are parsed by `plait.model`.

`decode` ignores fields that it does not know, so that a newer registry can answer an older client.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from dataclasses import dataclass, field
from functools import cache
from typing import Any, TypeVar

from plait.errors import Unavailable

API_PREFIX = "/api/v1"
REQUEST_ID_HEADER = "X-Request-Id"
CHECKSUM_HEADER = "x-amz-checksum-sha256"
"""Of a body that goes to an object store: its sha256 in base64, as S3 names it."""
MOST_COMMITS_PER_CALL = 100
MOST_FILES_PER_CALL = 1_000

T = TypeVar("T")


def about(description: str, **options: Any) -> Any:
    """Return a dataclass field with a description, which OpenAPI shows."""
    return field(metadata={"description": description}, **options)


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """What answers at this address."""

    name: str = about("Always `plait`.")
    version: str = about("Of the registry's program.")
    largest_request: int = about("Bytes of the largest JSON request that is accepted.")


@dataclass(frozen=True, slots=True)
class NewRepository:
    """A wish for a repository."""

    namespace: str = about("A person's or an organisation's name.")
    name: str = about("The repository's name inside its namespace.")
    description: str = about("One line for people.", default="")
    private: bool = about("Only who has a role in the namespace may see it.", default=True)
    kind: str = about("`adapter` or `base`: what its versions are.", default="adapter")


@dataclass(frozen=True, slots=True)
class RepositoryUpdate:
    """What shall change about a repository; null leaves something as it is."""

    description: str | None = about("One line for people.", default=None)
    private: bool | None = about("Only who has a role in the namespace may see it.", default=None)
    validate_on: str | None = about(
        "`tag`, `push` or `none`: when validations are asked for by themselves.", default=None
    )


@dataclass(frozen=True, slots=True)
class Repository:
    """One line of work on adapters, or on a base model."""

    namespace: str = about("A person's or an organisation's name.")
    name: str = about("The repository's name inside its namespace.")
    description: str = about("One line for people.")
    default_branch: str = about("The branch that `HEAD` means.")
    head: str | None = about("The default branch's commit; null while it has none.")
    created_at: str = about("UTC, as 2026-11-24T06:07:00Z.")
    adapter_type: str | None = about("PEFT's type of the adapter at the head, STACK or BASE.")
    base: str | None = about("The base model's name at the head.")
    private: bool = about("Only who has a role in the namespace may see it.", default=False)
    kind: str = about("`adapter` or `base`: what its versions are.", default="adapter")
    validate_on: str = about(
        "`tag`, `push` or `none`: when validations are asked for by themselves.", default="none"
    )


@dataclass(frozen=True, slots=True)
class RepositoryPage:
    """Some repositories, sorted by name."""

    repositories: list[Repository] = about("Sorted by name.")
    next: str | None = about("Send this as `cursor` for the next page; null on the last.")


@dataclass(frozen=True, slots=True)
class Ref:
    """A name and the commit that it points at."""

    kind: str = about("`branch` or `tag`.")
    name: str = about("May hold slashes.")
    target: str = about("A commit id.")


@dataclass(frozen=True, slots=True)
class RefList:
    """All refs of a repository."""

    refs: list[Ref] = about("Sorted by kind and name.")
    default_branch: str = about("The branch that `HEAD` means.")


@dataclass(frozen=True, slots=True)
class NewRef:
    """A wish for a branch or tag."""

    kind: str = about("`branch` or `tag`.")
    name: str = about("May hold slashes; shared by branches and tags.")
    revision: str = about("Where it shall point: any revision of the repository.")


@dataclass(frozen=True, slots=True)
class RefMove:
    """A wish to move a branch, by compare-and-swap."""

    expected: str = about("The commit id that the branch must point at now.")
    new: str = about("A commit id that is in the repository.")
    force: bool = about("Allow a move that leaves commits behind.", default=False)


@dataclass(frozen=True, slots=True)
class Resolved:
    """What a revision names."""

    commit: str = about("The commit id.")
    manifest: str = about("The manifest id of that commit.")


@dataclass(frozen=True, slots=True)
class Note:
    """Facts that hang on a commit, outside its id: metrics, evaluation results."""

    kind: str = about("What the facts are, as `metrics`.")
    body: dict[str, Any] = about("Any JSON object.")
    created_at: str = about("UTC; set by the registry.", default="")


@dataclass(frozen=True, slots=True)
class NoteList:
    """The notes of a commit."""

    notes: list[Note] = about("Oldest first.")


@dataclass(frozen=True, slots=True)
class CommitRecord:
    """A commit as the log shows it."""

    id: str = about("The commit id.")
    commit: dict[str, Any] = about("The commit's document (format plait.commit/1).")
    generation: int = about("1 for a root, else one more than the highest of the parents.")
    adapter_type: str | None = about("PEFT's type of the adapter, or STACK; null for none.")
    size: int = about("Bytes of all files of the version.")
    notes: list[Note] = about("Oldest first.", default_factory=list)


@dataclass(frozen=True, slots=True)
class CommitPage:
    """A part of the log: every commit before its ancestors, newest first."""

    commits: list[CommitRecord] = about("Newest first.")
    next: str | None = about("Send this as `cursor` for the next page; null on the last.")


@dataclass(frozen=True, slots=True)
class MergeBases:
    """The best common ancestors of two commits."""

    bases: list[str] = about("Commit ids; usually one, none where histories are unrelated.")


@dataclass(frozen=True, slots=True)
class VersionDiff:
    """What changed between two commits, but for what only the weights themselves can tell."""

    old: str = about("A commit id.")
    new: str = about("A commit id.")
    config: list[dict[str, Any]] = about("Fields of adapter_config.json whose meaning changed.")
    manifest: dict[str, Any] = about("Files and tensors: added, removed, renamed, changed.")


@dataclass(frozen=True, slots=True)
class ManifestRequest:
    """Which manifests to send."""

    ids: list[str] = about("At most 100 manifest ids.")


@dataclass(frozen=True, slots=True)
class ManifestRecord:
    """A manifest under its id."""

    id: str = about("The manifest id.")
    manifest: dict[str, Any] = about("The document (format plait.manifest/1).")


@dataclass(frozen=True, slots=True)
class ManifestList:
    """The manifests that were asked for."""

    manifests: list[ManifestRecord] = about("In the order of the request.")


@dataclass(frozen=True, slots=True)
class DownloadRequest:
    """Which files to sign reads for."""

    files: list[str] = about("At most 1,000 file digests of the repository.")


@dataclass(frozen=True, slots=True)
class Extent:
    """A range of an object that is a part of a file; a file is its extents in order."""

    object: int = about("Index into `objects`, of the request that allows this range.")
    offset: int = about("First byte inside the object.")
    size: int = about("Bytes.")


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """A request that its signature allows whoever holds it to send, for a while."""

    method: str = about("GET or PUT.")
    url: str = about("Absolute, or a path on the registry itself.")
    headers: dict[str, str] = about("Send exactly these besides the client's own.")


@dataclass(frozen=True, slots=True)
class FileSource:
    """Where a file's bytes are."""

    sha256: str = about("The file's digest.")
    size: int = about("Bytes.")
    extents: list[Extent] = about("In the order of the file's bytes.")


@dataclass(frozen=True, slots=True)
class Downloads:
    """Where the bytes of files are, as signed reads."""

    files: list[FileSource] = about("In the order of the request.")
    objects: list[SignedRequest] = about(
        "Each allows any range of one object; where it has a header `range`, that one only: the "
        "object then holds more than the caller may read, and no other range is answered."
    )


@dataclass(frozen=True, slots=True)
class PushRef:
    """The ref that a push moves or makes."""

    kind: str = about("`branch` or `tag`.")
    name: str = about("May hold slashes.")
    expected: str | None = about("The commit id it must point at now; null: it must not exist.")
    new: str = about("The commit id it shall point at: in the push, or in the repository already.")
    force: bool = about("Allow a move that leaves commits behind.", default=False)


@dataclass(frozen=True, slots=True)
class PushNote:
    """A note to hang on a commit of the push."""

    commit: str = about("A commit id.")
    kind: str = about("What the facts are, as `metrics`.")
    body: dict[str, Any] = about("Any JSON object.")


@dataclass(frozen=True, slots=True)
class StagedCommits:
    """Commits and the manifests that they name, to be made part of a push."""

    commits: list[dict[str, Any]] = about("Documents; parents before children; at most 100.")
    manifests: list[dict[str, Any]] = about("Documents that the registry may not have yet.")


@dataclass(frozen=True, slots=True)
class NewPush:
    """The first step of a push: what it wants, and its first commits."""

    ref: PushRef = about("The ref that the push moves when it completes.")
    staged: StagedCommits = about("The first commits; more can follow.")
    notes: list[PushNote] = about("Written when the push completes.", default_factory=list)
    allow_non_finite: bool = about("Accept NaN and infinity in weights.", default=False)


@dataclass(frozen=True, slots=True)
class FilePlan:
    """A file that the registry lacks, and which of its bytes it wants.

    The wanted ranges and the salt of the plan, joined, are one object to upload. All of the file is
    one range; less than that where the registry holds the other tensors already.
    """

    sha256: str = about("The file's digest.")
    size: int = about("Bytes of the file.")
    ranges: list[tuple[int, int]] = about("Begin and end of each wanted range, in order.")


@dataclass(frozen=True, slots=True)
class PushPlan:
    """What a push still has to upload."""

    push: str = about("The push's id.")
    files: list[FilePlan] = about("Files to upload, of the commits that were just staged.")
    bytes_known: int = about("Bytes of the staged versions that need no upload.")
    salt: str = about("Hexadecimal bytes that every object of the push ends with.")
    largest_whole: int = about("Bytes. Objects up to this size go in one request.")
    part_size: int = about("Bytes of each part of a larger one; doubled while they are over 1,000.")


@dataclass(frozen=True, slots=True)
class NewObject:
    """An object that the client is about to upload."""

    file: str = about("The digest of the file that it belongs to.")
    ranges: list[tuple[int, int]] = about("The plan's ranges of the file, which it joins.")
    sha256: str = about("The object's digest, the salt included.")
    size: int = about("Bytes: the sum of the ranges, and the salt.")
    parts: list[str] = about(
        "The digest of each part, in order; none for an object that goes in one request.",
        default_factory=list,
    )


@dataclass(frozen=True, slots=True)
class UploadRequest:
    """Objects to sign uploads for."""

    objects: list[NewObject] = about("At most 1,000.")


@dataclass(frozen=True, slots=True)
class UploadPart:
    """A range of an object to send by one request."""

    offset: int = about("First byte inside the object.")
    size: int = about("Bytes.")
    request: SignedRequest | None = about("Null: this part arrived already.")


@dataclass(frozen=True, slots=True)
class Upload:
    """How to upload one object."""

    sha256: str = about("The object's digest.")
    parts: list[UploadPart] = about("Empty: the object arrived already.")


@dataclass(frozen=True, slots=True)
class Uploads:
    """How to upload the objects that were asked for."""

    uploads: list[Upload] = about("In the order of the request.")


@dataclass(frozen=True, slots=True)
class PushResult:
    """A completed push."""

    ref: Ref = about("Where the ref points now.")
    commits: int = about("Commits that were new to the repository.")
    bytes_verified: int = about("Bytes that the registry read to verify new files.")
    bytes_stored: int = about("Bytes of the objects that the push added.")


def encode(value: Any) -> Any:
    """Return the JSON value of a wire dataclass (or of lists and dicts of them)."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: encode(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, list | tuple):
        return [encode(item) for item in value]
    if isinstance(value, dict):
        return {key: encode(item) for key, item in value.items()}
    return value


def decode(cls: type[T], value: object) -> T:
    """Return the wire dataclass that a registry's JSON answer holds.

    Raises:
        Unavailable: the answer does not have that shape: no plait registry, or a broken one.
    """
    try:
        return typing.cast("T", _decode(cls, value))
    except (TypeError, KeyError, ValueError) as error:
        raise Unavailable(
            "registry-misbehaved",
            f"The registry's answer is not a {cls.__name__} ({error}): is the address right?",
        ) from error


def _decode(kind: Any, value: Any) -> Any:
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        value = _expect(dict, value)
        hints = _hints(kind)
        return kind(
            **{
                f.name: _decode(hints[f.name], value[f.name])
                for f in dataclasses.fields(kind)
                if f.name in value or not _has_default(f)
            }
        )
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        inner = next(argument for argument in arguments if argument is not type(None))
        return None if value is None else _decode(inner, value)
    if origin is list:
        return [_decode(arguments[0], item) for item in _expect(list, value)]
    if origin is tuple:
        return tuple(_decode(k, v) for k, v in zip(arguments, _expect(list, value), strict=True))
    if origin is dict:
        return {key: _decode(arguments[1], item) for key, item in _expect(dict, value).items()}
    return value if kind is Any else _expect(kind, value)


def _expect(kind: type[T], value: object) -> T:
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise TypeError(f"expected {kind.__name__}, got {type(value).__name__}")
    return value


@cache
def _hints(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _has_default(item: dataclasses.Field[Any]) -> bool:
    return (
        item.default is not dataclasses.MISSING or item.default_factory is not dataclasses.MISSING
    )
