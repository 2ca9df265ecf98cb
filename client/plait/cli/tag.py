"""`plait tag`, of a working copy or of a repository."""

from __future__ import annotations

import argparse
from collections.abc import Mapping

from plait.cli.arguments import add_json, add_url
from plait.cli.context import Context
from plait.cli.ref_arguments import find_repository, require, tell
from plait.model.address import RepositoryName
from plait.model.ids import CommitId, abbreviate
from plait.model.refs import RefName
from plait.working_copy.tag import create_tag, delete_tag

USAGE = """plait tag
plait tag NAME [REVISION]
plait tag -d NAME
plait tag NS/NAME [NAME [REVISION]]
plait tag -d NS/NAME NAME"""
EXAMPLES = """\
  plait tag                         list the tags
  plait tag v1.0 main~2             make one; `plait push v1.0` sends it
  plait tag -d v1.0                 delete it here; the remote's stays
  plait tag team/sql v1.0 main      make one in a repository, without a working copy

A tag never moves, and a repository never uses the name of a deleted one again. Inside a working
copy, one or two names are about that copy; NS/NAME with a new tag then needs a third, REVISION.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("names", metavar="NAME", nargs="*", help="see above")
    parser.add_argument("-d", "--delete", action="store_true", help="delete")
    add_url(parser)
    add_json(parser)


def run(arguments: argparse.Namespace, context: Context) -> None:
    """List, make or delete."""
    names = arguments.names
    repository = find_repository(context, names, local=1 if arguments.delete else 2)
    if repository is not None:
        _run_remote(arguments, context, repository)
        return
    copy = context.get_copy()
    if arguments.delete:
        require(len(names) == 1, "Say which tag to delete: plait tag -d NAME.")
        target = delete_tag(copy, names[0])
        text = f"Deleted tag {names[0]} (it was at {abbreviate(target)})"
        tell(arguments, context, text, name=names[0], commit=target)
    elif names:
        require(len(names) <= 2, "Give a name and a revision.")
        target = create_tag(copy, names[0], revision=names[1] if names[1:] else None)
        text = f"Tag {names[0]} at {abbreviate(target)}"
        tell(arguments, context, text, name=names[0], commit=target)
    else:
        _list(arguments, context, copy.read_refs().tags)


def _run_remote(arguments: argparse.Namespace, context: Context, name: RepositoryName) -> None:
    repository = context.open_repository(name, arguments.url)
    names = arguments.names[1:]
    if arguments.delete:
        require(len(names) == 1, "Say which tag to delete: plait tag -d NS/NAME NAME.")
        ref = repository.delete_ref(names[0], kind="tag")
        text = f"Deleted {ref.kind} {ref.name} of {name} (it was at {abbreviate(ref.target)})"
        tell(arguments, context, text, name=ref.name, commit=ref.target)
    elif names:
        require(len(names) <= 2, "Give NS/NAME, a name and a revision.")
        ref = repository.tag(names[0], *names[1:])
        text = f"Tag {ref.name} of {name} at {abbreviate(ref.target)}"
        tell(arguments, context, text, name=ref.name, commit=ref.target)
    else:
        _list(arguments, context, repository.refs().tags)


def _list(
    arguments: argparse.Namespace, context: Context, tags: Mapping[RefName, CommitId]
) -> None:
    if arguments.json:
        context.terminal.json(
            {"tags": [{"name": name, "commit": target} for name, target in sorted(tags.items())]}
        )
        return
    context.terminal.table([name, abbreviate(target)] for name, target in sorted(tags.items()))
