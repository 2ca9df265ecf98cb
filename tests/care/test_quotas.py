"""A namespace holds no more than its quota, whatever is pushed at once."""

import pytest

from care.worlds import World
from plait import wire
from plait.errors import NotFound, TooLarge
from plait.model.address import RepositoryName
from plait_registry.domain.access import SYSTEM, Access, Caller, Role, Scope
from plait_registry.domain.usage import Usage
from plait_registry.services.quotas import ReadUsage
from reference.memory_registry import NAME, Version, make_version

OTHER = RepositoryName("Team", "other")


def set_quota(world: World, quota: int) -> None:
    world.data.transact(
        lambda records: records.namespaces.update(
            "team", quota_bytes=quota, keep_untagged_days=None
        )
    )


def usage(world: World) -> Usage:
    return ReadUsage(world.data)(SYSTEM, "Team")


def size_of(version: Version) -> int:
    return sum(map(len, version.contents.values()))


def test_usage_counts_a_file_of_several_repositories_once(world: World) -> None:
    world.make_repository(OTHER)
    version = make_version("first")
    assert usage(world).used_bytes == 0
    world.publish(version)
    world.publish(version, name=OTHER)
    assert usage(world) == Usage("team", size_of(version), 2, None)


def test_push_over_the_quota_is_refused_before_bytes_travel(world: World) -> None:
    first, second = make_version("first"), make_version("second version")
    set_quota(world, size_of(first))
    world.publish(first)
    before = world.stored()
    with pytest.raises(TooLarge) as caught:
        world.begin(second, branch="dev")
    assert caught.value.kind == "quota-exceeded"
    facts = caught.value.details
    assert facts["used"] == facts["limit"] == size_of(first)
    assert facts["needed"] == len(second.contents[max(second.contents, key=lambda it: len(
        second.contents[it]))])  # fmt: skip
    assert world.stored() == before


def test_second_of_two_pushes_that_fit_only_alone_is_refused(world: World) -> None:
    first, second = make_version("first"), make_version("other")
    set_quota(world, size_of(first))
    plans = [
        (world.begin(version, branch=branch), version)
        for version, branch in ((first, "main"), (second, "dev"))
    ]
    for plan, version in plans:
        world.upload(plan, version)
    world.complete(plans[0][0])
    with pytest.raises(TooLarge) as caught:
        world.complete(plans[1][0])
    assert caught.value.kind == "quota-exceeded"
    world.verify_version(first)


def test_push_of_what_the_namespace_holds_needs_no_room(world: World) -> None:
    version = make_version("first")
    world.publish(version)
    set_quota(world, 0)
    world.publish(version, branch="again")
    world.publish(make_version("first", version.id), branch="next")


def test_usage_of_an_unknown_namespace_is_not_found(world: World) -> None:
    with pytest.raises(NotFound):
        ReadUsage(world.data)(SYSTEM, "nobody")


def begin_narrowly(world: World, version: Version, *reached: RepositoryName) -> wire.PushPlan:
    """Begin a push to the first of these repositories, by a token for no others."""
    scopes = tuple(Scope(name.key, Access.WRITE) for name in reached)
    caller = Caller("ci", roles={"team": Role.WRITER}, scopes=scopes)
    ref = wire.PushRef("branch", "ci", None, version.id)
    staged = wire.StagedCommits([version.commit], [version.manifest])
    return world.service.begin(caller, reached[0], wire.NewPush(ref, staged))


def test_token_for_one_repository_learns_nothing_of_what_others_hold(world: World) -> None:
    world.make_repository(OTHER)
    held, absent = make_version("held"), make_version("gone")
    assert size_of(held) == size_of(absent)
    world.publish(held, name=OTHER)
    set_quota(world, size_of(held))
    told = []
    for version in (held, absent):
        with pytest.raises(TooLarge) as caught:
            begin_narrowly(world, version, NAME)
        told.append((caught.value.message, dict(caught.value.details)))
    assert told[0] == told[1]
    assert told[0][1] == {"limit": size_of(held)}
    assert begin_narrowly(world, held, NAME, OTHER).files == []


def test_token_for_one_repository_needs_no_room_for_what_that_one_holds(world: World) -> None:
    version = make_version("held")
    world.publish(version)
    set_quota(world, size_of(version))
    assert begin_narrowly(world, version, NAME).files == []
