"""A registry as scripts see it: `plait.connect()`."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from plait import wire
from plait.accounts import AuditFilter, Namespaces, Tokens, Users, identify, read_audit
from plait.cache import Cache
from plait.configuration import Configuration
from plait.events import EventFilter, follow_events, read_events
from plait.http_transport import HttpOptions, HttpTransport
from plait.jobs import Jobs
from plait.model.address import Address, RepositoryName
from plait.model.commit import Person
from plait.model.refs import DEFAULT_BRANCH, parse_ref_name
from plait.model.repository_kind import parse_repository_kind
from plait.paging import read_pages
from plait.progress import NO_PROGRESS, Progress
from plait.push_folder import create_repository
from plait.repository import Repository
from plait.transport import Transport
from plait.webhooks import Webhooks
from plait.wire_accounts import AuditRow, Identity
from plait.wire_events import Event

if TYPE_CHECKING:
    from plait.compose import Composed
    from plait.model.recipe import Recipe
    from plait.preview import Preview


@dataclass(frozen=True, slots=True)
class ComposeOptions:
    """What a composition seldom needs."""

    author: Person | None = None
    """None: who the client's settings name."""
    base_folder: str | os.PathLike[str] | None = None
    """The base model's, for methods and families that need its weights."""
    create: bool = False
    """Make the repository where it is absent."""
    threads: int = 1
    """The outcome has the same bytes, whatever their number."""
    progress: Progress = NO_PROGRESS

    @property
    def base_path(self) -> Path | None:
        """The base model's folder."""
        return None if self.base_folder is None else Path(self.base_folder)


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

    def create(
        self, name: str, *, description: str = "", private: bool = True, kind: str = "adapter"
    ) -> Repository:
        """Make an empty repository, which only its namespace sees unless it is not private.

        Its `kind` is `adapter` or `base`.

        Raises:
            AlreadyExists: `repository-exists`.
        """
        create_repository(
            self._transport,
            RepositoryName.parse(name),
            description=description,
            private=private,
            kind=parse_repository_kind(kind),
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

    def compose(
        self,
        recipe: Recipe | Mapping[str, Any] | str | os.PathLike[str],
        output: str,
        *,
        message: str | None = None,
        options: ComposeOptions | None = None,
    ) -> Composed:
        """Carry a recipe, or the YAML or JSON file at a path, out to `namespace/name[@branch]`.

        The outcome is the branch's next version, with all inputs as parents and the recipe in its
        origin. Nothing is pushed where the branch has this outcome already (`result` is None then).

        Raises:
            InvalidInput: the recipe cannot be carried out; nothing was published.
            NotFound: an input, or the repository without `create`.
            Conflict: somebody else moved the branch meanwhile; nothing was published.
            Unavailable: `extra-missing`, plait[algebra] is not installed.
        """
        from plait.compose import ComposeWish, compose

        options = options or ComposeOptions()
        address = Address.parse(output)
        wish = ComposeWish(
            recipe=_open_recipe(recipe),
            repository=address.repository,
            branch=parse_ref_name(address.revision or DEFAULT_BRANCH),
            author=options.author or self._author,
            time=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            message=message,
            base_folder=options.base_path,
            create=options.create,
            threads=options.threads,
        )
        return compose(self._transport, self._cache, wish, options.progress)

    def preview(
        self,
        recipe: Recipe | Mapping[str, Any] | str | os.PathLike[str],
        *,
        options: ComposeOptions | None = None,
    ) -> Preview:
        """Say how a recipe's inputs interfere and what it would keep; raises as `compose`."""
        from plait.preview import PreviewWish, preview_composition

        options = options or ComposeOptions()
        wish = PreviewWish(
            recipe=_open_recipe(recipe), base_folder=options.base_path, threads=options.threads
        )
        return preview_composition(self._transport, self._cache, wish, options.progress)

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
        kind: str | None = None,
    ) -> Iterator[wire.Repository]:
        """Yield the repositories whose name or description has `query` in it, sorted by name."""

        def ask(cursor: str | None) -> wire.RepositoryPage:
            wanted = {
                "query": query,
                "namespace": namespace,
                "base": base,
                "adapter_type": adapter_type,
                "kind": kind,
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


def _open_recipe(given: Recipe | Mapping[str, Any] | str | os.PathLike[str]) -> Recipe:
    from plait.model.recipe import Recipe

    if isinstance(given, Recipe):
        return given
    if isinstance(given, Mapping):
        return Recipe.from_json(dict(given))
    from plait.recipe_file import read_recipe

    return read_recipe(os.fspath(given))
