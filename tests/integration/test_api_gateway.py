"""Objects over real HTTP: streams, ranges, and everything that a signed URL must not allow."""

import contextlib
import itertools
import random
import re
import socket
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx
import pytest

from plait.errors import PlaitError, error_from_json
from plait.model.ids import ObjectId, hash_bytes
from plait_registry.adapters.folder_transfers import FolderTransfers
from plait_registry.adapters.url_signing import Grant, UrlSigner
from plait_registry.domain.ports import SignedRequest
from served.running import Running, running, wait_until
from served.stores import checksum_headers

MIB = 1024 * 1024
LARGE_SIZE = 64 * MIB + 1
SMALL = random.Random(4).randbytes(100_000)
OBJECT = hash_bytes(SMALL)


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("data")) as server:
        yield server


@pytest.fixture(scope="module")
def client(registry: Running) -> Iterator[httpx.Client]:
    """Has no token: signed URLs need none."""
    with httpx.Client(base_url=registry.url, timeout=30) as anonymous:
        yield anonymous


@pytest.fixture
def signer(registry: Running) -> UrlSigner:
    return UrlSigner(registry.folder.signing_key())


contents = itertools.count()


@pytest.fixture
def content() -> bytes:
    """Bytes that no other test uploads."""
    return b"%06d " % next(contents) * 50_000


@pytest.fixture
def stored(registry: Running, client: httpx.Client) -> SignedRequest:
    """A read of an object that is there."""
    upload = sign_upload(registry, SMALL)
    answer = client.put(upload.url, content=SMALL, headers=dict(upload.headers))
    assert answer.status_code in (200, 412)
    return transfers_of(registry).sign_read(OBJECT)


def transfers_of(registry: Running) -> FolderTransfers:
    assert isinstance(registry.registry.objects, FolderTransfers)
    return registry.registry.objects


def sign_upload(registry: Running, content: bytes) -> SignedRequest:
    transfers, object_id = transfers_of(registry), hash_bytes(content)
    handle = transfers.begin_upload(object_id, len(content))
    parts = transfers.sign_upload(object_id, len(content), handle, ())
    request = parts[0].request if parts else None
    # Where it is there already, a request that was signed before still exists.
    signer = UrlSigner(registry.folder.signing_key())
    return request or signer.sign_upload(
        Grant(object_id, handle, 0, len(content), len(content), object_id)
    )


def is_stored(registry: Running, content: bytes) -> bool:
    return any(registry.folder.root.glob(f"objects/sha256/*/{hash_bytes(content)}"))


def list_incoming(registry: Running) -> list[Path]:
    return list((registry.folder.root / "incoming").iterdir())


def kind_of(answer: httpx.Response) -> str:
    return error_from_json(answer.json(), fallback=PlaitError).kind


def altered(url: str, **changes: str | None) -> str:
    """Return a URL with other query parameters; None removes one."""
    path, _, query = url.partition("?")
    fields = {**dict(parse_qsl(query, keep_blank_values=True)), **changes}
    return (
        f"{path}?{urlencode({name: value for name, value in fields.items() if value is not None})}"
    )


# --- uploads ---


def test_object_is_uploaded_and_read_back(registry: Running, client: httpx.Client) -> None:
    content = random.Random(5).randbytes(3 * MIB + 17)
    upload = sign_upload(registry, content)
    answer = client.put(upload.url, content=content, headers=dict(upload.headers))
    assert answer.status_code == 200
    read = client.get(transfers_of(registry).sign_read(hash_bytes(content)).url)
    assert read.status_code == 200
    assert read.content == content
    assert read.headers["content-length"] == str(len(content))
    assert read.headers["etag"] == f'"{hash_bytes(content)}"'
    assert read.headers["cache-control"] == "private, immutable"


def test_body_without_a_declared_length_is_taken(
    registry: Running, client: httpx.Client, content: bytes
) -> None:
    upload = sign_upload(registry, content)
    chunks = (content[start : start + 7_777] for start in range(0, len(content), 7_777))
    assert client.put(upload.url, content=chunks, headers=dict(upload.headers)).status_code == 200
    assert is_stored(registry, content)


def test_wrong_bytes_are_refused_and_leave_nothing(
    registry: Running, client: httpx.Client, content: bytes
) -> None:
    upload = sign_upload(registry, content)
    answer = client.put(upload.url, content=content[::-1], headers=dict(upload.headers))
    assert (answer.status_code, kind_of(answer)) == (400, "digest-mismatch")
    assert not is_stored(registry, content)
    assert list_incoming(registry) == []


