"""From errors to HTTP answers: the one table of statuses, and how OpenAPI describes them.

The body is always `{"error": {"kind", "message", "details"}}`, also for what the web framework
refuses by itself. `kind` says exactly what happened; the status only which group it belongs to.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.responses import Response

from plait.errors import (
    AlreadyExists,
    Conflict,
    Integrity,
    Internal,
    InvalidInput,
    NotFound,
    PermissionDenied,
    PlaitError,
    TooLarge,
    Unauthenticated,
    Unavailable,
)

Responses = dict[int | str, dict[str, Any]]
"""What FastAPI takes as a route's further responses."""

STATUS_OF_CLASS: Mapping[type[PlaitError], int] = {
    Unauthenticated: 401,
    PermissionDenied: 403,
    NotFound: 404,
    AlreadyExists: 409,
    Conflict: 409,
    TooLarge: 413,
    InvalidInput: 422,
    Integrity: 422,
    Internal: 500,
    Unavailable: 503,
}
RETRY_AFTER = "5"
"""Seconds. A full disk or a database that restarts is not repaired within one."""

_HEADERS_OF_CLASS: Mapping[type[PlaitError], Mapping[str, str]] = {
    Unauthenticated: {"WWW-Authenticate": "Bearer"},
    Unavailable: {"Retry-After": RETRY_AFTER},
}


class ErrorFacts(BaseModel):
    """What went wrong."""

    kind: str = Field(description="A stable word that programs may rely on.")
    message: str = Field(description="A sentence that says what to do.")
    details: dict[str, Any] = Field(
        description="The facts, by name; which ones depends on the kind."
    )


class ErrorBody(BaseModel):
    """The body of every answer with a status of 400 or above."""

    error: ErrorFacts = Field(description="What went wrong.")


def status_of(error: PlaitError) -> int:
    """Return the HTTP status of an error."""
    return STATUS_OF_CLASS[type(error)]


def headers_of(error: PlaitError) -> Mapping[str, str]:
    """Return the headers that go with an error."""
    return _HEADERS_OF_CLASS.get(type(error), {})


def body_of(error: PlaitError) -> bytes:
    """Return the JSON body of an error; plain ASCII, so that no input can break the encoding."""
    return json.dumps(error.to_json(), default=str).encode("ascii")


def answer(error: PlaitError, *, status: int | None = None) -> Response:
    """Return the HTTP answer of an error."""
    return Response(
        body_of(error),
        status_code=status or status_of(error),
        headers=dict(headers_of(error)),
        media_type="application/json",
    )


def describe(*classes: type[PlaitError]) -> Responses:
    """Return what OpenAPI shall say about the errors of a route, besides those of every route."""
    return _describe([Unauthenticated, *classes, InvalidInput, TooLarge, Internal, Unavailable])


def describe_open() -> Responses:
    """Return what OpenAPI shall say about the errors of a route that takes no token or input."""
    return _describe([Internal, Unavailable])


def _describe(classes: Sequence[type[PlaitError]]) -> Responses:
    sentences: dict[int, list[str]] = {}
    for cls in classes:
        sentences.setdefault(STATUS_OF_CLASS[cls], []).append(f"{cls.__name__}: {cls.__doc__}")
    return {
        status: {"model": ErrorBody, "description": " ".join(sentences[status])}
        for status in sorted(sentences)
    }


def internal_error(request_id: str) -> Internal:
    """Return what a caller learns of a fault in the registry: only where to find it in the log."""
    return Internal(
        "internal",
        "The registry failed on this request. Its log says why, under the request's id "
        f"{request_id}.",
        request_id=request_id,
    )


def install_handlers(app: FastAPI) -> None:
    """Make the web framework answer every failure in the one form."""
    app.add_exception_handler(PlaitError, _answer_plait_error)
    app.add_exception_handler(RequestValidationError, _answer_invalid_request)
    app.add_exception_handler(HTTPException, _answer_framework_error)
    app.add_exception_handler(Exception, _answer_unexpected_error)


def _answer_plait_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, PlaitError):  # pragma: no cover - registered for this class only
        raise error
    return _note(request, error)


def _answer_invalid_request(request: Request, error: Exception) -> Response:
    if not isinstance(error, RequestValidationError):  # pragma: no cover - as above
        raise error
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        reason = first.get("ctx", {}).get("error", "it ends early")
        return _note(
            request, InvalidInput("invalid-json", f"The request's body is not JSON: {reason}.")
        )
    field = ".".join(str(part) for part in first["loc"])
    return _note(request, InvalidInput("invalid-input", f"{field}: {first['msg']}.", field=field))


def _answer_framework_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):  # pragma: no cover - as above
        raise error
    # FastAPI hides what stopped the reading of a body behind a plain 400.
    if isinstance(error.__cause__, PlaitError):
        return _note(request, error.__cause__)
    if error.status_code in (404, 405):
        missing = NotFound(
            "route-not-found",
            "The registry has nothing at this address, or nothing for this method: is the client "
            "newer than the registry?",
        )
        response = _note(request, missing, status=error.status_code)
        response.headers.update(error.headers or {})
        return response
    return _note(request, InvalidInput("invalid-json", "The request's body is not JSON in UTF-8."))


def _note(request: Request, error: PlaitError, *, status: int | None = None) -> Response:
    """Return an error's answer, and leave its kind where the edge finds it for log and figures."""
    request.state.error_kind = error.kind
    return answer(error, status=status)


def _answer_unexpected_error(request: Request, _: Exception) -> Response:
    # It is logged at the outer edge, which sees it too.
    return answer(internal_error(request.state.request_id))
