"""Attestations as the first version signed them: every later one must read them the same.

Their signatures count for ever, so that they are never written anew. That today's writer still
signs the same bytes is no promise, but is checked as well: whoever changes it should know.
"""

from importlib import import_module
from pathlib import Path

import pytest

from plait.attestation_files import read_bundle, read_keys, write_bundle
from plait.model.validation import Verdict
from plait.verify import Claim, Standing, verify_attestations
from reference.attestations import (
    COMMIT,
    DIGESTS,
    DRIFT,
    MANIFEST,
    MISMATCH,
    NOT_MERGEABLE,
    VERIFIED,
    make_key,
    sign,
)
from reference.dsse_verifier import open_envelope

GOLDEN = Path(__file__).parent / "attestations"
SIGNED = (VERIFIED, DRIFT, MISMATCH, NOT_MERGEABLE)


def test_attestations_of_the_first_version_still_count() -> None:
    files = {file.path: file.sha256 for file in MANIFEST.files}
    claim = Claim(commit=COMMIT, files=files, now="2026-11-24T07:00:00Z")
    envelopes = read_bundle(GOLDEN / "version-1.intoto.jsonl")
    report = verify_attestations(envelopes, read_keys(GOLDEN / "key-1.pub"), claim)
    assert [item.standing for item in report.attestations] == [
        Standing.COUNTS,
        Standing.NOT_PASSED,
        Standing.NOT_PASSED,
        Standing.NOT_PASSED,
    ]
    assert report.root == DIGESTS.root
    assert [item.statement and item.statement.verdict for item in report.attestations] == [
        Verdict.VERIFIED,
        Verdict.DRIFT,
        Verdict.MISMATCH,
        Verdict.NOT_MERGEABLE,
    ]


def test_another_program_reads_attestations_of_the_first_version() -> None:
    public_key = (GOLDEN / "key-1.pub").read_text("utf-8")
    results = [
        open_envelope(envelope, public_key)["predicate"]["result"]
        for envelope in read_bundle(GOLDEN / "version-1.intoto.jsonl")
    ]
    assert results == ["PASSED", "WARNED", "FAILED", "FAILED"]


def test_todays_writer_signs_the_same_bytes(tmp_path: Path) -> None:
    key = make_key(tmp_path)
    written = write_bundle(sign(key, validation) for validation in SIGNED)
    assert written == (GOLDEN / "version-1.intoto.jsonl").read_bytes()


def test_in_totos_own_library_finds_nothing_wrong_with_statement_and_predicate() -> None:
    pytest.importorskip("in_toto_attestation", reason="make setup-dev installs in-toto-attestation")
    # By their names, since the development environment has no types of them.
    json_format = import_module("google.protobuf.json_format")
    test_result = import_module("in_toto_attestation.predicates.test_result.v0.test_result_pb2")
    descriptor = import_module("in_toto_attestation.v1.resource_descriptor").ResourceDescriptor
    statement = import_module("in_toto_attestation.v1.statement").Statement
    statement_pb2 = import_module("in_toto_attestation.v1.statement_pb2")

    public_key = (GOLDEN / "key-1.pub").read_text("utf-8")
    for envelope in read_bundle(GOLDEN / "version-1.intoto.jsonl"):
        held = open_envelope(envelope, public_key)
        parsed = json_format.ParseDict(held, statement_pb2.Statement())
        statement.copy_from_pb(parsed).validate()
        predicate = json_format.ParseDict(held["predicate"], test_result.TestResult())
        for item in [*parsed.subject, *predicate.configuration]:
            descriptor.copy_from_pb(item).validate()
