"""X-Forwarded-For: believed as far as trusted proxies wrote it, and not a word further."""

from ipaddress import ip_network
from typing import Any

import pytest

from plait_registry.api.remote_address import find_remote_address

TRUSTED = (ip_network("127.0.0.1"), ip_network("10.0.0.0/8"))


def scope(peer: str | None, *forwarded: str) -> dict[str, Any]:
    headers = [(b"x-forwarded-for", line.encode("latin-1")) for line in forwarded]
    return {"client": None if peer is None else (peer, 1234), "headers": headers}


@pytest.mark.parametrize(
    ("peer", "forwarded", "found"),
    [
        ("203.0.113.9", [], "203.0.113.9"),
        ("203.0.113.9", ["198.51.100.1"], "203.0.113.9"),
        ("127.0.0.1", [], "127.0.0.1"),
        ("127.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("127.0.0.1", ["1.2.3.4, 198.51.100.1"], "198.51.100.1"),
        ("127.0.0.1", ["1.2.3.4", "198.51.100.1, 10.1.1.1"], "198.51.100.1"),
        ("127.0.0.1", ["10.2.2.2, 10.1.1.1"], "10.2.2.2"),
        ("127.0.0.1", ["198.51.100.1, <script>"], "127.0.0.1"),
        ("127.0.0.1", ["198.51.100.1, <script>, 10.1.1.1"], "10.1.1.1"),
        ("127.0.0.1", [""], "127.0.0.1"),
        ("127.0.0.1", ["2001:db8::1"], "2001:db8::1"),
        ("::ffff:127.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("::1", ["198.51.100.1"], "::1"),
    ],
)
def test_address_is_the_last_that_no_trusted_proxy_has(
    peer: str, forwarded: list[str], found: str
) -> None:
    assert find_remote_address(scope(peer, *forwarded), TRUSTED) == found


def test_nobody_is_believed_by_default() -> None:
    assert find_remote_address(scope("127.0.0.1", "198.51.100.1"), ()) == "127.0.0.1"


def test_peer_that_the_server_does_not_know_has_no_address() -> None:
    assert find_remote_address(scope(None, "198.51.100.1"), TRUSTED) is None
