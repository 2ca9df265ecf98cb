"""From a request's header to the caller that its token stands for."""

from __future__ import annotations

from collections.abc import Callable

from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from starlette.types import Scope

from plait.errors import Unauthenticated
from plait_registry.api.asgi import find_header
from plait_registry.domain.access import Caller

LONGEST_TOKEN = 1_024
"""Characters. Ours have 49; what is longer costs nobody a look at the database."""

Authenticate = Callable[[str], Caller]
"""Returns whose token it is, or raises `Unauthenticated`."""


async def find_caller(
    scope: Scope, authenticate: Authenticate, limiter: CapacityLimiter | None = None
) -> Caller:
    """Return who makes a request; asks in a worker thread, before any byte of a body is read.

    The thread is one of those that requests work in, unless another limiter counts it.

    Raises:
        Unauthenticated: there is no token, or it does not count.
    """
    scheme, _, token = find_header(scope, "authorization").partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not token:
        raise Unauthenticated(
            "token-missing",
            "The registry wants a token: run `plait login`, or set PLAIT_TOKEN.",
        )
    if len(token) > LONGEST_TOKEN:
        raise Unauthenticated("unauthenticated", "The registry does not know this token.")
    return await run_sync(authenticate, token, limiter=limiter)
