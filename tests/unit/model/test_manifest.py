import copy
import time
from collections.abc import Callable
from typing import Any

import pytest

from plait.errors import InvalidInput, TooLarge
from plait.model import canonical
from plait.model.ids import ObjectId, hash_bytes
from plait.model.manifest import (
    LARGEST_FILE,
    LARGEST_MANIFEST,
    File,
    Manifest,
    Tensor,
    TensorTable,
)
from plait.model.paths import FilePath

DIGEST = hash_bytes(b"x")


def tensor(name: str, offset: int, size: int) -> dict[str, Any]:
    return {
        "name": name,
        "dtype": "U8",
        "shape": [size],
        "offset": offset,
        "size": size,
        "sha256": DIGEST,
    }


def document() -> dict[str, Any]:
    return {
        "format": "plait.manifest/1",
        "files": [
            {"path": "adapter_config.json", "size": 3, "sha256": DIGEST},
            {
                "path": "adapter_model.safetensors",
                "size": 105,
                "sha256": DIGEST,
                "tensors": {
                    "header_sha256": DIGEST,
                    "entries": [tensor("a", 100, 2), tensor("b", 102, 0), tensor("c", 102, 3)],
                },
            },
        ],
    }


def test_manifest_reads_back_what_it_writes() -> None:
    manifest = Manifest.from_json(document())
    assert manifest.to_json() == document()
    assert Manifest.from_bytes(manifest.to_bytes()) == manifest
    assert str(manifest.id) == hash_bytes(canonical.dumps(document()))
    assert manifest.size == 108


def test_files_are_found_by_path() -> None:
    manifest = Manifest.from_json(document())
    found = manifest.find("adapter_model.safetensors")
    assert found is not None
    assert found.tensors is not None
    assert found.tensors.data_offset == 100
    assert [entry.name for entry in found.tensors.entries] == ["a", "b", "c"]
    assert manifest.find("ADAPTER_MODEL.safetensors") is None


def test_files_are_sorted_and_the_id_does_not_depend_on_their_order() -> None:
    files = [File(FilePath(path), 1, DIGEST, None) for path in ("b", "a/c", "a.txt")]
    manifest = Manifest.of(files)
    assert [file.path for file in manifest.files] == ["a.txt", "a/c", "b"]
    assert Manifest.of(reversed(files)).id == manifest.id


def test_manifest_without_files_and_file_without_tensors_are_well_formed() -> None:
    assert Manifest.from_bytes(Manifest.of([]).to_bytes()).files == ()
    empty = TensorTable(DIGEST, ())
    assert empty.data_offset is None
    Manifest.of([File(FilePath("x.safetensors"), 10, DIGEST, empty)])


Change = Callable[[dict[str, Any]], object]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda d: d.clear(), "needs a string 'format'"),
        (lambda d: d.update(format="plait.manifest/2"), "not of the format"),
        (lambda d: d.update(extra=1), "unknown field 'extra'"),
        (lambda d: d.update(files={}), "needs a list 'files'"),
        (lambda d: d["files"].append(7), "must be a JSON object"),
        (lambda d: d["files"].reverse(), "not sorted by path"),
        (lambda d: d["files"][0].update(mode=1), "unknown field 'mode'"),
        (lambda d: d["files"][0].update(path="../x"), "dots or spaces"),
        (lambda d: d["files"][0].update(path=None), "must be a string"),
        (lambda d: d["files"][0].update(size=-1), "whole number"),
        (lambda d: d["files"][0].update(size=True), "whole number"),
        (lambda d: d["files"][0].update(size=1.0), "whole number"),
        (lambda d: d["files"][0].update(sha256="x"), "not an object id"),
        (lambda d: d["files"][0].update(sha256=[[[]]]), "not an object id"),
        (lambda d: d["files"][0].update(path="adapter_model.SAFETENSORS"), "ignores case"),
        (lambda d: d["files"][0].update(path="adapter_model.safetensors"), "ignores case"),
        (lambda d: d["files"][0].update(tensors={}), "not an object id"),
        (lambda d: d["files"][0].update(tensors=[]), "must be a JSON object"),
        (lambda d: d["files"][1].pop("tensors"), "if, and only if, it is safetensors"),
        (lambda d: d["files"][1].update(path="model.txt"), "if, and only if, it is safetensors"),
        (lambda d: d["files"][1].update(size=106), "end at 105 of 106"),
        (lambda d: d["files"][1].update(size=104), "end at 105 of 104"),
        (lambda d: d["files"][1]["tensors"].update(x=1), "unknown field 'x'"),
        (lambda d: d["files"][1]["tensors"].update(entries=None), "needs a list 'entries'"),
        (lambda d: d["files"][1]["tensors"].update(header_sha256=None), "not an object id"),
    ],
)
def test_manifest_that_breaks_a_rule_is_refused(change: Change, reason: str) -> None:
    value = document()
    change(value)
    with pytest.raises(InvalidInput, match=reason):
        Manifest.from_json(value)


