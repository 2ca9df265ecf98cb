"""What every database remembers of validations, attestations and validators' keys."""

from dataclasses import replace

import pytest

from database_suite.racing import race
from database_suite.rows import NOW, History, digest, make_repository, store_commits
from database_suite.validation_rows import (
    BASE,
    DIGESTS,
    OTHER_DIGESTS,
    attestation_row,
    expected_row,
    key_row,
    validation_row,
)
from plait.errors import AlreadyExists, Conflict, Internal, NotFound
from plait.model.address import RepositoryName
from plait.model.ids import CommitId
from plait.model.merge_digests import DEFINITION, MergeDigests
from plait.model.validation import BaseWeights
from plait_registry.adapters.system_clock import SystemClock
from plait_registry.domain.access import SYSTEM, Role
from plait_registry.domain.accounts import Protection
from plait_registry.domain.ports import Database
from plait_registry.domain.records import RepositoryId
from plait_registry.domain.validations import (
    ExpectedSource,
    KeyId,
    KeyRole,
    MergeKey,
    ValidationTally,
)
from plait_registry.services.store_expected import ExpectedWish, StoreExpected

COMMITS = History().chain(2)
COMMIT, LATER = (row.id for row in COMMITS)
ABSENT = CommitId(digest("absent"))


@pytest.fixture
def repository(database: Database) -> RepositoryId:
    made = make_repository(database)
    store_commits(database, made, COMMITS)
    return made


def hang_everything(database: Database, repository: RepositoryId, commit: CommitId) -> None:
    with database.write() as records:
        records.expected.insert(repository, expected_row(commit))
        records.validations.insert(repository, validation_row(commit, "a"))
        records.attestations.insert(repository, attestation_row(commit))


def count_everything(
    database: Database, repository: RepositoryId, commit: CommitId
) -> tuple[int, int, int]:
    with database.read() as records:
        return (
            len(records.expected.list(repository, commit)),
            records.validations.measure(repository, commit).count,
            len(records.attestations.list(repository, commit)),
        )


# --- expected digests ---


def test_expected_digests_come_back_oldest_first(
    database: Database, repository: RepositoryId
) -> None:
    first = expected_row(COMMIT)
    other_base = expected_row(COMMIT, OTHER_DIGESTS, base="another")
    other_definition = expected_row(
        COMMIT, MergeDigests.of(DIGESTS.tensors, definition="merge-x-v1")
    )
    with database.write() as records:
        for row in (first, other_base, other_definition, expected_row(LATER)):
            records.expected.insert(repository, row)
    with database.read() as records:
        assert records.expected.list(repository, COMMIT) == [first, other_base, other_definition]
        assert records.expected.list_roots(repository, COMMIT) == {
            MergeKey(DEFINITION, BASE): DIGESTS.root,
            MergeKey(DEFINITION, digest("another")): OTHER_DIGESTS.root,
            MergeKey("merge-x-v1", BASE): DIGESTS.root,
        }


def test_second_digests_of_a_definition_and_base_break_a_rule(
    database: Database, repository: RepositoryId
) -> None:
    with database.write() as records:
        records.expected.insert(repository, expected_row(COMMIT))
    with pytest.raises(Internal), database.write() as records:
        records.expected.insert(repository, expected_row(COMMIT, OTHER_DIGESTS))


def test_digests_of_one_repository_are_not_those_of_another(
    database: Database, repository: RepositoryId
) -> None:
    other = make_repository(database, "team/other")
    store_commits(database, other, COMMITS)
    hang_everything(database, repository, COMMIT)
    assert count_everything(database, other, COMMIT) == (0, 0, 0)
    assert count_everything(database, repository, LATER) == (0, 0, 0)


def test_of_twenty_that_store_digests_at_once_one_is_first_and_all_agree_on_it(
    database: Database, repository: RepositoryId
) -> None:
    store = StoreExpected(database, SystemClock())

    def run(number: int) -> str:
        digests = MergeDigests.of({"w": digest(f"seen by {number}")})
        wish = ExpectedWish(COMMIT, digests, BASE, BaseWeights.ORIGINAL, ExpectedSource.VALIDATION)
        try:
            return store(SYSTEM, RepositoryName("team", "sql"), wish).digests.root
        except Conflict as error:
            return str(error.details["expected"])

    roots = set(race(20, run))
    with database.read() as records:
        assert {row.digests.root for row in records.expected.list(repository, COMMIT)} == roots
    assert len(roots) == 1


# --- validations ---


def test_validations_come_back_newest_first_a_page_at_a_time(
    database: Database, repository: RepositoryId
) -> None:
    with database.write() as records:
        rows = [
            records.validations.insert(repository, validation_row(COMMIT, word)) for word in "abc"
        ]
        records.validations.insert(repository, validation_row(LATER, "d"))
    assert rows[0] == replace(validation_row(COMMIT, "a"), number=rows[0].number)
    with database.read() as records:
        page = records.validations.search(repository, COMMIT, before=None, limit=2)
        assert page == [rows[2], rows[1]]
        rest = records.validations.search(repository, COMMIT, before=rows[1].number, limit=2)
        assert rest == [rows[0]]


def test_validation_is_found_by_its_id_and_by_its_job(
    database: Database, repository: RepositoryId
) -> None:
    with database.write() as records:
        own = records.validations.insert(repository, validation_row(COMMIT, "a"))
        of_job = records.validations.insert(repository, validation_row(COMMIT, "b", job="j"))
    with database.read() as records:
        assert records.validations.find(repository, COMMIT, own.id) == own
        assert records.validations.find(repository, LATER, own.id) is None
        assert records.validations.find_by_job(repository, "j") == of_job
        assert records.validations.find_by_job(repository, "k") is None


