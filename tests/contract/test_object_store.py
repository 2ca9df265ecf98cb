"""What every object store does, whatever it keeps its bytes in."""

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from plait.errors import Integrity, InvalidInput, NotFound
from plait.model.ids import ObjectId, hash_bytes
from plait_registry.domain.ports import ObjectStore
from served.stores import STORES

CONTENT = bytes(range(256)) * 10
OBJECT = hash_bytes(CONTENT)
MIB = 1024 * 1024

WRONG_IDS = [
    "",
    "../../../etc/passwd",
    "/etc/passwd",
    OBJECT[:63],
    OBJECT + "0",
    OBJECT.upper(),
    OBJECT[:-1] + "\n",
    "g" * 64,
]


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ObjectStore]:
    with STORES[request.param](tmp_path) as under_test:
        yield under_test.objects


def test_object_that_was_put_is_read_back(store: ObjectStore) -> None:
    store.put(OBJECT, CONTENT)
    assert store.stat(OBJECT) == len(CONTENT)
    assert b"".join(store.read(OBJECT)) == CONTENT


def test_absent_object_has_no_size_and_cannot_be_read(store: ObjectStore) -> None:
    assert store.stat(OBJECT) is None
    with pytest.raises(NotFound, match="not stored") as caught:
        next(store.read(OBJECT))
    assert caught.value.kind == "object-not-found"


@pytest.mark.parametrize(
    ("start", "stop"),
    [
        (0, None),
        (0, 1),
        (5, 5),
        (7, 300),
        (2_559, 2_560),
        (2_000, 9_999),
        (3_000, None),
        (2_560, None),
    ],
)
def test_ranges_are_those_of_a_slice(store: ObjectStore, start: int, stop: int | None) -> None:
    store.put(OBJECT, CONTENT)
    assert b"".join(store.read(OBJECT, start, stop)) == CONTENT[start:stop]


def test_large_object_comes_in_pieces_of_about_a_mebibyte(store: ObjectStore) -> None:
    content = bytes(range(251)) * 10_000
    store.put(hash_bytes(content), content)
    pieces = list(store.read(hash_bytes(content), 3))
    assert b"".join(pieces) == content[3:]
    assert max(map(len, pieces)) <= 2 * MIB
    assert len(pieces) > 1


def test_empty_object_is_an_object_like_any_other(store: ObjectStore) -> None:
    store.put(hash_bytes(b""), b"")
    assert store.stat(hash_bytes(b"")) == 0
    assert list(store.read(hash_bytes(b""))) == []


def test_putting_an_object_again_changes_nothing(store: ObjectStore) -> None:
    store.put(OBJECT, CONTENT)
    store.put(OBJECT, CONTENT)
    assert b"".join(store.read(OBJECT)) == CONTENT


def test_bytes_of_another_digest_are_refused_and_leave_nothing(store: ObjectStore) -> None:
    with pytest.raises(Integrity) as caught:
        store.put(OBJECT, b"other bytes")
    assert caught.value.kind == "digest-mismatch"
    assert store.stat(OBJECT) is None


def test_deleted_object_is_gone_and_can_be_put_again(store: ObjectStore) -> None:
    store.put(OBJECT, CONTENT)
    store.delete(OBJECT)
    assert store.stat(OBJECT) is None
    store.put(OBJECT, CONTENT)
    assert b"".join(store.read(OBJECT)) == CONTENT


def test_deleting_an_absent_object_is_fine(store: ObjectStore) -> None:
    store.delete(OBJECT)


@pytest.mark.parametrize("text", WRONG_IDS)
def test_whatever_is_no_id_never_becomes_a_path(store: ObjectStore, text: str) -> None:
    wrong = ObjectId(text)
    with pytest.raises(InvalidInput):
        store.stat(wrong)
    with pytest.raises(InvalidInput):
        next(store.read(wrong))
    with pytest.raises(InvalidInput):
        store.delete(wrong)
    with pytest.raises(InvalidInput):
        store.discard_wrong(wrong)
    with pytest.raises((InvalidInput, Integrity)):
        store.put(wrong, CONTENT)


def test_many_that_put_one_object_at_once_all_succeed(store: ObjectStore) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: store.put(OBJECT, CONTENT), range(32)))
    assert b"".join(store.read(OBJECT)) == CONTENT


def test_listed_objects_are_those_that_are_stored(store: ObjectStore) -> None:
    contents = [b"", CONTENT, b"other"]
    for content in contents:
        store.put(hash_bytes(content), content)
    found = list(store.list())
    assert sorted((item.id, item.size) for item in found) == sorted(
        (hash_bytes(content), len(content)) for content in contents
    )
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", item.modified_at) for item in found)


def test_empty_store_lists_nothing(store: ObjectStore) -> None:
    assert list(store.list()) == []


def test_right_object_is_not_discarded_and_an_absent_one_is_no_matter(store: ObjectStore) -> None:
    store.discard_wrong(OBJECT)
    store.put(OBJECT, CONTENT)
    store.discard_wrong(OBJECT)
    assert b"".join(store.read(OBJECT)) == CONTENT


def test_store_that_answers_passes_its_check(store: ObjectStore) -> None:
    store.check()
