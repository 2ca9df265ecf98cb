"""Attestations: what a validator signs, an in-toto Statement v1 with a test result.

    subject     the commit, the merged weights (their root), each file of the adapter
    predicate   https://in-toto.io/attestation/test-result/v0.1: the result, the tests, and as its
                configuration the definition, the base, the validation's document, the environment

- Subjects are found by their sha256, so a tool that knows nothing of plait finds a file's statement
  by hashing the file. The commit and the root carry a `uri` that says what they are.
- A statement names the commit: signed for one, it says nothing about another.
- An `error` says nothing about a commit, and there is no statement of it.
- Statements come from other machines. As in-toto wants it, unknown fields are passed over; all that
  counts here is required, and sizes are bounded.

See https://github.com/in-toto/attestation/tree/main/spec/v1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from plait.errors import InvalidInput
from plait.model import canonical
from plait.model.fields import Fields
from plait.model.ids import CommitId, ObjectId, parse_object_id
from plait.model.manifest import MOST_FILES, Manifest
from plait.model.paths import FilePath, parse_path
from plait.model.validation import BaseWeights, Validation, Verdict, parse_definition

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://in-toto.io/attestation/test-result/v0.1"
MOST_SUBJECTS = MOST_FILES + 2
MOST_TESTS = 1_000
MOST_ENVIRONMENT = 100
LONGEST_TEXT = 4_000

WEIGHTS = "weights"
"""The test that every merged tensor has the expected digest; `weights:NAME` is one tensor's."""
OUTPUTS = "outputs"
"""The test that the model's outputs are those of before, within tolerance."""


_KIND = "attestation-invalid"
_COMMIT_URI = "plait:commit"
_MERGED_URI = "plait:merged"
_DEFINITION_URI = "plait:definition/"
_ENVIRONMENT_URI = "plait:environment"


class TestResult(StrEnum):
    """The outcome as in-toto names it."""

    PASSED = "PASSED"  # verified
    WARNED = "WARNED"  # drift: the weights are equal, the outputs beyond tolerance
    FAILED = "FAILED"  # mismatch, or not mergeable

    # pytest takes a class of this name for tests.
    __test__ = False


RESULTS: Mapping[Verdict, TestResult] = {
    Verdict.VERIFIED: TestResult.PASSED,
    Verdict.DRIFT: TestResult.WARNED,
    Verdict.MISMATCH: TestResult.FAILED,
    Verdict.NOT_MERGEABLE: TestResult.FAILED,
}
"""What each verdict is to in-toto; an error is no result."""


@dataclass(frozen=True, slots=True)
class Statement:
    """What one validator says about one commit."""

    repository: str
    """As the validator knew it, for people: names may change, the commit does not."""
    commit: CommitId
    definition: str
    """Of the merge, as `merge-fp64-v1`."""
    base: ObjectId | None
    """The fingerprint of the base; None where none was found."""
    base_weights: BaseWeights
    root: ObjectId | None
    """Of the merged tensors; None where nothing was merged."""
    result: TestResult
    verdict: Verdict
    validation: ObjectId
    """The id of the validation's document, which has each tensor's digest."""
    signed_at: str
    """UTC to the second, by the validator's own clock."""
    files: Mapping[FilePath, ObjectId] = field(default_factory=dict)
    """The adapter's files."""
    passed: tuple[str, ...] = ()
    warned: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    """Device, driver and versions of libraries."""

    def to_json(self) -> dict[str, Any]:
        """Return the in-toto Statement."""
        return {
            "_type": STATEMENT_TYPE,
            "subject": self._list_subjects(),
            "predicateType": PREDICATE_TYPE,
            "predicate": {
                "result": self.result.value,
                "configuration": self._list_configuration(),
                "passedTests": list(self.passed),
                "warnedTests": list(self.warned),
                "failedTests": list(self.failed),
            },
        }

    def to_bytes(self) -> bytes:
        """Return the bytes that are signed."""
        return canonical.dumps(self.to_json())

    def _list_subjects(self) -> list[dict[str, Any]]:
        subjects = [_describe(self.repository, self.commit, uri=_COMMIT_URI)]
        if self.root is not None:
            subjects.append(_describe("merged", self.root, uri=_MERGED_URI))
        return subjects + [_describe(path, digest) for path, digest in sorted(self.files.items())]

    def _list_configuration(self) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = [
            {"name": "definition", "uri": f"{_DEFINITION_URI}{self.definition}"}
        ]
        if self.base is not None:
            weights = {"weights": self.base_weights.value}
            items.append({**_describe("base", self.base), "annotations": weights})
        said = {"verdict": self.verdict.value, "signedAt": self.signed_at}
        items.append({**_describe("validation", self.validation), "annotations": said})
        items.append(
            {
                "name": "environment",
                "uri": _ENVIRONMENT_URI,
                "annotations": dict(self.environment),
            }
        )
        return items


