"""A full disk loses nothing: the push or pull fails with advice, and all that was there stays."""

from __future__ import annotations

import time
from pathlib import Path

from e2e.conftest import MakeClient, MakeRegistry, MountSmallDisk
from e2e.crash import read_tips, verify_pull
from e2e.made_adapters import lora_tensors, write_adapter, write_large_adapter
from e2e.programs import Client, digest_tree

NAME = "team/full"
PATIENCE = 20.0
"""Seconds. A full disk does not get room by itself: nobody wants to wait for long."""


def test_registry_with_a_full_disk_refuses_the_push_and_serves_on(
    make_registry: MakeRegistry,
    make_client: MakeClient,
    mount_small_disk: MountSmallDisk,
    tmp_path: Path,
) -> None:
    registry = make_registry(mount_small_disk("disk", 24) / "data")
    client = make_client(registry)
    small = write_adapter(tmp_path / "small")
    client.run("push", small, NAME, "-m", "Small", "--create")
    old = read_tips(registry, NAME)
    large = write_large_adapter(tmp_path / "large", mebibytes=30)
    begun = time.monotonic()
    error = client.refusal("push", large, NAME, "-m", "Large")
    assert time.monotonic() - begun < PATIENCE
    assert error["kind"] == "disk-full"
    assert "Free some space" in error["message"] or "free some space" in error["message"]
    assert read_tips(registry, NAME) == old
    assert registry.incoming() == []
    verify_pull(registry, NAME, small, tmp_path / "cache-1")

    other = write_adapter(tmp_path / "other", lora_tensors(seed=5))
    client.run("push", other, NAME, "-m", "Another small one")
    verify_pull(registry, NAME, other, tmp_path / "cache-2")
    registry.restart()
    verify_pull(registry, NAME, other, tmp_path / "cache-3")
    assert list(read_tips(registry, NAME)) == ["main"]


def test_disk_that_fills_to_the_last_byte_keeps_the_database_whole(
    make_registry: MakeRegistry,
    make_client: MakeClient,
    mount_small_disk: MountSmallDisk,
    tmp_path: Path,
) -> None:
    disk = mount_small_disk("disk", 24)
    registry = make_registry(disk / "data")
    client = make_client(registry)
    small = write_adapter(tmp_path / "small")
    client.run("push", small, NAME, "-m", "Small", "--create")
    old = read_tips(registry, NAME)
    filler = disk / "filler"
    _fill(filler)
    other = write_adapter(tmp_path / "other", lora_tensors(seed=6))
    assert client.refusal("push", other, NAME, "-m", "Other")["kind"] == "disk-full"
    assert read_tips(registry, NAME) == old
    verify_pull(registry, NAME, small, tmp_path / "cache-1")
    filler.unlink()
    client.run("push", other, NAME, "-m", "Other")
    verify_pull(registry, NAME, other, tmp_path / "cache-2")


def test_client_with_a_full_cache_says_so_and_goes_on_when_there_is_room(
    client: Client, name: str, mount_small_disk: MountSmallDisk, tmp_path: Path
) -> None:
    large = write_large_adapter(tmp_path / "large", mebibytes=30, seed=4)
    client.run("push", large, name, "-m", "Large", "--create")
    client.cache = mount_small_disk("cache", 24)
    error = client.refusal("pull", name)
    assert error["kind"] == "disk-full"
    assert "PLAIT_CACHE_DIR" in error["message"]
    assert not list((client.cache / "versions").glob("[!.]*"))
    small = write_adapter(tmp_path / "small", lora_tensors(seed=7))
    client.run("push", small, f"{name}@small", "-m", "Small")
    client.cache = client.home / "larger"
    assert digest_tree(Path(client.run("pull", name).strip())) == digest_tree(large)


def test_destination_and_working_copy_on_a_full_disk_keep_what_they_had(
    client: Client, name: str, mount_small_disk: MountSmallDisk, tmp_path: Path
) -> None:
    small = write_adapter(tmp_path / "small", lora_tensors(seed=8))
    client.run("push", small, name, "-m", "Small", "--create")
    disk = mount_small_disk("disk", 24)
    client.run("pull", name, disk / "copy")
    client.run("clone", name, disk / "work")
    large = write_large_adapter(tmp_path / "large", mebibytes=30, seed=5)
    client.run("push", large, name, "-m", "Large")
    assert client.refusal("pull", name, disk / "copy", "--force")["kind"] == "disk-full"
    assert digest_tree(disk / "copy") == digest_tree(small)
    assert client.refusal("pull", cwd=disk / "work")["kind"] == "disk-full"
    assert digest_tree(disk / "work", skip=frozenset({".plait"})) == digest_tree(small)
    assert client.facts("status", cwd=disk / "work")["clean"]


def _fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        for size in (1 << 20, 4096):
            try:
                while file.write(b"\0" * size) == size:
                    pass
            except OSError:
                continue
