"""A repository as a few dictionaries: what pushes, refs and history mean, as simply as possible.

Property tests drive this and the real services through the same steps and compare them. Nothing
here is quick: ancestors are sets, and every question walks all of history.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

DEFAULT_BRANCH = "main"

_REVISION = re.compile(r"([^~^]+)((?:[~^]\d*)*)")
_STEP = re.compile(r"([~^])(\d*)")


class Refused(Exception):
    """The model says no; `kind` is the word that the registry must use."""

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind


@dataclass(frozen=True)
class ModelCommit:
    """A version: its place in history and the bytes of its files."""

    id: str
    parents: tuple[str, ...]
    time: str
    files: tuple[tuple[str, bytes], ...]
    """By path."""


@dataclass(frozen=True)
class ModelRef:
    """A branch or a tag."""

    kind: str
    target: str


@dataclass(frozen=True)
class ModelUpdate:
    """What a push wants of a ref."""

    kind: str
    name: str
    expected: str | None
    new: str
    force: bool


@dataclass
class RegistryModel:
    """One repository."""

    commits: dict[str, ModelCommit] = field(default_factory=dict)
    refs: dict[str, ModelRef] = field(default_factory=dict)
    retired: set[str] = field(default_factory=set)

    # --- changes ---

    def push(self, update: ModelUpdate, commits: Sequence[ModelCommit]) -> None:
        """Add commits and move a ref: both or neither."""
        self._verify_expected(update)
        known = dict(self.commits)
        for commit in commits:
            if any(parent not in known for parent in commit.parents):
                raise Refused("parent-unknown")
            known[commit.id] = commit
        if update.new not in known:
            raise Refused("commit-not-found")
        self._verify_forward(update, known)
        self._verify_name(update)
        self.commits = known
        self.refs[update.name] = ModelRef(update.kind, update.new)

    def create_ref(self, kind: str, name: str, revision: str) -> None:
        """Make a ref at a revision; the same one again is fine."""
        update = ModelUpdate(kind, name, None, self.resolve(revision), force=False)
        self._verify_name(update)
        self._verify_expected(update)
        self.refs[name] = ModelRef(kind, update.new)

    def move_branch(self, update: ModelUpdate) -> None:
        """Move a branch between commits that are there."""
        if update.new not in self.commits:
            raise Refused("commit-not-found")
        current = self.refs.get(update.name)
        if current is not None and current.target == update.expected:
            self._verify_forward(update, self.commits)
        self._verify_name(update)
        self._verify_expected(update)
        self.refs[update.name] = ModelRef(update.kind, update.new)

    def delete_ref(self, kind: str, name: str, expected: str) -> None:
        """Delete a ref; the name of a tag is never used again."""
        current = self.refs.get(name)
        if current is None or current.kind != kind:
            raise Refused("ref-not-found")
        if name == DEFAULT_BRANCH:
            raise Refused("default-branch")
        if current.target != expected:
            raise Refused("ref-update-conflict")
        del self.refs[name]
        if kind == "tag":
            self.retired.add(name)

    # --- questions ---

    def resolve(self, revision: str) -> str:
        """Return the commit that a revision names."""
        match = _REVISION.fullmatch(revision)
        if match is None:
            raise Refused("invalid-revision")
        commit = self._find_anchor(match[1])
        for sign, digits in _STEP.findall(match[2]):
            count = int(digits or 1)
            if sign == "~":
                for _ in range(count):
                    commit = self._find_parent(commit, 1)
            elif count:
                commit = self._find_parent(commit, count)
        return commit

    def log(self, revision: str, exclude: Iterable[str] = ()) -> list[str]:
        """Return the history of a revision, newest first, without that of `exclude`."""
        seen = self.ancestors(self.resolve(revision))
        for hidden in exclude:
            seen -= self.ancestors(hidden)
        return sorted(seen, key=self._age, reverse=True)

    def merge_bases(self, left: str, right: str) -> list[str]:
        """Return the common ancestors that are no ancestor of another one."""
        shared = self.ancestors(self.resolve(left)) & self.ancestors(self.resolve(right))
        return sorted(
            base
            for base in shared
            if not any(base in self.ancestors(other) for other in shared - {base})
        )

    def ancestors(self, commit: str) -> set[str]:
        """Return a commit and all that it continues."""
        seen: set[str] = set()
        pending = [commit]
        while pending:
            current = pending.pop()
            if current not in seen:
                seen.add(current)
                pending.extend(self.commits[current].parents)
        return seen

    def generation(self, commit: str) -> int:
        """Return 1 for a root, else one more than the highest of the parents."""
        return 1 + max(map(self.generation, self.commits[commit].parents), default=0)

    # --- rules ---

    def _verify_expected(self, update: ModelUpdate) -> None:
        self._verify_movable(update)
        current = self.refs.get(update.name)
        actual = None if current is None else current.target
        if actual not in (update.expected, update.new):
            raise Refused("ref-update-conflict")

    def _verify_forward(self, update: ModelUpdate, commits: dict[str, ModelCommit]) -> None:
        current = self.refs.get(update.name)
        after = RegistryModel(commits)
        if current and not update.force and current.target not in after.ancestors(update.new):
            raise Refused("ref-not-fast-forward")

    def _verify_name(self, update: ModelUpdate) -> None:
        if update.name in self.retired:
            raise Refused("tag-name-retired")
        self._verify_movable(update)

    def _verify_movable(self, update: ModelUpdate) -> None:
        current = self.refs.get(update.name)
        if current is None:
            return
        moves_a_tag = current.kind == "tag" and current.target != update.new
        if current.kind != update.kind or moves_a_tag:
            raise Refused("ref-exists")

    def _find_anchor(self, text: str) -> str:
        name = DEFAULT_BRANCH if text in {"HEAD", "@"} else text
        if name in self.refs:
            return self.refs[name].target
        matches = [commit for commit in self.commits if commit.startswith(text)]
        if len(matches) != 1 or len(text) < 7:
            raise Refused("revision-not-found")
        return matches[0]

    def _find_parent(self, commit: str, number: int) -> str:
        parents = self.commits[commit].parents
        if number > len(parents):
            raise Refused("revision-not-found")
        return parents[number - 1]

    def _age(self, commit: str) -> tuple[int, str, str]:
        return self.generation(commit), self.commits[commit].time, commit
