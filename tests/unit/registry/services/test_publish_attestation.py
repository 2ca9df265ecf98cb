"""Storing attestations: which come in, and which are refused for what."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from database_suite.validation_rows import BASE, DIGESTS
from plait.errors import Conflict, InvalidInput, NotFound, PermissionDenied
from plait.model import canonical
from plait.model.attestation import Statement, make_statement
from plait.model.ids import CommitId, hash_bytes
from plait.model.manifest import Manifest
from plait.model.paths import FilePath
from plait.model.validation import BaseWeights, Difference, Validation, Verdict
from plait.signing import SigningKey, generate_key
from plait_registry.adapters.dsse_signatures import DsseSignatures
from plait_registry.domain.access import SYSTEM, Caller, Role
from plait_registry.domain.accounts import AuditQuery
from plait_registry.domain.validations import KeyId, KeyRole, ValidatorKey
from plait_registry.services import publish_attestation
from plait_registry.services.publish_attestation import (
    AttestationView,
    ListAttestations,
    PublishAttestation,
)
from plait_registry.services.validator_keys import KeyWish, RegisterKey, RevokeKey
from reference.memory_registry import NAME, MemoryRegistry, Version, make_version
from reference.registry_drivers import FixedClock

FIRST = make_version("one")
SECOND = make_version("two", FIRST.id)
WRITER = Caller("wil", roles={"team": Role.WRITER})
READER = Caller("ria", roles={"team": Role.READER})


class LaterClock(FixedClock):
    """A clock that stands still a year after the other."""

    def now(self) -> str:
        return "2027-01-01T00:00:00Z"


@pytest.fixture
def registry() -> MemoryRegistry:
    """Return a registry with two commits."""
    registry = MemoryRegistry()
    plan = registry.begin(FIRST, SECOND)
    for version in (FIRST, SECOND):
        registry.upload(plan, version)
    registry.complete(plan)
    return registry


@pytest.fixture
def key(tmp_path: Path) -> SigningKey:
    return generate_key(tmp_path / "validator.pem")


def register(
    registry: MemoryRegistry,
    key: SigningKey,
    *,
    role: KeyRole = KeyRole.VALIDATOR,
    expires: str = "never",
) -> ValidatorKey:
    wish = KeyWish(key.public_key, "lab", role, expires)
    return RegisterKey(registry.database, FixedClock(), DsseSignatures())(SYSTEM, wish)


def state(version: Version, verdict: Verdict = Verdict.VERIFIED) -> Statement:
    differences: tuple[Difference, ...] = ()
    if verdict is Verdict.MISMATCH:
        differences = (Difference("w", hash_bytes(b"w"), hash_bytes(b"x")),)
    seen = Validation(
        definition=DIGESTS.definition,
        commit=version.id,
        base=BASE,
        base_weights=BaseWeights.ORIGINAL,
        verdict=verdict,
        started_at="2026-11-24T06:07:00Z",
        ended_at="2026-11-24T06:08:00Z",
        root=DIGESTS.root,
        tensors=DIGESTS.tensors,
        differing=len(differences),
        differences=differences,
    )
    manifest = Manifest.from_json(version.manifest)
    return make_statement(seen, manifest, repository=str(NAME), signed_at="2026-11-24T06:08:00Z")


def publish(
    registry: MemoryRegistry,
    envelope: dict[str, Any],
    *,
    commit: CommitId = FIRST.id,
    caller: Caller = WRITER,
    clock: FixedClock | None = None,
) -> AttestationView:
    service = PublishAttestation(registry.database, clock or FixedClock(), DsseSignatures())
    return service(caller, NAME, commit, envelope)


def listed(registry: MemoryRegistry, commit: CommitId = FIRST.id) -> list[AttestationView]:
    return list(ListAttestations(registry.database)(READER, NAME, commit))


def refusal(registry: MemoryRegistry, envelope: dict[str, Any], **options: Any) -> str:
    with pytest.raises(InvalidInput) as caught:
        publish(registry, envelope, **options)
    assert caught.value.kind == "attestation-invalid"
    assert listed(registry) == []
    return caught.value.message


def test_registered_key_is_the_public_one_without_what_stands_beside_it(
    registry: MemoryRegistry, key: SigningKey, tmp_path: Path
) -> None:
    both = f"of the lab\r\n{key.public_key}{(tmp_path / 'validator.pem').read_text()}"
    wish = KeyWish(both, "lab", KeyRole.VALIDATOR, "never")
    made = RegisterKey(registry.database, FixedClock(), DsseSignatures())(SYSTEM, wish)
    assert (made.keyid, made.public_key) == (key.keyid, key.public_key)


def test_statement_that_leaves_out_a_file_of_the_commit_is_refused(
    registry: MemoryRegistry, key: SigningKey
) -> None:
    register(registry, key)
    statement = state(FIRST)
    for path in statement.files:
        files = {name: digest for name, digest in statement.files.items() if name != path}
        envelope = key.sign(replace(statement, files=files).to_bytes())
        assert f"leaves out the commit's file '{path}'" in refusal(registry, envelope)


def test_statement_about_another_base_than_the_commit_names_is_refused(
    registry: MemoryRegistry, key: SigningKey
) -> None:
    register(registry, key)
    third = make_version("three", SECOND.id)
    base = {**third.commit["base"], "fingerprint": BASE}
    named = replace(third, commit={**third.commit, "base": base})
    plan = registry.begin(named, expected=SECOND.id)
    registry.upload(plan, named)
    registry.complete(plan)
    other = replace(state(named), base=hash_bytes(b"a small one"))
    with pytest.raises(InvalidInput, match="the commit was made for"):
        publish(registry, key.sign(other.to_bytes()), commit=named.id)
    assert publish(registry, key.sign(state(named).to_bytes()), commit=named.id).counts


def test_attestation_is_stored_as_it_came_and_counts(
    registry: MemoryRegistry, key: SigningKey
) -> None:
    register(registry, key)
    envelope = key.sign(state(FIRST).to_bytes())
    view = publish(registry, envelope)
    assert view.counts
    assert canonical.loads(view.row.envelope) == envelope
    assert (view.row.keyid, view.row.result) == (key.keyid, "PASSED")
    assert (view.row.definition, view.row.base, view.row.root) == (
        DIGESTS.definition,
        BASE,
        DIGESTS.root,
    )
    assert listed(registry) == [view]
    assert listed(registry, SECOND.id) == []
    with registry.database.read() as records:
        row = records.audit.search(AuditQuery(limit=1))[0]
    assert (row.action, row.details["keyid"]) == ("attestation.add", key.keyid)


def test_same_statement_by_the_same_key_is_stored_once(
    registry: MemoryRegistry, key: SigningKey
) -> None:
    register(registry, key)
    envelope = key.sign(state(FIRST).to_bytes())
    view = publish(registry, envelope)
    assert publish(registry, envelope) == view
    unnamed = {**envelope, "signatures": [{**envelope["signatures"][0], "keyid": ""}]}
    assert publish(registry, unnamed) == view
    assert listed(registry) == [view]


@pytest.mark.parametrize(
    ("verdict", "result"), [(Verdict.DRIFT, "WARNED"), (Verdict.MISMATCH, "FAILED")]
)
def test_statement_of_another_result_is_stored_and_does_not_count(
    registry: MemoryRegistry, key: SigningKey, verdict: Verdict, result: str
) -> None:
    register(registry, key)
    view = publish(registry, key.sign(state(FIRST, verdict).to_bytes()))
    assert (view.row.result, view.counts) == (result, False)


def test_attestation_by_a_publisher_is_stored_and_does_not_count(
    registry: MemoryRegistry, key: SigningKey
) -> None:
    register(registry, key, role=KeyRole.PUBLISHER)
    assert not publish(registry, key.sign(state(FIRST).to_bytes())).counts


def test_unknown_key_is_refused(registry: MemoryRegistry, key: SigningKey, tmp_path: Path) -> None:
    register(registry, generate_key(tmp_path / "other.pem"))
    assert "known key" in refusal(registry, key.sign(state(FIRST).to_bytes()))


def test_signature_by_another_key_than_the_named_one_is_refused(
    registry: MemoryRegistry, key: SigningKey, tmp_path: Path
) -> None:
    register(registry, key)
    envelope = generate_key(tmp_path / "other.pem").sign(state(FIRST).to_bytes())
    envelope["signatures"][0]["keyid"] = key.keyid
    refusal(registry, envelope)


def test_changed_payload_is_refused(registry: MemoryRegistry, key: SigningKey) -> None:
    register(registry, key)
    envelope = key.sign(state(FIRST).to_bytes())
    envelope["payload"] = key.sign(state(SECOND).to_bytes())["payload"]
    refusal(registry, envelope)
    refusal(registry, envelope, commit=SECOND.id)


def test_attestation_of_another_commit_is_no_attestation_of_this_one(
    registry: MemoryRegistry, key: SigningKey
) -> None:
    register(registry, key)
    envelope = key.sign(state(SECOND).to_bytes())
    assert "another commit" in refusal(registry, envelope)
    assert publish(registry, envelope, commit=SECOND.id).counts


def test_statement_about_files_that_the_commit_does_not_have_is_refused(
    registry: MemoryRegistry, key: SigningKey
) -> None:
    register(registry, key)
    statement = state(FIRST)
    for files in (
        {**statement.files, FilePath("more.safetensors"): hash_bytes(b"more")},
        dict.fromkeys(statement.files, hash_bytes(b"others")),
    ):
        envelope = key.sign(replace(statement, files=files).to_bytes())
        assert "does not have" in refusal(registry, envelope)


def test_what_was_signed_and_is_no_statement_is_refused(
    registry: MemoryRegistry, key: SigningKey
) -> None:
    register(registry, key)
    for payload in (b"", b"{}", b"[]", b'{"_type":"https://in-toto.io/Statement/v1"}'):
        refusal(registry, key.sign(payload))


def test_revoked_key_signs_nothing_more_and_what_it_signed_does_not_count(
    registry: MemoryRegistry, key: SigningKey
) -> None:
    register(registry, key)
    early = key.sign(state(FIRST).to_bytes())
    publish(registry, early)
    RevokeKey(registry.database, FixedClock())(SYSTEM, KeyId(key.keyid))
    with pytest.raises(InvalidInput, match="was revoked"):
        publish(registry, key.sign(state(SECOND).to_bytes()), commit=SECOND.id)
    assert [view.counts for view in listed(registry)] == [False]
    assert not publish(registry, early).counts


def test_key_that_is_over_signs_nothing_more_and_what_came_in_time_counts(
    registry: MemoryRegistry, key: SigningKey
) -> None:
    register(registry, key, expires="30d")
    publish(registry, key.sign(state(FIRST).to_bytes()))
    later = LaterClock()
    with pytest.raises(InvalidInput, match="ended at"):
        publish(registry, key.sign(state(SECOND).to_bytes()), commit=SECOND.id, clock=later)
    assert [view.counts for view in listed(registry)] == [True]


def _without_signature(envelope: dict[str, Any]) -> dict[str, Any]:
    return {**envelope, "signatures": []}


def _signed_twice(envelope: dict[str, Any]) -> dict[str, Any]:
    return {**envelope, "signatures": envelope["signatures"] * 2}


def _of_another_type(envelope: dict[str, Any]) -> dict[str, Any]:
    return {**envelope, "payloadType": "text/plain"}


def _without_payload(envelope: dict[str, Any]) -> dict[str, Any]:
    return {"payloadType": envelope["payloadType"], "signatures": envelope["signatures"]}


def _cut(envelope: dict[str, Any]) -> dict[str, Any]:
    signature = envelope["signatures"][0]
    return {**envelope, "signatures": [{**signature, "sig": signature["sig"][:-4]}]}


@pytest.mark.parametrize(
    "change",
    [_without_signature, _signed_twice, _of_another_type, _without_payload, _cut],
)
def test_malformed_envelope_is_refused(
    registry: MemoryRegistry,
    key: SigningKey,
    change: Callable[[dict[str, Any]], dict[str, Any]],
) -> None:
    register(registry, key)
    refusal(registry, change(key.sign(state(FIRST).to_bytes())))


def test_too_large_an_envelope_is_refused(
    registry: MemoryRegistry, key: SigningKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(registry, key)
    monkeypatch.setattr(publish_attestation, "LARGEST_ENVELOPE", 100)
    assert "at most 100 bytes" in refusal(registry, key.sign(state(FIRST).to_bytes()))


def test_commit_takes_no_more_attestations_than_are_shown(
    registry: MemoryRegistry, key: SigningKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(registry, key)
    monkeypatch.setattr(publish_attestation, "MOST_ATTESTATIONS", 1)
    publish(registry, key.sign(state(FIRST).to_bytes()))
    with pytest.raises(Conflict) as caught:
        publish(registry, key.sign(state(FIRST, Verdict.DRIFT).to_bytes()))
    assert caught.value.kind == "too-many-validations"


def test_only_who_may_write_publishes(registry: MemoryRegistry, key: SigningKey) -> None:
    register(registry, key)
    envelope = key.sign(state(FIRST).to_bytes())
    with pytest.raises(PermissionDenied):
        publish(registry, envelope, caller=READER)
    with pytest.raises(NotFound):
        publish(registry, envelope, caller=Caller("sue"))
    with pytest.raises(NotFound) as caught:
        publish(registry, envelope, commit=CommitId(hash_bytes(b"absent")))
    assert caught.value.kind == "commit-not-found"
