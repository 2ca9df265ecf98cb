"""Which attestations count."""

from dataclasses import replace

import pytest

from database_suite.rows import NOW, digest
from database_suite.validation_rows import (
    BASE,
    DIGESTS,
    OTHER_DIGESTS,
    attestation_row,
    key_row,
)
from plait.model.address import RepositoryName
from plait.model.ids import CommitId
from plait.model.merge_digests import DEFINITION, MergeDigests
from plait.model.refs import RefName
from plait_registry.domain.access import Role
from plait_registry.domain.accounts import Protection
from plait_registry.domain.attesting import attestations_missing, find_counted
from plait_registry.domain.validations import AttestationRow, KeyRole, MergeKey, ValidatorKey

COMMIT = CommitId(digest("commit"))
BEFORE, AFTER = "2026-11-24T06:06:59Z", "2026-11-24T06:07:01Z"


def count(
    rows: list[AttestationRow], *keys: ValidatorKey, expected: MergeDigests | None = None
) -> set[str]:
    roots = {} if expected is None else {MergeKey(DEFINITION, BASE): expected.root}
    return set(find_counted(rows, keys, roots))


def rows(*keyids: str, digests: MergeDigests = DIGESTS) -> list[AttestationRow]:
    return [attestation_row(COMMIT, keyid, digests=digests) for keyid in keyids]


def test_each_key_counts_once() -> None:
    twice = [*rows("k1", "k2"), attestation_row(COMMIT, "k1", at=BEFORE)]
    assert count(twice, key_row("k1"), key_row("k2")) == {"k1", "k2"}


def test_nothing_counts_without_attestations_or_keys() -> None:
    assert count([], key_row("k1")) == set()
    assert count(rows("k1")) == set()


@pytest.mark.parametrize("result", ["FAILED", "WARNED", "passed"])
def test_other_results_do_not_count(result: str) -> None:
    assert count([attestation_row(COMMIT, "k1", result=result)], key_row("k1")) == set()


def test_key_of_a_publisher_does_not_count() -> None:
    assert count(rows("k1"), key_row("k1", role=KeyRole.PUBLISHER)) == set()


def test_revoked_key_does_not_count_whenever_it_signed() -> None:
    assert count(rows("k1"), key_row("k1", revoked_at=AFTER)) == set()


@pytest.mark.parametrize(("end", "counts"), [(BEFORE, False), (NOW, False), (AFTER, True)])
def test_key_counts_for_what_came_before_its_end(end: str, *, counts: bool) -> None:
    assert bool(count(rows("k1"), key_row("k1", expires_at=end))) is counts


def test_keys_that_saw_different_weights_do_not_add_up() -> None:
    found = [*rows("k1", "k2"), *rows("k3", digests=OTHER_DIGESTS)]
    assert count(found, *map(key_row, ("k1", "k2", "k3"))) == {"k1", "k2"}


@pytest.mark.parametrize("result", ["PASSED", "FAILED"])
def test_key_that_saw_two_roots_of_one_merge_counts_for_neither(result: str) -> None:
    other = replace(rows("k1", digests=OTHER_DIGESTS)[0], result=result)
    found = [*rows("k1", "k2"), other]
    keys = [key_row("k1"), key_row("k2")]
    for order in (found, found[::-1]):
        assert count(order, *keys) == {"k2"}
        assert count(order, *keys, expected=OTHER_DIGESTS) == set()


def test_key_that_saw_another_root_of_another_merge_counts() -> None:
    other = replace(rows("k1", digests=OTHER_DIGESTS)[0], base=digest("another base"))
    assert count([*rows("k1", "k2"), other], key_row("k1"), key_row("k2")) == {"k1", "k2"}


def test_root_that_is_not_the_expected_one_does_not_count() -> None:
    found = [*rows("k1", "k2"), *rows("k3", digests=OTHER_DIGESTS)]
    keys = [key_row(keyid) for keyid in ("k1", "k2", "k3")]
    assert count(found, *keys, expected=OTHER_DIGESTS) == {"k3"}
    assert count(found, *keys, expected=DIGESTS) == {"k1", "k2"}


def test_attestation_without_a_root_does_not_count() -> None:
    row = attestation_row(COMMIT)
    for empty in (replace(row, root=None), replace(row, base=None)):
        assert count([empty], key_row("k1")) == set()


def test_refusal_says_what_there_is_and_what_to_run() -> None:
    rule = Protection("prod", Role.MAINTAINER, fast_forward_only=False, attestations=2)
    error = attestations_missing(
        RepositoryName("team", "sql"), RefName("prod"), COMMIT, rule=rule, keys=[key_row("k1")]
    )
    assert error.kind == "attestations-missing"
    assert error.details["need"] == 2
    assert error.details["have"] == 1
    assert error.details["keys"] == ["k1"]
    assert "the owner of k1 (k1)" in error.message
    assert f"plait validate team/sql@{COMMIT[:12]}" in error.message
