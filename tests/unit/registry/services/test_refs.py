"""Making, moving and deleting refs, and hanging notes on commits."""

from dataclasses import replace

import pytest

from plait.errors import AlreadyExists, Conflict, InvalidInput, NotFound
from plait.model.ids import CommitId, hash_bytes
from plait.model.refs import Ref, RefKind, RefName, RefUpdate
from plait_registry.domain.access import SYSTEM
from plait_registry.services.notes import LARGEST_NOTE, AddNote
from plait_registry.services.refs import CreateRef, DeleteRef, ListRefs, MoveRef
from reference.memory_registry import NAME, MemoryRegistry, make_version
from reference.registry_drivers import FixedClock

FIRST = make_version("one")
SECOND = make_version("two", FIRST.id)
ABSENT = CommitId(hash_bytes(b"absent"))
MAIN, TOPIC = RefName("main"), RefName("topic")
FORWARD = RefUpdate(RefKind.BRANCH, TOPIC, FIRST.id, SECOND.id)
BACK = RefUpdate(RefKind.BRANCH, MAIN, SECOND.id, FIRST.id)


@pytest.fixture
def registry() -> MemoryRegistry:
    """Return a registry with `main` at the second commit and `topic` at the first."""
    registry = MemoryRegistry()
    plan = registry.begin(FIRST, SECOND)
    for version in (FIRST, SECOND):
        registry.upload(plan, version)
    registry.complete(plan)
    CreateRef(registry.database, FixedClock())(SYSTEM, NAME, RefKind.BRANCH, TOPIC, "main~1")
    return registry


def test_refs_are_listed_with_what_they_point_at(registry: MemoryRegistry) -> None:
    repository, refs = ListRefs(registry.database)(SYSTEM, NAME)
    assert repository.head == SECOND.id
    assert refs == [
        Ref(RefKind.BRANCH, MAIN, SECOND.id),
        Ref(RefKind.BRANCH, TOPIC, FIRST.id),
    ]


def test_ref_made_again_at_the_same_commit_is_fine(registry: MemoryRegistry) -> None:
    create = CreateRef(registry.database, FixedClock())
    assert create(SYSTEM, NAME, RefKind.BRANCH, TOPIC, FIRST.id) == Ref(
        RefKind.BRANCH, TOPIC, FIRST.id
    )
    with pytest.raises(Conflict):
        create(SYSTEM, NAME, RefKind.BRANCH, TOPIC, SECOND.id)
    with pytest.raises(AlreadyExists):
        create(SYSTEM, NAME, RefKind.TAG, TOPIC, FIRST.id)


def test_branch_moves_forward(registry: MemoryRegistry) -> None:
    MoveRef(registry.database, FixedClock())(SYSTEM, NAME, FORWARD)
    assert registry.target("topic") == SECOND.id
    MoveRef(registry.database, FixedClock())(SYSTEM, NAME, FORWARD)


def test_branch_moves_back_by_force_only(registry: MemoryRegistry) -> None:
    with pytest.raises(Conflict) as caught:
        MoveRef(registry.database, FixedClock())(SYSTEM, NAME, BACK)
    assert caught.value.kind == "ref-not-fast-forward"
    MoveRef(registry.database, FixedClock())(SYSTEM, NAME, replace(BACK, force=True))
    assert registry.target() == FIRST.id


@pytest.mark.parametrize("force", [False, True])
def test_branch_that_is_elsewhere_does_not_move(registry: MemoryRegistry, *, force: bool) -> None:
    stale = replace(FORWARD, name=MAIN, expected=FIRST.id, new=FIRST.id, force=force)
    with pytest.raises(Conflict) as caught:
        MoveRef(registry.database, FixedClock())(SYSTEM, NAME, stale)
    assert caught.value.kind == "ref-update-conflict"
    assert registry.target() == SECOND.id


def test_branch_cannot_move_to_a_commit_that_is_not_here(registry: MemoryRegistry) -> None:
    with pytest.raises(NotFound) as caught:
        MoveRef(registry.database, FixedClock())(
            SYSTEM, NAME, replace(FORWARD, new=ABSENT, force=True)
        )
    assert caught.value.kind == "commit-not-found"


def test_tag_never_moves_and_its_name_is_never_used_again(registry: MemoryRegistry) -> None:
    tag = RefName("v1")
    create = CreateRef(registry.database, FixedClock())
    create(SYSTEM, NAME, RefKind.TAG, tag, "topic")
    with pytest.raises(AlreadyExists):
        MoveRef(registry.database, FixedClock())(
            SYSTEM, NAME, replace(FORWARD, kind=RefKind.TAG, name=tag)
        )
    DeleteRef(registry.database, FixedClock())(SYSTEM, NAME, RefKind.TAG, tag, FIRST.id)
    with pytest.raises(Conflict) as caught:
        create(SYSTEM, NAME, RefKind.TAG, tag, "topic")
    assert caught.value.kind == "tag-name-retired"


def test_branch_is_deleted_only_where_it_was_seen(registry: MemoryRegistry) -> None:
    delete = DeleteRef(registry.database, FixedClock())
    with pytest.raises(Conflict):
        delete(SYSTEM, NAME, RefKind.BRANCH, TOPIC, SECOND.id)
    with pytest.raises(NotFound):
        delete(SYSTEM, NAME, RefKind.TAG, TOPIC, FIRST.id)
    delete(SYSTEM, NAME, RefKind.BRANCH, TOPIC, FIRST.id)
    assert registry.target("topic") is None


def test_default_branch_stays(registry: MemoryRegistry) -> None:
    with pytest.raises(Conflict) as caught:
        DeleteRef(registry.database, FixedClock())(SYSTEM, NAME, RefKind.BRANCH, MAIN, SECOND.id)
    assert caught.value.kind == "default-branch"


def test_notes_hang_on_a_commit_in_order(registry: MemoryRegistry) -> None:
    add = AddNote(registry.database, FixedClock())
    for step in range(3):
        add(SYSTEM, NAME, FIRST.id, "metrics", {"step": step})
    with registry.database.read() as records:
        repository = records.repositories.get(NAME)
        notes = records.commits.load_notes(repository.id, [FIRST.id])[FIRST.id]
    assert [note.body for note in notes] == [{"step": step} for step in range(3)]


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("Metrics", {}),
        ("", {}),
        ("metrics", {"loss": float("nan")}),
        ("metrics", {"text": "x" * LARGEST_NOTE}),
    ],
)
def test_note_that_cannot_be_stored_is_refused(
    registry: MemoryRegistry, kind: str, body: dict[str, object]
) -> None:
    with pytest.raises(InvalidInput):
        AddNote(registry.database, FixedClock())(SYSTEM, NAME, FIRST.id, kind, body)


def test_note_on_a_commit_that_is_not_here_is_refused(registry: MemoryRegistry) -> None:
    with pytest.raises(NotFound):
        AddNote(registry.database, FixedClock())(SYSTEM, NAME, ABSENT, "metrics", {})
