"""Digests of a merge: their root, their document, and what differs between two."""

import hashlib
from typing import Any

import pytest

from plait.errors import InvalidInput
from plait.model.ids import ObjectId
from plait.model.merge_digests import DEFINITION, MergeDigests, compute_root

A, B, C = (ObjectId(letter * 64) for letter in "abc")


def test_root_is_the_sha256_of_lines_sorted_by_name() -> None:
    lines = f"a.weight {B}\nb.weight {A}\né.weight {C}\n".encode()
    expected = hashlib.sha256(lines).hexdigest()
    tensors = {"é.weight": C, "b.weight": A, "a.weight": B}
    assert compute_root(tensors) == expected
    digests = MergeDigests.of(tensors)
    assert digests.root == expected
    assert list(digests.tensors) == ["a.weight", "b.weight", "é.weight"]
    assert digests.definition == DEFINITION


def test_document_is_read_back_as_it_was() -> None:
    digests = MergeDigests.of({"b": A, "a": B})
    assert MergeDigests.from_json(digests.to_json()) == digests
    other = MergeDigests.of({"b": A}, definition="layer-probe-v1")
    assert MergeDigests.from_json(other.to_json()).definition == "layer-probe-v1"


@pytest.mark.parametrize(
    "changed",
    [
        {"root": A},
        {"tensors": {"a": A}},
        {"tensors": {"a": "no digest"}},
        {"tensors": {"": A}},
        {"tensors": {"a\nb": A}},
        {"tensors": {"a" * 1_025: A}},
        {"tensors": {"\ud800": A}},
        {"tensors": [A]},
        {"definition": 1},
        {"more": 1},
    ],
)
def test_document_of_anything_else_is_refused(changed: dict[str, Any]) -> None:
    document = {**MergeDigests.of({"a": B}).to_json(), **changed}
    with pytest.raises(InvalidInput):
        MergeDigests.from_json(document)
    with pytest.raises(InvalidInput):
        MergeDigests.from_json([document])


def test_differences_are_those_of_digests_and_of_names() -> None:
    one = MergeDigests.of({"same": A, "other": A, "mine": A})
    two = MergeDigests.of({"same": A, "other": B, "yours": A})
    assert one.find_differences(two) == ["mine", "other", "yours"]
    assert two.find_differences(one) == ["mine", "other", "yours"]
    assert one.find_differences(one) == []
