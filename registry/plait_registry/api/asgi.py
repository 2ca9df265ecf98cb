"""What the two ASGI applications share: reading headers, and answering with an error."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.types import Message, Scope, Send

from plait.errors import PlaitError
from plait_registry.api.errors import body_of, headers_of, status_of

LARGEST_DISCARD = 1024 * 1024
"""Bytes of a refused body that are read and dropped, so that its sender surely sees the answer."""


def read_headers(scope: Scope) -> dict[str, str]:
    """Return the request's headers by lowercase name."""
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}


def find_header(scope: Scope, name: str) -> str:
    """Return the one value of a header; empty where it is absent, or given twice."""
    wanted = name.lower().encode("ascii")
    values = [value for key, value in scope["headers"] if key == wanted]
    return values[0].decode("latin-1") if len(values) == 1 else ""


def start_message(status: int, headers: Mapping[str, str]) -> Message:
    """Return the ASGI message that begins an answer."""
    pairs = [(name.lower().encode("ascii"), text.encode("ascii")) for name, text in headers.items()]
    return {"type": "http.response.start", "status": status, "headers": pairs}


async def send_error(
    send: Send,
    error: PlaitError,
    request: Mapping[str, str],
    *,
    status: int | None = None,
    headers: Mapping[str, str] | None = None,
) -> None:
    """Answer a request, given by its headers, whose body may not have been read.

    The rest of a large body is not waited for: closing the connection makes its sender stop.
    """
    body = body_of(error)
    closing = {} if _may_discard(request) else {"connection": "close"}
    fixed = {"content-type": "application/json", "content-length": str(len(body))}
    all_headers = {**fixed, **closing, **headers_of(error), **(headers or {})}
    await send(start_message(status or status_of(error), all_headers))
    await send({"type": "http.response.body", "body": body})


def _may_discard(request: Mapping[str, str]) -> bool:
    length = request.get("content-length", "0")
    return (
        "transfer-encoding" not in request
        and length.isdecimal()
        and int(length[:20]) <= LARGEST_DISCARD
    )
