"""Hanging facts on a commit, outside its id."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from plait.errors import InvalidInput
from plait.model import canonical
from plait.model.address import RepositoryName
from plait.model.ids import CommitId
from plait_registry.domain.access import Caller, Right
from plait_registry.domain.change import Action, Change
from plait_registry.domain.ports import Clock, Database, Records
from plait_registry.domain.records import NoteRow
from plait_registry.services.access import find_repository, get_commit
from plait_registry.services.changes import record_change
from plait_registry.services.limits import verify_room_for_notes

LARGEST_NOTE = 256_000
"""Bytes of canonical JSON: metrics and results, not files."""

_KIND = re.compile(r"[a-z][a-z0-9._-]{0,63}")


def verify_note(kind: str, body: Mapping[str, Any]) -> None:
    """Check that a note can be stored.

    Raises:
        InvalidInput: its kind is no word, or its body no canonical JSON or too large.
    """
    if _KIND.fullmatch(kind) is None:
        raise InvalidInput(
            "invalid-input",
            f"{kind!r:.80} cannot be a note's kind: use lowercase letters, digits and . _ -, as "
            "in 'metrics'.",
        )
    if len(canonical.dumps(dict(body))) > LARGEST_NOTE:
        raise InvalidInput("invalid-input", f"The note is larger than {LARGEST_NOTE} bytes.")


class AddNote:
    """Hangs a note on a commit."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def __call__(
        self,
        caller: Caller,
        name: RepositoryName,
        commit: CommitId,
        kind: str,
        body: Mapping[str, Any],
    ) -> NoteRow:
        """Return the stored note.

        Raises:
            NotFound: `commit-not-found`.
            InvalidInput: as `verify_note`.
            TooLarge: `too-many-notes`.
        """
        verify_note(kind, body)
        note = NoteRow(commit, kind, body, self._clock.now())

        def add(records: Records) -> NoteRow:
            repository = find_repository(records, caller, name, Right.WRITE)
            get_commit(records, repository, commit)
            verify_room_for_notes(records, repository, [note])
            records.commits.insert_notes(repository.id, [note])
            change = Change.of_repository(
                Action.NOTE_ADD, repository.name, commit=commit, kind=kind
            )
            record_change(records, caller, change, at=note.created_at)
            return note

        return self._database.transact(add)
