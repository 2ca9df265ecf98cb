"""`plait-registry`: the operator's program.

Every command imports what it needs when it runs, so that `--version` and `--help` are quick.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING

import plait
from plait.errors import InvalidInput, PlaitError, Unavailable
from plait_registry.care_options import CARE_COMMANDS, add_care_commands

if TYPE_CHECKING:
    from plait_registry.adapters.data_folder import DataFolder
    from plait_registry.settings import Settings

_EXAMPLES = """\
examples:
  plait-registry serve                          on http://127.0.0.1:8420, data in ./plait-data
  plait-registry serve --data /srv/plait --port 0
  plait-registry worker                         deliver events and do jobs, beside servers
  plait-registry worker --url https://plait.example.org --bases /models
  plait-registry token                          where the administrator's token is
  plait-registry token rotate                   replace it; running servers take the new one
  plait-registry user create ada --admin        make a user, also while servers run
  plait-registry token create --user ada        print a token for it, once
  plait-registry gc                             what garbage there is; --sweep removes it
  plait-registry backup FOLDER --objects        back up everything, also while others push
  plait-registry fsck --sample 5%               is everything there, and as it was?

Flags can be set by variables as well, as PLAIT_DATA for --data; see docs/configuration.md.
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the program and end the process."""
    # Also in a data folder that others may enter, the database is nobody else's to read.
    os.umask(0o077)
    sys.exit(run(arguments))


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit status."""
    options = _build_parser().parse_args(arguments)
    try:
        settings = _read_settings(options)
        if options.command == "serve":
            return _serve(settings)
        if options.command == "migrate":
            return _migrate(settings)
        if options.command == "worker":
            return _work(settings)
        if options.command in CARE_COMMANDS:
            return _care(settings, options)
        if options.command == "user" or options.action in ("create", "list", "revoke"):
            return _change_accounts(settings, options)
        return _token(settings, rotate=options.action == "rotate")
    except PlaitError as error:
        print(f"plait-registry: {error.message}", file=sys.stderr)
        return 2 if isinstance(error, InvalidInput) else 1


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="plait-registry",
        description="Serve and look after a plait registry.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"plait {plait.__version__}")
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--data", metavar="DIR", help="the data folder (./plait-data)")
    shared.add_argument("--log-level", metavar="LEVEL", help="debug, info, warning or error (info)")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    serve = commands.add_parser("serve", parents=[shared], help="answer requests until stopped")
    serve.add_argument("--host", help="the address to listen on (127.0.0.1)")
    serve.add_argument("--port", metavar="N", help="the port; 0 for any free one (8420)")
    serve.add_argument(
        "--behind-tls",
        action="store_const",
        const="1",
        help="a proxy with TLS stands in front, so --host may be reachable from other machines",
    )
    serve.add_argument(
        "--workers", metavar="N", help="processes; several need PostgreSQL and S3 (1)"
    )
    _add_worker(
        commands.add_parser(
            "worker", parents=[shared], help="deliver events and do jobs until stopped"
        )
    )
    commands.add_parser("migrate", parents=[shared], help="bring the database up to date")
    add_care_commands(commands, shared)
    _add_token(
        commands.add_parser("token", parents=[shared], help="the administrator's, and users'")
    )
    _add_user(commands.add_parser("user", parents=[shared], help="make, list and disable users"))
    return parser


def _add_worker(worker: argparse.ArgumentParser) -> None:
    worker.add_argument(
        "--url",
        dest="worker_url",
        metavar="URL",
        help="do validations of the registry there, by PLAIT_WORKER_TOKEN; needs no database",
    )
    worker.add_argument(
        "--bases",
        metavar="DIR",
        nargs="+",
        help="folders below which the bases lie that adapters are merged into",
    )
    worker.add_argument(
        "--engine", metavar="ENGINE", help="what merges: inline, or ray for a cluster (inline)"
    )
    worker.add_argument(
        "--address",
        dest="ray_address",
        metavar="ADDRESS",
        help="of ray: the cluster's head, as host:6379 or auto",
    )
    worker.add_argument(
        "--device", metavar="DEVICE", help="auto, cpu or cuda: where merges are computed (auto)"
    )
    worker.add_argument(
        "--key",
        dest="validator_key",
        metavar="FILE",
        help="the validator's private key; without one, nothing is signed",
    )
    worker.add_argument(
        "--ask-model",
        action="store_const",
        const="1",
        help="load merged models and compare what they answer, which takes transformers",
    )


