"""Lists that a registry answers in pages."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol, TypeVar

from plait.errors import Unavailable


class Page(Protocol):
    """A part of a list."""

    @property
    def next(self) -> str | None:
        """The cursor of the page after; None on the last."""


P = TypeVar("P", bound=Page)


def read_pages(ask: Callable[[str | None], P]) -> Iterator[P]:
    """Yield every page; `ask` gets the cursor of each, None for the first.

    Raises:
        Unavailable: `registry-misbehaved`, the list goes round in circles.
    """
    cursor: str | None = None
    while True:
        page = ask(cursor)
        yield page
        if page.next is None:
            return
        if page.next == cursor:
            raise Unavailable("registry-misbehaved", "The registry's list does not end.")
        cursor = page.next
