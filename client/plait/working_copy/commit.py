"""Making a commit of the whole folder, offline.

1. Describe the folder; what did not change since it was last read is not read again.
2. Refuse what is no version of an adapter, or no change.
3. Store the contents that are new, then the manifest, then the commit.
4. Move the branch, or a detached HEAD.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace

from plait.describe import (
    Description,
    describe_folder,
    find_base,
    open_regular,
    verify_adapter_folder,
)
from plait.errors import Conflict
from plait.model.adapter import FILE_NAME, parse_adapter_config
from plait.model.commit import Base, Commit, Origin, OriginKind, Person, clean_message
from plait.model.diff import ManifestDiff, diff_manifests
from plait.model.ids import CommitId
from plait.model.manifest import Manifest
from plait.progress import NO_PROGRESS, Progress
from plait.working_copy.copy import WorkingCopy
from plait.working_copy.journal import verify_not_interrupted
from plait.working_copy.refs import Head, write_head, write_refs
from plait.working_copy.stat_cache import StatCache


@dataclass(frozen=True, slots=True)
class Authorship:
    """Who makes a commit, and when."""

    author: Person
    time: str
    """UTC to the second, as `2026-11-24T06:07:00Z`."""


@dataclass(frozen=True, slots=True)
class NewCommit:
    """What the commit shall say."""

    message: str
    authorship: Authorship
    base: Base | None = None
    """None, or one without a name: as the parent has it, else as the adapter's config says."""
    origin: Origin = field(default_factory=lambda: Origin(OriginKind.TRAINING))


@dataclass(frozen=True, slots=True)
class Committed:
    """A commit that was made."""

    id: CommitId
    commit: Commit
    changes: ManifestDiff
    """Against the first parent."""
    left_out: tuple[str, ...]
    """A trainer's state, which no version holds."""


def commit_folder(
    copy: WorkingCopy, new: NewCommit, *, progress: Progress = NO_PROGRESS
) -> Committed:
    """Commit the folder as it is.

    Raises:
        Conflict: `nothing-to-commit`, or `operation-interrupted`.
        InvalidInput: the folder is no version of an adapter, or its base is unknown.
    """
    message = clean_message(new.message)
    with copy.changing():
        verify_not_interrupted(copy.layout)
        refs, head = copy.read_refs(), copy.read_head()
        parent = refs.at(head)
        before = copy.get_version(parent)
        description = _describe(copy, progress)  # (1)
        verify_adapter_folder(description)  # (2)
        if description.manifest == before:
            raise Conflict(
                "nothing-to-commit",
                "Nothing to commit: the folder is as the last commit has it.",
            )
        base = _find_base(copy, parent, before, description=description, given=new.base)
        _store_contents(copy, description)  # (3)
        commit = Commit(
            manifest=description.manifest.id,
            parents=() if parent is None else (parent,),
            author=new.authorship.author,
            time=new.authorship.time,
            message=message,
            base=base,
            origin=new.origin,
        )
        commit_id = copy.record(Commit.from_json(commit.to_json()), description.manifest)
        move_head(copy, head, commit_id)  # (4)
    return Committed(
        commit_id, commit, diff_manifests(before, description.manifest), description.skipped
    )


def move_head(copy: WorkingCopy, head: Head, commit: CommitId) -> None:
    """Make the branch that is checked out, or a detached HEAD, point at `commit`."""
    if head.branch is None:
        write_head(copy.layout, Head(commit=commit))
    else:
        write_refs(copy.layout, copy.read_refs().with_branch(head.branch, commit))


def _describe(copy: WorkingCopy, progress: Progress) -> Description:
    cache = StatCache(copy.layout)
    description = describe_folder(copy.root, known=cache.find, progress=progress)
    for file in description.manifest.files:
        if cache.find(file.path, description.stamps[file.path]) is None:
            cache.remember(file, description.stamps[file.path])
    cache.save(keep=description.sources.keys())
    return description


def _find_base(
    copy: WorkingCopy,
    parent: CommitId | None,
    before: Manifest,
    *,
    description: Description,
    given: Base | None,
) -> Base:
    """Return the base: what was given, else the parent's unless the config now names another."""
    if parent is None or (given is not None and given.name):
        return find_base(description.config, given)
    inherited = copy.get_commit(parent).base
    named = description.config.base_name if description.config else None
    if named is not None and named not in {_read_base_name(copy, before), inherited.name}:
        return find_base(description.config, given)
    if given is not None and given.fingerprint is not None:
        return replace(inherited, fingerprint=given.fingerprint)
    return inherited


def _read_base_name(copy: WorkingCopy, version: Manifest) -> str | None:
    config = version.find(FILE_NAME)
    if config is None:
        return None
    return parse_adapter_config(copy.objects.read(config.sha256)).base_name


def _store_contents(copy: WorkingCopy, description: Description) -> None:
    for file in description.manifest.files:
        if copy.objects.has(file.sha256):
            continue
        descriptor = open_regular(file.path, description.sources[file.path])
        with os.fdopen(descriptor, "rb") as source:
            copy.objects.add_file(source, file.sha256)
