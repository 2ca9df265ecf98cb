import json
from typing import Any

from plait.model.diff import ChangeKind, diff_configs, diff_manifests
from plait.model.ids import hash_bytes
from plait.model.manifest import File, Manifest, Tensor, TensorTable
from plait.model.paths import FilePath


def plain(path: str, content: str) -> File:
    data = content.encode()
    return File(FilePath(path), len(data), hash_bytes(data), None)


def weights(
    path: str, *tensors: tuple[str, str, tuple[int, ...], str], metadata: str = "pt"
) -> File:
    """A safetensors file of tensors given by name, dtype, shape and content."""
    entries: list[Tensor] = []
    offset = 100
    for name, dtype, shape, content in tensors:
        size = {"F32": 4, "BF16": 2}[dtype]
        for length in shape:
            size *= length
        entries.append(Tensor(name, dtype, shape, offset, size, hash_bytes(content.encode())))
        offset += size
    layout = repr([(entry.name, entry.dtype, entry.shape) for entry in entries])
    table = TensorTable(hash_bytes((metadata + layout).encode()), tuple(entries))
    return File(FilePath(path), offset, hash_bytes(repr(table).encode()), table)


A = ("a", "F32", (2, 2), "one")
B = ("b", "F32", (3,), "two")


def kinds(old: Manifest | None, new: Manifest) -> list[tuple[str, str]]:
    return [(change.kind.value, change.path) for change in diff_manifests(old, new).changes]


def test_equal_manifests_have_no_changes() -> None:
    manifest = Manifest.of([plain("README.md", "x"), weights("w.safetensors", A)])
    difference = diff_manifests(manifest, manifest)
    assert difference.changes == ()
    assert difference.unchanged == 2


def test_everything_is_added_to_nothing() -> None:
    manifest = Manifest.of([plain("a", "x"), weights("w.safetensors", A)])
    assert kinds(None, manifest) == [("added", "a"), ("added", "w.safetensors")]


def test_files_are_added_removed_and_changed() -> None:
    old = Manifest.of([plain("a", "1"), plain("b", "2"), plain("c", "3")])
    new = Manifest.of([plain("b", "2"), plain("c", "4"), plain("d", "5")])
    assert kinds(old, new) == [("removed", "a"), ("changed", "c"), ("added", "d")]
    assert diff_manifests(old, new).unchanged == 1
    assert [change.path for change in diff_manifests(old, new).of_kind(ChangeKind.ADDED)] == ["d"]


def test_a_file_that_moved_unchanged_is_a_rename() -> None:
    old = Manifest.of([plain("a", "same"), plain("z", "gone")])
    new = Manifest.of([plain("sub/a", "same"), plain("new", "other")])
    difference = diff_manifests(old, new)
    assert kinds(old, new) == [("added", "new"), ("renamed", "sub/a"), ("removed", "z")]
    renamed = difference.of_kind(ChangeKind.RENAMED)[0]
    assert renamed.old is not None
    assert renamed.old.path == "a"


def test_copies_are_paired_once_each() -> None:
    old = Manifest.of([plain("a", "same"), plain("b", "same")])
    new = Manifest.of([plain("c", "same"), plain("d", "same"), plain("e", "same")])
    assert kinds(old, new) == [("renamed", "c"), ("renamed", "d"), ("added", "e")]


def test_a_copy_of_a_file_that_stayed_is_added() -> None:
    old = Manifest.of([plain("a", "same")])
    new = Manifest.of([plain("a", "same"), plain("b", "same")])
    assert kinds(old, new) == [("added", "b")]


def test_empty_files_are_not_renamed() -> None:
    old, new = Manifest.of([plain("a", "")]), Manifest.of([plain("b", "")])
    assert kinds(old, new) == [("removed", "a"), ("added", "b")]


