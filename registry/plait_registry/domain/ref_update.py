"""The rules by which refs move."""

from __future__ import annotations

from plait.errors import Conflict
from plait.model.ids import CommitId, abbreviate
from plait.model.refs import Ref, RefUpdate


def verify_expected(update: RefUpdate, current: Ref | None) -> None:
    """Check early, before bytes are sent, that the compare-and-swap can succeed.

    The transaction that moves the ref checks again.

    Raises:
        Conflict: `ref-update-conflict`.
    """
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
