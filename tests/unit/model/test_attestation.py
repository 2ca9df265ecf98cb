"""Statements: what of a validation is signed, and what is refused when it is read."""

import copy
from dataclasses import replace
from typing import Any

import pytest

from plait.errors import InvalidInput
from plait.model import attestation, canonical
from plait.model.attestation import Statement, TestResult, make_statement, parse_statement
from plait.model.ids import hash_bytes
from plait.model.validation import BaseWeights, Validation, Verdict
from reference.attestations import (
    COMMIT,
    DRIFT,
    ERROR,
    MANIFEST,
    MISMATCH,
    NOT_MERGEABLE,
    SIGNED_AT,
    VERIFIED,
)


def statement_of(validation: Validation) -> Statement:
    return make_statement(validation, MANIFEST, repository="team/sql", signed_at=SIGNED_AT)


@pytest.mark.parametrize("validation", [VERIFIED, DRIFT, MISMATCH, NOT_MERGEABLE])
def test_what_was_written_is_read(validation: Validation) -> None:
    statement = statement_of(validation)
    assert parse_statement(statement.to_bytes()) == statement


def test_dequantised_weights_are_named() -> None:
    statement = statement_of(replace(VERIFIED, base_weights=BaseWeights.DEQUANTISED))
    assert parse_statement(statement.to_bytes()).base_weights is BaseWeights.DEQUANTISED


def test_subjects_are_the_commit_the_root_and_each_file() -> None:
    subjects = statement_of(VERIFIED).to_json()["subject"]
    assert [(item["name"], item["digest"]["sha256"]) for item in subjects] == [
        ("team/sql", COMMIT),
        ("merged", VERIFIED.root),
        ("README.md", hash_bytes(b"README.md")),
        ("adapter_config.json", hash_bytes(b"adapter_config.json")),
    ]


def test_every_resource_has_what_in_toto_wants() -> None:
    held = statement_of(VERIFIED).to_json()
    for item in [*held["subject"], *held["predicate"]["configuration"]]:
        assert item.keys() & {"uri", "digest", "content"}, item


def test_results_and_tests_by_verdict() -> None:
    told = [
        (said.result, said.passed, said.warned, said.failed)
        for said in map(statement_of, (VERIFIED, DRIFT, MISMATCH, NOT_MERGEABLE))
    ]
    assert told == [
        (TestResult.PASSED, ("weights", "outputs"), (), ()),
        (TestResult.WARNED, ("weights",), ("outputs",), ()),
        (TestResult.FAILED, (), (), ("weights", "weights:w")),
        (TestResult.FAILED, (), (), ("weights",)),
    ]


def test_outputs_pass_only_where_somebody_looked_at_them() -> None:
    assert statement_of(replace(VERIFIED, probes={})).passed == ("weights",)


def test_error_is_not_signed() -> None:
    with pytest.raises(InvalidInput) as caught:
        statement_of(ERROR)
    assert caught.value.kind == "attestation-invalid"


def test_unknown_fields_are_passed_over_as_in_toto_wants() -> None:
    held = statement_of(VERIFIED).to_json()
    held["x"] = held["predicate"]["x"] = held["subject"][0]["downloadLocation"] = "y"
    assert parse_statement(canonical.dumps(held)) == statement_of(VERIFIED)


def subject(held: Any) -> Any:
    return held["subject"]


def part(held: Any, name: str) -> Any:
    return next(item for item in held["predicate"]["configuration"] if item["name"] == name)


