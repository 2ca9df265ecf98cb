"""What the crash tests share: the moment to strike, and what must hold after it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import plait
from e2e.programs import Registry, digest_tree
from e2e.wiretap import Wiretap

MIB = 1 << 20
SLACK = 256 * 1024
"""Bytes for the JSON of a push: what is sent besides files."""

Moment = Callable[[], bool]
"""Tells whether to strike now."""


def strike(moment: Moment, kill: Callable[[], None], *, limit: float = 30.0) -> threading.Thread:
    """Watch for a moment in the background, and kill then."""

    def watch() -> None:
        deadline = time.monotonic() + limit
        while not moment() and time.monotonic() < deadline:
            time.sleep(0.0005)
        kill()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    return thread


def after(seconds: float) -> Moment:
    """Strike when that time has passed."""
    deadline = time.monotonic() + seconds
    return lambda: time.monotonic() >= deadline


def sent(wiretap: Wiretap, size: int) -> Moment:
    """Strike when that many bytes have been sent to the registry."""
    return lambda: wiretap.sent >= size


def received(wiretap: Wiretap, size: int) -> Moment:
    """Strike when that many bytes have come from the registry."""
    return lambda: wiretap.received >= size


def bytes_that_arrived(registry: Registry) -> int:
    """Return what a next push need not send: objects, and parts that are marked as arrived.

    A part has 16 MiB, but for the last one of its object.
    """
    parts = [path for path in registry.incoming() if path.name.startswith("part-")]
    return sum(registry.objects().values()) + sum(_part_size(path) for path in parts)


def _part_size(mark: Path) -> int:
    offset = int(mark.name.removeprefix("part-"))
    return min(16 * MIB, (mark.parent / "data").stat().st_size - offset)


def read_tips(registry: Registry, name: str) -> dict[str, str]:
    """Return where the branches of the registry point."""
    with plait.connect(registry.url, token=registry.token) as opened:
        return {str(k): str(v) for k, v in opened.repository(name).refs().branches.items()}


def read_log(registry: Registry, name: str) -> list[str]:
    """Return the commits of the default branch, newest first."""
    with plait.connect(registry.url, token=registry.token) as opened:
        return [str(info.id) for info in opened.repository(name).log()]


def verify_pull(registry: Registry, name: str, folder: Path, cache: Path) -> None:
    """Pull the newest version into a new cache and compare every byte."""
    with plait.connect(registry.url, token=registry.token, cache_dir=cache) as opened:
        assert digest_tree(opened.repository(name).pull().path) == digest_tree(folder)
