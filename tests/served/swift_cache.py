"""What memcached is to Swift, as a dictionary.

Without it every request asks for its account and bucket anew. The one proxy process has one of
these, so that nothing in it is stale.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any

Application = Callable[[MutableMapping[str, Any], Any], Any]


class MemoryCache:
    """The part of Swift's memcache client that its proxy uses."""

    def __init__(self) -> None:
        self._values: dict[str, tuple[Any, float]] = {}

    def get(self, key: str, *_: object, **__: object) -> Any:
        value, expires = self._values.get(key, (None, 0.0))
        return value if expires > time.monotonic() else None

    def set(self, key: str, value: Any, *_: object, **options: Any) -> None:
        seconds = options.get("time") or 86_400
        self._values[key] = (value, time.monotonic() + seconds)

    def delete(self, key: str, *_: object, **__: object) -> None:
        self._values.pop(key, None)

    def incr(self, key: str, delta: int = 1, **options: Any) -> int:
        count = int(self.get(key) or 0) + delta
        self.set(key, count, **options)
        return count


def filter_factory(_: Mapping[str, str], **options: str) -> Callable[[Application], Application]:
    """Make the filter, as paste.deploy wants it."""
    cache = MemoryCache()

    def wrap(application: Application) -> Application:
        def call(environ: MutableMapping[str, Any], start_response: Any) -> Any:
            environ["swift.cache"] = cache
            return application(environ, start_response)

        return call

    return wrap
