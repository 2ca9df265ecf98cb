"""What a merge measures on its way is what the plain definitions say of the written model."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from plait.adapter_folder import open_tensors
from plait.algebra.arrays import decode
from plait.merge import MergeOptions, MergeSource, merge
from reference.merge_probes import norm_of_change, probe


@pytest.mark.parametrize("adapter", ["cpp/v3", "prose/v2"])
def test_health_and_probes_are_those_of_the_written_model(
    adapter: str, micro_data: Path, tmp_path: Path
) -> None:
    base = micro_data / "base"
    source = MergeSource(adapter, micro_data / "adapters" / adapter)
    options = MergeOptions(base, into=tmp_path / "merged", device="cpu", threads=2, measure=True)
    measured = merge([source], options)
    before, after = open_tensors(base), open_tensors(tmp_path / "merged")
    assert measured.health.keys() == measured.probes.keys() == set(measured.changed)
    for name, health in measured.health.items():
        tensor = after.places[name][1]
        old, new = before.read_bytes(name), after.read_bytes(name)
        assert health.norm == norm_of_change(old, new, tensor.dtype)
        assert 0.5 < health.changed_share < 1.0
        y = probe(name, decode(new, tensor.dtype, tensor.shape, precision=np.float64))
        assert measured.probes[name] == hashlib.sha256(y.astype("<f8").tobytes()).hexdigest()


def test_a_merge_that_is_not_asked_to_measures_nothing(micro_data: Path) -> None:
    source = MergeSource("cpp/v3", micro_data / "adapters" / "cpp" / "v3")
    merged = merge([source], MergeOptions(micro_data / "base", device="cpu"))
    assert (dict(merged.health), dict(merged.probes)) == ({}, {})
