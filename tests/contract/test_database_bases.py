"""Which commits are versions of bases: the same of every database."""

from collections.abc import Sequence

import pytest

from database_suite.rows import ALL, NOW, History, make_repository, store_commits
from plait.errors import Internal
from plait.model.address import RepositoryName
from plait.model.ids import CommitId, ObjectId, hash_bytes
from plait.model.repository_kind import RepositoryKind
from plait_registry.domain.access import Readable
from plait_registry.domain.bases import BaseQuery, BaseRow, HeldBase
from plait_registry.domain.garbage import RowKind
from plait_registry.domain.ports import Database
from plait_registry.domain.records import NewRepository, RepositoryId, RepositoryQuery

ONE, TWO = ObjectId(hash_bytes(b"one")), ObjectId(hash_bytes(b"two"))
NOBODY = Readable(frozenset(), None, frozenset())


def row(commit: CommitId, name: str = "org/one", fingerprint: ObjectId = ONE) -> BaseRow:
    return BaseRow(commit, name, None if name == "org/one" else "r2", fingerprint)


def search(database: Database, **query: object) -> Sequence[HeldBase]:
    with database.read() as records:
        return records.bases.search(BaseQuery(**{"readable": ALL, **query}))  # type: ignore[arg-type]


@pytest.fixture
def repository(database: Database) -> RepositoryId:
    return make_repository(database)


@pytest.fixture
def commits(database: Database, repository: RepositoryId) -> list[CommitId]:
    rows = History().chain(3)
    store_commits(database, repository, rows)
    ids = [item.id for item in rows]
    with database.write() as records:
        records.bases.insert([row(ids[0]), row(ids[1], "org/two", TWO)])
    return ids


def test_bases_are_found_by_fingerprint_and_name(
    database: Database, commits: list[CommitId]
) -> None:
    name = RepositoryName("team", "sql")
    one = HeldBase(name, row(commits[0]), NOW, 1)
    two = HeldBase(name, row(commits[1], "org/two", TWO), NOW, 2)
    assert search(database) == sorted([one, two], key=lambda item: item.row.commit)
    assert search(database, fingerprint=TWO) == [two]
    assert search(database, name="org/one") == [one]
    assert search(database, name="ORG/one") == []
    assert search(database, name="org/one", fingerprint=TWO) == []
    assert search(database, fingerprint=ObjectId("0" * 64)) == []


def test_bases_come_in_pages(
    database: Database, repository: RepositoryId, commits: list[CommitId]
) -> None:
    other = make_repository(database, "team/Other")
    with database.write() as records:
        loaded = records.commits.load(repository, commits[:2])
        records.commits.insert(other, [loaded[key] for key in commits[:2]])
    everything = search(database)
    places = [(item.repository.key, item.row.commit) for item in everything]
    assert places == sorted(places)
    assert len(places) == 4
    seen: list[HeldBase] = []
    while page := search(database, limit=1, after=place_of(seen)):
        seen += page
    assert seen == everything


def place_of(seen: list[HeldBase]) -> tuple[str, CommitId] | None:
    return (seen[-1].repository.key, seen[-1].row.commit) if seen else None


def test_only_readable_repositories_are_searched(
    database: Database, repository: RepositoryId, commits: list[CommitId]
) -> None:
    with database.write() as records:
        hidden = records.repositories.insert(
            NewRepository(RepositoryName("team", "hidden"), "", NOW, private=True, salt=b"salt")
        )
        loaded = records.commits.load(repository, commits[:1])
        records.commits.insert(hidden.id, list(loaded.values()))
    assert len(search(database)) == 3
    assert {item.repository.name for item in search(database, readable=NOBODY)} == {"sql"}


def test_what_was_said_of_a_commit_stays(database: Database, commits: list[CommitId]) -> None:
    with database.write() as records:
        records.bases.insert([row(commits[0], "org/two", TWO)])
        records.bases.insert([])
    assert [item.row for item in search(database, fingerprint=ONE)] == [row(commits[0])]
    assert len(search(database)) == 2


def test_base_of_an_unknown_commit_is_refused(database: Database, commits: list[CommitId]) -> None:
    assert commits
    with pytest.raises(Internal), database.write() as records:
        records.bases.insert([row(CommitId("0" * 64))])


def test_base_goes_with_its_repository_and_its_commit(
    database: Database, repository: RepositoryId, commits: list[CommitId]
) -> None:
    with database.write() as records:
        records.repositories.delete(repository)
    assert search(database) == []
    with database.write() as records:
        assert records.remains.drop_unheld(RowKind.COMMIT, list(reversed(commits))) == 3
    # The same commit may come again, as a version of something else.
    again = make_repository(database, "team/again")
    store_commits(database, again, History().chain(1))
    with database.write() as records:
        records.bases.insert([row(commits[0], "org/two", TWO)])
    assert [item.row.name for item in search(database)] == ["org/two"]


def test_kind_of_a_repository_is_kept_and_searched(
    database: Database, repository: RepositoryId
) -> None:
    name = RepositoryName("team", "llama")
    with database.write() as records:
        new = NewRepository(name, "", NOW, private=False, salt=b"", kind=RepositoryKind.BASE)
        made = records.repositories.insert(new)
        assert made.kind is RepositoryKind.BASE
        records.repositories.update(made.id, description="x", private=True)
    with database.read() as records:
        assert records.repositories.get(name).kind is RepositoryKind.BASE
        assert records.journal.load_snapshot(name.key, NOW).kind is RepositoryKind.BASE
        found = {
            kind: [row.id for row in records.repositories.search(RepositoryQuery(ALL, kind=kind))]
            for kind in (None, *RepositoryKind)
        }
    assert found == {
        None: [made.id, repository],
        RepositoryKind.BASE: [made.id],
        RepositoryKind.ADAPTER: [repository],
    }
