"""`plait audit`: who changed what."""

from __future__ import annotations

import argparse
import itertools
import json

from plait.accounts import AuditFilter, read_audit
from plait.cli.arguments import add_json, add_url
from plait.cli.context import Context
from plait.cli.ref_arguments import require
from plait.wire import encode
from plait.wire_accounts import AuditRow

USAGE = "plait audit [--namespace NS] [--subject SUBJECT] [--actor USER] [-n COUNT]"
EXAMPLES = """\
  plait audit                           the last changes that you may read about
  plait audit --subject team/sql        of one repository
  plait audit --namespace team --actor grace -n 200

Owners read about their namespaces, administrators about everything. SUBJECT is a repository, a
namespace, a user or the id of a token.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("--namespace", metavar="NS", help="only of this namespace")
    parser.add_argument("--subject", metavar="SUBJECT", help="only about this")
    parser.add_argument("--actor", metavar="USER", help="only what this user did")
    parser.add_argument(
        "-n", "--count", metavar="COUNT", type=int, default=50, help="the newest so many (50)"
    )
    add_url(parser)
    add_json(parser)


def run(arguments: argparse.Namespace, context: Context) -> None:
    """Print changes, newest first."""
    require(arguments.count > 0, "-n: expected a number above 0.")
    wanted = AuditFilter(arguments.namespace, arguments.subject, arguments.actor)
    found = read_audit(context.open_transport(arguments.url), wanted)
    rows = list(itertools.islice(found, arguments.count))
    if arguments.json:
        context.terminal.json({"rows": encode(rows)})
        return
    context.terminal.table(map(_row, rows))


def _row(row: AuditRow) -> list[str]:
    facts = [f"{key}={_write(value)}" for key, value in row.details.items() if value is not None]
    return [row.at, row.actor, row.action, row.subject, " ".join(facts)]


def _write(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
