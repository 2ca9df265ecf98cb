"""Telling `plait log main` from `plait log team/sql@main`: what a first argument means.

Inside a working copy an argument is a revision of it where there is one of that name; otherwise,
and outside of one, `NS/NAME[@REVISION]` is a repository of the registry. An argument with `@` in it
is always a repository, since no name of a ref has one.
"""

from __future__ import annotations

from plait.cli.context import Context
from plait.errors import InvalidInput, NotFound
from plait.model.address import Address


def find_address(context: Context, text: str | None) -> Address | None:
    """Return the repository that an argument names, or None where it is for the working copy.

    Raises:
        NotFound: `working-copy-not-found`, it can be for neither.
    """
    address = None if text is None else _parse(text)
    copy = context.find_copy()
    if copy is None:
        if address is None:
            context.get_copy()  # raises
        return address
    if address is None or text is None or "@" in text:
        return address
    try:
        copy.resolve(text)
    except (NotFound, InvalidInput):
        return address
    return None


def _parse(text: str) -> Address | None:
    try:
        return Address.parse(text)
    except InvalidInput:
        return None
