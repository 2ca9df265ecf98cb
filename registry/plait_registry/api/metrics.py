"""`/metrics`: the meter's figures for Prometheus, for whom the operator lets read them.

They name no repository, user or address, so that any token will do: a user `prometheus` without a
role in any namespace is enough.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field

from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from starlette.types import Receive, Scope, Send

from plait.errors import NotFound, PermissionDenied
from plait_registry.api.asgi import start_message
from plait_registry.api.authentication import Authenticate, find_caller
from plait_registry.domain.meter import Meter
from plait_registry.settings import MetricsAccess

METRICS_PATH = "/metrics"
_FORWARDED = frozenset(
    {b"forwarded", b"via", b"x-forwarded-for", b"x-forwarded-proto", b"x-real-ip"}
)


@dataclass(frozen=True, slots=True)
class Metrics:
    """The ASGI application at `/metrics`."""

    meter: Meter
    access: MetricsAccess
    authenticate: Authenticate
    limiter: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(1))
    """A thread of its own: figures are wanted most when all others are taken."""

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        """Answer one request.

        Raises:
            NotFound: `route-not-found`, nobody may read the figures, or by another method.
            Unauthenticated: a token is wanted.
            PermissionDenied: the request is not from this machine, or a job's.
        """
        if self.access is MetricsAccess.OFF or scope["method"] != "GET":
            raise NotFound("route-not-found", "The registry has nothing at this address.")
        if self.access is MetricsAccess.TOKEN:
            caller = await find_caller(scope, self.authenticate, self.limiter)
            scope["state"]["caller"] = caller
            if caller.job is not None:
                raise PermissionDenied(
                    "permission-denied", "The figures are no business of a job's process."
                )
        if self.access is MetricsAccess.LOOPBACK and not is_direct_and_local(scope):
            raise PermissionDenied(
                "permission-denied", "The figures are for this machine only: see PLAIT_METRICS."
            )
        body = await run_sync(self.meter.render, limiter=self.limiter)
        headers = {
            "content-type": "text/plain; version=0.0.4; charset=utf-8",
            "content-length": str(len(body)),
        }
        await send(start_message(200, headers))
        await send({"type": "http.response.body", "body": body})


def is_direct_and_local(scope: Scope) -> bool:
    """Tell whether a program of this machine asks, and not a proxy for somebody else."""
    client = scope.get("client")
    if client is None or _FORWARDED & {name for name, _ in scope["headers"]}:
        return False
    try:
        return ipaddress.ip_address(client[0]).is_loopback
    except ValueError:
        return False
