"""A part of a version: some tensors of its safetensors files, as valid safetensors files.

Only the ranges of those tensors travel. Each is checked against its own digest, and the header
that the metadata is taken from against the manifest's. The new file says in its metadata, under
`plait.partial`, which commit and which patterns it was made from.
"""

from __future__ import annotations

import fnmatch
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

from plait.downloads import Downloader, Fetch, Piece
from plait.errors import Integrity, InvalidInput
from plait.model import canonical
from plait.model.ids import CommitId, hash_bytes
from plait.model.manifest import File, Manifest, Tensor, TensorTable
from plait.model.safetensors_layout import TensorRange, build_header, parse_header
from plait.transport import PIECE_SIZE

METADATA_KEY = "plait.partial"
NAMES_SHOWN = 8


@dataclass(frozen=True, slots=True)
class Selection:
    """Tensors of one file."""

    file: File
    table: TensorTable
    tensors: tuple[Tensor, ...]
    """In the order of the file."""


def is_selected(name: str, patterns: Sequence[str]) -> bool:
    """Tell whether a pattern matches the name, or whole parts of it between dots.

    `layers.0.*` selects `base_model.model.model.layers.0.mlp.up_proj.lora_A.weight`.
    """
    return any(
        fnmatch.fnmatchcase(name, form)
        for pattern in patterns
        for form in (pattern, f"*.{pattern}", f"{pattern}.*", f"*.{pattern}.*")
    )


def select_tensors(manifest: Manifest, patterns: Sequence[str]) -> list[Selection]:
    """Return the files that hold a tensor which `patterns` select.

    Raises:
        InvalidInput: `tensor-not-found`, none does.
    """
    selections = []
    for file in manifest.files:
        if file.tensors is None:
            continue
        chosen = tuple(t for t in file.tensors.entries if is_selected(t.name, patterns))
        if chosen:
            selections.append(Selection(file, file.tensors, chosen))
    if not selections:
        names = sorted(
            tensor.name
            for file in manifest.files
            if file.tensors
            for tensor in file.tensors.entries
        )
        some = ", ".join(names[:NAMES_SHOWN]) + (", ..." if len(names) > NAMES_SHOWN else "")
        raise InvalidInput(
            "tensor-not-found",
            f"No tensor matches {' or '.join(patterns)}. The version has {len(names)} tensors: "
            f"{some}",
            patterns=list(patterns),
        )
    return selections


def plan_part(
    downloader: Downloader,
    selection: Selection,
    folder: Path,
    *,
    commit: CommitId,
    patterns: Sequence[str],
) -> Fetch:
    """Return the fetch that writes a selection to its path under `folder`.

    Raises:
        Integrity: `digest-mismatch`, the header is not the manifest's.
    """
    file = selection.file
    end = selection.table.data_offset or file.size
    header = downloader.read(file.sha256, 0, end)
    if hash_bytes(header) != selection.table.header_sha256:
        raise Integrity(
            "digest-mismatch", f"The header of {file.path} is not the one in its manifest."
        )
    metadata = dict(parse_header(header, file_size=file.size).metadata)
    metadata[METADATA_KEY] = canonical.dumps(
        {"commit": commit, "patterns": sorted(set(patterns))}
    ).decode()
    preamble, placed = build_header(
        [TensorRange(t.name, t.dtype, t.shape, t.offset, t.size) for t in selection.tensors],
        metadata,
    )
    size = len(preamble) + sum(tensor.size for tensor in selection.tensors)
    return Fetch(
        file=file.sha256,
        size=size,
        destination=folder / file.path,
        pieces=[
            Piece(source.offset, source.offset + source.size, target.offset)
            for source, target in zip(selection.tensors, placed, strict=True)
            if source.size
        ],
        verify=partial(_verify_tensors, selection.tensors, placed),
        preamble=preamble,
    )


def _verify_tensors(expected: Sequence[Tensor], placed: Sequence[TensorRange], path: Path) -> None:
    with path.open("rb") as stream:
        for tensor, place in zip(expected, placed, strict=True):
            stream.seek(place.offset)
            digest = hashlib.sha256()
            for piece in _read(stream, place.size):
                digest.update(piece)
            if digest.hexdigest() != tensor.sha256:
                raise Integrity(
                    "digest-mismatch",
                    f"The tensor {tensor.name} arrived with other bytes than its version has: try "
                    "again.",
                    tensor=tensor.name,
                )


def _read(stream: BinaryIO, size: int) -> Iterator[bytes]:
    while size and (piece := stream.read(min(size, PIECE_SIZE))):
        size -= len(piece)
        yield piece
