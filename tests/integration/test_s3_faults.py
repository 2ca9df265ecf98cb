"""The bucket of the real S3 server behind a proxy that misbehaves, and the server taken away."""

import random
import threading
import time
from collections.abc import Iterator
from dataclasses import replace

import boto3.session
import pytest

from plait.errors import AlreadyExists, NotFound, PermissionDenied, Unavailable
from plait.http_transport import HttpOptions, HttpTransport, Retries
from plait.model.ids import hash_bytes
from plait.transport import Body
from plait.wire import SignedRequest
from plait_registry.adapters.s3_client import Patience, S3Bucket
from plait_registry.adapters.s3_objects import S3Objects
from plait_registry.adapters.s3_probe import StoreFeatures
from plait_registry.adapters.s3_reading import MOST_CUTS
from plait_registry.adapters.s3_transfers import S3Transfers
from plait_registry.domain.ports import SignedPart
from served.faulty_proxy import (
    Busy,
    CutAnswer,
    CutRequest,
    FaultyProxy,
    LoseAnswer,
    Stall,
    faulty_proxy,
)
from served.s3 import S3Server, s3_server, shared_s3_server
from served.stores import SIZES, part_digests

MIB = 1024 * 1024
SMALL = random.Random(11).randbytes(3_000)
LARGE = random.Random(12).randbytes(4 * SIZES.part + 100)
MEGABYTES = random.Random(13).randbytes(3 * MIB)
PATIENCE = Patience(connect=2, read=2, attempts=4, sleep=lambda _: None)


class Place:
    """A bucket as the registry reaches it through the proxy, and a client of its own."""

    def __init__(self, proxy: FaultyProxy, server: S3Server, name: str) -> None:
        location = server.location(name, endpoint=proxy.endpoint)
        self.proxy = proxy
        self.bucket = S3Bucket(location, PATIENCE, boto3.session.Session())
        self.objects = S3Objects(self.bucket, StoreFeatures(), impatient=self.bucket)
        self.transfers = S3Transfers(
            self.bucket, self.objects, StoreFeatures(), seconds=60, sizes=SIZES
        )
        quick = Retries(attempts=4, sleep=lambda _: None)
        self.client = HttpTransport(proxy.endpoint, "secret-token", HttpOptions(retries=quick))

    def sign(self, content: bytes, handle: str) -> list[SignedPart]:
        digests = part_digests(content)
        signed = self.transfers.sign_upload(hash_bytes(content), len(content), handle, digests)
        return list(signed)

    def send(self, part: SignedPart, content: bytes) -> None:
        assert part.request is not None
        given = SignedRequest(part.request.method, part.request.url, dict(part.request.headers))
        body = content[part.offset : part.offset + part.size]
        self.client.send(given, Body(len(body), lambda: iter([body])), headers={})

    def upload(self, content: bytes) -> None:
        handle = self.transfers.begin_upload(hash_bytes(content), len(content))
        for part in self.sign(content, handle):
            self.send(part, content)
        self.transfers.finish_upload(hash_bytes(content), len(content), handle)

    def read(self, content: bytes, start: int = 0) -> bytes:
        return b"".join(self.objects.read(hash_bytes(content), start))


@pytest.fixture
def place() -> Iterator[Place]:
    server = shared_s3_server()
    with faulty_proxy(server.port) as proxy:
        place = Place(proxy, server, server.new_bucket())
        yield place
        place.client.close()
        place.bucket.close()


@pytest.mark.parametrize("start", [0, 1_000_001])
def test_read_that_is_cut_in_the_middle_goes_on_from_there(place: Place, start: int) -> None:
    place.objects.put(hash_bytes(MEGABYTES), MEGABYTES)
    place.proxy.fail(CutAnswer(after=MIB + 50_000), "GET")
    place.proxy.fail(CutAnswer(after=300_000), "GET")
    assert place.read(MEGABYTES, start) == MEGABYTES[start:]
    assert place.proxy.pending == 0
    assert place.proxy.count("GET") == 3


def test_read_that_stalls_goes_on(place: Place) -> None:
    place.objects.put(hash_bytes(SMALL), SMALL)
    place.proxy.fail(Stall(seconds=2.5), "GET")
    assert place.read(SMALL) == SMALL


