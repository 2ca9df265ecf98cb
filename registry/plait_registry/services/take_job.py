"""Taking a job over HTTP, by a worker that has neither the database nor any key of the registry.

A worker is shown one job with a token for it, and can do no more by its own token than to ask for
the next. It takes validations alone: what a composition reads and writes stays between the registry
and its own processes.
"""

from __future__ import annotations

from plait.errors import InvalidInput
from plait_registry.domain.access import Caller, verify_works
from plait_registry.domain.jobs import JobKind, JobOffer
from plait_registry.services.run_jobs import ClaimedJob, ClaimJob

OFFERED = frozenset({JobKind.VALIDATION})
"""What workers elsewhere may take."""


class TakeJob:
    """Gives a worker the job whose turn it is."""

    def __init__(self, claim: ClaimJob) -> None:
        self._claim = claim

    def __call__(self, caller: Caller, offer: JobOffer) -> ClaimedJob | None:
        """Return a job with its token; None where nothing is due that the worker takes.

        Raises:
            PermissionDenied: the caller's token is not for that.
            InvalidInput: the worker asks for what is not done elsewhere.
        """
        verify_works(caller)
        if not offer.kinds <= OFFERED:
            raise InvalidInput(
                "invalid-input",
                f"kinds: workers take {', '.join(sorted(OFFERED))}.",
                field="kinds",
            )
        return self._claim(offer)
