"""The rules by which refs move."""

from __future__ import annotations

from plait.errors import AlreadyExists, Conflict, NotFound
from plait.model.ids import CommitId, abbreviate
from plait.model.refs import Ref, RefKind, RefName, RefUpdate


def verify_expected(update: RefUpdate, current: Ref | None) -> None:
    """Check early, before bytes are sent, that the compare-and-swap can succeed.

    The transaction that moves the ref checks again.

    Raises:
        Conflict: `ref-update-conflict`.
        AlreadyExists: `ref-exists`, as `plan_update`.
    """
    if current is not None:
        _verify_movable(update, current)
    actual = None if current is None else current.target
    if actual not in (update.expected, update.new):
        raise moved(update, actual)


def moved(update: RefUpdate, actual: CommitId | None) -> Conflict:
    """Return the error that the ref does not point where the caller saw it."""
    where = "it is gone" if actual is None else f"it points at {abbreviate(actual)} now"
    seen = "did not exist" if update.expected is None else f"was {abbreviate(update.expected)}"
    return Conflict(
        "ref-update-conflict",
        f"The {update.kind} {update.name!r} {seen} when you last looked, but {where}: somebody "
        "else changed it. Run `plait pull` to get the new state, then push again.",
        ref=update.name,
        expected=update.expected,
        actual=actual,
    )


def verify_fast_forward(update: RefUpdate, *, forward: bool) -> None:
    """Check that a move leaves no commit behind, unless it is forced.

    Raises:
        Conflict: `ref-not-fast-forward`.
    """
    if not forward and not update.force:
        raise Conflict(
            "ref-not-fast-forward",
            f"Moving {update.name!r} from {abbreviate(update.expected or '')} to "
            f"{abbreviate(update.new)} would leave commits behind: pull and push on top of them, "
            "push to another branch, or use --force if they shall go.",
            ref=update.name,
            expected=update.expected,
            new=update.new,
        )


def plan_update(update: RefUpdate, current: Ref | None, *, retired: bool) -> bool:
    """Tell whether a ref has to be written for `update` to hold; False: it holds already.

    `current` is the ref of that name, and `retired` says that a deleted tag had the name.

    Raises:
        Conflict: `ref-update-conflict`, `tag-name-retired`.
        AlreadyExists: `ref-exists`, the name is that of a tag or of a ref of the other kind.
    """
    if current is None:
        if retired:
            raise Conflict(
                "tag-name-retired",
                f"{update.name!r} was the name of a tag that was deleted, and is never used again, "
                "so that whoever pinned it does not get other weights: choose another name.",
                ref=update.name,
            )
        if update.expected is not None:
            raise moved(update, None)
        return True
    if current.kind is update.kind and current.target == update.new:
        return False
    _verify_movable(update, current)
    if current.target != update.expected:
        raise moved(update, current.target)
    return True


def _verify_movable(update: RefUpdate, current: Ref) -> None:
    if current.kind is update.kind and current.target == update.new:
        return
    if current.kind is not update.kind or current.kind is RefKind.TAG:
        rule = "and tags never move" if current.kind is RefKind.TAG else "and names are shared"
        raise AlreadyExists(
            "ref-exists",
            f"There is a {current.kind} {update.name!r} at {abbreviate(current.target)} already, "
            f"{rule}: choose another name.",
            ref=update.name,
            actual=current.target,
        )


def plan_deletion(name: RefName, expected: CommitId, current: Ref | None) -> Ref:
    """Return the ref that is to be deleted.

    Raises:
        NotFound: `ref-not-found`.
        Conflict: `ref-update-conflict`.
    """
    if current is None:
        raise NotFound("ref-not-found", f"There is no branch or tag {name!r} here.", ref=name)
    if current.target != expected:
        raise moved(RefUpdate(current.kind, name, expected, expected), current.target)
    return current
