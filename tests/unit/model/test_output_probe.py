from dataclasses import replace
from typing import Any

import pytest

from plait.errors import InvalidInput
from plait.model import canonical
from plait.model.ids import hash_bytes
from plait.model.output_probe import (
    TOLERANCES,
    Agreement,
    OutputProbe,
    Place,
    compare_outputs,
    compare_with_earlier,
)

TOP_TOKENS = tuple(range(10, 20))
PROBE = OutputProbe(
    tokens=hash_bytes(b"tokens"),
    dtype="float32",
    digest=hash_bytes(b"logits"),
    environment={"device": "cpu", "torch": "2.13.0"},
    places=(
        Place(3, TOP_TOKENS, tuple(8.0 - i / 2 for i in range(10))),
        Place(9, TOP_TOKENS, tuple(4.0 - i / 2 for i in range(10))),
    ),
)


def moved(error: float, place: int = 0) -> OutputProbe:
    """Return the probe with other bits, one logit of a place having moved."""
    places = list(PROBE.places)
    first, *others = places[place].logits
    places[place] = replace(places[place], logits=(first + error, *others))
    return replace(PROBE, digest=hash_bytes(b"others"), places=tuple(places))


def renamed(count: int) -> OutputProbe:
    """Return the probe with so many other tokens at its second place."""
    tokens = (*TOP_TOKENS[: 10 - count], *range(90, 90 + count))
    places = (PROBE.places[0], replace(PROBE.places[1], tokens=tokens))
    return replace(PROBE, digest=hash_bytes(b"others"), places=places)


def test_equal_digests_are_equal_answers_wherever_they_come_from() -> None:
    other = replace(PROBE, environment={"device": "H100"})
    assert compare_outputs(PROBE, PROBE).agreement is Agreement.EQUAL
    comparison = compare_outputs(PROBE, other)
    assert comparison.agreement is Agreement.EQUAL
    assert not comparison.same_environment


def test_errors_are_relative_to_the_largest_logit_of_their_place() -> None:
    assert compare_outputs(PROBE, moved(2.0**-14)).largest_error == 2.0**-17
    assert compare_outputs(PROBE, moved(-(2.0**-14), place=1)).largest_error == 2.0**-16


@pytest.mark.parametrize("dtype", TOLERANCES)
def test_an_error_up_to_the_tolerance_is_within_it(dtype: str) -> None:
    largest = TOLERANCES[dtype].largest_error
    expected = replace(PROBE, dtype=dtype)
    near, far = (
        replace(moved(8 * largest * 0.99), dtype=dtype),
        replace(moved(9 * largest), dtype=dtype),
    )
    assert compare_outputs(expected, near).agreement is Agreement.WITHIN_TOLERANCE
    assert compare_outputs(expected, far).agreement is Agreement.DRIFT


def test_the_agreement_of_the_top_is_the_mean_over_the_places() -> None:
    assert compare_outputs(PROBE, renamed(1)).top_agreement == pytest.approx(0.95)
    assert compare_outputs(PROBE, renamed(1)).agreement is Agreement.WITHIN_TOLERANCE
    assert compare_outputs(PROBE, renamed(2)).top_agreement == pytest.approx(0.9)
    assert compare_outputs(PROBE, renamed(2)).agreement is Agreement.DRIFT


def test_tokens_that_one_side_alone_names_have_no_error() -> None:
    assert compare_outputs(PROBE, renamed(10)).largest_error == 0.0
    assert compare_outputs(PROBE, renamed(10)).top_agreement == pytest.approx(0.5)


@pytest.mark.parametrize(
    "other",
    [
        replace(PROBE, tokens=hash_bytes(b"other tokens")),
        replace(PROBE, dtype="bfloat16"),
        replace(PROBE, places=PROBE.places[:1]),
    ],
)
def test_answers_to_something_else_are_not_comparable(other: OutputProbe) -> None:
    assert compare_outputs(PROBE, other).agreement is Agreement.NOT_COMPARABLE


def test_places_without_a_finite_logit_agree_with_each_other_alone() -> None:
    empty = replace(PROBE, places=(Place(3, (), ()), PROBE.places[1]), digest=hash_bytes(b"nan"))
    again = replace(empty, digest=hash_bytes(b"other nan"))
    assert compare_outputs(empty, again).agreement is Agreement.WITHIN_TOLERANCE
    assert compare_outputs(PROBE, empty).top_agreement == pytest.approx(0.5)
    assert compare_outputs(empty, PROBE).agreement is Agreement.DRIFT


def test_an_earlier_answer_from_the_same_environment_is_preferred() -> None:
    far = replace(moved(1.0), environment={"device": "H100"})
    comparison = compare_with_earlier(PROBE, [far, PROBE])
    assert comparison is not None
    assert comparison.agreement is Agreement.EQUAL
    assert comparison.same_environment


def test_else_the_first_comparable_answer_counts() -> None:
    other_tokens = replace(PROBE, tokens=hash_bytes(b"other tokens"))
    far = replace(moved(1.0), environment={"device": "H100"})
    near = replace(PROBE, environment={"device": "H200"})
    comparison = compare_with_earlier(PROBE, [other_tokens, far, near])
    assert comparison is not None
    assert comparison.agreement is Agreement.DRIFT


def test_without_a_comparable_answer_nothing_is_compared() -> None:
    assert compare_with_earlier(PROBE, []) is None
    assert compare_with_earlier(PROBE, [replace(PROBE, dtype="bfloat16")]) is None


def test_a_document_is_read_back_as_it_was() -> None:
    held = canonical.loads(canonical.dumps(PROBE.to_json()))
    assert OutputProbe.from_json(held) == PROBE


def test_a_comparison_is_written_as_plain_values() -> None:
    assert compare_outputs(PROBE, PROBE).to_json() == {
        "agreement": "equal",
        "same_environment": True,
        "top_agreement": 1.0,
        "largest_error": 0.0,
    }


PLACE: dict[str, Any] = {"position": 3, "tokens": [1, 2], "logits": [2.0, 1.0]}


@pytest.mark.parametrize(
    "change",
    [
        {"dtype": "float64"},
        {"digest": "no digest"},
        {"tokens": None},
        {"environment": {"torch": 2}},
        {"environment": []},
        {"environment": {str(number): "" for number in range(101)}},
        {"unknown": 1},
        {"places": []},
        {"places": [PLACE] * 65},
        {"places": [{**PLACE, "tokens": [1]}]},
        {"places": [{**PLACE, "tokens": [1, 1]}]},
        {"places": [{**PLACE, "tokens": [1, True]}]},
        {"places": [{**PLACE, "tokens": [1, -2]}]},
        {"places": [{**PLACE, "logits": [1.0, float("nan")]}]},
        {"places": [{**PLACE, "logits": [1.0, "2"]}]},
        {"places": [{"position": 1, "tokens": list(range(11)), "logits": [1.0] * 11}]},
        {"places": [{**PLACE, "position": -1}]},
        {"places": [None]},
    ],
)
def test_documents_that_break_a_rule_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        OutputProbe.from_json({**PROBE.to_json(), **change})
