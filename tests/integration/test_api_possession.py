"""Whoever knows a digest learns nothing by it: neither that bytes are stored, nor the bytes.

Each test does the same in two registries, of which one holds a private copy in another namespace:
whatever the stranger is told must be the same in both.
"""

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from plait import wire
from plait.model import canonical
from plait.model.ids import ObjectId, hash_bytes
from plait_registry.domain.dedup import SALT_SIZE
from reference.memory_registry import WEIGHTS, Version, make_version
from served.accounts import API, People, kind_of, peopled, succeed
from served.pushing import announce, begin_push, complete, download, push_version, upload
from served.stores import checksum_headers

_numbers = itertools.count()

VERSIONS = pytest.mark.parametrize("name", ["file", "tensor"])


@dataclass
class Side:
    """A registry as the stranger meets it."""

    people: People
    stranger: httpx.Client
    url: str
    """Of the stranger's own repository."""


@dataclass(frozen=True)
class Case:
    """What one test works on; no other test has the same bytes."""

    there: Side
    """The registry with a private copy of `secret`, in `team`."""
    absent: Side
    """The registry without."""
    team: str
    """The URL of the private repository."""
    shared: bytes
    """A tensor of both versions, large enough to be worth a plan that leaves it out."""
    secret: Version
    similar: Version
    """Another file, most of whose bytes are that tensor."""

    @property
    def sides(self) -> tuple[Side, Side]:
        """Return both registries."""
        return self.there, self.absent

    def version(self, name: str) -> Version:
        """Return one of the versions by its name."""
        return {"file": self.secret, "tensor": self.similar}[name]


@pytest.fixture(scope="module")
def registries(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[People, People]]:
    root = tmp_path_factory.mktemp("data")
    with peopled(root / "there") as first, peopled(root / "absent") as second:
        yield first, second


@pytest.fixture
def case(registries: tuple[People, People]) -> Case:
    number = next(_numbers)
    shared = bytes(random.Random(number).randbytes(256 * 1024))
    secret = make_version(f"secret {number}", tensors={"a": b"secret", "embedding": shared})
    similar = make_version(f"similar {number}", tensors={"a": b"mine", "embedding": shared})
    sides = []
    for people in registries:
        name = f"stranger{number}"
        client = people.client(people.add(name))
        sides.append(Side(people, client, people.make_repository(f"{name}/own")))
    team = registries[0].make_repository(f"team/secret{number}")
    push_version(registries[0].admin, team, secret)
    return Case(sides[0], sides[1], team, shared, secret, similar)


def shape_of(plan: wire.PushPlan) -> tuple[Any, ...]:
    """Return what a plan tells, but for what is random in it."""
    files = [(file.sha256, file.size, list(file.ranges)) for file in plan.files]
    return files, plan.bytes_known, len(plan.salt), plan.largest_whole, plan.part_size


def weights_of(version: Version) -> str:
    return next(
        str(file["sha256"]) for file in version.manifest["files"] if file["path"] == WEIGHTS
    )


@VERSIONS
def test_plan_asks_a_stranger_for_all_bytes(case: Case, name: str) -> None:
    there, absent = (
        shape_of(begin_push(side.stranger, side.url, case.version(name))) for side in case.sides
    )
    assert there == absent
    files, known, *_ = there
    assert known == 0
    assert [ranges for _, size, ranges in files if size] == [
        [(0, size)] for _, size, _ in files if size
    ]


@VERSIONS
def test_upload_that_was_announced_and_never_sent_is_refused(case: Case, name: str) -> None:
    told = []
    for side in case.sides:
        plan = begin_push(side.stranger, side.url, case.version(name))
        uploads = announce(side.stranger, side.url, plan, case.version(name)).uploads
        # Everything is to be sent: an upload without parts would say that it arrived already.
        assert all(part.request is not None for item in uploads for part in item.parts)
        assert all(item.parts for item in uploads)
        answer = complete(side.stranger, side.url, plan)
        told.append((answer.status_code, kind_of(answer), [len(item.parts) for item in uploads]))
    assert told[0] == told[1]
    assert told[0][:2] == (404, "object-not-found")


def test_ranges_that_leave_out_the_private_tensor_are_refused(case: Case) -> None:
    told = []
    for side in case.sides:
        plan = begin_push(side.stranger, side.url, case.similar)
        data = case.similar.contents[ObjectId(weights_of(case.similar))]
        begin = data.index(case.shared)
        ranges = [(0, begin), (begin + len(case.shared), len(data))]
        body = b"".join(data[first:last] for first, last in ranges) + bytes.fromhex(plan.salt)
        item = wire.NewObject(weights_of(case.similar), ranges, hash_bytes(body), len(body))
        url = f"{side.url}/pushes/{plan.push}/uploads"
        answer = side.stranger.post(url, json=wire.encode(wire.UploadRequest([item])))
        told.append((answer.status_code, answer.content))
    assert told[0] == told[1]
    assert told[0][0] == 422


