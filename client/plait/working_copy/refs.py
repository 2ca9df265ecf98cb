"""A working copy's refs: its own branches and tags, what the remote had, and HEAD.

Branches and tags share one space of names. What the remote had when it was last asked is seen as
`origin/NAME`, so no local name may begin so. A branch's upstream is the remote branch of its name.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from plait.errors import AlreadyExists, InvalidInput
from plait.model.ids import CommitId, parse_commit_id
from plait.model.refs import DEFAULT_BRANCH, RefKind, RefName, parse_ref_name
from plait.working_copy.layout import Layout
from plait.working_copy.state_files import damaged, read_json, write_file, write_json

ORIGIN = "origin/"
_SYMBOLIC = "ref: "

Names = Mapping[RefName, CommitId]


@dataclass(frozen=True, slots=True)
class Head:
    """What is checked out: a branch, which may have no commit yet, or a commit by itself."""

    branch: RefName | None = None
    commit: CommitId | None = None
    """Only where HEAD is detached."""

    def moved_to(self, commit: CommitId) -> Head:
        """Return HEAD after `commit` was made on it: the same branch, or the commit itself."""
        return self if self.branch is not None else Head(commit=commit)


@dataclass(frozen=True, slots=True)
class Refs:
    """All refs but HEAD, as one value."""

    branches: Names = field(default_factory=dict)
    tags: Names = field(default_factory=dict)
    remote_branches: Names = field(default_factory=dict)
    remote_tags: Names = field(default_factory=dict)
    remote_default: RefName = DEFAULT_BRANCH

    def find(self, name: str) -> CommitId | None:
        """Return where a branch, a tag or `origin/NAME` points, or None."""
        if name.startswith(ORIGIN):
            key = RefName(name.removeprefix(ORIGIN))
            return self.remote_branches.get(key) or self.remote_tags.get(key)
        key = RefName(name)
        return self.branches.get(key) or self.tags.get(key)

    def at(self, head: Head) -> CommitId | None:
        """Return the commit that is checked out; None on a branch without one."""
        return self.branches.get(head.branch) if head.branch is not None else head.commit

    def targets(self) -> set[CommitId]:
        """Return every commit that a ref points at."""
        groups = (self.branches, self.tags, self.remote_branches, self.remote_tags)
        return {target for group in groups for target in group.values()}

    def remote_targets(self) -> set[CommitId]:
        """Return every commit that a ref of the remote pointed at."""
        return {*self.remote_branches.values(), *self.remote_tags.values()}

    def with_branch(self, name: RefName, target: CommitId) -> Refs:
        """Return these refs with a branch set."""
        return dataclasses.replace(self, branches={**self.branches, name: target})

    def without_branch(self, name: RefName) -> Refs:
        """Return these refs without a branch."""
        return dataclasses.replace(self, branches=_without(self.branches, name))

    def with_tag(self, name: RefName, target: CommitId) -> Refs:
        """Return these refs with a tag set."""
        return dataclasses.replace(self, tags={**self.tags, name: target})

    def without_tag(self, name: RefName) -> Refs:
        """Return these refs without a tag."""
        return dataclasses.replace(self, tags=_without(self.tags, name))

    def with_remote(self, kind: RefKind, name: RefName, target: CommitId) -> Refs:
        """Return these refs with what the remote has set."""
        if kind is RefKind.BRANCH:
            return dataclasses.replace(self, remote_branches={**self.remote_branches, name: target})
        return dataclasses.replace(self, remote_tags={**self.remote_tags, name: target})

    def names_by_commit(self) -> dict[CommitId, list[str]]:
        """Return the names of each commit as the log shows them: branches, tags, the remote's."""
        names: dict[CommitId, list[str]] = {}
        for prefix, group in (
            ("", self.branches),
            ("tag: ", self.tags),
            (ORIGIN, self.remote_branches),
        ):
            for name, target in sorted(group.items()):
                names.setdefault(target, []).append(f"{prefix}{name}")
        return names


def parse_new_name(text: str, refs: Refs) -> RefName:
    """Return `text` as the name of a new local branch or tag.

    Raises:
        InvalidInput: it breaks a rule.
        AlreadyExists: `ref-exists`.
    """
    name = parse_ref_name(text)
    if name.startswith(ORIGIN):
        raise InvalidInput(
            "invalid-ref-name",
            f"{text!r} cannot name a branch or tag here: what begins with {ORIGIN!r} is the "
            "remote's.",
        )
    for kind, group in (("branch", refs.branches), ("tag", refs.tags)):
        if name in group:
            raise AlreadyExists(
                "ref-exists", f"There is a {kind} {name!r} already: choose another name.", ref=name
            )
    return name


def read_refs(layout: Layout) -> Refs:
    """Return the refs as they are now.

    Raises:
        Integrity: the file is damaged.
    """
    document = read_json(layout.refs)
    if document is None:
        # An empty answer would make the next commit a root beside all history.
        raise damaged(layout.refs, "is missing")
    if not isinstance(document, dict):
        raise damaged(layout.refs, "is not a JSON object")
    try:
        return Refs(
            branches=_parse_names(document["branches"]),
            tags=_parse_names(document["tags"]),
            remote_branches=_parse_names(document["remote_branches"]),
            remote_tags=_parse_names(document["remote_tags"]),
            remote_default=parse_ref_name(document["remote_default"]),
        )
    except (KeyError, AttributeError, InvalidInput) as error:
        raise damaged(layout.refs, "holds no refs") from error


def write_refs(layout: Layout, refs: Refs) -> None:
    """Replace all refs at once; the caller holds the lock."""
    write_json(
        layout.refs, {f.name: _plain(getattr(refs, f.name)) for f in dataclasses.fields(refs)}
    )


def read_head(layout: Layout) -> Head:
    """Return what is checked out.

    Raises:
        Integrity: the file is damaged.
    """
    try:
        return parse_head(layout.head.read_text("utf-8"))
    except (OSError, ValueError, InvalidInput) as error:
        raise damaged(layout.head, "names no branch or commit") from error


def write_head(layout: Layout, head: Head) -> None:
    """Replace HEAD; the caller holds the lock."""
    write_file(layout.head, f"{format_head(head)}\n".encode())


def parse_head(text: str) -> Head:
    """Read HEAD's text; raises InvalidInput where it is malformed."""
    text = text.strip()
    if text.startswith(_SYMBOLIC):
        return Head(branch=parse_ref_name(text.removeprefix(_SYMBOLIC)))
    return Head(commit=parse_commit_id(text))


def format_head(head: Head) -> str:
    """Return the text that `parse_head` reads."""
    return f"{_SYMBOLIC}{head.branch}" if head.branch is not None else str(head.commit)


def _plain(value: Any) -> Any:
    return dict(value) if isinstance(value, Mapping) else value


def _parse_names(document: Any) -> dict[RefName, CommitId]:
    return {parse_ref_name(name): parse_commit_id(target) for name, target in document.items()}


def _without(names: Names, name: RefName) -> Names:
    return {key: target for key, target in names.items() if key != name}
