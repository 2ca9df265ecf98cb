"""What the new versions of a push are, from the file in each that says so."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from plait.model.base_version import is_base
from plait.model.ids import ManifestId, ObjectId
from plait.model.manifest import File, Manifest
from plait_registry.domain.bases import BaseRow
from plait_registry.domain.policy import (
    find_declaration,
    parse_adapter_type,
    verify_base_version,
    verify_kind,
)
from plait_registry.domain.ports import Database, ObjectStore
from plait_registry.domain.records import Extent, RepositoryRecord
from plait_registry.domain.staging import IncomingCommit
from plait_registry.services.stored_file import read_file


class ReadDeclarations:
    """Reads adapters' configs, stacks and base cards; each distinct one once."""

    def __init__(self, database: Database, store: ObjectStore) -> None:
        self._database = database
        self._store = store

    def __call__(
        self,
        incoming: Sequence[IncomingCommit],
        brought: Mapping[ObjectId, Sequence[Extent]],
    ) -> dict[ManifestId, str]:
        """Return PEFT's type of every new version, STACK or BASE; `brought` says where files are.

        Raises:
            InvalidInput: a declaration is malformed, or not what commit or weights say.
            TooLarge: one is over its limit.
        """
        manifests = {item.commit.manifest: item.manifest for item in incoming}
        declarations = {
            key: declaration
            for key, manifest in manifests.items()
            if (declaration := find_declaration(manifest)) is not None
        }
        places = self._locate(declarations.values(), brought)
        # By the path as well: the same bytes under another name say something else.
        distinct = {(file.path, file.sha256): file for file in declarations.values()}
        types = {
            place: parse_adapter_type(file, read_file(self._store, places[file.sha256]))
            for place, file in distinct.items()
        }
        self._verify_bases(incoming, places)
        return {key: types[file.path, file.sha256] for key, file in declarations.items()}

    def _locate(
        self, files: Iterable[File], brought: Mapping[ObjectId, Sequence[Extent]]
    ) -> dict[ObjectId, Sequence[Extent]]:
        missing = {file.sha256 for file in files} - brought.keys()
        with self._database.read() as records:
            return {**brought, **records.files.load_extents(None, missing)}

    def _verify_bases(
        self, incoming: Sequence[IncomingCommit], places: Mapping[ObjectId, Sequence[Extent]]
    ) -> None:
        for item in incoming:
            card = find_declaration(item.manifest)
            if card is not None and is_base(item.manifest):
                data = read_file(self._store, places[card.sha256])
                verify_base_version(item.commit.base, item.manifest, data)


def verify_kinds(repository: RepositoryRecord, manifests: Iterable[Manifest]) -> None:
    """Check that versions are what those of their repository are; raises as `verify_kind`."""
    for manifest in manifests:
        verify_kind(repository.kind, manifest)


def list_base_rows(incoming: Iterable[IncomingCommit]) -> list[BaseRow]:
    """Return the rows of the commits that are versions of bases; their cards were verified."""
    return [
        BaseRow(item.id, base.name, base.revision, base.fingerprint)
        for item in incoming
        if is_base(item.manifest) and (base := item.commit.base).fingerprint is not None
    ]
