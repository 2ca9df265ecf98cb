"""Jobs done by real processes, which may refuse, die, hang, or take too much."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from e2e.made_adapters import lora_tensors, write_adapter
from plait.cache import Cache
from plait.compose import ComposeWish, compose
from plait.http_transport import HttpTransport
from plait.model.address import RepositoryName
from plait.model.commit import Person
from plait.model.recipe import Recipe
from plait.model.refs import parse_ref_name
from plait.push_folder import FolderPush, push_folder
from plait_registry.domain.jobs import BACKOFF
from plait_registry.services import report_job
from served.accounts import API, succeed
from served.jobs import (
    LIMIT,
    REAL,
    TESTS,
    ask,
    doing_jobs,
    find_processes,
    is_hanging,
    log_of,
    look,
    wait_for,
    wait_for_end,
)
from served.running import Running, running

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("registry") / "data") as opened:
        yield opened


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let children find what tests do instead of composing, and tries follow each other at once."""
    monkeypatch.setenv("PYTHONPATH", str(TESTS))
    monkeypatch.setattr(type(BACKOFF), "pause_s", lambda *_: 0.0)


@pytest.fixture
def name(server: Running, tmp_path: Path, repository_name: Callable[[], str]) -> str:
    """A repository with one version on `main`."""
    name = repository_name()
    push_version(server, tmp_path, name, seed=5)
    return name


def push_version(
    server: Running, folder: Path, name: str, *, seed: int, branch: str = "main"
) -> None:
    with closing(HttpTransport(server.url, server.token)) as transport:
        wish = FolderPush(
            folder=write_adapter(folder / f"adapter-{seed}", lora_tensors(seed=seed)),
            message="A version",
            author=Person("Ada", ""),
            time="2026-11-24T06:07:00Z",
            branch=parse_ref_name(branch),
            create=True,
        )
        push_folder(transport, RepositoryName.parse(name), wish)


def folders(server: Running) -> list[Path]:
    return list((server.folder.root / "jobs").iterdir())


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_composition_is_made_by_a_process_that_is_a_client_like_any_other(
    server: Running, name: str
) -> None:
    (head,) = log_of(server.client, name, "main")
    with doing_jobs(server, command=REAL):
        job = ask(server.client, name, "One adapter is itself", author={"name": "Ada Lovelace"})
        found = wait_for_end(server.client, job)
    assert found["job"]["state"] == "done", found
    commit = found["job"]["result"]["commit"]
    assert log_of(server.client, name) == [commit, head]
    shown = succeed(server.client.get(f"{API}/repositories/{name}/commits/{commit}"))["commit"]
    assert shown["manifest"] == found["job"]["result"]["manifest"]
    assert shown["message"] == "One adapter is itself"
    assert shown["author"] == {"name": "Ada Lovelace", "email": ""}
    assert shown["time"] == found["job"]["created_at"]
    assert shown["parents"] == [head]
    assert shown["origin"]["recipe"] == found["recipe"]
    assert "Downloading" in found["log"]
    assert folders(server) == []


@pytest.mark.slow
def test_registry_composes_the_same_bytes_as_a_client(
    server: Running, name: str, tmp_path: Path
) -> None:
    repository = RepositoryName.parse(name)
    document = {
        "format": "plait.recipe/1",
        "method": "sum",
        "parameters": {"rank": 4},
        "inputs": [
            {"adapter": name, "revision": "main", "weight": 0.7},
            {"adapter": name, "revision": "other", "weight": 0.3},
        ],
    }
    push_version(server, tmp_path, name, seed=6, branch="other")
    with doing_jobs(server, command=REAL):
        job = ask(server.client, name, "By the registry", recipe=document)
        found = wait_for_end(server.client, job)["job"]
    assert found["state"] == "done", found
    with closing(HttpTransport(server.url, server.token)) as transport:
        wish = ComposeWish(
            recipe=Recipe.from_json(document),
            repository=repository,
            author=Person("Ada", ""),
            time="2026-11-24T06:07:00Z",
            branch=parse_ref_name("by-client"),
        )
        composed = compose(transport, Cache(tmp_path / "cache"), wish)
    assert composed.manifest == found["result"]["manifest"]


def test_audit_log_says_by_which_job_something_was_pushed(server: Running, name: str) -> None:
    with doing_jobs(server):
        job = ask(server.client, name, "push")
        wait_for_end(server.client, job)
    rows = succeed(server.client.get(f"{API}/audit", params={"subject": name}))["rows"]
    told = [(row["action"], row["actor"], row["token"]) for row in rows[:3]]
    assert told == [
        ("job.end", "admin", job),
        ("push", "admin", job),
        ("job.submit", "admin", None),
    ]


def test_what_is_wrong_with_the_recipe_is_said_and_not_tried_again(
    server: Running, name: str
) -> None:
    with doing_jobs(server):
        found = wait_for_end(server.client, ask(server.client, name, "refuse"))
    job = found["job"]
    assert (job["state"], job["attempts"]) == ("failed", 1)
    assert job["error"] == {
        "kind": "delta-missing",
        "message": "team/sql has no delta in q_proj.",
    }


@pytest.mark.parametrize(
    ("wish", "kind", "said"),
    [("be away", "unavailable", "The store is away."), ("be wrong", "internal", "ZeroDivision")],
)
def test_what_may_pass_is_tried_three_times(
    server: Running, name: str, wish: str, kind: str, said: str
) -> None:
    with doing_jobs(server):
        job = wait_for_end(server.client, ask(server.client, name, wish))["job"]
    assert (job["state"], job["attempts"], job["error"]["kind"]) == ("failed", 3, kind)
    assert said in job["error"]["message"]


