"""Merging folders: what changes no digest, what is written, and what a failure leaves behind."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import plait.merge
import plait.merge_tensors
from plait.algebra.merge_on_cpu import CpuMerge
from plait.errors import AlreadyExists, InvalidInput, PlaitError
from plait.known_bases import base_digests
from plait.merge import MergeOptions, MergeSource, merge
from plait.model.ids import ObjectId
from plait.progress import NO_PROGRESS
from reference import exact_merges, safetensors_writer
from reference.made_merges import CASES, Case, lora, make_case

Folders = tuple[Path, Path]
MICRO_ROOT = "c54fcd51c3d5dd2d1ce170fbbad9807e44e81d907425ec645160301bce78955e"
"""Of micro with cpp/v3; it was computed on an H100 as well."""
BIG = {"a.weight": (70, 600), "b.weight": (9, 31), "norm.weight": (31,)}
BIG_FACTORS = {
    "a.lora_A.weight": (3, 600),
    "a.lora_B.weight": (70, 3),
    "b.lora_A.weight": (3, 31),
    "b.lora_B.weight": (9, 3),
}


def big(dtype: str = "BF16") -> Case:
    return make_case(lora(3), BIG, BIG_FACTORS, dtype=dtype)


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    return big().write(tmp_path)


def source(folder: Path, weight: float = 1.0) -> MergeSource:
    return MergeSource("team/adapter@v1", folder, weight)


def root(base: Path, *sources: MergeSource, **options: Any) -> ObjectId:
    return merge(sources, replace(MergeOptions(base, device="cpu"), **options)).digests.root


def reshard(base: Path, into: Path) -> Path:
    """Write a base with each tensor in a file of its own, in another order, and an index."""
    into.mkdir()
    (into / "config.json").write_bytes((base / "config.json").read_bytes())
    tensors = sorted(exact_merges.read_folder(base).items(), reverse=True)
    shards = {name: f"model-{i:05}-of-{len(tensors):05}.safetensors" for i, (name, _) in
              enumerate(tensors, 1)}  # fmt: skip
    for name, tensor in tensors:
        content = (tensor.dtype, tensor.shape, tensor.data)
        (into / shards[name]).write_bytes(safetensors_writer.write({name: content}))
    (into / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))
    return into


def digests_of(folder: Path) -> Mapping[str, str]:
    return {
        name: hashlib.sha256(tensor.data).hexdigest()
        for name, tensor in exact_merges.read_folder(folder).items()
    }


@pytest.mark.parametrize("block_size", [1, 700, 4_096, 1 << 20])
def test_blocks_of_any_size_give_the_same_root(
    folders: Folders, monkeypatch: pytest.MonkeyPatch, block_size: int
) -> None:
    base, adapter = folders
    expected = exact_merges.merge(base, [(adapter, 1.0)])[0]
    monkeypatch.setattr(CpuMerge, "block_size", block_size)
    monkeypatch.setattr(plait.merge_tensors, "COPY_BLOCK", block_size)
    assert root(base, source(adapter)) == expected


@pytest.mark.parametrize("threads", [1, 2, 7])
def test_any_number_of_threads_gives_the_same_root(folders: Folders, threads: int) -> None:
    base, adapter = folders
    expected = exact_merges.merge(base, [(adapter, 1.0)])[0]
    assert root(base, source(adapter), threads=threads) == expected


def test_base_in_other_shards_gives_the_same_root(folders: Folders, tmp_path: Path) -> None:
    base, adapter = folders
    other = reshard(base, tmp_path / "other")
    assert root(other, source(adapter)) == root(base, source(adapter))


@pytest.mark.timeout(300)
def test_automatic_device_gives_the_root_of_the_h100(micro_data: Path) -> None:
    sources = [source(micro_data / "adapters" / "cpp" / "v3")]
    assert root(micro_data / "base", *sources, device="auto") == MICRO_ROOT


def test_two_adapters_may_be_swapped_and_three_may_not(tmp_path: Path) -> None:
    base, adapter = big("F32").write(tmp_path)
    a, b, c = (source(adapter, weight) for weight in (1e12, -1e12, 1.0))
    assert root(base, a, b) == root(base, b, a)
    assert root(base, a, b, c) != root(base, c, b, a)
    for order in ((a, b, c), (c, b, a)):
        expected = exact_merges.merge(base, [(item.folder, item.weight) for item in order])[0]
        assert root(base, *order) == expected


def test_parts_of_a_merge_have_the_digests_of_the_whole(folders: Folders) -> None:
    base, adapter = folders
    options = MergeOptions(base, device="cpu")
    whole = merge([source(adapter)], options).digests
    part = merge([source(adapter)], replace(options, tensors=frozenset({"b.weight"}))).digests
    assert dict(part.tensors) == {"b.weight": whole.tensors["b.weight"]}


def test_remembered_base_gives_the_same_digests(folders: Folders, tmp_path: Path) -> None:
    base, adapter = folders
    expected = root(base, source(adapter))
    for _ in range(2):
        assert root(base, source(adapter), cache_dir=tmp_path / "cache") == expected


@pytest.mark.parametrize("name", ["lora", "lora-bias", "dora", "lora-whole-tensor", "vera"])
def test_written_model_holds_what_the_digests_say(name: str, tmp_path: Path) -> None:
    case = CASES[name]()
    base, adapter = case.write(tmp_path)
    options = MergeOptions(base, device="cpu", into=tmp_path / "merged", threads=2)
    merged = merge([source(adapter, case.weight)], options)
    assert digests_of(tmp_path / "merged") == merged.digests.tensors
    kept = digests_of(base)
    differing = {name for name, digest in merged.digests.tensors.items() if kept[name] != digest}
    assert differing == set(merged.changed)


def test_written_model_is_laid_out_as_its_base(folders: Folders, tmp_path: Path) -> None:
    base, adapter = folders
    sharded = reshard(base, tmp_path / "sharded")
    (sharded / "tokenizer.json").write_text("{}")
    (sharded / "pytorch_model.bin").write_bytes(b"other weights")
    (sharded / "folder").mkdir()
    options = MergeOptions(sharded, device="cpu", into=tmp_path / "deep" / "merged")
    merged = merge([source(adapter)], options)
    assert options.into is not None
    assert {path.name: path.stat().st_size for path in options.into.iterdir()} == {
        path.name: path.stat().st_size
        for path in sharded.iterdir()
        if path.name not in {"pytorch_model.bin", "folder"}
    }
    assert base_digests(options.into, None, NO_PROGRESS)[1] == merged.digests.tensors


def test_merged_model_may_be_merged_into_again(folders: Folders, tmp_path: Path) -> None:
    base, adapter = folders
    once = tmp_path / "once"
    root(base, source(adapter), into=once)
    assert root(once, source(adapter)) == exact_merges.merge(once, [(adapter, 1.0)])[0]


def test_empty_folder_is_filled_and_a_full_one_refused(folders: Folders, tmp_path: Path) -> None:
    base, adapter = folders
    into = tmp_path / "into"
    into.mkdir()
    root(base, source(adapter), into=into)
    before = digests_of(into)
    with pytest.raises(AlreadyExists, match="is there already") as caught:
        root(base, source(adapter, 2.0), into=into)
    assert caught.value.kind == "destination-exists"
    assert digests_of(into) == before
    with pytest.raises(AlreadyExists):
        root(base, source(adapter), into=base / "config.json")


def test_link_to_an_empty_or_absent_folder_is_filled_where_it_leads(
    folders: Folders, tmp_path: Path
) -> None:
    base, adapter = folders
    (tmp_path / "empty").mkdir()
    for name in ("empty", "absent"):
        link = tmp_path / f"link-{name}"
        link.symlink_to(tmp_path / name)
        root(base, source(adapter), into=link)
        assert link.is_symlink()
        assert digests_of(tmp_path / name) == digests_of(link) != {}


def test_full_destination_is_refused_before_the_base_is_read(
    folders: Folders, tmp_path: Path
) -> None:
    base, adapter = folders
    with pytest.raises(AlreadyExists):
        root(tmp_path / "absent", source(adapter), into=base)


def test_base_that_is_not_there_or_not_whole_is_named(folders: Folders, tmp_path: Path) -> None:
    base, adapter = folders
    with pytest.raises(InvalidInput, match=r"There is no folder .*absent"):
        root(tmp_path / "absent", source(adapter))
    sharded = reshard(base, tmp_path / "sharded")
    shards = sorted(sharded.glob("*.safetensors"))
    shards[0].unlink()
    with pytest.raises(InvalidInput, match=f"lacks '{shards[0].name}' of the files"):
        root(sharded, source(adapter))
    shards[1].unlink()
    with pytest.raises(InvalidInput, match=f"lacks '{shards[0].name}' and 1 more of the files"):
        root(sharded, source(adapter))


class Interrupted:
    """A progress that somebody interrupts after the first tensor."""

    def total(self, *_: object, **__: object) -> None:
        pass

    def advance(self, *_: object) -> None:
        raise KeyboardInterrupt

    def finish(self) -> None:
        pass


def test_interrupted_merge_leaves_nothing_behind(folders: Folders, tmp_path: Path) -> None:
    base, adapter = folders
    before = sorted(tmp_path.rglob("*"))
    options = MergeOptions(base, device="cpu", into=tmp_path / "merged", threads=2)
    with pytest.raises(KeyboardInterrupt):
        merge([source(adapter)], options, Interrupted())
    assert sorted(tmp_path.rglob("*")) == before


def test_base_that_changes_while_it_is_copied_is_noticed(
    folders: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, adapter = folders
    fingerprint, known = base_digests(base, None, NO_PROGRESS)
    stale = {**known, "norm.weight": ObjectId("0" * 64)}
    monkeypatch.setattr(plait.merge, "base_digests", lambda *_: (fingerprint, stale))
    with pytest.raises(InvalidInput, match=r"norm\.weight changed") as caught:
        root(base, source(adapter), into=tmp_path / "merged")
    assert caught.value.kind == "file-changed"
    assert not (tmp_path / "merged").exists()


def test_adapter_of_another_base_is_refused_unless_it_is_allowed(folders: Folders) -> None:
    base, adapter = folders
    foreign = replace(source(adapter), base=ObjectId("ab" * 32))
    with pytest.raises(InvalidInput, match="was trained on the base abab") as caught:
        root(base, foreign)
    assert caught.value.kind == "base-mismatch"
    assert root(base, foreign, allow_other_base=True) == root(base, source(adapter))
    own = merge([source(adapter)], MergeOptions(base, device="cpu")).base
    assert root(base, replace(foreign, base=own)) == root(base, source(adapter))


def test_what_merged_and_with_which_weights_stands_in_the_result(folders: Folders) -> None:
    base, adapter = folders
    merged = merge([source(adapter)], MergeOptions(base, device="cpu"))
    assert merged.device == "cpu"
    assert merged.base_weights == "original"
    assert merged.changed == ("a.weight", "b.weight")
    assert merged.digests.definition == "merge-fp64-v1"


def remove_a_shard(base: Path, _: Path) -> None:
    next(base.glob("model-00002-*")).unlink()


def cut_a_shard(base: Path, _: Path) -> None:
    path = next(base.glob("model-00003-*"))
    path.write_bytes(path.read_bytes()[:-1])


def remove_the_adapter(_: Path, adapter: Path) -> None:
    (adapter / "adapter_config.json").unlink()


@pytest.mark.parametrize("damage", [remove_a_shard, cut_a_shard, remove_the_adapter])
def test_damaged_folder_is_refused_before_anything_is_written(
    folders: Folders, tmp_path: Path, damage: Callable[[Path, Path], None]
) -> None:
    base, adapter = folders
    sharded = reshard(base, tmp_path / "sharded")
    damage(sharded, adapter)
    with pytest.raises(InvalidInput) as caught:
        root(sharded, source(adapter), into=tmp_path / "merged")
    kinds = {"base-unknown", "invalid-safetensors", "adapter-config-missing"}
    assert caught.value.kind in kinds
    assert not (tmp_path / "merged").exists()


@pytest.mark.parametrize("weight", [0.0, -0.0, float("nan"), float("inf"), -float("inf")])
def test_weight_that_is_no_weight_is_refused(folders: Folders, weight: float) -> None:
    base, adapter = folders
    with pytest.raises(InvalidInput, match="a finite number other than zero"):
        root(base, source(adapter, weight))


def test_merge_of_nothing_and_on_no_device_is_refused(folders: Folders) -> None:
    base, adapter = folders
    with pytest.raises(InvalidInput, match="needs an adapter"):
        root(base)
    with pytest.raises(InvalidInput, match=r"name one of auto, cpu, cuda"):
        root(base, source(adapter), device="tpu")


def test_gpu_that_is_not_there_is_named(folders: Folders) -> None:
    torch = pytest.importorskip("torch", reason="make setup-dev installs torch")
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    base, adapter = folders
    with pytest.raises(PlaitError, match=r"device cpu|GPU") as caught:
        root(base, source(adapter), device="cuda")
    assert caught.value.kind in {"extra-missing", "unavailable"}
