"""`plait-registry worker`: delivers events, and has jobs done, until it is told to stop.

Any number of them may run, on any machines that reach the database. Jobs want to reach the registry
as well, so that they are done only where its address is known.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from plait.errors import InvalidInput
from plait_registry.bootstrap import build_events, build_jobs, open_data_folder, open_database
from plait_registry.domain.ports import Database
from plait_registry.settings import Settings
from plait_registry.worker.delivery import DeliveryLoop
from plait_registry.worker.signals import listen_for_stop
from plait_registry.worker.start_jobs import build_job_loop


def run_worker(settings: Settings) -> int:
    """Work until a signal says to stop, and return the exit status.

    Raises:
        InvalidInput: `usage`, the database is a file, which one process has to itself.
    """
    if not settings.database_url or settings.database_url.startswith("sqlite"):
        raise InvalidInput(
            "usage",
            "A worker of its own needs PostgreSQL (PLAIT_DATABASE_URL). With records in a data "
            "folder, `plait-registry serve` delivers events and does jobs itself.",
        )
    stopping = listen_for_stop()
    database = open_database(settings, open_data_folder(settings))
    try:
        database.check()
        events = build_events(settings, database)
        delivery = DeliveryLoop(events.deliver, events.prune)
        with _doing_jobs(settings, database) as does_jobs:
            delivery.start(settings.events.threads)
            told = "delivering events, doing jobs" if does_jobs else "delivering events"
            print(told, flush=True)  # noqa: T201 - as `serve` says that it listens
            stopping.wait()
        delivery.stop()
    finally:
        database.close()
    return 0


@contextmanager
def _doing_jobs(settings: Settings, database: Database) -> Generator[bool]:
    """Have jobs done during a block, if they shall be; yield whether they are."""
    url = settings.jobs.url
    if url is None or not settings.jobs.enabled:
        yield False
        return
    loop = build_job_loop(settings, build_jobs(settings, database), url)
    loop.start(settings.jobs.processes)
    try:
        yield True
    finally:
        loop.stop()
