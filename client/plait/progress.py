"""Progress of transfers, as a port: who moves bytes reports, who owns the terminal shows it."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Hears how far a transfer is; called from several threads at once."""

    def total(self, size: int, *, what: str) -> None:
        """Begin a phase of `size` bytes; `what` names it for people, as `Uploading`."""

    def advance(self, size: int) -> None:
        """Say that `size` more bytes are done; negative where a failed part begins anew."""

    def finish(self) -> None:
        """End the last phase, successful or not."""


class NoProgress:
    """Shows nothing."""

    def total(self, size: int, *, what: str) -> None:
        """Ignore the phase."""

    def advance(self, size: int) -> None:
        """Ignore the bytes."""

    def finish(self) -> None:
        """Ignore the end."""


NO_PROGRESS = NoProgress()
