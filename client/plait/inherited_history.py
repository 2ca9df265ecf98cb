"""The history of versions that a commit in another repository builds on, as git brings it along.

A repository holds the whole history of its commits, so an outcome that names inputs of other
repositories as its parents brings theirs with it. Their files are linked inside the registry and
do not travel. Whoever may read the outcome may then read the inputs, so bringing a private
repository's history to where others look is refused unless it is asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from plait import wire
from plait.cache import Cache
from plait.downloads import Downloader
from plait.errors import InvalidInput, NotFound
from plait.lookup import iter_log, load_commit, load_manifests
from plait.model.address import RepositoryName
from plait.model.commit import Commit
from plait.model.ids import CommitId, ManifestId, ObjectId
from plait.model.manifest import File, Manifest
from plait.progress import NO_PROGRESS
from plait.pull import fetch_files
from plait.transport import Transport, repository_path


@dataclass(frozen=True, slots=True)
class History:
    """Commits that a repository lacks, with their manifests."""

    commits: tuple[Commit, ...]
    """Parents before children."""
    manifests: dict[ManifestId, Manifest]
    homes: dict[ObjectId, tuple[RepositoryName, File]]
    """Where each file can be fetched, should the registry ask for it."""


def collect_history(
    transport: Transport,
    target: RepositoryName,
    tips: Sequence[tuple[RepositoryName, CommitId]],
) -> History:
    """Return what `tips` reach and the target lacks."""
    found: dict[CommitId, tuple[int, Commit, RepositoryName]] = {}
    for repository, tip in tips:
        if repository == target or tip in found or has_commit(transport, target, tip):
            continue
        for info in iter_log(transport, repository, tip):
            found.setdefault(info.id, (info.generation, info.commit, repository))
    ordered = sorted(found.items(), key=lambda item: (item[1][0], item[0]))
    manifests: dict[ManifestId, Manifest] = {}
    homes: dict[ObjectId, tuple[RepositoryName, File]] = {}
    for repository in {repository for _, _, repository in found.values()}:
        ids = {commit.manifest for _, commit, home in found.values() if home == repository}
        loaded = load_manifests(transport, repository, sorted(ids - manifests.keys()))
        manifests |= loaded
        for manifest in loaded.values():
            homes |= {file.sha256: (repository, file) for file in manifest.files}
    return History(tuple(commit for _, (_, commit, _) in ordered), manifests, homes)


def has_commit(transport: Transport, repository: RepositoryName, commit: CommitId) -> bool:
    """Tell whether a repository holds a commit; one that is not there holds none."""
    try:
        load_commit(transport, repository, commit)
    except NotFound:
        return False
    return True


def fetch_inherited(transport: Transport, cache: Cache, history: History, file: ObjectId) -> Path:
    """Return a file of the history in the cache, fetched where the registry could not link it."""
    repository, wanted = history.homes[file]
    fetch_files(Downloader(transport, repository, NO_PROGRESS), cache, (wanted,))
    return cache.path_of(file)


def verify_disclosure(
    transport: Transport,
    target: RepositoryName,
    inputs: Sequence[tuple[str, RepositoryName]],
    *,
    target_is_private: bool,
) -> None:
    """Check that nobody gets to read a private input by reading the outcome.

    `inputs` are labels and repositories.

    Raises:
        InvalidInput: `disclosure-refused`.
    """
    for label, repository in inputs:
        is_same_circle = repository.namespace.lower() == target.namespace.lower()
        if repository == target or (is_same_circle and target_is_private):
            continue
        info = wire.decode(wire.Repository, transport.call("GET", repository_path(repository)))
        if info.private:
            raise InvalidInput(
                "disclosure-refused",
                f"{label} is private, and {target} is read by others: with the outcome, they could "
                "read that input and its whole history. Write the outcome to a private repository "
                f"in {repository.namespace}, or let it pass (--allow disclosure).",
                input=label,
            )
