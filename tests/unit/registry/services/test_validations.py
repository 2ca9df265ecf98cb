"""Storing expected digests, recording validations, registering keys."""

from dataclasses import replace

import pytest

from database_suite.rows import digest
from database_suite.validation_rows import BASE, DIGESTS, OTHER_DIGESTS
from plait.errors import AlreadyExists, Conflict, InvalidInput, NotFound, PermissionDenied
from plait.model.ids import CommitId
from plait.model.merge_digests import MergeDigests
from plait.model.validation import BaseWeights, Validation, Verdict
from plait_registry.adapters.dsse_signatures import DsseSignatures
from plait_registry.domain.access import SYSTEM, Caller, Role
from plait_registry.domain.accounts import AuditQuery
from plait_registry.domain.validations import ExpectedSource, KeyId, KeyRole, ValidationTally
from plait_registry.services import record_validation, store_expected, validator_keys
from plait_registry.services.record_validation import ListValidations, RecordValidation
from plait_registry.services.store_expected import ExpectedWish, ListExpected, StoreExpected
from plait_registry.services.validator_keys import KeyWish, ListKeys, RegisterKey, RevokeKey
from reference.memory_registry import NAME, MemoryRegistry, make_version
from reference.registry_drivers import FixedClock

VERSION = make_version("one")
ABSENT = CommitId(digest("absent"))
WRITER = Caller("wil", roles={"team": Role.WRITER})
READER = Caller("ria", roles={"team": Role.READER})
STRANGER = Caller("sue")
JOB = replace(WRITER, job="digest of its token", token="the job")
WISH = ExpectedWish(VERSION.id, DIGESTS, BASE, BaseWeights.ORIGINAL, ExpectedSource.PUBLISHER)
SEEN = Validation(
    definition=DIGESTS.definition,
    commit=VERSION.id,
    base=BASE,
    base_weights=BaseWeights.ORIGINAL,
    verdict=Verdict.VERIFIED,
    started_at="2026-11-24T06:07:00Z",
    ended_at="2026-11-24T06:08:00Z",
    root=DIGESTS.root,
    tensors=DIGESTS.tensors,
)
LATER = replace(SEEN, ended_at="2026-11-24T06:09:00Z")
PEM = """-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=
-----END PUBLIC KEY-----
"""
"""Of RFC 8410, section 10.1."""


@pytest.fixture
def registry() -> MemoryRegistry:
    """Return a registry with one commit."""
    registry = MemoryRegistry()
    plan = registry.begin(VERSION)
    registry.upload(plan, VERSION)
    registry.complete(plan)
    return registry


def find_actions(registry: MemoryRegistry) -> list[str]:
    with registry.database.read() as records:
        return [row.action for row in records.audit.search(AuditQuery(limit=3))]


# --- expected digests ---


def test_first_digests_stay_and_the_same_again_are_fine(registry: MemoryRegistry) -> None:
    store = StoreExpected(registry.database, FixedClock())
    stored = store(WRITER, NAME, WISH)
    assert (stored.stored_by, stored.source) == ("wil", ExpectedSource.PUBLISHER)
    assert store(SYSTEM, NAME, replace(WISH, source=ExpectedSource.VALIDATION)) == stored
    with pytest.raises(Conflict) as caught:
        store(WRITER, NAME, replace(WISH, digests=OTHER_DIGESTS))
    assert caught.value.kind == "expected-digests-differ"
    assert caught.value.details["expected"] == DIGESTS.root
    assert caught.value.details["actual"] == OTHER_DIGESTS.root
    assert "1 tensors differ, first 'w'" in caught.value.message
    assert ListExpected(registry.database)(READER, NAME, VERSION.id) == [stored]
    assert find_actions(registry)[0] == "expected-digests.store"


def test_same_digests_of_other_base_weights_are_refused(registry: MemoryRegistry) -> None:
    store = StoreExpected(registry.database, FixedClock())
    store(WRITER, NAME, WISH)
    with pytest.raises(Conflict, match="other base weights"):
        store(WRITER, NAME, replace(WISH, base_weights=BaseWeights.DEQUANTISED))


