"""Putting together what has jobs done."""

from __future__ import annotations

import logging

from plait_registry.services.job_services import JobServices
from plait_registry.settings import Settings
from plait_registry.worker.job_folder import sweep_job_folders
from plait_registry.worker.job_loop import JobLoop
from plait_registry.worker.job_process import JobLauncher

_LOG = logging.getLogger("plait_registry.jobs")


def build_job_loop(settings: Settings, jobs: JobServices, url: str) -> JobLoop:
    """Return what has jobs done by processes that reach the registry at `url`; not started yet.

    Folders that killed processes left behind are removed.
    """
    launch = JobLauncher(settings, settings.jobs.url or url)
    swept = sweep_job_folders(launch.root)
    if swept:
        _LOG.info("removed what %d killed jobs left behind", swept)
    return JobLoop(jobs, launch, seconds=settings.jobs.seconds)
