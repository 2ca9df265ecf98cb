"""What answers here, and whether it can work; all of it is open to anyone.

    /healthz   the process lives. It looks at nothing else: who restarts a server because its
               database is away only adds to the trouble
    /readyz    it can work: the database and the object store answer, and nobody told it to stop.
               A load balancer sends requests elsewhere while this is no 200

They are for machines beside the registry, not for its users, so OpenAPI does not list them. Neither
needs one of the threads that requests work in: a registry that is busy is not a dead one.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

import anyio
from anyio.to_thread import run_sync
from fastapi import APIRouter, Request
from starlette.types import Receive, Scope, Send

import plait
from plait import wire
from plait.errors import PlaitError, Unavailable
from plait_registry.api.asgi import start_message
from plait_registry.api.errors import describe_open

HEALTH_PATH = "/healthz"
READY_PATH = "/readyz"
READY_SECONDS = 3.0
"""How long the database and the store may take to answer together."""
# However often strangers ask, what is behind the registry is asked once a second.
_FRESH_SECONDS = 1.0

_LOG = logging.getLogger("plait_registry.health")

router = APIRouter(tags=["server"])


@router.get(wire.API_PREFIX, responses=describe_open())
def get_server_info(request: Request) -> wire.ServerInfo:
    """Tell what answers at this address."""
    return wire.ServerInfo("plait", plait.__version__, request.app.state.largest_request)


@dataclass(slots=True)
class Stopping:
    """Whether the registry was told to stop; no lock, since a signal's handler sets it."""

    asked: bool = False


class Health:
    """The ASGI application at `/healthz` and `/readyz`."""

    def __init__(self, check: Callable[[], None], stopping: Stopping) -> None:
        """Take what raises where something does not answer, and whether to stop soon."""
        self._check = check
        self._stopping = stopping
        # One check at a time: a database that hangs takes this one thread, and no other.
        self._limiter = anyio.CapacityLimiter(1)
        self._failure: Unavailable | None = None
        self._checked_at = -_FRESH_SECONDS

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        """Answer one request.

        Raises:
            Unavailable: `/readyz`, the registry cannot work.
        """
        failure = None if scope["path"] == HEALTH_PATH else await self._find_failure()
        if failure is not None:
            raise failure
        body = json.dumps({"status": "ok"}).encode("ascii")
        headers = {"content-type": "application/json", "content-length": str(len(body))}
        await send(start_message(200, headers))
        await send({"type": "http.response.body", "body": body})

    async def _find_failure(self) -> Unavailable | None:
        if self._stopping.asked:
            return Unavailable("unavailable", "The registry is about to stop.")
        if time.monotonic() - self._checked_at < _FRESH_SECONDS:
            return self._failure
        try:
            with anyio.fail_after(READY_SECONDS):
                await run_sync(self._check, abandon_on_cancel=True, limiter=self._limiter)
            self._failure = None
        except TimeoutError:
            self._failure = _not_ready("no answer in time")
        except PlaitError as error:
            self._failure = _not_ready(error.message)
        self._checked_at = time.monotonic()
        return self._failure


def _not_ready(reason: str) -> Unavailable:
    """Log why, and return what strangers may know: reasons name hosts and folders."""
    _LOG.warning("not ready: %s", reason)
    return Unavailable(
        "unavailable", "The database or the object store does not answer: the log says why."
    )