@pytest.mark.parametrize("change", [-1, 1])
def test_declared_length_that_was_not_signed_is_refused(
    registry: Running, client: httpx.Client, content: bytes, change: int
) -> None:
    upload = sign_upload(registry, content)
    body = content[:-1] if change < 0 else content + b"x"
    answer = client.put(upload.url, content=body, headers=dict(upload.headers))
    assert (answer.status_code, kind_of(answer)) == (400, "size-mismatch")
    assert list_incoming(registry) == []


@pytest.mark.parametrize("length", [0, 10, 249_000])
def test_stream_that_ends_early_is_refused(
    registry: Running, client: httpx.Client, content: bytes, length: int
) -> None:
    upload = sign_upload(registry, content)
    chunks = iter([content[:length]])
    answer = client.put(upload.url, content=chunks, headers=dict(upload.headers))
    assert (answer.status_code, kind_of(answer)) == (400, "size-mismatch")
    assert not is_stored(registry, content)


def test_endless_stream_is_cut_off_at_the_signed_size(
    registry: Running, client: httpx.Client, content: bytes
) -> None:
    upload = sign_upload(registry, content)
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        while sent < 1_000 * MIB:
            sent += MIB
            yield content[:1_000] * 1_049

    # Whether the sender still sees the answer is up to its network.
    with contextlib.suppress(httpx.NetworkError):
        answer = client.put(upload.url, content=endless(), headers=dict(upload.headers))
        assert answer.status_code == 400
    assert sent < 100 * MIB
    assert not is_stored(registry, content)


def test_object_that_is_there_is_not_overwritten(
    registry: Running, client: httpx.Client, content: bytes
) -> None:
    upload = sign_upload(registry, content)
    for status in (200, 412):
        answer = client.put(upload.url, content=content, headers=dict(upload.headers))
        assert answer.status_code == status
    assert kind_of(answer) == "object-exists"


@pytest.mark.parametrize("name", ["x-amz-checksum-sha256", "if-none-match"])
@pytest.mark.parametrize("value", [None, "", "x", "AAAA"])
def test_whole_object_needs_its_signed_headers(
    registry: Running, client: httpx.Client, content: bytes, name: str, value: str | None
) -> None:
    upload = sign_upload(registry, content)
    headers = {key.lower(): text for key, text in upload.headers.items()}
    if value is None:
        del headers[name]
    else:
        headers[name] = value
    answer = client.put(upload.url, content=content, headers=headers)
    assert (answer.status_code, kind_of(answer)) == (403, "signed-url-invalid")
    assert not is_stored(registry, content)


def test_checksum_of_other_bytes_cannot_bring_them_in_under_the_objects_name(
    registry: Running, client: httpx.Client, content: bytes
) -> None:
    upload = sign_upload(registry, content)
    other = content[::-1]
    headers = {**upload.headers, **checksum_headers(other)}
    answer = client.put(upload.url, content=other, headers=headers)
    assert answer.status_code == 403
    assert not is_stored(registry, content)


