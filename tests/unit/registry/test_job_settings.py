"""What operators choose about jobs, and what their processes are given."""

from pathlib import Path

import pytest

from plait.errors import InvalidInput
from plait_registry.job_settings import Engine, JobSettings, ValidatorSettings, WorkerSettings
from plait_registry.settings import (
    build_job_environment,
    read_job_task,
    read_settings,
)
from plait_registry.worker.start_remote_jobs import build_remote_job_loop

URL = "http://127.0.0.1:8420"


def test_without_variables_serve_does_one_job_at_a_time_within_limits() -> None:
    assert read_settings({}, {}).jobs == JobSettings(
        enabled=True, url=None, processes=1, threads=1, seconds=3_600, memory_mb=4_096
    )


def test_variables_change_how_jobs_are_done() -> None:
    environ = {
        "PLAIT_JOBS": "0",
        "PLAIT_JOB_URL": "https://plait.example.org/",
        "PLAIT_JOB_PROCESSES": "3",
        "PLAIT_JOB_THREADS": "8",
        "PLAIT_JOB_SECONDS": "60",
        "PLAIT_JOB_MEMORY_MB": "65536",
    }
    assert read_settings({}, environ).jobs == JobSettings(
        enabled=False,
        url="https://plait.example.org",
        processes=3,
        threads=8,
        seconds=60,
        memory_mb=65_536,
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("JOBS", "maybe"),
        ("JOB_URL", "plait.example.org"),
        ("JOB_URL", "https://ada:password@plait.example.org"),
        ("JOB_PROCESSES", "0"),
        ("JOB_THREADS", "none"),
        ("JOB_SECONDS", "0"),
        ("JOB_MEMORY_MB", "100"),
        ("ENGINE", "slurm"),
        ("DEVICE", "tpu"),
        ("ASK_MODEL", "perhaps"),
        ("WORKER_URL", "https://ada:password@plait.example.org"),
    ],
)
def test_value_that_cannot_work_is_refused_by_its_name(name: str, value: str) -> None:
    with pytest.raises(InvalidInput, match=f"PLAIT_{name}") as caught:
        read_settings({}, {f"PLAIT_{name}": value})
    assert "password" not in caught.value.message


def test_process_of_a_job_gets_no_secret_of_the_registry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secrets = {
        "PLAIT_DATABASE_URL": "postgresql+psycopg://plait:hidden@db/plait",
        "PLAIT_S3_ACCESS_KEY": "hidden-access",
        "PLAIT_S3_SECRET_KEY": "hidden-secret",
        "AWS_SECRET_ACCESS_KEY": "hidden-aws",
        "PGPASSWORD": "hidden-pg",
        "ANY_OTHER": "hidden-other",
        "PLAIT_OBJECT_STORE": "s3://bucket?endpoint=http://hidden",
    }
    for name, value in secrets.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("https_proxy", "http://proxy:3128")
    monkeypatch.setenv("no_proxy", "internal")
    settings = read_settings({"DATA": str(tmp_path / "data")})
    given = build_job_environment(settings, tmp_path, url=URL, token="the token")
    assert not any("hidden" in value for value in given.values())
    assert not {name for name in given if name.startswith(("AWS", "PG"))}
    assert given["https_proxy"] == "http://proxy:3128"
    assert given["no_proxy"] == "internal,127.0.0.1"


def test_process_of_a_job_reads_what_it_was_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = read_settings({}, {"PLAIT_JOB_THREADS": "3", "PLAIT_JOB_MEMORY_MB": "512"})
    given = build_job_environment(settings, tmp_path, url=URL, token="plait_job_x")
    task = read_job_task(given)
    assert (task.threads, task.memory_mb) == (3, 512)
    assert (task.client.url, task.client.token_for(URL)) == (URL, "plait_job_x")
    assert task.client.cache_dir.is_relative_to(tmp_path)
    assert task.client.config_file.is_relative_to(tmp_path)
    assert given["TMPDIR"] == str(tmp_path)
    monkeypatch.setenv("NUMBA_CACHE_DIR", "/var/cache/kernels")
    chosen = build_job_environment(settings, tmp_path, url=URL, token="x")
    assert chosen["NUMBA_CACHE_DIR"] == "/var/cache/kernels"
    assert Path(given["NUMBA_CACHE_DIR"]).is_absolute()


def test_process_of_a_job_is_told_how_to_validate_and_no_token_of_its_worker(
    tmp_path: Path,
) -> None:
    environ = {
        "PLAIT_DATA": str(tmp_path / "data"),
        "PLAIT_WORKER_URL": "https://plait.example.org/",
        "PLAIT_WORKER_TOKEN": "plait_hidden",
        "PLAIT_BASES": f"{tmp_path}/models:/shared/models",
        "PLAIT_ENGINE": "ray",
        "PLAIT_RAY_ADDRESS": "head:6379",
        "PLAIT_DEVICE": "CUDA",
        "PLAIT_VALIDATOR_KEY": f"{tmp_path}/validator.pem",
        "PLAIT_ASK_MODEL": "1",
    }
    settings = read_settings({}, environ)
    assert settings.worker == WorkerSettings("https://plait.example.org", "plait_hidden")
    given = build_job_environment(settings, tmp_path, url=URL, token="plait_job_x")
    assert not any("hidden" in value for value in given.values())
    task = read_job_task(given)
    assert task.validator == settings.jobs.validator
    assert task.validator == ValidatorSettings(
        bases=(tmp_path / "models", Path("/shared/models")),
        engine=Engine.RAY,
        ray_address="head:6379",
        device="cuda",
        key=tmp_path / "validator.pem",
        asks_model=True,
    )
    assert task.memory == tmp_path / "data" / "remembered"


def test_token_of_a_worker_may_lie_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("plait_x\n")
    from_file = {"PLAIT_WORKER_TOKEN_FILE": str(tmp_path / "token")}
    assert read_settings({}, from_file).worker.token == "plait_x"


@pytest.mark.parametrize(
    ("environ", "missing"),
    [
        ({}, "PLAIT_WORKER_TOKEN"),
        ({"PLAIT_WORKER_TOKEN": "plait_x"}, "--bases"),
    ],
    ids=["token", "bases"],
)
def test_worker_for_a_registry_elsewhere_says_what_it_lacks(
    environ: dict[str, str], missing: str
) -> None:
    settings = read_settings({"WORKER_URL": URL}, environ)
    with pytest.raises(InvalidInput, match=missing):
        build_remote_job_loop(settings)


def test_process_of_a_job_finds_the_token_of_the_cluster_though_its_home_is_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = tmp_path / ".ray" / "auth_token"
    token.parent.mkdir()
    token.write_text("a secret")
    monkeypatch.setenv("HOME", str(tmp_path))
    settings = read_settings({}, {"PLAIT_ENGINE": "ray", "PLAIT_RAY_ADDRESS": "head:6379"})
    given = build_job_environment(settings, tmp_path, url=URL, token="x")
    assert (given["RAY_AUTH_MODE"], given["RAY_AUTH_TOKEN_PATH"]) == ("token", str(token))
    monkeypatch.setenv("RAY_AUTH_TOKEN", "another one")
    given = build_job_environment(settings, tmp_path, url=URL, token="x")
    assert given["RAY_AUTH_TOKEN"] == "another one"
    assert "RAY_AUTH_TOKEN_PATH" not in given
    monkeypatch.delenv("RAY_AUTH_TOKEN")
    inline = build_job_environment(read_settings({}, {}), tmp_path, url=URL, token="x")
    assert not {name for name in inline if name.startswith("RAY_AUTH")}
