"""Pulls for processes of their own.

They stand in a module that such a process can import: pytest gives test modules names that exist
in its own process only.
"""

from __future__ import annotations

import os
import signal

import plait
from plait import downloads


def kill_in_the_middle(url: str, token: str, cache: str, name: str) -> None:
    """Pull in small ranges and die without a word when half of the bytes are there."""

    class Dies:
        def __init__(self) -> None:
            self.left = 0

        def total(self, size: int, *, what: str) -> None:
            self.left = size // 2

        def advance(self, size: int) -> None:
            self.left -= size
            if self.left < 0:
                os.kill(os.getpid(), signal.SIGKILL)

        def finish(self) -> None: ...

    downloads.SEGMENT_SIZE = 8192
    with plait.connect(url, token=token, cache_dir=cache) as registry:
        registry.repository(name).pull(progress=Dies())


def pull_in_a_process(url: str, token: str, cache: str, name: str) -> str:
    with plait.connect(url, token=token, cache_dir=cache) as registry:
        return str(registry.repository(name).pull(verify=True).path)
