"""What the signals of whoever looks after a worker mean to it."""

from __future__ import annotations

import signal
import threading


def listen_for_stop() -> threading.Event:
    """Return what is set when a signal says to stop."""
    stopping = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopping.set())
    return stopping
