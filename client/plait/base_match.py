"""Finding the base of an adapter among the bases of a registry.

(1) by fingerprint, where the adapter's version has one: nothing else can be its base then;
(2) else by the name that its configuration gives, and by the revision where both have one;
(3) else by the shapes of its tensors, among all bases that the caller may read.

What is found by (2) or (3) is compared with the adapter's shapes, and left out where it does not
fit; what remains may still be another model of the same name or architecture, so that the outcome
says how each was found.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from plait.adapter_folder import open_tensors
from plait.cache import Cache
from plait.downloads import Downloader
from plait.errors import InvalidInput
from plait.lookup import load_commit, load_manifests, resolve
from plait.model.adapter import FILE_NAME as ADAPTER_CONFIG
from plait.model.adapter import parse_adapter_config
from plait.model.address import Address, RepositoryName
from plait.model.base_card import FILE_NAME, BaseCard
from plait.model.base_fit import Fit, Shape, compare_shapes
from plait.model.commit import Base
from plait.model.ids import CommitId, ObjectId, parse_commit_id, parse_object_id
from plait.model.manifest import Manifest
from plait.model.refs import HEAD
from plait.paging import read_pages
from plait.progress import NO_PROGRESS
from plait.pull import fetch_files
from plait.transport import Query, Transport
from plait.wire import API_PREFIX, decode
from plait.wire_bases import BasePage

PAGE_SIZE = 100


class MatchedBy(StrEnum):
    """How a base was found, surest first."""

    FINGERPRINT = "fingerprint"
    """It has the weights that the adapter's version names."""
    REVISION = "name and revision"
    NAME = "name"
    """One of the two names no revision."""
    SHAPES = "shapes"
    """It could be the base, as any model of this architecture could."""


@dataclass(frozen=True, slots=True)
class ListedBase:
    """A version of a base that a registry holds."""

    repository: RepositoryName
    commit: CommitId
    base: Base
    """Its name, revision and fingerprint."""
    time: str
    """Of the commit, in UTC."""
    generation: int
    """Of the commit, which tells the later one of two of the same second."""

    @property
    def age(self) -> tuple[str, int]:
        """What sorts versions by when they were made."""
        return self.time, self.generation


@dataclass(frozen=True, slots=True)
class AdapterShapes:
    """What is known of an adapter whose base is looked for."""

    label: str
    base: Base
    """As its configuration or its version names it; the name may be empty."""
    tensors: Mapping[str, Shape]


@dataclass(frozen=True, slots=True)
class BaseMatch:
    """A base that may be the adapter's."""

    found: ListedBase
    by: MatchedBy


@dataclass(frozen=True, slots=True)
class BaseMatches:
    """What was found, surest first."""

    adapter: AdapterShapes
    matches: tuple[BaseMatch, ...]
    refused: tuple[tuple[ListedBase, str], ...]
    """Bases of the adapter's name that are not its own, each with the reason."""


def list_bases(
    transport: Transport, *, fingerprint: str | None = None, name: str | None = None
) -> Iterator[ListedBase]:
    """Yield the versions of bases that the caller may read, by repository and commit."""

    def ask(cursor: str | None) -> BasePage:
        query: Query = {
            "fingerprint": fingerprint,
            "name": name,
            "cursor": cursor,
            "limit": PAGE_SIZE,
        }
        return decode(BasePage, transport.call("GET", f"{API_PREFIX}/bases", query=query))

    for page in read_pages(ask):
        for item in page.bases:
            yield ListedBase(
                RepositoryName.parse(item.repository),
                parse_commit_id(item.commit),
                Base(item.name, item.revision, parse_object_id(item.fingerprint)),
                item.time,
                item.generation,
            )


def load_card(
    transport: Transport, repository: RepositoryName, cache: Cache, revision: str = HEAD
) -> BaseCard:
    """Return the card of a version of a base.

    Raises:
        InvalidInput: `base-unknown`, the version is no base.
        NotFound: the repository or the revision is not there.
    """
    _, manifest = _load_manifest(transport, repository, revision)
    file = manifest.find(FILE_NAME)
    if file is None:
        raise InvalidInput(
            "base-unknown",
            f"{repository}@{revision} has no {FILE_NAME}, so it is no base: push one with `plait "
            "base push`.",
        )
    fetch_files(Downloader(transport, repository, NO_PROGRESS), cache, (file,))
    return BaseCard.from_bytes(cache.path_of(file.sha256).read_bytes())


def read_adapter_folder(folder: Path) -> AdapterShapes:
    """Return what a folder says about the base of the adapter in it.

    Raises:
        InvalidInput: `adapter-config-missing`, or a file is malformed.
    """
    path = folder / ADAPTER_CONFIG
    if not path.is_file():
        raise InvalidInput(
            "adapter-config-missing",
            f"{folder} has no {ADAPTER_CONFIG}: name the folder of an adapter, or NS/NAME@REV.",
        )
    config = parse_adapter_config(path.read_bytes())
    places = open_tensors(folder).places
    return AdapterShapes(
        str(folder),
        Base(config.base_name or "", config.base_revision),
        {name: tensor.shape for name, (_, tensor) in places.items()},
    )


