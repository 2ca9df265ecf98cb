"""Which attestations count, and what is said of those that do not."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from plait.errors import InvalidInput
from plait.model.ids import CommitId, hash_bytes
from plait.model.manifest import Manifest
from plait.model.merge_digests import DEFINITION, MergeDigests
from plait.model.validation import BaseWeights, Validation
from plait.signing import SigningKey
from plait.verify import Claim, MergedHere, Standing, VerificationReport, verify_attestations
from plait.wire_validation import ValidatorKey
from reference.attestations import (
    COMMIT,
    DIGESTS,
    DRIFT,
    MANIFEST,
    MISMATCH,
    VERIFIED,
    make_key,
    register,
    sign,
)

FILES = {file.path: file.sha256 for file in MANIFEST.files}
CLAIM = Claim(commit=COMMIT, files=FILES, now="2026-11-24T07:00:00Z")
BASE = hash_bytes(b"base")
OTHER = MergeDigests.of({"v": hash_bytes(b"v"), "w": hash_bytes(b"other")})
OTHER_WEIGHTS = replace(VERIFIED, root=OTHER.root, tensors=OTHER.tensors)


@pytest.fixture
def key(tmp_path: Path) -> SigningKey:
    return make_key(tmp_path)


@pytest.fixture
def second(tmp_path: Path) -> SigningKey:
    return make_key(tmp_path, 2)


def check(envelopes: list[Any], keys: list[ValidatorKey], **changes: Any) -> VerificationReport:
    return verify_attestations(envelopes, keys, replace(CLAIM, **changes))


def standings(report: VerificationReport) -> list[Standing]:
    return [item.standing for item in report.attestations]


def test_attestation_by_a_known_validator_counts(key: SigningKey) -> None:
    report = check([sign(key)], [register(key)])
    assert standings(report) == [Standing.COUNTS]
    assert report.keyids == {key.keyid}
    assert report.root == DIGESTS.root
    assert report.attestations[0].name == "gpu"


def test_nothing_to_check_counts_nothing(key: SigningKey) -> None:
    report = check([], [register(key)])
    assert (report.keyids, report.root, report.attestations) == (frozenset(), None, ())


def test_same_key_twice_is_one_key(key: SigningKey) -> None:
    later = sign(key, signed_at="2026-11-24T06:10:00Z")
    report = check([sign(key), later, sign(key)], [register(key)])
    assert standings(report) == [Standing.COUNTS] * 3
    assert len(report.keyids) == 1


def test_two_keys_in_one_envelope_are_two(key: SigningKey, second: SigningKey) -> None:
    envelope = sign(key)
    envelope["signatures"] += sign(second)["signatures"]
    report = check([envelope], [register(key), register(second)])
    assert report.keyids == {key.keyid, second.keyid}


def test_unknown_key(key: SigningKey, second: SigningKey) -> None:
    assert standings(check([sign(second)], [register(key)])) == [Standing.UNKNOWN_KEY]


def test_wrong_key_under_a_known_id(key: SigningKey, second: SigningKey) -> None:
    envelope = sign(second)
    envelope["signatures"][0]["keyid"] = key.keyid
    assert standings(check([envelope], [register(key)])) == [Standing.WRONG_SIGNATURE]


def test_changed_statement(key: SigningKey) -> None:
    envelope = sign(key, MISMATCH)
    envelope["payload"] = sign(key)["payload"]
    assert standings(check([envelope], [register(key)])) == [Standing.WRONG_SIGNATURE]


def test_signed_bytes_that_are_no_statement(key: SigningKey) -> None:
    report = check([key.sign(b"{}")], [register(key)])
    assert standings(report) == [Standing.MALFORMED]
    assert report.attestations[0].keyid == key.keyid


def test_what_is_no_envelope(key: SigningKey) -> None:
    report = check([None, [], {}, "x"], [register(key)])
    assert standings(report) == [Standing.MALFORMED] * 4


def test_publisher_does_not_count(key: SigningKey) -> None:
    report = check([sign(key)], [register(key, role="publisher")])
    assert standings(report) == [Standing.WRONG_ROLE]


def test_revoked_key_counts_for_nothing_whenever_it_signed(key: SigningKey) -> None:
    report = check([sign(key)], [register(key, revoked_at="2030-01-01T00:00:00Z")])
    assert standings(report) == [Standing.KEY_REVOKED]


@pytest.mark.parametrize(
    ("expires", "standing"),
    [
        ("2026-11-24T06:08:59Z", Standing.KEY_EXPIRED),
        ("2026-11-24T06:09:00Z", Standing.KEY_EXPIRED),
        ("2026-11-24T06:09:01Z", Standing.COUNTS),
    ],
)
def test_key_counts_until_it_expires(key: SigningKey, expires: str, standing: Standing) -> None:
    assert standings(check([sign(key)], [register(key, expires_at=expires)])) == [standing]


def test_key_that_expired_since_it_signed_still_counts(key: SigningKey) -> None:
    keys = [register(key, expires_at="2026-11-25T00:00:00Z")]
    assert check([sign(key)], keys, now="2027-11-24T00:00:00Z").keyids == {key.keyid}


@pytest.mark.parametrize(
    ("signed_at", "standing"),
    [("2026-11-24T07:05:00Z", Standing.COUNTS), ("2026-11-24T07:05:01Z", Standing.SIGNED_LATER)],
)
def test_time_of_signing_may_be_ahead_by_a_little(
    key: SigningKey, signed_at: str, standing: Standing
) -> None:
    assert standings(check([sign(key, signed_at=signed_at)], [register(key)])) == [standing]


def test_replayed_attestation_of_another_commit(key: SigningKey) -> None:
    other = replace(VERIFIED, commit=CommitId(hash_bytes(b"other")))
    report = check([sign(key, other)], [register(key)])
    assert standings(report) == [Standing.OTHER_COMMIT]
    assert hash_bytes(b"other")[:12] in report.attestations[0].message


@pytest.mark.parametrize("manifest", [Manifest.of(MANIFEST.files[:1]), Manifest(())])
def test_attestation_of_other_files(key: SigningKey, manifest: Manifest) -> None:
    report = check([sign(key, manifest=manifest)], [register(key)])
    assert standings(report) == [Standing.OTHER_FILES]


@pytest.mark.parametrize("validation", [MISMATCH, DRIFT])
def test_what_did_not_pass_does_not_count(key: SigningKey, validation: Validation) -> None:
    report = check([sign(key, validation)], [register(key)])
    assert standings(report) == [Standing.NOT_PASSED]
    assert validation.verdict in report.attestations[0].message


def test_validators_that_disagree_count_for_nothing(key: SigningKey, second: SigningKey) -> None:
    keys = [register(key), register(second)]
    report = check([sign(key), sign(second, OTHER_WEIGHTS)], keys)
    assert standings(report) == [Standing.OTHER_ROOT] * 2
    assert report.root is None


def test_merge_here_tells_which_validator_is_right(key: SigningKey, second: SigningKey) -> None:
    here = MergedHere(DEFINITION, BASE, BaseWeights.ORIGINAL, DIGESTS.root)
    keys = [register(key), register(second)]
    report = check([sign(key), sign(second, OTHER_WEIGHTS)], keys, merged=here)
    assert standings(report) == [Standing.COUNTS, Standing.OTHER_ROOT]
    assert DIGESTS.root in report.attestations[1].message


def test_merge_here_that_gives_something_else_leaves_nothing(key: SigningKey) -> None:
    here = MergedHere(DEFINITION, BASE, BaseWeights.ORIGINAL, OTHER.root)
    assert standings(check([sign(key)], [register(key)], merged=here)) == [Standing.OTHER_ROOT]


@pytest.mark.parametrize(
    "here",
    [
        MergedHere("merge-fp64-v2", BASE, BaseWeights.ORIGINAL, DIGESTS.root),
        MergedHere(DEFINITION, OTHER.root, BaseWeights.ORIGINAL, DIGESTS.root),
        MergedHere(DEFINITION, BASE, BaseWeights.DEQUANTISED, DIGESTS.root),
    ],
)
def test_merge_by_another_definition_or_into_another_base_compares_with_none(
    key: SigningKey, here: MergedHere
) -> None:
    assert standings(check([sign(key)], [register(key)], merged=here)) == [Standing.OTHER_MERGE]


def test_keys_are_counted_for_one_base_alone(
    tmp_path: Path, key: SigningKey, second: SigningKey
) -> None:
    third = make_key(tmp_path, 3)
    quantised = replace(
        OTHER_WEIGHTS, base=hash_bytes(b"quantised"), base_weights=BaseWeights.DEQUANTISED
    )
    envelopes = [sign(key, quantised), sign(second), sign(third)]
    report = check(envelopes, [register(item) for item in (key, second, third)])
    assert standings(report) == [Standing.OTHER_MERGE, Standing.COUNTS, Standing.COUNTS]
    assert report.root == DIGESTS.root


def test_without_a_commit_the_files_decide(key: SigningKey) -> None:
    assert check([sign(key)], [register(key)], commit=None).keyids == {key.keyid}


def test_without_a_commit_several_count_for_nothing(key: SigningKey, second: SigningKey) -> None:
    other = replace(VERIFIED, commit=CommitId(hash_bytes(b"other")))
    keys = [register(key), register(second)]
    report = check([sign(key), sign(second, other)], keys, commit=None)
    assert standings(report) == [Standing.OTHER_COMMIT] * 2


def test_key_under_an_id_that_is_not_its_own_is_refused(key: SigningKey) -> None:
    with pytest.raises(InvalidInput, match="another id"):
        check([], [replace(register(key), keyid="alias")])


@pytest.mark.parametrize("expires", ["soon", "2026-11-24", "2026-11-25T00:00:00"])
def test_end_of_a_key_is_a_time_of_utc_or_none_at_all(key: SigningKey, expires: str) -> None:
    if expires == "soon":
        with pytest.raises(InvalidInput, match="no time"):
            check([sign(key)], [register(key, expires_at=expires)])
        return
    counts = check([sign(key)], [register(key, expires_at=expires)]).keyids == {key.keyid}
    assert counts == (expires > "2026-11-24T06:09:00")


def test_report_as_json_names_each(key: SigningKey, second: SigningKey) -> None:
    told = check([sign(key), sign(second), {}], [register(key)]).to_json()
    assert told["keys"] == [key.keyid]
    assert [item["standing"] for item in told["attestations"]] == [
        "counts",
        "unknown-key",
        "malformed",
    ]
    assert told["attestations"][0]["environment"] == {"device": "cpu"}
