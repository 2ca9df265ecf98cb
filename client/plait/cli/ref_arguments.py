"""Whose refs the names of `plait branch` and `plait tag` are about; checks and short answers."""

from __future__ import annotations

import argparse

from plait.cli.context import Context
from plait.cli.terminal import printable
from plait.errors import InvalidInput
from plait.model.address import RepositoryName


def find_repository(context: Context, names: list[str], *, local: int) -> RepositoryName | None:
    """Return the repository that the first of `names` is, or None where all are local.

    Inside a working copy, up to `local` names are local, and so is what begins with a name that is
    in use there.
    """
    if not names or "/" not in names[0]:
        return None
    copy = context.find_copy()
    if copy is not None and (len(names) <= local or copy.read_refs().find(names[0]) is not None):
        return None
    return RepositoryName.parse(names[0])


def require(condition: object, message: str) -> None:
    """Raise InvalidInput `usage` with `message` unless the condition holds."""
    if not condition:
        raise InvalidInput("usage", message)


def tell(arguments: argparse.Namespace, context: Context, text: str, **facts: str) -> None:
    """Print what was done, or its facts as JSON."""
    if arguments.json:
        context.terminal.json(facts)
    else:
        context.terminal.print(printable(text))
