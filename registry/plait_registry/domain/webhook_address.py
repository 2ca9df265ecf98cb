"""Where webhooks may go: rules for their URLs, and for the addresses that names resolve to.

The registry sends requests for people who may not reach its network themselves. Without
`allow_private`, they go to public addresses by TLS only: never to this machine, its network or a
cloud's metadata service, whatever name is given for one.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from plait.errors import InvalidInput

LONGEST_URL = 2_000

# Narrower than RFC 3986, so that no two parsers can take different hosts out of one URL: no user
# and password (the signature proves the sender), no fragment (it is never sent), no odd hosts.
_URL = re.compile(
    r"(?P<scheme>https?)://"
    r"(?P<host>\[[0-9a-f:.]+\]|[a-z0-9]([a-z0-9._-]*[a-z0-9])?)"
    r"(:(?P<port>[0-9]{1,5}))?"
    r"(?P<path>/[!-\"$-~]*)?",
    re.IGNORECASE,
)
_DEFAULT_PORTS = {"http": 80, "https": 443}
_NAT64 = ipaddress.ip_network("64:ff9b::/96")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True)
class WebhookUrl:
    """The parts of a webhook's URL."""

    scheme: str
    """`http` or `https`."""
    host: str
    """In lower case; an IPv6 address without its brackets."""
    port: int
    origin: str
    """Host and port as they are written."""
    path: str
    """With the query."""


def parse_url(url: str, *, allow_private: bool) -> WebhookUrl:
    """Return the parts of a webhook's URL.

    Raises:
        InvalidInput: `invalid-webhook-url`.
    """
    match = _URL.fullmatch(url) if len(url) <= LONGEST_URL else None
    scheme = match["scheme"].lower() if match else ""
    port = int(match["port"] or _DEFAULT_PORTS[scheme]) if match else 0
    if match is None or not 0 < port < 65_536:
        raise _refuse(
            "expected https://HOST/PATH, without a user, a password or a fragment, and in at most "
            f"{LONGEST_URL} plain characters"
        )
    host = match["host"].lower().strip("[]")
    if not allow_private and scheme != "https":
        raise _refuse(
            "it must be https, unless the registry runs with PLAIT_WEBHOOK_ALLOW_PRIVATE=1"
        )
    if not allow_private and (host == "localhost" or not _may_be_public(host)):
        raise private_address(host)
    origin = match["host"] if match["port"] is None else f"{match['host']}:{match['port']}"
    return WebhookUrl(scheme, host, port, origin, match["path"] or "/")


def is_public(address: Address) -> bool:
    """Tell whether an address is one of the public internet.

    IPv6 addresses that carry an IPv4 address are as public as that one is.
    """
    inner = _find_inner(address) if isinstance(address, ipaddress.IPv6Address) else None
    if inner is not None:
        return is_public(inner)
    # Once meant for private networks, and still in use there: RFC 3879.
    if isinstance(address, ipaddress.IPv6Address) and address.is_site_local:
        return False
    return address.is_global and not address.is_multicast and not address.is_reserved


def private_address(host: str) -> InvalidInput:
    """Return the error that a webhook leads into a private network."""
    return _refuse(
        f"{host:.200} is no address of the public internet; the registry sends to others only with "
        "PLAIT_WEBHOOK_ALLOW_PRIVATE=1"
    )


def _may_be_public(host: str) -> bool:
    """Tell whether a host is a name, which is checked when it is resolved, or a public address."""
    try:
        return is_public(ipaddress.ip_address(host))
    except ValueError:
        return True


def _find_inner(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    if address.teredo is not None:
        return address.teredo[1]
    return address.ipv4_mapped or address.sixtofour


def _refuse(reason: str) -> InvalidInput:
    return InvalidInput("invalid-webhook-url", f"The webhook's URL cannot be used: {reason}.")
