"""Digests of a file while its bytes stream past: the file's, its header's and every tensor's.

One `FileDigester` serves both sides: the client describes a file that it is about to push, the
registry checks a file that arrived. Memory is one header, never one file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Protocol

from plait.errors import InvalidInput
from plait.model.ids import ObjectId
from plait.model.manifest import File, Tensor, TensorTable
from plait.model.paths import FilePath, is_safetensors
from plait.model.safetensors_layout import (
    PREFIX_SIZE,
    SafetensorsLayout,
    TensorRange,
    header_size,
    parse_header,
)


class TensorObserver(Protocol):
    """Sees the bytes of each tensor in order, in pieces that need not align to elements."""

    def __call__(self, tensor: TensorRange, piece: memoryview, /) -> None:
        """Look at the next piece of `tensor`; may raise to refuse it."""


class Hash(Protocol):
    """What `hashlib.sha256()` is, or something that computes the same elsewhere."""

    def update(self, view: memoryview, /) -> None:
        """Take the next bytes."""

    def hexdigest(self) -> str:
        """Return the digest of the bytes so far."""

    def copy(self) -> Hash:
        """Return another one with the same bytes so far."""


class FileDigester:
    """Digests one file of a known path and size.

    Feed it every byte in order by `update`, then call `finish`. For a safetensors file the
    header's rules are checked as soon as the header is complete.
    """

    def __init__(
        self,
        path: FilePath,
        size: int,
        *,
        observe: TensorObserver | None = None,
        whole: Hash | None = None,
    ) -> None:
        """Take also what computes the sha256 of all bytes, where it is not done here."""
        self._path = path
        self._size = size
        self._seen = 0
        self._whole = hashlib.sha256() if whole is None else whole
        self._tensors = _TensorDigester(size, observe) if is_safetensors(path) else None

    def update(self, piece: bytes | memoryview) -> None:
        """Take the next bytes of the file.

        Raises:
            InvalidInput: the safetensors header breaks a rule, or the observer refused a tensor.
        """
        view = memoryview(piece)
        self._seen += len(view)
        if self._seen > self._size:
            raise InvalidInput(
                "file-changed", f"{self._path} is longer than the {self._size} bytes it was."
            )
        self._whole.update(view)
        if self._tensors is not None:
            self._tensors.update(view)

    def digest_with(self, suffix: bytes) -> ObjectId:
        """Return the sha256 of the bytes so far followed by `suffix`, in no second pass."""
        extended = self._whole.copy()
        extended.update(memoryview(suffix))
        return ObjectId(extended.hexdigest())

    def finish(self) -> File:
        """Return the file's description.

        Raises:
            InvalidInput: the file ended early.
        """
        if self._seen != self._size:
            raise InvalidInput(
                "file-changed",
                f"{self._path} has {self._seen} bytes where {self._size} were expected: was it "
                "written to while it was read?",
            )
        table = None if self._tensors is None else self._tensors.finish()
        return File(self._path, self._size, ObjectId(self._whole.hexdigest()), table)


def digest_file(
    path: FilePath,
    size: int,
    pieces: Iterable[bytes | memoryview],
    *,
    observe: TensorObserver | None = None,
) -> File:
    """Return the description of the file whose bytes are `pieces`; raises as `FileDigester`."""
    digester = FileDigester(path, size, observe=observe)
    for piece in pieces:
        digester.update(piece)
    return digester.finish()


class _TensorDigester:
    """Follows a safetensors file through its header and its tensors."""

    def __init__(self, size: int, observe: TensorObserver | None) -> None:
        self._size = size
        self._observe = observe
        self._header = bytearray()
        self._header_end: int | None = None
        self._layout: SafetensorsLayout | None = None
        self._position = 0
        self._index = 0
        self._current = hashlib.sha256()
        self._entries: list[Tensor] = []

    def update(self, view: memoryview) -> None:
        rest = view
        while self._layout is None and len(rest):
            rest = self._take_header(rest)
        while len(rest):
            rest = self._take_tensor(rest)

    def finish(self) -> TensorTable:
        layout = self._layout
        if layout is None:
            # Only a file too short for a prefix gets here; a short header was refused by then.
            header_size(bytes(self._header), file_size=self._size)
            raise InvalidInput(  # pragma: no cover - the line above raised
                "invalid-safetensors", "The safetensors file ends in its header."
            )
        self._close_finished(layout)
        return TensorTable(ObjectId(hashlib.sha256(self._header).hexdigest()), tuple(self._entries))

    def _take_header(self, view: memoryview) -> memoryview:
        end = self._header_end
        wanted = (PREFIX_SIZE if end is None else end) - len(self._header)
        self._header += view[:wanted]
        if end is None and len(self._header) == PREFIX_SIZE:
            self._header_end = end = header_size(bytes(self._header), file_size=self._size)
        if end is not None and len(self._header) == end:
            self._layout = parse_header(bytes(self._header), file_size=self._size)
            self._position = end
        return view[wanted:]

    def _take_tensor(self, view: memoryview) -> memoryview:
        layout = self._layout
        if layout is None:  # pragma: no cover - the caller reads the header first
            raise InvalidInput("invalid-safetensors", "The safetensors file has no header.")
        self._close_finished(layout)
        tensor = layout.tensors[self._index]
        piece = view[: tensor.offset + tensor.size - self._position]
        self._current.update(piece)
        if self._observe is not None:
            self._observe(tensor, piece)
        self._position += len(piece)
        return view[len(piece) :]

    def _close_finished(self, layout: SafetensorsLayout) -> None:
        while self._index < len(layout.tensors):
            tensor = layout.tensors[self._index]
            if self._position < tensor.offset + tensor.size:
                return
            self._entries.append(
                Tensor(
                    tensor.name,
                    tensor.dtype,
                    tensor.shape,
                    tensor.offset,
                    tensor.size,
                    ObjectId(self._current.hexdigest()),
                )
            )
            self._current = hashlib.sha256()
            self._index += 1
