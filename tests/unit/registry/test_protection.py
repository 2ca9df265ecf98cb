"""Rules for who may move which refs, and how."""

import time

import pytest

from plait.errors import InvalidInput, PermissionDenied
from plait.model.refs import RefName
from plait_registry.domain.access import Right, Role
from plait_registry.domain.accounts import Protection
from plait_registry.domain.protection import (
    LONGEST_PATTERN,
    verify_deletion,
    verify_move,
    verify_pattern,
)

MAIN = RefName("main")


def rule(
    pattern: str = "main", role: Role = Role.MAINTAINER, *, fast_forward_only: bool = False
) -> Protection:
    return Protection(pattern, role, fast_forward_only)


def is_refused(
    *rules: Protection, name: str = "main", right: Right = Right.WRITE, is_forced: bool = False
) -> bool:
    try:
        verify_move(rules, RefName(name), right, is_forced=is_forced)
    except PermissionDenied as error:
        return (error.kind, error.details["ref"]) == ("ref-protected", name)
    return False


@pytest.mark.parametrize(
    ("pattern", "name", "matches"),
    [
        ("main", "main", True),
        ("main", "Main", False),
        ("main", "main2", False),
        ("release/*", "release/1.0", True),
        ("release/*", "release/a/b", True),
        ("release/*", "release", False),
        ("*", "any/thing", True),
        ("v?", "v1", True),
        ("v[12]", "v2", True),
        ("v[12]", "v3", False),
    ],
)
def test_rule_holds_for_names_that_match(pattern: str, name: str, *, matches: bool) -> None:
    assert is_refused(rule(pattern), name=name) is matches


@pytest.mark.parametrize(
    ("right", "refused"),
    [(Right.READ, True), (Right.WRITE, True), (Right.MAINTAIN, False), (Right.OWN, False)],
)
def test_protected_ref_moves_for_its_role_and_above(right: Right, *, refused: bool) -> None:
    assert is_refused(rule(), right=right) is refused


def test_forced_move_is_refused_for_everybody_where_a_rule_says_so() -> None:
    only_forward = rule(role=Role.WRITER, fast_forward_only=True)
    assert not is_refused(only_forward)
    assert is_refused(only_forward, right=Right.OWN, is_forced=True)
    assert not is_refused(rule(role=Role.WRITER), is_forced=True)


def test_narrow_rule_does_not_soften_a_wide_one() -> None:
    wide, narrow = rule("*", Role.OWNER), rule("main", Role.WRITER)
    for rules in ((wide, narrow), (narrow, wide)):
        assert is_refused(*rules, right=Right.MAINTAIN)


def test_without_rules_everything_moves() -> None:
    assert not is_refused()
    verify_deletion([], MAIN, Right.WRITE)


@pytest.mark.parametrize(
    ("protection", "right", "refused"),
    [
        (rule(), Right.WRITE, True),
        (rule(), Right.MAINTAIN, False),
        (rule(fast_forward_only=True), Right.OWN, True),
        (rule("other", fast_forward_only=True), Right.WRITE, False),
    ],
)
def test_deletion_is_for_the_role_and_for_nobody_where_refs_only_move_forward(
    protection: Protection, right: Right, *, refused: bool
) -> None:
    if not refused:
        verify_deletion([protection], MAIN, right)
        return
    with pytest.raises(PermissionDenied) as caught:
        verify_deletion([protection], MAIN, right)
    assert caught.value.kind == "ref-protected"


@pytest.mark.parametrize("pattern", ["main", "*", "release/*", "v[0-9]*", "x" * LONGEST_PATTERN])
def test_pattern_that_can_match_is_taken(pattern: str) -> None:
    verify_pattern(pattern)


@pytest.mark.parametrize(
    "pattern", ["", "a b", "a\n", "\x00", "\u202e", "\ud800", "x" * (LONGEST_PATTERN + 1)]
)
def test_pattern_that_matches_no_ref_is_refused(pattern: str) -> None:
    with pytest.raises(InvalidInput):
        verify_pattern(pattern)


def test_pattern_cannot_be_made_to_take_long() -> None:
    evil = rule(("*a" * LONGEST_PATTERN)[: LONGEST_PATTERN - 1] + "b")
    begun = time.monotonic()
    assert not is_refused(evil, name="a" * 255)
    assert time.monotonic() - begun < 5
