"""The local commit graph: an index over the commits in the objects.

A line for each commit, parents before children:

    <id> <generation> <time> <parent>...

so that walks, `main~500` and abbreviated ids parse no commit at all. The file is only an index: a
line that is missing or torn is found again from the commit's object, and whoever appends next
writes it down.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from plait.errors import Integrity, InvalidInput, NotFound
from plait.model import canonical
from plait.model.commit import Commit
from plait.model.commit_graph import Node
from plait.model.ids import CommitId, ObjectId
from plait.working_copy.objects import ObjectFolder
from plait.working_copy.state_files import storage_errors

_ID_LENGTH = 64


class LocalGraph:
    """The commits of one working copy; a `CommitSource`."""

    def __init__(self, path: Path, objects: ObjectFolder) -> None:
        self._path = path
        self._objects = objects
        self._lines: dict[str, str] | None = None
        self._size = 0
        """Bytes of the file up to the end of its last whole line."""
        self._found: dict[CommitId, Node] = {}
        """Nodes that are known though the file lacks them."""

    def load(self, commits: Collection[CommitId]) -> Mapping[CommitId, Node]:
        """Return the nodes of those of `commits` that are here."""
        nodes = {commit: self._find(commit) for commit in commits}
        return {commit: node for commit, node in nodes.items() if node is not None}

    def has(self, commit: CommitId) -> bool:
        """Tell whether the commit and its whole history are here."""
        return self._find(commit) is not None

    def find_by_prefix(self, prefix: str) -> list[CommitId]:
        """Return up to two commits whose ids begin with `prefix`."""
        known = {*self._read(), *self._found}
        return sorted(CommitId(commit) for commit in known if commit.startswith(prefix))[:2]

    def find_ancestor(self, commit: CommitId, generations: int) -> CommitId | None:
        """Return the ancestor that many first parents back, or None where history is shorter."""
        for _ in range(generations):
            node = self._find(commit)
            if node is None or not node.parents:
                return None
            commit = node.parents[0]
        return commit

    def append(self, commits: Iterable[tuple[CommitId, Commit]]) -> None:
        """Add commits whose objects are stored, parents before children; the caller locks.

        Raises:
            NotFound: a parent is not here.
        """
        for commit_id, commit in commits:
            if self._find_line(commit_id) is None and commit_id not in self._found:
                self._found[commit_id] = self._make_node(commit_id, commit)
        if not self._found:
            return
        self._read()
        lines = [_format(node) for node in self._found.values()]
        with storage_errors(self._path), self._path.open("ab") as file:
            # What a crash left of a line must not become one with the next.
            file.truncate(self._size)
            file.write(b"".join(lines))
            file.flush()
            os.fsync(file.fileno())
        self._lines = None
        self._found = {}

    def _read(self) -> dict[str, str]:
        if self._lines is None:
            try:
                data = self._path.read_bytes()
            except FileNotFoundError:
                data = b""
            self._size = data.rfind(b"\n") + 1
            lines = data[: self._size].decode("ascii", "replace").splitlines()
            self._lines = {line[:_ID_LENGTH]: line for line in lines}
        return self._lines

    def _find_line(self, commit: CommitId) -> Node | None:
        line = self._read().get(commit)
        return None if line is None else _parse(line)

    def _find(self, commit: CommitId) -> Node | None:
        node = self._find_line(commit) or self._found.get(commit)
        return node if node is not None else self._recover(commit)

    def _recover(self, commit: CommitId) -> Node | None:
        """Find a node that the file lacks from the objects, with the ancestors that it lacks."""
        pending = [commit]
        documents: dict[CommitId, Commit] = {}
        while pending:
            current = pending[-1]
            if current not in documents:
                document = self._read_commit(current)
                if document is None:
                    return None
                documents[current] = document
            lacking = [
                parent
                for parent in documents[current].parents
                if self._find_line(parent) is None and parent not in self._found
            ]
            if lacking:
                pending += lacking
                continue
            pending.pop()
            self._found[current] = self._make_node(current, documents[current])
        return self._found[commit]

    def _read_commit(self, commit: CommitId) -> Commit | None:
        try:
            return Commit.from_json(canonical.loads(self._objects.read(ObjectId(commit))))
        except (NotFound, Integrity, InvalidInput):  # absent, or an object that is no commit
            return None

    def _make_node(self, commit_id: CommitId, commit: Commit) -> Node:
        generation = 0
        for parent in commit.parents:
            node = self._find(parent)
            if node is None:
                raise NotFound(
                    "commit-not-found", f"The parent {parent[:12]} of {commit_id[:12]} is not here."
                )
            generation = max(generation, node.generation)
        return Node(commit_id, commit.parents, generation + 1, commit.time)


def _format(node: Node) -> bytes:
    return " ".join((node.id, str(node.generation), node.time, *node.parents)).encode() + b"\n"


def _parse(line: str) -> Node | None:
    fields = line.split(" ")
    if len(fields) < 3 or not fields[1].isdigit() or any(len(p) != _ID_LENGTH for p in fields[3:]):
        return None
    parents = tuple(CommitId(parent) for parent in fields[3:])
    return Node(CommitId(fields[0]), parents, int(fields[1]), fields[2])
