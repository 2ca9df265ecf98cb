"""The files that a manifest names, found without parsing it.

Garbage collection reads every manifest of the registry; parsing one takes fifty times as long as
looking for its files. Canonical JSON writes the keys of an object sorted and without spaces, and
escapes quotes inside strings, so that a file is the only place where `"size"` follows `"sha256"`:
in a tensor, `"shape"` stands between them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from plait.model.ids import ObjectId

_FILE = re.compile(rb'"sha256":"([0-9a-f]{64})","size":(\d+)(,"tensors":)?')


@dataclass(frozen=True, slots=True)
class NamedFile:
    """A file as a manifest names it."""

    sha256: ObjectId
    size: int
    is_weights: bool
    """It is safetensors, as everything large is."""


def find_files(manifest: bytes) -> Iterator[NamedFile]:
    """Yield the files of a manifest, given as canonical JSON."""
    for digest, size, tensors in _FILE.findall(manifest):
        yield NamedFile(ObjectId(digest.decode("ascii")), int(size), bool(tensors))
