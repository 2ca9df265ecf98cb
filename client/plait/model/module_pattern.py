r"""Patterns over module names, as the keys of `rank_pattern` and `alpha_pattern` are written.

PEFT matches such a key by `re.match(rf"(.*\.)?({key})$", module)`. The keys come out of a file
that anybody may have written, and a backtracking matcher can be kept busy for years by a short
one, such as `(a|a)*b`. The answer here is the same, and the time is bounded:

- a plain name, where only `.` is special, is compared with the end of the module's;
- anything else is matched by following the set of positions that can be reached, which never
  goes back: literals, `.`, `[...]`, `\d \w \s`, groups, `|`, `^`, `$`, `* + ? {m,n}`;
- lookaround, backreferences, flags, and repeats inside repeats are refused by name.

What is remembered of patterns is little, too: a registry reads thousands of anybody's.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

from plait.errors import InvalidInput

LONGEST_PATTERN = 256
LONGEST_PLAIN_PATTERN = 1_024
LONGEST_MODULE = 1_024
MOST_REPEATS = 100
DEEPEST_GROUP = 16

_Positions = frozenset[int]
_Step = Callable[[str, _Positions], _Positions]
"""From where the text may be entered to where it may be left."""

_PLAIN = re.compile(r"[\w.-]*")
_COUNTS = re.compile(r"\{(\d{1,3})(,?)(\d{0,3})\}")
# `--`, `&&`, `~~`, `||` and `[` inside a class may come to mean set operations, says `re`.
_CLASS = re.compile(r"\[\^?\]?(?:(?!--|&&|~~|\|\|)[^\]\\\[]|\\.)*\]")
_LETTERS_OF_CLASSES = "dDwWsS"


def matches_module(pattern: str, module: str) -> bool:
    """Tell whether PEFT takes `pattern` as a key for `module`.

    Raises:
        InvalidInput: the pattern is none, or of a form that is not matched here.
    """
    if len(module) > LONGEST_MODULE:
        raise _invalid(module, f"meets a module's name of over {LONGEST_MODULE} characters")
    return _compile_plain(pattern)(module) if is_plain(pattern) else _compile(pattern)(module)


def is_plain(pattern: str) -> bool:
    """Tell whether a pattern is a name, in which `.` stands for any character and nothing else."""
    return _PLAIN.fullmatch(pattern) is not None


@lru_cache(maxsize=16_384)
def _compile_plain(pattern: str) -> Callable[[str], bool]:
    if len(pattern) > LONGEST_PLAIN_PATTERN:
        raise _invalid(pattern, f"is longer than {LONGEST_PLAIN_PATTERN} characters")
    length = len(pattern)
    components = pattern.split(".")

    def is_match(module: str) -> bool:
        start = at = len(module) - length
        if start < 0 or (start > 0 and module[start - 1] != "."):
            return False
        for component in components:
            if not module.startswith(component, at):
                return False
            at += len(component) + 1
        return True

    def is_match_of_lines(module: str) -> bool:
        # Python's `.` and `$` treat the ends of lines in ways of their own.
        if "\n" not in module:
            return is_match(module)
        return re.match(rf"(.*\.)?({pattern})$", module) is not None

    return is_match_of_lines


@lru_cache(maxsize=512)
def _compile(pattern: str) -> Callable[[str], bool]:
    if len(pattern) > LONGEST_PATTERN:
        raise _invalid(pattern, f"is longer than {LONGEST_PATTERN} characters")
    step = _Parser(pattern).parse()

    def is_match(module: str) -> bool:
        after_dots = {index + 1 for index, character in enumerate(module) if character == "."}
        return len(module) in step(module, frozenset({0} | after_dots))

    return is_match


class _Parser:
    """Reads a pattern from left to right; each method returns its step and whether it repeats."""

    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        self._at = 0
        self._depth = 0

    def parse(self) -> _Step:
        step, _ = self._alternatives()
        if self._at < len(self._pattern):
            raise _invalid(self._pattern, "closes a group that was not opened")
        return step

    def _alternatives(self) -> tuple[_Step, bool]:
        first, repeats = self._sequence()
        branches = [first]
        while self._take("|"):
            branch, branch_repeats = self._sequence()
            branches.append(branch)
            repeats |= branch_repeats
        return (first if len(branches) == 1 else _any_of(branches)), repeats

    def _sequence(self) -> tuple[_Step, bool]:
        steps: list[_Step] = []
        repeats = False
        while self._at < len(self._pattern) and self._pattern[self._at] not in "|)":
            step, step_repeats = self._repeated()
            steps.append(step)
            repeats |= step_repeats
        return _all_of(steps), repeats

    def _repeated(self) -> tuple[_Step, bool]:
        step, repeats = self._atom()
        bounds = self._quantifier()
        if bounds is None:
            return step, repeats
        least, most = bounds
        if most == 1:
            repeated, now_repeats = _repeat(step, least, most), repeats
        elif repeats:
            raise _invalid(self._pattern, "repeats something that repeats itself")
        else:
            repeated, now_repeats = _repeat(step, least, most), True
        self._take("?")  # a lazy repeat reaches the same positions
        if self._pattern[self._at : self._at + 1] in {"*", "+", "?", "{"}:
            raise _invalid(self._pattern, "has two quantifiers in a row")
        return repeated, now_repeats

    def _quantifier(self) -> tuple[int, int | None] | None:
        for sign, bounds in (("*", (0, None)), ("+", (1, None)), ("?", (0, 1))):
            if self._take(sign):
                return bounds
        if self._pattern[self._at : self._at + 1] != "{":
            return None
        counts = _COUNTS.match(self._pattern, self._at)
        if counts is None:
            raise _invalid(self._pattern, "has a '{' that is not '{m}', '{m,}' or '{m,n}'")
        self._at = counts.end()
        least = int(counts[1])
        most = int(counts[3]) if counts[3] else (None if counts[2] else least)
        if (counts[3] and not counts[2]) or max(least, most or 0) > MOST_REPEATS:
            raise _invalid(self._pattern, f"repeats over {MOST_REPEATS} times")
        if most is not None and most < least:
            raise _invalid(self._pattern, "repeats at least more often than at most")
        return least, most

    def _atom(self) -> tuple[_Step, bool]:
        character = self._pattern[self._at]
        if character == "(":
            return self._group()
        if character in "*+?{":
            raise _invalid(self._pattern, f"has a {character!r} with nothing to repeat")
        if character in "^$":
            self._at += 1
            if self._pattern[self._at : self._at + 1] in {"*", "+", "?", "{"}:
                raise _invalid(self._pattern, f"repeats {character!r}, which matches no character")
            return _anchor(character), False
        return self._single(), False

    def _group(self) -> tuple[_Step, bool]:
        self._at += 1
        if self._take("?") and not self._take(":"):
            raise _invalid(
                self._pattern, "has a group of the form '(?...', of which only '(?:' is known"
            )
        self._depth += 1
        if self._depth > DEEPEST_GROUP:
            raise _invalid(self._pattern, f"nests over {DEEPEST_GROUP} groups")
        inner = self._alternatives()
        self._depth -= 1
        if not self._take(")"):
            raise _invalid(self._pattern, "opens a group that is not closed")
        return inner

    def _single(self) -> _Step:
        """Return the step of what stands for one character, and go past it."""
        character = self._pattern[self._at]
        if character == "[":
            found = _CLASS.match(self._pattern, self._at)
            if found is None:
                raise _invalid(self._pattern, "has a '[' that is not closed")
            self._at += len(found[0])
            return _one_of(found[0])
        if character == "\\":
            text = self._pattern[self._at : self._at + 2]
            if len(text) < 2 or (text[1].isalnum() and text[1] not in _LETTERS_OF_CLASSES):
                raise _invalid(self._pattern, f"has {text!r}, which is not known here")
            self._at += 2
            return _one_of(text) if text[1] in _LETTERS_OF_CLASSES else _literal(text[1])
        self._at += 1
        return _one_of(".") if character == "." else _literal(character)

    def _take(self, character: str) -> bool:
        if self._pattern.startswith(character, self._at):
            self._at += 1
            return True
        return False


def _anchor(character: str) -> _Step:
    if character == "^":
        return lambda _, starts: starts & {0}
    return lambda text, starts: starts & {len(text)}


@lru_cache(maxsize=512)
def _literal(character: str) -> _Step:
    def step(module: str, starts: _Positions) -> _Positions:
        return frozenset(start + 1 for start in starts if module.startswith(character, start))

    return step


@lru_cache(maxsize=512)
def _one_of(text: str) -> _Step:
    try:
        fits = re.compile(text).fullmatch
    except re.error as error:
        raise _invalid(text, f"is not a regular expression ({error})") from error

    def step(module: str, starts: _Positions) -> _Positions:
        return frozenset(
            start + 1 for start in starts if start < len(module) and fits(module[start])
        )

    return step


def _all_of(steps: list[_Step]) -> _Step:
    def step(module: str, starts: _Positions) -> _Positions:
        for inner in steps:
            starts = inner(module, starts)
        return starts

    return step


def _any_of(branches: list[_Step]) -> _Step:
    def step(module: str, starts: _Positions) -> _Positions:
        return frozenset[int]().union(*(branch(module, starts) for branch in branches))

    return step


def _repeat(inner: _Step, least: int, most: int | None) -> _Step:
    def step(module: str, starts: _Positions) -> _Positions:
        for _ in range(least):
            starts = inner(module, starts)
        reached, newest = starts, starts
        # Each round either finds a position that is new or ends: at most one round a character.
        rounds = len(module) + 1 if most is None else most - least
        for _ in range(rounds):
            newest = inner(module, newest) - reached
            if not newest:
                break
            reached |= newest
        return reached

    return step


def _invalid(pattern: str, what: str) -> InvalidInput:
    return InvalidInput(
        "invalid-adapter-config",
        f"The pattern {pattern!r:.200} {what}: write it as a module's name or the end of one.",
    )