BAD = {
    "another statement type": lambda held: held.update(_type="https://in-toto.io/Statement/v0.1"),
    "another predicate": lambda held: held.update(predicateType="https://slsa.dev/provenance/v1"),
    "no predicate": lambda held: held.pop("predicate"),
    "no subject": lambda held: held.pop("subject"),
    "subject an object": lambda held: held.update(subject={}),
    "no commit": lambda held: subject(held).pop(0),
    "two commits": lambda held: subject(held).append(subject(held)[0]),
    "two roots": lambda held: subject(held).append(subject(held)[1]),
    "two files of a name": lambda held: subject(held).append(subject(held)[2]),
    "too many subjects": lambda held: subject(held).extend([subject(held)[2]] * 20_000),
    "foreign subject": lambda held: subject(held)[2].update(uri="https://example.org/x"),
    "a file outside": lambda held: subject(held)[2].update(name="../x"),
    "a file without name": lambda held: subject(held)[2].pop("name"),
    "short digest": lambda held: subject(held)[0].update(digest={"sha256": "abc"}),
    "digest of another kind": lambda held: subject(held)[0].update(digest={"sha1": "0" * 40}),
    "digest a text": lambda held: subject(held)[0].update(digest="0" * 64),
    "no configuration": lambda held: held["predicate"].pop("configuration"),
    "too many parts": lambda held: held["predicate"].update(configuration=[{}] * 200),
    "no definition": lambda held: part(held, "definition").update(name="x"),
    "foreign definition": lambda held: part(held, "definition").update(uri="merge-fp64-v1"),
    "odd definition": lambda held: part(held, "definition").update(uri="plait:definition/A B"),
    "no validation": lambda held: part(held, "validation").update(name="x"),
    "two bases": lambda held: held["predicate"]["configuration"].append(part(held, "base")),
    "no base": lambda held: part(held, "base").update(name="x"),
    "base of unknown weights": lambda held: part(held, "base")["annotations"].update(weights="x"),
    "base without weights": lambda held: part(held, "base").pop("annotations"),
    "no root": lambda held: subject(held).pop(1),
    "unknown result": lambda held: held["predicate"].update(result="GREAT"),
    "result a number": lambda held: held["predicate"].update(result=1),
    "failed but verified": lambda held: held["predicate"].update(result="FAILED"),
    "unknown verdict": lambda held: part(held, "validation")["annotations"].update(verdict="x"),
    "an error": lambda held: part(held, "validation")["annotations"].update(verdict="error"),
    "no time": lambda held: part(held, "validation")["annotations"].pop("signedAt"),
    "local time": lambda held: part(held, "validation")["annotations"].update(
        signedAt="2026-11-24 06:09:00"
    ),
    "time of a zone": lambda held: part(held, "validation")["annotations"].update(
        signedAt="2026-11-24T06:09:00+01:00"
    ),
    "no such day": lambda held: part(held, "validation")["annotations"].update(
        signedAt="2026-02-30T06:09:00Z"
    ),
    "tests a text": lambda held: held["predicate"].update(passedTests="weights"),
    "tests of numbers": lambda held: held["predicate"].update(passedTests=[1]),
    "too many tests": lambda held: held["predicate"].update(failedTests=["x"] * 2_000),
    "environment a list": lambda held: part(held, "environment").update(annotations=[]),
    "environment of numbers": lambda held: part(held, "environment").update(annotations={"a": 1}),
    "long environment": lambda held: part(held, "environment").update(
        annotations={"a": "x" * 5_000}
    ),
}


@pytest.mark.parametrize("change", BAD)
def test_statement_that_breaks_a_rule_is_refused(change: str) -> None:
    held = copy.deepcopy(statement_of(VERIFIED).to_json())
    BAD[change](held)
    with pytest.raises(InvalidInput) as caught:
        parse_statement(canonical.dumps(held))
    assert caught.value.kind == "attestation-invalid"


@pytest.mark.parametrize(
    "payload", [b"", b"\xff", b"[]", b"7", b'{"_type":1}', b'{"a":1,"a":1}', b"[" * 100_000]
)
def test_payload_that_is_no_statement_is_refused(payload: bytes) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_statement(payload)
    assert caught.value.kind == "attestation-invalid"


def test_environment_may_be_absent() -> None:
    held = statement_of(VERIFIED).to_json()
    held["predicate"]["configuration"] = held["predicate"]["configuration"][:3]
    assert parse_statement(canonical.dumps(held)).environment == {}


def test_lists_of_tests_may_be_absent() -> None:
    held = statement_of(VERIFIED).to_json()
    for name in ("passedTests", "warnedTests", "failedTests"):
        del held["predicate"][name]
    assert parse_statement(canonical.dumps(held)) == replace(statement_of(VERIFIED), passed=())


def test_every_verdict_but_an_error_has_a_result() -> None:
    assert set(Verdict) - set(attestation.RESULTS) == {Verdict.ERROR}
