"""`plait user`: the users of a registry, for its administrators."""

from __future__ import annotations

import argparse

from plait.accounts import Users
from plait.cli.arguments import add_json, add_url
from plait.cli.context import Context
from plait.cli.ref_arguments import require
from plait.wire import encode
from plait.wire_accounts import User

USAGE = """plait user create NAME [--admin]
plait user list
plait user disable|enable NAME
plait user promote|demote NAME"""
EXAMPLES = """\
  plait user create ada                 then: plait token create --user ada
  plait user create deploy              a service is a user, too
  plait user disable ada                none of the tokens works from now on
  plait user promote ada                make an administrator

A user is also a namespace of the same name. Users are disabled and never deleted, since the audit
log speaks of them.
"""

_CHANGES = {
    "disable": {"disabled": True},
    "enable": {"disabled": False},
    "promote": {"admin": True},
    "demote": {"admin": False},
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("action", choices=("create", "list", *_CHANGES), help="what to do")
    parser.add_argument("name", metavar="NAME", nargs="?", help="the user")
    parser.add_argument("--admin", action="store_true", help="of create: an administrator")
    add_url(parser)
    add_json(parser)


def run(arguments: argparse.Namespace, context: Context) -> None:
    """Make, list or change users."""
    users = Users(context.open_transport(arguments.url))
    if arguments.action == "list":
        found = users.list()
        if arguments.json:
            context.terminal.json({"users": encode(found)})
        else:
            context.terminal.table(map(_row, found))
        return
    require(arguments.name, f"Say who: plait user {arguments.action} NAME.")
    if arguments.action == "create":
        user = users.create(arguments.name, admin=arguments.admin)
    else:
        user = users.update(arguments.name, **_CHANGES[arguments.action])
    if arguments.json:
        context.terminal.json(encode(user))
    else:
        context.terminal.table([_row(user)])


def _row(user: User) -> list[str]:
    state = "works" if user.disabled_at is None else f"disabled at {user.disabled_at}"
    return [user.name, "administrator" if user.admin else "user", state]
