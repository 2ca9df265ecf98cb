"""What every store does with signed requests, seen from the client that sends them."""

import random
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from plait.errors import Integrity, InvalidInput, NotFound
from plait.model.ids import ObjectId, hash_bytes
from plait_registry.domain.ports import SignedRequest
from served.stores import SIZES, STORES, StoreUnderTest, checksum_headers

SMALL = random.Random(1).randbytes(3_000)
LARGE = random.Random(2).randbytes(10_000)
UTC = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
REFUSED = {400, 403, 404, 412}
"""How stores refuse differs: by the signature, the checksum, or since the upload is over."""
OFFSETS = list(range(0, len(LARGE), SIZES.part))


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[StoreUnderTest]:
    with STORES[request.param](tmp_path) as under_test:
        yield under_test


@pytest.mark.parametrize(
    "content", [b"", b"x", SMALL, LARGE, LARGE[: SIZES.largest_whole], LARGE[: 4 * SIZES.part + 1]]
)
def test_uploaded_object_is_what_was_sent(store: StoreUnderTest, content: bytes) -> None:
    object_id = store.upload(content)
    assert store.objects.stat(object_id) == len(content)
    assert store.read(object_id) == content


def test_small_object_goes_in_one_request_that_forbids_wrong_bytes_and_overwrites(
    store: StoreUnderTest,
) -> None:
    object_id = hash_bytes(SMALL)
    handle = store.transfers.begin_upload(object_id, len(SMALL))
    (part,) = store.sign(SMALL, handle)
    assert (part.offset, part.size) == (0, len(SMALL))
    assert part.request is not None
    assert part.request.method == "PUT"
    headers = {name.lower(): value for name, value in part.request.headers.items()}
    assert headers["if-none-match"] == "*"
    assert headers["x-amz-checksum-sha256"] == checksum_headers(SMALL)["x-amz-checksum-sha256"]


def test_parts_of_a_large_object_tile_it(store: StoreUnderTest) -> None:
    handle = store.transfers.begin_upload(hash_bytes(LARGE), len(LARGE))
    parts = store.sign(LARGE, handle)
    assert [part.offset for part in parts] == OFFSETS
    assert sum(part.size for part in parts) == len(LARGE)


def test_wrong_bytes_are_refused_and_the_right_ones_taken_after_them(store: StoreUnderTest) -> None:
    object_id = hash_bytes(SMALL)
    handle = store.transfers.begin_upload(object_id, len(SMALL))
    (part,) = store.sign(SMALL, handle)
    assert part.request is not None
    assert store.send(part.request, SMALL[::-1], {})[0] == 400
    assert store.objects.stat(object_id) is None
    assert store.send(part.request, SMALL, {})[0] == 200
    assert store.read(object_id) == SMALL


@pytest.mark.parametrize("content", [SMALL[:-1], SMALL + b"x", b""])
def test_body_of_another_length_is_refused(store: StoreUnderTest, content: bytes) -> None:
    object_id = hash_bytes(SMALL)
    handle = store.transfers.begin_upload(object_id, len(SMALL))
    (part,) = store.sign(SMALL, handle)
    assert part.request is not None
    assert store.send(part.request, content, {})[0] in REFUSED
    assert store.objects.stat(object_id) is None


def test_object_that_is_there_is_not_asked_for_nor_overwritten(store: StoreUnderTest) -> None:
    object_id = hash_bytes(SMALL)
    handle = store.transfers.begin_upload(object_id, len(SMALL))
    (part,) = store.sign(SMALL, handle)
    assert store.send_part(part, SMALL) == 200
    assert store.send_part(part, SMALL) == 412
    assert list(store.sign(SMALL, handle)) == []
    assert store.read(object_id) == SMALL


def test_resumed_upload_asks_only_for_the_parts_that_are_missing(store: StoreUnderTest) -> None:
    object_id = hash_bytes(LARGE)
    handle = store.transfers.begin_upload(object_id, len(LARGE))
    for part in store.sign(LARGE, handle)[::2]:
        assert store.send_part(part, LARGE) == 200
    with pytest.raises(NotFound):
        store.transfers.finish_upload(object_id, len(LARGE), handle)
    resumed = store.sign(LARGE, handle)
    assert [part.offset for part in resumed] == OFFSETS
    assert [part.offset for part in resumed if part.request] == OFFSETS[1::2]
    for part in resumed:
        assert part.request is None or store.send_part(part, LARGE) == 200
    assert store.objects.stat(object_id) is None
    store.transfers.finish_upload(object_id, len(LARGE), handle)
    assert store.read(object_id) == LARGE


def test_part_with_wrong_bytes_has_not_arrived(store: StoreUnderTest) -> None:
    object_id = hash_bytes(LARGE)
    handle = store.transfers.begin_upload(object_id, len(LARGE))
    first = store.sign(LARGE, handle)[0]
    assert first.request is not None
    body = LARGE[: first.size]
    assert store.send(first.request, body[::-1], {})[0] == 400
    assert store.sign(LARGE, handle)[0].request is not None


