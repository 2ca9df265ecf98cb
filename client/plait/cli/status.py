"""`plait status`."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from plait.cli.arguments import add_json
from plait.cli.context import Context
from plait.cli.terminal import Terminal, plural, printable
from plait.model.ids import abbreviate
from plait.working_copy.divergence import Divergence
from plait.working_copy.journal import describe_interrupted
from plait.working_copy.status import Status, read_status

USAGE = "plait status [-s]"
EXAMPLES = """\
  plait status                      the branch, and what a commit would record
  plait status -s                   one line a file, for scripts and impatient people
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("-s", "--short", action="store_true", help="one line a file")
    add_json(parser)


def run(arguments: argparse.Namespace, context: Context) -> None:
    """Show the status."""
    status = read_status(context.get_copy())
    if arguments.json:
        context.terminal.json(status.to_json())
        return
    lines = _list_files(context.terminal, status) if arguments.short else _tell(context, status)
    for line in lines:
        context.terminal.print(line)


def _tell(context: Context, status: Status) -> Iterator[str]:
    if status.head.branch is not None:
        at = f"at {abbreviate(status.commit)}" if status.commit else "without commits yet"
        yield f"On branch {status.head.branch}, {at}"
    else:
        yield f"HEAD detached at {abbreviate(status.commit or '')}"
    if status.divergence is not None:
        yield _tell_divergence(status.divergence)
    if status.interrupted is not None:
        yield context.terminal.style(describe_interrupted(status.interrupted), "red")
    changes = list(_list_files(context.terminal, status))
    if changes:
        yield "Changes that `plait commit` would record:"
        yield from (f"  {line}" for line in changes)
    elif status.interrupted is None:
        yield "Nothing to commit, the folder is as the last commit has it"
    if status.refused:
        yield (
            f"No commit takes {', '.join(map(printable, status.refused))}: pickle formats can run "
            "code when they are loaded. Convert to safetensors, or list them in .plaitignore."
        )
    if status.left_out:
        yield f"Left out, as a trainer's state: {', '.join(map(printable, status.left_out))}"


def _tell_divergence(divergence: Divergence) -> str:
    name = f"origin/{divergence.upstream}"
    ahead, behind = divergence.ahead, divergence.behind
    if ahead and behind:
        return (
            f"It has diverged from {name}: {plural(ahead, 'commit')} only here, {behind} only "
            "there (`plait pull --merge` joins them)"
        )
    if ahead:
        return f"It is ahead of {name} by {plural(ahead, 'commit')} (`plait push` sends them)"
    if behind:
        return f"It is behind {name} by {plural(behind, 'commit')} (`plait pull` gets them)"
    return f"It is up to date with {name}, as last fetched"


def _list_files(terminal: Terminal, status: Status) -> Iterator[str]:
    for letter, style, paths in (
        ("A", "green", status.added),
        ("M", "yellow", status.modified),
        ("D", "red", status.deleted),
    ):
        for path in paths:
            yield f"{terminal.style(letter, style)} {printable(path)}"
