"""`plait org`: namespaces and their members."""

from __future__ import annotations

import argparse
import re

from plait.accounts import Namespaces
from plait.cli.arguments import add_json, add_url
from plait.cli.context import Context
from plait.cli.ref_arguments import require, tell
from plait.cli.terminal import format_size
from plait.errors import InvalidInput
from plait.wire import encode
from plait.wire_accounts import Namespace

USAGE = """plait org create NAME [--owner USER]
plait org list
plait org show NAME
plait org set NAME [--quota SIZE|none] [--keep-untagged DAYS|forever]
plait org add NAME USER [--role ROLE]
plait org remove NAME USER
plait org delete NAME"""
EXAMPLES = """\
  plait org create team --owner ada
  plait org add team grace --role writer      or another role than before
  plait org remove team grace
  plait org set team --quota 50GB --keep-untagged 90

ROLE is reader (pulls), writer (pushes), maintainer (looks after repositories) or owner (looks after
people). Administrators make organisations and set quotas; owners do the rest.
"""
ROLES = ("reader", "writer", "maintainer", "owner")

_SIZE = re.compile(r"([0-9]{1,7})(B|kB|MB|GB|TB)")
_UNITS = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("action", choices=tuple(_RUNS), help="what to do")
    parser.add_argument("name", metavar="NAME", nargs="?", help="the namespace")
    parser.add_argument("user", metavar="USER", nargs="?", help="of add and remove: who")
    parser.add_argument("--owner", metavar="USER", help="of create: who looks after it")
    parser.add_argument("--role", choices=ROLES, help="of add: the user's role (reader)")
    change = parser.add_argument_group("of set")
    change.add_argument("--quota", metavar="SIZE", help="the most that it may hold, as 50GB")
    change.add_argument(
        "--keep-untagged", metavar="DAYS", help="how long weights of untagged commits are kept"
    )
    add_url(parser)
    add_json(parser)


def run(arguments: argparse.Namespace, context: Context) -> None:
    """Make, list, show, change or delete a namespace, or look after its members."""
    action = arguments.action
    require(arguments.name or action == "list", f"Say which: plait org {action} NAME.")
    is_about_member = action in ("add", "remove")
    require(
        (arguments.user is not None) == is_about_member,
        "USER goes with add and remove. See --help.",
    )
    _RUNS[action](arguments, context, Namespaces(context.open_transport(arguments.url)))


def _create(arguments: argparse.Namespace, context: Context, orgs: Namespaces) -> None:
    made = orgs.create(arguments.name, owner=arguments.owner)
    _tell(arguments, context, made, f"Made namespace {made.name}")


def _list(arguments: argparse.Namespace, context: Context, orgs: Namespaces) -> None:
    found = orgs.list()
    if arguments.json:
        context.terminal.json({"namespaces": encode(found)})
        return
    context.terminal.table([item.name, item.role or "(no role)"] for item in found)


def _show(arguments: argparse.Namespace, context: Context, orgs: Namespaces) -> None:
    found = orgs.get(arguments.name)
    if arguments.json:
        context.terminal.json(encode(found))
        return
    context.terminal.table(_describe(found.namespace))
    context.terminal.print("members")
    context.terminal.table([member.user, member.role] for member in found.members)


def _set(arguments: argparse.Namespace, context: Context, orgs: Namespaces) -> None:
    require(arguments.quota or arguments.keep_untagged, "Say what: --quota or --keep-untagged.")
    changed = orgs.update(
        arguments.name,
        quota_bytes=None if arguments.quota is None else _parse_quota(arguments.quota),
        keep_untagged_days=(
            None if arguments.keep_untagged is None else _parse_days(arguments.keep_untagged)
        ),
    )
    if arguments.json:
        context.terminal.json(encode(changed))
    else:
        context.terminal.table(_describe(changed))


def _add(arguments: argparse.Namespace, context: Context, orgs: Namespaces) -> None:
    role = arguments.role or "reader"
    orgs.set_member(arguments.name, arguments.user, role)
    text = f"{arguments.user} is {role} of {arguments.name}"
    tell(arguments, context, text, namespace=arguments.name, user=arguments.user, role=role)


def _remove(arguments: argparse.Namespace, context: Context, orgs: Namespaces) -> None:
    orgs.remove_member(arguments.name, arguments.user)
    text = f"{arguments.user} has no role in {arguments.name} any more"
    tell(arguments, context, text, namespace=arguments.name, removed=arguments.user)


def _delete(arguments: argparse.Namespace, context: Context, orgs: Namespaces) -> None:
    orgs.delete(arguments.name)
    text = f"Deleted namespace {arguments.name}"
    tell(arguments, context, text, deleted=arguments.name)


_RUNS = {
    "create": _create,
    "list": _list,
    "show": _show,
    "set": _set,
    "add": _add,
    "remove": _remove,
    "delete": _delete,
}


def _tell(arguments: argparse.Namespace, context: Context, namespace: Namespace, text: str) -> None:
    if arguments.json:
        context.terminal.json(encode(namespace))
    else:
        context.terminal.print(text)


def _describe(namespace: Namespace) -> list[list[str]]:
    quota, days = namespace.quota_bytes, namespace.keep_untagged_days
    return [
        ["namespace", namespace.name],
        ["made at", namespace.created_at],
        ["your role", namespace.role or "none"],
        ["quota", "none" if quota is None else format_size(quota)],
        ["untagged weights", "kept for ever" if days is None else f"kept for {days} days"],
    ]


def _parse_quota(text: str) -> int:
    """Return bytes; 0 lifts the quota."""
    if text == "none":
        return 0
    match = _SIZE.fullmatch(text)
    if match is None or int(match[1]) == 0:
        raise InvalidInput("usage", f"{text!r:.80} is no quota: expected one as 50GB, or none.")
    return int(match[1]) * _UNITS[match[2]]


def _parse_days(text: str) -> int:
    """Return days; 0 keeps for ever."""
    if text == "forever":
        return 0
    if not (text.isascii() and text.isdecimal() and 0 < len(text) < 7 and int(text)):
        raise InvalidInput(
            "usage", f"{text!r:.80} is no number of days: expected one as 90, or forever."
        )
    return int(text)
