import hashlib
import random
from pathlib import Path

import pytest

from plait import push, wire
from plait.errors import (
    AlreadyExists,
    InvalidInput,
    NotFound,
    PermissionDenied,
    Unavailable,
)
from plait.model.address import RepositoryName
from plait.model.commit import Base, Commit, Origin, OriginKind, Person
from plait.model.ids import CommitId, ManifestId, ObjectId
from plait.model.manifest import File, Manifest
from plait.model.part_sizes import PartSizes
from plait.model.paths import FilePath
from plait.model.refs import RefKind, RefName, RefUpdate
from plait.progress import NO_PROGRESS, Progress
from plait.push import PushRequest, push_commits
from plait.uploads import Uploader
from reference.memory_transport import SALT, MemoryTransport

DATA = random.Random(2).randbytes(200)
DIGEST = hashlib.sha256(DATA).hexdigest()
SALTED = DATA + SALT
NAME = RepositoryName("a", "b")


@pytest.fixture
def transport() -> MemoryTransport:
    return MemoryTransport()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "x.bytes"
    path.write_bytes(DATA)
    return path


class Counted:
    """A progress that adds up."""

    def __init__(self) -> None:
        self.expected = 0
        self.done = 0

    def total(self, size: int, *, what: str) -> None:
        self.expected += size

    def advance(self, size: int) -> None:
        self.done += size

    def finish(self) -> None:
        pass


def plan(*ranges: tuple[int, int]) -> wire.FilePlan:
    return wire.FilePlan(DIGEST, len(DATA), list(ranges) or [(0, len(DATA))])


def upload(
    transport: MemoryTransport,
    source: Path,
    *plans: wire.FilePlan,
    progress: Progress = NO_PROGRESS,
) -> int:
    sizes = PartSizes(transport.part_size, transport.part_size)
    uploader = Uploader(transport, "/push", sizes, lambda _: source, progress)
    return uploader.upload(plans, salt=SALT)


def arrived(transport: MemoryTransport, data: bytes) -> bytes:
    digest = hashlib.sha256(data + SALT).hexdigest()
    parts = sorted((at, part) for (name, at), part in transport.arrived.items() if name == digest)
    return b"".join(part for _, part in parts)


def test_whole_file_goes_in_parts_each_with_its_digest(
    transport: MemoryTransport, source: Path
) -> None:
    assert upload(transport, source, plan()) == len(SALTED)
    assert arrived(transport, DATA) == SALTED
    assert len(transport.arrived) == 4
    told = transport.calls[0][2]["objects"][0]["parts"]
    assert told == [hashlib.sha256(SALTED[at : at + 64]).hexdigest() for at in range(0, 232, 64)]


def test_object_in_one_request_has_no_parts(transport: MemoryTransport, source: Path) -> None:
    transport.part_size = 500
    upload(transport, source, plan())
    assert transport.calls[0][2]["objects"][0]["parts"] == []
    assert arrived(transport, DATA) == SALTED


@pytest.mark.parametrize("ranges", [[(0, 10), (150, 200)], [(3, 4)], [(0, 100), (199, 200)]])
def test_ranges_go_joined_as_one_object(
    transport: MemoryTransport, source: Path, ranges: list[tuple[int, int]]
) -> None:
    joined = b"".join(DATA[begin:end] for begin, end in ranges)
    assert upload(transport, source, plan(*ranges)) == len(joined) + len(SALT)
    assert arrived(transport, joined) == joined + SALT
    (_, _, body) = transport.calls[0]
    assert body["objects"][0]["file"] == DIGEST
    assert body["objects"][0]["sha256"] == hashlib.sha256(joined + SALT).hexdigest()


