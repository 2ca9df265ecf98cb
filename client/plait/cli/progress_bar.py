"""The progress bar: bytes, speed and time left of a transfer, on a terminal only.

It also counts what was moved, on a terminal or not, for who reports it at the end.
"""

from __future__ import annotations

import threading
import time
from typing import TextIO

BAR = 24
"""Cells of the bar."""
REFRESH = 0.1
"""Seconds between two drawings."""


class ProgressBar:
    """One line that is drawn again and again, and cleared at the end; a `Progress`."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self._what = ""
        self._size = 0
        self._done = 0
        self._started = 0.0
        self._drawn = 0.0
        self._width = 0
        self._moved: dict[str, int] = {}

    def total(self, size: int, *, what: str) -> None:
        """Begin a phase of `size` bytes."""
        with self._lock:
            self._what, self._size, self._done = what, size, 0
            self._started = self._drawn = time.monotonic()

    def advance(self, size: int) -> None:
        """Say that `size` more bytes are done."""
        with self._lock:
            self._done += size
            self._moved[self._what] = self._moved.get(self._what, 0) + size
            now = time.monotonic()
            if self._stream is not None and now - self._drawn >= REFRESH:
                self._drawn = now
                self._draw(self._stream, now)

    def finish(self) -> None:
        """Clear the line."""
        with self._lock:
            if self._stream is not None and self._width:
                self._stream.write("\r" + " " * self._width + "\r")
                self._stream.flush()
            self._width = 0

    def moved(self, what: str) -> int:
        """Return the bytes of all phases of this name."""
        return self._moved.get(what, 0)

    def _draw(self, stream: TextIO, now: float) -> None:
        line = format_progress(self._what, self._done, self._size, now - self._started)
        stream.write("\r" + line.ljust(self._width))
        stream.flush()
        self._width = len(line)


def format_progress(what: str, done: int, size: int, seconds: float) -> str:
    """Return one line about a transfer."""
    share = min(1.0, done / size) if size else 1.0
    filled = int(share * BAR)
    bar = "#" * filled + "-" * (BAR - filled)
    speed = done / seconds if seconds > 0 else 0.0
    left = f"{(size - done) / speed:.0f} s left" if speed > 0 and done < size else ""
    return (
        f"{what:<14} [{bar}] {share:4.0%}  {done / 1e6:,.1f} of {size / 1e6:,.1f} MB  "
        f"{speed / 1e6:,.1f} MB/s  {left}"
    ).rstrip()
