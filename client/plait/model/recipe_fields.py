"""Reading typed fields out of a recipe's document, with errors that a person can act on.

A recipe is written by hand, so that a misspelt word is answered with the word that was meant, and
text that YAML takes for a number with the way to write it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from enum import StrEnum
from typing import TypeVar

from plait.errors import InvalidInput
from plait.model.fields import Fields
from plait.model.finite_numbers import check_number
from plait.model.recipe_values import show_value

KIND = "invalid-recipe"
LONGEST_TEXT = 1_024

_Word = TypeVar("_Word", bound=StrEnum)


def invalid_recipe(message: str) -> InvalidInput:
    """Return the error that a recipe breaks a rule."""
    return InvalidInput(KIND, message)


def suggest(word: str, known: Iterable[str]) -> str:
    """Return `: did you mean 'density'?`, or the known words where none is near."""
    from difflib import get_close_matches

    known = sorted(known)
    # The comparison takes time by the product of the lengths.
    near = get_close_matches(word, known, n=1) if len(word) < 100 else []
    if near:
        return f": did you mean {near[0]!r}?"
    return f": known are {', '.join(known)}." if known else "."


class RecipeFields(Fields):
    """The fields of one object inside a recipe."""

    def __init__(self, value: object, *, where: str) -> None:
        if not isinstance(value, Mapping):
            raise invalid_recipe(
                f"{where} must be a mapping of fields to values, not {show_value(value)}."
            )
        names = [name for name in value if not isinstance(name, str)]
        if names:
            raise invalid_recipe(f"{where} has the field {show_value(names[0])}, which is no text.")
        super().__init__(dict(value), kind=KIND, where=where)

    def only(self, allowed: Iterable[str]) -> None:
        """Raise if there is a field outside `allowed`, with the one that may have been meant."""
        allowed = list(allowed)
        for name in self._values:
            if name not in allowed:
                hint = suggest(name, allowed)
                raise invalid_recipe(f"{self._where} has an unknown field {name!r:.80}{hint}")

    def text(self, name: str, *, longest: int | None = LONGEST_TEXT) -> str:
        """Return a required string."""
        value = self._values.get(name)
        if value is None:
            raise self.error(f"needs {name!r}, a text")
        if not isinstance(value, str):
            raise self.error(
                f"has {show_value(value)} as {name!r}, which must be text: put it in quotes"
            )
        return super().text(name, longest=longest)

    def number(self, name: str, default: float) -> float:
        """Return a finite number."""
        value = self._values.get(name, default)
        return self._check_number(f"as {name!r}", value)

    def numbers(self, name: str) -> dict[str, float]:
        """Return a mapping of texts to finite numbers, in the order of canonical JSON."""
        held = self._values.get(name)
        inner = RecipeFields({} if held is None else held, where=f"{self._where}, {name!r},")
        return {
            key: self._check_number(f"for {key!r:.80} in {name!r}", inner.get(key))
            for key in sorted(inner.names())
        }

    def word(self, name: str, words: type[_Word], default: _Word) -> _Word:
        """Return one of the words of an enum."""
        value = self._values.get(name, default.value)
        return self._check_word(f"as {name!r}", value, words)

    def words(self, name: str, words: type[_Word]) -> frozenset[_Word]:
        """Return a list of words of an enum, each given once."""
        held = self._values.get(name)
        items = [] if held is None else self.items(name)
        found = [self._check_word(f"in {name!r}", item, words) for item in items]
        if len(set(found)) != len(found):
            raise self.error(f"names the same twice in {name!r}")
        return frozenset(found)

    def names(self) -> Collection[str]:
        """Return the fields that are there."""
        return self._values.keys()

    def _check_number(self, where: str, value: object) -> float:
        try:
            return check_number(value)
        except ValueError as error:
            raise self.error(f"has {show_value(value)} {where}, which must be {error}") from error

    def _check_word(self, where: str, value: object, words: type[_Word]) -> _Word:
        found = next((word for word in words if word.value == value), None)
        if found is None:
            known = " or ".join(word.value for word in words)
            raise self.error(f"has {show_value(value)} {where}, which must be {known}")
        return found
