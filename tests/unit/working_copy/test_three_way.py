"""Three-way merges by whole files: the rules, and that they hold for any three versions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plait.model.commit import Base
from plait.model.digesting import digest_file
from plait.model.manifest import File, Manifest
from plait.model.paths import FilePath
from plait.working_copy.three_way import Side, merge_bases, merge_manifests
from reference.safetensors_writer import write

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


def file(path: str, content: int) -> File:
    data = b"%d" % content
    if path.endswith(".safetensors"):
        data = write({"t": ("U8", (1,), bytes([content]))})
    return digest_file(FilePath(path), len(data), [data])


def version(**contents: int) -> Manifest:
    """Return a version of files `a`, `b` ..., and of an adapter by `config` and `weights`."""
    names = {"config": CONFIG, "weights": WEIGHTS, "sub": f"sub/{CONFIG}"}
    return Manifest.of(file(names.get(name, name), value) for name, value in contents.items())


def contents(files: tuple[File, ...]) -> dict[str, str]:
    return {item.path: item.sha256 for item in files}


def test_change_of_one_side_is_taken() -> None:
    base = version(a=1, b=1, c=1)
    merged = merge_manifests([base], version(a=2, b=1, c=1, d=4), version(a=1, b=1))
    assert not merged.conflicts
    assert Manifest.of(merged.files) == version(a=2, b=1, d=4)


def test_same_change_on_both_sides_is_fine() -> None:
    merged = merge_manifests([version(a=1, b=1)], version(a=2), version(a=2))
    assert Manifest.of(merged.files) == version(a=2)


def test_different_changes_of_one_file_are_a_conflict_that_a_side_settles() -> None:
    sides = [version(a=1, b=1, c=1)], version(a=2, b=1), version(a=3, b=1, c=3)
    assert merge_manifests(*sides).conflicts == ("a", "c")
    ours = merge_manifests(*sides, prefer=Side.OURS)
    assert Manifest.of(ours.files) == version(a=2, b=1)
    theirs = merge_manifests(*sides, prefer=Side.THEIRS)
    assert Manifest.of(theirs.files) == version(a=3, b=1, c=3)


def test_config_of_one_side_never_meets_the_weights_of_the_other() -> None:
    base = version(config=1, weights=1, a=1)
    ours, theirs = version(config=2, weights=1, a=1), version(config=1, weights=2, a=2)
    assert merge_manifests([base], ours, theirs).conflicts == (CONFIG, WEIGHTS)
    settled = merge_manifests([base], ours, theirs, prefer=Side.OURS)
    assert Manifest.of(settled.files) == version(config=2, weights=1, a=2)


def test_adapters_in_two_folders_are_merged_apart() -> None:
    base = version(config=1, weights=1, sub=1)
    ours, theirs = version(config=1, weights=2, sub=1), version(config=1, weights=1, sub=2)
    merged = merge_manifests([base], ours, theirs)
    assert Manifest.of(merged.files) == version(config=1, weights=2, sub=2)


def test_several_bases_must_agree_that_a_side_did_not_change() -> None:
    bases = [version(a=1, b=1), version(a=2, b=1)]
    merged = merge_manifests(bases, version(a=1, b=2), version(a=2, b=1))
    assert merged.conflicts == ("a",)
    assert contents(merged.files) == contents(version(b=2).files)


def test_without_a_base_only_what_is_the_same_is_no_conflict() -> None:
    assert merge_manifests([], version(a=1, b=1), version(a=1, b=2)).conflicts == ("b",)


@pytest.mark.parametrize(
    ("ours", "theirs", "prefer", "expected"),
    [
        ("x", "x", None, "x"),
        ("x", "base", None, "x"),
        ("base", "x", None, "x"),
        ("x", "y", None, None),
        ("x", "y", Side.OURS, "x"),
        ("x", "y", Side.THEIRS, "y"),
    ],
)
def test_base_model_is_merged_by_the_same_rule(
    ours: str, theirs: str, prefer: Side | None, expected: str | None
) -> None:
    merged = merge_bases([Base("base")], Base(ours), Base(theirs), prefer=prefer)
    assert merged == (None if expected is None else Base(expected))


versions = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(("a", "b", "config", "weights"), st.integers(1, 3))
).map(lambda chosen: version(**chosen))


@given(base=versions, ours=versions, theirs=versions)
def test_merge_is_the_same_from_both_sides(
    base: Manifest, ours: Manifest, theirs: Manifest
) -> None:
    one = merge_manifests([base], ours, theirs)
    other = merge_manifests([base], theirs, ours)
    assert one.conflicts == other.conflicts
    assert contents(one.files) == contents(other.files)
    left = merge_manifests([base], ours, theirs, prefer=Side.OURS)
    right = merge_manifests([base], theirs, ours, prefer=Side.THEIRS)
    assert contents(left.files) == contents(right.files)


@given(base=versions, other=versions)
def test_merge_with_an_unchanged_side_is_the_other_side(base: Manifest, other: Manifest) -> None:
    for merged in (merge_manifests([base], base, other), merge_manifests([base], other, base)):
        assert contents(merged.files) == contents(other.files)
        assert not merged.conflicts


@given(base=versions, ours=versions, theirs=versions)
def test_every_file_of_the_outcome_is_of_one_of_the_sides(
    base: Manifest, ours: Manifest, theirs: Manifest
) -> None:
    merged = merge_manifests([base], ours, theirs)
    for item in merged.files:
        assert item in {*ours.files, *theirs.files}
    same = {item.path: item for item in ours.files if theirs.find(item.path) == item}
    unsettled = {path for path in same if path in (CONFIG, WEIGHTS) and merged.conflicts}
    assert same.keys() - unsettled <= contents(merged.files).keys()