def test_process_that_dies_leaves_what_it_printed(server: Running, name: str) -> None:
    with doing_jobs(server):
        found = wait_for_end(server.client, ask(server.client, name, "die"))
    assert (found["job"]["state"], found["job"]["attempts"]) == ("failed", 3)
    assert "status 7" in found["job"]["error"]["message"]
    assert found["log"] == "about to die\n" * 3
    assert folders(server) == []


def test_process_that_wants_too_much_memory_fails_alone(server: Running, name: str) -> None:
    with doing_jobs(server, PLAIT_JOB_MEMORY_MB="1024"):
        job = wait_for_end(server.client, ask(server.client, name, "take memory"))["job"]
        assert (job["state"], job["attempts"], job["error"]["kind"]) == ("failed", 1, "job-failed")
        assert "PLAIT_JOB_MEMORY_MB" in job["error"]["message"]
        assert wait_for_end(server.client, ask(server.client, name, "push"))["job"]["result"]


def test_process_that_takes_too_long_is_ended(server: Running, name: str) -> None:
    with doing_jobs(server, PLAIT_JOB_SECONDS="2"):
        identity = ask(server.client, name, "hang")
        job = wait_for_end(server.client, identity)["job"]
        wait_until(lambda: find_processes(identity) == [])
    assert (job["state"], job["attempts"], job["error"]["kind"]) == ("failed", 1, "job-failed")
    assert "PLAIT_JOB_SECONDS" in job["error"]["message"]


def test_progress_is_seen_while_a_job_runs(server: Running, name: str) -> None:
    with doing_jobs(server):
        job = ask(server.client, name, "hang")
        found = wait_for(
            server.client, job, lambda job: is_hanging(job) and job["progress"]["done"] == 7
        )
        assert found["job"]["progress"] == {"done": 7, "total": 100, "what": "Hanging"}
        assert "Hanging (100)" in found["log"]
        succeed(server.client.post(f"{API}/jobs/{job}/cancel"))


def test_cancelled_job_is_ended_within_seconds_and_publishes_nothing(
    server: Running, name: str
) -> None:
    with doing_jobs(server):
        job = ask(server.client, name, "hang")
        wait_for(server.client, job, is_hanging)
        assert len(find_processes(job)) == 1
        succeed(server.client.post(f"{API}/jobs/{job}/cancel"))
        wait_until(lambda: find_processes(job) == [])
        wait_until(lambda: folders(server) == [])
    assert look(server.client, job)["job"]["state"] == "cancelled"
    url = f"{API}/repositories/{name}/commits"
    assert server.client.get(url, params={"revision": "blend"}).status_code == 404


def test_token_of_a_job_is_in_no_argument_that_others_can_read(server: Running, name: str) -> None:
    with doing_jobs(server):
        job = ask(server.client, name, "hang")
        wait_for(server.client, job, is_hanging)
        (process,) = find_processes(job)
        words = Path(f"/proc/{process}/cmdline").read_bytes()
        environment = Path(f"/proc/{process}/environ").read_bytes()
        succeed(server.client.post(f"{API}/jobs/{job}/cancel"))
    assert b"plait_job_" not in words
    assert b"PLAIT_TOKEN=plait_job_" in environment
    assert server.token.encode() not in environment


def test_stop_of_whoever_has_jobs_done_puts_them_back_and_another_goes_on(
    server: Running, name: str
) -> None:
    with doing_jobs(server):
        job = ask(server.client, name, "hang once")
        wait_for(server.client, job, is_hanging)
    assert find_processes(job) == []
    assert folders(server) == []
    back = look(server.client, job)["job"]
    assert (back["state"], back["attempts"]) == ("queued", 0)
    succeed(server.client.post(f"{API}/jobs/{job}/cancel"))


def test_process_that_is_killed_has_its_job_tried_again(server: Running, name: str) -> None:
    with doing_jobs(server):
        job = ask(server.client, name, "hang once")
        wait_for(server.client, job, is_hanging)
        (process,) = find_processes(job)
        os.kill(process, signal.SIGKILL)
        done = wait_for_end(server.client, job)["job"]
    assert (done["state"], done["attempts"], done["error"]) == ("done", 2, None)
    assert log_of(server.client, name) == [done["result"]["commit"]]


def test_job_that_was_pushed_but_not_told_of_has_one_outcome(server: Running, name: str) -> None:
    with doing_jobs(server):
        job = ask(server.client, name, "push, then hang once")
        wait_for(server.client, job, is_hanging)
        pushed = log_of(server.client, name)
        (process,) = find_processes(job)
        os.kill(process, signal.SIGKILL)
        done = wait_for_end(server.client, job)["job"]
    assert (done["state"], done["attempts"]) == ("done", 2)
    assert log_of(server.client, name) == pushed == [done["result"]["commit"]]


@pytest.mark.slow
def test_process_whose_lease_ran_out_is_ended_and_the_job_done_by_another(
    server: Running, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report_job, "LEASE", report_job.LEASE / 6)
    with doing_jobs(server, processes=2):
        job = ask(server.client, name, "hang once")
        wait_for(server.client, job, is_hanging)
        (process,) = find_processes(job)
        # It hangs so that it cannot even say that it lives.
        os.kill(process, signal.SIGSTOP)
        done = wait_for_end(server.client, job)["job"]
        wait_until(lambda: find_processes(job) == [])
    assert (done["state"], done["attempts"]) == ("done", 2)


def test_two_jobs_are_done_at_once_where_two_processes_may_be(server: Running, name: str) -> None:
    with doing_jobs(server, processes=2):
        jobs = [ask(server.client, name, "hang") for _ in range(2)]
        for job in jobs:
            wait_for(server.client, job, is_hanging)
            succeed(server.client.post(f"{API}/jobs/{job}/cancel"))
