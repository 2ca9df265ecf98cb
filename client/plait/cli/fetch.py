"""`plait fetch`."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from plait.cli.arguments import add_json
from plait.cli.context import Context
from plait.cli.terminal import format_size, format_table, plural
from plait.model.ids import abbreviate
from plait.model.refs import RefKind
from plait.working_copy.fetch import Fetched, RefChange, RefReport, fetch

USAGE = "plait fetch [--repair]"
EXAMPLES = """\
  plait fetch                       get what is new; `plait log origin/main` shows it
  plait fetch --repair              get again what is missing or damaged in .plait/objects
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument(
        "--repair",
        action="store_true",
        help="read everything, get again what is missing or damaged",
    )
    add_json(parser)


def run(arguments: argparse.Namespace, context: Context) -> None:
    """Fetch."""
    copy = context.get_copy()
    transport = context.open_transport(copy.get_remote().url)
    fetched = fetch(copy, transport, repair=arguments.repair, progress=context.terminal.progress)
    if arguments.json:
        context.terminal.json(fetched_json(fetched))
        return
    for line in format_refs(fetched):
        context.terminal.print(line)
    context.terminal.print(
        f"{plural(fetched.commits, 'new commit')}, {format_size(fetched.received)} received"
    )


def fetched_json(fetched: Fetched) -> dict[str, object]:
    """Return the JSON form of a fetch."""
    return {
        "commits": fetched.commits,
        "bytes_received": fetched.received,
        "refs": [
            {
                "kind": report.kind.value,
                "name": report.name,
                "change": report.change.value,
                "old": report.old,
                "new": report.new,
            }
            for report in fetched.refs
        ],
    }


def format_refs(fetched: Fetched) -> Iterator[str]:
    """Yield a line for each ref that changed."""
    yield from format_table(map(_row, fetched.refs))


def _row(report: RefReport) -> list[str]:
    name = report.name if report.kind is RefKind.TAG else f"origin/{report.name}"
    old, new = abbreviate(report.old or ""), abbreviate(report.new or "")
    move = f"{old} -> {new}" if old and new else new or f"was {old}"
    remark = {
        RefChange.FORCED: "forced: it left commits behind",
        RefChange.REFUSED: "not taken: the name means something else here",
    }.get(report.change, "")
    return [report.change.value, f"{report.kind} {name}", move, remark]
