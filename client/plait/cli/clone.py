"""`plait clone`."""

from __future__ import annotations

import argparse

from plait.cli.arguments import add_json, add_url
from plait.cli.context import Context
from plait.cli.terminal import plural
from plait.model.address import RepositoryName
from plait.model.ids import abbreviate
from plait.working_copy.clone import clone
from plait.working_copy.layout import Remote

USAGE = "plait clone NS/NAME [DIR] [-b BRANCH]"
EXAMPLES = """\
  plait clone team/sql              into the folder sql
  plait clone team/sql work         into the folder work
  plait clone team/sql -b v1.0      look at a tag
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("repository", metavar="NS/NAME", help="the repository")
    parser.add_argument("folder", metavar="DIR", nargs="?", help="where to; default: NAME")
    parser.add_argument("-b", "--branch", metavar="BRANCH", help="the branch or tag to check out")
    add_url(parser)
    add_json(parser)


def run(arguments: argparse.Namespace, context: Context) -> None:
    """Clone a repository."""
    name = RepositoryName.parse(arguments.repository)
    transport = context.open_transport(arguments.url)
    copy = clone(
        transport,
        Remote(transport.url, name),
        context.path(arguments.folder or name.name),
        branch=arguments.branch,
        progress=context.terminal.progress,
    )
    head, refs = copy.read_head(), copy.read_refs()
    commit = refs.at(head)
    if arguments.json:
        context.terminal.json(
            {
                "folder": str(copy.root),
                "branch": head.branch,
                "commit": commit,
                "branches": len(refs.remote_branches),
                "tags": len(refs.remote_tags),
            }
        )
        return
    where = head.branch or "a detached HEAD"
    at = f"at {abbreviate(commit)}" if commit else "without commits"
    count = len(refs.remote_branches)
    branches = f"{count} branches" if count != 1 else "1 branch"
    context.terminal.print(
        f"Cloned {name} into {copy.root}: {branches}, {plural(len(refs.remote_tags), 'tag')}; on "
        f"{where} {at}"
    )
