"""The journal: a change of the folder and of the refs that is under way, as one value on disk.

It is written before the first file is touched and removed after the last ref is written, so that
a journal that is found says exactly what was interrupted, and how to complete it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from plait.errors import Conflict, InvalidInput
from plait.model.ids import CommitId, ObjectId, parse_commit_id, parse_object_id
from plait.model.paths import FilePath, parse_path
from plait.model.refs import RefName, parse_ref_name
from plait.working_copy.layout import Layout
from plait.working_copy.refs import Head, format_head, parse_head
from plait.working_copy.state_files import damaged, read_json, write_json


@dataclass(frozen=True, slots=True)
class FileMove:
    """One file that differs between two versions."""

    path: FilePath
    old: ObjectId | None
    """None: it was not there."""
    new: ObjectId | None
    """None: it goes."""


@dataclass(frozen=True, slots=True)
class Move:
    """A change of the folder and of the refs that belong to it."""

    command: str
    """The verb that asked for it, as `switch`."""
    target: str
    """What it was asked for, as people typed it."""
    files: tuple[FileMove, ...]
    head: Head
    """HEAD afterwards."""
    branches: Mapping[RefName, CommitId]
    """Where local branches point afterwards; others stay."""


def write_journal(layout: Layout, move: Move) -> None:
    """Say on disk that `move` is under way; the caller holds the lock."""
    write_json(layout.journal, _to_json(move))


def find_interrupted(layout: Layout) -> Move | None:
    """Return the move that was interrupted in the middle, or None."""
    document = read_json(layout.journal)
    if document is None:
        return None
    try:
        return _from_json(document)
    except (KeyError, TypeError, AttributeError, InvalidInput) as error:
        raise damaged(layout.journal, "is no journal") from error


def verify_not_interrupted(layout: Layout) -> None:
    """Check that the files are those of one version, with changes.

    Raises:
        Conflict: `operation-interrupted`.
    """
    move = find_interrupted(layout)
    if move is not None:
        raise Conflict("operation-interrupted", describe_interrupted(move), command=move.command)


def describe_interrupted(move: Move) -> str:
    """Return what happened and what to do, for people."""
    again = f"plait {move.command} {move.target}".strip()
    return (
        f"`{again}` was interrupted: some files are those of before, some those of after. Run it "
        "again to complete it; nothing is lost."
    )


def _to_json(move: Move) -> dict[str, Any]:
    return {
        "command": move.command,
        "target": move.target,
        "files": [[file.path, file.old, file.new] for file in move.files],
        "head": format_head(move.head),
        "branches": dict(move.branches),
    }


def _from_json(document: Any) -> Move:
    return Move(
        command=str(document["command"]),
        target=str(document["target"]),
        files=tuple(
            FileMove(parse_path(path), _parse_digest(old), _parse_digest(new))
            for path, old, new in document["files"]
        ),
        head=parse_head(document["head"]),
        branches={
            parse_ref_name(name): parse_commit_id(target)
            for name, target in document["branches"].items()
        },
    )


def _parse_digest(value: object) -> ObjectId | None:
    return None if value is None else parse_object_id(value)
