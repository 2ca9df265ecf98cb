"""What a validator saw, as a document, and how a merge is judged."""

from dataclasses import replace
from typing import Any

import pytest

from plait.errors import InvalidInput
from plait.model import canonical, validation
from plait.model.ids import CommitId, hash_bytes
from plait.model.merge_digests import DEFINITION, MergeDigests
from plait.model.validation import (
    MOST_DIFFERENCES,
    BaseWeights,
    Difference,
    Judgement,
    Validation,
    Verdict,
    judge,
)

COMMIT = CommitId(hash_bytes(b"commit"))
DIGESTS = MergeDigests.of({name: hash_bytes(name.encode()) for name in ("w", "v")})
GOOD = Validation(
    definition=DEFINITION,
    commit=COMMIT,
    base=hash_bytes(b"base"),
    base_weights=BaseWeights.ORIGINAL,
    verdict=Verdict.VERIFIED,
    started_at="2026-11-24T06:07:00Z",
    ended_at="2026-11-24T06:08:00Z",
    root=DIGESTS.root,
    tensors=DIGESTS.tensors,
    health={"w": {"norm": 0.5}},
    probes={"layer-probe-v1": DIGESTS.root},
    environment={"device": "cpu"},
)
CHANGED = Difference("w", hash_bytes(b"w"), hash_bytes(b"x"), "3 of 64 elements")
DIFFERENT = replace(GOOD, verdict=Verdict.MISMATCH, differing=1, differences=(CHANGED,))
UNFINISHED = replace(
    GOOD, verdict=Verdict.ERROR, root=None, tensors={}, base=None, message="The GPU is gone."
)


def digests(count: int, *, word: str = "t") -> MergeDigests:
    return MergeDigests.of(
        {f"t{number:03}": hash_bytes(f"{word}{number}".encode()) for number in range(count)}
    )


# --- the document ---


@pytest.mark.parametrize("given", [GOOD, DIFFERENT, UNFINISHED], ids=lambda item: item.verdict)
def test_document_is_read_as_it_was_written(given: Validation) -> None:
    read = Validation.from_json(canonical.loads(given.to_bytes()))
    assert read == given
    assert read.id == given.id
    assert read.digests == (None if given is UNFINISHED else DIGESTS)


def test_id_is_that_of_the_canonical_document() -> None:
    assert GOOD.id == hash_bytes(GOOD.to_bytes())
    assert replace(GOOD, ended_at="2026-11-24T06:09:00Z").id != GOOD.id


@pytest.mark.parametrize(
    "change",
    [
        {"format": "plait.validation/2"},
        {"definition": "Merge FP64"},
        {"definition": None},
        {"commit": "abc"},
        {"base": "abc"},
        {"base": None},
        {"base_weights": "both"},
        {"verdict": "fine"},
        {"root": hash_bytes(b"another")},
        {"root": None},
        {"tensors": {"w": hash_bytes(b"x")}},
        {"tensors": {"": hash_bytes(b"x")}},
        {"tensors": {"a\nb": hash_bytes(b"x")}},
        {"tensors": []},
        {"tensors": {"w": "abc"}},
        {"differing": -1},
        {"differing": 1},
        {"differences": [CHANGED.to_json()]},
        {"verdict": "mismatch"},
        {"health": None},
        {"health": []},
        {"probes": 1},
        {"environment": {"device": 1}},
        {"environment": {"device": "x" * 4_001}},
        {"environment": {str(number): "" for number in range(101)}},
        {"message": None},
        {"message": "x" * 4_001},
        {"started_at": "2026-11-24"},
        {"started_at": "2026-11-24T06:08:01Z"},
        {"ended_at": None},
        {"surprise": 1},
    ],
    ids=lambda change: f"{change!r:.60}",
)
def test_document_that_breaks_a_rule_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput) as caught:
        Validation.from_json({**GOOD.to_json(), **change})
    assert caught.value.kind in {"invalid-validation", "invalid-object-id"}


def test_document_without_a_field_is_refused() -> None:
    document = GOOD.to_json()
    for name in document:
        without = {key: value for key, value in document.items() if key != name}
        if name == "base":
            without["verdict"] = "error"
            assert Validation.from_json(without).base is None
            continue
        with pytest.raises(InvalidInput):
            Validation.from_json(without)


@pytest.mark.parametrize("value", [None, [], "text", 1])
def test_what_is_no_object_is_refused(value: object) -> None:
    with pytest.raises(InvalidInput) as caught:
        Validation.from_json(value)
    assert caught.value.kind == "invalid-validation"


def test_named_differences_are_as_many_as_there_are_up_to_ten() -> None:
    many = Validation.from_json({**DIFFERENT.to_json(), **_differing(12, MOST_DIFFERENCES)})
    assert (many.differing, len(many.differences)) == (12, MOST_DIFFERENCES)
    for named in (9, 11):
        with pytest.raises(InvalidInput):
            Validation.from_json({**DIFFERENT.to_json(), **_differing(12, named)})


def _differing(count: int, named: int) -> dict[str, Any]:
    return {"differing": count, "differences": [CHANGED.to_json()] * named}


@pytest.mark.parametrize("field", ["health", "probes"])
def test_too_many_facts_are_refused(field: str, monkeypatch: pytest.MonkeyPatch) -> None:
    document = {**GOOD.to_json(), field: {"text": "x" * 100}}
    assert Validation.from_json(document).to_json() == document
    monkeypatch.setattr(validation, "LARGEST_FACTS", 100)
    with pytest.raises(InvalidInput, match=field):
        Validation.from_json(document)


@pytest.mark.parametrize("name", ["MOST_TENSORS", "LARGEST_VALIDATION"])
def test_too_large_a_document_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validation, name, 1)
    with pytest.raises(InvalidInput):
        Validation.from_json(GOOD.to_json())


# --- judging ---


def test_equal_digests_are_verified() -> None:
    assert judge(DIGESTS, DIGESTS) == Judgement(Verdict.VERIFIED, 0, ())


def test_first_merge_is_verified_since_nothing_else_was_expected() -> None:
    assert judge(None, DIGESTS) == Judgement(Verdict.VERIFIED, 0, ())


def test_equal_weights_whose_outputs_differ_have_drifted() -> None:
    assert judge(DIGESTS, DIGESTS, has_drifted=True) == Judgement(Verdict.DRIFT, 0, ())


def test_mismatch_names_the_tensor_and_by_how_much() -> None:
    merged = MergeDigests.of({**DIGESTS.tensors, "w": hash_bytes(b"x")})
    judged = judge(DIGESTS, merged, has_drifted=True, details={"w": "3 of 64 elements"})
    assert judged == Judgement(Verdict.MISMATCH, 1, (CHANGED,))


def test_tensor_that_one_side_lacks_is_a_difference() -> None:
    alone = MergeDigests.of({"w": hash_bytes(b"w")})
    missing = Difference("v", hash_bytes(b"v"), None)
    assert judge(DIGESTS, alone).differences == (missing,)
    assert judge(alone, DIGESTS).differences == (
        replace(missing, expected=None, actual=missing.expected),
    )


def test_first_ten_differences_are_named_by_name_and_all_are_counted() -> None:
    judged = judge(digests(25), digests(25, word="other"))
    assert judged.differing == 25
    assert [item.name for item in judged.differences] == [f"t{number:03}" for number in range(10)]


def test_digests_of_two_definitions_are_not_compared() -> None:
    other = MergeDigests.of(DIGESTS.tensors, definition="merge-x-v1")
    with pytest.raises(InvalidInput) as caught:
        judge(other, DIGESTS)
    assert caught.value.kind == "invalid-validation"
