"""Which routes a job's token opens: the closed list of what the process of a job needs.

What it may do there, its scopes say (`plait_registry.services.authenticate`). A route that is not
named here, a new one too, is closed to it: a job makes no tokens, no further jobs, no repositories.
"""

from __future__ import annotations

from fastapi import Request

from plait.errors import PermissionDenied
from plait.wire import API_PREFIX
from plait_registry.api.requests import caller_of

_REPOSITORY = "/repositories/{namespace}/{name}"
OPEN_TO_JOBS = frozenset(
    {
        ("GET", "/jobs/{job}"),
        ("POST", "/jobs/{job}/progress"),
        ("POST", "/jobs/{job}/complete"),
        ("POST", "/jobs/{job}/fail"),
        # To read the inputs.
        ("GET", _REPOSITORY),
        ("GET", f"{_REPOSITORY}/refs"),
        ("GET", f"{_REPOSITORY}/resolve"),
        ("GET", f"{_REPOSITORY}/commits"),
        ("GET", f"{_REPOSITORY}/commits/{{commit}}"),
        ("POST", f"{_REPOSITORY}/manifests/query"),
        ("GET", f"{_REPOSITORY}/manifests/{{manifest}}"),
        ("POST", f"{_REPOSITORY}/downloads"),
        # To push the outcome.
        ("POST", f"{_REPOSITORY}/pushes"),
        ("POST", f"{_REPOSITORY}/pushes/{{push}}/commits"),
        ("POST", f"{_REPOSITORY}/pushes/{{push}}/uploads"),
        ("POST", f"{_REPOSITORY}/pushes/{{push}}/complete"),
    }
)
"""Methods and paths below the API's prefix."""


def verify_open_to_jobs(request: Request) -> None:
    """Check that a request by a job's token goes where such tokens lead.

    Raises:
        PermissionDenied: `permission-denied`.
    """
    if caller_of(request).job is None:
        return
    # The framework's releases differ in whether a route knows what it was mounted under.
    template = str(request.scope["route"].path).removeprefix(API_PREFIX)
    if (request.method, template) not in OPEN_TO_JOBS:
        raise PermissionDenied(
            "permission-denied",
            "The token of a job lets its process read the inputs, push the outcome and report, and "
            "do nothing else.",
        )
