"""The journal of refs: what the store itself knows about repositories.

After each change of a repository's refs, a document `plait.refs/1` is written that says all of
them, with a number that grows. Documents are objects like any others, but lie in a place of the
store that no client's request can write to: whoever forged one could move any repository's refs
when the database is rebuilt. The newest document of each repository counts; a deleted one has a
last document that says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from plait.model import canonical
from plait.model.address import RepositoryName
from plait.model.ids import hash_bytes, parse_commit_id
from plait.model.refs import Ref, RefKind, parse_ref_name
from plait.model.repository_kind import RepositoryKind
from plait_registry.domain.extents import Document
from plait_registry.domain.records import RepositoryId

FORMAT = "plait.refs/1"


class JournalTable(Protocol):
    """Which repositories the journal has yet to hear of."""

    def list_behind(self, limit: int) -> Sequence[str]:
        """Return keys of repositories that changed since the journal last heard of them."""

    def load_snapshot(self, key: str, at: str) -> RefSnapshot:
        """Return what the journal should say about a repository now, deleted or not."""

    def retire(self, repository: RepositoryId, names: Sequence[str]) -> None:
        """Say that the names of tags were used and are never given again."""

    def set_journaled(self, key: str, sequence: int) -> None:
        """Remember up to which version of a repository the journal has it."""


@dataclass(frozen=True, slots=True)
class RefSnapshot:
    """A repository's refs at one point."""

    name: RepositoryName
    sequence: int
    """Grows with every change; also where a repository is deleted and made anew."""
    at: str
    description: str = ""
    private: bool = True
    refs: tuple[Ref, ...] = ()
    retired: tuple[str, ...] = ()
    """Names of deleted tags, which are never given again."""
    deleted: bool = False
    kind: RepositoryKind = RepositoryKind.ADAPTER

    def to_document(self) -> Document:
        """Return the document and its id."""
        document: dict[str, Any] = {
            "format": FORMAT,
            "repository": str(self.name),
            "sequence": self.sequence,
            "at": self.at,
            "description": self.description,
            "private": self.private,
            "refs": [
                {"kind": ref.kind.value, "name": ref.name, "target": ref.target}
                for ref in self.refs
            ],
            "retired": list(self.retired),
            "deleted": self.deleted,
        }
        if self.kind is not RepositoryKind.ADAPTER:  # which documents of before do not say
            document["kind"] = self.kind.value
        body = canonical.dumps(document)
        return Document(hash_bytes(body), body)

    @classmethod
    def from_bytes(cls, body: bytes) -> RefSnapshot:
        """Parse a document.

        Raises:
            InvalidInput: it is none.
        """
        fields: Mapping[str, Any] = canonical.loads(body)
        return cls(
            name=RepositoryName.parse(fields["repository"]),
            sequence=int(fields["sequence"]),
            at=str(fields["at"]),
            description=str(fields["description"]),
            private=bool(fields["private"]),
            refs=tuple(
                Ref(RefKind(it["kind"]), parse_ref_name(it["name"]), parse_commit_id(it["target"]))
                for it in fields["refs"]
            ),
            retired=tuple(map(str, fields["retired"])),
            deleted=bool(fields["deleted"]),
            kind=RepositoryKind(fields.get("kind", RepositoryKind.ADAPTER)),
        )


def find_newest(snapshots: Sequence[RefSnapshot]) -> dict[str, RefSnapshot]:
    """Return the newest snapshot of each repository, by its key."""
    newest: dict[str, RefSnapshot] = {}
    for snapshot in snapshots:
        known = newest.get(snapshot.name.key)
        if known is None or known.sequence < snapshot.sequence:
            newest[snapshot.name.key] = snapshot
    return newest
