"""A registry that really listens: uvicorn in a thread of the test's own process."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from starlette.types import ASGIApp

from plait_registry.adapters.data_folder import DataFolder
from plait_registry.api.app import create_app
from plait_registry.api.serving import Server, bind, url_of
from plait_registry.bootstrap import Registry, build_registry, open_data_folder
from plait_registry.settings import Serving, read_settings

START_LIMIT = 30


@dataclass(frozen=True)
class Running:
    """A registry at a URL."""

    url: str
    registry: Registry
    folder: DataFolder
    client: httpx.Client
    """Sends the token with every request."""

    @property
    def token(self) -> str:
        return self.folder.token_path.read_text("ascii")


@contextmanager
def serving(app: ASGIApp, limits: Serving | None = None) -> Iterator[str]:
    """Serve an application on a free port, and yield its URL."""
    ready = threading.Event()
    with bind("127.0.0.1", 0) as bound:
        server = Server(app, limits or Serving(), on_ready=ready.set, on_stop=lambda: None)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]}, daemon=True)
        thread.start()
        assert ready.wait(START_LIMIT)
        try:
            yield url_of(bound)
        finally:
            server.should_exit = True
            thread.join(START_LIMIT)
            assert not thread.is_alive()


@contextmanager
def running(root: Path, **flags: str) -> Iterator[Running]:
    """Serve the registry of a data folder; `flags` as `read_settings` takes them."""
    settings = read_settings({"DATA": str(root), **flags}, {})
    folder = open_data_folder(settings)
    registry = build_registry(settings, folder)
    app = create_app(registry, settings.serving)
    try:
        with serving(app, settings.serving) as url:
            token = folder.token_path.read_text("ascii")
            headers = {"Authorization": f"Bearer {token}"}
            with httpx.Client(base_url=url, headers=headers, timeout=30) as client:
                yield Running(url, registry, folder, client)
    finally:
        registry.close()


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for what the server does in its own time."""
    deadline = time.monotonic() + START_LIMIT
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
