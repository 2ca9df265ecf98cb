"""`plait note add` and `plait note list`: facts about a commit, kept by the registry."""

from __future__ import annotations

import argparse

from plait.cli.arguments import add_json, add_url, parse_metrics
from plait.cli.context import Context
from plait.cli.describe_commit import format_note
from plait.cli.targets import find_address
from plait.cli.terminal import printable
from plait.errors import InvalidInput
from plait.model.ids import CommitId, abbreviate
from plait.repository import Repository

USAGE = """plait note add [REVISION] --metric NAME=VALUE... [--kind KIND]
plait note list [REVISION]
plait note add|list NS/NAME[@REVISION] ..."""
EXAMPLES = """\
  plait note add --metric eval_loss=1.62 --metric bleu=31.4    about what is checked out
  plait note add team/sql@v1.0 --kind evaluation --metric accuracy=0.81
  plait note list main~2

A note hangs on a commit outside of its id. The commit must have been pushed.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("action", choices=("add", "list"), help="what to do")
    parser.add_argument("revision", metavar="REVISION", nargs="?", help="default: HEAD")
    parser.add_argument(
        "--metric", metavar="NAME=VALUE", action="append", default=[], help="a fact; repeatable"
    )
    parser.add_argument("--kind", default="metrics", help="what the facts are (metrics)")
    add_url(parser)
    add_json(parser)


def run(arguments: argparse.Namespace, context: Context) -> None:
    """Add a note, or list the notes."""
    repository, commit = _find(context, arguments.revision, arguments.url)
    if arguments.action == "add":
        metrics = parse_metrics(arguments.metric)
        if not metrics:
            raise InvalidInput("usage", "Say what to note: --metric NAME=VALUE.")
        notes = [repository.add_note(commit, arguments.kind, metrics)]
    else:
        notes = repository.notes(commit)
    facts = [
        {"kind": note.kind, "body": note.body, "created_at": note.created_at} for note in notes
    ]
    if arguments.json:
        context.terminal.json({"commit": commit, "notes": facts})
        return
    if arguments.action == "add":
        context.terminal.print(f"Noted on {abbreviate(commit)}")
    for note in facts:
        context.terminal.print(f"  {printable(format_note(note))}")


def _find(context: Context, text: str | None, url: str | None) -> tuple[Repository, CommitId]:
    address = find_address(context, text)
    if address is not None:
        repository = context.open_repository(address.repository, url)
        return repository, repository.resolve(address.revision or "HEAD")
    copy = context.get_copy()
    remote = copy.get_remote()
    return context.open_repository(remote.repository, remote.url), copy.resolve(text or "HEAD")
