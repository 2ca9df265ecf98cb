"""Merges give the digests that were written down, by the product and by a plain reference.

`merges/merges.json` says what is merged and `merges/digests.json` what comes out: the root, and the
digest of each tensor that changed. A digest is never edited to make a test pass: where one differs,
it is another definition. `reference/golden_merges.py` computes them.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from plait.merge import MergeOptions, MergeSource, merge
from plait.model.merge_digests import MergeDigests
from reference import exact_merges
from reference.golden_merges import FOLDER, MERGES, Golden, find_data, names, open_golden

DIGESTS: dict[str, Any] = json.loads((FOLDER / "digests.json").read_text())
PAGE = Path(__file__).resolve().parents[2] / "docs" / "merge-definitions.md"


def skip_where_data_is_missing(name: str) -> None:
    base = MERGES[name]["base"] if name in MERGES else None
    if base is not None and not find_data(base).exists():
        pytest.skip(f"needs ../shared/data/{base} beside the checkout")


def carry_out(golden: Golden, *, threads: int = 1) -> MergeDigests:
    sources = [MergeSource(folder.name, folder, weight) for folder, weight in golden.adapters]
    return merge(sources, MergeOptions(golden.base, device="cpu", threads=threads)).digests


@pytest.mark.timeout(300)  # kernels are compiled the first time
@pytest.mark.parametrize("name", names())
def test_merge_gives_its_golden_digests(name: str) -> None:
    skip_where_data_is_missing(name)
    with open_golden(name) as golden:
        digests = carry_out(golden)
    changed = {tensor: digests.tensors[tensor] for tensor in DIGESTS[name]["tensors"]}
    assert changed == DIGESTS[name]["tensors"]
    assert digests.root == DIGESTS[name]["root"]


@pytest.mark.parametrize("name", names())
def test_plain_reference_gives_the_golden_digests(name: str) -> None:
    skip_where_data_is_missing(name)
    with open_golden(name) as golden:
        root, digests = exact_merges.merge(golden.base, golden.adapters)
    assert root == DIGESTS[name]["root"]
    assert digests.items() >= DIGESTS[name]["tensors"].items()


@pytest.mark.parametrize("name", ["micro/cpp-and-prose", "made/dora", "made/kasa"])
def test_three_threads_give_the_golden_digests_too(name: str) -> None:
    with open_golden(name) as golden:
        assert carry_out(golden, threads=3).root == DIGESTS[name]["root"]


def test_every_merge_has_its_digests_and_every_digest_its_merge() -> None:
    assert list(DIGESTS) == [*MERGES, *(name for name in DIGESTS if name.startswith("made/"))]
    assert DIGESTS.keys() == set(names())


def test_every_root_stands_in_the_page_that_defines_the_merges() -> None:
    page = PAGE.read_text()
    missing = [name for name in DIGESTS if f"`{DIGESTS[name]['root']}`" not in page]
    assert missing == []


def test_digests_of_the_h100_are_among_the_golden_ones() -> None:
    path = find_data("golden-merge-fp64-v1.json")
    if not path.exists():
        pytest.skip("needs ../shared/data/golden-merge-fp64-v1.json beside the checkout")
    by_root = {merge["root"]: merge["tensors"] for merge in DIGESTS.values()}
    for name, merged in json.loads(path.read_text())["merged"].items():
        assert merged["tensors"].items() >= by_root[merged["root"]].items(), name
