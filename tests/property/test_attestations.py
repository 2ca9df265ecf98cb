"""Whatever is changed in an envelope, nothing counts but what was signed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plait.errors import InvalidInput
from plait.model import canonical
from plait.model.attestation import Statement, make_statement, parse_statement
from plait.model.envelope import read_envelope
from plait.model.ids import CommitId, hash_bytes
from plait.model.manifest import File, Manifest
from plait.model.paths import FilePath
from plait.model.validation import Validation
from plait.signing import SigningKey, verify_envelope
from plait.verify import Claim, Standing, verify_attestations
from reference.attestations import (
    DRIFT,
    MISMATCH,
    NOT_MERGEABLE,
    VERIFIED,
    make_key,
    register,
    sign,
)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)
digests = st.binary(max_size=4).map(hash_bytes)
manifests = st.dictionaries(
    st.from_regex(r"[a-z]{1,8}\.bin", fullmatch=True), digests, max_size=4
).map(lambda held: Manifest.of(File(FilePath(name), 1, held[name], None) for name in held))
environments = st.dictionaries(st.text(max_size=8), st.text(max_size=8), max_size=3)
validations = st.sampled_from([VERIFIED, DRIFT, MISMATCH, NOT_MERGEABLE])


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> SigningKey:
    return make_key(tmp_path_factory.mktemp("key"))


@given(validations, manifests, environments, digests)
def test_what_was_signed_is_what_is_read(
    validation: Validation, manifest: Manifest, environment: dict[str, str], commit: str
) -> None:
    seen = Validation.from_json(
        {**validation.to_json(), "environment": environment, "commit": commit}
    )
    statement = make_statement(seen, manifest, repository="a/b", signed_at=seen.ended_at)
    assert parse_statement(statement.to_bytes()) == statement
    assert statement.commit == CommitId(commit)
    assert statement.environment == environment


@given(st.data())
def test_envelope_with_a_changed_byte_gives_what_was_signed_or_nothing(
    key: SigningKey, data: st.DataObject
) -> None:
    envelope = sign(key)
    held = bytearray(canonical.dumps(envelope))
    place = data.draw(st.integers(0, len(held) - 1))
    held[place] ^= data.draw(st.integers(1, 255))
    try:
        payload, signed = verify_envelope(canonical.loads(bytes(held)), {key.keyid: key.public_key})
    except InvalidInput:
        return
    assert payload == read_envelope(envelope).payload
    assert signed == {key.keyid}


@given(json_values)
def test_any_json_is_judged_and_none_counts(key: SigningKey, value: object) -> None:
    claim = Claim(commit=None, files={}, now="2026-11-24T07:00:00Z")
    report = verify_attestations([value], [register(key)], claim)
    assert [item.standing for item in report.attestations] == [Standing.MALFORMED]


@given(
    st.lists(st.sampled_from(["payload", "payloadType", "signatures", "keyid", "sig"])), json_values
)
def test_any_value_in_an_envelopes_place_is_judged(
    key: SigningKey, places: list[str], value: object
) -> None:
    envelope = sign(key)
    for place in places:
        (envelope if place in envelope else envelope["signatures"][0])[place] = value
        if place == "signatures":
            break
    claim = Claim(commit=None, files={}, now="2026-11-24T07:00:00Z")
    report = verify_attestations([envelope], [register(key)], claim)
    if places:
        assert {item.standing for item in report.attestations} <= {
            Standing.MALFORMED,
            Standing.UNKNOWN_KEY,
            Standing.WRONG_SIGNATURE,
            Standing.OTHER_FILES,
        }


@given(json_values, st.sampled_from(["_type", "subject", "predicateType", "predicate"]))
def test_any_value_in_a_signed_statements_place_is_judged(
    key: SigningKey, value: object, place: str
) -> None:
    good = Statement.to_json(
        make_statement(VERIFIED, Manifest(()), repository="a/b", signed_at=VERIFIED.ended_at)
    )
    claim = Claim(commit=VERIFIED.commit, files={}, now="2026-11-24T07:00:00Z")
    envelope = key.sign(canonical.dumps({**good, place: value}))
    report = verify_attestations([envelope], [register(key)], claim)
    assert [item.standing for item in report.attestations] == [Standing.MALFORMED]
