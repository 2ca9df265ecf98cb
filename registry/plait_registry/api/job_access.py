"""Which routes a job's token opens: the closed list of what the process of such a job needs.

What it may do there, its scopes say (`plait_registry.services.authenticate`). A route that is not
named here, a new one too, is closed to it: a job makes no tokens, no further jobs, no repositories.
"""

from __future__ import annotations

from collections.abc import Mapping

from fastapi import Request

from plait.errors import PermissionDenied
from plait.wire import API_PREFIX
from plait_registry.api.requests import caller_of
from plait_registry.domain.jobs import JobKind

_REPOSITORY = "/repositories/{namespace}/{name}"
_COMMIT = f"{_REPOSITORY}/commits/{{commit}}"
_TO_REPORT = frozenset(
    {
        ("GET", "/jobs/{job}"),
        ("POST", "/jobs/{job}/progress"),
        ("POST", "/jobs/{job}/complete"),
        ("POST", "/jobs/{job}/fail"),
        ("POST", "/jobs/{job}/return"),
    }
)
_TO_READ = frozenset(
    {
        ("GET", _REPOSITORY),
        ("GET", f"{_REPOSITORY}/refs"),
        ("GET", f"{_REPOSITORY}/resolve"),
        ("GET", f"{_REPOSITORY}/commits"),
        ("GET", _COMMIT),
        ("POST", f"{_REPOSITORY}/manifests/query"),
        ("GET", f"{_REPOSITORY}/manifests/{{manifest}}"),
        ("POST", f"{_REPOSITORY}/downloads"),
    }
)
_TO_PUSH = frozenset(
    {
        ("POST", f"{_REPOSITORY}/pushes"),
        ("POST", f"{_REPOSITORY}/pushes/{{push}}/commits"),
        ("POST", f"{_REPOSITORY}/pushes/{{push}}/uploads"),
        ("POST", f"{_REPOSITORY}/pushes/{{push}}/complete"),
    }
)
_TO_JUDGE = frozenset(
    {
        ("GET", f"{_COMMIT}/expected-digests"),
        ("PUT", f"{_COMMIT}/expected-digests"),
        ("GET", f"{_COMMIT}/validations"),
        ("POST", f"{_COMMIT}/validations"),
        ("GET", f"{_COMMIT}/attestations"),
        ("POST", f"{_COMMIT}/attestations"),
        ("GET", "/validator-keys"),
    }
)
OPEN_TO_KIND: Mapping[JobKind, frozenset[tuple[str, str]]] = {
    JobKind.COMPOSITION: _TO_REPORT | _TO_READ | _TO_PUSH,
    # No push: a validator changes nothing of what it judges.
    JobKind.VALIDATION: _TO_REPORT | _TO_READ | _TO_JUDGE,
}
"""Methods and paths below the API's prefix."""


def verify_open_to_jobs(request: Request) -> None:
    """Check that a request by a job's token goes where tokens of such jobs lead.

    Raises:
        PermissionDenied: `permission-denied`.
    """
    kind = caller_of(request).job_kind
    if kind is None:
        return
    # The framework's releases differ in whether a route knows what it was mounted under.
    template = str(request.scope["route"].path).removeprefix(API_PREFIX)
    if (request.method, template) not in OPEN_TO_KIND[JobKind(kind)]:
        raise PermissionDenied(
            "permission-denied",
            f"The token of a job lets its process do the {kind}: read the inputs, publish the "
            "outcome and report, and do nothing else.",
        )
