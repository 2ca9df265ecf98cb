"""`plait revert`."""

from __future__ import annotations

import argparse

from plait.cli.arguments import add_discard, add_json, add_sides
from plait.cli.context import Context
from plait.model.ids import abbreviate
from plait.working_copy.commit import Authorship
from plait.working_copy.revert import RevertRequest, revert
from plait.working_copy.three_way import Side

USAGE = "plait revert REVISION [-m PARENT] [--ours | --theirs] [--author 'NAME <EMAIL>']"
EXAMPLES = """\
  plait revert HEAD                 take back the last commit by a new one
  plait revert 3f9a2c1              take back an earlier one; later changes of other files stay
  plait revert -m 1 HEAD            take back a merge: go back to its first parent's line
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("revision", metavar="REVISION", help="the commit to take back")
    parser.add_argument(
        "-m", "--mainline", type=int, metavar="PARENT", help="of a merge: the parent that stays"
    )
    parser.add_argument("--author", metavar="'NAME <EMAIL>'", help="who reverts")
    add_sides(
        parser,
        ours="where a file changed again later: keep what is there now",
        theirs="there: go back to what was before the commit",
    )
    add_discard(parser)
    add_json(parser)


def run(arguments: argparse.Namespace, context: Context) -> None:
    """Revert."""
    copy = context.get_copy()
    request = RevertRequest(
        revision=arguments.revision,
        authorship=Authorship(context.author(arguments.author), context.now()),
        mainline=arguments.mainline,
        prefer=None if arguments.prefer is None else Side(arguments.prefer),
        discard_changes=arguments.discard_changes,
    )
    made = revert(copy, request)
    if arguments.json:
        context.terminal.json({"commit": made.id, "reverted": made.reverted})
        return
    branch = copy.read_head().branch or "detached HEAD"
    subject = made.message.split("\n", 1)[0]
    context.terminal.print(f"[{branch} {abbreviate(made.id)}] {subject}")
