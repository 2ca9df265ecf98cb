"""Jobs from a registry elsewhere, by HTTP.

The worker's own token, of the scope `*:work`, lets it ask for the next job. All that it says about
a job, it says by the token of that job, which is good for nothing else and ends with its lease.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from plait import wire, wire_jobs
from plait.errors import Conflict, NotFound, PermissionDenied, Unauthenticated
from plait.transport import Transport
from plait_registry.domain.jobs import JobError, JobId, JobOffer, lost_lease
from plait_registry.services.authenticate import hash_token
from plait_registry.services.run_jobs import HeldJob

_JOBS = f"{wire.API_PREFIX}/jobs"
_GONE = (Conflict, NotFound, PermissionDenied, Unauthenticated)
"""What a registry answers by a token of a job that has ended, or is another's by now."""


@dataclass(frozen=True, slots=True)
class TakenJob:
    """A job of a registry elsewhere, with what lets its process do it."""

    held: HeldJob
    token: str = field(repr=False)


class RemoteJobs:
    """A `plait_registry.worker.job_loop.JobSource` over HTTP."""

    def __init__(
        self, transport: Transport, connect: Callable[[str], Transport], offer: JobOffer
    ) -> None:
        """Take what speaks by the worker's token, what speaks by another one, and what is taken."""
        self._transport = transport
        self._connect = connect
        self._offer = wire_jobs.JobOffer(
            kinds=sorted(kind.value for kind in offer.kinds),
            bases=None if offer.bases is None else sorted(offer.bases),
        )
        self._held: dict[str, Transport] = {}
        self._lock = threading.Lock()

    def claim(self) -> TakenJob | None:
        """Take the job whose turn it is.

        An answer that is lost costs a lease: the registry then gives the job to who asks next.
        """
        answer = self._transport.call("POST", f"{_JOBS}/claim", body=wire.encode(self._offer))
        taken = wire.decode(wire_jobs.JobTaking, answer).taken
        if taken is None:
            return None
        held = HeldJob(JobId(taken.job.job.id), hash_token(taken.token))
        with self._lock:
            self._held[held.digest] = self._connect(taken.token)
        return TakenJob(held, taken.token)

    def is_held(self, held: HeldJob) -> bool:
        """Tell whether a job is still this worker's."""
        try:
            answer = self._say(held, "GET", "")
        except _GONE:
            self._forget(held)
            return False
        return wire.decode(wire_jobs.JobDetails, answer).job.state == "running"

    def give_back(self, held: HeldJob) -> None:
        """Queue a job as if it had not begun."""
        try:
            self._say(held, "POST", "/return")
        except _GONE:
            return
        finally:
            self._forget(held)

    def end_attempt(self, held: HeldJob, error: JobError, log: str = "") -> None:
        """Say that a process ended without saying how its job stands."""
        failure = wire_jobs.JobFailure(error.kind, error.message, log)
        try:
            self._say(held, "POST", "/fail", failure)
        except _GONE:
            return
        finally:
            self._forget(held)

    def prune(self) -> int:
        """Leave to the registry what is the registry's."""
        return 0

    def _say(
        self, held: HeldJob, method: str, tail: str, body: wire_jobs.JobFailure | None = None
    ) -> object:
        with self._lock:
            transport = self._held.get(held.digest)
        if transport is None:
            raise lost_lease(held.id)
        return transport.call(
            method,
            f"{_JOBS}/{held.id}{tail}",
            body=None if body is None else wire.encode(body),
            repeatable=True,
        )

    def _forget(self, held: HeldJob) -> None:
        with self._lock:
            transport = self._held.pop(held.digest, None)
        if transport is not None:
            transport.close()
