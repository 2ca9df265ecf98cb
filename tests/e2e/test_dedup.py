"""A new version sends and stores only the tensors that changed, and comes back byte for byte."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from e2e.conftest import MakeClient, MakeRegistry
from e2e.crash import SLACK
from e2e.made_adapters import (
    MIB,
    WEIGHTS,
    MadeTensor,
    embedding,
    lora_tensors,
    random_tensor,
    write_adapter,
)
from e2e.programs import Client, Registry, digest_tree
from e2e.wiretap import tap

NAME = "team/dedup"
DOCUMENTS = 64 * 1024
"""Bytes that commits, manifests and lists of extents may take."""


@dataclass
class Growth:
    """What one push cost."""

    said: int
    """Bytes of files that the client says it sent."""
    sent: int
    """Bytes that crossed the wire."""
    stored: int
    """Bytes that the object folder grew by."""


@dataclass
class Place:
    """A registry of a test's own, with a relay in front of it."""

    registry: Registry
    client: Client
    folder: Path

    def push(self, tensors: list[MadeTensor], *, metadata: dict[str, str] | None = None) -> Growth:
        """Push a version and pull it into an empty cache again."""
        write_adapter(self.folder, tensors, metadata=metadata)
        before = sum(self.registry.objects().values())
        with tap(self.registry.port) as wiretap:
            self.client.via = wiretap.url
            facts = self.client.facts("push", self.folder, NAME, "-m", "Next", "--create")
            self.client.via = None
            stored = sum(self.registry.objects().values()) - before
            assert facts["bytes_stored"] <= stored <= facts["bytes_stored"] + DOCUMENTS * 8
            growth = Growth(facts["bytes_sent"], wiretap.sent, stored)
        self.verify()
        return growth

    def verify(self) -> float:
        """Pull into an empty cache, compare all bytes, and return the seconds that it took."""
        self.client.cache = self.client.home / f"cache-{time.monotonic_ns()}"
        begun = time.monotonic()
        path = Path(self.client.run("pull", NAME).strip())
        seconds = time.monotonic() - begun
        assert digest_tree(path) == digest_tree(self.folder)
        return seconds


@pytest.fixture
def place(make_registry: MakeRegistry, make_client: MakeClient, tmp_path: Path) -> Place:
    registry = make_registry()
    return Place(registry, make_client(registry), tmp_path / "adapter")


def size_of(tensors: list[MadeTensor]) -> int:
    return sum(len(tensor.data) for tensor in tensors)


def test_version_with_the_same_embedding_sends_only_the_rest(place: Place) -> None:
    large = embedding(rows=40 * MIB // 1024)
    assert place.push([large, *lora_tensors(seed=1)]).sent > 40 * MIB
    for seed in (2, 3):
        changed = lora_tensors(seed=seed)
        growth = place.push([large, *changed])
        assert growth.said == pytest.approx(size_of(changed), abs=8 * 1024)
        assert growth.sent < growth.said + SLACK
        assert growth.stored == pytest.approx(growth.said, abs=DOCUMENTS)


def test_embedding_that_moves_inside_the_file_is_found_again(place: Place) -> None:
    large = embedding(rows=4 * MIB // 1024)
    place.push([large, *lora_tensors(seed=4)])
    growth = place.push([*lora_tensors(layers=6, seed=5), large])
    assert growth.said < MIB


def test_embedding_is_shared_between_repositories_branches_and_files(place: Place) -> None:
    large = embedding(rows=4 * MIB // 1024)
    place.push([large, *lora_tensors(seed=6)])
    other = write_adapter(place.folder.with_name("other"), [*lora_tensors(seed=7), large])
    facts = place.client.facts("push", other, "team/other", "-m", "First", "--create")
    assert facts["bytes_sent"] < MIB
    place.client.cache = place.client.home / "another-cache"
    path = Path(place.client.run("pull", "team/other").strip())
    assert digest_tree(path) == digest_tree(other)
    part = other.with_name("part")
    place.client.run("pull", "team/other", part, "--only", large.name)
    assert (part / WEIGHTS).read_bytes().endswith(large.data)


def test_one_tensor_of_eight_that_changed_is_sent_alone(place: Place) -> None:
    tensors = [random_tensor(f"piece.{i}.lora_A.weight", (MIB // 2,), i) for i in range(8)]
    place.push(tensors)
    tensors[5] = random_tensor(tensors[5].name, (MIB // 2,), 100)
    growth = place.push(tensors)
    assert growth.said == pytest.approx(MIB, abs=8 * 1024)
    assert growth.stored == pytest.approx(growth.said, abs=DOCUMENTS)


def test_other_metadata_alone_sends_only_the_header(place: Place) -> None:
    tensors = [random_tensor(f"piece.{i}.lora_A.weight", (MIB // 2,), i) for i in range(4)]
    place.push(tensors)
    growth = place.push(tensors, metadata={"format": "pt", "step": "300"})
    assert growth.said < 4 * 1024
    assert growth.stored < DOCUMENTS


def test_file_of_a_thousand_alternating_extents_is_pulled_quickly(place: Place) -> None:
    tensors = [random_tensor(f"piece.{i:04}.lora_A.weight", (4096,), i) for i in range(1_000)]
    place.push(tensors)
    whole = place.verify()
    # A little less than half is new: else all would be sent.
    changed = [
        random_tensor(tensor.name, tensor.shape, 5_000 + i) if i % 2 and i > 60 else tensor
        for i, tensor in enumerate(tensors)
    ]
    growth = place.push(changed)
    assert growth.said < size_of(tensors) * 0.55
    assert place.verify() < 3 * whole + 1


@pytest.mark.slow
def test_chain_of_versions_that_each_keep_a_part_stays_readable(place: Place) -> None:
    """Extents of extents: every version is joined from objects of several earlier ones."""
    tensors = [random_tensor(f"piece.{i}.lora_A.weight", (40_000,), i) for i in range(10)]
    place.push(tensors)
    for turn in range(10):
        tensors[turn] = random_tensor(tensors[turn].name, (40_000,), 200 + turn)
        growth = place.push(tensors)
        assert growth.said < 90_000
