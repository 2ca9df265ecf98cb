"""`plait init`."""

from __future__ import annotations

import argparse

from plait.cli.arguments import add_json, add_url
from plait.cli.context import Context
from plait.model.address import RepositoryName
from plait.working_copy.init import init
from plait.working_copy.layout import Remote

USAGE = "plait init [DIR] [--remote NS/NAME]"
EXAMPLES = """\
  plait init                        the folder you are in
  plait init out/lora               another one
  plait init --remote team/sql      name the repository that it is pushed to
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("folder", metavar="DIR", nargs="?", default=".", help="the folder")
    parser.add_argument("--remote", metavar="NS/NAME", help="the repository to push to")
    add_url(parser)
    add_json(parser)


def run(arguments: argparse.Namespace, context: Context) -> None:
    """Make the working copy."""
    remote = None
    if arguments.remote is not None:
        url = context.open_url(arguments.url)
        remote = Remote(url, RepositoryName.parse(arguments.remote))
    copy = init(context.path(arguments.folder), remote=remote)
    if arguments.json:
        context.terminal.json(
            {
                "folder": str(copy.root),
                "branch": copy.read_head().branch,
                "remote": None if remote is None else {"url": remote.url, "name": arguments.remote},
            }
        )
        return
    context.terminal.print(f"Working copy in {copy.root} on branch {copy.read_head().branch}")
