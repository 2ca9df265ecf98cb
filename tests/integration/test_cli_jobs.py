"""`plait job`, against a server that does jobs by itself."""

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from copies.people import Person, make_person
from plait.http_transport import HttpTransport
from plait.jobs import Jobs, RemoteComposition
from plait.model.address import RepositoryName
from plait.model.refs import RefName


@pytest.fixture
def name(repository_name: Callable[[], str]) -> str:
    return repository_name()


@pytest.fixture
def ada(registry_server: Any, tmp_path: Path, name: str) -> Person:
    """Somebody who pushed a version."""
    person = make_person(registry_server, tmp_path / "ada")
    # A base that no other test on this server has.
    person.train(1, base_model_name_or_path=f"{name}-base")
    person.run("push", ".", name, "-m", "first", "--create")
    return person


@pytest.fixture
def jobs(registry_server: Any) -> Iterator[Jobs]:
    with closing(HttpTransport(registry_server.url, registry_server.token)) as transport:
        yield Jobs(transport)


def ask(jobs: Jobs, name: str, **recipe: Any) -> str:
    document = {"format": "plait.recipe/1", "method": "concat", "inputs": [{"adapter": name}]}
    wish = RemoteComposition(
        recipe=document | recipe, repository=RepositoryName.parse(name), branch=RefName("blend")
    )
    return jobs.compose(wish).job.id


def test_job_is_followed_to_its_outcome(ada: Person, jobs: Jobs, name: str) -> None:
    job = ask(jobs, name)
    shown = ada.run("job", "show", job, "--follow")
    (head,) = [line.split()[1] for line in shown.splitlines() if line.split()[0] == "commit"]
    facts = ada.ask("job", "show", job)
    assert facts["job"]["state"] == "done"
    assert facts["job"]["result"]["commit"] == head
    assert facts["recipe"]["inputs"][0]["adapter"] == name
    assert ada.ask("show", f"{name}@blend")["id"] == head
    assert f"{name}@blend" in shown
    assert "Downloading" in shown


def test_jobs_of_a_repository_are_listed(ada: Person, jobs: Jobs, name: str) -> None:
    made = [ask(jobs, name) for _ in range(2)]
    for job in made:
        ada.run("job", "show", job, "--follow")
    lines = [line.split() for line in ada.run("job", "list", name).splitlines()]
    assert [line[0] for line in lines] == made[::-1]
    assert [line[5] for line in lines] == ["done", "done"]
    assert len(ada.ask("job", "list", name, "-n", "1")["jobs"]) == 1


def test_job_that_fails_makes_the_command_fail(ada: Person, jobs: Jobs, name: str) -> None:
    # An adapter for part of the modules that are named.
    job = ask(jobs, name, inputs=[{"adapter": name, "modules": {"no_such_module": 0.5}}])
    told = ada.fail("job", "show", job, "--follow")
    assert f"The job {job} failed" in told
    assert "no_such_module" in told
    assert "no_such_module" in ada.run("job", "show", job)
    assert ada.run("job", "list", name).split()[5:7] == ["failed", "invalid-recipe"]
    assert "nothing changes that" in ada.fail("job", "cancel", job)


def test_validation_that_waits_says_for_which_base(ada: Person, name: str) -> None:
    base = "5d2c8e14f0ab" * 5 + "5d2c"
    said = ada.run("validate", name, "--base-id", base)
    job = said.split()[1]
    assert f"Validation {job} is queued: plait job show {job} --follow" in said
    shown = ada.run("job", "show", job)
    assert "a worker that has the base 5d2c8e14f0ab" in shown
    assert f"{name}@{ada.ask('show', name)['id']}" in shown
    assert ada.ask("validate", name)["job"]["id"] == job
    assert ada.run("job", "list", name).split()[2:4] == ["validation", "-"]
    assert "cancelled" in ada.run("job", "cancel", job)


def test_wrong_ways_to_validate_are_refused(ada: Person, name: str) -> None:
    assert "--here" in ada.fail("validate", name, "--key", "validator.pem", status=2)
    assert "--base DIR" in ada.fail("validate", name, "--here", status=2)
    assert "--wait" in ada.fail("validate", name, "--here", "--base", ".", "--wait", status=2)
    assert "no such" not in ada.fail("validate", f"{name}@gone")


def test_wrong_arguments_are_refused(ada: Person, name: str) -> None:
    assert "above 0" in ada.fail("job", "list", name, "-n", "0", status=2)
    assert "--follow" in ada.fail("job", "cancel", "job1", "--follow", status=2)
    assert "There is no job" in ada.fail("job", "show", "job1")


def test_events_tell_of_a_job(ada: Person, jobs: Jobs, name: str) -> None:
    job = ask(jobs, name)
    ada.run("job", "show", job, "--follow")
    kinds = [line.split()[2] for line in ada.run("events", name).splitlines()]
    assert kinds == ["repository.created", "push", "job.submitted", "push", "job.ended"]
