"""Reading what a repository holds: revisions, commits, manifests and refs.

What is named by a digest is checked against it, so that a registry cannot hand out another commit
or another manifest than the one that was asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from plait import wire
from plait.errors import Integrity, NotFound, Unavailable
from plait.model.address import RepositoryName
from plait.model.commit import Commit
from plait.model.ids import CommitId, ManifestId, parse_commit_id, parse_manifest_id
from plait.model.manifest import Manifest
from plait.model.refs import HEAD, Ref, RefKind, RefName, parse_ref_name
from plait.paging import read_pages
from plait.transport import Query, Transport, repository_path

MANIFESTS_PER_CALL = 100


@dataclass(frozen=True, slots=True)
class CommitInfo:
    """A commit as the log shows it."""

    id: CommitId
    commit: Commit
    generation: int
    """1 for a root, else one more than the highest of the parents."""
    adapter_type: str | None
    size: int
    """Bytes of all files of the version."""
    notes: tuple[wire.Note, ...]
    """Oldest first."""

    @property
    def metrics(self) -> Mapping[str, object]:
        """The newest note of the kind `metrics`; empty where there is none."""
        bodies = [note.body for note in self.notes if note.kind == "metrics"]
        return bodies[-1] if bodies else {}


@dataclass(frozen=True, slots=True)
class Refs:
    """The refs of a repository."""

    branches: Mapping[RefName, CommitId]
    tags: Mapping[RefName, CommitId]
    default_branch: RefName


def resolve(
    transport: Transport, repository: RepositoryName, revision: str
) -> tuple[CommitId, ManifestId]:
    """Return the commit that `revision` names, and its manifest's id.

    Raises:
        NotFound: `revision-not-found`, `repository-not-found`.
        InvalidInput: `invalid-revision`, `revision-ambiguous`.
    """
    answer = transport.call(
        "GET", repository_path(repository, "/resolve"), query={"revision": revision}
    )
    resolved = wire.decode(wire.Resolved, answer)
    return parse_commit_id(resolved.commit), parse_manifest_id(resolved.manifest)


def load_commit(transport: Transport, repository: RepositoryName, commit: CommitId) -> CommitInfo:
    """Return one commit with its notes.

    Raises:
        NotFound: `commit-not-found`.
        Integrity: the registry answered with another one.
    """
    answer = transport.call("GET", repository_path(repository, f"/commits/{commit}"))
    info = read_commit(wire.decode(wire.CommitRecord, answer))
    _verify_identity("commit", commit, info.id)
    return info


def load_manifests(
    transport: Transport, repository: RepositoryName, ids: Sequence[ManifestId]
) -> dict[ManifestId, Manifest]:
    """Return manifests by their ids.

    Raises:
        NotFound: `manifest-not-found`.
        Integrity: the registry answered with another one.
    """
    found: dict[ManifestId, Manifest] = {}
    path = repository_path(repository, "/manifests/query")
    for first in range(0, len(ids), MANIFESTS_PER_CALL):
        wanted = list(ids[first : first + MANIFESTS_PER_CALL])
        request = wire.ManifestRequest(list(wanted))
        answer = transport.call("POST", path, body=wire.encode(request), repeatable=True)
        for record in wire.decode(wire.ManifestList, answer).manifests:
            manifest = Manifest.from_json(record.manifest)
            manifest_id = manifest.id
            _verify_identity("manifest", record.id, manifest_id)
            found[manifest_id] = manifest
        for manifest_id in wanted:
            if manifest_id not in found:
                raise NotFound("manifest-not-found", f"There is no manifest {manifest_id[:12]}.")
    return found


def iter_log(
    transport: Transport,
    repository: RepositoryName,
    revision: str = HEAD,
    *,
    exclude: Sequence[CommitId] = (),
    page_size: int = 100,
) -> Iterator[CommitInfo]:
    """Yield the commits that `revision` reaches, newest first, one page a request.

    `exclude` leaves out those commits and all that they reach.
    """

    def ask(cursor: str | None) -> wire.CommitPage:
        query: Query = {
            "revision": revision,
            "exclude": list(exclude),
            "limit": page_size,
            "cursor": cursor,
        }
        answer = transport.call("GET", repository_path(repository, "/commits"), query=query)
        return wire.decode(wire.CommitPage, answer)

    for page in read_pages(ask):
        for record in page.commits:
            yield read_commit(record)


def read_commit(record: wire.CommitRecord) -> CommitInfo:
    """Return a commit from its wire form.

    Raises:
        Integrity: its document is not the one that its id names.
    """
    commit = Commit.from_json(record.commit)
    commit_id = commit.id
    _verify_identity("commit", record.id, commit_id)
    return CommitInfo(
        id=commit_id,
        commit=commit,
        generation=record.generation,
        adapter_type=record.adapter_type,
        size=record.size,
        notes=tuple(record.notes),
    )


def load_refs(transport: Transport, repository: RepositoryName) -> Refs:
    """Return all refs of the repository."""
    answer = transport.call("GET", repository_path(repository, "/refs"))
    listed = wire.decode(wire.RefList, answer)
    refs = [read_ref(ref) for ref in listed.refs]
    return Refs(
        branches={ref.name: ref.target for ref in refs if ref.kind is RefKind.BRANCH},
        tags={ref.name: ref.target for ref in refs if ref.kind is RefKind.TAG},
        default_branch=parse_ref_name(listed.default_branch),
    )


def read_ref(ref: wire.Ref) -> Ref:
    """Return a ref from its wire form."""
    try:
        kind = RefKind(ref.kind)
    except ValueError as error:
        raise Unavailable(
            "registry-misbehaved", f"The registry names a ref of the unknown kind {ref.kind!r:.40}."
        ) from error
    return Ref(kind, parse_ref_name(ref.name), parse_commit_id(ref.target))


def _verify_identity(what: str, claimed: str, actual: str) -> None:
    if claimed != actual:
        raise Integrity(
            "digest-mismatch",
            f"The registry sent a {what} {actual[:12]} as {claimed[:12]}: do not trust it.",
            expected=claimed,
            actual=actual,
        )