def raw_request(request: SignedRequest, length: int) -> bytes:
    lines = [f"PUT {request.url} HTTP/1.1", "host: x", f"content-length: {length}"]
    lines += [f"{name}: {value}" for name, value in request.headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def test_sender_that_goes_away_leaves_nothing(registry: Running, content: bytes) -> None:
    upload = sign_upload(registry, content)
    address = urlsplit(registry.url)
    with socket.create_connection((address.hostname or "", address.port or 0), 10) as raw:
        raw.sendall(raw_request(upload, len(content)) + content[:-100])
        wait_until(lambda: len(list_incoming(registry)) == 1)
        assert not is_stored(registry, content)
    wait_until(lambda: list_incoming(registry) == [])
    assert not is_stored(registry, content)


def test_reader_that_goes_away_stops_the_reading(registry: Running, client: httpx.Client) -> None:
    content = bytes(32 * MIB)
    upload = sign_upload(registry, content)
    client.put(upload.url, content=content, headers=dict(upload.headers))
    url = transfers_of(registry).sign_read(hash_bytes(content)).url
    with client.stream("GET", url) as answer:
        assert next(answer.iter_raw())
    assert client.get("/healthz").status_code == 200


# --- parts ---


def sign_parts(registry: Running) -> tuple[ObjectId, list[SignedRequest]]:
    """Return the requests for the parts of an object over 64 MiB, of which the last is `x`."""
    object_id = hash_bytes(b"%d" % next(contents))
    transfers = transfers_of(registry)
    handle = transfers.begin_upload(object_id, LARGE_SIZE)
    digests = [*[object_id] * 4, hash_bytes(b"x")]
    parts = transfers.sign_upload(object_id, LARGE_SIZE, handle, digests)
    assert [part.size for part in parts] == [16 * MIB] * 4 + [1]
    return object_id, [part.request for part in parts if part.request]


def test_last_part_arrives_by_itself(registry: Running, client: httpx.Client) -> None:
    _, requests = sign_parts(registry)
    headers = checksum_headers(b"x")
    assert client.put(requests[-1].url, content=b"x", headers=headers).status_code == 200
    again = client.put(requests[-1].url, content=b"x", headers=headers)
    assert (again.status_code, kind_of(again)) == (412, "object-exists")


def test_part_needs_a_checksum_that_fits(registry: Running, client: httpx.Client) -> None:
    _, requests = sign_parts(registry)
    for headers in ({}, checksum_headers(b"y")):
        answer = client.put(requests[-1].url, content=b"y", headers=headers)
        assert (answer.status_code, kind_of(answer)) == (403, "signed-url-invalid")
    wrong = client.put(requests[-1].url, content=b"y", headers=checksum_headers(b"x"))
    assert (wrong.status_code, kind_of(wrong)) == (400, "digest-mismatch")


@pytest.mark.parametrize("name", ["handle", "offset", "size", "total", "expires"])
def test_part_cannot_be_sent_as_another_one(
    registry: Running, client: httpx.Client, name: str
) -> None:
    _, requests = sign_parts(registry)
    _, others = sign_parts(registry)
    fields = dict(parse_qsl(urlsplit(others[0].url).query))
    changed = fields[name] if name == "handle" else str(int(fields[name]) + 1)
    answer = client.put(
        altered(requests[-1].url, **{name: changed}), content=b"x", headers=checksum_headers(b"x")
    )
    assert (answer.status_code, kind_of(answer)) == (403, "signed-url-invalid")


def test_part_cannot_pose_as_the_whole_object(registry: Running, client: httpx.Client) -> None:
    _, requests = sign_parts(registry)
    url = altered(requests[-1].url, offset="0", total="1")
    headers = {**checksum_headers(b"x"), "if-none-match": "*"}
    assert client.put(url, content=b"x", headers=headers).status_code == 403


# --- signatures ---


@pytest.mark.parametrize(
    "changes",
    [
        {"signature": None},
        {"signature": ""},
        {"signature": "0" * 64},
        {"expires": "99999999999"},
        {"expires": None},
        {"expires": "-1"},
        {"extra": "1"},
        {"expires": "1\n2"},
        {"signature": "ü"},
    ],
)
def test_altered_query_is_refused(
    client: httpx.Client, stored: SignedRequest, changes: Mapping[str, str | None]
) -> None:
    answer = client.get(altered(stored.url, **changes))
    assert (answer.status_code, kind_of(answer)) == (403, "signed-url-invalid")


@pytest.mark.parametrize("query", ["", "?", "?&&", "?signature", "?%ff=%ff", "?" + "a=1&" * 40])
def test_query_that_was_never_signed_is_refused(
    client: httpx.Client, stored: SignedRequest, query: str
) -> None:
    answer = client.get(stored.url.partition("?")[0] + query)
    assert (answer.status_code, kind_of(answer)) == (403, "signed-url-invalid")


def test_parameter_given_twice_is_refused(client: httpx.Client, stored: SignedRequest) -> None:
    answer = client.get(f"{stored.url}&expires=99999999999")
    assert answer.status_code == 403


def test_expired_url_is_told_apart_from_an_altered_one(
    registry: Running, client: httpx.Client
) -> None:
    key = registry.folder.signing_key()
    expired = UrlSigner(key, now=lambda: time.time() - 7_200).sign_read(OBJECT)
    answer = client.get(expired.url)
    assert (answer.status_code, kind_of(answer)) == (403, "signed-url-expired")
    answer = client.get(altered(expired.url, expires=str(int(time.time()) + 60)))
    assert (answer.status_code, kind_of(answer)) == (403, "signed-url-invalid")


def test_url_of_one_object_does_not_open_another(
    client: httpx.Client, stored: SignedRequest, signer: UrlSigner
) -> None:
    other = signer.sign_read(hash_bytes(b"absent"))
    assert client.get(other.url).status_code == 404
    answer = client.get(stored.url.replace(OBJECT, hash_bytes(b"absent")))
    assert answer.status_code == 403


def test_url_of_another_registry_is_refused(client: httpx.Client, stored: SignedRequest) -> None:
    foreign = UrlSigner(b"another key").sign_read(OBJECT)
    assert client.get(foreign.url).status_code == 403


@pytest.mark.parametrize("method", ["PUT", "POST", "DELETE", "PATCH", "OPTIONS"])
def test_read_allows_nothing_but_reading(
    client: httpx.Client, stored: SignedRequest, method: str
) -> None:
    answer = client.request(method, stored.url)
    assert answer.status_code == (403 if method == "PUT" else 405)
    assert client.get(stored.url).content == SMALL


def test_upload_allows_no_reading(registry: Running, client: httpx.Client, content: bytes) -> None:
    upload = sign_upload(registry, content)
    client.put(upload.url, content=content, headers=dict(upload.headers))
    assert client.get(upload.url).status_code == 403
    assert client.head(upload.url).status_code == 403


@pytest.mark.parametrize(
    "path",
    [
        "/objects/" + OBJECT.upper(),
        "/objects/" + OBJECT[:-1],
        "/objects/" + OBJECT + "/",
        "/objects//" + OBJECT,
        "/objects/../objects/" + OBJECT,
        "/objects/..%2f..%2fadmin.token",
        "/objects/%2e%2e/%2e%2e/admin.token",
        "/objects/" + OBJECT + "%00",
        "/objects/" + OBJECT + "%0a",
        "/objects/",
    ],
)
def test_any_other_path_is_refused(registry: Running, stored: SignedRequest, path: str) -> None:
    address = urlsplit(registry.url)
    query = stored.url.partition("?")[2]
    # By hand: clients tidy such paths up before they send them.
    with socket.create_connection((address.hostname or "", address.port or 0), 10) as raw:
        raw.sendall(f"GET {path}?{query} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: raw.recv(65_536), b""))
    assert re.match(rb"HTTP/1.1 40[034] ", answer)
    assert SMALL not in answer
    assert registry.token.encode() not in answer


def test_percent_encoding_of_the_same_path_is_the_same_request(
    client: httpx.Client, stored: SignedRequest
) -> None:
    encoded = stored.url.replace(OBJECT, f"%{ord(OBJECT[0]):02x}{OBJECT[1:]}")
    assert client.get(encoded).content == SMALL


# --- ranges ---


@pytest.mark.parametrize(
    ("header", "begin", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=0-", 0, 100_000),
        ("bytes=10-99", 10, 100),
        ("bytes=99999-", 99_999, 100_000),
        ("bytes=99999-200000", 99_999, 100_000),
        ("bytes=-1", 99_999, 100_000),
        ("bytes=-100000", 0, 100_000),
        ("bytes=-999999", 0, 100_000),
    ],
)
def test_range_is_served_as_such(
    client: httpx.Client, stored: SignedRequest, header: str, begin: int, end: int
) -> None:
    for method in ("GET", "HEAD"):
        answer = client.request(method, stored.url, headers={"Range": header})
        assert answer.status_code == 206
        assert answer.headers["content-range"] == f"bytes {begin}-{end - 1}/100000"
        assert answer.headers["content-length"] == str(end - begin)
        assert answer.content == (SMALL[begin:end] if method == "GET" else b"")


@pytest.mark.parametrize(
    "header",
    [
        "",
        "bytes",
        "bytes=",
        "bytes=-",
        "bytes=a-b",
        "bytes=5-4",
        "bytes=0-1,5-6",
        "bytes=0-1,",
        "lines=0-1",
        "bytes=+1-2",
        "bytes=1 -2",
        "bytes=" + "9" * 5_000 + "-",
        "bytes=0-" + "9" * 30,
    ],
)
def test_whatever_is_no_single_range_gets_the_whole_object(
    client: httpx.Client, stored: SignedRequest, header: str
) -> None:
    answer = client.get(stored.url, headers={"Range": header})
    assert answer.status_code == 200
    assert answer.content == SMALL


@pytest.mark.parametrize("header", ["bytes=100000-", "bytes=100000-100001", "bytes=-0"])
def test_range_outside_the_object_is_refused_with_its_size(
    client: httpx.Client, stored: SignedRequest, header: str
) -> None:
    answer = client.get(stored.url, headers={"Range": header})
    assert (answer.status_code, kind_of(answer)) == (416, "range-not-satisfiable")
    assert answer.headers["content-range"] == "bytes */100000"


def test_range_of_another_version_is_not_served(
    client: httpx.Client, stored: SignedRequest
) -> None:
    same = {"Range": "bytes=0-1", "If-Range": f'"{OBJECT}"'}
    assert client.get(stored.url, headers=same).status_code == 206
    other = {"Range": "bytes=0-1", "If-Range": '"other"'}
    assert client.get(stored.url, headers=other).status_code == 200


def test_head_tells_the_size_without_the_bytes(client: httpx.Client, stored: SignedRequest) -> None:
    answer = client.head(stored.url)
    assert answer.status_code == 200
    assert answer.headers["content-length"] == "100000"
    assert answer.content == b""


def test_empty_object_is_read_as_such(registry: Running, client: httpx.Client) -> None:
    upload = sign_upload(registry, b"")
    answer = client.put(upload.url, content=b"", headers=dict(upload.headers))
    assert answer.status_code in (200, 412)
    url = transfers_of(registry).sign_read(hash_bytes(b"")).url
    assert client.get(url).content == b""
    assert client.get(url, headers={"Range": "bytes=0-"}).status_code == 416
