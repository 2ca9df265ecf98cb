"""How much one writer can make everybody else carry; the limits are lowered for the tests."""

from collections.abc import Sequence

import pytest

from plait import wire
from plait.errors import Conflict, PlaitError, TooLarge
from plait.model.address import RepositoryName
from plait.model.ids import CommitId
from plait.model.refs import RefKind, RefName
from plait_registry.domain.access import SYSTEM
from plait_registry.domain.accounts import AuditQuery
from plait_registry.domain.records import PushId
from plait_registry.domain.tallies import NoteTally
from plait_registry.services import limits, repositories
from plait_registry.services.history import LogQuery, ReadHistory
from plait_registry.services.notes import AddNote
from plait_registry.services.refs import CreateRef
from plait_registry.services.repositories import CreateRepository, DeleteRepository
from reference.memory_registry import NAME, MemoryRegistry, Version, make_version
from reference.registry_drivers import FixedClock

FIRST = make_version("one")


@pytest.fixture
def registry() -> MemoryRegistry:
    """Return a registry with one commit."""
    registry = MemoryRegistry()
    registry.push(FIRST)
    return registry


def add_note(registry: MemoryRegistry, commit: CommitId = FIRST.id, size: int = 1) -> None:
    AddNote(registry.database, FixedClock())(SYSTEM, NAME, commit, "metrics", {"a": "x" * size})


def notes_on(commit: CommitId, count: int) -> list[wire.PushNote]:
    return [wire.PushNote(commit, "metrics", {"step": number}) for number in range(count)]


def kind_of(caught: pytest.ExceptionInfo[PlaitError]) -> str:
    return caught.value.kind


