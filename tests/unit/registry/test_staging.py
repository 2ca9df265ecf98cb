from collections.abc import Sequence
from dataclasses import replace

import pytest

from plait.errors import InvalidInput
from plait.model.commit import Base, Commit, Origin, OriginKind, Person
from plait.model.ids import CommitId, ManifestId, hash_bytes
from plait.model.manifest import File, Manifest, Tensor, TensorTable
from plait.model.paths import FilePath
from plait_registry.domain.ancestry import Link
from plait_registry.domain.records import CommitRow
from plait_registry.domain.staging import (
    IncomingCommit,
    IncomingSource,
    collect,
    find_outside_parents,
    list_files,
    place_in_graph,
    verify_parents_known,
)
from reference.histories import History

DIGEST = hash_bytes(b"x")
TABLE = TensorTable(DIGEST, (Tensor("a", "U8", (1,), 100, 1, DIGEST),))
CONFIG = File(FilePath("adapter_config.json"), 10, hash_bytes(b"config"), None)
WEIGHTS = File(FilePath("adapter_model.safetensors"), 101, hash_bytes(b"weights"), TABLE)
VERSION = Manifest.of([CONFIG, WEIGHTS])
OUTSIDE, UNKNOWN = (CommitId(hash_bytes(name)) for name in (b"outside", b"unknown"))


def make_commit(message: str, *parents: CommitId, manifest: Manifest = VERSION) -> Commit:
    return Commit(
        manifest.id,
        parents,
        Person("Ada", ""),
        "2026-11-24T06:07:00Z",
        message,
        Base("org/base"),
        Origin(OriginKind.TRAINING),
    )


def incoming(message: str, *parents: CommitId) -> IncomingCommit:
    commit = make_commit(message, *parents)
    return IncomingCommit(commit.id, commit.to_bytes(), commit, VERSION)


def test_commits_are_collected_with_their_manifests() -> None:
    commit = make_commit("one")
    (item,) = collect([(commit.id, commit.to_bytes())], {VERSION.id: VERSION})
    assert item == IncomingCommit(commit.id, commit.to_bytes(), commit, VERSION)
    assert collect([], {}) == []


def test_commit_without_its_manifest_is_refused() -> None:
    commit = make_commit("one")
    with pytest.raises(InvalidInput, match="which was not sent") as caught:
        collect([(commit.id, commit.to_bytes())], {})
    assert caught.value.kind == "invalid-commit"


def test_manifest_that_is_no_version_of_an_adapter_is_refused() -> None:
    manifest = Manifest.of([WEIGHTS])
    with pytest.raises(InvalidInput) as caught:
        collect([], {manifest.id: manifest})
    assert caught.value.kind == "adapter-config-missing"


def test_parents_outside_the_push_are_listed_once_and_in_order() -> None:
    first = incoming("1", OUTSIDE)
    second = incoming("2", first.id, UNKNOWN)
    third = incoming("3", second.id, OUTSIDE)
    assert find_outside_parents([first, second, third]) == [OUTSIDE, UNKNOWN]
    # A parent that comes after its child is not there when the child is placed.
    assert find_outside_parents([second, first]) == [first.id, UNKNOWN, OUTSIDE]


def test_parents_in_the_push_or_in_the_repository_are_known() -> None:
    first = incoming("1", OUTSIDE)
    verify_parents_known([first, incoming("2", first.id, OUTSIDE)], [OUTSIDE])
    verify_parents_known([incoming("root")], [])


def test_unknown_parent_is_refused_also_where_it_only_comes_later() -> None:
    first = incoming("1")
    second = incoming("2", first.id)
    for order, child, parent in (
        ([second], second, first.id),
        ([second, first], second, first.id),
        ([incoming("3", UNKNOWN)], incoming("3", UNKNOWN), UNKNOWN),
    ):
        with pytest.raises(InvalidInput, match="push that one too") as caught:
            verify_parents_known(order, [OUTSIDE])
        assert caught.value.kind == "parent-unknown"
        assert caught.value.details == {"commit": child.id, "parent": parent}


