"""`plait login`."""

from __future__ import annotations

import argparse
import getpass
import sys

from plait.cli.arguments import add_json
from plait.cli.context import Context
from plait.configuration import write_login
from plait.errors import InvalidInput

USAGE = "plait login [URL]"
EXAMPLES = """\
  plait login https://plait.example.org         asks for the token
  plait login https://plait.example.org < FILE  reads it from a file
  plait login                                   the registry that the settings name

The token is checked with the registry, then kept in a file that only you can read. It is never
taken from the command line, which others can see.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("url", metavar="URL", nargs="?", help="the registry's address")
    add_json(parser)


def run(arguments: argparse.Namespace, context: Context) -> None:
    """Check and remember a token, and say whose it is."""
    from plait.accounts import identify
    from plait.cli.whoami import describe_identity
    from plait.registry import open_transport
    from plait.wire import encode

    url = context.open_url(arguments.url)
    token = _read_token(url)
    transport = open_transport(context.configuration.override(url=url, token=token))
    try:
        identity = identify(transport)
    finally:
        transport.close()
    kept = context.configuration.config_file
    write_login(kept, url, token)
    if arguments.json:
        context.terminal.json({"url": url, "config": str(kept), "identity": encode(identity)})
        return
    context.terminal.print(f"Logged in to {url} as {identity.name} (kept in {kept})")
    context.terminal.table(describe_identity(identity))


def _read_token(url: str) -> str:
    if sys.stdin.isatty():
        token = getpass.getpass(f"Token for {url}: ").strip()
    else:
        token = sys.stdin.readline().strip()
    if not token or not token.isprintable() or " " in token:
        raise InvalidInput("usage", "No token was given: type it, or pass it on stdin.")
    return token
