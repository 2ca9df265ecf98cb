"""Routes of notes, which hang facts on a commit."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Request

from plait import wire
from plait.errors import NotFound, PermissionDenied
from plait.model.ids import parse_commit_id
from plait_registry.api.errors import describe
from plait_registry.api.requests import Name, Namespace, caller_of, registry_of, repository_name
from plait_registry.domain.records import NoteRow

router = APIRouter(prefix="/repositories/{namespace}/{name}/commits/{commit}/notes", tags=["notes"])

Commit = Annotated[str, Path(description="A full commit id.")]


@router.get("", responses=describe(NotFound))
def list_notes(request: Request, namespace: Namespace, name: Name, commit: Commit) -> wire.NoteList:
    """List the notes of a commit, oldest first."""
    _, notes = registry_of(request).history.commit(
        caller_of(request), repository_name(namespace, name), parse_commit_id(commit)
    )
    return wire.NoteList([show_note(note) for note in notes])


@router.post("", status_code=201, responses=describe(NotFound, PermissionDenied))
def add_note(
    request: Request, namespace: Namespace, name: Name, commit: Commit, note: wire.Note
) -> wire.Note:
    """Hang a note on a commit; the registry sets its time."""
    stored = registry_of(request).add_note(
        caller_of(request),
        repository_name(namespace, name),
        parse_commit_id(commit),
        note.kind,
        note.body,
    )
    return show_note(stored)


def show_note(note: NoteRow) -> wire.Note:
    """Return a note as the API shows it."""
    return wire.Note(note.kind, dict(note.body), note.created_at)
