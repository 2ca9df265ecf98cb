"""Changing the files of a working copy together with its refs, so that a kill loses nothing.

A move goes from the version that is checked out to another one, and takes these steps:

1. Look at every file that differs between the two, and refuse if one of them has uncommitted
   changes, or if an untracked one would be overwritten. A file that holds what it shall hold
   already is fine.
2. Copy the new contents into `.plait/incoming/`, verified: a full disk is noticed here.
3. Write the journal: what goes where, and the refs and HEAD afterwards.
4. Remove what goes, rename what comes into place.
5. Write the refs and HEAD, remove the journal.

Killed before (3), nothing has happened. After it, everything that is needed is in the journal and
in the objects, and `finish_interrupted` takes the steps again, from (1) on.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from plait.errors import Conflict
from plait.model.manifest import Manifest
from plait.model.paths import FilePath
from plait.working_copy.copy import WorkingCopy
from plait.working_copy.journal import FileMove, Move, find_interrupted, write_journal
from plait.working_copy.refs import write_head, write_refs
from plait.working_copy.stat_cache import StatCache
from plait.working_copy.state_files import storage_errors

MOST_NAMED = 10
"""Files that an error names; it counts the others."""


def plan_files(old: Manifest, new: Manifest, *, everything: bool = False) -> tuple[FileMove, ...]:
    """Return the files that differ between two versions, or all of them, sorted by path."""
    before = {file.path: file.sha256 for file in old.files}
    after = {file.path: file.sha256 for file in new.files}
    return tuple(
        FileMove(path, before.get(path), after.get(path))
        for path in sorted(before.keys() | after.keys())
        if everything or before.get(path) != after.get(path)
    )


def apply_move(copy: WorkingCopy, move: Move, *, discard_changes: bool = False) -> None:
    """Carry out a move; the caller holds the lock and has finished what was interrupted.

    Raises:
        Conflict: `uncommitted-changes`, and nothing has happened.
        NotFound: a content is not here.
    """
    pending = _find_pending(copy, move, discard_changes=discard_changes)  # (1)
    _clear_incoming(copy)
    prepared = {
        file.path: copy.objects.copy_out(file.new) for file in pending if file.new is not None
    }  # (2)
    write_journal(copy.layout, move)  # (3)
    for file in pending:  # (4)
        if file.new is None:
            _remove(copy.root, file.path)
    for path, temporary in prepared.items():
        _place(copy.root, path, temporary)
    refs = copy.read_refs()  # (5)
    for name, target in move.branches.items():
        refs = refs.with_branch(name, target)
    write_refs(copy.layout, refs)
    write_head(copy.layout, move.head)
    copy.layout.journal.unlink()


def finish_interrupted(copy: WorkingCopy, *, discard_changes: bool = False) -> Move | None:
    """Complete the move that was interrupted, and return it; the caller holds the lock.

    Raises:
        Conflict: `uncommitted-changes`, a file was changed since.
    """
    move = find_interrupted(copy.layout)
    if move is not None:
        apply_move(copy, move, discard_changes=discard_changes)
    return move


def _find_pending(copy: WorkingCopy, move: Move, *, discard_changes: bool) -> list[FileMove]:
    """Return what is left to do; refuse to overwrite what is in no version.

    A file that was removed by hand is no obstacle: what it held is in the version.
    """
    cache = StatCache(copy.layout)
    going = frozenset(file.path for file in move.files if file.new is None)
    pending: list[FileMove] = []
    in_the_way: list[str] = []
    for file in move.files:
        if _is_blocked_above(copy.root, file.path, going):
            if file.new is not None:
                pending.append(file)
                in_the_way.append(file.path)
            continue
        found = cache.look_at(file.path)
        if found.exists == (file.new is not None) and found.sha256 == file.new:
            continue
        pending.append(file)
        is_as_before = found.sha256 is not None and found.sha256 == file.old
        if found.exists and not is_as_before and not _is_folder_that_goes(copy.root, file, going):
            in_the_way.append(file.path)
    if in_the_way and not discard_changes:
        raise _refuse(move, in_the_way)
    return pending


def _is_blocked_above(root: Path, path: FilePath, going: frozenset[FilePath]) -> bool:
    """Tell whether a link, or a file that stays, stands where a folder above the path belongs.

    Nothing is ever written or removed through a link: it may lead out of the working copy.
    """
    parts = path.split("/")
    for depth in range(1, len(parts)):
        above = FilePath("/".join(parts[:depth]))
        place = root / above
        if place.is_symlink():
            return True
        if place.exists() and not place.is_dir():
            return above not in going
    return False


def _is_folder_that_goes(root: Path, file: FileMove, going: frozenset[FilePath]) -> bool:
    """Tell whether a folder stands at the path, with nothing in it but files that go."""
    folder = root / file.path
    if folder.is_symlink() or not folder.is_dir():
        return False
    return all(
        path.relative_to(root).as_posix() in going
        for path in folder.rglob("*")
        if path.is_symlink() or not path.is_dir()
    )


def _refuse(move: Move, paths: list[str]) -> Conflict:
    shown = ", ".join(paths[:MOST_NAMED])
    more = f" and {len(paths) - MOST_NAMED} more" if len(paths) > MOST_NAMED else ""
    return Conflict(
        "uncommitted-changes",
        f"`plait {move.command}` would overwrite changes that are in no commit: {shown}{more}. "
        "Commit them, move them away, or give them up with --discard-changes.",
        files=paths,
    )


def _clear_incoming(copy: WorkingCopy) -> None:
    """Remove what a killed command left behind, but not what a download can go on from."""
    if copy.layout.incoming.is_dir():
        for path in copy.layout.incoming.iterdir():
            if not path.is_dir():
                path.unlink()


def _remove(root: Path, path: FilePath) -> None:
    target = root / path
    with storage_errors(target):
        if not target.is_dir() or target.is_symlink():
            target.unlink(missing_ok=True)
        for folder in target.parents:
            if folder == root:
                break
            try:
                folder.rmdir()
            except OSError:  # it holds something else
                break


def _place(root: Path, path: FilePath, temporary: Path) -> None:
    target = root / path
    with storage_errors(target):
        # Whatever is cleared here was given up: a move is refused otherwise.
        for folder in [*reversed(target.parents)][len(root.parts) :]:
            if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
                folder.unlink()
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.is_dir() and not target.is_symlink():
            shutil.rmtree(target)
        temporary.replace(target)
