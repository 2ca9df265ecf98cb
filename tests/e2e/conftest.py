"""Fixtures for the programs as a person starts them.

- `registry` runs for the whole session: for tests that use repositories of their own.
- `make_registry` starts one that a test may kill.
- After every test, what the programs printed is searched for secrets and for Python stacks.
"""

from __future__ import annotations

import itertools
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from e2e.programs import Client, Registry, Transcript

MakeClient = Callable[..., Client]
MakeRegistry = Callable[..., Registry]
MountSmallDisk = Callable[[str, int], Path]


@pytest.fixture(scope="session")
def transcript() -> Transcript:
    """Everything that the programs print in this session."""
    return Transcript()


@pytest.fixture(autouse=True)
def nothing_secret_is_printed(transcript: Transcript) -> Iterator[None]:
    """Fail the test in which a token or a signature was printed, or a program lost its head."""
    yield
    leaks, faults = transcript.find_leaks(), transcript.find_faults()
    transcript.texts.clear()
    assert leaks == []
    assert faults == []


@pytest.fixture(scope="session")
def registry(
    tmp_path_factory: pytest.TempPathFactory, transcript: Transcript
) -> Iterator[Registry]:
    """A running registry, shared by tests that keep to repositories of their own."""
    running = Registry(tmp_path_factory.mktemp("shared") / "data", transcript).start()
    yield running
    assert running.stop() == 0
    assert transcript.find_leaks() == []
    assert transcript.find_faults() == []


@pytest.fixture
def make_registry(tmp_path: Path, transcript: Transcript) -> Iterator[MakeRegistry]:
    """Start registries of the test's own, on new data folders or on the given one."""
    made: list[Registry] = []

    def make(data: Path | None = None) -> Registry:
        running = Registry(data or tmp_path / f"data-{len(made)}", transcript)
        made.append(running)
        return running.start()

    yield make
    for running in made:
        running.kill()


@pytest.fixture
def make_client(
    tmp_path: Path, transcript: Transcript, request: pytest.FixtureRequest
) -> Iterator[MakeClient]:
    """Make people, each with a home and a cache, at the shared registry or at a given one."""
    made: list[Client] = []

    def make(at: Registry | None = None) -> Client:
        place: Registry = request.getfixturevalue("registry") if at is None else at
        made.append(Client(tmp_path / "homes" / f"person{len(made)}", place, transcript))
        return made[-1]

    yield make
    for person in made:
        person.close()


@pytest.fixture
def client(make_client: MakeClient) -> Client:
    """One person at the shared registry."""
    return make_client()


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A repository name that no other test uses."""
    words = request.node.name.partition("[")[0].removeprefix("test_").replace("_", "-")
    number = next(_numbers)
    return f"e2e/{words[:60].strip('-')}-{number}"


@pytest.fixture
def mount_small_disk(tmp_path: Path) -> Iterator[MountSmallDisk]:
    """Mount file systems of a few MiB, or skip the test where that is not permitted."""
    mounted: list[Path] = []

    def mount(folder: str, mebibytes: int) -> Path:
        place = tmp_path / folder
        place.mkdir(parents=True)
        command = ["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m", "tmpfs", str(place)]
        try:
            subprocess.run(command, check=True, capture_output=True, timeout=10)
        except (OSError, subprocess.CalledProcessError):
            pytest.skip("needs the right to mount a small file system")
        mounted.append(place)
        return place

    yield mount
    for place in reversed(mounted):
        command = ["umount", "--lazy", str(place)]
        subprocess.run(command, check=True, timeout=10)


_numbers = itertools.count(1)
