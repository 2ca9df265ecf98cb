"""A request's body on its way in: counted, limited, and cut where its sender stalls.

- A body over the limit is refused while it streams, whatever its Content-Length says.
- A body must move on: each 64 KiB, or what is left of it, within the time that a client may keep
  its request waiting. Only time spent waiting counts, so a slow disk is not held against a sender.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from starlette.types import Message, Receive

from plait.errors import PlaitError, TooLarge, Unavailable

STRIDE = 64 * 1024
"""Bytes that make a new start for a sender's time."""

_GONE: Message = {"type": "http.disconnect"}


class RequestBody:
    """Stands between the server and an application that reads the body."""

    def __init__(
        self,
        receive: Receive,
        *,
        stall_seconds: float,
        refuse: Callable[[PlaitError], Awaitable[None]],
    ) -> None:
        """Take also what answers a sender that stalls, whatever the application is waiting for."""
        self._receive = receive
        self._refuse = refuse
        self._stall_seconds = stall_seconds
        self._patience = stall_seconds
        self._strided = 0
        self._ended = False
        self._cut = False
        self.received = 0
        """Bytes so far."""

    async def receive(self) -> Message:
        """Return the server's next message; of a body that stalled, that its sender is gone."""
        if self._cut:
            return _GONE
        if self._ended:
            # All that can come is the end of the connection, which may take as long as it likes.
            return await self._receive()
        begun = time.monotonic()
        try:
            async with asyncio.timeout(self._patience):
                message = await self._receive()
        except TimeoutError:
            self._cut = True
            await self._refuse(self._stalled())
            return _GONE
        self._patience -= time.monotonic() - begun
        self._count(message)
        return message

    def limited(self, largest: int) -> Receive:
        """Return the same, for an application that takes at most `largest` bytes.

        Raises:
            TooLarge: `request-too-large`, with the message that crosses the limit.
        """

        async def receive() -> Message:
            message = await self.receive()
            if self.received > largest:
                raise too_large(largest)
            return message

        return receive

    def _count(self, message: Message) -> None:
        size = len(message.get("body", b""))
        self.received += size
        self._strided += size
        if self._strided >= STRIDE:
            self._strided = 0
            self._patience = self._stall_seconds
        self._ended = not message.get("more_body", False)

    def _stalled(self) -> Unavailable:
        return Unavailable(
            "request-stalled",
            f"The request's body did not move on for {self._stall_seconds:g} seconds: check the "
            "network, and send it again.",
            seconds=self._stall_seconds,
        )


def too_large(largest: int) -> TooLarge:
    """Return the error that a body is over the limit."""
    return TooLarge(
        "request-too-large",
        f"The request has more than {largest} bytes: send less at once, or raise "
        "PLAIT_LARGEST_REQUEST on the registry.",
        limit=largest,
    )
