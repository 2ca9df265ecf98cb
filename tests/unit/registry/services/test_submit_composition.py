"""Asking for a composition: who may, what is looked at, and what is pinned."""

from dataclasses import replace
from typing import Any

import pytest

from care.worlds import World
from database_suite.rows import ALL
from plait.errors import AlreadyExists, Conflict, InvalidInput, NotFound, PermissionDenied
from plait.model.address import RepositoryName
from plait.model.commit import Person
from plait.model.recipe import Recipe
from plait.model.recipe_methods import METHODS
from plait.model.refs import RefKind, RefName
from plait_registry.domain.access import SYSTEM, Access, Caller, Role, Scope
from plait_registry.domain.accounts import AuditQuery, Protection
from plait_registry.domain.composition_wish import CompositionPayload, parse_wish
from plait_registry.domain.events import EventQuery
from plait_registry.domain.jobs import JobState
from plait_registry.services import limits
from plait_registry.services.find_job import JobView
from plait_registry.services.job_services import JobServices, build_job_services
from plait_registry.services.refs import CreateRef
from plait_registry.services.repositories import CreateRepository
from reference.memory_registry import make_version

SQL = RepositoryName("team", "sql")
SECRET = RepositoryName("lab", "secret")
FIRST, SECOND = make_version("first"), make_version("second")
WRITER = Caller("will", roles={"team": Role.WRITER})
MEMBER = Caller("mia", roles={"team": Role.MAINTAINER, "lab": Role.READER})


@pytest.fixture
def world() -> World:
    world = World()
    world.publish(FIRST)
    world.publish(make_version("third"), branch="other")
    CreateRepository(world.data, world.clock)(SYSTEM, SECRET, "")
    world.publish(SECOND, name=SECRET)
    return world


@pytest.fixture
def jobs(world: World) -> JobServices:
    return build_job_services(world.data, world.clock, keep_days=30)


def recipe(*inputs: dict[str, Any] | str, method: str = "sum", **more: Any) -> Recipe:
    items = [{"adapter": item} if isinstance(item, str) else item for item in inputs]
    return Recipe.from_json({"format": "plait.recipe/1", "method": method, "inputs": items, **more})


def submit(
    jobs: JobServices,
    wanted: Recipe,
    caller: Caller = WRITER,
    *,
    name: RepositoryName = SQL,
    branch: str = "blend",
    create: bool = False,
) -> JobView:
    wish = parse_wish(wanted, branch=branch, message=None, author=Person("Will", ""))
    return jobs.submit_composition(caller, name, wish, create=create)


def pinned(view: JobView) -> list[Any]:
    assert view.payload is not None
    document = CompositionPayload.from_bytes(view.payload).recipe
    return [item["commit"] for item in document["inputs"]]


def test_job_waits_with_all_inputs_pinned(world: World, jobs: JobServices) -> None:
    view = submit(jobs, recipe("team/sql", {"adapter": "team/sql", "revision": "other"}))
    assert (view.job.state, view.job.ref, view.job.requester.name) == (
        JobState.QUEUED,
        "blend",
        "will",
    )
    assert pinned(view) == [FIRST.id, make_version("third").id]
    world.publish(make_version("fourth", FIRST.id))
    assert pinned(jobs.get(WRITER, view.job.id)) == pinned(view)


def test_defaults_of_the_method_are_pinned_too(jobs: JobServices) -> None:
    view = submit(jobs, recipe("team/sql", method="dare", parameters={"density": 0.5}))
    assert view.payload is not None
    assert CompositionPayload.from_bytes(view.payload).recipe["parameters"] == {
        "density": 0.5,
        "seed": 0,
    }


def test_commit_that_a_recipe_names_is_kept(jobs: JobServices) -> None:
    view = submit(jobs, recipe({"adapter": "team/sql", "commit": FIRST.id}))
    assert pinned(view) == [FIRST.id]


def test_two_inputs_that_turn_out_to_be_the_same_version_are_refused(jobs: JobServices) -> None:
    with pytest.raises(InvalidInput) as caught:
        submit(jobs, recipe("team/sql", {"adapter": "team/sql", "revision": FIRST.id[:12]}))
    assert caught.value.kind == "invalid-recipe"


@pytest.mark.parametrize(
    ("item", "kind"),
    [
        ({"adapter": "team/absent"}, "repository-not-found"),
        ({"adapter": "lab/secret"}, "repository-not-found"),
        ({"adapter": "team/sql", "revision": "absent"}, "revision-not-found"),
        ({"adapter": "team/sql", "commit": SECOND.id}, "commit-not-found"),
    ],
)
def test_input_that_is_not_there_or_not_to_be_read_is_named(
    jobs: JobServices, item: dict[str, Any], kind: str
) -> None:
    with pytest.raises(NotFound, match=f"Input 2 of the recipe, {item['adapter']}") as caught:
        submit(jobs, recipe({"adapter": "team/sql", "revision": "other"}, item))
    assert caught.value.kind == kind


def test_who_may_read_an_input_may_use_it(jobs: JobServices) -> None:
    view = submit(jobs, recipe("team/sql", "lab/secret"), MEMBER)
    assert pinned(view) == [FIRST.id, SECOND.id]
    assert [str(name) for name in view.job.inputs] == ["team/sql", "lab/secret"]


