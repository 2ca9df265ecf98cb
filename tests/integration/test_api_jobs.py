"""Jobs over HTTP: what is asked for, shown and reported, and what is refused on the way."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from plait.errors import Conflict, InvalidInput, NotFound
from plait.http_transport import HttpTransport
from plait.jobs import Jobs, RemoteComposition, verify_done
from plait.model.address import RepositoryName
from plait.model.commit import Person
from plait.model.refs import RefName
from reference.memory_registry import make_version
from served.accounts import API, People, kind_of, peopled, refusal_of, succeed
from served.pushing import push_version

VERSION = make_version("first")
LARGE = make_version("second", VERSION.id, tensors={"a": b"x" * 1_000})
SQL = RepositoryName("team", "sql")
RECIPE: dict[str, Any] = {
    "format": "plait.recipe/1",
    "method": "concat",
    "inputs": [{"adapter": "team/sql"}],
}
URL = f"{API}/repositories/team/sql"


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Iterator[People]:
    with peopled(tmp_path_factory.mktemp("data"), ("team", "lab")) as opened:
        opened.add("will", team="writer", lab="reader")
        opened.add("rose", team="reader")
        for name in ("team/sql", "lab/secret"):
            push_version(opened.admin, opened.make_repository(name), VERSION)
        yield opened


@pytest.fixture
def will(people: People) -> Iterator[httpx.Client]:
    """Who asks; nothing of the jobs is open afterwards."""
    yield people.client(people.token("will"))
    for job in succeed(people.admin.get(f"{URL}/jobs"))["jobs"]:
        if job["state"] in ("queued", "running"):
            succeed(people.admin.post(f"{API}/jobs/{job['id']}/cancel"))


def ask(client: httpx.Client, **more: Any) -> httpx.Response:
    return client.post(f"{URL}/compositions", json={"recipe": RECIPE, "branch": "blend", **more})


@contextmanager
def begun(people: People, will: httpx.Client, **more: Any) -> Iterator[tuple[str, httpx.Client]]:
    """Have a job that runs; yield its path and a client that is its process."""
    job = succeed(ask(will, **more))["job"]["id"]
    claimed = people.server.registry.jobs.claim()
    assert claimed is not None
    assert claimed.job.id == job
    yield f"{API}/jobs/{job}", people.client(claimed.token)


def report(process: httpx.Client, path: str, **facts: Any) -> httpx.Response:
    progress = {"done": 1, "total": 7, "what": "Composing", **facts}
    return process.post(f"{path}/progress", json={"progress": progress, "log": "a line\n"})


# --- asking ---


def test_job_is_answered_with_its_recipe_pinned(will: httpx.Client) -> None:
    made = succeed(ask(will, message="Blend them", author={"name": "Will", "email": "w@x.org"}))
    assert made["job"] | {"id": "", "created_at": ""} == {
        "id": "",
        "kind": "composition",
        "repository": "team/sql",
        "branch": "blend",
        "requester": "will",
        "state": "queued",
        "attempts": 0,
        "progress": {"done": 0, "total": 0, "what": ""},
        "result": None,
        "error": None,
        "created_at": "",
        "started_at": None,
        "ended_at": None,
    }
    assert made["recipe"]["inputs"][0]["commit"] == VERSION.id
    assert (made["message"], made["author"]) == (
        "Blend them",
        {"name": "Will", "email": "w@x.org"},
    )
    assert succeed(will.get(f"{API}/jobs/{made['job']['id']}")) == made


def test_author_is_who_asks_unless_another_is_named(will: httpx.Client) -> None:
    assert succeed(ask(will))["author"] == {"name": "will", "email": ""}


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({"recipe": {}}, "invalid-recipe"),
        ({"recipe": RECIPE | {"method": "blend"}}, "invalid-recipe"),
        ({"recipe": RECIPE | {"inputs": []}}, "invalid-recipe"),
        ({"recipe": RECIPE | {"rank": 4}}, "invalid-recipe"),
        ({"recipe": []}, "invalid-input"),
        ({"branch": "a..b"}, "invalid-ref-name"),
        ({"branch": None}, "invalid-input"),
        ({"message": ""}, "usage"),
        ({"author": {"name": "<>"}}, "invalid-input"),
        ({"author": "Will"}, "invalid-input"),
    ],
    ids=str,
)
def test_wish_that_breaks_a_rule_is_refused(
    will: httpx.Client, body: dict[str, Any], kind: str
) -> None:
    assert refusal_of(ask(will, **body)) == (422, kind)


def test_half_surrogate_is_refused_and_never_a_fault(will: httpx.Client) -> None:
    content = (
        b'{"recipe":%s,"branch":"blend","message":"\\ud800"}'
        % str(RECIPE).replace("'", '"').encode()
    )
    headers = {"content-type": "application/json"}
    answer = will.post(f"{URL}/compositions", content=content, headers=headers)
    assert answer.status_code == 422


# --- looking ---


def test_jobs_are_listed_in_pages_newest_first(people: People, will: httpx.Client) -> None:
    made = [succeed(ask(will))["job"]["id"] for _ in range(3)]
    first = succeed(will.get(f"{URL}/jobs", params={"limit": 2}))
    assert [job["id"] for job in first["jobs"]] == [made[2], made[1]]
    second = succeed(will.get(f"{URL}/jobs", params={"limit": 200, "cursor": first["next"]}))
    assert second["jobs"][0]["id"] == made[0]
    assert second["next"] is None
    assert refusal_of(will.get(f"{URL}/jobs", params={"cursor": "x"})) == (422, "invalid-input")


def test_names_of_private_inputs_are_for_who_may_read_them(
    people: People, will: httpx.Client
) -> None:
    rose = people.client(people.token("rose"))
    recipe = RECIPE | {"inputs": [{"adapter": "lab/secret"}]}
    with begun(people, will, recipe=recipe, message="of secret") as (path, process):
        succeed(report(process, path, what="Downloading lab/secret"))
        failure = {"kind": "delta-missing", "message": "lab/secret has none."}
        assert succeed(process.post(f"{path}/fail", json=failure))["state"] == "failed"
        for answer in (rose.get(path), rose.get(f"{URL}/jobs"), will.get(f"{URL}/jobs")):
            assert answer.status_code == 200
            assert "secret" not in answer.text
        seen = succeed(rose.get(path))
        assert [seen[name] for name in ("recipe", "message", "author", "log")] == [None] * 4
        assert seen["job"]["error"] == {"kind": "delta-missing", "message": None}
        own = succeed(will.get(path))
        assert own["job"]["error"]["message"] == "lab/secret has none."
        assert own["job"]["progress"]["what"] == "Downloading lab/secret"
        assert own["log"] == "a line\n"


# --- reporting ---


def test_process_reports_and_is_told_to_go_on(people: People, will: httpx.Client) -> None:
    with begun(people, will) as (path, process):
        assert succeed(report(process, path)) == {"stop": False}
        job = succeed(will.get(path))["job"]
        assert (job["state"], job["progress"]["done"]) == ("running", 1)
        outcome = {
            "commit": VERSION.id,
            "manifest": str(VERSION.commit["manifest"]),
            "verdict": None,
        }
        for _ in range(2):
            assert succeed(process.post(f"{path}/complete", json=outcome))["result"] == outcome
        assert succeed(report(process, path)) == {"stop": True}


@pytest.mark.parametrize("facts", [{"done": -1}, {"total": 2**53}, {"done": 2**80}, {"what": None}])
def test_report_that_no_number_can_be_is_refused(
    people: People, will: httpx.Client, facts: dict[str, Any]
) -> None:
    with begun(people, will) as (path, process):
        assert report(process, path, **facts).status_code == 422


def test_hostile_words_of_a_process_are_made_harmless(people: People, will: httpx.Client) -> None:
    with begun(people, will) as (path, process):
        headers = {"content-type": "application/json"}
        hostile = rb"a\u0000\ud800\u001b[31m"
        body = b'{"progress":{"done":1,"total":2,"what":"%s"},"log":"%s"}' % (hostile, hostile)
        succeed(process.post(f"{path}/progress", content=body, headers=headers))
        body = b'{"kind":"%s","message":"%s"}' % (hostile, hostile)
        succeed(process.post(f"{path}/fail", content=body, headers=headers))
        found = succeed(will.get(path))
        assert found["job"]["progress"]["what"] == "a???[31m"
        assert found["log"] == "a???[31m\n"
        assert found["job"]["error"] == {"kind": "internal", "message": "a???[31m"}


def test_cancelled_job_pushes_nothing_any_more(people: People, will: httpx.Client) -> None:
    with begun(people, will) as (path, process):
        assert process.get(URL).status_code == 200
        succeed(will.post(f"{path}/cancel"))
        assert process.get(URL).status_code == 404
        answer = process.post(f"{URL}/pushes", json={})
        assert answer.status_code in (404, 422)
        assert succeed(report(process, path)) == {"stop": True}


def test_push_that_is_under_way_when_its_job_is_cancelled_moves_no_ref(
    people: People, will: httpx.Client
) -> None:
    with begun(people, will) as (path, process):
        ref = {"kind": "branch", "name": "late", "expected": None, "new": VERSION.id}
        body = {"ref": ref, "staged": {"commits": [], "manifests": []}}
        push = succeed(process.post(f"{URL}/pushes", json=body))["push"]
        succeed(will.post(f"{path}/cancel"))
        assert process.post(f"{URL}/pushes/{push}/complete").status_code == 404
        refs = succeed(will.get(f"{URL}/refs"))["refs"]
        assert "late" not in [item["name"] for item in refs]


def test_process_cannot_change_what_it_only_reads(people: People, will: httpx.Client) -> None:
    recipe = RECIPE | {"inputs": [{"adapter": "lab/secret"}]}
    with begun(people, will, recipe=recipe) as (path, process):
        secret = f"{API}/repositories/lab/secret"
        assert process.get(secret).status_code == 200
        ref = {"kind": "branch", "name": "new", "expected": None, "new": VERSION.id}
        body = {"ref": ref, "staged": {"commits": [], "manifests": []}}
        answer = process.post(f"{secret}/pushes", json=body)
        assert (answer.status_code, kind_of(answer)) == (403, "permission-denied")
        succeed(will.post(f"{path}/cancel"))


def test_process_sees_no_figures_of_the_registry(people: People, will: httpx.Client) -> None:
    assert will.get("/metrics").status_code == 200
    with begun(people, will) as (_, process):
        answer = process.get("/metrics")
        assert (answer.status_code, kind_of(answer)) == (403, "permission-denied")


def test_token_of_a_job_is_blanked_out_where_somebody_pasted_it_into_a_path(
    people: People, will: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    with begun(people, will) as (_, process):
        token = process.headers["authorization"].removeprefix("Bearer ")
        with caplog.at_level("INFO", logger="plait_registry.access"):
            assert will.get(f"{API}/jobs/{token}").status_code == 404
    paths = [str(vars(record).get("path")) for record in caplog.records]
    assert any("(a token)" in path for path in paths)
    assert not any(token in path for path in paths)


# --- the client ---


@pytest.fixture
def jobs(people: People, will: httpx.Client) -> Iterator[Jobs]:
    with closing(HttpTransport(people.server.url, people.token("will"))) as transport:
        yield Jobs(transport)


def test_client_asks_lists_and_cancels(jobs: Jobs) -> None:
    wish = RemoteComposition(
        recipe=RECIPE,
        repository=SQL,
        branch=RefName("by-client"),
        message="From the client",
        author=Person("Will", "w@x.org"),
    )
    made = jobs.compose(wish)
    assert (made.job.branch, made.message) == ("by-client", "From the client")
    assert jobs.get(made.job.id) == made
    assert next(iter(jobs.list(SQL))) == made.job
    assert jobs.cancel(made.job.id).job.state == "cancelled"
    with pytest.raises(Conflict, match="cancelled") as caught:
        verify_done(jobs.get(made.job.id))
    assert caught.value.kind == "job-failed"


def test_client_reads_all_pages_of_jobs(jobs: Jobs, people: People) -> None:
    registry, made = people.server.registry, []
    for _ in range(55):
        job = jobs.compose(RemoteComposition(recipe=RECIPE, repository=SQL)).job.id
        jobs.cancel(job)
        made.append(job)
    found = [job.id for job in jobs.list(SQL)]
    assert found[:55] == made[::-1]
    assert registry.jobs.claim() is None


def test_client_follows_a_job_to_its_end(jobs: Jobs, people: People, will: httpx.Client) -> None:
    with begun(people, will) as (path, process):
        failure = {"kind": "delta-missing", "message": "There is none."}
        acts = [
            lambda: report(process, path, done=2),
            lambda: process.post(f"{path}/fail", json=failure),
        ]

        def wait(_seconds: float) -> None:
            """Let the process do the next thing."""
            succeed(acts.pop(0)())

        seen = list(jobs.follow(path.rpartition("/")[2], sleep=wait))
        assert [item.job.state for item in seen] == ["running", "running", "failed"]
        with pytest.raises(InvalidInput, match="There is none") as caught:
            verify_done(seen[-1])
        assert caught.value.kind == "delta-missing"


def test_client_hears_that_a_job_is_not_there(jobs: Jobs, tmp_path: Path) -> None:
    for look in (jobs.get, jobs.cancel):
        with pytest.raises(NotFound) as caught:
            look("job0/../absent")
        assert caught.value.kind in ("job-not-found", "route-not-found")
