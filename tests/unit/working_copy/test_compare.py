import builtins
from typing import Any

import pytest

from copies.workshop import CONFIG, WEIGHTS, Workshop, weight_bytes
from plait.model.diff import ChangeKind
from plait.working_copy.compare import (
    NEEDS_NUMPY,
    VersionDiff,
    compare_versions,
    version_of_commit,
    version_of_folder,
)
from reference.safetensors_writer import write

pytest.importorskip("numpy")


def compare(workshop: Workshop, old: str, new: str | None = None) -> VersionDiff:
    copy = workshop.copy
    before = version_of_commit(copy, copy.resolve(old), label=old)
    after = (
        version_of_folder(copy)
        if new is None
        else version_of_commit(copy, copy.resolve(new), label=new)
    )
    return compare_versions(before, after)


def test_versions_are_compared_by_config_files_tensors_and_deltas(workshop: Workshop) -> None:
    workshop.train_and_commit(1)
    workshop.train(2, lora_alpha=8)
    workshop.write({"README.md": b"text"})
    workshop.commit()
    diff = compare(workshop, "HEAD~1", "HEAD")
    assert [(change.field, change.old, change.new) for change in diff.config] == [
        ("lora_alpha", 4, 8)
    ]
    assert [(change.kind, change.path) for change in diff.files.changes] == [
        (ChangeKind.ADDED, "README.md"),
        (ChangeKind.CHANGED, CONFIG),
        (ChangeKind.CHANGED, WEIGHTS),
    ]
    assert diff.deltas is not None
    (module,) = diff.deltas.modules
    assert module.name.endswith("layers.0.q_proj")
    assert module.cosine == pytest.approx(1.0)
    assert module.relative_change is not None
    assert module.relative_change > 0.9
    document = diff.to_json()
    assert document["deltas"]["total"]["change_norm"] > 0
    assert (document["old"], document["new"]) == ("HEAD~1", "HEAD")


def test_folder_is_compared_as_it_is_now(workshop: Workshop) -> None:
    workshop.train_and_commit(1)
    assert compare(workshop, "HEAD").is_same
    workshop.write({WEIGHTS: weight_bytes(2)})
    diff = compare(workshop, "HEAD")
    assert diff.deltas is not None
    assert diff.new == "the folder"


def test_alpha_alone_moves_the_delta(workshop: Workshop) -> None:
    workshop.train_and_commit(1)
    workshop.train(1, lora_alpha=8)
    diff = compare(workshop, "HEAD")
    assert diff.deltas is not None
    assert diff.deltas.total.relative_change == pytest.approx(1.0)


def test_double_precision_is_read_as_such(workshop: Workshop) -> None:
    def weights(value: bytes) -> bytes:
        return write({"x.lora_A.weight": ("F64", (1, 1), value), "magnitude": ("F64", (1,), value)})

    workshop.train(1)
    workshop.write({WEIGHTS: weights(b"\0" * 6 + b"\xf0\x3f")})
    workshop.commit()
    workshop.write({WEIGHTS: weights(b"\0" * 7 + b"\x40")})
    diff = compare(workshop, "HEAD")
    assert diff.deltas is not None
    assert {change.name for change in diff.deltas.tensors} >= {"magnitude"}


def test_change_of_other_files_compares_no_tensor(workshop: Workshop) -> None:
    workshop.train_and_commit(1)
    workshop.write({"README.md": b"text"})
    diff = compare(workshop, "HEAD")
    assert diff.deltas is None
    assert diff.remark == "no tensor changed"


def test_config_that_cannot_be_read_leaves_the_structure(workshop: Workshop) -> None:
    workshop.train_and_commit(1)
    copy = workshop.copy
    before = version_of_commit(copy, copy.resolve("HEAD"), label="old")
    workshop.write({WEIGHTS: weight_bytes(2)})
    after = version_of_folder(copy)
    workshop.write({CONFIG: b"{}"})
    diff = compare_versions(before, after)
    assert diff.deltas is None
    assert diff.remark
    assert [change.path for change in diff.files.changes] == [WEIGHTS]


def test_version_without_config_is_compared_by_files(workshop: Workshop) -> None:
    workshop.train_and_commit(1)
    workshop.write({CONFIG: None})
    diff = compare(workshop, "HEAD")
    assert diff.deltas is None
    assert diff.remark is not None
    assert CONFIG in diff.remark


def test_without_numpy_the_structure_is_told_and_how_to_get_the_rest(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    workshop.train_and_commit(1)
    workshop.write({WEIGHTS: weight_bytes(2)})
    real = builtins.__import__

    def refuse(name: str, *arguments: Any, **options: Any) -> Any:
        if name.startswith("plait.algebra"):
            raise ImportError(name)
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", refuse)
    diff = compare(workshop, "HEAD")
    assert diff.remark == NEEDS_NUMPY
    assert diff.files.changes