def test_files_are_listed_once_and_a_tensor_table_speaks_for_its_digest() -> None:
    as_text = File(FilePath("copy.txt"), WEIGHTS.size, WEIGHTS.sha256, None)
    twin = replace(WEIGHTS, path=FilePath("twin.safetensors"))
    for files in ([as_text, twin, WEIGHTS], [WEIGHTS, as_text, twin]):
        listed = list_files([Manifest.of([file]) for file in files])
        assert list(listed) == [WEIGHTS.sha256]
        assert listed[WEIGHTS.sha256].tensors == TABLE


def test_two_stories_about_one_digest_are_refused() -> None:
    # Only one of the two would be verified against the bytes.
    other_table = TensorTable(hash_bytes(b"other header"), TABLE.entries)
    for lie in (
        File(FilePath("z.txt"), WEIGHTS.size + 1, WEIGHTS.sha256, None),
        replace(WEIGHTS, path=FilePath("z.safetensors"), tensors=other_table),
    ):
        for manifests in ([[WEIGHTS, lie]], [[WEIGHTS], [lie]], [[lie], [WEIGHTS]]):
            with pytest.raises(InvalidInput, match="have one sha256 and differ") as caught:
                list_files([Manifest.of(files) for files in manifests])
            assert caught.value.kind == "invalid-manifest"


def place(items: Sequence[IncomingCommit]) -> dict[CommitId, CommitRow]:
    rows: dict[CommitId, CommitRow] = {}
    links: dict[CommitId, Link] = {}
    for item in items:
        row = place_in_graph(
            item,
            parents=[rows[parent] for parent in item.commit.parents],
            links=links,
            adapter_type="LORA",
        )
        rows[row.id] = row
        links[row.id] = Link(row.id, row.depth, row.skip)
    return rows


def test_row_holds_what_the_registry_indexes() -> None:
    root = incoming("root")
    side = incoming("side")
    middle = incoming("middle", root.id)
    merge = incoming("merge", side.id, middle.id)
    rows = place([root, side, middle, merge])
    assert [rows[item.id].generation for item in (root, side, middle, merge)] == [1, 1, 2, 3]
    assert [rows[item.id].depth for item in (root, side, middle, merge)] == [0, 0, 1, 1]
    row = rows[merge.id]
    assert (row.parents, row.skip, row.body) == ((side.id, middle.id), side.id, merge.body)
    assert (row.manifest, row.base, row.adapter_type) == (VERSION.id, "org/base", "LORA")
    assert (row.size, row.time) == (111, "2026-11-24T06:07:00Z")
    assert rows[root.id].skip is None


def test_skip_pointers_lead_to_any_ancestor_in_few_jumps() -> None:
    length = 1_500
    items = [incoming("0")]
    for number in range(1, length):
        items.append(incoming(str(number), items[-1].id))
    rows = place(items)
    for start in range(0, length, 83):
        for goal in range(0, start + 1, 47):
            row, jumps = rows[items[start].id], 0
            while row.depth > goal:
                skip = rows[row.skip] if row.skip is not None else None
                row = skip if skip and skip.depth >= goal else rows[row.parents[0]]
                jumps += 1
            assert row.id == items[goal].id
            assert jumps <= 3 * length.bit_length() - 2  # the bound of Myers


def test_push_lies_on_top_of_the_graph_of_the_repository() -> None:
    history = History([[], [0]])
    below = history.ids[1]
    commit = make_commit("new", below)
    row = CommitRow(
        commit.id, b"", ManifestId(VERSION.id), (below,), 3, 2, below, commit.time, None, "b", 1
    )
    source = IncomingSource(history, [row])
    found = source.load([commit.id])
    assert (found[commit.id].parents, found[commit.id].generation) == ((below,), 3)
    assert history.loads == 0
    assert set(source.load([commit.id, below, UNKNOWN])) == {commit.id, below}
    assert history.loads == 1
