"""Merges through the command line: the digests of everywhere else, and changed bits found."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from e2e.programs import Client, digest_tree
from plait.model.merge_digests import MergeDigests
from reference import exact_merges

pytestmark = pytest.mark.timeout(300)

LIMIT = 240.0
"""Seconds: kernels are compiled the first time that anything is merged on a machine."""
BLEND = "b01ee8f7250732d8373169939d0084593be5f479c1a49544b574cc42e7a9320d"
CPP = "c54fcd51c3d5dd2d1ce170fbbad9807e44e81d907425ec645160301bce78955e"
"""Roots of micro's 0.7 cpp/v3 + 0.3 prose/v2, and of cpp/v3, as an H100 computed them."""


@pytest.fixture
def pushed(client: Client, name: str, micro_data: Path) -> tuple[str, str]:
    """Two adapters in repositories of their own, which know the base that they were trained on."""
    names = f"{name}-cpp", f"{name}-prose"
    for repository, version in zip(names, ("cpp/v3", "prose/v2"), strict=True):
        folder = micro_data / "adapters" / version
        words = ("push", folder, repository, "-m", version, "--create")
        client.run(*words, "--base-dir", micro_data / "base")
    return names


def merge(client: Client, base: Path, *words: object) -> Any:
    return client.facts("merge", *words, "--base", base, "--digest-only", limit=LIMIT)


def test_versions_and_their_folders_merge_to_the_digests_of_the_h100(
    client: Client, pushed: tuple[str, str], micro_data: Path
) -> None:
    cpp, prose = pushed
    base, folders = micro_data / "base", micro_data / "adapters"
    merged = merge(client, base, f"{cpp}@main*0.7", f"{prose}*0.3")
    assert merged.keys() == {"definition", "root", "tensors"}
    assert merged["definition"] == "merge-fp64-v1"
    assert merged["root"] == BLEND
    mixed = merge(client, base, f"{folders}/cpp/v3*0.7", f"{prose}@main*0.3", "--device", "cpu")
    assert mixed == merged
    assert merge(client, base, cpp)["root"] == CPP


def test_written_model_has_the_digests_that_are_printed(
    client: Client, pushed: tuple[str, str], micro_data: Path, tmp_path: Path
) -> None:
    base, out = micro_data / "base", tmp_path / "out" / "cpp"
    said = client.run("merge", pushed[0], "--base", base, "-o", out, limit=LIMIT)
    assert f"merge-fp64-v1 {CPP}" in said
    assert exact_merges.merge(out, [])[0] == CPP
    assert sorted(path.name for path in out.iterdir()) == sorted(
        path.name for path in base.iterdir() if path.is_file()
    )
    before = digest_tree(out)
    refused = client.refusal("merge", pushed[1], "--base", base, "-o", out)
    assert refused["kind"] == "destination-exists"
    assert digest_tree(out) == before
    assert [path.name for path in out.parent.iterdir()] == ["cpp"]


def copy_and_flip(folder: Path, into: Path, *, tensor: str) -> Path:
    """Copy a folder, and flip the last bit of a tensor's first number."""
    shutil.copytree(folder, into)
    path = next(path for path in into.glob("*.safetensors"))
    data = bytearray(path.read_bytes())
    place = bytes(data).index(exact_merges.read_folder(folder)[tensor].data)
    data[place] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)
    return into


def test_one_flipped_bit_of_the_base_is_refused_and_named(
    client: Client, pushed: tuple[str, str], micro_data: Path, tmp_path: Path
) -> None:
    tensor = "model.layers.1.mlp.up_proj.weight"
    base = copy_and_flip(micro_data / "base", tmp_path / "base", tensor=tensor)
    words = ("merge", pushed[0], "--base", base, "--digest-only")
    assert client.refusal(*words)["kind"] == "base-mismatch"
    merged = merge(client, base, pushed[0], "--allow", "base-mismatch")
    intact = merge(client, micro_data / "base", pushed[0])
    one, other = (MergeDigests.from_json(held) for held in (merged, intact))
    assert one.find_differences(other) == [tensor]


def test_one_flipped_bit_of_an_adapter_is_found_where_it_is(
    client: Client, micro_data: Path, tmp_path: Path
) -> None:
    base, folder = micro_data / "base", micro_data / "adapters" / "cpp" / "v3"
    module = "model.layers.2.self_attn.v_proj"
    tensor = f"base_model.model.{module}.lora_B.weight"
    tampered = copy_and_flip(folder, tmp_path / "adapter", tensor=tensor)
    one, other = (
        MergeDigests.from_json(merge(client, base, f"{item}*8")) for item in (tampered, folder)
    )
    assert one.find_differences(other) == [f"{module}.weight"]


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        (("--digest-only", "-o", "out"), "usage"),
        ((), "usage"),
        (("--digest-only", "--device", "tpu"), "usage"),
    ],
)
def test_merge_that_is_not_understood_says_how_to_ask(
    client: Client, micro_data: Path, words: tuple[str, ...], kind: str
) -> None:
    folder = micro_data / "adapters" / "cpp" / "v3"
    refused = client.try_run("merge", folder, "--base", micro_data / "base", *words, "--json")
    assert refused.status == 2
    assert kind in refused.err + refused.out


def test_folder_that_is_not_there_is_told_from_a_repository(
    client: Client, micro_data: Path
) -> None:
    refused = client.try_run("merge", "./absent", "--base", micro_data / "base", "--digest-only")
    assert refused.status == 2
    assert "There is no folder ./absent" in refused.err
