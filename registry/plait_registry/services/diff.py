"""Comparing two versions: their files, the tensors inside them, and the adapter's config.

Effective deltas are not compared here: they need the weights, which the client has or fetches.
"""

from __future__ import annotations

from dataclasses import dataclass

from plait.model.address import RepositoryName
from plait.model.diff import FieldChange, ManifestDiff, diff_configs, diff_manifests
from plait.model.ids import CommitId
from plait.model.manifest import Manifest
from plait.model.revision import resolve_revision
from plait_registry.domain.access import Caller, Right
from plait_registry.domain.policy import find_config
from plait_registry.domain.ports import Database, ObjectStore
from plait_registry.services.access import find_repository
from plait_registry.services.commit_source import RecordsSource
from plait_registry.services.stored_file import read_file


@dataclass(frozen=True, slots=True)
class VersionDiff:
    """What changed between two commits."""

    old: CommitId
    new: CommitId
    config: tuple[FieldChange, ...]
    """By the config's meaning: an order that means nothing is no change."""
    manifest: ManifestDiff


class DiffVersions:
    """Compares two revisions of a repository."""

    def __init__(self, database: Database, store: ObjectStore) -> None:
        self._database = database
        self._store = store

    def __call__(self, caller: Caller, name: RepositoryName, old: str, new: str) -> VersionDiff:
        """Return what changed from `old` to `new`; of the weights only their digests are read.

        Raises:
            NotFound: `revision-not-found`.
            InvalidInput: `invalid-revision`, `revision-ambiguous`.
        """
        with self._database.read() as records:
            repository = find_repository(records, caller, name, Right.READ)
            source = RecordsSource(records, repository)
            commits = [resolve_revision(revision, source) for revision in (old, new)]
            rows = records.commits.load(repository.id, commits)
            ids = [rows[commit].manifest for commit in commits]
            bodies = records.files.load_manifests(repository.id, ids)
            manifests = [Manifest.from_bytes(bodies[key]) for key in ids]
            configs = [find_config(manifest) for manifest in manifests]
            digests = [config.sha256 for config in configs if config is not None]
            extents = records.files.load_extents(repository.id, digests)
        before, after = (
            None if config is None else read_file(self._store, extents[config.sha256])
            for config in configs
        )
        return VersionDiff(
            commits[0], commits[1], diff_configs(before, after), diff_manifests(*manifests)
        )
