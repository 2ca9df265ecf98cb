"""`plait-registry serve`: from settings to a process, or several, that answer until a signal.

One process serves a data folder. With PostgreSQL and S3, a parent looks after several: it holds the
socket and the folder's lock, and each worker is a copy of it that builds a registry of its own.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from plait.errors import InvalidInput, PlaitError
from plait_registry.adapters.data_folder import DataFolder
from plait_registry.api.log_format import configure_logging
from plait_registry.api.service_manager import READY, tell_service_manager
from plait_registry.api.serving import Server, allow_open_files, bind, url_of
from plait_registry.api.workers import Callbacks, Channels, Supervisor
from plait_registry.settings import Settings, find_notify_socket, share_metrics

LAST_RESORT_SECONDS = 1.5
"""Once requests had their time to finish, the process ends so much later, whatever still runs:
nothing half-done is visible."""


def serve(settings: Settings) -> int:
    """Answer requests until a signal says to stop, and return the exit status.

    Raises:
        InvalidInput, Unavailable: it cannot start.
    """
    begin_to_log(settings)
    folder = DataFolder(settings.data)
    folder.make()
    if settings.serving.workers > 1:
        return _serve_by_workers(settings, folder)
    share_metrics(None)
    with folder.lock(), bind(settings.host, settings.port) as bound:
        url = url_of(bound)
        try:
            _answer(
                settings,
                folder,
                bound,
                on_ready=lambda: _announce(folder, url),
                on_end=folder.withdraw,
            )
        finally:
            folder.withdraw()
    return 0


def _answer(
    settings: Settings,
    folder: DataFolder,
    bound: socket.socket,
    *,
    on_ready: Callable[[], None],
    on_end: Callable[[], None],
) -> None:
    """Answer requests on a bound socket until a signal says to stop."""
    # Not at the top: what starts threads when it is imported cannot be copied into workers.
    from plait_registry.api.app import create_app
    from plait_registry.api.health import Stopping
    from plait_registry.bootstrap import build_registry
    from plait_registry.worker.delivery import DeliveryLoop
    from plait_registry.worker.journal import JournalLoop
    from plait_registry.worker.own_key import use_own_key
    from plait_registry.worker.start_jobs import build_job_loop

    allow_open_files(settings.serving)
    registry = build_registry(settings, folder)
    delivery = DeliveryLoop(registry.events.deliver, registry.events.prune)
    journal = JournalLoop(registry.journal_refs)
    signing = settings
    if settings.jobs.enabled:
        signing = use_own_key(settings, registry.validations)
    jobs = build_job_loop(signing, registry.jobs, url_of(bound))
    stopping = Stopping()
    last_resort = _last_resort(settings, on_end)

    def ready() -> None:
        # Not earlier: processes of jobs call this very server.
        if settings.jobs.enabled:
            jobs.start(settings.jobs.processes)
        on_ready()

    def stop() -> None:
        stopping.asked = True
        registry.events.read.stop()
        delivery.stop(wait_s=0)
        jobs.stop(wait_s=0)
        _start_once(last_resort)

    app = create_app(registry, settings.serving, stopping=stopping)
    server = Server(app, settings.serving, on_ready=ready, on_stop=stop)
    # For signals that come before uvicorn listens for them, and after: it raises them once more
    # when it is done, and by default that would kill the process.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, server.handle_exit)
    try:
        if settings.events.delivery:
            delivery.start(settings.events.threads)
        journal.start()
        server.run(sockets=[bound])
    finally:
        jobs.stop()
        delivery.stop()
        journal.stop()
        last_resort.cancel()
        registry.close()


def _serve_by_workers(settings: Settings, folder: DataFolder) -> int:
    with ExitStack() as stack:
        shared = Path(stack.enter_context(TemporaryDirectory(prefix="plait-metrics-")))
        # Before the import, which looks for it.
        share_metrics(shared)
        from plait_registry.adapters.prometheus_meter import forget_worker

        stack.enter_context(folder.lock())
        bound = stack.enter_context(bind(settings.host, settings.port))
        url = url_of(bound)
        stack.callback(folder.withdraw)
        supervisor = Supervisor(
            settings.serving.workers,
            lambda channels: _start_worker(settings, folder, bound, channels),
            Callbacks(
                on_ready=lambda: _announce(folder, url),
                on_death=lambda pid: forget_worker(shared, pid),
                on_stop=bound.close,
            ),
            stop_seconds=_longest_stop(settings) + LAST_RESORT_SECONDS,
        )
        return supervisor.run()


def _start_worker(
    settings: Settings, folder: DataFolder, bound: socket.socket, channels: Channels
) -> int:
    """Return the process id of a copy of this process that answers requests."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        channels.become_worker()
        _answer(settings, folder, bound, on_ready=channels.tell_ready, on_end=_do_nothing)
        status = 0
    except PlaitError as error:
        status = tell_failure(error)
    except Exception:  # noqa: BLE001 - the process's edge: after this nobody could tell
        traceback.print_exc()
    finally:
        # Nothing of the parent's is cleaned up by its copy.
        sys.stderr.flush()
        os._exit(status)


def begin_to_log(settings: Settings) -> None:
    """Write log lines from now on, the first about settings that may be misspelt."""
    configure_logging(settings.log_level)
    for notice in settings.notices:
        logging.getLogger("plait_registry.settings").warning(notice)


def _announce(folder: DataFolder, url: str) -> None:
    folder.announce(url)
    print(f"listening on {url}", flush=True)
    tell_service_manager(find_notify_socket(), READY)


def _do_nothing() -> None:
    """Leave to the parent what is the parent's."""


def _longest_stop(settings: Settings) -> float:
    serving = settings.serving
    return serving.drain_seconds + serving.stop_seconds + LAST_RESORT_SECONDS


def _last_resort(settings: Settings, on_end: Callable[[], None]) -> threading.Timer:
    """Return a timer that ends the process even if a thread still reads or writes."""

    def end() -> None:
        try:
            on_end()
        finally:
            os._exit(0)

    timer = threading.Timer(_longest_stop(settings), end)
    timer.daemon = True
    return timer


def _start_once(timer: threading.Timer) -> None:
    # People press Ctrl+C twice.
    if not timer.is_alive():
        timer.start()


def tell_failure(error: PlaitError) -> int:
    """Say what went wrong, and return the exit status that goes with it."""
    print(f"plait-registry: {error.message}", file=sys.stderr)
    return 2 if isinstance(error, InvalidInput) else 1
