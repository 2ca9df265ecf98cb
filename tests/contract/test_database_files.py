"""Manifests, files, objects and tensors, over every database."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from database_suite.rows import (
    ALL,
    MANIFEST,
    History,
    digest,
    file_row,
    make_repository,
    store_commits,
    whole_file,
)
from plait.errors import Internal
from plait.model.ids import ManifestId
from plait_registry.domain.extents import cut_extents
from plait_registry.domain.ports import Database
from plait_registry.domain.records import Extent, FileRow, ObjectRow, RepositoryId, TensorRow


@pytest.fixture
def repository(database: Database) -> RepositoryId:
    return make_repository(database)


@pytest.fixture
def joined(database: Database, repository: RepositoryId) -> FileRow:
    """A stored file of three extents and five tensors, and an object of its own."""
    row = file_row(
        "joined",
        Extent(digest("one"), 0, 100),
        Extent(digest("two"), 50, 30),
        Extent(digest("one"), 400, 70),
        tensors=[
            TensorRow(digest("inside"), 10, 20),
            TensorRow(digest("first edge"), 100, 30),
            TensorRow(digest("across two"), 90, 20),
            TensorRow(digest("across three"), 99, 40),
            TensorRow(digest("empty"), 130, 0),
            TensorRow(digest("to the end"), 130, 70),
        ],
        table="table",
    )
    with database.write() as records:
        objects = [ObjectRow(digest("one"), 500), ObjectRow(digest("two"), 80)]
        records.files.insert(repository, [row], objects)
    return row


def test_manifest_is_loaded_where_a_commit_names_it(
    database: Database, repository: RepositoryId
) -> None:
    other = make_repository(database, "team/other")
    unnamed = ManifestId(digest("unnamed"))
    store_commits(database, repository, History().chain(2))
    with database.write() as records:
        records.files.insert_manifests({unnamed: b"unnamed", MANIFEST: b"another body"})
        records.files.insert_manifests({})
    with database.read() as records:
        wanted = [MANIFEST, unnamed, ManifestId(digest("absent"))]
        assert records.files.load_manifests(repository, wanted) == {MANIFEST: b"the manifest"}
        assert records.files.load_manifests(other, wanted) == {}
        assert records.files.load_manifests(repository, []) == {}


def test_inserted_file_is_known_held_and_readable(
    database: Database, repository: RepositoryId, joined: FileRow
) -> None:
    other = make_repository(database, "team/other")
    key = joined.sha256
    with database.read() as records:
        assert records.files.find_known(ALL, [key, digest("absent")]) == {key: digest("table")}
        for holder in (repository, None):
            found = records.files.load_extents(holder, [key, digest("absent")])
            assert {file: tuple(extents) for file, extents in found.items()} == {
                key: joined.extents
            }
        assert records.files.load_extents(other, [key]) == {}


def test_objects_are_known_once_they_are_inserted(
    database: Database, repository: RepositoryId, joined: FileRow
) -> None:
    with database.write() as records:
        records.files.insert(repository, [], [ObjectRow(digest("one"), 500)])
        asked = [digest("one"), digest("two"), digest("three"), joined.sha256]
        assert records.files.find_objects(asked) == {digest("one"), digest("two")}
        assert records.files.find_objects([]) == frozenset()


def test_object_is_the_own_one_of_the_repository_it_was_uploaded_to(
    database: Database, repository: RepositoryId
) -> None:
    other = make_repository(database, "team/other")
    asked = [digest("ours"), digest("theirs"), digest("nobody's"), digest("absent")]
    with database.write() as records:
        objects = [
            ObjectRow(digest("ours"), 10, home=repository),
            ObjectRow(digest("theirs"), 10, home=other),
            ObjectRow(digest("nobody's"), 10),
        ]
        records.files.insert(repository, [], objects)
        # Whoever comes later does not take an object over.
        records.files.insert(other, [], [ObjectRow(digest("ours"), 10, home=other)])
        assert records.files.find_own(repository, asked) == {digest("ours")}
        assert records.files.find_own(other, asked) == {digest("theirs")}
        assert records.files.find_own(other, []) == frozenset()


def test_deleted_repository_leaves_its_objects_to_nobody(database: Database) -> None:
    first = make_repository(database, "team/first")
    with database.write() as records:
        records.files.insert(first, [], [ObjectRow(digest("ours"), 10, home=first)])
        records.repositories.delete(first)
        assert records.files.find_objects([digest("ours")]) == {digest("ours")}
    # SQLite gives the id of the row that was last to the next one.
    second = make_repository(database, "team/second")
    with database.read() as records:
        assert records.files.find_own(first, [digest("ours")]) == frozenset()
        assert records.files.find_own(second, [digest("ours")]) == frozenset()


def test_linked_file_is_held_by_both_repositories(
    database: Database, repository: RepositoryId, joined: FileRow
) -> None:
    other = make_repository(database, "team/other")
    with database.write() as records:
        records.files.link(other, [joined.sha256])
        records.files.link(other, [joined.sha256])
        records.files.link(other, [])
        for holder in (repository, other):
            assert set(records.files.load_extents(holder, [joined.sha256])) == {joined.sha256}


def test_link_to_unknown_file_is_refused(database: Database, repository: RepositoryId) -> None:
    with pytest.raises(Internal), database.write() as records:
        records.files.link(repository, [digest("absent")])


def test_file_on_unknown_object_is_refused(database: Database, repository: RepositoryId) -> None:
    row, _ = whole_file("plain")
    with pytest.raises(Internal), database.write() as records:
        records.files.insert(repository, [row], [])


def test_empty_file_is_known_and_has_no_extents(
    database: Database, repository: RepositoryId
) -> None:
    row = file_row("empty")
    with database.write() as records:
        records.files.insert(repository, [row], [])
        assert records.files.find_known(ALL, [row.sha256]) == {row.sha256: None}
        found = records.files.load_extents(repository, [row.sha256])
    assert {key: list(extents) for key, extents in found.items()} == {row.sha256: []}


def test_file_that_is_there_keeps_its_extents(
    database: Database, repository: RepositoryId, joined: FileRow
) -> None:
    again = file_row("joined", Extent(digest("whole"), 0, 200), table="table")
    other = make_repository(database, "team/other")
    with database.write() as records:
        records.files.insert(other, [again], [ObjectRow(digest("whole"), 200)])
        found = records.files.load_extents(other, [joined.sha256])
    assert tuple(found[joined.sha256]) == joined.extents


def test_file_that_was_stored_without_tensors_gets_them_later(
    database: Database, repository: RepositoryId
) -> None:
    row, item = whole_file("weights")
    described = FileRow(
        row.sha256, row.size, row.extents, digest("table"), (TensorRow(digest("t"), 2, 8),)
    )
    with database.write() as records:
        records.files.insert(repository, [row], [item])
        assert records.files.locate_tensors(ALL, [digest("t")]) == {}
        records.files.insert(repository, [described], [])
        assert records.files.find_known(ALL, [row.sha256]) == {row.sha256: digest("table")}
        records.files.insert(repository, [row], [])
        assert records.files.find_known(ALL, [row.sha256]) == {row.sha256: digest("table")}
        located = records.files.locate_tensors(ALL, [digest("t")])
    assert {key: tuple(extents) for key, extents in located.items()} == {
        digest("t"): (Extent(row.sha256, 2, 8),)
    }


def test_tensors_are_located_as_ranges_of_objects(database: Database, joined: FileRow) -> None:
    expected = {
        "inside": [Extent(digest("one"), 10, 20)],
        "first edge": [Extent(digest("two"), 50, 30)],
        "across two": [Extent(digest("one"), 90, 10), Extent(digest("two"), 50, 10)],
        "across three": [
            Extent(digest("one"), 99, 1),
            Extent(digest("two"), 50, 30),
            Extent(digest("one"), 400, 9),
        ],
        "empty": [],
        "to the end": [Extent(digest("one"), 400, 70)],
    }
    with database.read() as records:
        located = records.files.locate_tensors(
            ALL, [digest(word) for word in [*expected, "absent"]]
        )
        assert records.files.locate_tensors(ALL, []) == {}
    assert {key: list(extents) for key, extents in located.items()} == {
        digest(word): extents for word, extents in expected.items()
    }


def test_tensor_of_several_files_is_located_in_one_of_them(
    database: Database, repository: RepositoryId
) -> None:
    rows = [
        file_row(
            f"file {number}",
            Extent(digest(f"object {number}"), 0, 100),
            tensors=[
                TensorRow(digest("shared"), 10 * number, 10),
                # The same bytes twice in one file, as with zeros.
                TensorRow(digest("shared"), 50 + number, 10),
            ],
            table="table",
        )
        for number in range(4)
    ]
    with database.write() as records:
        objects = [ObjectRow(row.extents[0].object, 100) for row in rows]
        records.files.insert(repository, rows, objects)
        located = records.files.locate_tensors(ALL, [digest("shared")])
    (place,) = located[digest("shared")]
    owner = next(row for row in rows if row.extents[0].object == place.object)
    assert (place.offset, place.size) in {(item.offset, 10) for item in owner.tensors}


def test_thousands_of_tensors_are_located_at_once(
    database: Database, repository: RepositoryId
) -> None:
    tensors = [TensorRow(digest(f"tensor {number}"), number, 1) for number in range(12_000)]
    row = file_row("large", Extent(digest("large"), 0, 12_000), tensors=tensors, table="table")
    with database.write() as records:
        records.files.insert(repository, [row], [ObjectRow(digest("large"), 12_000)])
        located = records.files.locate_tensors(ALL, [item.sha256 for item in tensors])
    assert {key: list(extents) for key, extents in located.items()} == {
        item.sha256: [Extent(digest("large"), item.offset, 1)] for item in tensors
    }


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 9), st.integers(1, 9)), max_size=6))
def test_every_cut_of_a_file_has_the_bytes_of_that_range(parts: list[tuple[int, int, int]]) -> None:
    objects = {
        digest(str(number)): bytes(range(32 * number, 32 * number + 32)) for number in (0, 1, 2)
    }
    extents = [Extent(digest(str(number)), offset, size) for number, offset, size in parts]

    def read(ranges: tuple[Extent, ...]) -> bytes:
        return b"".join(objects[x.object][x.offset : x.offset + x.size] for x in ranges)

    content = read(tuple(extents))
    for begin in range(len(content) + 1):
        for end in range(begin, len(content) + 1):
            cut = cut_extents(extents, begin, end - begin)
            assert read(cut) == content[begin:end]
            assert all(extent.size > 0 for extent in cut)
