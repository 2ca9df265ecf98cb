"""plait: push, pull, branch, tag, diff and compose adapter weights.

    import plait

    with plait.connect() as registry:
        repository = registry.repository("team/sql")
        repository.push("out/checkpoint-300", message="More joins", metrics={"loss": 1.62})
        folder = repository.pull("main").path

Importing this package loads only the standard library: anything heavier is imported where it is
used, so that scripts and the command line start quickly.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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
    from plait.model.recipe import Recipe
    from plait.registry import ComposeOptions, Registry
    from plait.repository import PushOptions, Repository

__version__ = "0.1.0"

__all__ = [
    "AlreadyExists",
    "ComposeOptions",
    "Conflict",
    "Integrity",
    "Internal",
    "InvalidInput",
    "NotFound",
    "PermissionDenied",
    "PlaitError",
    "PushOptions",
    "Recipe",
    "Registry",
    "Repository",
    "TooLarge",
    "Unauthenticated",
    "Unavailable",
    "__version__",
    "connect",
]

_MODULE_OF = {
    "ComposeOptions": "plait.registry",
    "PushOptions": "plait.repository",
    "Recipe": "plait.model.recipe",
    "Registry": "plait.registry",
    "Repository": "plait.repository",
}


def connect(
    url: str | None = None,
    *,
    token: str | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
) -> Registry:
    """Return the registry at `url`; what is not given comes from the environment and config file.

    That is PLAIT_URL, PLAIT_TOKEN and PLAIT_CACHE_DIR, then `~/.config/plait/config.toml`, then
    the embedded registry of this machine (see `plait.configuration`).

    Raises:
        InvalidInput: an address or the config file is malformed.
    """
    from plait.configuration import from_environment
    from plait.registry import open_registry

    # The one place beside the command line that reads the environment: scripts begin here.
    settings = from_environment(os.environ)
    return open_registry(settings.override(url=url, token=token, cache_dir=cache_dir))


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'plait' has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULE_OF.get(name, "plait.errors")), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
