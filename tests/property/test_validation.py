"""Validations: written and read again the same, and merges judged alike from both sides."""

from hypothesis import given
from hypothesis import strategies as st

from plait.model import canonical
from plait.model.ids import CommitId
from plait.model.merge_digests import DEFINITION, MergeDigests
from plait.model.validation import MOST_DIFFERENCES, BaseWeights, Validation, Verdict, judge
from reference.strategies import digests, json_values, text

NAMES = text.filter(lambda name: name != "" and "\n" not in name)
MERGES = st.dictionaries(NAMES, digests, min_size=1, max_size=30).map(MergeDigests.of)
FACTS = st.dictionaries(text, json_values, max_size=3)


@st.composite
def validations(draw: st.DrawFn) -> Validation:
    """Return one of a merge that was finished."""
    merged = draw(MERGES)
    judged = judge(draw(st.none() | MERGES), merged, has_drifted=draw(st.booleans()))
    return Validation(
        definition=DEFINITION,
        commit=CommitId(draw(digests)),
        base=draw(digests),
        base_weights=draw(st.sampled_from(BaseWeights)),
        verdict=judged.verdict,
        started_at="2026-11-24T06:07:00Z",
        ended_at="2026-11-24T06:08:00Z",
        root=merged.root,
        tensors=merged.tensors,
        differing=judged.differing,
        differences=judged.differences,
        health=draw(FACTS),
        probes=draw(FACTS),
        environment=draw(st.dictionaries(text, text, max_size=3)),
        message=draw(text),
    )


@given(validations())
def test_validation_is_written_and_read_again_the_same(seen: Validation) -> None:
    data = seen.to_bytes()
    again = Validation.from_json(canonical.loads(data))
    assert again == seen
    assert again.to_bytes() == data


@given(MERGES, MERGES)
def test_merges_are_judged_alike_from_both_sides(one: MergeDigests, other: MergeDigests) -> None:
    there, back = judge(one, other), judge(other, one)
    assert (there.verdict, there.differing) == (back.verdict, back.differing)
    assert [(item.name, item.expected, item.actual) for item in there.differences] == [
        (item.name, item.actual, item.expected) for item in back.differences
    ]
    assert len(there.differences) == min(there.differing, MOST_DIFFERENCES)
    assert (there.verdict is Verdict.VERIFIED) == (one.root == other.root)


@given(MERGES, st.data())
def test_one_changed_tensor_is_the_one_difference(
    merged: MergeDigests, data: st.DataObject
) -> None:
    name = data.draw(st.sampled_from(sorted(merged.tensors)))
    digest = data.draw(digests.filter(lambda other: other != merged.tensors[name]))
    judged = judge(MergeDigests.of({**merged.tensors, name: digest}), merged)
    assert judged.differing == 1
    assert [item.name for item in judged.differences] == [name]