def read_adapter_version(transport: Transport, address: Address) -> AdapterShapes:
    """Return what a version says about its base; its weights stay where they are.

    Raises:
        NotFound: the repository or the revision is not there.
    """
    commit, manifest = _load_manifest(transport, address.repository, address.revision or HEAD)
    info = load_commit(transport, address.repository, commit)
    shapes = {
        tensor.name: tensor.shape
        for file in manifest.files
        if file.tensors is not None and "/" not in file.path
        for tensor in file.tensors.entries
    }
    return AdapterShapes(str(address), info.commit.base, shapes)


def match_base(transport: Transport, cache: Cache, adapter: AdapterShapes) -> BaseMatches:
    """Return the bases that may be the adapter's, as the module says."""
    if adapter.base.fingerprint is not None:
        return _match_fingerprint(transport, adapter)
    fits = _Fits(transport, cache, adapter)
    matches: list[BaseMatch] = []
    refused: list[tuple[ListedBase, str]] = []
    # (2) by name.
    named = keep_newest(list_bases(transport, name=adapter.base.name)) if adapter.base.name else ()
    for item in named:
        by = _compare_names(adapter.base, item.base)
        misfit = next(iter(fits.compare(item).misfits), None)
        if by is None:
            refused.append((item, f"it is the revision {item.base.revision}"))
        elif misfit is not None:
            refused.append((item, misfit))
        else:
            matches.append(BaseMatch(item, by))
    # (3) by shapes.
    if not named:
        matches.extend(
            BaseMatch(item, MatchedBy.SHAPES)
            for item in keep_newest(list_bases(transport))
            if fits.compare(item).is_possible
        )
    matches.sort(key=lambda match: list(MatchedBy).index(match.by))
    return BaseMatches(adapter, tuple(matches), tuple(refused))


def take_base(transport: Transport, cache: Cache, address: Address, folder: Path) -> Base:
    """Return a version of a base as commits name it, for the adapter in `folder`.

    Raises:
        InvalidInput: `base-mismatch`, the adapter's tensors do not fit it; `base-unknown`, the
            version is no base.
        NotFound: it is not there.
    """
    card = load_card(transport, address.repository, cache, address.revision or HEAD)
    if not (folder / ADAPTER_CONFIG).is_file():  # a stack, or nothing that can be pushed
        return card.base
    misfits = compare_shapes(read_adapter_folder(folder).tensors, card).misfits
    if misfits:
        raise InvalidInput(
            "base-mismatch",
            f"{address} is not the base of {folder}: {misfits[0]} ({len(misfits)} modules do not "
            "fit). `plait base match` tells which one may be.",
            misfits=misfits[:20],
        )
    return card.base


def keep_newest(bases: Iterable[ListedBase]) -> list[ListedBase]:
    """Return one version for each repository and fingerprint, the newest, in their order."""
    newest: dict[tuple[RepositoryName, ObjectId | None], ListedBase] = {}
    for item in bases:
        key = item.repository, item.base.fingerprint
        if key not in newest or newest[key].age < item.age:
            newest[key] = item
    return list(newest.values())


def _match_fingerprint(transport: Transport, adapter: AdapterShapes) -> BaseMatches:
    wanted = adapter.base
    found = keep_newest(list_bases(transport, fingerprint=wanted.fingerprint))
    matches = tuple(BaseMatch(item, MatchedBy.FINGERPRINT) for item in found)
    named = (
        keep_newest(list_bases(transport, name=wanted.name)) if not found and wanted.name else ()
    )
    reason = "it has other weights than the adapter's version names"
    return BaseMatches(adapter, matches, tuple((item, reason) for item in named))


def _compare_names(wanted: Base, found: Base) -> MatchedBy | None:
    """Return how surely two bases of one name are the same; None where they are not."""
    if wanted.revision is None or found.revision is None:
        return MatchedBy.NAME
    return MatchedBy.REVISION if wanted.revision == found.revision else None


class _Fits:
    """Compares an adapter with bases; each distinct base once."""

    def __init__(self, transport: Transport, cache: Cache, adapter: AdapterShapes) -> None:
        self._transport = transport
        self._cache = cache
        self._adapter = adapter
        self._known: dict[ObjectId | None, Fit] = {}

    def compare(self, item: ListedBase) -> Fit:
        """Return how the adapter's shapes fit to a base."""
        fingerprint = item.base.fingerprint
        if fingerprint not in self._known:
            card = load_card(self._transport, item.repository, self._cache, item.commit)
            self._known[fingerprint] = compare_shapes(self._adapter.tensors, card)
        return self._known[fingerprint]


def _load_manifest(
    transport: Transport, repository: RepositoryName, revision: str
) -> tuple[CommitId, Manifest]:
    commit, manifest = resolve(transport, repository, revision)
    return commit, load_manifests(transport, repository, [manifest])[manifest]
