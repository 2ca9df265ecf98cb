"""What a merge is compared with: digests that are stored for the commit, and earlier validations.

Digests decide. Earlier validations that were verified are the reference for what digests do not
say: by how much a tensor differs, and whether the model's outputs have drifted.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from plait.errors import Conflict, InvalidInput
from plait.merge import Merged
from plait.model.address import RepositoryName
from plait.model.ids import CommitId, ObjectId
from plait.model.merge_digests import MergeDigests
from plait.model.output_probe import DEFINITION as MODEL_PROBE
from plait.model.output_probe import Agreement, OutputComparison, OutputProbe, compare_with_earlier
from plait.model.tensor_health import TensorHealth
from plait.model.validation import Judgement, Validation, Verdict, judge
from plait.transport import Transport
from plait.validations import digests_of, fetch_expected, fetch_validations, store_expected
from plait.wire_validation import NewExpectedDigests

MOST_LOOKED_AT = 100
"""Earlier validations, of which the newest are looked at."""


@dataclass(frozen=True, slots=True)
class Judged:
    """A verdict, and what it was found by."""

    judgement: Judgement
    is_first: bool
    """There was nothing to compare with: others compare with these digests from now on."""
    outputs: OutputComparison | None
    """How the model's outputs compare with those of the reference, where both were looked at."""


def judge_merge(
    transport: Transport,
    repository: RepositoryName,
    commit: CommitId,
    merged: Merged,
    outputs: OutputProbe | None = None,
) -> Judged:
    """Return the verdict about a merge; where there are no stored digests, these are stored.

    Raises:
        PlaitError: the registry did not answer, or does not take the digests.
    """
    definition = merged.digests.definition

    def find_expected() -> MergeDigests | None:
        found = fetch_expected(
            transport, repository, commit, definition=definition, base=merged.base
        )
        return digests_of(found[0]) if found else None

    expected = find_expected()
    if expected is None:
        if _store_first(transport, repository, commit, merged):
            return Judged(judge(None, merged.digests), is_first=True, outputs=None)
        # Another validator was first, and saw something else.
        expected = find_expected()
    earlier: list[Validation] = []
    if expected is not None:
        earlier = _find_earlier(transport, repository, commit, expected.root)
    compared = None if outputs is None else _compare_outputs(earlier, outputs)
    judgement = judge(
        expected,
        merged.digests,
        has_drifted=compared is not None and compared.agreement is Agreement.DRIFT,
        details=_describe_differences(earlier, merged.health),
    )
    return Judged(judgement, is_first=False, outputs=compared)


def _store_first(
    transport: Transport, repository: RepositoryName, commit: CommitId, merged: Merged
) -> bool:
    """Store digests as the first ones; return False where others were there before."""
    first = NewExpectedDigests(
        digests=merged.digests.to_json(),
        base=merged.base,
        base_weights=merged.base_weights,
        source="validation",
    )
    try:
        store_expected(transport, repository, commit, first)
    except Conflict as error:
        if error.kind != "expected-digests-differ":
            raise
        return False
    return True


def _find_earlier(
    transport: Transport, repository: RepositoryName, commit: CommitId, root: ObjectId
) -> list[Validation]:
    """Return the verified ones, of the newest, that saw the expected digests, oldest first."""
    records = fetch_validations(transport, repository, commit)
    found = [
        Validation.from_json(record.validation)
        for record in itertools.islice(records, MOST_LOOKED_AT)
        if record.validation.get("root") == root
        and record.validation.get("verdict") == Verdict.VERIFIED
    ]
    return found[::-1]


def _compare_outputs(
    earlier: Sequence[Validation], outputs: OutputProbe
) -> OutputComparison | None:
    answers = []
    for reference in earlier:
        held = reference.probes.get(MODEL_PROBE)
        if isinstance(held, dict) and "outputs" in held:
            # What is of a later format is no reference.
            with contextlib.suppress(InvalidInput):
                answers.append(OutputProbe.from_json(held["outputs"]))
    return compare_with_earlier(outputs, answers)


def _describe_differences(
    earlier: Sequence[Validation], health: Mapping[str, TensorHealth]
) -> dict[str, str]:
    """Return by how much each tensor's change differs from the reference's."""
    held: Any = earlier[0].health.get("tensors") if earlier else None
    if not isinstance(held, dict):
        return {}
    said = {}
    for name, seen in health.items():
        with contextlib.suppress(InvalidInput):
            said[name] = seen.describe_against(TensorHealth.from_json(held.get(name)))
    return said
