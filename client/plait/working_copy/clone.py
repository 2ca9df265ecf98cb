"""Cloning: a working copy with all that a repository holds.

A clone that was interrupted goes on when it is run again: what has arrived is not fetched again.
"""

from __future__ import annotations

from pathlib import Path

from plait import lookup
from plait.errors import AlreadyExists, NotFound
from plait.lookup import load_refs
from plait.model.paths import STATE_FOLDER
from plait.model.refs import RefName
from plait.progress import NO_PROGRESS, Progress
from plait.transport import Transport
from plait.working_copy.copy import WorkingCopy
from plait.working_copy.fetch import fetch_locked
from plait.working_copy.init import create
from plait.working_copy.journal import Move, find_interrupted
from plait.working_copy.layout import Layout, Remote, read_remote
from plait.working_copy.refs import Head, write_head
from plait.working_copy.tree import apply_move, finish_interrupted, plan_files


def clone(
    transport: Transport,
    remote: Remote,
    folder: Path,
    *,
    branch: str | None = None,
    progress: Progress = NO_PROGRESS,
) -> WorkingCopy:
    """Clone into `folder`, which is made, and check out `branch` (a tag: detached) or the default.

    Raises:
        AlreadyExists: `destination-exists`, the folder holds something else.
        NotFound: there is no such repository, branch or tag.
    """
    theirs = load_refs(transport, remote.repository)
    name = _choose(theirs, branch, remote)
    copy = _open(folder, name, remote)
    with copy.changing():
        if find_interrupted(copy.layout) is not None:
            finish_interrupted(copy)
            return copy
        fetch_locked(copy, transport, remote.repository, progress=progress)
        refs = copy.read_refs()
        target = refs.remote_branches.get(name)
        if target is not None:
            head, branches = Head(branch=name), {name: target}
        elif name in refs.remote_tags:
            target = refs.remote_tags[name]
            head, branches = Head(commit=target), {}
        else:
            write_head(copy.layout, Head(branch=name))
            return copy
        files = plan_files(copy.get_version(None), copy.get_version(target))
        move = Move(command="switch", target=name, files=files, head=head, branches=branches)
        apply_move(copy, move)
    return copy


def _choose(theirs: lookup.Refs, branch: str | None, remote: Remote) -> RefName:
    if branch is None:
        return theirs.default_branch
    name = RefName(branch)
    if name not in theirs.branches and name not in theirs.tags:
        raise NotFound(
            "ref-not-found",
            f"{remote.repository} has no branch or tag {branch!r}: `plait branch "
            f"{remote.repository}` lists them.",
            ref=branch,
        )
    return name


def _open(folder: Path, name: RefName, remote: Remote) -> WorkingCopy:
    """Return the working copy to fill: a new one, or one that an interrupted clone left."""
    layout = Layout(folder.absolute())
    names = _list(folder)
    if not layout.config.is_file() and not names - {STATE_FOLDER}:
        return create(folder, branch=name, remote=remote)
    copy = WorkingCopy(layout)
    is_left_over = layout.config.is_file() and read_remote(layout) == remote
    if is_left_over and _is_unfinished(copy, names):
        return copy
    raise AlreadyExists(
        "destination-exists",
        f"{folder} is there and not empty: name another folder, or run `plait pull` in it if it "
        "is a working copy.",
        path=str(folder),
    )


def _list(folder: Path) -> set[str]:
    """Return the names in a folder; none where it is absent, its own where it is a file."""
    if folder.is_dir():
        return {path.name for path in folder.iterdir()}
    return {folder.name} if folder.exists() else set()


def _is_unfinished(copy: WorkingCopy, names: set[str]) -> bool:
    move = find_interrupted(copy.layout)
    if move is not None:  # the first checkout, if there was nothing before
        return all(file.old is None for file in move.files)
    return copy.find_head_commit() is None and not names - {STATE_FOLDER}
