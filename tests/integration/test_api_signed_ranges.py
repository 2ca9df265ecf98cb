"""A version that shares tensors with a private one opens the shared bytes, and none beside them.

The bytes of both lie in one object, which belongs to the private repository. What a reader of the
other version gets are signed ranges: whatever is sent with them, nothing else is answered.
"""

import hashlib
import itertools
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import httpx
import pytest

from plait import downloads
from plait.downloads import Downloader, Fetch, Piece
from plait.errors import Integrity, Unavailable
from plait.http_transport import HttpTransport
from plait.model.address import RepositoryName
from plait.model.ids import ObjectId
from plait.parallel import run_parallel
from plait.wire import SignedRequest
from plait_registry.adapters.url_signing import UrlSigner
from plait_registry.domain import extents
from reference.memory_registry import WEIGHTS, Version, make_version
from served.accounts import People, kind_of, peopled, succeed
from served.pushing import download, push_version

HIDDEN = b"TOP-SECRET-TENSOR" * 100
SPAN = 100_000

_numbers = itertools.count()


@dataclass(frozen=True)
class Shared:
    """A version that a stranger may read, and the private one with which it shares a tensor."""

    people: People
    reader: httpx.Client
    token: str
    team: str
    """The URL of the private repository."""
    name: RepositoryName
    """Of the repository that the stranger reads."""
    private: Version
    public: Version

    @property
    def url(self) -> str:
        return f"/api/v1/repositories/{self.name}"

    @property
    def data(self) -> bytes:
        """All bytes that the stranger may read of the weights."""
        return self.public.contents[weights_of(self.public)]

    def signed(self) -> list[SignedRequest]:
        """Return the signed reads of the weights."""
        body = {"files": [weights_of(self.public)]}
        found = succeed(self.reader.post(f"{self.url}/downloads", json=body))
        return [SignedRequest(**item) for item in found["objects"]]

    def send(self, request: SignedRequest, headers: dict[str, str]) -> httpx.Response:
        return httpx.get(self.reader.base_url.join(request.url), headers=headers, timeout=30)


def weights_of(version: Version) -> ObjectId:
    files = version.manifest["files"]
    return next(ObjectId(file["sha256"]) for file in files if file["path"] == WEIGHTS)


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Iterator[People]:
    with peopled(tmp_path_factory.mktemp("data")) as served:
        yield served


def publish_as_member(case: Shared) -> None:
    """Push by who may read the private repository, so that only what differs is sent."""
    case.people.make_repository(str(case.name), private=False)
    result = push_version(case.people.admin, case.url, case.public)
    assert result.bytes_stored < 2_000


def send_the_same_bytes(case: Shared) -> None:
    """Push by a stranger who has all bytes, of a file that is stored already by a member's push."""
    second = case.people.make_repository(f"team/next-{case.name.name}")
    assert push_version(case.people.admin, second, case.public).bytes_stored < 2_000
    case.people.make_repository(str(case.name))
    assert push_version(case.reader, case.url, case.public).bytes_stored > len(case.data)


@pytest.fixture(params=[publish_as_member, send_the_same_bytes])
def shared(
    request: pytest.FixtureRequest, people: People, monkeypatch: pytest.MonkeyPatch
) -> Shared:
    monkeypatch.setattr(extents, "LARGEST_SPAN", SPAN)
    number = next(_numbers)
    embedding = random.Random(number).randbytes(256 * 1024)
    private = make_version(f"v1 {number}", tensors={"a": HIDDEN, "embedding": embedding})
    public = make_version(f"v2 {number}", tensors={"a": b"public", "embedding": embedding})
    team = people.make_repository(f"team/secret{number}")
    push_version(people.admin, team, private)
    token = people.add(f"eve{number}")
    namespace = "team" if request.param is publish_as_member else f"eve{number}"
    name = RepositoryName(namespace, f"open{number}")
    case = Shared(people, people.client(token), token, team, name, private, public)
    request.param(case)
    return case


@pytest.mark.parametrize(
    "header", [None, "bytes=0-", "bytes=0-99999999", "bytes=-1000", "bytes=0-0", "bytes=999999-"]
)
def test_signed_reads_yield_nothing_but_the_file(shared: Shared, header: str | None) -> None:
    assert shared.reader.get(shared.team).status_code == 404
    limited = [request for request in shared.signed() if request.headers]
    for request in limited:
        answer = shared.send(request, {} if header is None else {"Range": header})
        assert answer.status_code == 206
        assert answer.content in shared.data
        assert len(answer.content) <= SPAN
        head = httpx.head(shared.reader.base_url.join(request.url), timeout=30)
        assert head.headers["content-length"] == str(len(answer.content))
    assert len(limited) >= 256 * 1024 // SPAN


def test_no_signed_read_opens_what_is_private(shared: Shared) -> None:
    assert HIDDEN in shared.private.contents[weights_of(shared.private)]
    for request in shared.signed():
        for headers in ({}, request.headers, {"Range": "bytes=0-"}):
            assert HIDDEN[:20] not in shared.send(request, headers).content