def test_second_validation_of_a_job_breaks_a_rule(
    database: Database, repository: RepositoryId
) -> None:
    with database.write() as records:
        records.validations.insert(repository, validation_row(COMMIT, "a", job="j"))
    with pytest.raises(Internal), database.write() as records:
        records.validations.insert(repository, validation_row(LATER, "b", job="j"))


def test_validations_are_counted_and_measured(database: Database, repository: RepositoryId) -> None:
    rows = [validation_row(COMMIT, word) for word in ("a", "bcd")]
    with database.write() as records:
        for row in rows:
            records.validations.insert(repository, row)
    with database.read() as records:
        measured = records.validations.measure(repository, COMMIT)
        assert measured == ValidationTally(2, sum(len(row.body) for row in rows))
        assert records.validations.measure(repository, LATER) == ValidationTally(0, 0)


# --- attestations ---


def test_attestations_come_back_as_they_were_written(
    database: Database, repository: RepositoryId
) -> None:
    rows = [attestation_row(COMMIT, "k2"), attestation_row(COMMIT, "k1", result="FAILED")]
    nothing = replace(attestation_row(COMMIT, "k3"), base=None, root=None)
    with database.write() as records:
        for row in (*rows, nothing):
            records.attestations.insert(repository, row)
    with database.read() as records:
        assert records.attestations.list(repository, COMMIT) == [*rows, nothing]


def test_same_attestation_twice_breaks_a_rule(database: Database, repository: RepositoryId) -> None:
    with database.write() as records:
        records.attestations.insert(repository, attestation_row(COMMIT))
    with pytest.raises(Internal), database.write() as records:
        records.attestations.insert(repository, attestation_row(COMMIT))


# --- what they hang on ---


def test_nothing_hangs_on_a_commit_that_is_not_there(
    database: Database, repository: RepositoryId
) -> None:
    with pytest.raises(Internal), database.write() as records:
        records.expected.insert(repository, expected_row(ABSENT))
    with pytest.raises(Internal), database.write() as records:
        records.validations.insert(repository, validation_row(ABSENT, "a"))
    with pytest.raises(Internal), database.write() as records:
        records.attestations.insert(repository, attestation_row(ABSENT))


def test_what_hangs_on_a_commit_goes_with_it(database: Database, repository: RepositoryId) -> None:
    hang_everything(database, repository, COMMIT)
    hang_everything(database, repository, LATER)
    with database.write() as records:
        records.held.unlink_commits(repository, [LATER])
    assert count_everything(database, repository, LATER) == (0, 0, 0)
    assert count_everything(database, repository, COMMIT) == (1, 1, 1)


def test_what_hangs_on_commits_goes_with_their_repository(
    database: Database, repository: RepositoryId
) -> None:
    other = make_repository(database, "team/other")
    store_commits(database, other, COMMITS)
    for owner in (repository, other):
        hang_everything(database, owner, COMMIT)
    with database.write() as records:
        records.repositories.delete(repository)
    assert count_everything(database, repository, COMMIT) == (0, 0, 0)
    assert count_everything(database, other, COMMIT) == (1, 1, 1)


def test_row_after_a_removed_one_takes_no_other_ones_place(
    database: Database, repository: RepositoryId
) -> None:
    for commit in (COMMIT, LATER):
        hang_everything(database, repository, commit)
    with database.write() as records:
        records.held.unlink_commits(repository, [LATER])
        row = attestation_row(COMMIT, "k2")
        records.attestations.insert(repository, row)
        records.expected.insert(repository, expected_row(COMMIT, base="another"))
    assert count_everything(database, repository, COMMIT) == (2, 1, 2)


# --- keys ---


def test_keys_come_back_oldest_first(database: Database) -> None:
    keys = [
        key_row("k2", expires_at="2027-01-01T00:00:00Z"),
        key_row("k1", role=KeyRole.PUBLISHER),
    ]
    with database.write() as records:
        for key in keys:
            records.validator_keys.insert(key)
    with database.read() as records:
        assert records.validator_keys.list() == keys
        assert records.validator_keys.get(KeyId("k1")) == keys[1]


def test_key_is_registered_once(database: Database) -> None:
    with database.write() as records:
        records.validator_keys.insert(key_row())
    with pytest.raises(AlreadyExists) as caught, database.write() as records:
        records.validator_keys.insert(replace(key_row(), role=KeyRole.PUBLISHER))
    assert caught.value.kind == "validator-key-exists"
    with database.read() as records:
        assert records.validator_keys.list() == [key_row()]


def test_key_that_is_not_there_is_not_found(database: Database) -> None:
    with pytest.raises(NotFound) as caught, database.read() as records:
        records.validator_keys.get(KeyId("k1"))
    assert caught.value.kind == "validator-key-not-found"


def test_key_is_revoked_once_and_no_other_with_it(database: Database) -> None:
    with database.write() as records:
        for keyid in ("k1", "k2"):
            records.validator_keys.insert(key_row(keyid))
        records.validator_keys.revoke(KeyId("k1"), NOW)
        records.validator_keys.revoke(KeyId("k1"), "2027-01-01T00:00:00Z")
        records.validator_keys.revoke(KeyId("k3"), NOW)
    with database.read() as records:
        assert records.validator_keys.list() == [key_row("k1", revoked_at=NOW), key_row("k2")]


# --- rules ---


def test_rule_keeps_how_many_attestations_it_demands(
    database: Database, repository: RepositoryId
) -> None:
    rule = Protection("prod", Role.MAINTAINER, fast_forward_only=False, attestations=2)
    with database.write() as records:
        records.protections.put(repository, rule)
    with database.read() as records:
        assert records.protections.list(repository) == [rule]
