"""What is checked out, and how the folder differs from it; reads only, but for the stat cache.

Tracked files are compared by their contents, others are only listed: a commit takes the whole
folder, so they are what it would add.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any

from plait.describe import list_files
from plait.errors import PlaitError
from plait.model.ids import CommitId
from plait.model.paths import FilePath, is_pickle
from plait.working_copy.copy import WorkingCopy
from plait.working_copy.divergence import Divergence, find_divergence
from plait.working_copy.journal import Move, describe_interrupted, find_interrupted
from plait.working_copy.refs import Head
from plait.working_copy.stat_cache import StatCache


@dataclass(frozen=True, slots=True)
class Status:
    """A working copy as `plait status` tells it."""

    head: Head
    commit: CommitId | None
    divergence: Divergence | None
    """None where the branch has no upstream, or HEAD is detached."""
    added: tuple[FilePath, ...]
    modified: tuple[FilePath, ...]
    deleted: tuple[FilePath, ...]
    refused: tuple[FilePath, ...]
    """Files in pickle formats, which no commit will take."""
    left_out: tuple[str, ...]
    """A trainer's state, which no version holds."""
    interrupted: Move | None

    @property
    def is_clean(self) -> bool:
        """Whether a commit would change nothing."""
        return not (self.added or self.modified or self.deleted or self.interrupted)

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        upstream = self.divergence
        return {
            "branch": self.head.branch,
            "commit": self.commit,
            "upstream": None
            if upstream is None
            else {
                "name": f"origin/{upstream.upstream}",
                "ahead": upstream.ahead,
                "behind": upstream.behind,
            },
            "clean": self.is_clean,
            "added": list(self.added),
            "modified": list(self.modified),
            "deleted": list(self.deleted),
            "refused": list(self.refused),
            "left_out": list(self.left_out),
            "interrupted": None
            if self.interrupted is None
            else describe_interrupted(self.interrupted),
        }


def read_status(copy: WorkingCopy) -> Status:
    """Return how the working copy stands.

    Raises:
        InvalidInput: something in the folder can be no file of a version, such as a link.
    """
    head, refs = copy.read_head(), copy.read_refs()
    commit = refs.at(head)
    tracked = {file.path: file.sha256 for file in copy.get_version(commit).files}
    cache = StatCache(copy.layout)
    present, left_out = list_files(copy.root, allow_pickles=True)
    modified = [
        path
        for path in present.keys() & tracked.keys()
        if cache.look_at(path).sha256 != tracked[path]
    ]
    # Another command may be writing; then the next one finds out again.
    with contextlib.suppress(PlaitError), copy.changing(attempts=1):
        cache.save(keep=present.keys())
    return Status(
        head=head,
        commit=commit,
        divergence=None if head.branch is None else find_divergence(copy, head.branch),
        added=tuple(sorted(present.keys() - tracked.keys())),
        modified=tuple(sorted(modified)),
        deleted=tuple(sorted(tracked.keys() - present.keys())),
        refused=tuple(path for path in present if is_pickle(path)),
        left_out=tuple(left_out),
        interrupted=find_interrupted(copy.layout),
    )
