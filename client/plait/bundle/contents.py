"""The first member of a bundle: which refs, commits, manifests and files follow, in which order.

Its canonical JSON decides everything about the archive but the bytes of the members:

- `refs`: where branches and tags point, by kind and name;
- `prerequisites`: commits that the receiver must have; their documents are carried too, so that a
  bundle tells by itself what it counts on, but none of their files;
- `commits`: what is new, parents before children;
- `manifests`: each that a commit names, in the order in which they do;
- `files`: each file of the new commits that no prerequisite has, in the order of the manifests.
  With `ranges`, only those of its bytes are carried: the header, and the tensors that stand neither
  earlier in the bundle nor in a prerequisite.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from plait.bundle.archive import Member
from plait.errors import InvalidInput, TooLarge
from plait.model import canonical
from plait.model.commit import LARGEST_COMMIT
from plait.model.fields import Fields
from plait.model.ids import ObjectId, parse_commit_id, parse_object_id
from plait.model.manifest import LARGEST_FILE, LARGEST_MANIFEST
from plait.model.refs import Ref, RefKind, parse_ref_name

FORMAT = "plait.bundle/1"
NAME = "plait-bundle.json"
LARGEST_CONTENTS = 64_000_000
"""Bytes: some 200,000 commits."""
MOST_MARKS = 4_000_000
"""Commas and brackets. Parsed JSON takes many times its bytes, and a bundle comes from anywhere."""

_KIND = "invalid-bundle"

Ranges = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Document:
    """A commit or a manifest that is carried."""

    id: ObjectId
    """The sha256 of its canonical JSON."""
    size: int
    """Bytes."""


@dataclass(frozen=True, slots=True)
class CarriedFile:
    """A file that is carried, or the part of it that its receiver lacks."""

    sha256: ObjectId
    """Of the whole file."""
    size: int
    """Bytes of the whole file."""
    ranges: Ranges | None = None
    """Begin and end of what is carried, in order; None: all of it."""

    @property
    def carried(self) -> Ranges:
        """Begin and end of what is carried."""
        return ((0, self.size),) if self.ranges is None else self.ranges

    @property
    def member(self) -> Member:
        """The member that holds what is carried, joined."""
        folder = "files" if self.ranges is None else "parts"
        return Member(f"{folder}/{self.sha256}", sum(end - begin for begin, end in self.carried))


@dataclass(frozen=True, slots=True)
class Contents:
    """What a bundle holds; see the module."""

    refs: tuple[Ref, ...]
    prerequisites: tuple[Document, ...]
    commits: tuple[Document, ...]
    manifests: tuple[Document, ...]
    files: tuple[CarriedFile, ...]

    @classmethod
    def from_bytes(cls, data: bytes) -> Contents:
        """Parse the canonical bytes.

        Raises:
            InvalidInput: `invalid-bundle`, a rule of the format is broken.
            TooLarge: `bundle-too-large`.
        """
        if len(data) > LARGEST_CONTENTS or sum(map(data.count, (b",", b"[", b"{"))) > MOST_MARKS:
            raise TooLarge(
                "bundle-too-large", "The bundle's table of contents is larger than any should be."
            )
        fields = Fields(canonical.loads(data), kind=_KIND, where="The bundle's table of contents")
        fields.only(("format", "refs", "prerequisites", "commits", "manifests", "files"))
        if fields.text("format") != FORMAT:
            raise fields.error(
                f"is of the format {fields.text('format')!r:.60} and not {FORMAT!r}: a newer plait "
                "may read it"
            )
        contents = cls(
            tuple(map(_parse_ref, fields.items("refs"))),
            _parse_documents(fields, "prerequisites", LARGEST_COMMIT),
            _parse_documents(fields, "commits", LARGEST_COMMIT),
            _parse_documents(fields, "manifests", LARGEST_MANIFEST),
            tuple(map(_parse_file, fields.items("files"))),
        )
        _verify(contents)
        if contents.to_bytes() != data:
            raise fields.error("is not in canonical JSON")
        return contents

    def to_bytes(self) -> bytes:
        """Return the canonical bytes."""
        return canonical.dumps(
            {
                "format": FORMAT,
                "refs": [
                    {"kind": ref.kind.value, "name": ref.name, "target": ref.target}
                    for ref in self.refs
                ],
                "prerequisites": [_document_json(item) for item in self.prerequisites],
                "commits": [_document_json(item) for item in self.commits],
                "manifests": [_document_json(item) for item in self.manifests],
                "files": [_file_json(item) for item in self.files],
            }
        )

    def members(self) -> Iterator[Member]:
        """Yield everything that the archive holds, in its order."""
        yield Member(NAME, len(self.to_bytes()))
        for item in (*self.prerequisites, *self.commits):
            yield Member(commit_name(item.id), item.size)
        for item in self.manifests:
            yield Member(manifest_name(item.id), item.size)
        for file in self.files:
            yield file.member


def commit_name(commit: str) -> str:
    """Return the member that holds a commit."""
    return f"commits/{commit}.json"


def manifest_name(manifest: str) -> str:
    """Return the member that holds a manifest."""
    return f"manifests/{manifest}.json"


def _document_json(item: Document) -> dict[str, Any]:
    return {"id": item.id, "size": item.size}


def _file_json(file: CarriedFile) -> dict[str, Any]:
    document: dict[str, Any] = {"sha256": file.sha256, "size": file.size}
    if file.ranges is not None:
        document["ranges"] = [list(pair) for pair in file.ranges]
    return document


def _parse_ref(value: object) -> Ref:
    fields = Fields(value, kind=_KIND, where="A ref of the bundle")
    fields.only(("kind", "name", "target"))
    kind = fields.text("kind")
    if kind not in set(RefKind):
        raise fields.error(f"is of the unknown kind {kind!r:.40}")
    name = parse_ref_name(fields.get("name"))
    return Ref(RefKind(kind), name, parse_commit_id(fields.get("target")))


def _parse_documents(fields: Fields, name: str, largest: int) -> tuple[Document, ...]:
    return tuple(_parse_document(item, name, largest) for item in fields.items(name))


def _parse_document(value: object, name: str, largest: int) -> Document:
    fields = Fields(value, kind=_KIND, where=f"One of the bundle's {name}")
    fields.only(("id", "size"))
    size = fields.count("size")
    if size > largest:
        raise fields.error(f"claims {size} bytes, of at most {largest}")
    return Document(parse_object_id(fields.get("id")), size)


def _parse_file(value: object) -> CarriedFile:
    fields = Fields(value, kind=_KIND, where="A file of the bundle")
    fields.only(("sha256", "size", "ranges"))
    size = fields.count("size")
    if size > LARGEST_FILE:
        raise fields.error(f"claims {size} bytes, of at most {LARGEST_FILE}")
    digest = parse_object_id(fields.get("sha256"))
    if fields.get("ranges") is None:
        return CarriedFile(digest, size)
    ranges: list[tuple[int, int]] = []
    position = 0
    for pair in fields.items("ranges"):
        if not isinstance(pair, list) or len(pair) != 2 or not all(map(_is_count, pair)):
            raise fields.error("has a range that is not a begin and an end")
        begin, end = pair
        # Ranges that touch would be another way to write one.
        if not begin < end <= size or (ranges and begin <= position) or end - begin == size:
            raise fields.error("has ranges that are empty, out of order, or all of it")
        ranges.append((begin, end))
        position = end
    return CarriedFile(digest, size, tuple(ranges))


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _verify(contents: Contents) -> None:
    named = [(ref.kind, ref.name) for ref in contents.refs]
    if named != sorted(named) or len({name for _, name in named}) != len(named):
        raise InvalidInput(_KIND, "The bundle's refs are not sorted, or two have one name.")
    required = [item.id for item in contents.prerequisites]
    commits = required + [item.id for item in contents.commits]
    if required != sorted(required) or len(set(commits)) != len(commits):
        raise InvalidInput(_KIND, "The bundle names a commit twice, or not in order.")
    if len({item.id for item in contents.manifests}) != len(contents.manifests):
        raise InvalidInput(_KIND, "The bundle names a manifest twice.")
    if len({file.sha256 for file in contents.files}) != len(contents.files):
        raise InvalidInput(_KIND, "The bundle names a file twice.")
    if not contents.refs or not contents.commits:
        raise InvalidInput(_KIND, "The bundle holds no ref or no commit.")
    targets = {ref.target for ref in contents.refs}
    if not targets.issubset(commits):
        raise InvalidInput(_KIND, "A ref of the bundle points at a commit that it does not name.")
