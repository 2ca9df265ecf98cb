"""Refs that move only to attested commits, on every way on which a ref moves."""

from collections.abc import Callable

import pytest

from database_suite.rows import NOW
from database_suite.validation_rows import (
    OTHER_DIGESTS,
    attestation_row,
    expected_row,
    key_row,
)
from plait.errors import InvalidInput, PermissionDenied
from plait.model.commit import Person
from plait.model.ids import CommitId
from plait.model.recipe import Recipe
from plait.model.refs import RefKind, RefName, RefUpdate
from plait_registry.domain.access import SYSTEM, Right, Role
from plait_registry.domain.accounts import Protection
from plait_registry.domain.composition_wish import CompositionWish
from plait_registry.domain.protection import MOST_ATTESTATIONS
from plait_registry.domain.validations import KeyId
from plait_registry.services.access import find_repository
from plait_registry.services.protections import SetProtection
from plait_registry.services.refs import CreateRef, MoveRef
from plait_registry.services.submit_composition import verify_branch
from reference.memory_registry import NAME, MemoryRegistry, make_version
from reference.registry_drivers import FixedClock

FIRST = make_version("one")
SECOND = make_version("two", FIRST.id)
THIRD = make_version("three", SECOND.id)
PROD = RefName("prod")

Move = Callable[[MemoryRegistry], object]


@pytest.fixture
def registry() -> MemoryRegistry:
    """Return a registry with `main` at the second commit, and at the first `prod`, with a rule."""
    registry = MemoryRegistry()
    plan = registry.begin(FIRST, SECOND)
    for version in (FIRST, SECOND):
        registry.upload(plan, version)
    registry.complete(plan)
    CreateRef(registry.database, FixedClock())(SYSTEM, NAME, RefKind.BRANCH, PROD, FIRST.id)
    demand(registry, "prod", 2)
    with registry.database.write() as records:
        for keyid in ("k1", "k2", "k3"):
            records.validator_keys.insert(key_row(keyid))
    return registry


def demand(registry: MemoryRegistry, pattern: str, attestations: int) -> None:
    rule = Protection(pattern, Role.WRITER, fast_forward_only=False, attestations=attestations)
    SetProtection(registry.database, FixedClock())(SYSTEM, NAME, rule)


def attest(registry: MemoryRegistry, commit: CommitId, *keyids: str) -> None:
    with registry.database.write() as records:
        repository = records.repositories.get(NAME).id
        for keyid in keyids:
            records.attestations.insert(repository, attestation_row(commit, keyid))


def move_ref(registry: MemoryRegistry) -> object:
    update = RefUpdate(RefKind.BRANCH, PROD, FIRST.id, SECOND.id)
    return MoveRef(registry.database, FixedClock())(SYSTEM, NAME, update)


def push_what_is_there(registry: MemoryRegistry) -> object:
    return registry.complete(registry.begin(SECOND, branch="prod", expected=FIRST.id))


def make_tag(registry: MemoryRegistry) -> object:
    demand(registry, "v*", 2)
    create = CreateRef(registry.database, FixedClock())
    return create(SYSTEM, NAME, RefKind.TAG, RefName("v1"), SECOND.id)


def make_branch(registry: MemoryRegistry) -> object:
    demand(registry, "prod-*", 2)
    create = CreateRef(registry.database, FixedClock())
    return create(SYSTEM, NAME, RefKind.BRANCH, RefName("prod-eu"), SECOND.id)


WAYS = [move_ref, push_what_is_there, make_tag, make_branch]


@pytest.mark.parametrize("move", WAYS)
def test_ref_moves_once_enough_validators_attested(registry: MemoryRegistry, move: Move) -> None:
    with pytest.raises(PermissionDenied) as caught:
        move(registry)
    assert (caught.value.kind, caught.value.details["have"]) == ("attestations-missing", 0)
    attest(registry, SECOND.id, "k1")
    with pytest.raises(PermissionDenied) as caught:
        move(registry)
    assert caught.value.details["have"] == 1
    assert caught.value.details["need"] == 2
    assert caught.value.details["keys"] == ["k1"]
    attest(registry, SECOND.id, "k2")
    move(registry)


