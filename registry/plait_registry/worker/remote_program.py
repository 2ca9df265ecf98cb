"""`plait-registry worker --url URL`: does validations for a registry elsewhere, until told to stop.

It needs neither that registry's database nor its store nor its keys: it speaks HTTP by a token of
the scope `*:work`, and keeps a folder of its own for the processes of jobs.
"""

from __future__ import annotations

from plait_registry.settings import Settings
from plait_registry.worker.signals import listen_for_stop
from plait_registry.worker.start_remote_jobs import build_remote_job_loop


def run_remote_worker(settings: Settings) -> int:
    """Work until a signal says to stop, and return the exit status.

    Raises:
        InvalidInput: `usage`, it lacks its token, or bases.
    """
    stopping = listen_for_stop()
    loop = build_remote_job_loop(settings)
    loop.start(settings.jobs.processes)
    try:
        print(f"doing validations for {settings.worker.url}", flush=True)  # noqa: T201 - as `serve`
        stopping.wait()
    finally:
        loop.stop()
    return 0
