"""Where webhooks may lead."""

import ipaddress

import pytest

from plait.errors import InvalidInput
from plait_registry.domain.webhook_address import WebhookUrl, is_public, parse_url


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        (
            "https://ci.example.org/a/b?c=d",
            WebhookUrl("https", "ci.example.org", 443, "ci.example.org", "/a/b?c=d"),
        ),
        (
            "HTTPS://CI.Example.org:8443",
            WebhookUrl("https", "ci.example.org", 8443, "CI.Example.org:8443", "/"),
        ),
        (
            "https://[2606:4700::1111]/x",
            WebhookUrl("https", "2606:4700::1111", 443, "[2606:4700::1111]", "/x"),
        ),
    ],
)
def test_url_is_taken_apart(url: str, parts: WebhookUrl) -> None:
    assert parse_url(url, allow_private=False) == parts


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.org",
        "ftp://example.org/",
        "https://",
        "https:///path",
        "https://user:pass@example.org/",
        "https://example.org@127.0.0.1/",
        "https://example.org\\@127.0.0.1/",
        "https://example.org/#fragment",
        "https://example.org:0/",
        "https://example.org:65536/",
        "https://example.org:port/",
        "https://example.org?query",
        "https://exa mple.org/",
        "https://example.org/a b",
        "https://example.org/\r\nHost: other",
        "https://-example.org/",
        "https://exämple.org/",
        "https://example.org/" + "a" * 2_000,
    ],
)
def test_url_of_another_form_is_refused(url: str) -> None:
    for allow_private in (False, True):
        with pytest.raises(InvalidInput) as caught:
            parse_url(url, allow_private=allow_private)
        assert caught.value.kind == "invalid-webhook-url"


@pytest.mark.parametrize(
    "url",
    [
        "http://example.org/",
        "https://localhost/",
        "https://127.0.0.1/",
        "https://10.1.2.3/",
        "https://169.254.169.254/latest/meta-data",
        "https://[::1]/",
        "https://[::ffff:127.0.0.1]/",
    ],
)
def test_private_and_plain_urls_need_the_operators_word(url: str) -> None:
    with pytest.raises(InvalidInput, match="PLAIT_WEBHOOK_ALLOW_PRIVATE"):
        parse_url(url, allow_private=False)
    assert parse_url(url, allow_private=True).port in {80, 443}


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0",  # noqa: S104 - an address to refuse
        "10.0.0.1",
        "100.64.0.1",
        "127.0.0.1",
        "169.254.169.254",
        "172.16.0.1",
        "192.168.1.1",
        "198.18.0.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::ffff:10.0.0.1",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::1",
        "2002:7f00:1::",
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1",
        "fec0::1",
        "ff02::1",
    ],
)
def test_address_inside_a_network_is_not_public(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "address", ["1.1.1.1", "93.184.216.34", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101"]
)
def test_address_of_the_internet_is_public(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))
