"""Routes that say what answers here, and whether it can work; both are open to anyone."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import APIRouter, Request

import plait
from plait import wire
from plait_registry.api.errors import describe_open
from plait_registry.api.requests import registry_of

router = APIRouter(tags=["server"])


@dataclass(frozen=True, slots=True)
class Health:
    """The registry can work."""

    status: str = wire.about("Always `ok`; anything else is an error.")


@router.get("/healthz", responses=describe_open())
def check_health(request: Request) -> Health:
    """Tell whether the database and the object store answer."""
    registry_of(request).check()
    return Health("ok")


@router.get(wire.API_PREFIX, responses=describe_open())
def get_server_info(request: Request) -> wire.ServerInfo:
    """Tell what answers at this address."""
    return wire.ServerInfo("plait", plait.__version__, request.app.state.largest_request)
