"""`plait merge-base`, of a working copy or of a repository."""

from __future__ import annotations

import argparse

from plait.cli.arguments import add_json, add_url
from plait.cli.context import Context
from plait.errors import InvalidInput, NotFound
from plait.model.address import RepositoryName
from plait.working_copy.history import read_merge_bases

USAGE = """plait merge-base REVISION REVISION
plait merge-base NS/NAME REVISION REVISION"""
EXAMPLES = """\
  plait merge-base main origin/main     the last version that both have
  plait merge-base team/sql main fix    of a repository, without a working copy
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("revisions", metavar="REVISION", nargs="+", help="two revisions")
    add_url(parser)
    add_json(parser)


def run(arguments: argparse.Namespace, context: Context) -> None:
    """Print the best common ancestors, a line each."""
    *first, left, right = arguments.revisions if len(arguments.revisions) > 1 else ("", "", "")
    if not left or len(first) > 1:
        raise InvalidInput("usage", "Give two revisions, or NS/NAME and two revisions.")
    if first:
        name = RepositoryName.parse(first[0])
        bases = context.open_repository(name, arguments.url).merge_bases(left, right)
    else:
        bases = read_merge_bases(context.get_copy(), left, right)
    if arguments.json:
        context.terminal.json({"merge_bases": list(bases)})
        return
    if not bases:
        raise NotFound("merge-base-not-found", f"{left!r} and {right!r} have no commit in common.")
    for base in bases:
        context.terminal.print(base)
