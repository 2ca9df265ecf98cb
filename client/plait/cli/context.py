"""What a command gets from the process: settings, folder, clock, terminal, and ways to open things.

Everything is opened when it is first asked for, since most commands need only a part.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from plait.cli.terminal import Terminal
from plait.errors import InvalidInput
from plait.model.address import RepositoryName
from plait.model.commit import Base, Person
from plait.working_copy.copy import WorkingCopy
from plait.working_copy.layout import find_layout

if TYPE_CHECKING:
    from plait.cache import Cache
    from plait.configuration import Configuration
    from plait.http_transport import HttpTransport
    from plait.repository import Repository


class Context:
    """The process as a command sees it."""

    def __init__(
        self,
        *,
        environ: Mapping[str, str],
        folder: Path,
        terminal: Terminal,
        now: Callable[[], str],
    ) -> None:
        self.folder = folder
        """Where the command was started."""
        self.terminal = terminal
        self.now = now
        """Returns UTC to the second."""
        self._environ = environ
        self._configuration: Configuration | None = None
        self._transports: dict[str, HttpTransport] = {}

    @property
    def configuration(self) -> Configuration:
        """The settings of the environment and the config file."""
        if self._configuration is None:
            from plait.configuration import from_environment

            self._configuration = from_environment(self._environ, folder=self.folder)
        return self._configuration

    def close(self) -> None:
        """Close what was opened."""
        for transport in self._transports.values():
            transport.close()
        self._transports.clear()

    def path(self, text: str) -> Path:
        """Return a path that was typed, relative to where the command was started."""
        path = self.folder / Path(text).expanduser()
        # Only without `..` do the parents of a path say what it lies in.
        return path.resolve() if ".." in path.parts else path

    def find_copy(self) -> WorkingCopy | None:
        """Open the working copy that the folder lies in, or return None."""
        layout = find_layout(self.folder)
        return None if layout is None else WorkingCopy(layout)

    def get_copy(self) -> WorkingCopy:
        """Open the working copy that the folder lies in; raises NotFound."""
        return WorkingCopy.find(self.folder)

    def open_url(self, url: str | None) -> str:
        """Return the address of the registry to use: `url`, else what the settings name."""
        if url is None:
            return self.configuration.url
        from plait.configuration import parse_url

        return parse_url(url)

    def open_transport(self, url: str | None = None) -> HttpTransport:
        """Return the transport to a registry, which lives as long as the command."""
        from plait.registry import open_transport

        address = self.open_url(url)
        if address not in self._transports:
            self._transports[address] = open_transport(self.configuration, url=address)
        return self._transports[address]

    def open_cache(self) -> Cache:
        """Return the cache of this user."""
        from plait.cache import Cache

        return Cache(self.configuration.cache_dir)

    def open_repository(self, name: RepositoryName, url: str | None = None) -> Repository:
        """Return a repository of a registry, without asking whether it is there."""
        from plait.repository import Repository

        transport = self.open_transport(url)
        return Repository(name, transport, self.open_cache(), self.configuration.author)

    def author(self, given: str | None) -> Person:
        """Return who makes a commit: as given by `--author`, else as the settings say."""
        return self.configuration.author if given is None else parse_person(given)

    def base(self, name: str | None, folder: str | None) -> Base | None:
        """Return the base of `--base` and `--base-dir`; without a name where only the folder is."""
        if name is None and folder is None:
            return None
        fingerprint = None
        if folder is not None:
            from plait.known_bases import base_digests

            fingerprint, _ = base_digests(
                self.path(folder), self.configuration.cache_dir, self.terminal.progress
            )
        text, _, revision = (name or "").partition("@")
        return Base(text, revision or None, fingerprint)


def parse_person(text: str) -> Person:
    """Return `NAME <EMAIL>`, or a name alone, as a person.

    Raises:
        InvalidInput: `usage`, it has no such form.
    """
    name, bracket, rest = text.partition("<")
    email = rest.strip().removesuffix(">")
    if not name.strip() or (bracket and not rest.strip().endswith(">")):
        raise InvalidInput("usage", f"{text!r:.200} names no author: expected 'NAME <EMAIL>'.")
    return Person(name.strip(), email.strip())