def _add_token(token: argparse.ArgumentParser) -> None:
    token.add_argument(
        "action",
        nargs="?",
        choices=["show", "rotate", "create", "list", "revoke"],
        default="show",
        help="show or rotate the data folder's own; create, list or revoke those of a user",
    )
    token.add_argument("id", metavar="ID", nargs="?", help="of revoke: which token")
    token.add_argument("--user", metavar="NAME", help="of create and list: whose")
    token.add_argument("--label", metavar="TEXT", default="", help="of create: what it is for")
    token.add_argument(
        "--scope",
        metavar="SCOPE",
        action="append",
        help="of create: let only this through, as team/sql:read; repeatable",
    )
    token.add_argument(
        "--expires",
        metavar="WHEN",
        default="90d",
        help="of create: as 30d, 2027-01-31 or never (90d)",
    )


def _add_user(user: argparse.ArgumentParser) -> None:
    actions = ["create", "list", "disable", "enable", "promote", "demote"]
    user.add_argument("action", choices=actions, help="what to do")
    user.add_argument("name", metavar="NAME", nargs="?", help="the user")
    user.add_argument("--admin", action="store_true", help="of create: an administrator")


def _read_settings(options: argparse.Namespace) -> Settings:
    from plait_registry.setting_source import FLAGS
    from plait_registry.settings import read_settings

    flags = {name: getattr(options, name.lower(), None) for name in FLAGS}
    if flags["BASES"] is not None:
        flags["BASES"] = os.pathsep.join(flags["BASES"])
    return read_settings(flags)


def _open_data_folder(settings: Settings) -> DataFolder:
    try:
        from plait_registry.bootstrap import open_data_folder
    except ImportError as error:
        raise _extra_missing(error) from error
    return open_data_folder(settings)


def _extra_missing(error: ImportError) -> Unavailable:
    return Unavailable(
        "extra-missing",
        f"The server's packages are not installed ({error.name} is missing): run "
        "`pip install 'plait[server]'`.",
    )


def _serve(settings: Settings) -> int:
    try:
        from plait_registry.serve import serve
    except ImportError as error:
        raise _extra_missing(error) from error
    return serve(settings)


def _work(settings: Settings) -> int:
    if settings.worker.url is not None:
        from plait_registry.serve import begin_to_log
        from plait_registry.worker.remote_program import run_remote_worker

        begin_to_log(settings)
        return run_remote_worker(settings)
    _open_data_folder(settings)
    from plait_registry.serve import begin_to_log
    from plait_registry.worker.program import run_worker

    begin_to_log(settings)
    return run_worker(settings)


def _care(settings: Settings, options: argparse.Namespace) -> int:
    try:
        from plait_registry.care_commands import run_care_command
    except ImportError as error:
        raise _extra_missing(error) from error
    outcome = run_care_command(settings, options)
    for line in outcome.lines:
        print(line)
    return outcome.status


def _migrate(settings: Settings) -> int:
    folder = _open_data_folder(settings)
    from plait_registry.bootstrap import open_database

    # A database in the folder is its server's; others may be migrated beside running servers.
    with folder.lock() if settings.database_url is None else nullcontext():
        database = open_database(settings, folder)
        try:
            database.migrate()
        finally:
            database.close()
    print("The database is up to date.")
    return 0


def _change_accounts(settings: Settings, options: argparse.Namespace) -> int:
    try:
        from plait_registry.account_commands import run_account_command
    except ImportError as error:
        raise _extra_missing(error) from error
    told = run_account_command(settings, options)
    if told.remark is not None:
        print(told.remark, file=sys.stderr)
    for line in told.lines:
        print(line)
    return 0


def _token(settings: Settings, *, rotate: bool) -> int:
    from plait_registry.adapters.data_folder import DataFolder

    folder = DataFolder(settings.data)
    if not folder.token_path.exists():
        raise InvalidInput(
            "usage",
            f"{settings.data} is no registry's data folder: name one with --data, or make one with "
            "`plait-registry serve`.",
        )
    if rotate:
        folder.rotate_token()
        print("There is a new token; the old one no longer works.", file=sys.stderr)
    print(folder.token_path.absolute())
    return 0
