"""`plait webhook`: where a registry sends the events of a namespace or repository."""

from __future__ import annotations

import argparse
import itertools

from plait.cli.arguments import add_json, add_url
from plait.cli.context import Context
from plait.errors import InvalidInput
from plait.webhooks import Webhooks
from plait.wire import encode
from plait.wire_events import Delivery, Webhook

USAGE = """plait webhook create TARGET URL [--kind KIND]...
plait webhook list TARGET
plait webhook show ID
plait webhook update ID [--to URL] [--kind KIND]... [--all-kinds] [--on | --off]
plait webhook delete ID
plait webhook deliveries ID [--state STATE] [-n COUNT]
plait webhook redeliver DELIVERY"""
EXAMPLES = """\
  plait webhook create team/sql https://ci.example.org/plait --kind push
  plait webhook list team               those of all repositories of a namespace
  plait webhook deliveries wh12ab34 --state dead
  plait webhook redeliver wh12ab34-1f   send it anew
  plait webhook update wh12ab34 --off   send nothing for now; what waits is kept

TARGET is a namespace or NS/NAME. create prints the secret that signs, once; docs/events.md says
how a receiver checks it.
"""
ACTIONS = ("create", "list", "show", "update", "delete", "deliveries", "redeliver")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("action", choices=ACTIONS, help="what to do")
    parser.add_argument("subject", metavar="TARGET", help="a namespace, NS/NAME or an id, as above")
    parser.add_argument("receiver", metavar="URL", nargs="?", help="of create: where to send")
    parser.add_argument(
        "--kind", metavar="KIND", action="append", help="only such events, as push (all)"
    )
    change = parser.add_argument_group("of update")
    change.add_argument("--to", metavar="URL", help="send to another address")
    change.add_argument("--all-kinds", action="store_true", help="send events of all kinds")
    switch = change.add_mutually_exclusive_group()
    switch.add_argument("--on", action="store_true", help="send again")
    switch.add_argument("--off", action="store_true", help="send nothing for now")
    listing = parser.add_argument_group("of deliveries")
    listing.add_argument("--state", metavar="STATE", help="pending, delivered or dead")
    listing.add_argument("-n", "--count", metavar="COUNT", type=int, default=50, help="(50)")
    add_url(parser)
    add_json(parser)


def run(arguments: argparse.Namespace, context: Context) -> None:
    """Make, show, change or delete a webhook, or look after its deliveries."""
    if (arguments.receiver is not None) != (arguments.action == "create"):
        raise InvalidInput("usage", "URL goes with create, and create needs one. See --help.")
    webhooks = Webhooks(context.open_transport(arguments.url))
    runs = {
        "create": _create,
        "list": _list,
        "show": _show,
        "update": _update,
        "delete": _delete,
        "deliveries": _list_deliveries,
        "redeliver": _redeliver,
    }
    runs[arguments.action](arguments, context, webhooks)


def _create(arguments: argparse.Namespace, context: Context, webhooks: Webhooks) -> None:
    made = webhooks.create(arguments.subject, arguments.receiver, kinds=arguments.kind or ())
    if arguments.json:
        context.terminal.json(encode(made))
        return
    context.terminal.remark("Keep the secret now: it is never shown again.")
    context.terminal.table([["webhook", made.webhook.id], ["secret", made.secret]])


def _list(arguments: argparse.Namespace, context: Context, webhooks: Webhooks) -> None:
    found = webhooks.list(arguments.subject)
    if arguments.json:
        context.terminal.json({"webhooks": encode(found)})
        return
    context.terminal.table([item.id, _state(item), item.url, _kinds(item)] for item in found)


def _show(arguments: argparse.Namespace, context: Context, webhooks: Webhooks) -> None:
    _tell(arguments, context, webhooks.get(arguments.subject))


def _update(arguments: argparse.Namespace, context: Context, webhooks: Webhooks) -> None:
    changed = webhooks.update(
        arguments.subject,
        url=arguments.to,
        kinds=() if arguments.all_kinds else arguments.kind,
        active=arguments.on if arguments.on or arguments.off else None,
    )
    _tell(arguments, context, changed)


def _delete(arguments: argparse.Namespace, context: Context, webhooks: Webhooks) -> None:
    webhooks.delete(arguments.subject)
    if arguments.json:
        context.terminal.json({"deleted": arguments.subject})
    else:
        context.terminal.print(f"Deleted webhook {arguments.subject}")


def _list_deliveries(arguments: argparse.Namespace, context: Context, webhooks: Webhooks) -> None:
    if arguments.count < 1:
        raise InvalidInput("usage", "-n: expected a number above 0.")
    found = webhooks.deliveries(arguments.subject, state=arguments.state)
    shown = list(itertools.islice(found, arguments.count))
    if arguments.json:
        context.terminal.json({"deliveries": encode(shown)})
        return
    context.terminal.table(map(_row, shown))


def _redeliver(arguments: argparse.Namespace, context: Context, webhooks: Webhooks) -> None:
    delivery = webhooks.redeliver(arguments.subject)
    if arguments.json:
        context.terminal.json(encode(delivery))
    else:
        context.terminal.print(f"{delivery.id} is {delivery.state}")


def _tell(arguments: argparse.Namespace, context: Context, webhook: Webhook) -> None:
    if arguments.json:
        context.terminal.json(encode(webhook))
        return
    context.terminal.table(
        [
            ["webhook", webhook.id],
            ["of", webhook.target],
            ["to", webhook.url],
            ["kinds", _kinds(webhook)],
            ["state", _state(webhook)],
            ["failures", str(webhook.failures)],
            ["made", f"{webhook.created_at} by {webhook.created_by}"],
        ]
    )


def _state(webhook: Webhook) -> str:
    if not webhook.active:
        return "off"
    return "failing" if webhook.failing else "on"


def _kinds(webhook: Webhook) -> str:
    return ", ".join(webhook.kinds) or "all"


def _row(delivery: Delivery) -> list[str]:
    return [
        delivery.id,
        delivery.event.at,
        delivery.event.kind,
        delivery.event.repository,
        delivery.state,
        str(delivery.attempts),
        delivery.last_error or "",
    ]
