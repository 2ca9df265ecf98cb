"""`plait whoami`."""

from __future__ import annotations

import argparse

from plait.accounts import identify
from plait.cli.arguments import add_json, add_url
from plait.cli.context import Context
from plait.wire import encode
from plait.wire_accounts import Identity

USAGE = "plait whoami"
EXAMPLES = """\
  plait whoami                          at the registry that the settings name
  plait whoami --url https://plait.example.org
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    add_url(parser)
    add_json(parser)


def run(arguments: argparse.Namespace, context: Context) -> None:
    """Say who the registry takes this client for, and what its token may do."""
    transport = context.open_transport(arguments.url)
    identity = identify(transport)
    if arguments.json:
        context.terminal.json({"url": transport.url, **encode(identity)})
        return
    context.terminal.table([["registry", transport.url], *describe_identity(identity)])


def describe_identity(identity: Identity) -> list[list[str]]:
    """Return who a caller is as rows for people."""
    title = f"{identity.name} (administrator)" if identity.admin else identity.name
    roles = [f"{role} of {namespace}" for namespace, role in identity.roles.items()]
    rows = [["user", title], ["roles", ", ".join(roles) or "none"]]
    if identity.token is None:
        return [*rows, ["token", "of the data folder"]]
    token = identity.token
    return [
        *rows,
        ["token", f"{token.id} {token.label}".rstrip()],
        ["scopes", describe_scopes(token.scopes)],
        ["expires", token.expires_at or "never"],
    ]


def describe_scopes(scopes: list[str] | None) -> str:
    """Return what a token lets through, for people."""
    return "everything that the user may do" if scopes is None else ", ".join(scopes)