@pytest.mark.parametrize("content", [SMALL, LARGE])
def test_request_without_the_checksum_that_was_signed_is_refused(
    store: StoreUnderTest, content: bytes
) -> None:
    handle = store.transfers.begin_upload(hash_bytes(content), len(content))
    first = store.sign(content, handle)[0]
    assert first.request is not None
    body = content[: first.size]
    others = {name: value for name, value in first.request.headers.items() if "amz" not in name}
    bare = SignedRequest(first.request.method, first.request.url, others)
    assert store.send(bare, body, {})[0] == 403
    other = checksum_headers(body[::-1])
    assert store.send(SignedRequest("PUT", bare.url, {**others, **other}), body[::-1], {})[0] == 403


@pytest.mark.parametrize("told", [-1, 0, 1])
def test_parts_must_be_told_as_many_as_there_are(store: StoreUnderTest, told: int) -> None:
    object_id = hash_bytes(LARGE)
    handle = store.transfers.begin_upload(object_id, len(LARGE))
    digests = [object_id] * (len(OFFSETS) + told if told else 0)
    with pytest.raises(InvalidInput):
        store.transfers.sign_upload(object_id, len(LARGE), handle, digests)


def test_object_in_one_request_has_no_parts_to_tell(store: StoreUnderTest) -> None:
    object_id = hash_bytes(SMALL)
    handle = store.transfers.begin_upload(object_id, len(SMALL))
    with pytest.raises(InvalidInput):
        store.transfers.sign_upload(object_id, len(SMALL), handle, [object_id])


def test_part_that_arrived_cannot_become_another(store: StoreUnderTest) -> None:
    object_id = hash_bytes(LARGE)
    handle = store.transfers.begin_upload(object_id, len(LARGE))
    parts = store.sign(LARGE, handle)
    for part in parts:
        assert store.send_part(part, LARGE) == 200
        assert store.send_part(part, LARGE[::-1]) in REFUSED
    store.transfers.finish_upload(object_id, len(LARGE), handle)
    assert store.read(object_id) == LARGE


def test_parts_may_arrive_at_once_and_in_any_order(store: StoreUnderTest) -> None:
    object_id = hash_bytes(LARGE)
    handle = store.transfers.begin_upload(object_id, len(LARGE))
    parts = list(store.sign(LARGE, handle))
    with ThreadPoolExecutor(4) as pool:
        statuses = list(pool.map(lambda part: store.send_part(part, LARGE), reversed(parts)))
    assert set(statuses) == {200}
    store.transfers.finish_upload(object_id, len(LARGE), handle)
    assert store.read(object_id) == LARGE


def test_finishing_twice_is_fine(store: StoreUnderTest) -> None:
    object_id = hash_bytes(LARGE)
    handle = store.transfers.begin_upload(object_id, len(LARGE))
    for part in store.sign(LARGE, handle):
        store.send_part(part, LARGE)
    store.transfers.finish_upload(object_id, len(LARGE), handle)
    store.transfers.finish_upload(object_id, len(LARGE), handle)
    assert store.read(object_id) == LARGE


def test_object_of_another_size_than_was_announced_is_refused(store: StoreUnderTest) -> None:
    object_id = store.upload(SMALL)
    handle = store.transfers.begin_upload(object_id, len(SMALL) + 1)
    with pytest.raises(Integrity) as caught:
        store.transfers.finish_upload(object_id, len(SMALL) + 1, handle)
    assert caught.value.kind == "size-mismatch"


@pytest.mark.parametrize("content", [SMALL, LARGE])
def test_upload_of_which_nothing_arrived_cannot_be_finished(
    store: StoreUnderTest, content: bytes
) -> None:
    handle = store.transfers.begin_upload(hash_bytes(content), len(content))
    with pytest.raises(NotFound) as caught:
        store.transfers.finish_upload(hash_bytes(content), len(content), handle)
    assert caught.value.kind == "object-not-found"


def test_two_uploads_of_one_object_do_not_disturb_each_other(store: StoreUnderTest) -> None:
    object_id = hash_bytes(LARGE)
    handles = [store.transfers.begin_upload(object_id, len(LARGE)) for _ in range(2)]
    assert len(set(handles)) == 2
    plans = [store.sign(LARGE, handle) for handle in handles]
    for first, second in zip(*plans, strict=True):
        assert store.send_part(first, LARGE) == 200
        assert store.send_part(second, LARGE) == 200
    for handle in handles:
        store.transfers.finish_upload(object_id, len(LARGE), handle)
    assert store.read(object_id) == LARGE


def test_finished_object_cannot_be_changed_by_a_request_that_was_signed_before(
    store: StoreUnderTest,
) -> None:
    object_id = hash_bytes(LARGE)
    handle = store.transfers.begin_upload(object_id, len(LARGE))
    parts = store.sign(LARGE, handle)
    for part in parts:
        store.send_part(part, LARGE)
    store.transfers.finish_upload(object_id, len(LARGE), handle)
    for part in parts:
        assert store.send_part(part, LARGE[::-1]) in REFUSED
    assert store.read(object_id) == LARGE


