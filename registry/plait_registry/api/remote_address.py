"""Where a request comes from: the peer, or what trusted proxies say about it.

Each proxy adds the address of its own peer at the end of X-Forwarded-For. Read from there, an
address is believed as long as a trusted proxy wrote it; everything before may be made up.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from starlette.types import Scope

from plait_registry.settings import Network


def find_remote_address(scope: Scope, trusted: Sequence[Network]) -> str | None:
    """Return the address of who made a request; None where the server does not know its peer."""
    client = scope.get("client")
    if client is None:
        return None
    address = str(client[0])
    for named in _read_forwarded(scope):
        if not _is_trusted(address, trusted) or _parse(named) is None:
            break
        address = named
    return address


def _read_forwarded(scope: Scope) -> list[str]:
    """Return the addresses that proxies wrote, the last one first."""
    lines = [
        value.decode("latin-1") for name, value in scope["headers"] if name == b"x-forwarded-for"
    ]
    return [part.strip() for part in reversed(",".join(lines).split(","))] if lines else []


def _is_trusted(address: str, trusted: Sequence[Network]) -> bool:
    parsed = _parse(address) if trusted else None
    return parsed is not None and any(parsed in network for network in trusted)


def _parse(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return None
    # A server that listens on :: sees IPv4 peers so.
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return mapped or parsed
