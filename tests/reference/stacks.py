"""Versions that are stacks, to push to a registry."""

from collections.abc import Mapping

from plait.model.commit import OriginKind
from plait.model.ids import CommitId, ManifestId, hash_bytes
from plait.model.stack import FILE_NAME, Stack, StackedAdapter
from reference.memory_registry import Version, make_version_with

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
    held: Mapping[str, bytes] = {FILE_NAME: STACK.to_bytes()} if files is None else files
    return make_version_with(held, message, parents, OriginKind.COMPOSITION)
