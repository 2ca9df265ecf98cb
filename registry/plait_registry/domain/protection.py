"""Protected refs: rules by pattern for who may move them, and how.

All rules whose patterns match hold, so that a narrow rule cannot soften a wide one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase

from plait.errors import InvalidInput, PermissionDenied
from plait.model.refs import RefName
from plait_registry.domain.access import RIGHT_OF_ROLE, Right
from plait_registry.domain.accounts import Protection

LONGEST_PATTERN = 200
MOST_ATTESTATIONS = 20
"""That a rule may demand."""


def verify_pattern(pattern: str) -> None:
    """Check that a text can be a rule's pattern.

    Raises:
        InvalidInput: it is empty, too long, or has characters that no ref has.
    """
    if not 0 < len(pattern) <= LONGEST_PATTERN or not pattern.isprintable() or " " in pattern:
        raise InvalidInput(
            "invalid-input",
            f"{pattern!r:.80} is no pattern for refs: expected a name such as 'main', or one with "
            "* for any characters, as in 'release/*'.",
        )


def verify_demand(attestations: int) -> None:
    """Check that a rule can demand so many attestations.

    Raises:
        InvalidInput: it is none of 0 to `MOST_ATTESTATIONS`.
    """
    if not 0 <= attestations <= MOST_ATTESTATIONS:
        raise InvalidInput(
            "invalid-input",
            f"attestations: a rule demands 0 to {MOST_ATTESTATIONS} of them.",
            field="attestations",
        )


def verify_move(
    protections: Iterable[Protection], name: RefName, right: Right, *, is_forced: bool
) -> None:
    """Check that who has `right` may make or move a ref.

    Raises:
        PermissionDenied: `ref-protected`.
    """
    for rule in _matching(protections, name):
        _verify_role(rule, name, right)
        if rule.fast_forward_only and is_forced:
            raise PermissionDenied(
                "ref-protected",
                f"{name!r} only moves forward here, by the rule for {rule.pattern!r}: push on top "
                "of it without --force, or ask a maintainer to lift the rule.",
                ref=name,
                pattern=rule.pattern,
            )


def verify_deletion(protections: Iterable[Protection], name: RefName, right: Right) -> None:
    """Check that who has `right` may delete a ref.

    Raises:
        PermissionDenied: `ref-protected`.
    """
    for rule in _matching(protections, name):
        _verify_role(rule, name, right)
        if rule.fast_forward_only:
            raise PermissionDenied(
                "ref-protected",
                f"{name!r} cannot be deleted, by the rule for {rule.pattern!r}: ask a maintainer "
                "to lift the rule first.",
                ref=name,
                pattern=rule.pattern,
            )


def find_attesting_rule(protections: Iterable[Protection], name: RefName) -> Protection | None:
    """Return the rule that demands the most attestations of what a ref points at, if any does."""
    demanding = [rule for rule in _matching(protections, name) if rule.attestations > 0]
    return max(demanding, key=lambda rule: rule.attestations, default=None)


def _matching(protections: Iterable[Protection], name: RefName) -> Iterator[Protection]:
    return (rule for rule in protections if fnmatchcase(name, rule.pattern))


def _verify_role(rule: Protection, name: RefName, right: Right) -> None:
    if right < RIGHT_OF_ROLE[rule.role]:
        raise PermissionDenied(
            "ref-protected",
            f"{name!r} is protected by the rule for {rule.pattern!r}: it takes the role of "
            f"{rule.role} to make, move or delete it. Push to another branch, and ask one of them "
            "to take it over.",
            ref=name,
            pattern=rule.pattern,
            role=rule.role.value,
        )
