"""Versions that are stacks, to push to a registry."""

from collections.abc import Mapping

from plait.model.commit import Base, Commit, Origin, OriginKind, Person
from plait.model.digesting import digest_file
from plait.model.ids import CommitId, ManifestId, hash_bytes
from plait.model.manifest import Manifest
from plait.model.paths import FilePath
from plait.model.stack import FILE_NAME, Stack, StackedAdapter
from reference.memory_registry import Version

STACK = Stack(
    (
        StackedAdapter(
            adapter="team/other",
            commit=CommitId(hash_bytes(b"commit")),
            manifest=ManifestId(hash_bytes(b"manifest")),
            weight=0.5,
        ),
    )
)


def make_stack(
    message: str, *parents: CommitId, files: Mapping[str, bytes] | None = None
) -> Version:
    """Return a version with a `stack.json`, or with other files where they are given."""
    held = {FILE_NAME: STACK.to_bytes()} if files is None else files
    manifest = Manifest.of(
        digest_file(FilePath(path), len(data), [data]) for path, data in held.items()
    )
    commit = Commit(
        manifest.id,
        parents,
        Person("Ada", ""),
        "2026-11-24T06:07:00Z",
        message,
        Base("org/base"),
        Origin(OriginKind.COMPOSITION),
    )
    contents = {hash_bytes(data): data for data in held.values()}
    return Version(commit.to_json(), manifest.to_json(), contents)
