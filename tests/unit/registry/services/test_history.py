"""Reading history: pages and their cursors, revisions and merge bases."""

import pytest

from plait.errors import InvalidInput, NotFound
from plait.model.ids import CommitId, hash_bytes
from plait_registry.domain.access import SYSTEM
from plait_registry.services.history import LONGEST_CURSOR, LogQuery, ReadHistory
from reference.memory_registry import NAME, MemoryRegistry, Version, make_version

LENGTH = 12


@pytest.fixture(scope="module")
def registry() -> MemoryRegistry:
    """Return a registry with a line of commits and a merge near its end."""
    registry = MemoryRegistry()
    versions = list_versions()
    plan = registry.begin(*versions)
    for version in versions:
        registry.upload(plan, version)
    registry.complete(plan)
    return registry


def list_versions() -> list[Version]:
    line = [make_version("0")]
    for number in range(1, LENGTH):
        line.append(make_version(str(number), line[-1].id))
    side = make_version("side", line[4].id)
    return [*line, side, make_version("merge", line[-1].id, side.id)]


def read_log(registry: MemoryRegistry, page: int, *exclude: str) -> list[CommitId]:
    history, found, cursor = ReadHistory(registry.database), list[CommitId](), None
    while True:
        answer = history.log(SYSTEM, NAME, LogQuery("main", exclude, page, cursor))
        assert len(answer.commits) <= page
        found += [row.id for row in answer.commits]
        cursor = answer.next
        if cursor is None:
            return found


@pytest.mark.parametrize("page", [1, 2, 5, 200])
def test_log_is_the_same_whatever_the_length_of_its_pages(
    registry: MemoryRegistry, page: int
) -> None:
    found = read_log(registry, page)
    assert found == read_log(registry, 100)
    assert len(set(found)) == len(found) == len(list_versions())
    for version in list_versions():
        for parent in version.commit["parents"]:
            assert found.index(version.id) < found.index(parent)


@pytest.mark.parametrize("page", [1, 3, 200])
def test_what_is_left_out_stays_out_on_every_page(registry: MemoryRegistry, page: int) -> None:
    versions = list_versions()
    found = read_log(registry, page, versions[6].id, hash_bytes(b"not here"))
    assert set(found) == {version.id for version in versions[7:]}


@pytest.mark.parametrize("cursor", ["", "x", "main!", "!" * LONGEST_CURSOR + "!", "0" * 64])
def test_cursor_that_no_page_gave_is_refused(registry: MemoryRegistry, cursor: str) -> None:
    with pytest.raises(InvalidInput):
        ReadHistory(registry.database).log(SYSTEM, NAME, LogQuery("main", (), 5, cursor))


def test_cursor_at_a_commit_of_nobody_finds_nothing(registry: MemoryRegistry) -> None:
    with pytest.raises(NotFound) as caught:
        ReadHistory(registry.database).log(SYSTEM, NAME, LogQuery("main", (), 5, "0" * 64 + "!"))
    assert caught.value.kind == "commit-not-found"


def test_cursor_of_one_repository_shows_nothing_of_it_in_another(registry: MemoryRegistry) -> None:
    other = registry.create(type(NAME)("team", "empty"))
    history = ReadHistory(registry.database)
    cursor = history.log(SYSTEM, NAME, LogQuery("main", (), 1, None)).next
    with pytest.raises(NotFound):
        history.log(SYSTEM, other, LogQuery("main", (), 1, cursor))


def test_revisions_go_back_along_parents(registry: MemoryRegistry) -> None:
    history, versions = ReadHistory(registry.database), list_versions()
    side, merge = versions[-2:]
    assert history.resolve(SYSTEM, NAME, "main").id == merge.id
    assert history.resolve(SYSTEM, NAME, "main~1").id == versions[LENGTH - 1].id
    assert history.resolve(SYSTEM, NAME, "main^2").id == side.id
    assert history.resolve(SYSTEM, NAME, f"main~{LENGTH}").id == versions[0].id
    with pytest.raises(NotFound):
        history.resolve(SYSTEM, NAME, f"main~{LENGTH + 1}")


def test_merge_base_is_where_the_lines_part(registry: MemoryRegistry) -> None:
    history, versions = ReadHistory(registry.database), list_versions()
    assert history.merge_bases(SYSTEM, NAME, "main^2", "main~1") == [versions[4].id]


def test_commit_that_is_not_in_the_repository_is_not_found(registry: MemoryRegistry) -> None:
    with pytest.raises(NotFound):
        ReadHistory(registry.database).commit(SYSTEM, NAME, CommitId(hash_bytes(b"absent")))