@pytest.mark.parametrize(
    ("index", "fields", "reason"),
    [
        (0, {"offset": 9}, "no room for a header"),
        (0, {"offset": 99}, "does not tile"),
        (1, {"offset": 101}, "does not tile"),
        (1, {"offset": 103}, "does not tile"),
        (1, {"size": 1}, "does not tile"),
        (2, {"shape": [4]}, "does not tile"),
        (2, {"dtype": "F16"}, "does not tile"),
        (2, {"dtype": "F4"}, "do not fill whole bytes"),
        (2, {"dtype": "F31"}, "unknown dtype"),
        (2, {"dtype": 1}, "needs a string 'dtype'"),
        (2, {"name": None}, "needs a string 'name'"),
        (2, {"name": "a"}, "have the same name"),
        (2, {"shape": [-3]}, "not a list of sizes"),
        (2, {"shape": [True]}, "not a list of sizes"),
        (2, {"shape": [3.0]}, "not a list of sizes"),
        (2, {"shape": None}, "needs a list 'shape'"),
        (2, {"shape": [10**4000, 0]}, "impossible shape"),
        (2, {"shape": [1] * 65}, "65 dimensions"),
        (2, {"offset": -1}, "whole number"),
        (2, {"offset": 10**4000}, "does not tile"),
        (2, {"size": "3"}, "whole number"),
        (2, {"extra": None}, "unknown field 'extra'"),
    ],
)
def test_tensor_that_breaks_a_rule_is_refused(
    index: int, fields: dict[str, Any], reason: str
) -> None:
    value = document()
    value["files"][1]["tensors"]["entries"][index].update(fields)
    with pytest.raises(InvalidInput, match=reason) as caught:
        Manifest.from_json(value)
    assert len(caught.value.message) < 1_000


@pytest.mark.parametrize("value", [None, [], "x", 1])
def test_manifest_must_be_an_object(value: object) -> None:
    with pytest.raises(InvalidInput, match="must be a JSON object"):
        Manifest.from_json(value)


def test_limits_on_size_and_number_of_files_are_kept() -> None:
    value = document()
    value["files"][0]["size"] = LARGEST_FILE + 1
    with pytest.raises(TooLarge) as caught:
        Manifest.from_json(value)
    assert caught.value.kind == "file-too-large"
    value["files"] *= 5_001
    with pytest.raises(TooLarge) as caught:
        Manifest.from_json(value)
    assert caught.value.kind == "too-many-files"
    with pytest.raises(TooLarge) as caught:
        Manifest.from_bytes(b" " * (LARGEST_MANIFEST + 1))
    assert caught.value.kind == "manifest-too-large"


def test_bytes_that_are_not_canonical_are_refused() -> None:
    value = document()
    good = canonical.dumps(value)
    reordered = b'{"format":"plait.manifest/1",' + good[1:].replace(
        b',"format":"plait.manifest/1"', b""
    )
    value["files"][0]["tensors"] = None  # read like an absent one, and not written
    for data in (good + b" ", good.replace(b":", b": ", 1), reordered, canonical.dumps(value)):
        assert Manifest.from_json(canonical.loads(data)) == Manifest.from_bytes(good)
        with pytest.raises(InvalidInput, match="not in canonical JSON"):
            Manifest.from_bytes(data)


def test_duplicate_field_is_refused() -> None:
    data = canonical.dumps(document()).replace(b'"size":3', b'"size":3,"size":3')
    with pytest.raises(InvalidInput, match="appears twice"):
        Manifest.from_bytes(data)


def test_parsing_does_not_change_the_document() -> None:
    value = document()
    before = copy.deepcopy(value)
    Manifest.from_json(value)
    assert value == before


@pytest.mark.slow
def test_manifest_of_the_largest_size_is_read_in_seconds() -> None:
    entries = [
        Tensor(f"layers.{number}.weight", "F32", (1, 2), 1_000 + 8 * number, 8, ObjectId(DIGEST))
        for number in range(80_000)
    ]
    table = TensorTable(DIGEST, tuple(entries))
    file = File(FilePath("a.safetensors"), 1_000 + 8 * len(entries), DIGEST, table)
    data = Manifest.of([file]).to_bytes()
    assert LARGEST_MANIFEST * 0.7 < len(data) <= LARGEST_MANIFEST
    started = time.perf_counter()
    Manifest.from_bytes(data)
    assert time.perf_counter() - started < 30


def test_ten_thousand_files_are_read_in_seconds() -> None:
    files = [File(FilePath(f"d{number}/x"), 1, DIGEST, None) for number in range(10_000)]
    data = Manifest.of(files).to_bytes()
    started = time.perf_counter()
    assert len(Manifest.from_bytes(data).files) == 10_000
    assert time.perf_counter() - started < 10
