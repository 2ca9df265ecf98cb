from typing import Any

import pytest

from plait import wire
from plait.errors import Integrity, NotFound, Unavailable
from plait.lookup import (
    iter_log,
    load_commit,
    load_manifests,
    load_refs,
    read_commit,
    read_ref,
    resolve,
)
from plait.model.address import RepositoryName
from plait.model.commit import Base, Commit, Origin, OriginKind, Person
from plait.model.ids import CommitId, ManifestId, ObjectId
from plait.model.manifest import File, Manifest
from plait.model.paths import FilePath
from reference.memory_transport import MemoryTransport

NAME = RepositoryName("a", "b")
MANIFEST = Manifest.of([File(FilePath("a.txt"), 1, ObjectId("0" * 64), None)])


class Answers(MemoryTransport):
    """A transport that answers from a list and keeps the queries."""

    def __init__(self, *answers: Any) -> None:
        super().__init__()
        self.answers = list(answers)
        self.queries: list[Any] = []

    def call(self, method: str, path: str, **options: Any) -> Any:
        self.queries.append(options.get("query"))
        return wire.encode(self.answers.pop(0))


def record(number: int, *notes: wire.Note) -> wire.CommitRecord:
    commit = Commit(
        manifest=MANIFEST.id,
        parents=(),
        author=Person("Ada", ""),
        time="2026-11-24T06:07:00Z",
        message=f"Number {number}",
        base=Base("micro/base"),
        origin=Origin(OriginKind.TRAINING),
    )
    return wire.CommitRecord(commit.id, commit.to_json(), number, "LORA", 1, list(notes))


def test_revision_becomes_a_commit_and_a_manifest() -> None:
    transport = Answers(wire.Resolved("c" * 64, "d" * 64))
    assert resolve(transport, NAME, "main~2") == ("c" * 64, "d" * 64)
    assert transport.queries == [{"revision": "main~2"}]


def test_log_reads_page_after_page() -> None:
    pages = [
        wire.CommitPage([record(3), record(2)], "next"),
        wire.CommitPage([record(1)], None),
    ]
    transport = Answers(*pages)
    subjects = [info.commit.subject for info in iter_log(transport, NAME, exclude=[CommitId("x")])]
    assert subjects == ["Number 3", "Number 2", "Number 1"]
    assert [query["cursor"] for query in transport.queries] == [None, "next"]
    assert transport.queries[0]["exclude"] == ["x"]


def test_log_that_does_not_end_is_stopped() -> None:
    page = wire.CommitPage([], "same")
    with pytest.raises(Unavailable):
        list(iter_log(Answers(page, page), NAME))


def test_metrics_are_the_newest_note_of_that_kind() -> None:
    info = read_commit(
        record(
            1,
            wire.Note("metrics", {"loss": 2}),
            wire.Note("metrics", {"loss": 1}),
            wire.Note("eval", {"x": 1}),
        )
    )
    assert info.metrics == {"loss": 1}
    assert read_commit(record(1)).metrics == {}


def test_commit_under_another_id_is_not_believed() -> None:
    forged = wire.CommitRecord("f" * 64, record(1).commit, 1, None, 1)
    with pytest.raises(Integrity):
        read_commit(forged)


def test_commit_that_was_not_asked_for_is_not_believed() -> None:
    wanted, other = record(1), record(2)
    assert load_commit(Answers(wanted), NAME, CommitId(wanted.id)).id == wanted.id
    with pytest.raises(Integrity):
        load_commit(Answers(other), NAME, CommitId(wanted.id))


def test_manifest_is_checked_against_its_id() -> None:
    good = wire.ManifestList([wire.ManifestRecord(MANIFEST.id, MANIFEST.to_json())])
    assert load_manifests(Answers(good), NAME, [MANIFEST.id]) == {MANIFEST.id: MANIFEST}
    forged = wire.ManifestList([wire.ManifestRecord("f" * 64, MANIFEST.to_json())])
    with pytest.raises(Integrity):
        load_manifests(Answers(forged), NAME, [ManifestId("f" * 64)])


def test_manifest_that_was_not_sent_is_missing() -> None:
    good = wire.ManifestList([wire.ManifestRecord(MANIFEST.id, MANIFEST.to_json())])
    with pytest.raises(NotFound):
        load_manifests(Answers(good), NAME, [MANIFEST.id, ManifestId("f" * 64)])


def test_refs_are_told_apart_by_kind() -> None:
    listed = wire.RefList(
        [wire.Ref("branch", "main", "a" * 64), wire.Ref("tag", "v1", "b" * 64)], "main"
    )
    refs = load_refs(Answers(listed), NAME)
    assert refs.branches == {"main": "a" * 64}
    assert refs.tags == {"v1": "b" * 64}
    with pytest.raises(Unavailable, match="unknown kind"):
        read_ref(wire.Ref("planet", "x", "a" * 64))