def test_another_base_and_another_definition_have_digests_of_their_own(
    registry: MemoryRegistry,
) -> None:
    store = StoreExpected(registry.database, FixedClock())
    defined = MergeDigests.of(DIGESTS.tensors, definition="merge-x-v1")
    for wish in (
        WISH,
        replace(WISH, base=digest("another"), digests=OTHER_DIGESTS),
        replace(WISH, digests=defined),
    ):
        store(WRITER, NAME, wish)
    assert len(ListExpected(registry.database)(READER, NAME, VERSION.id)) == 3


def test_digests_that_a_job_stores_are_those_of_a_validation(registry: MemoryRegistry) -> None:
    stored = StoreExpected(registry.database, FixedClock())(JOB, NAME, WISH)
    assert stored.source is ExpectedSource.VALIDATION


@pytest.mark.parametrize(
    "digests", [MergeDigests.of({}), MergeDigests.of(DIGESTS.tensors, definition="No name")]
)
def test_what_are_no_digests_is_refused(registry: MemoryRegistry, digests: MergeDigests) -> None:
    with pytest.raises(InvalidInput):
        StoreExpected(registry.database, FixedClock())(WRITER, NAME, replace(WISH, digests=digests))


def test_commit_takes_no_more_digests_than_are_shown(
    registry: MemoryRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_expected, "MOST_EXPECTED", 1)
    store = StoreExpected(registry.database, FixedClock())
    store(WRITER, NAME, WISH)
    store(WRITER, NAME, WISH)
    with pytest.raises(Conflict) as caught:
        store(WRITER, NAME, replace(WISH, base=digest("another")))
    assert caught.value.kind == "too-many-validations"


def test_digests_of_a_commit_that_is_not_there_are_not_stored(registry: MemoryRegistry) -> None:
    with pytest.raises(NotFound) as caught:
        StoreExpected(registry.database, FixedClock())(WRITER, NAME, replace(WISH, commit=ABSENT))
    assert caught.value.kind == "commit-not-found"
    with pytest.raises(NotFound):
        ListExpected(registry.database)(WRITER, NAME, ABSENT)


# --- validations ---


def test_validation_is_recorded_once(registry: MemoryRegistry) -> None:
    record = RecordValidation(registry.database, FixedClock())
    row = record(WRITER, NAME, VERSION.id, SEEN)
    assert (row.id, row.body, row.job, row.recorded_by) == (SEEN.id, SEEN.to_bytes(), None, "wil")
    assert record(SYSTEM, NAME, VERSION.id, SEEN) == row
    second = record(WRITER, NAME, VERSION.id, LATER)
    found = ListValidations(registry.database)(READER, NAME, VERSION.id, before=None, limit=9)
    assert found == [second, row]
    assert find_actions(registry)[:2] == ["validation.record"] * 2


def test_job_has_one_validation_however_often_it_is_tried(registry: MemoryRegistry) -> None:
    record = RecordValidation(registry.database, FixedClock())
    row = record(JOB, NAME, VERSION.id, SEEN)
    assert row.job == "the job"
    assert record(JOB, NAME, VERSION.id, LATER) == row
    found = ListValidations(registry.database)(READER, NAME, VERSION.id, before=None, limit=9)
    assert found == [row]


def test_validation_of_another_commit_is_refused(registry: MemoryRegistry) -> None:
    record = RecordValidation(registry.database, FixedClock())
    with pytest.raises(InvalidInput) as caught:
        record(WRITER, NAME, VERSION.id, replace(SEEN, commit=ABSENT))
    assert caught.value.kind == "invalid-validation"
    with pytest.raises(NotFound) as lost:
        record(WRITER, NAME, ABSENT, replace(SEEN, commit=ABSENT))
    assert lost.value.kind == "commit-not-found"


