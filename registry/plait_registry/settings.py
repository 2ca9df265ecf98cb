"""The settings of `plait-registry`: the one place that reads the environment.

A flag wins over the environment, which wins over the default. Whatever cannot work is refused
here, at the start, with a sentence that names the setting.
"""

from __future__ import annotations

import ipaddress
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from plait.errors import InvalidInput

DEFAULT_PORT = 8420
DEFAULT_LARGEST_REQUEST = 64 * 1024 * 1024
FLAGS = ("DATA", "HOST", "PORT", "BEHIND_TLS", "LOG_LEVEL")
"""The settings that have a flag as well."""
LOG_LEVELS = ("debug", "info", "warning", "error")

_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off", ""})


@dataclass(frozen=True, slots=True)
class Settings:
    """What one registry runs with."""

    data: Path
    """The folder that holds everything the registry keeps on this machine."""
    host: str
    port: int
    """0: any free one."""
    behind_tls: bool
    """The operator says that a proxy with TLS stands in front."""
    database_url: str | None
    """None: SQLite in the data folder."""
    largest_request: int
    """Bytes of the largest JSON body."""
    signed_url_seconds: int
    """How long signed URLs are good for."""
    log_level: int


def read_settings(
    flags: Mapping[str, str | None] | None = None, environ: Mapping[str, str] | None = None
) -> Settings:
    """Return the settings; `flags` are keyed by the part of a variable's name after `PLAIT_`.

    Raises:
        InvalidInput: `usage`, a value that cannot work.
    """
    source = _Source(flags or {}, os.environ if environ is None else environ)
    settings = Settings(
        data=Path(source.text("DATA", "./plait-data")),
        host=source.text("HOST", "127.0.0.1"),
        port=source.number("PORT", DEFAULT_PORT, lowest=0, highest=65_535),
        behind_tls=source.switch("BEHIND_TLS"),
        database_url=source.text("DATABASE_URL", "") or None,
        largest_request=source.number(
            "LARGEST_REQUEST", DEFAULT_LARGEST_REQUEST, lowest=1_024, highest=2**40
        ),
        signed_url_seconds=source.number("SIGNED_URL_SECONDS", 3_600, lowest=10, highest=604_800),
        log_level=_read_log_level(source),
    )
    _verify_host(settings)
    if store := source.text("OBJECT_STORE", ""):
        # Weights in a folder where the operator expects a bucket would be a bad surprise.
        raise _refuse("OBJECT_STORE", store, "this version keeps objects in the data folder only")
    return settings


class _Source:
    """Where values come from, in order."""

    def __init__(self, flags: Mapping[str, str | None], environ: Mapping[str, str]) -> None:
        self._flags = flags
        self._environ = environ

    def text(self, name: str, default: str) -> str:
        flag = self._flags.get(name)
        if flag is not None:
            return flag
        # An empty variable counts as unset: that is how people switch one off.
        return self._environ.get(f"PLAIT_{name}") or default

    def number(self, name: str, default: int, *, lowest: int, highest: int) -> int:
        text = self.text(name, str(default))
        digits = text.isascii() and text.isdecimal() and len(text) < 20
        if not digits or not lowest <= int(text) <= highest:
            raise _refuse(name, text, f"expected a whole number from {lowest} to {highest}")
        return int(text)

    def switch(self, name: str) -> bool:
        text = self.text(name, "").lower()
        if text in _TRUE:
            return True
        if text in _FALSE:
            return False
        raise _refuse(name, text, "expected 1 or 0")


def _read_log_level(source: _Source) -> int:
    name = source.text("LOG_LEVEL", "info").lower()
    if name not in LOG_LEVELS:
        raise _refuse("LOG_LEVEL", name, f"expected one of {', '.join(LOG_LEVELS)}")
    return logging.getLevelNamesMapping()[name.upper()]


def _verify_host(settings: Settings) -> None:
    if is_loopback(settings.host) or settings.behind_tls:
        return
    raise InvalidInput(
        "usage",
        f"{settings.host!r} can be reached from other machines, and this server speaks plain HTTP: "
        "tokens and weights would cross the network unencrypted. TLS belongs in front of it: put "
        "a reverse proxy with TLS there, then say so with --behind-tls (or PLAIT_BEHIND_TLS=1).",
    )


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach `host`."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _refuse(name: str, text: str, expected: str) -> InvalidInput:
    flag = f"--{name.lower().replace('_', '-')} or " if name in FLAGS else ""
    return InvalidInput("usage", f"{text!r:.80} as {flag}PLAIT_{name}: {expected}.")