def test_token_whose_scopes_do_not_reach_an_input_cannot_use_it(jobs: JobServices) -> None:
    scoped = replace(MEMBER, scopes=(Scope("team", Access.WRITE),))
    with pytest.raises(NotFound):
        submit(jobs, recipe("lab/secret"), scoped)


@pytest.mark.parametrize(
    "caller",
    [
        Caller("rose", roles={"team": Role.READER}),
        replace(WRITER, scopes=(Scope("team", Access.READ),)),
        Caller("eve"),
    ],
)
def test_who_may_not_write_the_target_may_not_ask(jobs: JobServices, caller: Caller) -> None:
    with pytest.raises(PermissionDenied):
        submit(jobs, recipe("team/sql"), caller)


def test_private_target_is_missing_for_a_stranger(jobs: JobServices) -> None:
    with pytest.raises(NotFound) as caught:
        submit(jobs, recipe("team/sql"), Caller("eve"), name=SECRET)
    assert caught.value.kind == "repository-not-found"


def test_absent_target_is_made_where_that_is_wanted_and_allowed(
    world: World, jobs: JobServices
) -> None:
    name = RepositoryName("team", "new")
    with pytest.raises(NotFound):
        submit(jobs, recipe("team/sql"), MEMBER, name=name)
    with pytest.raises(PermissionDenied):
        submit(jobs, recipe("team/sql"), WRITER, name=name, create=True)
    view = submit(jobs, recipe("team/sql"), MEMBER, name=name, create=True)
    assert view.job.target == name
    with world.data.read() as records:
        assert records.repositories.get(name).private
    assert submit(jobs, recipe("team/sql"), MEMBER, name=name, create=True).job.target == name


def test_target_is_not_made_for_a_recipe_that_cannot_be_carried_out(
    world: World, jobs: JobServices
) -> None:
    name = RepositoryName("team", "new")
    with pytest.raises(NotFound):
        submit(jobs, recipe("team/absent"), MEMBER, name=name, create=True)
    with world.data.read() as records, pytest.raises(NotFound):
        records.repositories.get(name)


def test_protected_branch_is_refused_also_to_maintainers_since_a_job_only_writes(
    world: World, jobs: JobServices
) -> None:
    with world.data.write() as records:
        repository = records.repositories.get(SQL)
        rule = Protection("main", Role.MAINTAINER, fast_forward_only=False)
        records.protections.put(repository.id, rule)
    with pytest.raises(PermissionDenied, match="write and no more") as caught:
        submit(jobs, recipe("team/sql"), MEMBER, branch="main")
    assert caught.value.kind == "ref-protected"
    submit(jobs, recipe("team/sql"), MEMBER)


def test_tag_is_no_branch(world: World, jobs: JobServices) -> None:
    CreateRef(world.data, world.clock)(SYSTEM, SQL, RefKind.TAG, RefName("v1"), "main")
    with pytest.raises(AlreadyExists) as caught:
        submit(jobs, recipe("team/sql"), branch="v1")
    assert caught.value.kind == "ref-exists"


NEEDS_BASE = [name for name, method in METHODS.items() if method.needs_base]


@pytest.mark.parametrize(
    "more", [{"base": "a" * 64}, *({"method": name} for name in NEEDS_BASE)], ids=str
)
def test_recipe_that_needs_the_weights_of_the_base_is_refused(
    jobs: JobServices, more: dict[str, Any]
) -> None:
    with pytest.raises(InvalidInput, match="--base-dir") as caught:
        submit(jobs, recipe("team/sql", {"adapter": "team/sql", "revision": "other"}, **more))
    assert caught.value.kind == "invalid-recipe"


def test_repository_has_no_more_open_jobs_than_the_limit(
    jobs: JobServices, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MOST_OPEN_JOBS", 2)
    first = submit(jobs, recipe("team/sql"))
    submit(jobs, recipe("team/sql"), replace(MEMBER, user=7))
    with pytest.raises(Conflict, match="team/sql has 2 jobs") as caught:
        submit(jobs, recipe("team/sql"), replace(MEMBER, user=8))
    assert caught.value.kind == "too-many-jobs"
    jobs.cancel(SYSTEM, first.job.id)
    submit(jobs, recipe("team/sql"))


def test_user_has_no_more_open_jobs_than_the_limit_in_all_repositories(
    jobs: JobServices, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MOST_OPEN_JOBS", 2)
    ada = replace(MEMBER, user=7)
    for number in range(2):
        name = RepositoryName("team", f"new{number}")
        submit(jobs, recipe("team/sql"), ada, name=name, create=True)
    with pytest.raises(Conflict, match="You have 2 jobs"):
        submit(jobs, recipe("team/sql"), ada)
    submit(jobs, recipe("team/sql"), replace(ada, user=8))


def test_audit_log_and_events_tell_of_the_job_and_not_of_its_inputs(
    world: World, jobs: JobServices
) -> None:
    view = submit(jobs, recipe("lab/secret"), MEMBER)
    with world.data.read() as records:
        row = records.audit.search(AuditQuery(subject="team/sql"))[0]
        event = records.events.search(EventQuery(ALL))[-1]
    assert (row.action, row.actor) == ("job.submit", "mia")
    assert (event.kind, event.actor) == ("job.submitted", "mia")
    assert row.details == event.details
    assert row.details == {"job": view.job.id, "kind": "composition", "ref": "blend"}