def make_statement(
    validation: Validation, manifest: Manifest, *, repository: str, signed_at: str
) -> Statement:
    """Return the statement of a validation; `manifest` lists the commit's files.

    Raises:
        InvalidInput: `attestation-invalid`, the validation ended in an error.
    """
    result = RESULTS.get(validation.verdict)
    if result is None:
        raise InvalidInput(
            _KIND,
            "A validation that ended in an error says nothing about the commit, and is not signed: "
            "validate again.",
        )
    outputs = (OUTPUTS,) if validation.probes else ()
    named = tuple(f"{WEIGHTS}:{item.name}" for item in validation.differences)
    is_equal = validation.verdict in {Verdict.VERIFIED, Verdict.DRIFT}
    return Statement(
        repository=repository,
        commit=validation.commit,
        definition=validation.definition,
        base=validation.base,
        base_weights=validation.base_weights,
        root=validation.root,
        result=result,
        verdict=validation.verdict,
        validation=validation.id,
        signed_at=signed_at,
        files={file.path: file.sha256 for file in manifest.files},
        passed=(WEIGHTS, *(outputs if result is TestResult.PASSED else ())) if is_equal else (),
        warned=(OUTPUTS,) if result is TestResult.WARNED else (),
        failed=() if is_equal else (WEIGHTS, *named),
        environment=validation.environment,
    )


def parse_statement(payload: bytes) -> Statement:
    """Parse the bytes that were signed.

    Raises:
        InvalidInput: `attestation-invalid`, it is no statement of a validation.
    """
    try:
        value = canonical.loads(payload)
        return _parse(value)
    except InvalidInput as error:
        if error.kind == _KIND:
            raise
        raise InvalidInput(_KIND, f"This is no statement: {error.message}") from error


def _parse(value: object) -> Statement:
    fields = Fields(value, kind=_KIND, where="The statement")
    for name, wanted in (("_type", STATEMENT_TYPE), ("predicateType", PREDICATE_TYPE)):
        if fields.text(name) != wanted:
            raise fields.error(f"has another {name!r} than {wanted}")
    subjects = _parse_subjects(fields)
    predicate = Fields(fields.get("predicate"), kind=_KIND, where="The predicate")
    configuration = _parse_configuration(predicate)
    said = _annotations(configuration, "validation")
    base = configuration.get("base")
    statement = Statement(
        repository=subjects.repository,
        commit=subjects.commit,
        definition=_parse_definition(configuration),
        base=None if base is None else _parse_digest(base),
        base_weights=(
            BaseWeights.ORIGINAL
            if base is None
            else _annotations(configuration, "base").choice("weights", BaseWeights)
        ),
        root=subjects.root,
        result=predicate.choice("result", TestResult),
        verdict=said.choice("verdict", Verdict),
        validation=_parse_digest(configuration["validation"]),
        signed_at=_parse_time(said, "signedAt"),
        files=subjects.files,
        passed=_parse_tests(predicate, "passedTests"),
        warned=_parse_tests(predicate, "warnedTests"),
        failed=_parse_tests(predicate, "failedTests"),
        environment=_parse_environment(configuration),
    )
    if RESULTS.get(statement.verdict) is not statement.result:
        raise fields.error(f"calls the verdict {statement.verdict.value!r} {statement.result}")
    is_merged = statement.root is not None and statement.base is not None
    if statement.verdict is not Verdict.NOT_MERGEABLE and not is_merged:
        raise fields.error(f"says {statement.verdict.value!r} without a base and merged weights")
    return statement


@dataclass(slots=True)
class _Subjects:
    repository: str
    commit: CommitId
    root: ObjectId | None
    files: dict[FilePath, ObjectId]


