"""Validations as the first version wrote them; every later one must read them the same.

They are never written anew: when the format grows, files of the new form are added beside them.
"""

from pathlib import Path

import pytest

from plait.model import canonical
from plait.model.ids import CommitId, hash_bytes
from plait.model.merge_digests import DEFINITION
from plait.model.validation import BaseWeights, Difference, Validation, Verdict

GOLDEN = Path(__file__).parent / "validations"
IDS = {
    "verified": "c54a045cf14fce87ea345ca70098b8ab4c2862d4b55f90ababa68139564eab2e",
    "mismatch": "1fc5316dabe04dee2cb4bc82efe1db50da207a4d3ba3a8b7d3c934577659c013",
    "not-mergeable": "fd0b2b5bc156f54c665c5d81d63ac0d3892ed728a6d26315872cf5c841747531",
}


def read(name: str) -> Validation:
    return Validation.from_json(canonical.loads((GOLDEN / f"{name}.json").read_bytes()))


def test_every_golden_file_has_its_id() -> None:
    assert {path.stem: hash_bytes(path.read_bytes()) for path in GOLDEN.iterdir()} == IDS


@pytest.mark.parametrize("name", IDS)
def test_golden_validation_is_written_again_the_same(name: str) -> None:
    assert read(name).id == IDS[name]


def test_golden_validation_means_what_it_meant() -> None:
    seen = read("mismatch")
    name = "model.norm.weight"
    assert (seen.definition, seen.verdict) == (DEFINITION, Verdict.MISMATCH)
    assert (seen.commit, seen.base) == (CommitId(hash_bytes(b"commit")), hash_bytes(b"base"))
    assert seen.base_weights is BaseWeights.DEQUANTISED
    assert seen.tensors[name] == hash_bytes(b"n")
    assert seen.differences == (
        Difference(
            name, hash_bytes(b"other"), hash_bytes(b"n"), "3 of 64 elements, by at most 0.5"
        ),
    )
    assert seen.environment == {"device": "cpu", "numpy": "2.3.0"}
    assert read("not-mergeable").message == "IA3 has no definition here."
