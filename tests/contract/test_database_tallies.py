"""What every database counts, for the limits that services set."""

from dataclasses import replace
from typing import Any

from database_suite.rows import (
    NOW,
    History,
    branch,
    digest,
    make_repository,
    push_row,
    store_commits,
    tag,
)
from plait.model.ids import CommitId, ManifestId
from plait_registry.domain.ports import Database
from plait_registry.domain.records import NoteRow, PushId, StagedCommit, StagedManifest
from plait_registry.domain.tallies import NoteTally, measure_body


def test_repositories_of_a_namespace_are_counted(database: Database) -> None:
    for name in ("team/a", "team/b", "teams/c", "tea/d"):
        make_repository(database, name)
    with database.read() as records:
        assert records.tallies.count_repositories("team") == 2
        assert records.tallies.count_repositories("absent") == 0


def test_branches_and_tags_of_one_repository_are_counted(database: Database) -> None:
    repository, other = make_repository(database), make_repository(database, "team/other")
    commit = History().add("commit")
    for owner in (repository, other):
        store_commits(database, owner, [commit])
    with database.write() as records:
        assert records.tallies.count_refs(repository) == 0
        records.refs.compare_and_set(repository, branch("main", None, commit))
        records.refs.compare_and_set(repository, tag("v1", commit))
        records.refs.compare_and_set(other, branch("main", None, commit))
        assert records.tallies.count_refs(repository) == 2


def test_open_pushes_of_one_repository_are_counted(database: Database) -> None:
    repository, other = make_repository(database), make_repository(database, "team/other")
    update = branch("main", None, History().add("commit"))
    with database.write() as records:
        for word, owner in (("a", repository), ("b", repository), ("c", other)):
            records.pushes.insert(push_row(owner, update, word=word))
        assert records.tallies.count_open_pushes(repository) == 2
        records.pushes.complete(PushId("a"), {}, [])
        assert records.tallies.count_open_pushes(repository) == 1


def test_staged_bytes_of_one_push_are_measured(database: Database) -> None:
    repository = make_repository(database)
    update = branch("main", None, History().add("commit"))
    commit = StagedCommit(CommitId(digest("c")), b"a commit")
    manifests = [StagedManifest(ManifestId(digest(word)), word.encode()) for word in ("m", "nn")]
    with database.write() as records:
        for word in ("a", "b"):
            records.pushes.insert(push_row(repository, update, word=word))
        assert records.tallies.measure_staged(PushId("a")) == 0
        records.pushes.stage(PushId("a"), [commit], manifests)
        records.pushes.stage(PushId("a"), [commit], [])
        records.pushes.stage(PushId("b"), [commit], [])
        assert records.tallies.measure_staged(PushId("a")) == len(b"a commitmnn")


def test_notes_are_counted_and_measured_by_commit(database: Database) -> None:
    repository, other = make_repository(database), make_repository(database, "team/other")
    first, second, bare = History().chain(3)
    for owner in (repository, other):
        store_commits(database, owner, [first, second, bare])
    bodies: list[dict[str, Any]] = [
        {"text": "plain"},
        {"text": "Größe 🧶", "list": [1, None, 0.5]},
        {},
    ]
    notes = [NoteRow(first.id, "metrics", body, NOW) for body in bodies]
    with database.write() as records:
        records.commits.insert_notes(repository, [*notes, replace(notes[0], commit=second.id)])
        records.commits.insert_notes(other, notes)
    with database.read() as records:
        found = records.tallies.measure_notes(repository, [first.id, second.id, bare.id])
        assert records.tallies.measure_notes(repository, []) == {}
    assert found == {
        first.id: NoteTally(3, sum(map(measure_body, bodies))),
        second.id: NoteTally(1, measure_body(bodies[0])),
    }
