"""`plait push --expect`: the digests of a merge are stored with what is pushed, and they stay."""

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from copies.people import Person, make_person
from plait.http_transport import HttpTransport
from plait.model.address import RepositoryName
from plait.model.ids import CommitId
from plait.validations import fetch_expected
from plait.wire_validation import ExpectedDigests
from reference.bases import write_base

ROOT = "c54fcd51c3d5dd2d1ce170fbbad9807e44e81d907425ec645160301bce78955e"
"""Of cpp/v3 merged into its base: recorded on an H100."""


@pytest.fixture
def ada(registry_server: Any, tmp_path: Path) -> Person:
    return make_person(registry_server, tmp_path / "ada")


def list_expected(server: Any, name: str, commit: str) -> list[ExpectedDigests]:
    with closing(HttpTransport(server.url, server.token)) as transport:
        repository = RepositoryName.parse(name)
        return fetch_expected(transport, repository, CommitId(commit))


def test_folder_is_pushed_with_the_digests_that_its_merge_shall_have(
    ada: Person, registry_server: Any, repository_name: Callable[[], str], micro_data: Path
) -> None:
    name, base = repository_name(), str(micro_data / "base")
    folder = str(micro_data / "adapters" / "cpp" / "v3")
    arguments = ("push", folder, name, "-m", "v3", "--create", "--base-dir", base, "--expect")
    pushed = ada.ask(*arguments)
    assert pushed["expected"] == {pushed["commit"]: ROOT}
    (stored,) = list_expected(registry_server, name, pushed["commit"])
    assert stored.digests["root"] == ROOT
    assert stored.source == "publisher"
    # The same version again: nothing is sent, and the same digests are fine.
    again = ada.ask(*arguments)
    assert not again["new"]
    assert again["expected"] == pushed["expected"]


def test_branch_of_a_working_copy_is_pushed_with_its_digests(
    ada: Person, repository_name: Callable[[], str], micro_data: Path
) -> None:
    name, base = repository_name(), str(micro_data / "base")
    folder = micro_data / "adapters" / "cpp" / "v3"
    ada.ask("push", str(folder), name, "-m", "v3", "--create", "--base-dir", base)
    ada.run("clone", name, "copy")
    copy = ada.at(ada.folder / "copy")
    pushed = copy.ask("push", "--expect", "--base-dir", base)
    assert list(pushed["expected"].values()) == [ROOT]


def test_expecting_without_the_bases_folder_is_explained(
    ada: Person, repository_name: Callable[[], str], micro_data: Path
) -> None:
    folder = str(micro_data / "adapters" / "cpp" / "v3")
    refused = ada.fail(
        "push", folder, repository_name(), "-m", "v3", "--create", "--expect", status=2
    )
    assert "--base-dir" in refused


def test_nothing_is_pushed_where_the_base_is_another(
    ada: Person, repository_name: Callable[[], str], micro_data: Path, tmp_path: Path
) -> None:
    name = repository_name()
    other = write_base(tmp_path / "other")
    folder = str(micro_data / "adapters" / "cpp" / "v3")
    arguments = ("push", folder, name, "-m", "v3", "--create", "--expect", "--base-dir")
    assert "model.layers.0" in ada.fail(*arguments, str(other))
    assert "There is no repository" in ada.fail("log", name)