def test_read_that_is_cut_again_and_again_ends(place: Place) -> None:
    place.objects.put(hash_bytes(MEGABYTES), MEGABYTES)
    place.proxy.fail(CutAnswer(times=100, after=400), "GET")
    with pytest.raises(Unavailable, match=f"{MOST_CUTS} times"):
        place.read(MEGABYTES)


def test_object_that_is_replaced_while_it_is_read_is_never_mixed_with_another(
    place: Place,
) -> None:
    object_id = hash_bytes(MEGABYTES)
    place.objects.put(object_id, MEGABYTES)
    place.proxy.fail(CutAnswer(after=MIB + 50_000), "GET")
    pieces = place.objects.read(object_id)
    next(pieces)
    key = place.bucket.key_of(object_id)
    place.bucket.call("put_object", Key=key, Body=MEGABYTES[::-1])
    with pytest.raises(Unavailable, match="replaced"):
        list(pieces)


@pytest.mark.parametrize("fault", [Busy(times=2), CutAnswer(), LoseAnswer(), CutRequest(after=10)])
def test_registry_stores_an_object_through_what_passes(place: Place, fault: Busy) -> None:
    place.proxy.fail(replace(fault), "PUT")
    place.objects.put(hash_bytes(SMALL), SMALL)
    assert place.read(SMALL) == SMALL
    assert place.proxy.pending == 0


def test_store_that_stays_busy_is_reported_with_its_code(place: Place) -> None:
    place.proxy.fail(Busy(times=100), "PUT")
    with pytest.raises(Unavailable, match="SlowDown"):
        place.objects.put(hash_bytes(SMALL), SMALL)
    assert place.proxy.count("PUT") == PATIENCE.attempts


@pytest.mark.parametrize("content", [SMALL, LARGE])
@pytest.mark.parametrize(
    "fault",
    [
        Busy(times=2),
        Busy(status="500 Internal Server Error", code="InternalError"),
        Busy(status="400 Bad Request", code="RequestTimeout"),
        Busy(status="409 Conflict", code="ConditionalRequestConflict"),
        CutRequest(after=500),
        CutAnswer(),
        LoseAnswer(),
    ],
    ids=lambda fault: f"{type(fault).__name__}-{getattr(fault, 'code', '')}",
)
def test_client_sends_an_object_through_what_passes(
    place: Place, content: bytes, fault: Busy
) -> None:
    handle = place.transfers.begin_upload(hash_bytes(content), len(content))
    parts = place.sign(content, handle)
    place.proxy.fail(replace(fault), "PUT")
    for part in parts:
        send_unless_there(place, part, content)
    place.transfers.finish_upload(hash_bytes(content), len(content), handle)
    assert place.read(content) == content
    assert place.proxy.pending == 0


def send_unless_there(place: Place, part: SignedPart, content: bytes) -> None:
    """Send as the uploader does, for whom an object that is there is sent."""
    try:
        place.send(part, content)
    except AlreadyExists:
        return


@pytest.mark.parametrize("fault", [Busy(times=2), CutAnswer(), LoseAnswer()])
def test_parts_are_joined_once_though_the_answer_is_lost(place: Place, fault: Busy) -> None:
    handle = place.transfers.begin_upload(hash_bytes(LARGE), len(LARGE))
    for part in place.sign(LARGE, handle):
        place.send(part, LARGE)
    place.proxy.fail(replace(fault), "POST")
    place.transfers.finish_upload(hash_bytes(LARGE), len(LARGE), handle)
    assert place.read(LARGE) == LARGE
    assert list(place.transfers.list_uploads()) == []


def test_upload_that_the_store_dropped_is_known_for_it(place: Place) -> None:
    handle = place.transfers.begin_upload(hash_bytes(LARGE), len(LARGE))
    parts = place.sign(LARGE, handle)
    place.send(parts[0], LARGE)
    place.transfers.abandon_upload(hash_bytes(LARGE), handle)
    for attempt in (lambda: place.sign(LARGE, handle), lambda: place.send(parts[1], LARGE)):
        with pytest.raises(NotFound) as caught:
            attempt()
        assert caught.value.kind == "upload-not-found"


def test_expired_request_is_told_from_a_forged_one(place: Place) -> None:
    short = S3Transfers(place.bucket, place.objects, StoreFeatures(), seconds=1, sizes=SIZES)
    (part,) = short.sign_upload(hash_bytes(SMALL), len(SMALL), "h", ())
    assert part.request is not None
    forged = replace(part, request=replace(part.request, url=part.request.url + "0"))
    with pytest.raises(PermissionDenied) as caught:
        place.send(forged, SMALL)
    assert caught.value.kind == "signed-url-invalid"
    time.sleep(2.1)
    with pytest.raises(PermissionDenied) as caught:
        place.send(part, SMALL)
    assert caught.value.kind == "signed-url-expired"


