"""Reading typed fields out of parsed JSON, with errors that name the field.

Formats are parsed at the edge into frozen dataclasses; this is the one place that looks into
raw dictionaries. Unknown fields are refused: an id is computed over the whole document, so a
field that is silently dropped would change it.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Any, TypeVar

from plait.errors import InvalidInput

Choice = TypeVar("Choice", bound=StrEnum)


class Fields:
    """The fields of one JSON object inside a document of a known kind."""

    def __init__(self, value: object, *, kind: str, where: str) -> None:
        if not isinstance(value, dict):
            raise InvalidInput(kind, f"{where} must be a JSON object.")
        self._values: dict[str, Any] = value
        self._kind = kind
        self._where = where

    def only(self, allowed: Iterable[str]) -> None:
        """Raise if there is a field outside `allowed`."""
        unknown = sorted(set(self._values) - set(allowed))
        if unknown:
            raise self.error(f"has an unknown field {unknown[0]!r:.80}")

    def text(self, name: str, *, longest: int | None = None) -> str:
        """Return a required string."""
        value = self._values.get(name)
        if not isinstance(value, str):
            raise self.error(f"needs a string {name!r}")
        if longest is not None and len(value) > longest:
            raise self.error(f"has a {name!r} of over {longest} characters")
        return value

    def choice(self, name: str, kind: type[Choice]) -> Choice:
        """Return a required member of an enumeration of texts."""
        try:
            return kind(self.text(name))
        except ValueError:
            raise self.error(f"has a {name!r} that is none of {', '.join(kind)}") from None

    def optional_text(self, name: str) -> str | None:
        """Return a string, or None where it is absent or null."""
        return None if self._values.get(name) is None else self.text(name)

    def count(self, name: str) -> int:
        """Return a required integer >= 0."""
        value = self._values.get(name)
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise self.error(f"needs a whole number >= 0 as {name!r}")
        return value

    def items(self, name: str) -> list[Any]:
        """Return a required list."""
        value = self._values.get(name)
        if not isinstance(value, list):
            raise self.error(f"needs a list {name!r}")
        return value

    def get(self, name: str) -> Any:
        """Return the raw value, or None."""
        return self._values.get(name)

    def error(self, what: str) -> InvalidInput:
        """Return the error that this object `what`."""
        return InvalidInput(self._kind, f"{self._where} {what}.")
