"""`plait token`: one's own tokens; as an administrator, everybody's."""

from __future__ import annotations

import argparse

from plait.accounts import Tokens
from plait.cli.arguments import add_json, add_url
from plait.cli.context import Context
from plait.cli.ref_arguments import require
from plait.cli.whoami import describe_scopes
from plait.wire import encode
from plait.wire_accounts import Token

USAGE = """plait token create [LABEL] [--scope SCOPE]... [--expires WHEN | --no-expiry]
plait token create [LABEL] --user NAME ...
plait token list [--user NAME]
plait token revoke ID"""
EXAMPLES = """\
  plait token create laptop                        all that you may do, for 90 days
  plait token create ci --scope team/sql:write --expires 30d
  plait token create serving --user deploy --scope team:read --no-expiry
  plait token list
  plait token revoke 3f0c9a61d2b4

SCOPE is NAMESPACE:ACCESS or NAMESPACE/NAME:ACCESS, where ACCESS is read, write or admin, and
* stands for all namespaces. A scope only takes away: nobody gets more by it than the user has.
WHEN is a number of days as 30d, a date as 2027-01-31, or a time as 2027-01-31T12:00:00Z.
"""
DEFAULT_EXPIRY = "90d"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("action", choices=("create", "list", "revoke"), help="what to do")
    parser.add_argument("subject", metavar="LABEL|ID", nargs="?", help="as above")
    parser.add_argument("--user", metavar="NAME", help="whose; for administrators")
    making = parser.add_argument_group("of create")
    making.add_argument(
        "--scope", metavar="SCOPE", action="append", help="let only this through; repeatable"
    )
    end = making.add_mutually_exclusive_group()
    end.add_argument("--expires", metavar="WHEN", default=DEFAULT_EXPIRY, help="its end (90d)")
    end.add_argument("--no-expiry", action="store_true", help="no end until it is revoked")
    add_url(parser)
    add_json(parser)


def run(arguments: argparse.Namespace, context: Context) -> None:
    """Make, list or revoke."""
    tokens = Tokens(context.open_transport(arguments.url))
    runs = {"create": _create, "list": _list, "revoke": _revoke}
    runs[arguments.action](arguments, context, tokens)


def _create(arguments: argparse.Namespace, context: Context, tokens: Tokens) -> None:
    made = tokens.create(
        arguments.subject or "",
        scopes=arguments.scope,
        expires="never" if arguments.no_expiry else arguments.expires,
        user=arguments.user,
    )
    if arguments.json:
        context.terminal.json(encode(made))
        return
    context.terminal.remark("Keep the token now: it is never shown again.")
    context.terminal.table([*_describe(made.token), ["token", made.secret]])


def _list(arguments: argparse.Namespace, context: Context, tokens: Tokens) -> None:
    require(arguments.subject is None, "Say whose tokens by --user NAME.")
    found = tokens.list(arguments.user)
    if arguments.json:
        context.terminal.json({"tokens": encode(found)})
        return
    context.terminal.table(
        [
            token.id,
            token.label,
            describe_scopes(token.scopes),
            _describe_end(token),
            f"last used {token.last_used_on}" if token.last_used_on else "never used",
        ]
        for token in found
    )


def _revoke(arguments: argparse.Namespace, context: Context, tokens: Tokens) -> None:
    require(arguments.subject, "Say which token: plait token revoke ID.")
    # Nobody needs to send it, and the registry's log would have it in its path.
    require(
        not arguments.subject.startswith("plait_"),
        "That is a token itself: revoke it by its id, which `plait token list` shows.",
    )
    tokens.revoke(arguments.subject)
    if arguments.json:
        context.terminal.json({"revoked": arguments.subject})
    else:
        context.terminal.print(f"Revoked token {arguments.subject}")


def _describe(token: Token) -> list[list[str]]:
    return [
        ["id", token.id],
        ["user", token.user],
        ["label", token.label],
        ["scopes", describe_scopes(token.scopes)],
        ["expires", token.expires_at or "never"],
    ]


def _describe_end(token: Token) -> str:
    if token.revoked_at is not None:
        return f"revoked at {token.revoked_at}"
    return "no end" if token.expires_at is None else f"expires at {token.expires_at}"
