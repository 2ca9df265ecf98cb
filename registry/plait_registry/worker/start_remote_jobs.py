"""Putting together what has jobs of a registry elsewhere done."""

from __future__ import annotations

from plait.errors import InvalidInput
from plait.http_transport import HttpOptions, HttpTransport
from plait_registry.domain.jobs import JobKind, JobOffer
from plait_registry.settings import Settings, read_proxies
from plait_registry.worker.job_loop import JobLoop
from plait_registry.worker.remote_jobs import RemoteJobs
from plait_registry.worker.start_jobs import build_loop, find_bases


def build_remote_job_loop(settings: Settings) -> JobLoop:
    """Return what has validations of the registry at `settings.worker.url` done here.

    Raises:
        InvalidInput: `usage`, something that it takes is not set.
    """
    url, token = settings.worker.url, settings.worker.token
    if url is None or token is None:
        raise InvalidInput(
            "usage",
            "A worker needs a token of the registry: make one there by `plait-registry token "
            "create --user NAME --scope '*:work'`, and set PLAIT_WORKER_TOKEN or "
            "PLAIT_WORKER_TOKEN_FILE.",
        )
    bases = find_bases(settings)
    if not bases:
        raise InvalidInput(
            "usage",
            "A worker needs the bases that adapters are merged into: name folders with --bases "
            "below which they lie.",
        )
    options = HttpOptions(proxies=read_proxies())

    def connect(token: str) -> HttpTransport:
        return HttpTransport(url, token, options)

    source = RemoteJobs(connect(token), connect, JobOffer(frozenset({JobKind.VALIDATION}), bases))
    return build_loop(settings, source, url)