def test_private_object_is_not_named_in_a_push_of_somebody_else(case: Case) -> None:
    # What a stranger would need is the name of the object, which the salt makes unguessable; even
    # with it nothing is told: here the plain sha256 of the file, and of the file with a salt.
    told = []
    for side in case.sides:
        plan = begin_push(side.stranger, side.url, case.secret)
        data = case.secret.contents[ObjectId(weights_of(case.secret))]
        items = [
            wire.NewObject(weights_of(case.secret), [(0, len(data))], name, len(data) + 16)
            for name in (weights_of(case.secret), hash_bytes(data + bytes(16)))
        ]
        url = f"{side.url}/pushes/{plan.push}/uploads"
        answer = side.stranger.post(url, json=wire.encode(wire.UploadRequest(items)))
        parts = [len(item["parts"]) for item in succeed(answer)["uploads"]]
        done = complete(side.stranger, side.url, plan)
        told.append((parts, done.status_code, kind_of(done)))
    assert told[0] == told[1] == ([1, 1], 404, "object-not-found")


@pytest.mark.parametrize("document", ["commit", "manifest"])
@pytest.mark.parametrize("sends", [False, True], ids=["announced", "sent"])
def test_commit_or_manifest_whose_bytes_one_has_is_answered_as_if_it_were_absent(
    case: Case, document: str, *, sends: bool
) -> None:
    # A file that ends as the document would if its last bytes were the salt; it sorts first.
    body = canonical.dumps(getattr(case.secret, document))
    claim = make_version("claim", more={"a-claim.json": body[:-SALT_SIZE]})
    file = hash_bytes(body[:-SALT_SIZE])
    told = []
    for side in case.sides:
        plan = begin_push(side.stranger, side.url, claim)
        item = wire.NewObject(file, [(0, len(body) - SALT_SIZE)], hash_bytes(body), len(body))
        url = f"{side.url}/pushes/{plan.push}/uploads"
        answer = side.stranger.post(url, json=wire.encode(wire.UploadRequest([item])))
        (announced,) = wire.decode(wire.Uploads, succeed(answer)).uploads
        (part,) = announced.parts
        assert part.request is not None
        sent = None
        if sends:
            headers = {**checksum_headers(body), **part.request.headers}
            target = side.stranger.base_url.join(part.request.url)
            sent = httpx.put(target, content=body, headers=headers, timeout=30).status_code
        done = complete(side.stranger, side.url, plan)
        told.append((sent, done.status_code, done.json()))
    assert told[0] == told[1]
    assert told[0][:2] == ((200, 422) if sends else (None, 404))


@VERSIONS
def test_upload_of_the_same_bytes_is_counted_as_if_they_were_new(case: Case, name: str) -> None:
    told = []
    for side in case.sides:
        plan = begin_push(side.stranger, side.url, case.version(name))
        sent = upload(side.stranger, side.url, plan, case.version(name))
        done = succeed(complete(side.stranger, side.url, plan))
        told.append((sent, done))
        assert sent == done["bytes_stored"]
        assert sent > len(case.shared)
    assert told[0] == told[1]


def test_both_read_what_both_pushed_and_deleting_one_keeps_the_other(case: Case) -> None:
    side = case.there
    push_version(side.stranger, side.url, case.secret)
    team, digest = case.team, weights_of(case.secret)
    data = case.secret.contents[ObjectId(digest)]
    assert download(side.stranger, side.url, digest) == data
    assert download(side.people.admin, team, digest) == data
    succeed(side.people.admin.delete(team))
    assert download(side.stranger, side.url, digest) == data
    assert succeed(side.stranger.get(f"{side.url}/resolve"))["commit"] == case.secret.id


def test_bytes_are_shared_within_what_a_pusher_may_read(case: Case) -> None:
    side = case.there
    member = side.people.client(side.people.add(f"member{next(_numbers)}", team="maintainer"))
    url = f"{API}/repositories/team/second"
    succeed(member.post(f"{API}/repositories", json={"namespace": "team", "name": "second"}))
    plan = begin_push(member, url, case.secret)
    assert plan.files == []
    assert plan.bytes_known == sum(file["size"] for file in case.secret.manifest["files"])
    assert succeed(complete(member, url, plan))["bytes_stored"] == 0
    assert (
        download(member, url, weights_of(case.secret))
        == case.secret.contents[ObjectId(weights_of(case.secret))]
    )


def test_scope_of_a_token_limits_what_its_pushes_may_share(case: Case) -> None:
    side = case.there
    side.people.add("ci", team="writer")
    url = side.people.make_repository("team/third")
    narrow = side.people.client(side.people.token("ci", "team/third:write"))
    assert begin_push(narrow, url, case.secret).bytes_known == 0
    wide = side.people.client(side.people.token("ci", "team:write"))
    assert begin_push(wide, url, case.secret).files == []
