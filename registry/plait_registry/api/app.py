"""The HTTP application: routes, their documentation, and the edge around them."""

from __future__ import annotations

from fastapi import APIRouter, Depends, FastAPI
from fastapi.routing import APIRoute
from fastapi.security import HTTPBearer
from starlette.types import ASGIApp

import plait
from plait.wire import API_PREFIX
from plait_registry.api import files, health, history, notes, pushes, refs, repositories
from plait_registry.api.edge import Edge
from plait_registry.api.errors import install_handlers
from plait_registry.api.object_gateway import ObjectGateway
from plait_registry.bootstrap import Registry

_DESCRIPTION = """\
The native API of a plait registry: versions of adapter weights, as commits on branches and tags.

Every answer with a status of 400 or above is `{"error": {"kind", "message", "details"}}`. Weights
travel by signed requests, which the API hands out, straight to and from the object store.
"""

# Only says in OpenAPI what the edge demands before it reads a body.
_BEARER = HTTPBearer(auto_error=False, description="The registry's token.")


def create_app(registry: Registry, *, largest_request: int) -> ASGIApp:
    """Return the application that serves a registry."""
    return Edge(
        api=_create_api(registry, largest_request),
        objects=ObjectGateway(registry.objects),
        is_token=registry.is_admin_token,
        largest_request=largest_request,
    )


def _create_api(registry: Registry, largest_request: int) -> FastAPI:
    api = FastAPI(
        title="plait registry",
        version=plait.__version__,
        description=_DESCRIPTION,
        # The usual page loads scripts from a third party's servers.
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        generate_unique_id_function=_operation_id,
    )
    api.state.registry = registry
    api.state.largest_request = largest_request
    install_handlers(api)
    api.include_router(health.router)
    native = APIRouter(prefix=API_PREFIX, dependencies=[Depends(_BEARER)])
    for noun in (repositories, refs, history, notes, files, pushes):
        native.include_router(noun.router)
    api.include_router(native)
    return api


def _operation_id(route: APIRoute) -> str:
    """Return the function's name, as generated clients show it."""
    return route.name
