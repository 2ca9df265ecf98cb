"""Where an object store in S3 is, and who the registry is there; no boto3 yet.

`s3://bucket[/prefix][?endpoint=URL&region=NAME&addressing=path|virtual]`. Credentials are never in
the URL, which is logged and shown: they come beside it, or from where boto3 finds its own.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import parse_qsl, unquote, urlsplit

Addressing = Literal["auto", "path", "virtual"]

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_PREFIX = re.compile(r"(?:[A-Za-z0-9_.-]+/)*")
_OPTIONS = frozenset({"endpoint", "region", "addressing"})
_ADDRESSING: dict[str, Addressing] = {"auto": "auto", "path": "path", "virtual": "virtual"}


@dataclass(frozen=True, slots=True)
class S3Location:
    """A place in a bucket."""

    bucket: str
    prefix: str = ""
    """Of every key; empty, or with a slash at its end."""
    endpoint: str | None = None
    """None: Amazon's."""
    region: str | None = None
    """None: as boto3 finds it."""
    addressing: Addressing = "auto"
    access_key: str | None = None
    """None: as boto3 finds it."""
    secret_key: str | None = field(default=None, repr=False)

    def __str__(self) -> str:
        where = f" at {self.endpoint}" if self.endpoint else ""
        return f"s3://{self.bucket}/{self.prefix}{where}"


def parse_s3_url(text: str) -> S3Location:
    """Return the place that a URL names.

    Raises:
        ValueError: what is wrong, in words that do not repeat the URL: it may hold a secret.
    """
    parts = urlsplit(text)
    if parts.scheme != "s3":
        raise ValueError("expected s3://bucket, as s3://adapters?region=eu-central-1")
    if "@" in parts.netloc:
        raise ValueError("credentials do not belong into it: use PLAIT_S3_ACCESS_KEY and "
                         "PLAIT_S3_SECRET_KEY")  # fmt: skip
    if _BUCKET.fullmatch(parts.netloc) is None:
        raise ValueError("a bucket's name has 3 to 63 lowercase letters, digits, dots and hyphens")
    prefix = unquote(parts.path).strip("/")
    prefix = f"{prefix}/" if prefix else ""
    if _PREFIX.fullmatch(prefix) is None or parts.fragment:
        raise ValueError("a prefix has letters, digits, '_', '.', '-' and '/' only")
    options = _parse_options(parts.query)
    addressing = _ADDRESSING.get(options.get("addressing", "auto"))
    if addressing is None:
        raise ValueError("addressing is 'path' or 'virtual'")
    return S3Location(
        bucket=parts.netloc,
        prefix=prefix,
        endpoint=_parse_endpoint(options.get("endpoint")),
        region=options.get("region"),
        addressing=addressing,
    )


def _parse_options(query: str) -> dict[str, str]:
    pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=8)
    options = dict(pairs)
    if len(options) != len(pairs) or not options.keys() <= _OPTIONS or "" in options.values():
        raise ValueError(f"after '?' stand {', '.join(sorted(_OPTIONS))}, each once, with a value")
    return options


def _parse_endpoint(endpoint: str | None) -> str | None:
    if endpoint is None:
        return None
    parts = urlsplit(endpoint)
    if parts.scheme not in {"http", "https"} or not parts.hostname or "@" in parts.netloc:
        raise ValueError("endpoint is an http or https address, as https://s3.example.org")
    return endpoint.rstrip("/")
