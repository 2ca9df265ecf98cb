"""Putting together what has jobs done."""

from __future__ import annotations

import logging

from plait.known_bases import list_bases
from plait_registry.domain.jobs import JobOffer
from plait_registry.domain.validation_wish import offer_bases
from plait_registry.services.job_services import JobServices
from plait_registry.settings import Settings
from plait_registry.worker.job_folder import sweep_job_folders
from plait_registry.worker.job_loop import JobLoop, JobSource
from plait_registry.worker.job_process import JobLauncher
from plait_registry.worker.local_jobs import LocalJobs

_LOG = logging.getLogger("plait_registry.jobs")


def build_job_loop(settings: Settings, jobs: JobServices, url: str) -> JobLoop:
    """Return what has jobs of the database done by processes that reach the registry at `url`.

    Of validations, these are those whose base lies here or in the registry.
    """
    source = LocalJobs(jobs, JobOffer(bases=offer_bases(find_bases(settings))))
    return build_loop(settings, source, settings.jobs.url or url)


def build_loop(settings: Settings, source: JobSource, url: str) -> JobLoop:
    """Return what has the jobs of a source done, by processes that reach the registry at `url`.

    It is not started yet. Folders that killed processes left behind are removed.
    """
    launch = JobLauncher(settings, url)
    swept = sweep_job_folders(launch.root)
    if swept:
        _LOG.info("removed what %d killed jobs left behind", swept)
    return JobLoop(source, launch, seconds=settings.jobs.seconds)


def find_bases(settings: Settings) -> frozenset[str]:
    """Return the fingerprints of the bases here; the first time, every byte of them is read."""
    validator = settings.jobs.validator
    if not validator.bases:
        return frozenset()
    found = list_bases(validator.bases, settings.remembered)
    for fingerprint, folder in found.items():
        _LOG.info("has the base %s in %s", fingerprint, folder)
    return frozenset(found)