@pytest.mark.parametrize("limit", ["MOST_VALIDATIONS", "LARGEST_VALIDATIONS"])
def test_commit_takes_no_more_validations_than_can_be_shown(
    registry: MemoryRegistry, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    record = RecordValidation(registry.database, FixedClock())
    row = record(WRITER, NAME, VERSION.id, SEEN)
    tally = ValidationTally(1, len(row.body))
    room = tally.count if limit == "MOST_VALIDATIONS" else 2 * tally.size - 1
    monkeypatch.setattr(record_validation, limit, room)
    assert record(WRITER, NAME, VERSION.id, SEEN) == row
    with pytest.raises(Conflict) as caught:
        record(WRITER, NAME, VERSION.id, LATER)
    assert caught.value.kind == "too-many-validations"


# --- rights ---


def test_only_who_may_write_stores_and_records(registry: MemoryRegistry) -> None:
    store = StoreExpected(registry.database, FixedClock())
    record = RecordValidation(registry.database, FixedClock())
    for caller, error in ((READER, PermissionDenied), (STRANGER, NotFound)):
        with pytest.raises(error):
            store(caller, NAME, WISH)
        with pytest.raises(error):
            record(caller, NAME, VERSION.id, SEEN)
    with pytest.raises(NotFound):
        ListExpected(registry.database)(STRANGER, NAME, VERSION.id)
    with pytest.raises(NotFound):
        ListValidations(registry.database)(STRANGER, NAME, VERSION.id, before=None, limit=1)


# --- keys ---


def register(
    registry: MemoryRegistry,
    *,
    public_key: str = PEM,
    name: str = "the first",
    expires: str = "never",
) -> str:
    wish = KeyWish(public_key, name, KeyRole.VALIDATOR, expires)
    service = RegisterKey(registry.database, FixedClock(), DsseSignatures())
    return service(SYSTEM, wish).keyid


def test_key_is_registered_listed_and_revoked(registry: MemoryRegistry) -> None:
    keyid = register(registry, name=" the first ", expires="1d")
    listed = ListKeys(registry.database)()
    assert [(key.keyid, key.name, key.expires_at) for key in listed] == [
        (keyid, "the first", "2026-01-02T00:00:00Z")
    ]
    revoke = RevokeKey(registry.database, FixedClock())
    revoked = revoke(SYSTEM, KeyId(keyid))
    assert revoked.revoked_at == "2026-01-01T00:00:00Z"
    assert revoke(SYSTEM, KeyId(keyid)) == revoked
    assert find_actions(registry)[:2] == ["validator-key.revoke", "validator-key.register"]
    with pytest.raises(AlreadyExists, match="revoked"):
        register(registry)


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"public_key": "no key"}, "attestation-invalid"),
        ({"public_key": PEM * 100}, "attestation-invalid"),
        ({"public_key": f"\x00\n{PEM}"}, "attestation-invalid"),
        ({"name": "  "}, "invalid-input"),
        ({"name": "x" * 201}, "invalid-input"),
        ({"name": "a\nb"}, "invalid-input"),
        ({"expires": "yesterday"}, "invalid-input"),
    ],
)
def test_wrong_key_is_refused(registry: MemoryRegistry, change: dict[str, str], kind: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        register(registry, **change)
    assert caught.value.kind == kind
    assert ListKeys(registry.database)() == []


def test_there_are_no_more_keys_than_are_listed(
    registry: MemoryRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(validator_keys, "MOST_KEYS", 0)
    with pytest.raises(InvalidInput):
        register(registry)


def test_only_administrators_make_and_revoke_keys(registry: MemoryRegistry) -> None:
    keyid = KeyId(register(registry))
    wish = KeyWish(PEM, "x", KeyRole.VALIDATOR, "never")
    owner = Caller("olga", roles={"team": Role.OWNER})
    with pytest.raises(PermissionDenied):
        RegisterKey(registry.database, FixedClock(), DsseSignatures())(owner, wish)
    with pytest.raises(PermissionDenied):
        RevokeKey(registry.database, FixedClock())(owner, keyid)


def test_missing_key_is_not_revoked(registry: MemoryRegistry) -> None:
    with pytest.raises(NotFound) as caught:
        RevokeKey(registry.database, FixedClock())(SYSTEM, KeyId("absent"))
    assert caught.value.kind == "validator-key-not-found"
