"""Validations over HTTP: what is expected, seen and signed, and what it takes to move a ref."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from database_suite.validation_rows import BASE, DIGESTS, OTHER_DIGESTS
from plait import validations
from plait.errors import AlreadyExists, Conflict, InvalidInput, NotFound, PermissionDenied
from plait.http_transport import HttpTransport
from plait.model.address import RepositoryName
from plait.model.attestation import make_statement
from plait.model.ids import hash_bytes
from plait.model.manifest import Manifest
from plait.model.validation import BaseWeights, Validation, Verdict
from plait.signing import SigningKey, generate_key
from plait.wire_validation import NewExpectedDigests, NewValidatorKey, ValidatorKey
from reference.memory_registry import Version, make_version
from served.accounts import API, People, peopled, refusal_of, succeed
from served.pushing import push_version

FIRST = make_version("first")
SECOND = make_version("second", FIRST.id)
SQL = RepositoryName("team", "sql")
URL = f"{API}/repositories/team/sql"
SEEN = Validation(
    definition=DIGESTS.definition,
    commit=SECOND.id,
    base=BASE,
    base_weights=BaseWeights.ORIGINAL,
    verdict=Verdict.VERIFIED,
    started_at="2026-11-24T06:07:00Z",
    ended_at="2026-11-24T06:08:00Z",
    root=DIGESTS.root,
    tensors=DIGESTS.tensors,
    environment={"device": "cpu"},
)


@pytest.fixture
def people(tmp_path: Path) -> Iterator[People]:
    with peopled(tmp_path / "data") as opened:
        opened.add("will", team="maintainer")
        opened.add("rose", team="reader")
        opened.make_repository("team/sql")
        push_version(opened.admin, URL, FIRST)
        push_version(opened.admin, URL, SECOND, expected=FIRST.id)
        yield opened


@pytest.fixture
def will(people: People) -> Iterator[HttpTransport]:
    """Who validates."""
    with closing(HttpTransport(people.server.url, people.token("will"))) as transport:
        yield transport


@pytest.fixture
def chief(people: People) -> Iterator[HttpTransport]:
    """Who registers keys."""
    with closing(HttpTransport(people.server.url, people.add("chief", admin=True))) as transport:
        yield transport


def register(chief: HttpTransport, path: Path) -> SigningKey:
    key = generate_key(path)
    wanted = NewValidatorKey(key.public_key, f"the lab's {path.stem}")
    assert validations.register_key(chief, wanted).keyid == key.keyid
    return key


def sign(key: SigningKey, version: Version = SECOND) -> dict[str, Any]:
    statement = make_statement(
        replace(SEEN, commit=version.id),
        Manifest.from_json(version.manifest),
        repository=str(SQL),
        signed_at="2026-11-24T06:08:00Z",
    )
    return key.sign(statement.to_bytes())


def expect(will: HttpTransport, digests: dict[str, Any]) -> str:
    wanted = NewExpectedDigests(digests, BASE)
    return str(validations.store_expected(will, SQL, SECOND.id, wanted).digests["root"])


# --- expected digests ---


def test_first_digests_stay_and_are_found_by_definition_and_base(will: HttpTransport) -> None:
    assert expect(will, DIGESTS.to_json()) == DIGESTS.root
    assert expect(will, DIGESTS.to_json()) == DIGESTS.root
    with pytest.raises(Conflict) as caught:
        expect(will, OTHER_DIGESTS.to_json())
    assert caught.value.kind == "expected-digests-differ"
    for filters, count in (
        ({}, 1),
        ({"definition": DIGESTS.definition, "base": BASE}, 1),
        ({"definition": "merge-x-v1"}, 0),
        ({"base": hash_bytes(b"another")}, 0),
    ):
        found = validations.fetch_expected(will, SQL, SECOND.id, **filters)
        assert len(found) == count
    assert validations.digests_of(validations.fetch_expected(will, SQL, SECOND.id)[0]) == DIGESTS


@pytest.mark.parametrize(
    "change",
    [
        {"digests": {}},
        {"digests": {**DIGESTS.to_json(), "root": "0" * 64}},
        {"base": "abc"},
        {"base_weights": "both"},
        {"source": "rumour"},
    ],
)
def test_wrong_digests_are_refused(people: People, change: dict[str, Any]) -> None:
    body = {"digests": DIGESTS.to_json(), "base": BASE, **change}
    answer = people.admin.put(f"{URL}/commits/{SECOND.id}/expected-digests", json=body)
    assert answer.status_code == 422, answer.text


# --- validations ---


def test_validations_are_paged_newest_first(people: People, will: HttpTransport) -> None:
    seen = [replace(SEEN, message=f"number {number}") for number in range(5)]
    for item in seen:
        record = validations.publish_validation(will, SQL, item)
        assert (record.id, record.recorded_by, record.job) == (item.id, "will", None)
    validations.publish_validation(will, SQL, seen[0])
    url = f"{URL}/commits/{SECOND.id}/validations"
    pages: list[list[Validation]] = []
    cursor = None
    while not pages or cursor is not None:
        page = succeed(people.admin.get(url, params={"limit": 2, "cursor": cursor or "vfffff"}))
        pages.append([Validation.from_json(item["validation"]) for item in page["validations"]])
        cursor = page["next"]
    assert pages == [[seen[4], seen[3]], [seen[2], seen[1]], [seen[0]]]
    assert [item.id for item in validations.fetch_validations(will, SQL, SECOND.id)] == [
        item.id for item in reversed(seen)
    ]


@pytest.mark.parametrize("cursor", ["", "v", "x1", "v-1", "v" + "f" * 16])
def test_cursor_that_no_page_gave_is_refused(people: People, cursor: str) -> None:
    url = f"{URL}/commits/{SECOND.id}/validations"
    answer = people.admin.get(url, params={"cursor": cursor})
    assert refusal_of(answer) == (422, "invalid-input")


def test_job_of_a_validation_says_what_it_saw_once(people: People) -> None:
    asked = people.client(people.token("will"))
    succeed(asked.post(f"{URL}/validations", json={"revision": "main"}))
    claimed = people.server.registry.jobs.claim()
    assert claimed is not None
    process = people.client(claimed.token)
    url = f"{URL}/commits/{SECOND.id}/validations"
    first = succeed(process.post(url, json={"validation": SEEN.to_json()}))
    assert (first["job"], first["recorded_by"]) == (claimed.job.id, "will")
    later = replace(SEEN, message="tried again")
    assert succeed(process.post(url, json={"validation": later.to_json()})) == first
    wanted = {"digests": DIGESTS.to_json(), "base": BASE}
    stored = succeed(process.put(f"{URL}/commits/{SECOND.id}/expected-digests", json=wanted))
    assert stored["source"] == "validation"


# --- keys ---


def test_keys_are_registered_listed_and_revoked(
    chief: HttpTransport, will: HttpTransport, tmp_path: Path
) -> None:
    key = register(chief, tmp_path / "one.pem")
    with pytest.raises(AlreadyExists) as caught:
        validations.register_key(chief, NewValidatorKey(key.public_key, "again"))
    assert caught.value.kind == "validator-key-exists"
    listed = validations.fetch_keys(will)
    assert [(item.keyid, item.name, item.role) for item in listed] == [
        (key.keyid, "the lab's one", "validator")
    ]
    with pytest.raises(PermissionDenied):
        validations.revoke_key(will, key.keyid)
    revoked: ValidatorKey = validations.revoke_key(chief, key.keyid)
    assert revoked.revoked_at is not None
    assert validations.fetch_keys(will) == [revoked]
    with pytest.raises(NotFound) as lost:
        validations.revoke_key(chief, "absent")
    assert lost.value.kind == "validator-key-not-found"


# --- attestations, and what protected refs demand ---


def test_protected_ref_moves_once_two_validators_attested(
    people: People, chief: HttpTransport, will: HttpTransport, tmp_path: Path
) -> None:
    one, two = (register(chief, tmp_path / f"{name}.pem") for name in ("one", "two"))
    client = people.client(people.token("will"))
    body = {"kind": "branch", "name": "prod", "revision": FIRST.id}
    succeed(client.post(f"{URL}/refs", json=body))
    succeed(client.put(f"{URL}/protections", json={"pattern": "prod", "attestations": 2}))

    def move() -> httpx.Response:
        wish = {"expected": FIRST.id, "new": SECOND.id}
        return client.patch(f"{URL}/refs/branch/prod", json=wish)

    assert refusal_of(move()) == (403, "attestations-missing")
    assert validations.publish_attestation(will, SQL, SECOND.id, sign(one)).counts
    again = validations.publish_attestation(will, SQL, SECOND.id, sign(one))
    refused = move()
    assert refusal_of(refused) == (403, "attestations-missing")
    error = refused.json()["error"]
    assert (error["details"]["have"], error["details"]["keys"]) == (1, [one.keyid])
    assert "the lab's one" in error["message"]
    with pytest.raises(InvalidInput, match="another commit"):
        validations.publish_attestation(will, SQL, SECOND.id, sign(two, FIRST))
    validations.publish_attestation(will, SQL, SECOND.id, sign(two))
    validations.revoke_key(chief, two.keyid)
    assert refusal_of(move()) == (403, "attestations-missing")
    shown = validations.fetch_attestations(will, SQL, SECOND.id)
    assert [(item.keyid, item.counts) for item in shown] == [(one.keyid, True), (two.keyid, False)]
    assert shown[0] == again
    three = register(chief, tmp_path / "three.pem")
    validations.publish_attestation(will, SQL, SECOND.id, sign(three))
    assert succeed(move())["target"] == SECOND.id


def test_validations_and_attestations_are_events(
    people: People, chief: HttpTransport, will: HttpTransport, tmp_path: Path
) -> None:
    key = register(chief, tmp_path / "one.pem")
    validations.publish_validation(will, SQL, SEEN)
    validations.publish_attestation(will, SQL, SECOND.id, sign(key))
    reader = people.client(people.token("rose"))
    events = succeed(reader.get(f"{API}/events", params={"repository": "team/sql"}))["events"]
    seen, signed = events[-2:]
    assert (seen["kind"], signed["kind"]) == ("validation.recorded", "attestation.added")
    assert seen["details"]["verdict"] == "verified"
    assert signed["details"]["keyid"] == key.keyid
    assert seen["details"]["commit"] == signed["details"]["commit"] == SECOND.id
