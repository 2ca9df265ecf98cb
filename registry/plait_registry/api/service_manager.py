"""Telling systemd how the server does, for units with Type=notify (sd_notify(3))."""

from __future__ import annotations

import socket
from contextlib import suppress

READY = "READY=1"
STOPPING = "STOPPING=1"


def tell_service_manager(address: str | None, state: str) -> None:
    """Send a state to the socket at `address`; without one, or a listener there, do nothing."""
    if address is None:
        return
    # The leading @ stands for a name that is in no folder.
    path = "\0" + address[1:] if address.startswith("@") else address
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.sendto(state.encode("ascii"), path)
