"""`plait log`, of a working copy or of a repository."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING

from plait.cli.arguments import add_json, add_url
from plait.cli.context import Context
from plait.cli.describe_commit import ShownCommit, format_commit, format_oneline
from plait.cli.log_graph import LogGraph
from plait.cli.targets import find_address
from plait.cli.terminal import Terminal
from plait.errors import InvalidInput
from plait.model.address import Address
from plait.model.ids import CommitId
from plait.working_copy.copy import WorkingCopy
from plait.working_copy.history import read_log
from plait.working_copy.notes import read_notes

if TYPE_CHECKING:
    from plait.repository import Repository

USAGE = """plait log [REVISION]... [--graph] [--oneline] [-n N] [--all]
plait log NS/NAME[@REVISION] [--graph] [--oneline] [-n N]"""
EXAMPLES = """\
  plait log                         history of what is checked out
  plait log --graph --all           every branch, with the lines between commits
  plait log --oneline -n 10 main    the last ten of a branch, a line each
  plait log team/sql@v1.0           history of a repository, without a working copy
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("revisions", metavar="REVISION", nargs="*", help="where to begin")
    parser.add_argument("--graph", action="store_true", help="draw the lines of history")
    parser.add_argument("--oneline", action="store_true", help="a line for each commit")
    parser.add_argument("-n", "--max-count", type=int, metavar="N", help="no more than N commits")
    parser.add_argument("--all", action="store_true", help="what any branch or tag reaches")
    add_url(parser)
    add_json(parser)


def run(arguments: argparse.Namespace, context: Context) -> None:
    """Show the log."""
    if arguments.max_count is not None and arguments.max_count < 0:
        raise InvalidInput("usage", "-n takes a number of commits, from 0 on.")
    first = arguments.revisions[0] if len(arguments.revisions) == 1 else None
    address = find_address(context, first)
    if address is not None:
        commits = _read_remote(context, address, arguments.url)
    else:
        commits = _read_local(context.get_copy(), arguments.revisions, every_ref=arguments.all)
    commits = islice(commits, arguments.max_count)
    if arguments.json:
        context.terminal.json({"commits": [shown.to_json() for shown in commits]})
        return
    for line in _format(
        context.terminal, commits, is_graph=arguments.graph, is_oneline=arguments.oneline
    ):
        context.terminal.print(line)


def find_names(copy: WorkingCopy) -> dict[CommitId, list[str]]:
    """Return the names of each commit as the log shows them, HEAD first."""
    refs, head = copy.read_refs(), copy.read_head()
    names = refs.names_by_commit()
    current = refs.at(head)
    if current is not None:
        listed = names.setdefault(current, [])
        if head.branch is None:
            listed.insert(0, "HEAD")
        else:
            listed.remove(head.branch)
            listed.insert(0, f"HEAD -> {head.branch}")
    return names


def find_remote_names(repository: Repository) -> dict[CommitId, list[str]]:
    """Return the names of each commit in a repository, branches first."""
    refs = repository.refs()
    names: dict[CommitId, list[str]] = {}
    for prefix, group in (("", refs.branches), ("tag: ", refs.tags)):
        for name, target in sorted(group.items()):
            names.setdefault(target, []).append(f"{prefix}{name}")
    return names


def _read_local(
    copy: WorkingCopy, revisions: list[str], *, every_ref: bool
) -> Iterator[ShownCommit]:
    names, notes = find_names(copy), read_notes(copy.layout)
    for entry in read_log(copy, revisions, every_ref=every_ref):
        yield ShownCommit(entry.id, entry.commit, names.get(entry.id, ()), notes.get(entry.id, ()))


def _read_remote(context: Context, address: Address, url: str | None) -> Iterator[ShownCommit]:
    repository = context.open_repository(address.repository, url)
    names = find_remote_names(repository)
    for info in repository.log(address.revision or "HEAD"):
        notes = [
            {"kind": note.kind, "body": note.body, "created_at": note.created_at}
            for note in info.notes
        ]
        yield ShownCommit(info.id, info.commit, names.get(info.id, ()), notes)


def _format(
    terminal: Terminal, commits: Iterable[ShownCommit], *, is_graph: bool, is_oneline: bool
) -> Iterator[str]:
    graph: LogGraph[CommitId] = LogGraph()
    for number, shown in enumerate(commits):
        text = (
            [format_oneline(terminal, shown)] if is_oneline else [*format_commit(terminal, shown)]
        )
        if not is_graph:
            yield from [""] * (number > 0 and not is_oneline)
            yield from text
            continue
        if not is_oneline:
            text.append("")
        rows, rest = graph.draw(shown.id, shown.commit.parents)
        yield from _join(rows, rest, text)


def _join(rows: list[str], rest: str, text: list[str]) -> Iterator[str]:
    """Put the text of a commit beside its rows, and further text beside straight lanes."""
    if "*" not in rows[0]:
        yield rows.pop(0)
    while len(rows) < len(text):
        rows.append(rest)
    # The text begins where the widest row ends.
    width = max(map(len, rows)) + 1
    for number, row in enumerate(rows):
        line = text[number] if number < len(text) else ""
        yield f"{row.ljust(width)}{line}".rstrip()
