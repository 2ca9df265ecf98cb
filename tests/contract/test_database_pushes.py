"""Pushes and uploads, over every database."""

from dataclasses import replace

import pytest

from database_suite.rows import (
    History,
    branch,
    digest,
    make_repository,
    note,
    push_row,
    upload_row,
)
from plait.errors import Internal, NotFound
from plait.model.ids import ManifestId
from plait.model.refs import RefKind, RefName, RefUpdate
from plait_registry.domain.ports import Database
from plait_registry.domain.records import (
    PushId,
    PushRow,
    PushState,
    RepositoryId,
    StagedCommit,
    StagedManifest,
)

COMMITS = [StagedCommit(row.id, row.body) for row in History().chain(5)]
MANIFESTS = [
    StagedManifest(ManifestId(digest(word)), word.encode()) for word in ("one", "two", "three")
]


@pytest.fixture
def repository(database: Database) -> RepositoryId:
    return make_repository(database)


@pytest.fixture
def push(database: Database, repository: RepositoryId) -> PushRow:
    """An open push."""
    row = push_row(repository, branch("main", None, History().add("first")))
    with database.write() as records:
        records.pushes.insert(row)
    return row


def test_push_comes_back_as_it_was(database: Database, repository: RepositoryId) -> None:
    old, new = History().chain(2)
    row = PushRow(
        id=PushId("abc"),
        repository=repository,
        update=RefUpdate(RefKind.TAG, RefName("v1"), old.id, new.id, force=True),
        notes=(note(new, "ünï\u0001"), note(old, "")),
        allow_non_finite=True,
        created_at="2026-11-24T06:07:00Z",
        state=PushState.OPEN,
        result=None,
    )
    with database.write() as records:
        records.pushes.insert(row)
    with database.read() as records:
        assert records.pushes.get(repository, row.id) == row


def test_push_of_another_repository_is_not_found(database: Database, push: PushRow) -> None:
    other = make_repository(database, "team/other")
    for holder, key in ((other, push.id), (push.repository, PushId("absent"))):
        with pytest.raises(NotFound) as caught, database.read() as records:
            records.pushes.get(holder, key)
        assert caught.value.kind == "push-not-found"


def test_push_with_an_id_that_is_taken_is_refused(database: Database, push: PushRow) -> None:
    with pytest.raises(Internal), database.write() as records:
        records.pushes.insert(push)


def test_staged_commits_keep_the_order_in_which_they_came(
    database: Database, push: PushRow
) -> None:
    shuffled = [COMMITS[number] for number in (3, 0, 4, 1, 2)]
    with database.write() as records:
        records.pushes.stage(push.id, shuffled[:3], MANIFESTS[:2])
    with database.write() as records:
        # The last call is repeated, as after a lost answer, with other bodies.
        again = [replace(item, body=b"another") for item in shuffled[:3]]
        records.pushes.stage(push.id, [*again, *shuffled[3:]], MANIFESTS)
        records.pushes.stage(push.id, [], [])
    with database.read() as records:
        commits, manifests = records.pushes.load_staged(push.id)
    assert list(commits) == shuffled
    assert list(manifests) == sorted(MANIFESTS, key=lambda item: item.id)


def test_pushes_stage_apart_from_each_other(
    database: Database, repository: RepositoryId, push: PushRow
) -> None:
    other = push_row(repository, push.update, word="other")
    with database.write() as records:
        records.pushes.insert(other)
        records.pushes.stage(push.id, COMMITS[:1], MANIFESTS[:1])
        records.pushes.stage(other.id, COMMITS[:2], [])
        records.pushes.complete(push.id, {}, [])
        assert records.pushes.load_staged(push.id) == ([], [])
        assert records.pushes.load_staged(other.id) == (COMMITS[:2], [])


def test_staging_for_an_unknown_push_is_refused(database: Database) -> None:
    with pytest.raises(Internal), database.write() as records:
        records.pushes.stage(PushId("absent"), COMMITS, [])


