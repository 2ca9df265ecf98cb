"""Settings of serving: what an operator may turn, and what is refused or noticed at the start."""

import re
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from plait.errors import InvalidInput
from plait_registry.cli import run
from plait_registry.settings import MetricsAccess, Serving, read_settings

ROOT = Path(__file__).resolve().parents[3]
PAGES = [
    ROOT / "docs/configuration.md",
    ROOT / "docs/deploy.md",
    *sorted((ROOT / "examples/deploy").iterdir()),
]
OF_CLIENT = {"PLAIT_URL", "PLAIT_TOKEN"}
SCALED = {
    "PLAIT_DATABASE_URL": "postgresql+psycopg://db.example.org/plait",
    "PLAIT_OBJECT_STORE": "s3://adapters?endpoint=https://s3.example.org&region=us-east-1",
}


def test_defaults_are_those_of_the_dataclass() -> None:
    assert read_settings({}, {}).serving == Serving()


def test_every_limit_can_be_set() -> None:
    environ = {
        "PLAIT_LARGEST_REQUEST": "2048",
        "PLAIT_THREADS": "7",
        "PLAIT_CONNECTIONS": "8",
        "PLAIT_STALL_SECONDS": "9",
        "PLAIT_DRAIN_SECONDS": "10",
        "PLAIT_STOP_SECONDS": "11",
        "PLAIT_METRICS": "Loopback",
        "PLAIT_TRUSTED_PROXIES": "127.0.0.1, 10.0.0.0/8,::1",
    }
    assert read_settings({}, environ).serving == Serving(
        largest_request=2048,
        threads=7,
        connections=8,
        stall_seconds=9,
        drain_seconds=10,
        stop_seconds=11,
        metrics=MetricsAccess.LOOPBACK,
        trusted_proxies=(ip_network("127.0.0.1"), ip_network("10.0.0.0/8"), ip_network("::1")),
    )


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("THREADS", "0"),
        ("CONNECTIONS", "0"),
        ("STALL_SECONDS", "0"),
        ("STALL_SECONDS", "1.5"),
        ("DRAIN_SECONDS", "-1"),
        ("STOP_SECONDS", "0"),
        ("WORKERS", "0"),
        ("WORKERS", "129"),
        ("METRICS", "everyone"),
        ("TRUSTED_PROXIES", "localhost"),
        ("TRUSTED_PROXIES", "10.0.0.1/8"),
    ],
)
def test_value_that_cannot_work_is_refused_by_the_name_of_its_setting(name: str, text: str) -> None:
    with pytest.raises(InvalidInput, match=f"PLAIT_{name}") as caught:
        read_settings({}, {f"PLAIT_{name}": text})
    assert caught.value.kind == "usage"


@pytest.mark.parametrize("missing", [*SCALED, None])
def test_several_workers_take_a_database_and_a_store_that_they_can_share(
    missing: str | None,
) -> None:
    environ = {name: text for name, text in SCALED.items() if name != missing}
    if missing is None:
        assert read_settings({"WORKERS": "4"}, environ).serving.workers == 4
        return
    with pytest.raises(InvalidInput, match="PLAIT_WORKERS") as caught:
        read_settings({"WORKERS": "4"}, environ)
    assert missing in caught.value.message


def test_sqlite_is_for_one_worker_whatever_the_store() -> None:
    environ = {**SCALED, "PLAIT_DATABASE_URL": "sqlite:////srv/plait/registry.db"}
    with pytest.raises(InvalidInput, match="PLAIT_WORKERS"):
        read_settings({}, {**environ, "PLAIT_WORKERS": "2"})


@pytest.mark.parametrize(
    ("variable", "meant"),
    [
        ("PLAIT_LARGEST_REQUESTS", "PLAIT_LARGEST_REQUEST"),
        ("PLAIT_TRUSTED_PROXY", "PLAIT_TRUSTED_PROXIES"),
        ("PLAIT_WORKER", "PLAIT_WORKERS"),
        ("PLAIT_BEHIND_TSL", "PLAIT_BEHIND_TLS"),
    ],
)
def test_misspelt_setting_is_noticed(variable: str, meant: str) -> None:
    (notice,) = read_settings({}, {variable: "s3cr3t"}).notices
    assert notice == f"{variable} is no setting: did you mean {meant}?"


def test_variables_of_the_client_and_of_others_are_not_taken_for_misspelt() -> None:
    environ = {
        "PLAIT_URL": "x",
        "PLAIT_TOKEN": "x",
        "PLAIT_CACHE_DIR": "x",
        "PLAIT_AUTHOR_NAME": "x",
        "PLAIT_AUTHOR_EMAIL": "x",
        "PLAIT_CONFIG": "x",
        "PLAIT_DEBUG": "x",
        "PLAIT_EXPERIMENT_OF_MINE": "x",
        "LARGEST_REQUESTS": "x",
        "PLAIT_PORT": "8421",
    }
    assert read_settings({}, environ).notices == ()


class Recording(dict[str, str]):
    """An environment that knows what was asked of it."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.asked: set[str] = set()

    def get(self, key: str, default: Any = None) -> Any:
        self.asked.add(key)
        return super().get(key, default)


def find_settings() -> set[str]:
    environ = Recording(SCALED)
    read_settings({}, environ)
    return environ.asked


def test_every_setting_is_in_the_table() -> None:
    page = (ROOT / "docs/configuration.md").read_text("utf-8")
    rows = set(re.findall(r"^\| `(PLAIT_\w+)`", page, re.MULTILINE))
    missing = {name for name in find_settings() - rows if not name.endswith("_FILE")}
    assert missing == set()
    assert rows <= find_settings()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_setting_that_a_page_names_exists(page: Path) -> None:
    named = set(re.findall(r"PLAIT_[A-Z0-9_]+", page.read_text("utf-8")))
    assert named <= find_settings() | OF_CLIENT


def test_every_command_that_the_page_about_deployment_names_exists(
    capsys: pytest.CaptureFixture[str],
) -> None:
    page = (ROOT / "docs/deploy.md").read_text("utf-8")
    named = set(re.findall(r"plait-registry ([a-z]+)", page)) - {"serve"}
    for command in sorted(named):
        with pytest.raises(SystemExit) as ended:
            run([command, "--help"])
        assert ended.value.code == 0
        assert f"plait-registry {command}" in capsys.readouterr().out
