"""`plait key`: the keys that validators sign with, and who counts as one."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from plait.cli.arguments import add_json, add_url
from plait.cli.context import Context
from plait.cli.ref_arguments import require, tell
from plait.cli.terminal import plural, printable
from plait.errors import InvalidInput, NotFound
from plait.model.ids import SHORTEST_PREFIX, abbreviate

if TYPE_CHECKING:
    from plait.wire_validation import ValidatorKey

USAGE = """plait key generate FILE [--passphrase-file FILE]
plait key register FILE.pub [--name NAME] [--role ROLE] [--expires WHEN | --no-expiry]
plait key list
plait key revoke KEYID
plait key export [-o FILE]"""
EXAMPLES = """\
  plait key generate validator                    validator (keep it secret) and validator.pub
  plait key register validator.pub --name gpu-1   for administrators: it may vouch from now on
  plait key list
  plait key revoke 6db3a1c09f2e                   nothing counts any more that it ever signed
  plait key export -o keys.json                   for plait verify --keys, on any machine

ROLE is validator (its attestations count) or publisher (they only inform). WHEN is a number of days
as 90d, a date as 2027-01-31, or a time as 2027-01-31T12:00:00Z. A key is Ed25519, as PKCS8 PEM.
"""
DEFAULT_EXPIRY = "365d"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    actions = ("generate", "register", "list", "revoke", "export")
    parser.add_argument("action", choices=actions, help="what to do")
    parser.add_argument("subject", metavar="FILE|KEYID", nargs="?", help="as above")
    parser.add_argument(
        "--passphrase-file", metavar="FILE", help="of generate: lock the key with what is in there"
    )
    making = parser.add_argument_group("of register")
    making.add_argument("--name", metavar="NAME", help="whose it is (the file's name)")
    making.add_argument(
        "--role", choices=("validator", "publisher"), default="validator", help="(validator)"
    )
    end = making.add_mutually_exclusive_group()
    end.add_argument("--expires", metavar="WHEN", default=DEFAULT_EXPIRY, help="its end (365d)")
    end.add_argument("--no-expiry", action="store_true", help="no end until it is revoked")
    parser.add_argument("-o", "--output", metavar="FILE", help="of export: write it there")
    add_url(parser)
    add_json(parser)


def run(arguments: argparse.Namespace, context: Context) -> None:
    """Make, register, list, revoke or export."""
    runs = {
        "generate": _generate,
        "register": _register,
        "list": _list,
        "revoke": _revoke,
        "export": _export,
    }
    runs[arguments.action](arguments, context)


def read_passphrase(path: Path | None) -> bytes | None:
    """Return the passphrase in a file, without the end of its line.

    Raises:
        NotFound: `file-not-found`.
        InvalidInput: `usage`, there is none in it.
    """
    if path is None:
        return None
    try:
        held = path.read_bytes()
    except FileNotFoundError as error:
        raise NotFound("file-not-found", f"There is no file {path}.", path=str(path)) from error
    passphrase = held.rstrip(b"\r\n")
    if not passphrase:
        raise InvalidInput("usage", f"{path} holds no passphrase: its first line is empty.")
    return passphrase


def _generate(arguments: argparse.Namespace, context: Context) -> None:
    from plait.signing import generate_key

    require(arguments.subject, "Say where to: plait key generate FILE.")
    path = context.path(arguments.subject)
    secret = arguments.passphrase_file
    passphrase = read_passphrase(None if secret is None else context.path(secret))
    key = generate_key(path, passphrase=passphrase)
    tell(
        arguments,
        context,
        f"Made the key {abbreviate(key.keyid)}: {path} (keep it secret) and {path}.pub",
        keyid=key.keyid,
        private_key=str(path),
        public_key=key.public_key,
    )


def _register(arguments: argparse.Namespace, context: Context) -> None:
    from plait.signing import read_public_key
    from plait.validations import register_key
    from plait.wire import encode
    from plait.wire_validation import NewValidatorKey

    require(arguments.subject, "Say which: plait key register FILE.pub.")
    path = context.path(arguments.subject)
    public_key = read_public_key(path)
    wanted = NewValidatorKey(
        public_key=public_key,
        name=arguments.name or path.stem,
        role=arguments.role,
        expires="never" if arguments.no_expiry else arguments.expires,
    )
    made = register_key(context.open_transport(arguments.url), wanted)
    if arguments.json:
        context.terminal.json(encode(made))
        return
    context.terminal.print(
        printable(f"Registered {made.name} as a {made.role}: {made.keyid}, {_describe_end(made)}")
    )


def _list(arguments: argparse.Namespace, context: Context) -> None:
    from plait.validations import fetch_keys
    from plait.wire import encode

    require(arguments.subject is None, "This lists all keys: name none.")
    found = fetch_keys(context.open_transport(arguments.url))
    if arguments.json:
        context.terminal.json({"keys": encode(found)})
        return
    context.terminal.table(
        [abbreviate(key.keyid), printable(key.name), key.role, _describe_end(key)] for key in found
    )


def _revoke(arguments: argparse.Namespace, context: Context) -> None:
    from plait.validations import fetch_keys, revoke_key

    require(arguments.subject, "Say which: plait key revoke KEYID.")
    transport = context.open_transport(arguments.url)
    keyid = _complete(arguments.subject, [key.keyid for key in fetch_keys(transport)])
    revoked = revoke_key(transport, keyid)
    tell(
        arguments,
        context,
        f"Revoked {revoked.name}, {abbreviate(keyid)}: nothing that it signed counts any more",
        revoked=keyid,
    )


def _export(arguments: argparse.Namespace, context: Context) -> None:
    from plait.attestation_files import write_keys
    from plait.validations import fetch_keys

    require(arguments.subject is None, "This exports all keys: name the file by -o.")
    found = fetch_keys(context.open_transport(arguments.url))
    if arguments.output is None:
        context.terminal.print(write_keys(found).rstrip())
        return
    path = context.path(arguments.output)
    path.write_text(write_keys(found), "utf-8")
    tell(arguments, context, f"Wrote {plural(len(found), 'key')} to {path}", path=str(path))


def _complete(prefix: str, keyids: list[str]) -> str:
    """Return the one key id that begins so; what is none stays as it is."""
    found = [keyid for keyid in keyids if keyid.startswith(prefix)]
    if len(prefix) >= SHORTEST_PREFIX and len(found) > 1:
        raise InvalidInput("usage", f"Several keys begin with {prefix}: write more of it.")
    return found[0] if len(prefix) >= SHORTEST_PREFIX and found else prefix


def _describe_end(key: ValidatorKey) -> str:
    if key.revoked_at is not None:
        return f"revoked at {key.revoked_at}"
    return "no end" if key.expires_at is None else f"expires at {key.expires_at}"