def test_tensors_are_told_apart_by_what_changed() -> None:
    old = weights("w.safetensors", A, B, ("gone", "F32", (1,), "x"), ("same", "F32", (1,), "y"))
    new = weights(
        "w.safetensors",
        ("a", "F32", (2, 2), "changed"),
        ("b", "BF16", (3,), "two"),
        ("new", "F32", (1,), "x"),
        ("same", "F32", (1,), "y"),
    )
    (change,) = diff_manifests(Manifest.of([old]), Manifest.of([new])).changes
    assert change.tensors is not None
    assert [(tensor.name, tensor.kind.value) for tensor in change.tensors.changes] == [
        ("a", "changed"),
        ("b", "reshaped"),
        ("gone", "removed"),
        ("new", "added"),
    ]
    assert change.tensors.unchanged == 1
    assert change.tensors.is_header_changed
    assert not change.tensors.is_header_only


def test_the_same_bytes_under_another_shape_are_reshaped() -> None:
    old = Manifest.of([weights("w.safetensors", ("a", "F32", (2, 3), "x"))])
    new = Manifest.of([weights("w.safetensors", ("a", "F32", (3, 2), "x"))])
    (change,) = diff_manifests(old, new).changes
    assert change.tensors is not None
    assert change.tensors.changes[0].kind is ChangeKind.RESHAPED


def test_a_change_of_metadata_alone_is_told() -> None:
    old = Manifest.of([weights("w.safetensors", A, metadata="pt")])
    new = Manifest.of([weights("w.safetensors", A, metadata="other")])
    (change,) = diff_manifests(old, new).changes
    assert change.tensors is not None
    assert change.tensors.is_header_only
    assert change.tensors.unchanged == 1


def test_another_order_of_tensors_is_a_change_of_the_header_alone() -> None:
    old = Manifest.of([weights("w.safetensors", A, B)])
    new = Manifest.of([weights("w.safetensors", B, A)])
    (change,) = diff_manifests(old, new).changes
    assert change.tensors is not None
    assert change.tensors.is_header_only


def test_the_json_form_is_json() -> None:
    old = Manifest.of([weights("w.safetensors", A), plain("gone", "1")])
    new = Manifest.of([weights("w.safetensors", B), plain("new", "2")])
    document = json.loads(json.dumps(diff_manifests(old, new).to_json()))
    assert document["unchanged"] == 0
    assert [(item["kind"], item["path"]) for item in document["changes"]] == [
        ("removed", "gone"),
        ("added", "new"),
        ("changed", "w.safetensors"),
    ]
    assert document["changes"][0]["new"] is None
    assert document["changes"][2]["tensors"]["changes"][0] == {
        "kind": "removed",
        "name": "a",
        "old": {"dtype": "F32", "shape": [2, 2], "size": 16, "sha256": hash_bytes(b"one")},
        "new": None,
    }


def config(**values: Any) -> bytes:
    return json.dumps({"peft_type": "LORA", **values}).encode()


def test_the_order_of_sets_is_no_change_of_a_config() -> None:
    one, two = config(target_modules=["a", "b"]), config(target_modules=["b", "a"])
    assert one != two
    assert diff_configs(one, two) == ()


def test_fields_of_configs_are_told_by_dotted_names() -> None:
    old = config(r=8, rank_pattern={"q": 4, "v": 2}, revision=None, gone=1, flag=1)
    new = config(
        r=16, rank_pattern={"q": 4, "v": 3, "k": 1}, extra={"a": 1}, revision=None, flag=True
    )
    assert [
        (change.kind.value, change.field, change.old, change.new)
        for change in diff_configs(old, new)
    ] == [
        ("added", "extra", None, {"a": 1}),
        ("changed", "flag", 1, True),
        ("removed", "gone", 1, None),
        ("changed", "r", 8, 16),
        ("added", "rank_pattern.k", None, 1),
        ("changed", "rank_pattern.v", 2, 3),
    ]


def test_a_config_that_appears_is_all_added() -> None:
    changes = diff_configs(None, config(r=8))
    assert [(change.kind, change.field) for change in changes] == [
        (ChangeKind.ADDED, "peft_type"),
        (ChangeKind.ADDED, "r"),
    ]
    assert changes[1].to_json() == {"kind": "added", "field": "r", "old": None, "new": 8}
    assert [change.kind for change in diff_configs(config(), None)] == [ChangeKind.REMOVED]
    assert diff_configs(None, None) == ()
