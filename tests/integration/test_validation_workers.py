"""Workers validate by HTTP: real merges of the shipped adapters, and workers that are killed."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from plait.model.ids import ObjectId
from plait.signing import generate_key
from plait_registry.services import report_job, run_jobs
from served.accounts import API, succeed
from served.jobs import find_processes, is_hanging, look, wait_for, wait_for_end
from served.validating import HANGING, Place, placed, read_golden_merges

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

LIMIT = 60.0
LEASE = timedelta(seconds=8)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, micro_data: Path) -> Iterator[Place]:
    with (
        pytest.MonkeyPatch.context() as patch,
        placed(tmp_path_factory.mktemp("data"), micro_data) as opened,
    ):
        patch.setattr(report_job, "LEASE", LEASE)
        patch.setattr(run_jobs, "LEASE", LEASE)
        yield opened


@pytest.fixture(scope="module")
def golden_merges() -> dict[str, Any]:
    return read_golden_merges()


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


# --- what comes out ---


def test_worker_finds_the_golden_digests_and_the_second_validation_agrees(
    place: Place, tmp_path: Path, golden_merges: dict[str, Any]
) -> None:
    commit = place.push("team/cpp", "cpp/v3")
    # The registry would not count what it signs, which must not cost the verdict.
    key = tmp_path / "unknown.pem"
    generate_key(key)
    with place.worker(tmp_path / "worker", "--key", str(key)):
        for job in (place.ask("team/cpp"), place.ask("team/cpp", again=True)):
            found = wait_for_end(place.client, job)["job"]
            assert found["state"] == "done", found
            assert found["result"]["verdict"] == "verified"
        second = wait_for_end(place.client, place.ask("team/cpp", again=True))
    assert second["job"]["result"]["verdict"] == "verified"
    assert "Not signing: the registry does not know the key" in second["log"]
    attestations = f"{API}/repositories/team/cpp/commits/{commit}/attestations"
    assert succeed(place.client.get(attestations))["attestations"] == []
    seen = place.validations("team/cpp", commit)
    golden = golden_merges["micro/adapters/cpp/v3"]
    assert len(seen) == 2
    for validation in seen:
        assert (validation["root"], validation["tensors"]) == (golden["root"], golden["tensors"])
        assert validation["base"] == place.fingerprint
    url = f"{API}/repositories/team/cpp/commits/{commit}/expected-digests"
    (expected,) = succeed(place.client.get(url))["expected"]
    assert (expected["digests"]["root"], expected["source"]) == (golden["root"], "validation")


def test_version_that_merges_to_other_weights_than_expected_is_a_mismatch_by_name(
    place: Place, tmp_path: Path, golden_merges: dict[str, Any]
) -> None:
    commit = place.push("team/tampered", "cpp/v3")
    # What the publisher says is of another checkpoint.
    other = golden_merges["micro/adapters/cpp/v2"]
    body = {
        "digests": {"definition": "merge-fp64-v1", **other},
        "base": place.fingerprint,
    }
    url = f"{API}/repositories/team/tampered/commits/{commit}/expected-digests"
    succeed(place.client.put(url, json=body))
    with place.worker(tmp_path / "worker"):
        found = wait_for_end(place.client, place.ask("team/tampered"))["job"]
    assert found["result"]["verdict"] == "mismatch"
    (validation,) = place.validations("team/tampered", commit)
    first = validation["differences"][0]
    assert first["name"] == "model.layers.0.mlp.down_proj.weight"
    assert first["expected"] == other["tensors"][first["name"]]


def test_worker_without_the_base_leaves_the_job_to_others(place: Place, tmp_path: Path) -> None:
    place.push("team/elsewhere", "prose/v1", base=ObjectId("e" * 64))
    job = place.ask("team/elsewhere")
    with place.worker(tmp_path / "worker"):
        time.sleep(3)
        assert look(place.client, job)["job"]["state"] == "queued"
    succeed(place.client.post(f"{API}/jobs/{job}/cancel"))


# --- killed in the middle ---


@pytest.mark.parametrize("name", ["team/early", "team/late"])
def test_worker_that_is_killed_loses_its_job_to_another_and_there_is_one_result(
    place: Place, tmp_path: Path, golden_merges: dict[str, Any], name: str
) -> None:
    commit = place.push(name, "prose/v2")
    job = place.ask(name)
    with place.worker(tmp_path / "first", program=HANGING) as first:
        wait_for(place.client, job, is_hanging)
        (process,) = find_processes(job)
        os.kill(process, signal.SIGKILL)
        first.kill()
        first.wait(LIMIT)
    # Nobody told the registry: until the lease is over, the job is the dead worker's.
    assert look(place.client, job)["job"]["state"] == "running"
    with place.worker(tmp_path / "second", program=HANGING):
        found = wait_for_end(place.client, job)["job"]
    assert (found["state"], found["attempts"]) == ("done", 2), json.dumps(found)
    assert found["result"]["verdict"] == "verified"
    (validation,) = place.validations(name, commit)
    assert validation["root"] == golden_merges["micro/adapters/prose/v2"]["root"]


def test_worker_that_is_told_to_stop_gives_its_job_back(place: Place, tmp_path: Path) -> None:
    place.push("team/stopped", "prose/v1")
    job = place.ask("team/stopped")
    with place.worker(tmp_path / "first", program=HANGING) as first:
        wait_for(place.client, job, is_hanging)
        first.send_signal(signal.SIGTERM)
        assert first.wait(LIMIT) == 0
    found = look(place.client, job)["job"]
    assert (found["state"], found["attempts"]) == ("queued", 0)
    assert find_processes(job) == []
    wait_until(lambda: list((tmp_path / "first" / "jobs").iterdir()) == [])
    succeed(place.client.post(f"{API}/jobs/{job}/cancel"))


# --- what a worker signs, and what `plait` shows ---


def run_plait(place: Place, home: Path, *words: str, token: str | None = None) -> tuple[int, str]:
    """Run `plait` as somebody, and return its status and all that it printed."""
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "PLAIT_URL": place.people.server.url,
        "PLAIT_TOKEN": token or place.people.server.token,
    }
    command = [str(Path(sys.executable).with_name("plait")), *words]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def test_worker_signs_by_a_registered_key_and_anybody_verifies_it(
    place: Place, tmp_path: Path
) -> None:
    place.push("team/signed", "tests")
    key = tmp_path / "validator.pem"
    status, said = run_plait(place, tmp_path, "key", "generate", str(key))
    assert status == 0, said
    status, said = run_plait(place, tmp_path, "key", "register", f"{key}.pub", "--name", "gpu-1")
    assert status == 0, said
    with place.worker(tmp_path / "worker", "--key", str(key)):
        status, said = run_plait(place, tmp_path, "validate", "team/signed", "--wait")
    assert (status, "is verified" in said) == (0, True), said
    status, said = run_plait(place, tmp_path, "verify", "team/signed")
    assert status == 0, said


def test_validation_here_is_recorded_and_a_mismatch_is_a_failure(
    place: Place, tmp_path: Path, golden_merges: dict[str, Any]
) -> None:
    commit = place.push("team/here", "cpp/v1")
    words = ("validate", "team/here", "--here", "--base", str(place.micro / "base"), "--json")
    status, said = run_plait(place, tmp_path, *words)
    assert status == 0, said
    found = json.loads(said)
    assert found["first"]
    assert found["validation"]["root"] == golden_merges["micro/adapters/cpp/v1"]["root"]
    assert found["validation"]["health"]["not_finite"] == 0
    assert [item["root"] for item in place.validations("team/here", commit)] == [
        found["validation"]["root"]
    ]
    assert json.loads(run_plait(place, tmp_path, *words)[1])["first"] is False
    other = place.push("team/here-tampered", "cpp/v1")
    url = f"{API}/repositories/team/here-tampered/commits/{other}/expected-digests"
    expected = {"definition": "merge-fp64-v1", **golden_merges["micro/adapters/cpp/v2"]}
    succeed(place.client.put(url, json={"digests": expected, "base": place.fingerprint}))
    status, said = run_plait(place, tmp_path, words[0], "team/here-tampered", *words[2:-1])
    assert (status, "is mismatch" in said) == (1, True), said
    assert "model.layers.0.mlp.down_proj.weight" in said
