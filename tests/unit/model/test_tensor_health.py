from typing import Any

import pytest

from plait.errors import InvalidInput
from plait.model import canonical
from plait.model.tensor_health import TensorHealth

HEALTH = TensorHealth(norm=1.25, changed_share=0.5, not_finite=0, elements=1024)


def test_a_document_is_read_back_as_it_was() -> None:
    held = canonical.loads(canonical.dumps(HEALTH.to_json()))
    assert TensorHealth.from_json(held) == HEALTH
    whole = TensorHealth(norm=2.0, changed_share=1.0, not_finite=3, elements=4)
    assert TensorHealth.from_json(canonical.loads(canonical.dumps(whole.to_json()))) == whole


@pytest.mark.parametrize(
    "change",
    [
        {"norm": -1.0},
        {"norm": float("inf")},
        {"norm": True},
        {"norm": None},
        {"changed_share": "0.5"},
        {"not_finite": -1},
        {"elements": 1.5},
        {"other": 1},
    ],
)
def test_documents_that_break_a_rule_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        TensorHealth.from_json({**HEALTH.to_json(), **change})


def test_a_difference_names_the_figures_that_differ() -> None:
    other = TensorHealth(norm=1.5, changed_share=0.25, not_finite=2, elements=1024)
    assert other.describe_against(HEALTH) == (
        "this merge moved it by 1.5, the expected one by 1.25; 25.0000% of its elements changed, "
        "50.0000% were expected to; 2 are not finite, 0 were expected"
    )
    nearly = TensorHealth(norm=1.25 + 2**-20, changed_share=0.5, not_finite=0, elements=1024)
    assert nearly.describe_against(HEALTH) == (
        "this merge moved it by 1.25000095, the expected one by 1.25"
    )


def test_equal_figures_are_said_to_be_equal() -> None:
    assert "they do not differ" in HEALTH.describe_against(HEALTH)
