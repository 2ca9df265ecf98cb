"""`plait-registry worker`: delivers events until it is told to stop.

Any number of them may run, on any machines that reach the database.
"""

from __future__ import annotations

import signal
import threading

from plait.errors import InvalidInput
from plait_registry.bootstrap import build_events, open_data_folder, open_database
from plait_registry.settings import Settings
from plait_registry.worker.delivery import DeliveryLoop


def run_worker(settings: Settings) -> int:
    """Work until a signal says to stop, and return the exit status.

    Raises:
        InvalidInput: `usage`, the database is a file, which one process has to itself.
    """
    if not settings.database_url or settings.database_url.startswith("sqlite"):
        raise InvalidInput(
            "usage",
            "A worker of its own needs PostgreSQL (PLAIT_DATABASE_URL). With records in a data "
            "folder, `plait-registry serve` delivers events itself.",
        )
    stopping = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopping.set())
    database = open_database(settings, open_data_folder(settings))
    try:
        database.check()
        events = build_events(settings, database)
        loop = DeliveryLoop(events.deliver, events.prune)
        loop.start(settings.events.threads)
        print("delivering events", flush=True)  # noqa: T201 - as `serve` says that it listens
        stopping.wait()
        loop.stop()
    finally:
        database.close()
    return 0
