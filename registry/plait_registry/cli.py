"""`plait-registry`: the operator's program.

Every command imports what it needs when it runs, so that `--version` and `--help` are quick.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

import plait
from plait.errors import InvalidInput, PlaitError, Unavailable

if TYPE_CHECKING:
    from plait_registry.adapters.data_folder import DataFolder
    from plait_registry.settings import Settings

LAST_RESORT_SECONDS = 9.5
"""After a signal, the process ends by now, whatever still runs: nothing half-done is visible."""

_EXAMPLES = """\
examples:
  plait-registry serve                          on http://127.0.0.1:8420, data in ./plait-data
  plait-registry serve --data /srv/plait --port 0
  plait-registry token                          where the administrator's token is
  plait-registry token rotate                   replace it; running servers take the new one

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
    commands.add_parser("migrate", parents=[shared], help="bring the database up to date")
    token = commands.add_parser("token", parents=[shared], help="the administrator's token")
    token.add_argument("action", nargs="?", choices=["show", "rotate"], default="show")
    return parser


def _read_settings(options: argparse.Namespace) -> Settings:
    from plait_registry.settings import FLAGS, read_settings

    return read_settings({name: getattr(options, name.lower(), None) for name in FLAGS})


def _open_data_folder(settings: Settings) -> DataFolder:
    try:
        from plait_registry.bootstrap import open_data_folder
    except ImportError as error:
        raise Unavailable(
            "extra-missing",
            f"The server's packages are not installed ({error.name} is missing): run "
            "`pip install 'plait[server]'`.",
        ) from error
    return open_data_folder(settings)


def _serve(settings: Settings) -> int:
    folder = _open_data_folder(settings)
    from plait_registry.api.app import create_app
    from plait_registry.api.log_format import configure_logging
    from plait_registry.api.serving import Server, bind, url_of
    from plait_registry.bootstrap import build_registry

    configure_logging(settings.log_level)
    with folder.lock(), bind(settings.host, settings.port) as bound:
        registry = build_registry(settings, folder)
        url = url_of(bound)

        def announce() -> None:
            folder.announce(url)
            print(f"listening on {url}", flush=True)

        app = create_app(registry, largest_request=settings.largest_request)
        last_resort = _last_resort(folder)
        server = Server(app, on_ready=announce, on_stop=lambda: _start_once(last_resort))
        # For signals that come before uvicorn listens for them, and after: it raises them once
        # more when it is done, and by default that would kill the process.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, server.handle_exit)
        try:
            server.run(sockets=[bound])
        finally:
            last_resort.cancel()
            folder.withdraw()
            registry.close()
    return 0


def _last_resort(folder: DataFolder) -> threading.Timer:
    """Return a timer that ends the process even if a thread still reads or writes."""

    def end() -> None:
        try:
            folder.withdraw()
        finally:
            os._exit(0)

    timer = threading.Timer(LAST_RESORT_SECONDS, end)
    timer.daemon = True
    return timer


def _start_once(timer: threading.Timer) -> None:
    # People press Ctrl+C twice.
    if not timer.is_alive():
        timer.start()


def _migrate(settings: Settings) -> int:
    folder = _open_data_folder(settings)
    from plait_registry.bootstrap import open_database

    with folder.lock():
        database = open_database(settings, folder)
        try:
            database.migrate()
        finally:
            database.close()
    print("The database is up to date.")
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