def test_object_discarded_as_wrong_is_exactly_the_one_that_was_read(place: Place) -> None:
    object_id, key = hash_bytes(SMALL), place.bucket.key_of(hash_bytes(SMALL))
    place.bucket.call("put_object", Key=key, Body=SMALL[::-1])
    # Between the read and the deletion the right one takes its place: the first attempt at the
    # deletion meets a busy store, and the pause after it is when that happens.
    pauses: list[float] = []

    def replace_it(seconds: float) -> None:
        pauses.append(seconds)
        place.bucket.call("put_object", Key=key, Body=SMALL)

    racing = place.bucket.with_patience(replace(PATIENCE, sleep=replace_it))
    place.proxy.fail(Busy(times=1), "DELETE")
    S3Objects(racing, StoreFeatures(), impatient=racing).discard_wrong(object_id)
    racing.close()
    assert len(pauses) == 1
    assert place.read(SMALL) == SMALL
    place.bucket.call("put_object", Key=key, Body=SMALL[::-1])
    place.objects.discard_wrong(object_id)
    assert place.objects.stat(object_id) is None


def test_wrong_object_under_the_name_of_a_document_gives_way_to_it(place: Place) -> None:
    key = place.bucket.key_of(hash_bytes(SMALL))
    place.bucket.call("put_object", Key=key, Body=SMALL + b"more")
    place.objects.put(hash_bytes(SMALL), SMALL)
    assert place.read(SMALL) == SMALL


def test_stray_names_are_nobodys(place: Place) -> None:
    right = place.bucket.key_of(hash_bytes(SMALL))
    for key in (
        "objects/sha256/stray",
        "objects/sha256/00/" + "f" * 64,
        right + ".part",
        right.upper(),
        "objects/md5/" + "0" * 32,
        "probe/x",
    ):
        place.bucket.call("put_object", Key=key, Body=b"x")
        place.bucket.call("create_multipart_upload", Key=key)
    place.objects.put(hash_bytes(SMALL), SMALL)
    assert [item.id for item in place.objects.list()] == [hash_bytes(SMALL)]
    assert list(place.transfers.list_uploads()) == []


@pytest.mark.parametrize(
    ("operation", "field", "size"),
    [
        ("list_objects_v2", "Contents", {"MaxKeys": 2}),
        ("list_multipart_uploads", "Uploads", {"MaxUploads": 2}),
        ("list_parts", "Parts", {"MaxParts": 2}),
    ],
)
def test_listing_goes_on_over_pages_also_where_one_fails(
    place: Place, operation: str, field: str, size: dict[str, int]
) -> None:
    upload = ""
    for number in range(5):
        place.bucket.call("put_object", Key=f"object-{number}", Body=b"x")
        upload = place.bucket.call("create_multipart_upload", Key="upload")["UploadId"]
    where = {"Key": "upload", "UploadId": upload}
    for number in range(1, 6):
        place.bucket.call("upload_part", PartNumber=number, Body=b"x", **where)
    place.proxy.seen.clear()
    pages = place.bucket.pages(operation, **size, **(where if field == "Parts" else {}))
    found = list(next(pages)[field])
    place.proxy.fail(Busy(times=1), "GET")
    found += [item for page in pages for item in page[field]]
    assert len(found) == 5
    assert place.proxy.count("GET") == 4


@pytest.mark.slow
def test_store_that_is_away_for_seconds_is_waited_for() -> None:
    with s3_server() as server:
        location = server.location(server.new_bucket())
        bucket = S3Bucket(location)
        objects = S3Objects(
            bucket, StoreFeatures(), impatient=bucket.with_patience(replace(PATIENCE, attempts=1))
        )
        objects.put(hash_bytes(SMALL), SMALL)
        server.stop()
        with pytest.raises(Unavailable):
            objects.check()
        back = threading.Timer(1.0, server.start)
        back.start()
        try:
            objects.put(hash_bytes(LARGE), LARGE)
            assert b"".join(objects.read(hash_bytes(SMALL))) == SMALL
            objects.check()
        finally:
            back.join()
            bucket.close()
