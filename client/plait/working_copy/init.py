"""Making a working copy of a folder, whatever is in it already."""

from __future__ import annotations

from pathlib import Path

from plait.errors import AlreadyExists
from plait.model.refs import DEFAULT_BRANCH, RefName
from plait.working_copy.copy import WorkingCopy
from plait.working_copy.layout import Layout, Remote, find_layout, read_remote, write_config
from plait.working_copy.refs import Head, Refs, write_head, write_refs
from plait.working_copy.state_files import storage_errors


def init(folder: Path, *, remote: Remote | None = None) -> WorkingCopy:
    """Make `folder` a working copy on a branch without commits; its files stay as they are.

    A folder that is one without a remote gets `remote`.

    Raises:
        AlreadyExists: `working-copy-exists`.
    """
    existing = find_layout(folder)
    if existing is not None:
        return _name_remote(existing, folder, remote)
    return create(folder, branch=DEFAULT_BRANCH, remote=remote)


def create(folder: Path, *, branch: RefName, remote: Remote | None) -> WorkingCopy:
    """Make the state of a working copy on `branch`; the config file comes last and makes it one."""
    layout = Layout(folder.absolute())
    with storage_errors(layout.state):
        layout.state.mkdir(parents=True, exist_ok=True)
    write_head(layout, Head(branch=branch))
    write_refs(layout, Refs())
    write_config(layout, remote)
    return WorkingCopy(layout)


def _name_remote(layout: Layout, folder: Path, remote: Remote | None) -> WorkingCopy:
    copy = WorkingCopy(layout)
    if layout.root != folder.absolute():
        raise AlreadyExists(
            "working-copy-exists",
            f"{folder} lies in the working copy {layout.root}: one cannot lie in another.",
        )
    known = read_remote(layout)
    if remote is None or known not in {None, remote}:
        raise AlreadyExists(
            "working-copy-exists",
            f"{folder} is a working copy already"
            + (f", of {known.repository} at {known.url}." if known else "."),
        )
    with copy.changing():
        write_config(layout, remote)
    return copy
