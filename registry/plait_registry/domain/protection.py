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