@pytest.mark.parametrize(("begin", "end"), [(0, 1), (100, 2_000), (2_999, 3_000)])
def test_signed_read_allows_any_range(store: StoreUnderTest, begin: int, end: int) -> None:
    request = store.transfers.sign_read(store.upload(SMALL))
    assert request.method == "GET"
    assert store.send(request, b"", {}) == (200, SMALL)
    header = {"range": f"bytes={begin}-{end - 1}"}
    assert store.send(request, b"", header) == (206, SMALL[begin:end])


@pytest.mark.parametrize("span", [(0, 1), (100, 2_000), (2_999, 3_000)])
def test_read_signed_for_a_range_yields_exactly_that(
    store: StoreUnderTest, span: tuple[int, int]
) -> None:
    begin, end = span
    request = store.transfers.sign_read(store.upload(SMALL), span)
    assert request.headers == {"range": f"bytes={begin}-{end - 1}"}
    assert store.send(request, b"", {}) == (206, SMALL[begin:end])


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"range": "bytes=0-2999"},
        {"range": "bytes=0-99"},
        {"range": "bytes=-10"},
        {"range": "bytes=100-199,0-9"},
        {"range": "bytes=100-199", "if-range": '"other"'},
    ],
)
def test_read_signed_for_a_range_never_yields_another(
    store: StoreUnderTest, headers: dict[str, str]
) -> None:
    request = store.transfers.sign_read(store.upload(SMALL), (100, 200))
    status, body = store.send(replace(request, headers=headers), b"", {})
    assert status == 403 or body == SMALL[100:200]


def test_signed_read_of_an_absent_object_finds_nothing(store: StoreUnderTest) -> None:
    assert store.send(store.transfers.sign_read(hash_bytes(SMALL)), b"", {})[0] == 404


def test_whatever_is_no_id_is_never_signed(store: StoreUnderTest) -> None:
    wrong = ObjectId("../../etc/passwd")
    with pytest.raises(InvalidInput):
        store.transfers.begin_upload(wrong, 1)
    with pytest.raises(InvalidInput):
        store.transfers.sign_upload(wrong, 1, "0" * 32, ())
    with pytest.raises(InvalidInput):
        store.transfers.sign_read(wrong)


def test_negative_size_is_refused(store: StoreUnderTest) -> None:
    with pytest.raises(InvalidInput):
        store.transfers.begin_upload(hash_bytes(SMALL), -1)


def test_abandoned_upload_leaves_nothing_and_can_begin_anew(store: StoreUnderTest) -> None:
    object_id = hash_bytes(LARGE)
    handle = store.transfers.begin_upload(object_id, len(LARGE))
    for part in store.sign(LARGE, handle)[:2]:
        assert store.send_part(part, LARGE) == 200
    store.transfers.abandon_upload(object_id, handle)
    assert list(store.transfers.list_uploads()) == []
    with pytest.raises(NotFound):
        store.transfers.finish_upload(object_id, len(LARGE), handle)
    # Some stores take a handle up again; those that do not say so.
    try:
        parts = store.sign(LARGE, handle)
    except NotFound:
        handle = store.transfers.begin_upload(object_id, len(LARGE))
        parts = store.sign(LARGE, handle)
    assert all(part.request for part in parts)
    for part in parts:
        assert store.send_part(part, LARGE) == 200
    store.transfers.finish_upload(object_id, len(LARGE), handle)
    assert store.read(object_id) == LARGE


@pytest.mark.parametrize("content", [SMALL, LARGE])
def test_abandoning_what_is_over_or_was_never_begun_changes_nothing(
    store: StoreUnderTest, content: bytes
) -> None:
    object_id = hash_bytes(content)
    handle = store.transfers.begin_upload(object_id, len(content))
    for part in store.sign(content, handle):
        store.send_part(part, content)
    store.transfers.finish_upload(object_id, len(content), handle)
    store.transfers.abandon_upload(object_id, handle)
    store.transfers.abandon_upload(object_id, "0" * 32)
    assert store.read(object_id) == content


def test_unfinished_uploads_are_listed_with_their_object(store: StoreUnderTest) -> None:
    object_id = hash_bytes(LARGE)
    handles = [store.transfers.begin_upload(object_id, len(LARGE)) for _ in range(2)]
    for handle in handles:
        assert store.send_part(store.sign(LARGE, handle)[0], LARGE) == 200
    found = list(store.transfers.list_uploads())
    assert sorted(item.handle for item in found) == sorted(handles)
    assert {item.object_id for item in found} == {object_id}
    assert all(UTC.fullmatch(item.begun_at) for item in found)


def test_finished_uploads_are_not_listed(store: StoreUnderTest) -> None:
    store.upload(SMALL)
    store.upload(LARGE)
    assert list(store.transfers.list_uploads()) == []


def test_finished_object_that_is_removed_can_be_sent_anew(store: StoreUnderTest) -> None:
    store.objects.delete(store.upload(LARGE))
    assert store.read(store.upload(LARGE)) == LARGE
