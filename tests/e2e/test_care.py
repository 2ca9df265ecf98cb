"""The operator's programs beside a real server, on both databases."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.programs import PROGRAMS, Outcome, Registry, Transcript, bare_environment
from plait import wire
from plait.errors import NotFound
from plait.http_transport import HttpTransport
from plait.model.address import RepositoryName
from plait.model.ids import ObjectId
from reference.memory_registry import WEIGHTS, Version, make_version
from reference.registry_drivers import HttpDriver
from served.postgres import find_programs, shared_postgres_server

NAME = RepositoryName("team", "sql")
LIMIT = 60.0


def new_url() -> str:
    """Return the URL of a new PostgreSQL database."""
    server = shared_postgres_server()
    return server.url(server.new_database())


class Site:
    """A data folder with its server and its operator."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder = folder
        self.environment = environment
        self.registry = Registry(folder / "data", Transcript(), **environment)
        self._transports: list[HttpTransport] = []

    def start(self) -> HttpTransport:
        """Start the server, and return a way to it."""
        self.registry.start()
        transport = HttpTransport(self.registry.url, self.registry.token)
        self._transports.append(transport)
        return transport

    def operate(self, *words: str) -> Outcome:
        """Run `plait-registry`."""
        done = subprocess.run(
            [str(PROGRAMS / "plait-registry"), *words, "--data", str(self.folder / "data")],
            env=bare_environment(self.folder, **self.environment),
            capture_output=True,
            text=True,
            timeout=LIMIT,
            check=False,
        )
        return Outcome(done.returncode, done.stdout, done.stderr)

    def close(self) -> None:
        """End what runs."""
        for transport in self._transports:
            transport.close()
        self.registry.kill()


@pytest.fixture(params=["sqlite", "postgresql"])
def environment(request: pytest.FixtureRequest) -> dict[str, str]:
    """What the settings of a registry on a database of its own are."""
    if request.param == "sqlite":
        return {}
    url = new_url()
    return {"PLAIT_DATABASE_URL": url, "PLAIT_PG_BIN": str(find_programs())}


@pytest.fixture
def site(tmp_path: Path, environment: dict[str, str]) -> Iterator[Site]:
    site = Site(tmp_path / "site", environment)
    site.folder.mkdir()
    yield site
    site.close()


def push(driver: HttpDriver, version: Version, *, branch: str = "main") -> None:
    expected = driver.refs().get(branch, ("", None))[1]
    request = wire.NewPush(
        wire.PushRef("branch", branch, expected, version.id),
        wire.StagedCommits([version.commit], [version.manifest]),
    )
    driver.push(request, {str(key): data for key, data in version.contents.items()})


def weights_of(version: Version) -> ObjectId:
    return next(ObjectId(it["sha256"]) for it in version.manifest["files"] if it["path"] == WEIGHTS)


def verify(driver: HttpDriver, version: Version) -> None:
    for file, data in version.contents.items():
        assert driver.read(file) == data


@pytest.mark.slow
def test_garbage_goes_beside_a_server_and_nothing_else(site: Site) -> None:
    driver = HttpDriver(site.start(), NAME)
    kept, dropped = make_version("kept"), make_version("dropped")
    push(driver, kept)
    push(driver, dropped, branch="dev")
    driver.delete_ref("branch", "dev", dropped.id)
    dry = site.operate("gc", "--grace", "0", "--json", "--quiet")
    assert dry.facts()["repositories"][0]["commits"] == 1
    verify(driver, dropped)
    swept = site.operate("gc", "--grace", "0", "--sweep", "--json", "--quiet")
    assert swept.status == 0, swept.err
    assert swept.facts()["object_bytes"] > 0
    with pytest.raises(NotFound):
        driver.read(weights_of(dropped))
    verify(driver, kept)
    checked = site.operate("fsck", "--full", "--json", "--quiet")
    assert (checked.status, checked.facts()["findings"]) == (0, [])
    push(driver, dropped, branch="dev")
    verify(driver, dropped)


@pytest.mark.slow
def test_damage_is_found_repaired_and_healed_by_a_push(site: Site) -> None:
    driver = HttpDriver(site.start(), NAME)
    version = make_version("kept")
    push(driver, version)
    objects = (path for path in (site.folder / "data" / "objects").rglob("*") if path.is_file())
    max(objects, key=lambda path: path.stat().st_size).unlink()
    assert site.operate("fsck", "--quiet").status == 1
    site.operate("fsck", "--repair", "--quiet")
    push(driver, version, branch="again")
    verify(driver, version)
    assert site.operate("fsck", "--full", "--quiet").status == 0


@pytest.mark.slow
def test_backup_beside_a_server_restores_to_its_point(
    site: Site, tmp_path: Path, environment: dict[str, str]
) -> None:
    driver = HttpDriver(site.start(), NAME)
    first = make_version("first")
    push(driver, first)
    driver.create_ref("tag", "v1", "main")
    backup = str(tmp_path / "backup")
    done = site.operate("backup", backup, "--objects", "--json", "--quiet")
    assert done.status == 0, done.err
    assert done.facts()["copied"]
    push(driver, make_version("second", first.id))
    again = site.operate("backup", backup, "--objects", "--json", "--quiet")
    assert again.facts()["objects"] > done.facts()["objects"]

    elsewhere = dict(environment)
    if elsewhere:
        elsewhere["PLAIT_DATABASE_URL"] = new_url()
    other = Site(tmp_path / "other", elsewhere)
    other.folder.mkdir()
    try:
        restored = other.operate("restore", backup, "--json", "--quiet")
        assert restored.status == 0, restored.err
        assert restored.facts()["missing"] == []
        assert other.operate("restore", backup, "--quiet").status == 1
        checked = other.operate("fsck", "--full", "--json", "--quiet")
        assert (checked.status, checked.facts()["damage"]) == (0, 0)
        transport = other.start()
        answer = transport.call("GET", "/api/v1/repositories/team/sql/refs")
        names = {ref.name for ref in wire.decode(wire.RefList, answer).refs}
        assert names == {"main", "v1"}
    finally:
        other.close()


@pytest.mark.slow
def test_store_alone_rebuilds_the_registry(site: Site, environment: dict[str, str]) -> None:
    driver = HttpDriver(site.start(), NAME)
    first = make_version("first")
    push(driver, first)
    driver.create_ref("tag", "v1", "main")
    refs = driver.refs()
    assert site.registry.stop() == 0
    if environment:
        site.environment["PLAIT_DATABASE_URL"] = new_url()
    else:
        (site.folder / "data" / "registry.db").unlink()
    rebuilt = site.operate("rebuild", "--json", "--quiet")
    assert rebuilt.status == 0, rebuilt.err
    assert rebuilt.facts()["commits"] == 1
    assert site.operate("fsck", "--full", "--quiet").status == 0
    site.registry = Registry(site.folder / "data", Transcript(), **site.environment)
    again = ExistingDriver(site.start(), NAME)
    assert again.refs() == refs
    verify(again, first)


class ExistingDriver(HttpDriver):
    """A repository that is there already."""

    def __init__(self, transport: HttpTransport, name: RepositoryName) -> None:
        self._transport = transport
        self._name = name
