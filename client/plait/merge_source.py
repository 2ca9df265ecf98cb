"""A version in a registry as an adapter to merge: pulled, with the base that its commit names."""

from __future__ import annotations

from plait.cache import Cache
from plait.lookup import load_commit
from plait.merge import MergeSource
from plait.model.address import RepositoryName
from plait.model.ids import abbreviate
from plait.progress import NO_PROGRESS, Progress
from plait.pull import PullRequest, Version, find_version, pull
from plait.transport import Transport


def pull_source(
    transport: Transport,
    cache: Cache,
    repository: RepositoryName,
    revision: str,
    progress: Progress = NO_PROGRESS,
) -> tuple[MergeSource, Version]:
    """Return a version with weight 1, and what its revision meant.

    Raises:
        NotFound, Integrity, Unavailable: as `pull`.
    """
    version = find_version(transport, repository, cache, revision)
    commit = load_commit(transport, repository, version.commit).commit
    pulled = pull(transport, repository, cache, PullRequest(version.commit), progress)
    source = MergeSource(
        label=f"{repository}@{abbreviate(version.commit)}",
        folder=pulled.path,
        manifest=version.manifest,
        base=commit.base.fingerprint,
    )
    return source, version
