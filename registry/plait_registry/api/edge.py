"""What happens to every request before it is routed, and after it was answered.

- It gets an id: the caller's, where that is well-formed, else a new one. The answer carries it.
- It leaves one line in the log: who asked what from where, and what came of it. Never the query,
  which may hold a signature, and no header.
- It is counted, under the template of its path.
- An exception that nobody foresaw is logged with its traceback; the caller sees none of it.
- The API wants a bearer token, checked before any byte of a body is read.
- Bodies are limited, and cut where their senders stall: see `request_body.py`.

This is ASGI without a framework, because it must see bodies while they stream.
"""

from __future__ import annotations

import logging
import re
import secrets
import time
from dataclasses import dataclass

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from plait.errors import PlaitError
from plait.wire import API_PREFIX, REQUEST_ID_HEADER
from plait_registry.api.asgi import find_header, read_headers, send_error
from plait_registry.api.authentication import Authenticate, find_caller
from plait_registry.api.errors import internal_error
from plait_registry.api.health import HEALTH_PATH, READY_PATH
from plait_registry.api.metrics import METRICS_PATH
from plait_registry.api.remote_address import find_remote_address
from plait_registry.api.request_body import RequestBody, too_large
from plait_registry.domain.accounts import TOKEN_PREFIX
from plait_registry.domain.meter import Meter, RequestFacts
from plait_registry.settings import Serving

OBJECTS_PREFIX = "/objects/"
CLIENT_GONE = 499
"""The status that logs and figures show for a request that went away unanswered, as nginx's."""

_ACCESS = logging.getLogger("plait_registry.access")
_FAULTS = logging.getLogger("plait_registry.faults")
# People paste a token where its id belongs.
_TOKEN = re.compile(rf"{TOKEN_PREFIX}[A-Za-z0-9_-]{{20,}}")
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


@dataclass(frozen=True, slots=True)
class Applications:
    """What answers where."""

    api: ASGIApp
    objects: ASGIApp
    """Answers everything under `/objects/`; checks signatures itself."""
    health: ASGIApp
    metrics: ASGIApp


@dataclass(frozen=True, slots=True)
class Edge:
    """The outermost ASGI application."""

    behind: Applications
    authenticate: Authenticate
    meter: Meter
    serving: Serving

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        request_id = _find_request_id(scope)
        scope.setdefault("state", {})["request_id"] = request_id
        answer = _Answer(scope, send, request_id)
        body = RequestBody(
            receive, stall_seconds=self.serving.stall_seconds, refuse=answer.refuse_and_close
        )
        begun = time.monotonic()
        self.meter.request_begun()
        try:
            await self._route(scope, body, answer.send)
        except PlaitError as error:
            await answer.refuse(error)
        except Exception:  # noqa: BLE001 - the outermost edge: nobody else could answer
            _FAULTS.exception("request failed", extra={"request_id": request_id})
            await answer.refuse(internal_error(request_id))
        finally:
            facts = _describe(scope, answer, body, time.monotonic() - begun)
            self.meter.request_ended(facts)
            _log_access(scope, facts, find_remote_address(scope, self.serving.trusted_proxies))

    async def _route(self, scope: Scope, body: RequestBody, send: Send) -> None:
        path = scope["path"]
        if path.startswith(OBJECTS_PREFIX):
            await self.behind.objects(scope, body.receive, send)
        elif path in (HEALTH_PATH, READY_PATH) and scope["method"] in ("GET", "HEAD"):
            await self.behind.health(scope, body.receive, send)
        elif path == METRICS_PATH:
            await self.behind.metrics(scope, body.receive, send)
        else:
            await self._call_api(scope, body, send)

    async def _call_api(self, scope: Scope, body: RequestBody, send: Send) -> None:
        if scope["path"].startswith(f"{API_PREFIX}/"):
            scope["state"]["caller"] = await find_caller(scope, self.authenticate)
        largest = self.serving.largest_request
        length = find_header(scope, "content-length")
        if length.isdecimal() and int(length[:20]) > largest:
            raise too_large(largest)
        await self.behind.api(scope, body.limited(largest), send)


class _Answer:
    """The answer on its way out: adds the request's id, and remembers what it was."""

    def __init__(self, scope: Scope, send: Send, request_id: str) -> None:
        self._scope = scope
        self._send = send
        self._request_id = request_id.encode("ascii")
        self._is_cut = False
        self.status: int | None = None
        self.kind: str | None = None
        """Of the error that the edge itself answered with, whatever the application said later."""
        self.sent = 0

    async def send(self, message: Message) -> None:
        if self._is_cut:
            return
        if message["type"] == "http.response.start":
            self.status = message["status"]
            header = (REQUEST_ID_HEADER.lower().encode("ascii"), self._request_id)
            message = {**message, "headers": [*message.get("headers", []), header]}
        else:
            self.sent += len(message.get("body", b""))
        await self._send(message)

    async def refuse(self, error: PlaitError) -> None:
        """Answer with an error, unless an answer has begun."""
        if self.status is None:
            self.kind = error.kind
            await send_error(self.send, error, read_headers(self._scope))

    async def refuse_and_close(self, error: PlaitError) -> None:
        """Answer a request whose body will not come; whatever the application says is dropped."""
        if self.status is None:
            self.kind = error.kind
            closing = {"connection": "close"}
            await send_error(self.send, error, {}, status=408, headers=closing)
        self._is_cut = True


def _find_request_id(scope: Scope) -> str:
    given = find_header(scope, REQUEST_ID_HEADER)
    return given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(8)


def _find_route(scope: Scope) -> str:
    """Return the template of a request's path: one of a few, whatever the path."""
    path = scope["path"]
    if path.startswith(OBJECTS_PREFIX):
        return f"{OBJECTS_PREFIX}{{object}}"
    if path in (HEALTH_PATH, READY_PATH, METRICS_PATH):
        return str(path)
    template = getattr(scope.get("route"), "path", None)
    if template is None:
        return "unmatched"
    # The framework's releases differ in whether a route knows what it was mounted under.
    is_whole = not path.startswith(API_PREFIX) or template.startswith(API_PREFIX)
    return str(template) if is_whole else f"{API_PREFIX}{template}"


def _describe(scope: Scope, answer: _Answer, body: RequestBody, seconds: float) -> RequestFacts:
    return RequestFacts(
        method=scope["method"],
        route=_find_route(scope),
        status=answer.status or CLIENT_GONE,
        seconds=seconds,
        received=body.received,
        sent=answer.sent,
        kind=answer.kind or scope["state"].get("error_kind"),
    )


def _log_access(scope: Scope, facts: RequestFacts, remote: str | None) -> None:
    is_probe = facts.route in (HEALTH_PATH, READY_PATH, METRICS_PATH) and facts.status == 200
    caller = scope["state"].get("caller")
    _ACCESS.log(
        # What machines ask every few seconds would hide everything else.
        logging.DEBUG if is_probe else logging.INFO,
        "request",
        extra={
            "method": facts.method,
            "path": _TOKEN.sub("(a token)", scope["path"]),
            "route": facts.route,
            "status": facts.status,
            "kind": facts.kind,
            "milliseconds": round(facts.seconds * 1000, 1),
            "received": facts.received,
            "sent": facts.sent,
            "remote": remote,
            "caller": None if caller is None else caller.name,
            "token_id": None if caller is None else caller.token,
            "request_id": scope["state"]["request_id"],
        },
    )