def _parse_subjects(statement: Fields) -> _Subjects:
    items = statement.items("subject")
    if len(items) > MOST_SUBJECTS:
        raise statement.error(f"has over {MOST_SUBJECTS} subjects")
    named: dict[str, tuple[str, ObjectId]] = {}
    files: dict[FilePath, ObjectId] = {}
    for item in items:
        fields = Fields(item, kind=_KIND, where="A subject")
        name, uri = fields.text("name", longest=LONGEST_TEXT), fields.optional_text("uri")
        digest = _parse_digest(fields)
        if uri not in {None, _COMMIT_URI, _MERGED_URI}:
            raise fields.error(f"is none of a commit, merged weights and a file: {uri!r:.80}")
        # Two subjects of one name, and it would depend on the reader which of them counts.
        if (uri in named) if uri is not None else (name in files):
            raise fields.error(f"is there twice: {name!r:.80}")
        if uri is None:
            files[parse_path(name)] = digest
        else:
            named[uri] = (name, digest)
    if _COMMIT_URI not in named:
        raise statement.error("names no commit as its subject")
    repository, commit = named[_COMMIT_URI]
    _, root = named.get(_MERGED_URI, ("", None))
    return _Subjects(repository, CommitId(commit), root, files)


def _parse_configuration(predicate: Fields) -> dict[str, Fields]:
    found: dict[str, Fields] = {}
    items = predicate.items("configuration")
    if len(items) > MOST_ENVIRONMENT:
        raise predicate.error(f"has over {MOST_ENVIRONMENT} parts of a configuration")
    for item in items:
        fields = Fields(item, kind=_KIND, where="A part of the configuration")
        name = fields.optional_text("name") or ""
        if name in found:
            raise fields.error(f"is there twice: {name!r:.80}")
        found[name] = fields
    for name in ("definition", "validation"):
        if name not in found:
            raise predicate.error(f"needs {name!r} in its configuration")
    return found


def _annotations(configuration: Mapping[str, Fields], name: str) -> Fields:
    held = configuration[name].get("annotations")
    return Fields(held, kind=_KIND, where=f"The configuration's {name!r}")


def _parse_definition(configuration: Mapping[str, Fields]) -> str:
    fields = configuration["definition"]
    uri = fields.text("uri")
    if not uri.startswith(_DEFINITION_URI):
        raise fields.error(f"is no definition: {uri!r:.80}")
    return parse_definition(uri.removeprefix(_DEFINITION_URI))


def _parse_environment(configuration: Mapping[str, Fields]) -> Mapping[str, str]:
    if "environment" not in configuration:
        return {}
    held = configuration["environment"].get("annotations")
    if not isinstance(held, dict) or len(held) > MOST_ENVIRONMENT:
        raise configuration["environment"].error("needs an object of texts as 'annotations'")
    for name, text in held.items():
        if not isinstance(text, str) or max(len(name), len(text)) > LONGEST_TEXT:
            raise configuration["environment"].error(f"has {name!r:.80}, which is no short text")
    return held


def _parse_tests(predicate: Fields, name: str) -> tuple[str, ...]:
    if predicate.get(name) is None:
        return ()
    tests = predicate.items(name)
    if len(tests) > MOST_TESTS or not all(isinstance(test, str) for test in tests):
        raise predicate.error(f"needs at most {MOST_TESTS} texts as {name!r}")
    return tuple(tests)


def _parse_digest(fields: Fields) -> ObjectId:
    held = fields.get("digest")
    if not isinstance(held, dict):
        raise fields.error("needs an object 'digest'")
    return parse_object_id(held.get("sha256"))


def _parse_time(fields: Fields, name: str) -> str:
    text = fields.text(name)
    try:
        parsed = datetime.strptime(text, "%Y-%m-%dT%H:%M:%S%z")
    except ValueError:
        parsed = None
    if parsed is None or len(text) != len("2026-11-24T06:07:00Z"):
        raise fields.error(f"needs a time as 2026-11-24T06:07:00Z as {name!r}")
    return text


def _describe(name: str, digest: str, *, uri: str | None = None) -> dict[str, Any]:
    """Return an in-toto ResourceDescriptor."""
    described: dict[str, Any] = {"name": name, "digest": {"sha256": digest}}
    if uri is not None:
        described["uri"] = uri
    return described
