"""The HTTP application: routes, their documentation, and the edge around them."""

from __future__ import annotations

from fastapi import APIRouter, Depends, FastAPI
from fastapi.routing import APIRoute
from fastapi.security import HTTPBearer
from starlette.types import ASGIApp

import plait
from plait.wire import API_PREFIX
from plait_registry.api import (
    audit,
    bases,
    events,
    files,
    health,
    history,
    jobs,
    namespaces,
    notes,
    protections,
    pushes,
    refs,
    repositories,
    tokens,
    users,
    validations,
    validator_keys,
    webhooks,
)
from plait_registry.api.edge import Applications, Edge
from plait_registry.api.errors import install_handlers
from plait_registry.api.job_access import verify_open_to_jobs
from plait_registry.api.metrics import Metrics
from plait_registry.api.object_gateway import ObjectGateway
from plait_registry.api.requests import verify_no_nul
from plait_registry.bootstrap import Registry
from plait_registry.settings import Serving

_DESCRIPTION = """\
The native API of a plait registry: versions of adapter weights, as commits on branches and tags.

Every answer with a status of 400 or above is `{"error": {"kind", "message", "details"}}`. Weights
travel by signed requests, which the API hands out, straight to and from the object store.
"""

# In the order in which OpenAPI shows them.
_NOUNS = (
    repositories,
    bases,
    refs,
    history,
    notes,
    files,
    pushes,
    protections,
    users,
    tokens,
    namespaces,
    audit,
    events,
    webhooks,
    jobs,
    validations,
    validator_keys,
)

# Only says in OpenAPI what the edge demands before it reads a body.
_BEARER = HTTPBearer(auto_error=False, description="The registry's token.")

_CHECKS = [Depends(_BEARER), Depends(verify_no_nul), Depends(verify_open_to_jobs)]


def create_app(
    registry: Registry, serving: Serving, *, stopping: health.Stopping | None = None
) -> ASGIApp:
    """Return the application that serves a registry; a signal to stop is told by `stopping`."""
    return Edge(
        behind=Applications(
            api=_create_api(registry, serving.largest_request),
            objects=ObjectGateway(registry.objects),
            health=health.Health(registry.check, stopping or health.Stopping()),
            metrics=Metrics(registry.meter, serving.metrics, registry.authenticate),
        ),
        authenticate=registry.authenticate,
        meter=registry.meter,
        serving=serving,
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
    native = APIRouter(prefix=API_PREFIX, dependencies=_CHECKS)
    for noun in _NOUNS:
        native.include_router(noun.router)
    api.include_router(native)
    return api


def _operation_id(route: APIRoute) -> str:
    """Return the function's name, as generated clients show it."""
    return route.name
