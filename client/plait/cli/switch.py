"""`plait switch`."""

from __future__ import annotations

import argparse

from plait.cli.arguments import add_discard, add_json
from plait.cli.context import Context
from plait.errors import InvalidInput
from plait.model.ids import abbreviate
from plait.working_copy.copy import WorkingCopy
from plait.working_copy.switch import Switched, create_and_switch, detach, switch

USAGE = """plait switch BRANCH [--discard-changes]
plait switch -c NEW [START]
plait switch --detach REVISION"""
EXAMPLES = """\
  plait switch main                 to a branch; one of the remote's is made here, too
  plait switch -c longer-context    to a new branch at what is checked out
  plait switch -c fix main~2        to a new branch at another commit
  plait switch --detach v1.0        look at a tag or commit
  plait switch --discard-changes main   restore every file of a branch
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("target", metavar="BRANCH", nargs="?", help="where to")
    parser.add_argument("-c", "--create", metavar="NEW", help="make this branch first")
    parser.add_argument("-d", "--detach", action="store_true", help="a commit, on no branch")
    add_discard(parser)
    add_json(parser)


def run(arguments: argparse.Namespace, context: Context) -> None:
    """Switch."""
    switched = _switch(arguments, context.get_copy())
    if arguments.json:
        context.terminal.json(
            {
                "branch": switched.head.branch,
                "commit": switched.commit,
                "new": switched.is_new,
                "left_behind": switched.left_behind,
            }
        )
        return
    if switched.left_behind is not None:
        context.terminal.remark(
            f"No branch or tag leads to {abbreviate(switched.left_behind)}, where you were: `plait "
            f"branch NAME {abbreviate(switched.left_behind)}` keeps it in sight."
        )
    at = f"at {abbreviate(switched.commit)}" if switched.commit else "without commits"
    if switched.head.branch is None:
        context.terminal.print(f"HEAD is now {at}, on no branch")
    else:
        what = "new branch" if switched.is_new else "branch"
        context.terminal.print(f"Switched to {what} {switched.head.branch}, {at}")


def _switch(arguments: argparse.Namespace, copy: WorkingCopy) -> Switched:
    discard = arguments.discard_changes
    if arguments.create is not None:
        if arguments.detach:
            raise InvalidInput("usage", "-c makes a branch and --detach takes none: give one.")
        start = arguments.target
        return create_and_switch(copy, arguments.create, start=start, discard_changes=discard)
    if arguments.detach:
        return detach(copy, arguments.target or "HEAD", discard_changes=discard)
    if arguments.target is None:
        raise InvalidInput("usage", "Say where to: plait switch BRANCH, or -c NEW.")
    return switch(copy, arguments.target, discard_changes=discard)
