"""Reading the fields of an `adapter_config.json`, with errors that name the field.

Unlike the registry's own formats, this one belongs to others: unknown fields are kept, null counts
as absent, and only what plait computes with must be well-formed.
"""

from __future__ import annotations

from collections.abc import ItemsView, Mapping
from typing import Any

from plait.errors import InvalidInput


class ConfigFields:
    """The fields of one configuration."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._document = document

    def text(self, name: str) -> str | None:
        """Return a string, or None where it is absent or empty."""
        value = self._document.get(name)
        if value is not None and not isinstance(value, str):
            raise invalid_config(f"must have a string as {name!r}")
        return value or None

    def flag(self, name: str) -> bool:
        """Tell whether a field is set, by Python's notion of truth, as PEFT does."""
        return bool(self._document.get(name))

    def count(self, name: str, default: int) -> int:
        """Return a whole number of at least 1."""
        value = self._document.get(name)
        return default if value is None else _positive(name, value)

    def number(self, name: str, default: float) -> float:
        """Return a finite number."""
        value = self._document.get(name)
        return default if value is None else _finite(name, value)

    def find_count(self, name: str) -> int | None:
        """Return a whole number of at least 1, or None: for what is only shown, never refused."""
        value = self._document.get(name)
        return value if type(value) is int and value > 0 else None

    def names(self, name: str, *, strict: bool) -> tuple[str, ...]:
        """Return a set of names, sorted; a single string is a set of one.

        Another form is refused where `strict`, else it is taken for no names.
        """
        value = self._document.get(name)
        items = [] if value is None else [value] if isinstance(value, str) else value
        if isinstance(items, list) and all(isinstance(item, str) for item in items):
            return tuple(sorted(set(items)))
        if strict:
            raise invalid_config(f"must have a string or a list of strings as {name!r}")
        return ()

    def counts(self, name: str) -> dict[str, int]:
        """Return a mapping to whole numbers of at least 1."""
        return {key: _positive(f"{name}.{key}", value) for key, value in self._pairs(name)}

    def numbers(self, name: str) -> dict[str, float]:
        """Return a mapping to finite numbers."""
        return {key: _finite(f"{name}.{key}", value) for key, value in self._pairs(name)}

    def kept_ranks(self, name: str) -> dict[str, int]:
        """Return AdaLoRA's form: `<module>.lora_E` with a list that says which ranks were kept."""
        return {key.rpartition(".")[0]: _count_kept(key, kept) for key, kept in self._pairs(name)}

    def _pairs(self, name: str) -> ItemsView[str, Any]:
        value = self._document.get(name)
        if value is not None and not isinstance(value, dict):
            raise invalid_config(f"must have an object as {name!r}")
        return (value or {}).items()


def _positive(name: str, value: Any) -> int:
    if type(value) is not int or not 0 < value < 2**31:
        raise invalid_config(f"must have a whole number of at least 1 as {name!r:.200}")
    return value


def _finite(name: str, value: Any) -> float:
    if type(value) not in {int, float} or abs(value) > 1e30:
        raise invalid_config(f"must have a number of ordinary size as {name!r:.200}")
    return float(value)


def _count_kept(name: str, kept: Any) -> int:
    if not isinstance(kept, list) or not all(isinstance(item, bool) for item in kept):
        raise invalid_config(f"must have a list of true and false as 'rank_pattern.{name:.200}'")
    return sum(kept)


def invalid_config(what: str) -> InvalidInput:
    """Return the error that the configuration `what`."""
    return InvalidInput("invalid-adapter-config", f"adapter_config.json {what}.")