def test_uploads_are_found_by_file_oldest_first(
    database: Database, repository: RepositoryId
) -> None:
    first, second = upload_row(repository, "b"), upload_row(repository, "a")
    third = replace(first, object=digest("another object"), ranges=((0, 10),))
    with database.write() as records:
        records.pushes.insert_uploads([first])
        records.pushes.insert_uploads([second, third])
        records.pushes.insert_uploads([])
    with database.read() as records:
        asked = [first.file, second.file, digest("absent")]
        assert list(records.pushes.find_uploads(repository, asked)) == [first, second, third]
        assert list(records.pushes.find_uploads(repository, [second.file])) == [second]
        assert list(records.pushes.find_uploads(repository, [])) == []


def test_upload_that_is_there_keeps_its_handle(
    database: Database, repository: RepositoryId
) -> None:
    with database.write() as records:
        records.pushes.insert_uploads([upload_row(repository, "a", handle="first")])
        records.pushes.insert_uploads([upload_row(repository, "a", handle="second")])
        (found,) = records.pushes.find_uploads(repository, [digest("a")])
    assert found.handle == "first"


def test_uploads_belong_to_one_repository(database: Database, repository: RepositoryId) -> None:
    other = make_repository(database, "team/other")
    mine, theirs = upload_row(repository, "a"), upload_row(other, "a")
    with database.write() as records:
        records.pushes.insert_uploads([mine, theirs])
        records.pushes.forget_uploads(other, [theirs.object])
        assert list(records.pushes.find_uploads(repository, [mine.file])) == [mine]
        assert list(records.pushes.find_uploads(other, [mine.file])) == []


def test_forgotten_upload_can_be_announced_anew(
    database: Database, repository: RepositoryId
) -> None:
    rows = [upload_row(repository, "a", handle="first"), upload_row(repository, "b")]
    with database.write() as records:
        records.pushes.insert_uploads(rows)
        records.pushes.forget_uploads(repository, [rows[0].object, digest("absent")])
        records.pushes.forget_uploads(repository, [])
        again = replace(rows[0], handle="second")
        records.pushes.insert_uploads([again])
        found = records.pushes.find_uploads(repository, [row.file for row in rows])
    assert list(found) == [rows[1], again]


def test_object_that_is_forgotten_for_one_file_stays_announced_for_others(
    database: Database, repository: RepositoryId
) -> None:
    mine = upload_row(repository, "a")
    same = replace(upload_row(repository, "b"), object=mine.object)
    with database.write() as records:
        records.pushes.insert_uploads([mine, same])
        records.pushes.forget_uploads(repository, [mine.object], mine.file)
        assert list(records.pushes.find_uploads(repository, [mine.file, same.file])) == [same]
        records.pushes.forget_uploads(repository, [mine.object])
        assert list(records.pushes.find_uploads(repository, [mine.file, same.file])) == []


def test_completed_push_keeps_its_answer_and_nothing_else(
    database: Database, push: PushRow
) -> None:
    result = {"ref": {"name": "main"}, "commits": 3, "files": [1, None, True]}
    done, open_still = upload_row(push.repository, "done"), upload_row(push.repository, "open")
    with database.write() as records:
        records.pushes.stage(push.id, COMMITS, MANIFESTS)
        records.pushes.insert_uploads([done, open_still])
        records.pushes.complete(push.id, result, [done.file, digest("absent")])
    with database.read() as records:
        found = records.pushes.get(push.repository, push.id)
        assert found == replace(push, state=PushState.COMPLETED, result=result)
        assert records.pushes.load_staged(push.id) == ([], [])
        left = records.pushes.find_uploads(push.repository, [done.file, open_still.file])
        assert list(left) == [open_still]


def test_push_that_is_completed_twice_keeps_the_first_answer(
    database: Database, push: PushRow
) -> None:
    with database.write() as records:
        records.pushes.complete(push.id, {"commits": 1}, [])
    with database.write() as records:
        records.pushes.complete(push.id, {"commits": 0}, [])
        assert records.pushes.get(push.repository, push.id).result == {"commits": 1}


def test_completing_an_unknown_push_is_refused(database: Database) -> None:
    with pytest.raises(Internal), database.write() as records:
        records.pushes.complete(PushId("absent"), {}, [])