@pytest.mark.parametrize("move", WAYS)
def test_attestations_of_another_commit_move_nothing(registry: MemoryRegistry, move: Move) -> None:
    attest(registry, FIRST.id, "k1", "k2")
    with pytest.raises(PermissionDenied):
        move(registry)


def test_push_of_a_new_commit_to_such_a_ref_is_refused_before_bytes_travel(
    registry: MemoryRegistry,
) -> None:
    attest(registry, SECOND.id, "k1", "k2")
    with pytest.raises(PermissionDenied) as caught:
        registry.begin(THIRD, branch="prod", expected=FIRST.id)
    assert caught.value.kind == "attestations-missing"
    assert "Push it to another branch" in caught.value.message


def test_key_that_is_revoked_while_a_push_is_under_way_ends_it(registry: MemoryRegistry) -> None:
    attest(registry, SECOND.id, "k1", "k2")
    plan = registry.begin(SECOND, branch="prod", expected=FIRST.id)
    with registry.database.write() as records:
        records.validator_keys.revoke(KeyId("k2"), NOW)
    with pytest.raises(PermissionDenied):
        registry.complete(plan)
    assert registry.target("prod") == FIRST.id


def test_expected_digests_overrule_validators_who_saw_others(registry: MemoryRegistry) -> None:
    attest(registry, SECOND.id, "k1", "k2")
    with registry.database.write() as records:
        repository = records.repositories.get(NAME).id
        records.expected.insert(repository, expected_row(SECOND.id, OTHER_DIGESTS))
    with pytest.raises(PermissionDenied):
        move_ref(registry)


def test_rule_that_demands_most_holds(registry: MemoryRegistry) -> None:
    demand(registry, "pro*", 3)
    attest(registry, SECOND.id, "k1", "k2")
    with pytest.raises(PermissionDenied) as caught:
        move_ref(registry)
    assert (caught.value.details["need"], caught.value.details["pattern"]) == (3, "pro*")


def test_ref_stays_where_it_is_without_attestations(registry: MemoryRegistry) -> None:
    registry.complete(registry.begin(FIRST, branch="prod", expected=FIRST.id))
    update = RefUpdate(RefKind.BRANCH, PROD, FIRST.id, FIRST.id)
    MoveRef(registry.database, FixedClock())(SYSTEM, NAME, update)
    assert registry.target("prod") == FIRST.id


def test_refs_without_such_a_rule_move_as_ever(registry: MemoryRegistry) -> None:
    plan = registry.begin(THIRD, expected=SECOND.id)
    registry.upload(plan, THIRD)
    registry.complete(plan)
    assert registry.target() == THIRD.id


def test_composition_onto_such_a_branch_is_refused_when_it_is_asked_for(
    registry: MemoryRegistry,
) -> None:
    recipe = Recipe.from_json(
        {
            "format": "plait.recipe/1",
            "method": "resize",
            "parameters": {"rank": 2},
            "inputs": [{"adapter": str(NAME)}],
        }
    )
    wish = CompositionWish(recipe, PROD, None, Person("Ada", ""))
    with registry.database.read() as records, pytest.raises(PermissionDenied) as caught:
        verify_branch(records, find_repository(records, SYSTEM, NAME, Right.WRITE), wish)
    assert caught.value.kind == "attestations-missing"


@pytest.mark.parametrize("attestations", [-1, MOST_ATTESTATIONS + 1])
def test_rule_cannot_demand_what_nobody_could_give(
    registry: MemoryRegistry, attestations: int
) -> None:
    with pytest.raises(InvalidInput):
        demand(registry, "prod", attestations)