def test_file_is_read_by_its_ranges_byte_for_byte(shared: Shared) -> None:
    assert download(shared.reader, shared.url, weights_of(shared.public)) == shared.data


def test_own_objects_are_signed_whole(shared: Shared) -> None:
    digest = weights_of(shared.private)
    answer = shared.people.admin.post(f"{shared.team}/downloads", json={"files": [digest]})
    (request,) = succeed(answer)["objects"]
    assert request["headers"] == {}
    whole = httpx.get(shared.reader.base_url.join(request["url"]), timeout=30).content
    assert whole[:-16] == shared.private.contents[digest]


def test_ranges_stay_limited_when_the_private_repository_is_gone(shared: Shared) -> None:
    succeed(shared.people.admin.delete(shared.team))
    # SQLite gives the id of the row that was last to the next one.
    again = shared.people.make_repository(f"team/again-{shared.name.name}", private=False)
    push_version(shared.people.admin, again, shared.public)
    for url in (shared.url, again):
        found = succeed(
            shared.reader.post(f"{url}/downloads", json={"files": [weights_of(shared.public)]})
        )
        for item in found["objects"]:
            assert HIDDEN[:20] not in shared.send(SignedRequest(**item), {}).content
        assert download(shared.reader, url, weights_of(shared.public)) == shared.data


class Stopping(HttpTransport):
    """A transport whose machine has no room when `left` receives are used up."""

    left = 1_000

    def receive(self, request: SignedRequest, start: int, stop: int) -> Iterator[memoryview]:
        if self.left <= 0:
            raise Unavailable("disk-full", "The disk is full.")
        self.left -= 1
        yield from super().receive(request, start, stop)


@pytest.fixture
def transport(shared: Shared) -> Iterator[Stopping]:
    made = Stopping(shared.people.server.url, shared.token)
    yield made
    made.close()


def verify(expected: bytes, path: Path) -> None:
    if path.read_bytes() != expected:
        raise Integrity("digest-mismatch", "Other bytes.")


def fetch_of(shared: Shared, target: Path, *ranges: tuple[int, int]) -> Fetch:
    """Return a fetch of ranges of the weights, joined."""
    wanted = b"".join(shared.data[begin:end] for begin, end in ranges)
    ends = itertools.accumulate((end - begin for begin, end in ranges), initial=0)
    pieces = [Piece(begin, end, at) for (begin, end), at in zip(ranges, ends, strict=False)]
    check: Callable[[Path], None] = partial(verify, wanted)
    return Fetch(weights_of(shared.public), len(wanted), target, pieces, check)


def test_part_of_a_file_is_fetched_from_the_middle_of_its_ranges(
    shared: Shared, transport: Stopping, tmp_path: Path
) -> None:
    size = len(shared.data)
    loader = Downloader(transport, shared.name)
    assert loader.read(weights_of(shared.public), 3, 90) == shared.data[3:90]
    ranges = [(5, 500), (SPAN - 1, SPAN + 2), (2 * SPAN + 77, size - 3), (size - 1, size)]
    loader.fetch([fetch_of(shared, tmp_path / "part", *ranges)])


def test_interrupted_fetch_goes_on_where_it_was(
    shared: Shared, transport: Stopping, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loader = Downloader(transport, shared.name)
    monkeypatch.setattr(downloads, "run_parallel", partial(run_parallel, workers=1))
    transport.left = 2
    with pytest.raises(Unavailable):
        loader.fetch([fetch_of(shared, tmp_path / "whole", (0, len(shared.data)))])
    transport.left = 1_000
    received = loader.fetch([fetch_of(shared, tmp_path / "whole", (0, len(shared.data)))])
    assert received < len(shared.data)
    assert hashlib.sha256((tmp_path / "whole").read_bytes()).hexdigest() == weights_of(
        shared.public
    )


@pytest.fixture
def limited(shared: Shared) -> SignedRequest:
    return next(request for request in shared.signed() if request.headers)


@pytest.mark.parametrize("header", ["bytes=0-99999999", "bytes=0-", "bytes=5-4", "", None])
def test_range_of_a_signed_read_cannot_be_changed(
    shared: Shared, limited: SignedRequest, header: str | None
) -> None:
    url = httpx.URL(limited.url)
    left = url.params.remove("span")
    changed = left if header is None else left.set("span", header)
    answer = shared.send(SignedRequest("GET", str(url.copy_with(params=changed)), {}), {})
    assert (answer.status_code, kind_of(answer)) == (403, "signed-url-invalid")


def test_range_cannot_be_added_to_a_signed_read(shared: Shared, limited: SignedRequest) -> None:
    signer = UrlSigner(shared.people.server.folder.signing_key())
    url = signer.sign_read(ObjectId(httpx.URL(limited.url).path.rpartition("/")[2])).url
    answer = shared.send(SignedRequest("GET", f"{url}&span=bytes%3D0-9", {}), {})
    assert answer.status_code == 403


def test_range_of_a_signed_read_is_for_reading_only(shared: Shared, limited: SignedRequest) -> None:
    target = shared.reader.base_url.join(limited.url)
    assert httpx.put(target, content=b"x", timeout=30).status_code == 403
