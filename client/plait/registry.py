"""A registry as scripts see it: `plait.connect()`."""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType
from typing import Self

from plait import wire
from plait.cache import Cache
from plait.configuration import Configuration
from plait.errors import Unavailable
from plait.http_transport import HttpOptions, HttpTransport
from plait.model.address import RepositoryName
from plait.model.commit import Person
from plait.push_folder import create_repository
from plait.repository import Repository
from plait.transport import Transport


class Registry:
    """The repositories of one registry; use it in `with`, or call `close`."""

    def __init__(self, transport: Transport, cache: Cache, author: Person) -> None:
        self._transport = transport
        self._cache = cache
        self._author = author

    def __repr__(self) -> str:
        return f"<plait registry at {self.url}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def url(self) -> str:
        """The registry's address."""
        return self._transport.url

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()

    def repository(self, name: str) -> Repository:
        """Return a repository by `namespace/name`, without asking whether it is there."""
        return Repository(RepositoryName.parse(name), self._transport, self._cache, self._author)

    def create(self, name: str, *, description: str = "") -> Repository:
        """Make an empty repository.

        Raises:
            AlreadyExists: `repository-exists`.
        """
        create_repository(self._transport, RepositoryName.parse(name), description=description)
        return self.repository(name)

    def repositories(
        self,
        query: str | None = None,
        *,
        namespace: str | None = None,
        base: str | None = None,
        adapter_type: str | None = None,
    ) -> Iterator[wire.Repository]:
        """Yield the repositories whose name or description has `query` in it, sorted by name."""
        cursor: str | None = None
        while True:
            answer = self._transport.call(
                "GET",
                f"{wire.API_PREFIX}/repositories",
                query={
                    "query": query,
                    "namespace": namespace,
                    "base": base,
                    "adapter_type": adapter_type,
                    "cursor": cursor,
                },
            )
            page = wire.decode(wire.RepositoryPage, answer)
            yield from page.repositories
            if page.next is None:
                return
            if page.next == cursor:
                raise Unavailable("registry-misbehaved", "The registry's list does not end.")
            cursor = page.next


def open_registry(configuration: Configuration) -> Registry:
    """Return the registry that the settings name; the first request connects."""
    transport = open_transport(configuration)
    return Registry(transport, Cache(configuration.cache_dir), configuration.author)


def open_transport(configuration: Configuration, *, url: str | None = None) -> HttpTransport:
    """Return the transport to the registry at `url`, or to the one that the settings name."""
    address = configuration.url if url is None else url
    return HttpTransport(
        address,
        configuration.token_for(address),
        HttpOptions(proxies=configuration.proxies),
    )
