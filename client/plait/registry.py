"""A registry as scripts see it: `plait.connect()`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Self

from plait import wire
from plait.accounts import AuditFilter, Namespaces, Tokens, Users, identify, read_audit
from plait.cache import Cache
from plait.configuration import Configuration
from plait.events import EventFilter, follow_events, read_events
from plait.http_transport import HttpOptions, HttpTransport
from plait.jobs import Jobs
from plait.model.address import RepositoryName
from plait.model.commit import Person
from plait.paging import read_pages
from plait.push_folder import create_repository
from plait.repository import Repository
from plait.transport import Transport
from plait.webhooks import Webhooks
from plait.wire_accounts import AuditRow, Identity
from plait.wire_events import Event


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

    def create(self, name: str, *, description: str = "", private: bool = True) -> Repository:
        """Make an empty repository, which only its namespace sees unless it is not private.

        Raises:
            AlreadyExists: `repository-exists`.
        """
        create_repository(
            self._transport, RepositoryName.parse(name), description=description, private=private
        )
        return self.repository(name)

    def whoami(self) -> Identity:
        """Return who the registry takes this client for."""
        return identify(self._transport)

    @property
    def users(self) -> Users:
        """The users, for administrators."""
        return Users(self._transport)

    @property
    def tokens(self) -> Tokens:
        """The caller's tokens; for administrators, everybody's."""
        return Tokens(self._transport)

    @property
    def namespaces(self) -> Namespaces:
        """Organisations, and the namespaces of users."""
        return Namespaces(self._transport)

    def audit(
        self,
        *,
        namespace: str | None = None,
        subject: str | None = None,
        actor: str | None = None,
    ) -> Iterator[AuditRow]:
        """Yield the changes that the caller may read about, newest first."""
        return read_audit(self._transport, AuditFilter(namespace, subject, actor))

    @property
    def webhooks(self) -> Webhooks:
        """Where the registry sends events."""
        return Webhooks(self._transport)

    @property
    def jobs(self) -> Jobs:
        """What the registry does by itself, such as compositions."""
        return Jobs(self._transport)

    def events(
        self,
        *,
        after: str | None = None,
        follow: bool = False,
        namespace: str | None = None,
        repository: str | None = None,
        kinds: Sequence[str] = (),
    ) -> Iterator[Event]:
        """Yield events, oldest first; with `follow` each one as it happens, for ever.

        `after` is the `id` of the last event that was dealt with. Without it, all that are kept are
        yielded, or with `follow` those from now on.

        Raises:
            NotFound: `events-expired`, some after that one are no longer kept.
        """
        read = follow_events if follow else read_events
        wanted = EventFilter(namespace, repository, kinds)
        return read(self._transport, wanted, after=after)

    def repositories(
        self,
        query: str | None = None,
        *,
        namespace: str | None = None,
        base: str | None = None,
        adapter_type: str | None = None,
    ) -> Iterator[wire.Repository]:
        """Yield the repositories whose name or description has `query` in it, sorted by name."""

        def ask(cursor: str | None) -> wire.RepositoryPage:
            wanted = {
                "query": query,
                "namespace": namespace,
                "base": base,
                "adapter_type": adapter_type,
                "cursor": cursor,
            }
            answer = self._transport.call("GET", f"{wire.API_PREFIX}/repositories", query=wanted)
            return wire.decode(wire.RepositoryPage, answer)

        for page in read_pages(ask):
            yield from page.repositories


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
