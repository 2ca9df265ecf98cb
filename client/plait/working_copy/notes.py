"""Notes of commits as a fetch found them: what log and show tell offline.

Notes are no part of a commit and can be added later, so what is here may be behind the remote.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from plait.model.ids import CommitId
from plait.working_copy.layout import Layout
from plait.working_copy.state_files import damaged, read_json, write_json

if TYPE_CHECKING:
    # The log reads notes, and these shapes take longer to import than the log takes to print.
    from plait.wire import Note


def read_notes(layout: Layout) -> dict[CommitId, list[dict[str, Any]]]:
    """Return the notes of each commit that has any, oldest first, as kind, body and created_at."""
    document = read_json(layout.notes)
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise damaged(layout.notes, "is not a JSON object")
    return {CommitId(commit): notes for commit, notes in document.items()}


def write_notes(layout: Layout, notes: Mapping[CommitId, Sequence[Note]]) -> None:
    """Add the notes of commits that were just fetched; the caller holds the lock."""
    new = {
        commit: [
            {"kind": note.kind, "body": note.body, "created_at": note.created_at} for note in items
        ]
        for commit, items in notes.items()
        if items
    }
    if new:
        write_json(layout.notes, {**read_notes(layout), **new})
