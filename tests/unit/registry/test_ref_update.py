import pytest

from plait.errors import AlreadyExists, Conflict, NotFound
from plait.model.ids import CommitId, hash_bytes
from plait.model.refs import Ref, RefKind, RefName, RefUpdate
from plait_registry.domain.ref_update import (
    moved,
    plan_deletion,
    plan_update,
    verify_expected,
    verify_fast_forward,
)

MAIN = RefName("main")
OLD, NEW, OTHER = (CommitId(hash_bytes(name)) for name in (b"old", b"new", b"other"))


def update(expected: CommitId | None, *, force: bool = False) -> RefUpdate:
    return RefUpdate(RefKind.BRANCH, MAIN, expected, NEW, force)


def at(target: CommitId) -> Ref:
    return Ref(RefKind.BRANCH, MAIN, target)


def test_ref_where_it_was_seen_may_move() -> None:
    verify_expected(update(OLD), at(OLD))
    verify_expected(update(None), None)


def test_ref_that_is_where_it_shall_go_may_be_pushed_again() -> None:
    verify_expected(update(OLD), at(NEW))
    verify_expected(update(None), at(NEW))


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize(
    ("expected", "current", "actual", "sentence"),
    [
        (
            OLD,
            at(OTHER),
            OTHER,
            f"was {OLD[:12]} when you last looked, but it points at {OTHER[:12]}",
        ),
        (None, at(OTHER), OTHER, "did not exist when you last looked, but it points at"),
        (OLD, None, None, "but it is gone"),
    ],
)
def test_ref_that_somebody_else_moved_is_a_conflict_also_when_forced(
    expected: CommitId | None,
    current: Ref | None,
    actual: CommitId | None,
    sentence: str,
    *,
    force: bool,
) -> None:
    with pytest.raises(Conflict, match=sentence) as caught:
        verify_expected(update(expected, force=force), current)
    assert caught.value.kind == "ref-update-conflict"
    assert caught.value.details == {"ref": "main", "expected": expected, "actual": actual}
    assert "then push again" in caught.value.message


TAG_HERE = Ref(RefKind.TAG, MAIN, OLD)


def test_ref_is_written_where_it_is_new_or_where_it_was_seen() -> None:
    assert plan_update(update(None), None, retired=False)
    assert plan_update(update(OLD), at(OLD), retired=False)


def test_ref_that_holds_already_is_not_written_again() -> None:
    assert not plan_update(update(OLD), at(NEW), retired=False)
    assert not plan_update(update(None), at(NEW), retired=False)
    tag = RefUpdate(RefKind.TAG, MAIN, None, OLD)
    assert not plan_update(tag, TAG_HERE, retired=False)
    verify_expected(tag, TAG_HERE)


@pytest.mark.parametrize(
    ("expected", "current"), [(None, at(OTHER)), (OLD, at(OTHER)), (OLD, None)]
)
def test_ref_that_is_not_where_it_was_seen_is_not_written(
    expected: CommitId | None, current: Ref | None
) -> None:
    with pytest.raises(Conflict) as caught:
        plan_update(update(expected), current, retired=False)
    assert caught.value.kind == "ref-update-conflict"


def test_name_of_a_deleted_tag_is_never_used_again() -> None:
    for kind in RefKind:
        with pytest.raises(Conflict, match="choose another name") as caught:
            plan_update(RefUpdate(kind, MAIN, None, NEW, force=True), None, retired=True)
        assert caught.value.kind == "tag-name-retired"


@pytest.mark.parametrize(
    ("wish", "current"),
    [
        (RefUpdate(RefKind.TAG, MAIN, OLD, NEW, force=True), TAG_HERE),
        (RefUpdate(RefKind.BRANCH, MAIN, OLD, NEW), TAG_HERE),
        (RefUpdate(RefKind.BRANCH, MAIN, OLD, OLD), TAG_HERE),
        (RefUpdate(RefKind.TAG, MAIN, OLD, OLD), at(OLD)),
    ],
)
def test_tag_never_moves_and_a_name_has_one_kind(wish: RefUpdate, current: Ref) -> None:
    for ask in (
        lambda: plan_update(wish, current, retired=False),
        lambda: verify_expected(wish, current),
    ):
        with pytest.raises(AlreadyExists, match="choose another name") as caught:
            ask()
        assert caught.value.kind == "ref-exists"


def test_ref_is_deleted_only_where_it_was_seen() -> None:
    assert plan_deletion(MAIN, OLD, at(OLD)) == at(OLD)
    with pytest.raises(NotFound) as missing:
        plan_deletion(MAIN, OLD, None)
    assert missing.value.kind == "ref-not-found"
    with pytest.raises(Conflict) as conflict:
        plan_deletion(MAIN, OLD, at(OTHER))
    assert conflict.value.kind == "ref-update-conflict"
    assert conflict.value.details == {"ref": "main", "expected": OLD, "actual": OTHER}


def test_conflict_can_be_told_by_who_found_it_in_the_transaction() -> None:
    assert moved(update(OLD), None).kind == "ref-update-conflict"


def test_fast_forward_and_forced_moves_pass() -> None:
    verify_fast_forward(update(OLD), forward=True)
    verify_fast_forward(update(OLD, force=True), forward=False)


def test_move_that_leaves_commits_behind_is_a_conflict() -> None:
    with pytest.raises(Conflict, match="would leave commits behind") as caught:
        verify_fast_forward(update(OLD), forward=False)
    assert caught.value.kind == "ref-not-fast-forward"
    assert caught.value.details == {"ref": "main", "expected": OLD, "new": NEW}
