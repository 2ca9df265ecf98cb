"""`plait events`: what happened in the repositories that the caller may read."""

from __future__ import annotations

import argparse
import itertools
import json

from plait.cli.arguments import add_url
from plait.cli.context import Context
from plait.cli.terminal import printable
from plait.errors import InvalidInput
from plait.events import EventFilter, follow_events, read_events
from plait.model.ids import abbreviate
from plait.wire import encode
from plait.wire_events import Event

USAGE = """plait events [NS | NS/NAME] [--kind KIND]... [--after CURSOR] [-n COUNT] [--json]
plait events [NS | NS/NAME] [--kind KIND]... [--after CURSOR] --follow [--json]"""
EXAMPLES = """\
  plait events                          all that is kept, oldest first
  plait events team/sql --kind push     the pushes of one repository
  plait events team --follow            each event of a namespace as it happens
  plait events --after e1f --json       what came after an event, one JSON document a line

The first column is the event's cursor. Without --after, --follow begins now.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("target", metavar="NS", nargs="?", help="a namespace or NS/NAME")
    parser.add_argument("--kind", metavar="KIND", action="append", default=[], help="as push")
    parser.add_argument("--after", metavar="CURSOR", help="only what came after an event")
    parser.add_argument("-n", "--count", metavar="COUNT", type=int, help="at most so many")
    parser.add_argument("-f", "--follow", action="store_true", help="wait for further ones")
    parser.add_argument("--json", action="store_true", help="print one JSON document a line")
    add_url(parser)


def run(arguments: argparse.Namespace, context: Context) -> None:
    """Print events, until there are no more or for ever."""
    if arguments.count is not None and arguments.count < 1:
        raise InvalidInput("usage", "-n: expected a number above 0.")
    is_repository = "/" in (arguments.target or "")
    wanted = EventFilter(
        namespace=None if is_repository else arguments.target,
        repository=arguments.target if is_repository else None,
        kinds=arguments.kind,
    )
    read = follow_events if arguments.follow else read_events
    found = read(context.open_transport(arguments.url), wanted, after=arguments.after)
    for event in itertools.islice(found, arguments.count):
        line = json.dumps(encode(event)) if arguments.json else _describe(event)
        context.terminal.print(line, flush=arguments.follow)


def _describe(event: Event) -> str:
    """Return an event as a line; what others named cannot control the terminal."""
    facts = [event.id, event.at, event.kind, event.repository, event.actor]
    for name in ("ref", "new", "commit"):
        value = event.details.get(name)
        if isinstance(value, str):
            facts.append(value if name == "ref" else abbreviate(value))
    return printable("  ".join(facts))
