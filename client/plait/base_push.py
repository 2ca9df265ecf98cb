"""Pushing a base model: its weights, or its card alone.

(1) see that the repository is one of bases, or that it can be made;
(2) list the model's files, read its weights, and write its card;
(3) push both as the next version of the branch; without weights, all but the safetensors files.

Adapters name their base by its fingerprint, which the card has either way: a model that is too
large to be stored twice stays where it is.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from plait import wire
from plait.base_folder import BaseFiles, find_name, list_base_files, make_card
from plait.describe import Description, FileStamp, digest_source
from plait.errors import InvalidInput, NotFound
from plait.known_bases import base_tables
from plait.model.address import RepositoryName
from plait.model.base_card import FILE_NAME, BaseCard
from plait.model.commit import Base, Origin, OriginKind
from plait.model.manifest import File, Manifest, Tensor
from plait.model.paths import FilePath
from plait.model.repository_kind import RepositoryKind
from plait.parallel import StopSign, run_parallel
from plait.progress import NO_PROGRESS, Progress
from plait.push_folder import FolderPush, Pushed, push_version
from plait.transport import Transport, repository_path


@dataclass(frozen=True, slots=True)
class BasePush:
    """What to push beside what `FolderPush` says of folder, message, author, time and branch."""

    folder: FolderPush
    """Its `base` says what the model is called; None: what the folder tells, else the
    repository's name."""
    manifest_only: bool = False
    """Leave the weights where they are."""
    cache_dir: Path | None = None
    """Where the digests of files that were read before are remembered."""


@dataclass(frozen=True, slots=True)
class PushedBase:
    """A base that the registry has now."""

    pushed: Pushed
    card: BaseCard
    has_weights: bool


def push_base(
    transport: Transport,
    repository: RepositoryName,
    wish: BasePush,
    progress: Progress = NO_PROGRESS,
) -> PushedBase:
    """Push as the module says.

    Raises:
        InvalidInput: `base-unknown`, the folder holds no base; `wrong-repository-kind`.
        NotFound: the repository is not there, and `create` is off.
        Conflict: somebody else moved the branch meanwhile; nothing was published.
    """
    # (1) look at the repository, before hours go into reading weights.
    _verify_repository(transport, repository)

    # (2) read the model.
    folder = wish.folder.folder
    files = list_base_files(folder)
    name = wish.folder.base or find_name(folder) or Base(str(repository))
    with tempfile.TemporaryDirectory(prefix="plait-base-") as temporary:
        sources = {**files.others, **({} if wish.manifest_only else files.weights)}
        described = _describe(sources, progress)
        card = make_card(folder, _list_tensors(wish, described, files, progress), name)
        card_path = Path(temporary) / FILE_NAME
        card_path.write_bytes(card.to_bytes())
        described.update(_describe({FILE_NAME: card_path}, NO_PROGRESS))
        description = Description(
            manifest=Manifest.of(described.values()),
            sources={**sources, FILE_NAME: card_path},
            stamps={},
            skipped=files.left_out,
            config=None,
            config_bytes=None,
        )

        # (3) push.
        folder_push = replace(
            wish.folder,
            base=card.base,
            origin=Origin(OriginKind.IMPORT),
            kind=RepositoryKind.BASE,
        )
        pushed = push_version(transport, repository, folder_push, description, progress)
    return PushedBase(pushed, card, not wish.manifest_only)


def _verify_repository(transport: Transport, repository: RepositoryName) -> None:
    try:
        answer = transport.call("GET", repository_path(repository))
    except NotFound as error:
        if error.kind != "repository-not-found":
            raise
        return
    kind = wire.decode(wire.Repository, answer).kind
    if kind != RepositoryKind.BASE:
        raise InvalidInput(
            "wrong-repository-kind",
            f"{repository} holds {kind}s: push the base to a repository of its own, which is made "
            "for it under another name.",
            repository_kind=kind,
        )


def _describe(sources: Mapping[FilePath, Path], progress: Progress) -> dict[FilePath, File]:
    stamps = {path: FileStamp.of(source.stat()) for path, source in sources.items()}
    files: dict[FilePath, File] = {}

    def digest(path: FilePath, stop: StopSign) -> None:
        file = digest_source(path, sources[path], stamps[path], stop=stop, progress=progress)
        files[path] = file  # of one thread each

    progress.total(sum(stamp.size for stamp in stamps.values()), what="Hashing")
    try:
        run_parallel([partial(digest, path) for path in sources])
    finally:
        progress.finish()
    return files


def _list_tensors(
    wish: BasePush, described: Mapping[FilePath, File], files: BaseFiles, progress: Progress
) -> list[Tensor]:
    """Return the model's tensors, which a push with weights has read already."""
    if wish.manifest_only:
        tables = base_tables(wish.folder.folder, wish.cache_dir, progress)
    else:
        tables = {
            path: table for path in files.weights if (table := described[path].tensors) is not None
        }
    return [tensor for table in tables.values() for tensor in table.entries]
