"""Pushes for processes of their own, as `pulling_processes` has pulls."""

from __future__ import annotations

import plait


def push_in_a_process(url: str, token: str, folder: str, name: str) -> None:
    """Push a folder, until somebody kills the process."""
    with plait.connect(url, token=token, cache_dir=f"{folder}-cache") as registry:
        registry.repository(name).push(folder, message="Interrupted")
