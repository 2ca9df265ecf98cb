"""Validations over HTTP: asking for one, and workers that take them by a token for that alone."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import httpx
import pytest

from plait.errors import PermissionDenied
from plait.http_transport import HttpTransport
from plait.model.ids import hash_bytes
from plait.model.merge_digests import MergeDigests
from plait.model.validation import BaseWeights, Validation, Verdict
from plait_registry.domain.jobs import JobError, JobKind, JobOffer
from plait_registry.worker.remote_jobs import RemoteJobs, TakenJob
from reference.memory_registry import make_version
from served.accounts import API, People, kind_of, peopled, refusal_of, succeed
from served.pushing import push_version

VERSION = make_version("first")
URL = f"{API}/repositories/team/sql"
BASE = "b" * 64
OFFER = {"kinds": ["validation"]}


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Iterator[People]:
    with peopled(tmp_path_factory.mktemp("data"), ("team",)) as opened:
        opened.add("will", team="writer")
        opened.add("gpu", admin=True)
        push_version(opened.admin, opened.make_repository("team/sql"), VERSION)
        yield opened


@pytest.fixture
def will(people: People) -> Iterator[httpx.Client]:
    """Who asks; nothing of the jobs is left afterwards."""
    yield people.client(people.token("will"))
    registry = people.server.registry
    for job in succeed(people.admin.get(f"{URL}/jobs"))["jobs"]:
        if job["state"] in ("queued", "running"):
            succeed(people.admin.post(f"{API}/jobs/{job['id']}/cancel"))
    assert registry.jobs.claim() is None


@pytest.fixture
def worker(people: People) -> httpx.Client:
    return people.client(people.token("gpu", "*:work"))


def ask(client: httpx.Client, **more: Any) -> dict[str, Any]:
    body = {"revision": "main", "again": True, **more}
    made: dict[str, Any] = succeed(client.post(f"{URL}/validations", json=body))
    return made


def take(worker: httpx.Client, **more: Any) -> dict[str, Any]:
    taken: dict[str, Any] = succeed(worker.post(f"{API}/jobs/claim", json=OFFER | more))["taken"]
    return taken


def test_validation_is_answered_with_what_it_looks_at(will: httpx.Client) -> None:
    made = ask(will, base=BASE)
    assert made["validation"] == {
        "commit": VERSION.id,
        "definition": "merge-fp64-v1",
        "base": BASE,
        "held": None,
    }
    assert (made["recipe"], made["job"]["kind"], made["job"]["branch"]) == (None, "validation", "")
    assert ask(will)["job"]["id"] == made["job"]["id"]


@pytest.mark.parametrize(
    ("body", "status", "kind"),
    [
        ({"revision": "gone"}, 404, "revision-not-found"),
        ({"revision": "main", "definition": "merge-fp16"}, 422, "invalid-input"),
        ({"revision": "main", "base": "b"}, 422, "invalid-object-id"),
        ({}, 422, "invalid-input"),
    ],
    ids=str,
)
def test_wish_that_breaks_a_rule_is_refused(
    will: httpx.Client, body: dict[str, Any], status: int, kind: str
) -> None:
    assert refusal_of(will.post(f"{URL}/validations", json=body)) == (status, kind)


def test_job_says_nothing_about_a_commit_that_it_was_not_asked_about(
    people: People, will: httpx.Client, worker: httpx.Client
) -> None:
    later = make_version("second", VERSION.id)
    url = people.make_repository("team/two")
    push_version(people.admin, url, VERSION)
    push_version(people.admin, url, later, expected=VERSION.id)
    body = {"revision": later.id}
    asked = succeed(will.post(f"{url}/validations", json=body))["job"]["id"]
    process = people.client(take(worker)["token"])
    digests = MergeDigests.of({"w": hash_bytes(b"w")}).to_json()
    seen = Validation(
        definition="merge-fp64-v1",
        commit=VERSION.id,
        base=None,
        base_weights=BaseWeights.ORIGINAL,
        verdict=Verdict.NOT_MERGEABLE,
        started_at="2026-11-24T06:07:00Z",
        ended_at="2026-11-24T06:07:00Z",
    )
    commit = f"{url}/commits/{VERSION.id}"
    refused = (403, "permission-denied")
    expected = {"digests": digests, "base": BASE}
    assert refusal_of(process.put(f"{commit}/expected-digests", json=expected)) == refused
    validation = {"validation": seen.to_json()}
    assert refusal_of(process.post(f"{commit}/validations", json=validation)) == refused
    assert refusal_of(process.post(f"{commit}/attestations", json={"envelope": {}})) == refused
    # About the one that it was asked about, it does.
    commit = f"{url}/commits/{later.id}"
    assert succeed(process.put(f"{commit}/expected-digests", json=expected))["base"] == BASE
    succeed(people.admin.post(f"{API}/jobs/{asked}/cancel"))


def test_worker_is_given_the_job_and_a_token_for_it(
    people: People, will: httpx.Client, worker: httpx.Client
) -> None:
    made = ask(will)
    taken = take(worker)
    assert taken["job"]["job"]["id"] == made["job"]["id"]
    assert taken["job"]["validation"] == made["validation"]
    process = people.client(taken["token"])
    seen = Validation(
        definition="merge-fp64-v1",
        commit=VERSION.id,
        base=None,
        base_weights=BaseWeights.ORIGINAL,
        verdict=Verdict.NOT_MERGEABLE,
        started_at="2026-11-24T06:07:00Z",
        ended_at="2026-11-24T06:07:00Z",
    )
    body = {"validation": seen.to_json()}
    succeed(process.post(f"{URL}/commits/{VERSION.id}/validations", json=body))
    outcome = {
        "commit": VERSION.id,
        "manifest": VERSION.commit["manifest"],
        "verdict": "not-mergeable",
    }
    done = succeed(process.post(f"{API}/jobs/{made['job']['id']}/complete", json=outcome))
    assert (done["state"], done["result"]["verdict"]) == ("done", "not-mergeable")


def test_nothing_that_is_due_is_no_job(will: httpx.Client, worker: httpx.Client) -> None:
    assert take(worker) is None
    ask(will, base=BASE)
    assert take(worker, bases=["c" * 64]) is None
    assert take(worker, bases=[BASE]) is not None


def test_token_of_a_worker_takes_jobs_and_does_nothing_else(
    people: People, worker: httpx.Client, will: httpx.Client
) -> None:
    assert worker.get(URL).status_code == 404
    assert succeed(worker.get(f"{API}/repositories"))["repositories"] == []
    assert kind_of(worker.post(f"{URL}/validations", json={"revision": "main"})) == (
        "repository-not-found"
    )
    made = {"user": "gpu", "scopes": ["team:read"]}
    assert worker.post(f"{API}/tokens", json=made).status_code == 403
    narrow = people.client(people.token("gpu", "*:write"))
    for client in (will, narrow):
        assert refusal_of(client.post(f"{API}/jobs/claim", json=OFFER)) == (
            403,
            "permission-denied",
        )


@pytest.mark.parametrize("kinds", [["composition"], ["validation", "composition"], ["other"]])
def test_worker_takes_validations_alone(worker: httpx.Client, kinds: list[str]) -> None:
    answer = worker.post(f"{API}/jobs/claim", json={"kinds": kinds})
    assert refusal_of(answer) == (422, "invalid-input")


def test_token_of_a_validation_pushes_nothing(
    people: People, will: httpx.Client, worker: httpx.Client
) -> None:
    ask(will)
    process = people.client(take(worker)["token"])
    assert succeed(process.get(f"{URL}/commits/{VERSION.id}"))["id"] == VERSION.id
    for method, path, body in (
        ("POST", f"{URL}/pushes", {}),
        ("POST", f"{URL}/refs", {"kind": "tag", "name": "v1", "revision": "main"}),
        ("PATCH", f"{URL}/refs/branch/main", {}),
    ):
        answer = process.request(method, path, json=body)
        assert refusal_of(answer) == (403, "permission-denied")
        assert "validation" in answer.text


def test_verdict_that_nobody_knows_is_refused(
    people: People, will: httpx.Client, worker: httpx.Client
) -> None:
    job = ask(will)["job"]["id"]
    process = people.client(take(worker)["token"])
    outcome = {"commit": VERSION.id, "manifest": VERSION.commit["manifest"], "verdict": "fine"}
    answer = process.post(f"{API}/jobs/{job}/complete", json=outcome)
    assert refusal_of(answer) == (422, "invalid-input")


def test_push_to_the_default_branch_asks_for_a_validation_where_that_is_wanted(
    people: People, will: httpx.Client
) -> None:
    path = people.make_repository("team/pushed")
    assert succeed(people.admin.get(path))["validate_on"] == "none"
    changed = people.admin.patch(path, json={"validate_on": "push"})
    assert succeed(changed)["validate_on"] == "push"
    assert refusal_of(people.admin.patch(path, json={"validate_on": "always"})) == (
        422,
        "invalid-input",
    )
    push_version(people.admin, path, VERSION)
    (job,) = succeed(will.get(f"{path}/jobs"))["jobs"]
    assert (job["kind"], job["state"], job["requester"]) == ("validation", "queued", "admin")
    succeed(people.admin.post(f"{API}/jobs/{job['id']}/cancel"))


# --- the worker's side ---


@pytest.fixture
def remote(people: People) -> Iterator[RemoteJobs]:
    opened: list[HttpTransport] = []

    def connect(token: str) -> HttpTransport:
        opened.append(HttpTransport(people.server.url, token))
        return opened[-1]

    token = people.token("gpu", "*:work")
    yield RemoteJobs(connect(token), connect, JobOffer(frozenset({JobKind.VALIDATION})))
    for transport in opened:
        transport.close()


def claim(remote: RemoteJobs) -> TakenJob:
    taken = remote.claim()
    assert taken is not None
    return taken


def look(client: httpx.Client, taken: TakenJob) -> dict[str, Any]:
    found: dict[str, Any] = succeed(client.get(f"{API}/jobs/{taken.held.id}"))
    return found


def test_worker_elsewhere_gives_a_job_back(will: httpx.Client, remote: RemoteJobs) -> None:
    ask(will)
    taken = claim(remote)
    assert taken.token not in repr(taken)
    assert remote.is_held(taken.held)
    remote.give_back(taken.held)
    assert not remote.is_held(taken.held)
    job = look(will, taken)["job"]
    assert (job["state"], job["attempts"]) == ("queued", 0)
    assert remote.prune() == 0


def test_worker_elsewhere_says_that_an_attempt_died_with_its_last_words(
    will: httpx.Client, remote: RemoteJobs
) -> None:
    ask(will)
    taken = claim(remote)
    remote.end_attempt(taken.held, JobError("internal", "It died."), "last words")
    found = look(will, taken)
    assert (found["job"]["state"], found["job"]["attempts"]) == ("queued", 1)
    assert found["job"]["error"]["message"] == "It died."
    assert "last words" in found["log"]


@pytest.mark.parametrize(
    "end",
    [
        lambda remote, held: remote.give_back(held),
        lambda remote, held: remote.end_attempt(held, JobError("internal", "It died.")),
    ],
    ids=["give back", "end attempt"],
)
def test_worker_elsewhere_has_nothing_to_say_of_a_job_that_was_cancelled(
    people: People, will: httpx.Client, remote: RemoteJobs, end: Callable[..., None]
) -> None:
    ask(will)
    taken = claim(remote)
    succeed(people.admin.post(f"{API}/jobs/{taken.held.id}/cancel"))
    assert not remote.is_held(taken.held)
    end(remote, taken.held)
    assert look(will, taken)["job"]["state"] == "cancelled"


def test_worker_without_the_scope_is_told_how_to_get_a_token(people: People) -> None:
    connect = partial(HttpTransport, people.server.url)
    transport = connect(people.token("will"))
    remote = RemoteJobs(transport, connect, JobOffer(frozenset({JobKind.VALIDATION})))
    with pytest.raises(PermissionDenied, match=r"\*:work"):
        remote.claim()
    transport.close()
