"""Pushing versions that are bases: with their card, with or without their weights."""

import pytest

from plait import wire
from plait.errors import InvalidInput
from plait.model.address import RepositoryName
from plait.model.base_card import FILE_NAME
from plait.model.commit import Base
from plait.model.repository_kind import RepositoryKind
from plait_registry.domain.access import SYSTEM, Readable
from plait_registry.domain.bases import BaseQuery, BaseRow
from plait_registry.services.list_bases import ListBases
from plait_registry.services.repositories import CreateRepository
from reference.bases import TENSORS, make_base, make_card
from reference.memory_registry import NAME, MemoryRegistry, Version, make_version
from reference.registry_drivers import FixedClock
from reference.stacks import make_stack

LLAMA = RepositoryName("team", "llama")
CARD = make_card()


@pytest.fixture
def registry() -> MemoryRegistry:
    made = MemoryRegistry()
    CreateRepository(made.database, FixedClock())(SYSTEM, LLAMA, "", kind=RepositoryKind.BASE)
    return made


def push(registry: MemoryRegistry, *versions: Version, **wish: str) -> wire.PushResult:
    plan = registry.begin(*versions, name=LLAMA, **wish)
    for version in versions:
        registry.upload(plan, version, LLAMA)
    return registry.complete(plan, LLAMA)


def bases_of(registry: MemoryRegistry) -> list[BaseRow]:
    query = BaseQuery(Readable.by(SYSTEM))
    return [item.row for item in ListBases(registry.database)(query)]


@pytest.mark.parametrize("weights", [TENSORS, None])
def test_base_is_found_by_what_its_card_says(registry: MemoryRegistry, weights: object) -> None:
    version = make_base("base", weights=TENSORS if weights else None)
    push(registry, version)
    assert bases_of(registry) == [BaseRow(version.id, "org/base", None, CARD.fingerprint)]
    with registry.database.read() as records:
        found = records.repositories.get(LLAMA)
    assert (found.head, found.adapter_type, found.base) == (version.id, "BASE", "org/base")


def test_versions_of_a_base_follow_each_other(registry: MemoryRegistry) -> None:
    first = make_base("card alone")
    other = make_card({"a": ("U8", (1,), b"a")}, revision="r2")
    second = make_base("other weights", first.id, card=other)
    push(registry, first, second)
    assert {row.fingerprint for row in bases_of(registry)} == {
        CARD.fingerprint,
        other.fingerprint,
    }


@pytest.mark.parametrize("version", [make_version("adapter"), make_stack("stack")])
def test_repository_of_bases_takes_nothing_else(registry: MemoryRegistry, version: Version) -> None:
    with pytest.raises(InvalidInput) as caught:
        registry.begin(version, name=LLAMA)  # before a byte is sent
    assert caught.value.kind == "wrong-repository-kind"


def test_repository_of_adapters_takes_no_base(registry: MemoryRegistry) -> None:
    version = make_base("base", weights=TENSORS)
    with pytest.raises(InvalidInput) as caught:
        registry.begin(version)
    assert caught.value.kind == "wrong-repository-kind"
    plan = registry.begin(make_version("adapter"))
    with pytest.raises(InvalidInput) as caught:
        registry.stage(plan, version)
    assert caught.value.kind == "wrong-repository-kind"
    assert registry.target() is None


def test_card_of_another_adapter_is_a_file_as_any(registry: MemoryRegistry) -> None:
    version = make_version("adapter", more={FILE_NAME: b"no card"})
    registry.push(version)
    assert registry.target() == version.id
    assert bases_of(registry) == []


NORM = "norm.weight"
OTHER_BYTES = {**TENSORS, NORM: ("F32", (2,), b"\x01" * 8)}
LACKING = {name: held for name, held in TENSORS.items() if name != NORM}


@pytest.mark.parametrize(
    ("version", "told"),
    [
        (make_base("x", weights=OTHER_BYTES), rf"{NORM}.*other bytes"),
        (make_base("x", weights=LACKING), f"{NORM}.*in no file"),
        (make_base("x", base=Base("org/other", None, CARD.fingerprint)), "org/other"),
        (make_base("x", base=Base("org/base", "r1", CARD.fingerprint)), "org/base"),
        (make_base("x", base=Base("org/base", None, None)), "fingerprint None"),
        (make_base("x", base=Base("org/base", None, make_card(LACKING).fingerprint)), "names"),
        (make_base("x", more={FILE_NAME: b"{}"}), "format"),
        (make_base("x", more={FILE_NAME: b"no json"}), "cannot be read"),
        (
            make_base("x", more={FILE_NAME: CARD.to_bytes().replace(b'"BF16"', b'"F32"')[:-9]}),
            "cannot be read",
        ),
    ],
)
def test_card_that_does_not_fit_is_refused_and_nothing_becomes_visible(
    registry: MemoryRegistry, version: Version, told: str
) -> None:
    with pytest.raises(InvalidInput, match=told) as caught:
        push(registry, version)
    assert caught.value.kind == "invalid-base-card"
    assert bases_of(registry) == []
    with registry.database.read() as records:
        assert records.repositories.get(LLAMA).head is None


def test_same_base_may_lie_in_two_repositories(registry: MemoryRegistry) -> None:
    other = RepositoryName("team", "copy")
    CreateRepository(registry.database, FixedClock())(SYSTEM, other, "", kind=RepositoryKind.BASE)
    version = make_base("base", weights=TENSORS)
    push(registry, version)
    plan = registry.begin(version, name=other)
    registry.upload(plan, version, other)
    registry.complete(plan, other)
    found = ListBases(registry.database)(BaseQuery(Readable.by(SYSTEM)))
    assert [item.repository for item in found] == [other, LLAMA]
    assert NAME not in {item.repository for item in found}
