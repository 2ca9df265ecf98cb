"""Pushing commits: what the registry lacks goes to the store, then the ref moves.

(1) begin: say which ref shall move from where to where, and send the first commits with their
    manifests; the registry answers which bytes it lacks;
(2) stage the other commits in batches, each answered in the same way;
(3) upload what is lacking (`plait.uploads`), in parallel and resumable;
(4) complete: the registry verifies everything and moves the ref in one transaction.

Until (4) nobody sees anything of the push. Each step can be repeated; a push that was interrupted
anywhere begins anew and sends only what had not arrived. One that garbage collection got in the way
of begins anew by itself, once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from plait import wire
from plait.errors import NotFound
from plait.model.address import RepositoryName
from plait.model.commit import Commit
from plait.model.ids import ManifestId
from plait.model.manifest import Manifest
from plait.model.part_sizes import PartSizes
from plait.model.refs import RefUpdate
from plait.progress import NO_PROGRESS, Progress
from plait.transport import Transport, repository_path
from plait.uploads import FindFile, Uploader

LARGEST_BATCH = 30_000_000
"""Bytes of JSON. The largest manifest has 16 MB, so at least one always fits."""
SLOWEST_VERIFICATION = 20_000_000
"""Bytes a second that a busy registry verifies at least; only the patience depends on it."""
LEAST_PATIENCE = 120.0

_SWEPT = frozenset({"object-not-found", "push-not-found"})


@dataclass(frozen=True, slots=True)
class PushRequest:
    """What to push."""

    update: RefUpdate
    commits: Sequence[Commit]
    """That the repository may lack, parents before children."""
    manifests: Mapping[ManifestId, Manifest]
    """Those of `commits`; one that the repository has already may be left out."""
    find_file: FindFile
    notes: Sequence[wire.PushNote] = ()
    allow_non_finite: bool = False


def push_commits(
    transport: Transport,
    repository: RepositoryName,
    request: PushRequest,
    progress: Progress = NO_PROGRESS,
) -> wire.PushResult:
    """Push as the module says and return what the registry did.

    Raises:
        Conflict: the ref is no longer where `request.update` expects it; nothing was published.
        InvalidInput, Integrity: the registry refused a version.
        TooLarge: `quota-exceeded`.
    """
    try:
        return _push_once(transport, repository, request, progress)
    except NotFound as error:
        if error.kind not in _SWEPT:
            raise
    # Garbage collection took something that the push builds on: now the registry asks for it.
    return _push_once(transport, repository, request, progress)


def _push_once(
    transport: Transport,
    repository: RepositoryName,
    request: PushRequest,
    progress: Progress,
) -> wire.PushResult:
    batches = list(_batch(request))
    pushes = repository_path(repository, "/pushes")

    # (1) A repeated begin is a second open push, which nobody sees and garbage collection ends.
    begin = wire.NewPush(
        ref=wire.PushRef(
            kind=request.update.kind.value,
            name=request.update.name,
            expected=request.update.expected,
            new=request.update.new,
            force=request.update.force,
        ),
        staged=batches[0],
        notes=list(request.notes),
        allow_non_finite=request.allow_non_finite,
    )
    answer = transport.call("POST", pushes, body=wire.encode(begin), repeatable=True)
    plan = wire.decode(wire.PushPlan, answer)
    push = f"{pushes}/{plan.push}"
    wanted = {file.sha256: file for file in plan.files}

    # (2) stage the others.
    for batch in batches[1:]:
        answer = transport.call("POST", f"{push}/commits", body=wire.encode(batch), repeatable=True)
        for file in wire.decode(wire.PushPlan, answer).files:
            wanted.setdefault(file.sha256, file)

    # (3) upload what is lacking.
    sizes = PartSizes(plan.largest_whole, plan.part_size)
    uploader = Uploader(transport, push, sizes, request.find_file, progress)
    uploader.upload(list(wanted.values()), salt=bytes.fromhex(plan.salt))

    # (4) complete; verifying takes the registry a while.
    patience = LEAST_PATIENCE + sum(file.size for file in wanted.values()) / SLOWEST_VERIFICATION
    answer = transport.call("POST", f"{push}/complete", patience=patience, repeatable=True)
    return wire.decode(wire.PushResult, answer)


def _batch(request: PushRequest) -> Iterator[wire.StagedCommits]:
    """Yield the commits in batches that one call may carry; one batch at least."""
    batch = wire.StagedCommits([], [])
    size = 0
    sent: set[ManifestId] = set()
    for commit in request.commits:
        manifest = None if commit.manifest in sent else request.manifests.get(commit.manifest)
        cost = len(commit.to_bytes()) + (len(manifest.to_bytes()) if manifest else 0)
        is_full = len(batch.commits) == wire.MOST_COMMITS_PER_CALL or size + cost > LARGEST_BATCH
        if batch.commits and is_full:
            yield batch
            batch, size = wire.StagedCommits([], []), 0
        batch.commits.append(commit.to_json())
        if manifest is not None:
            batch.manifests.append(manifest.to_json())
            sent.add(commit.manifest)
        size += cost
    yield batch
