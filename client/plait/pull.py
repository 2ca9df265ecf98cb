"""Pulling a version: into the cache as an immutable folder, or on from there as a copy.

(1) resolve the revision to a commit and, by its document, to its manifest; a full commit id that
    was pulled before needs no request;
(2) get the manifest, checked against its id;
(3) if the version's folder is in the cache and intact, that is all; else fetch the files that the
    cache lacks, each verified, and build the folder;
(4) where a destination was given, copy the folder there.

A second pull of the same revision therefore costs one request and no bytes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from plait.cache import Cache
from plait.destination import write_destination
from plait.downloads import Downloader, Fetch, Piece
from plait.errors import Integrity
from plait.lookup import load_commit, load_manifests, resolve
from plait.model.adapter import FILE_NAME
from plait.model.address import RepositoryName
from plait.model.ids import CommitId, ManifestId
from plait.model.manifest import File, Manifest
from plait.model.paths import FilePath
from plait.model.refs import HEAD
from plait.partial import plan_part, select_tensors
from plait.progress import NO_PROGRESS, Progress
from plait.transport import Transport

_FULL_ID = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class PullRequest:
    """What to pull."""

    revision: str = HEAD
    destination: Path | None = None
    """Where to write a copy; None for the folder in the cache."""
    only: tuple[str, ...] = ()
    """Patterns of tensor names; empty for the whole version."""
    force: bool = False
    """Replace files in a destination that is not empty."""
    verify: bool = False
    """Read a version that is in the cache again, instead of looking at its files' status."""


@dataclass(frozen=True, slots=True)
class Pulled:
    """A version on this machine."""

    path: Path
    commit: CommitId
    manifest: ManifestId
    received: int
    """Bytes of files that were fetched; 0 where the cache had all of them."""


@dataclass(frozen=True, slots=True)
class Version:
    """What a revision means, by its documents alone."""

    commit: CommitId
    manifest: Manifest
    manifest_id: ManifestId


def find_version(
    transport: Transport, repository: RepositoryName, cache: Cache, revision: str
) -> Version:
    """Return the version that `revision` names, without its files.

    Raises:
        NotFound: the repository or the revision is not there.
        Integrity: the registry answered with another one.
    """
    commit, manifest_id = _resolve(transport, repository, cache, revision)
    manifest = cache.find_manifest(manifest_id)
    if manifest is None:
        manifest = load_manifests(transport, repository, [manifest_id])[manifest_id]
        cache.keep_manifest(manifest, manifest_id)
    return Version(commit, manifest, manifest_id)


def pull(
    transport: Transport,
    repository: RepositoryName,
    cache: Cache,
    request: PullRequest,
    progress: Progress = NO_PROGRESS,
) -> Pulled:
    """Pull as the module says.

    Raises:
        NotFound: the repository or the revision is not there.
        AlreadyExists: `destination-exists`.
        Integrity: bytes are not what the version says; nothing of them is left.
        Unavailable: `disk-full`, or the registry cannot be reached; what arrived is kept.
    """
    # (1) and (2) resolve, and get the manifest.
    version = find_version(transport, repository, cache, request.revision)

    # (3) find or build the folder.
    downloader = Downloader(transport, repository, progress)
    if request.only:
        folder, received = _get_part(downloader, cache, version, request.only)
    else:
        folder, received = _get_version(downloader, cache, version, verify=request.verify)

    # (4) copy it.
    if request.destination is not None:
        write_destination(_list(folder), request.destination, force=request.force)
        folder = request.destination
    return Pulled(folder, version.commit, version.manifest_id, received)


def fetch_files(downloader: Downloader, cache: Cache, files: tuple[File, ...]) -> int:
    """Bring files into the cache; return how many bytes had to be fetched."""
    lacking = {file.sha256: file for file in files if not cache.has_file(file)}
    return downloader.fetch(
        [
            Fetch(
                file=file.sha256,
                size=file.size,
                destination=cache.path_of(file.sha256),
                pieces=[Piece(0, file.size, 0)],
                verify=partial(cache.seal_file, file=file.sha256),
            )
            for file in lacking.values()
        ]
    )


def _resolve(
    transport: Transport, repository: RepositoryName, cache: Cache, revision: str
) -> tuple[CommitId, ManifestId]:
    if _FULL_ID.fullmatch(revision):
        commit = CommitId(revision)
    else:
        commit, _ = resolve(transport, repository, revision)
    manifest_id = cache.find_commit(commit)
    if manifest_id is None:
        # The id vouches for the commit's document, and that for the manifest: nothing is believed.
        manifest_id = load_commit(transport, repository, commit).commit.manifest
        cache.keep_commit(commit, manifest_id)
    return commit, manifest_id


def _get_version(
    downloader: Downloader, cache: Cache, version: Version, *, verify: bool
) -> tuple[Path, int]:
    folder = cache.find_version(version.manifest, version.manifest_id)
    if folder is not None and verify:
        try:
            cache.verify_version(folder, version.manifest)
        except Integrity:
            folder = None
    if folder is not None:
        return folder, 0
    received = fetch_files(downloader, cache, version.manifest.files)
    return cache.build_version(version.manifest, version.manifest_id), received


def _get_part(
    downloader: Downloader, cache: Cache, version: Version, patterns: tuple[str, ...]
) -> tuple[Path, int]:
    selections = select_tensors(version.manifest, patterns)
    folder = cache.part_folder(version.commit, patterns)
    if folder.is_dir():
        return folder, 0
    config = version.manifest.find(FILE_NAME)
    received = 0 if config is None else fetch_files(downloader, cache, (config,))

    def fill(temporary: Path) -> int:
        if config is not None:
            cache.place_file(config, temporary)
        return downloader.fetch(
            [
                plan_part(
                    downloader, selection, temporary, commit=version.commit, patterns=patterns
                )
                for selection in selections
            ]
        )

    received += cache.build(folder, fill)
    return folder, received


def _list(folder: Path) -> dict[FilePath, Path]:
    return {
        FilePath(path.relative_to(folder).as_posix()): path
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
