"""Bundles to test with: versions in memory, and archives that a hostile hand could make."""

import hashlib
import json
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from plait.bundle.archive import BLOCK, END, Member, make_header, padding
from plait.bundle.contents import NAME, Contents
from plait.bundle.create import BundleWish, CreatedBundle, Part, create_bundle
from plait.bundle.create import Version as Placed
from plait.errors import NotFound
from plait.model.commit import Commit
from plait.model.ids import CommitId, ManifestId, ObjectId
from plait.model.manifest import Manifest
from plait.model.refs import Ref, RefKind, RefName
from plait.progress import Progress
from reference.memory_registry import Version, make_version

KIB = 1024


def noise(size: int, seed: int) -> bytes:
    """Return bytes that no other seed gives."""
    return random.Random(seed).randbytes(size)


class MemorySource:
    """Versions in memory; implements `plait.bundle.create.BundleSource`."""

    def __init__(self) -> None:
        self.commits: dict[CommitId, Placed] = {}
        self.manifests: dict[ManifestId, Manifest] = {}
        self.contents: dict[ObjectId, bytes] = {}
        self.refs: dict[str, Ref] = {}
        self.read_bytes = 0

    def add(self, version: Version) -> CommitId:
        """Take a version whose parents are here."""
        commit = Commit.from_json(version.commit)
        above = [self.commits[parent].generation for parent in commit.parents]
        self.commits[commit.id] = Placed(commit.id, commit, 1 + max(above, default=0))
        self.manifests[commit.manifest] = Manifest.from_json(version.manifest)
        self.contents.update(version.contents)
        return commit.id

    def commit(self, message: str, *parents: CommitId, **tensors: bytes) -> CommitId:
        """Make a version of those tensors, and let `main` point at it."""
        made = self.add(make_version(message, *parents, tensors=tensors or None))
        self.point("main", made)
        return made

    def point(self, name: str, target: CommitId, kind: RefKind = RefKind.BRANCH) -> None:
        """Let a ref point at a commit."""
        self.refs[name] = Ref(kind, RefName(name), target)

    def load_refs(self) -> Sequence[Ref]:
        return list(self.refs.values())

    def resolve(self, revision: str) -> CommitId:
        if revision in self.refs:
            return self.refs[revision].target
        if revision in self.commits:
            return CommitId(revision)
        raise NotFound("revision-not-found", f"There is no {revision}.")

    def load_history(
        self, tips: Sequence[CommitId], hidden: Sequence[CommitId]
    ) -> Sequence[Placed]:
        wanted = self._reach(tips) - self._reach(hidden)
        return [self.commits[commit] for commit in sorted(wanted)]

    def load_commit(self, commit: CommitId) -> Commit:
        return self.commits[commit].commit

    def load_manifests(self, manifests: Sequence[ManifestId]) -> Mapping[ManifestId, Manifest]:
        return {manifest: self.manifests[manifest] for manifest in manifests}

    def read(
        self, parts: Sequence[Part], folder: Path, progress: Progress
    ) -> Iterator[Iterator[memoryview]]:
        for part in parts:
            yield self._read(part)

    def _read(self, part: Part) -> Iterator[memoryview]:
        data = memoryview(self.contents[part.file.sha256])
        for begin, end in part.carried.carried:
            for at in range(begin, end, 1000):
                self.read_bytes += len(data[at : min(at + 1000, end)])
                yield data[at : min(at + 1000, end)]

    def _reach(self, tips: Sequence[CommitId]) -> set[CommitId]:
        seen: set[CommitId] = set()
        pending = list(tips)
        while pending:
            commit = pending.pop()
            if commit not in seen:
                seen.add(commit)
                pending += self.commits[commit].commit.parents
        return seen


def bundle(
    source: MemorySource, path: Path, *refs: str, since: Sequence[str] = ()
) -> CreatedBundle:
    """Make a bundle, in place of what is there."""
    return create_bundle(source, BundleWish(path, refs, tuple(since), force=True))


def make_history() -> MemorySource:
    """Return two versions that share an embedding, a third beside the second, a merge and a tag."""
    embedding = noise(200 * KIB, 1)
    source = MemorySource()
    first = source.commit("first", embed=embedding, lora=noise(900, 2))
    second = source.commit("second", first, embed=embedding, lora=noise(900, 3))
    side = source.commit("side", first, lora=noise(1_000, 4))
    source.commit("merge", second, side, embed=embedding, lora=noise(900, 5))
    source.point("v1", first, RefKind.TAG)
    return source


def read_members(path: Path) -> dict[str, bytes]:
    """Return the members of a bundle that plait wrote, in their order."""
    data = path.read_bytes()
    members = {}
    position = 0
    while data[position : position + len(END)] != END:
        name = data[position : position + 100].rstrip(b"\0").decode()
        size = int(data[position + 124 : position + 135], 8)
        members[name] = data[position + BLOCK : position + BLOCK + size]
        position += BLOCK + size + len(padding(size))
    return members


def write_members(path: Path, members: Mapping[str, bytes]) -> None:
    """Write an archive of any members."""
    pieces = []
    for name, data in members.items():
        pieces += [make_header(Member(name, len(data))), data, padding(len(data))]
    path.write_bytes(b"".join([*pieces, END]))


def forge(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the table of contents of a bundle, and write the archive around it anew."""
    members = read_members(path)
    contents = json.loads(members[NAME])
    change(contents)
    members[NAME] = json.dumps(contents, sort_keys=True, separators=(",", ":")).encode()
    write_members(path, members)


def replace_document(path: Path, folder: str, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the first commit or manifest, with its name and its size everywhere."""
    members = read_members(path)
    contents = json.loads(members[NAME])
    name = next(name for name in members if name.startswith(folder))
    document = json.loads(members[name])
    change(document)
    data = json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
    entry = contents[folder][0]
    entry["id"], entry["size"] = hashlib.sha256(data).hexdigest(), len(data)
    changed = {
        (f"{folder}/{entry['id']}.json" if key == name else key): (data if key == name else value)
        for key, value in members.items()
    }
    changed[NAME] = json.dumps(contents, sort_keys=True, separators=(",", ":")).encode()
    write_members(path, changed)


def load_contents(path: Path) -> Contents:
    """Return the table of contents."""
    return Contents.from_bytes(read_members(path)[NAME])