def test_commit_has_no_more_notes_than_the_limit(
    registry: MemoryRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MOST_NOTES", 2)
    add_note(registry)
    add_note(registry)
    with pytest.raises(TooLarge) as caught:
        add_note(registry)
    assert kind_of(caught) == "too-many-notes"
    _, notes = ReadHistory(registry.database).commit(SYSTEM, NAME, FIRST.id)
    assert len(notes) == 2


def test_commit_has_no_more_bytes_of_notes_than_the_limit(
    registry: MemoryRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "LARGEST_NOTES", 1_000)
    add_note(registry, size=600)
    with pytest.raises(TooLarge) as caught:
        add_note(registry, size=600)
    assert kind_of(caught) == "too-many-notes"
    add_note(registry, size=300)


def test_push_with_too_many_notes_on_one_commit_is_refused_before_bytes_travel(
    registry: MemoryRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MOST_NOTES", 2)
    second, third = make_version("two", FIRST.id), make_version("three", FIRST.id)
    spread = [*notes_on(second.id, 2), *notes_on(FIRST.id, 2)]
    registry.begin(second, expected=FIRST.id, notes=spread)
    with pytest.raises(TooLarge) as caught:
        registry.begin(third, expected=FIRST.id, notes=notes_on(third.id, 3))
    assert kind_of(caught) == "too-many-notes"


def test_notes_that_come_while_a_push_is_under_way_count_when_it_completes(
    registry: MemoryRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MOST_NOTES", 2)
    second = make_version("two", FIRST.id)
    plan = registry.begin(second, expected=FIRST.id, notes=notes_on(FIRST.id, 1))
    registry.upload(plan, second)
    add_note(registry)
    add_note(registry)
    with pytest.raises(TooLarge) as caught:
        registry.complete(plan)
    assert kind_of(caught) == "too-many-notes"
    assert registry.target() == FIRST.id


def read_pages(registry: MemoryRegistry) -> list[list[CommitId]]:
    history, pages, cursor = ReadHistory(registry.database), list[list[CommitId]](), None
    while True:
        page = history.log(SYSTEM, NAME, LogQuery("main", (), 200, cursor))
        pages.append([row.id for row in page.commits])
        assert all(page.notes[commit] for commit in pages[-1])
        cursor = page.next
        if cursor is None:
            return pages


def test_page_of_the_log_ends_before_its_notes_are_too_large_and_nothing_is_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    registry, versions = MemoryRegistry(), list[Version]()
    for number in range(5):
        parents = [version.id for version in versions[-1:]]
        versions.append(make_version(f"{number}", *parents))
        registry.push(versions[-1], expected=parents[0] if parents else None)
    newest_first = [version.id for version in reversed(versions)]
    for commit, size in zip(newest_first, (400, 400, 2_000, 100, 100), strict=True):
        add_note(registry, commit, size)
    assert read_pages(registry) == [newest_first]
    monkeypatch.setattr(limits, "LARGEST_PAGE", 1_000)
    # One commit that alone is too large for a page has one to itself.
    assert read_pages(registry) == [newest_first[:2], newest_first[2:3], newest_first[3:]]


@pytest.mark.parametrize(
    ("sizes", "room"), [([], 0), ([5], 1), ([3, 2, 1], 2), ([6, 1], 1), ([0, 6], 1), ([5, 0, 0], 3)]
)
def test_page_has_room_for_at_least_one_commit(
    monkeypatch: pytest.MonkeyPatch, sizes: Sequence[int], room: int
) -> None:
    monkeypatch.setattr(limits, "LARGEST_PAGE", 5)
    commits = [CommitId(f"{number}") for number in range(len(sizes))]
    notes = {
        commit: NoteTally(1, size) for commit, size in zip(commits, sizes, strict=True) if size
    }
    assert limits.count_on_page(commits, notes) == room


def test_push_that_stages_too_much_is_refused_and_keeps_what_it_had(
    registry: MemoryRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = make_version("two", FIRST.id)
    third = make_version("three", second.id)
    plan = registry.begin(second, expected=FIRST.id, new=second.id)
    with registry.database.read() as records:
        held = records.tallies.measure_staged(PushId(plan.push))
    monkeypatch.setattr(limits, "LARGEST_PUSH", held)
    registry.stage(plan, second)
    with pytest.raises(TooLarge) as caught:
        registry.stage(plan, third)
    assert kind_of(caught) == "push-too-large"
    registry.upload(plan, second)
    assert registry.complete(plan).ref.target == second.id
    monkeypatch.setattr(limits, "LARGEST_PUSH", 1)
    with pytest.raises(TooLarge) as caught:
        registry.begin(third, expected=second.id)
    assert kind_of(caught) == "push-too-large"


def test_too_many_open_pushes_wait_until_one_is_complete(
    registry: MemoryRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MOST_OPEN_PUSHES", 1)
    second = make_version("two", FIRST.id)
    plan = registry.begin(second, expected=FIRST.id)
    with pytest.raises(Conflict) as caught:
        registry.begin(second, expected=FIRST.id)
    assert kind_of(caught) == "too-many-pushes"
    other = registry.create(RepositoryName("team", "other"))
    registry.begin(FIRST, name=other)
    registry.upload(plan, second)
    registry.complete(plan)
    registry.begin(make_version("three", second.id), expected=second.id)


def test_repository_has_no_more_refs_than_the_limit(
    registry: MemoryRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MOST_REFS", 2)
    create = CreateRef(registry.database, FixedClock())
    create(SYSTEM, NAME, RefKind.TAG, RefName("v1"), "main")
    create(SYSTEM, NAME, RefKind.TAG, RefName("v1"), "main")
    with pytest.raises(TooLarge) as caught:
        create(SYSTEM, NAME, RefKind.BRANCH, RefName("topic"), "main")
    assert kind_of(caught) == "too-many-refs"
    second = make_version("two", FIRST.id)
    with pytest.raises(TooLarge) as caught:
        registry.push(second, branch="topic")
    assert kind_of(caught) == "too-many-refs"
    registry.push(second, expected=FIRST.id)
    assert registry.target() == second.id


def test_namespace_has_no_more_repositories_than_the_limit(
    registry: MemoryRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MOST_REPOSITORIES", 1)
    create = CreateRepository(registry.database, FixedClock())
    with pytest.raises(TooLarge) as caught:
        create(SYSTEM, RepositoryName("team", "more"), "")
    assert kind_of(caught) == "too-many-repositories"
    create(SYSTEM, RepositoryName("lab", "first"), "")


def test_deleted_repository_leaves_the_first_of_its_refs_and_their_number_in_the_audit_log(
    registry: MemoryRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repositories, "MOST_REFS_AUDITED", 2)
    create = CreateRef(registry.database, FixedClock())
    for name in ("v1", "v2", "v3"):
        create(SYSTEM, NAME, RefKind.TAG, RefName(name), "main")
    DeleteRepository(registry.database, FixedClock())(SYSTEM, NAME)
    with registry.database.read() as records:
        row = records.audit.search(AuditQuery(limit=1))[0]
    assert row.action == "repository.delete"
    assert row.details == {"refs": {"main": FIRST.id, "v1": FIRST.id}, "ref_count": 4}