def test_empty_file_is_uploaded(transport: MemoryTransport, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    nothing = wire.FilePlan(hashlib.sha256(b"").hexdigest(), 0, [(0, 0)])
    upload(transport, tmp_path / "empty", nothing)
    assert list(transport.arrived.values()) == [SALT]


def test_parts_that_arrived_are_not_sent_again(transport: MemoryTransport, source: Path) -> None:
    transport.arrived[hashlib.sha256(SALTED).hexdigest(), 64] = DATA[64:128]
    assert upload(transport, source, plan()) == len(SALTED) - 64
    assert arrived(transport, DATA) == SALTED


def test_object_that_is_there_already_is_no_error(transport: MemoryTransport, source: Path) -> None:
    transport.part_size = 500
    transport.faults = [AlreadyExists("object-exists", "There.")]
    upload(transport, source, plan())
    assert transport.arrived == {}


def test_expired_signature_is_asked_for_again(transport: MemoryTransport, source: Path) -> None:
    transport.faults = [PermissionDenied("signed-url-expired", "Late.")] * 2
    upload(transport, source, plan())
    assert arrived(transport, DATA) == SALTED


def test_upload_that_the_store_dropped_is_asked_for_again(
    transport: MemoryTransport, source: Path
) -> None:
    transport.faults = [NotFound("upload-not-found", "Dropped.")]
    upload(transport, source, plan())
    assert arrived(transport, DATA) == SALTED


def test_signature_that_never_holds_ends_the_push(transport: MemoryTransport, source: Path) -> None:
    transport.faults = [PermissionDenied("signed-url-invalid", "No.")] * 50
    with pytest.raises(PermissionDenied):
        upload(transport, source, plan())


def test_store_that_is_away_ends_the_push(transport: MemoryTransport, source: Path) -> None:
    transport.faults = [Unavailable("registry-unreachable", "Gone.")] * 50
    with pytest.raises(Unavailable):
        upload(transport, source, plan())


@pytest.mark.parametrize("content", [b"other" * 40, DATA[:50], b""])
def test_file_that_changed_since_it_was_described_is_told(
    transport: MemoryTransport, source: Path, content: bytes
) -> None:
    transport.part_size = 500
    source.write_bytes(content)
    with pytest.raises(InvalidInput, match="nothing was published") as caught:
        upload(transport, source, plan())
    assert caught.value.kind == "file-changed"


def test_file_that_went_away_is_told(transport: MemoryTransport, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput) as caught:
        upload(transport, tmp_path / "absent", plan())
    assert caught.value.kind == "file-changed"


def test_progress_counts_each_byte_once(transport: MemoryTransport, source: Path) -> None:
    progress = Counted()
    transport.faults = [PermissionDenied("signed-url-expired", "Late.")]
    upload(transport, source, plan(), progress=progress)
    assert (progress.expected, progress.done) == (len(SALTED), len(SALTED))


def commit(manifest: ManifestId, number: int, *parents: CommitId) -> Commit:
    return Commit(
        manifest=manifest,
        parents=parents,
        author=Person("Ada", ""),
        time="2026-11-24T06:07:00Z",
        message=f"Number {number}",
        base=Base("micro/base"),
        origin=Origin(OriginKind.TRAINING),
    )


def chain(length: int) -> tuple[list[Commit], Manifest]:
    manifest = Manifest.of([File(FilePath("a.txt"), len(DATA), ObjectId(DIGEST), None)])
    commits: list[Commit] = []
    for number in range(length):
        parents = (commits[-1].id,) if commits else ()
        commits.append(commit(manifest.id, number, *parents))
    return commits, manifest


def request(commits: list[Commit], manifest: Manifest, source: Path) -> PushRequest:
    update = RefUpdate(RefKind.BRANCH, RefName("main"), None, commits[-1].id)
    return PushRequest(update, commits, {manifest.id: manifest}, lambda _: source)


def test_push_takes_its_steps_in_order(transport: MemoryTransport, source: Path) -> None:
    transport.plan = transport.plan_for(plan())
    commits, manifest = chain(1)
    result = push_commits(transport, NAME, request(commits, manifest, source))
    assert result.bytes_stored == 3
    root = "/api/v1/repositories/a/b/pushes"
    assert [path for _, path, _ in transport.calls] == [
        root,
        f"{root}/p1/uploads",
        f"{root}/p1/complete",
    ]
    assert arrived(transport, DATA) == SALTED


def test_push_with_nothing_lacking_uploads_nothing(
    transport: MemoryTransport, source: Path
) -> None:
    commits, manifest = chain(1)
    push_commits(transport, NAME, request(commits, manifest, source))
    assert [path.rpartition("/")[2] for _, path, _ in transport.calls] == ["pushes", "complete"]


def test_long_history_is_staged_in_batches(transport: MemoryTransport, source: Path) -> None:
    commits, manifest = chain(250)
    push_commits(transport, NAME, request(commits, manifest, source))
    first, second, third = (body for _, _, body in transport.calls[:3])
    staged = [first["staged"], second, third]
    assert [len(batch["commits"]) for batch in staged] == [100, 100, 50]
    assert [len(batch["manifests"]) for batch in staged] == [1, 0, 0]
    sent = [Commit.from_json(document) for batch in staged for document in batch["commits"]]
    assert sent == commits


def test_batches_stay_under_the_size_of_a_request(
    transport: MemoryTransport, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(push, "LARGEST_BATCH", 1000)
    commits, manifest = chain(7)
    push_commits(transport, NAME, request(commits, manifest, source))
    assert len(transport.calls) > 3


def test_ref_can_move_to_a_commit_that_is_there(transport: MemoryTransport, source: Path) -> None:
    update = RefUpdate(RefKind.TAG, RefName("v1"), None, CommitId("0" * 64))
    push_commits(transport, NAME, PushRequest(update, [], {}, lambda _: source))
    (_, _, body) = transport.calls[0]
    assert body["ref"]["kind"] == "tag"
    assert body["staged"] == {"commits": [], "manifests": []}
