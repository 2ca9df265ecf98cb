"""What the journal of refs says about a repository, and what documents of before said."""

from plait.model import canonical
from plait.model.address import RepositoryName
from plait.model.repository_kind import RepositoryKind
from plait_registry.domain.ref_journal import RefSnapshot

NAME = RepositoryName("team", "sql")
AT = "2026-11-24T06:07:00Z"


def test_kind_is_read_as_it_was_written() -> None:
    for kind in RepositoryKind:
        snapshot = RefSnapshot(NAME, 3, AT, "words", kind=kind)
        assert RefSnapshot.from_bytes(snapshot.to_document().body) == snapshot


def test_repository_of_adapters_is_written_as_before_there_were_kinds() -> None:
    document = canonical.loads(RefSnapshot(NAME, 3, AT).to_document().body)
    assert "kind" not in document
    assert (
        canonical.loads(RefSnapshot(NAME, 3, AT, kind=RepositoryKind.BASE).to_document().body)[
            "kind"
        ]
        == "base"
    )
