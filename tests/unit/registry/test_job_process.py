"""Starting and ending the process of a job, as whoever starts it sees that."""

import sys
from pathlib import Path

import pytest

from database_suite.job_rows import job_row
from plait.errors import Unavailable
from plait_registry.domain.records import RepositoryId
from plait_registry.services.run_jobs import ClaimedJob
from plait_registry.settings import read_settings
from plait_registry.worker import job_process
from plait_registry.worker.job_process import LARGEST_OUTPUT, JobLauncher, JobProcess

LIMIT = 20.0
CLAIMED = ClaimedJob(job_row("job1", RepositoryId(1)), "plait_job_secret")


def launch(folder: Path, *command: str) -> JobProcess:
    settings = read_settings({"DATA": str(folder)}, {})
    return JobLauncher(settings, "http://127.0.0.1:1", command)(CLAIMED)


def run_code(folder: Path, code: str) -> JobProcess:
    return launch(folder, sys.executable, "-c", code)


def left_in(folder: Path) -> list[Path]:
    return list((folder / "jobs").iterdir())


def test_process_gets_its_job_as_an_argument_and_its_token_in_the_environment(
    tmp_path: Path,
) -> None:
    code = "import os, sys; print(sys.argv[1], os.environ['PLAIT_TOKEN'], os.getcwd())"
    process = run_code(tmp_path, code)
    assert process.wait(LIMIT) == 0
    (folder,) = [path for path in left_in(tmp_path) if path.is_dir()]
    process.close()
    assert process.output.split() == ["job1", "plait_job_secret", str(folder)]
    assert left_in(tmp_path) == []


def test_only_the_end_of_what_a_process_prints_is_kept(tmp_path: Path) -> None:
    process = run_code(tmp_path, "print('x' * 1_000_000); print('the end')")
    assert process.wait(LIMIT) == 0
    process.close()
    assert process.output.endswith("x\nthe end\n")
    assert len(process.output) == LARGEST_OUTPUT


def test_process_that_runs_has_no_status_yet_and_is_ended(tmp_path: Path) -> None:
    process = run_code(tmp_path, "import time; time.sleep(60)")
    assert process.wait(0.01) is None
    process.stop()
    assert process.wait(LIMIT) == -15
    process.stop()
    process.close()


def test_process_that_does_not_listen_is_ended_by_force(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_process, "PATIENCE_S", 0.2)
    code = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
        "print('deaf', flush=True); time.sleep(60)"
    )
    process = run_code(tmp_path, code)
    while process.output != "deaf\n":
        assert process.wait(0.01) is None
    process.stop()
    assert process.wait(LIMIT) == -9
    process.close()
    assert left_in(tmp_path) == []


def test_process_hears_of_the_end_of_whoever_started_it_by_its_standard_input(
    tmp_path: Path,
) -> None:
    process = run_code(tmp_path, "import sys; sys.stdin.read(); print('alone')")
    assert process.wait(0.2) is None
    assert process._process.stdin is not None
    process._process.stdin.close()
    assert process.wait(LIMIT) == 0
    process.close()
    assert process.output == "alone\n"


def test_program_that_cannot_be_started_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="cannot be started"):
        launch(tmp_path, "/no/such/program")
    assert left_in(tmp_path) == []
