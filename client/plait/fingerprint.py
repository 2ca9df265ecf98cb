"""The fingerprint of the base model in a folder, from all safetensors files directly in it.

`plait.model.base_fingerprint` says what it is. How the tensors are spread over files, and the
files' metadata, do not count: a model that was resharded keeps its fingerprint. A folder that lacks
a shard which its index names is refused.

Tensors are hashed by several threads, one each, so that a model in one file is no slower than one
in many; memory is a few pieces.
"""

from __future__ import annotations

import hashlib
import io
import os
import threading
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from plait.describe import FileStamp, open_regular
from plait.errors import InvalidInput, TooLarge
from plait.model import canonical
from plait.model.base_fingerprint import fingerprint_tensors
from plait.model.ids import ObjectId, hash_bytes
from plait.model.manifest import Tensor, TensorTable
from plait.model.paths import FilePath, is_safetensors
from plait.model.safetensors_layout import (
    PREFIX_SIZE,
    SafetensorsLayout,
    TensorRange,
    header_size,
    parse_header,
)
from plait.parallel import StopSign, run_parallel
from plait.progress import NO_PROGRESS, Progress
from plait.transport import PIECE_SIZE


def fingerprint_base(folder: Path, *, progress: Progress = NO_PROGRESS) -> ObjectId:
    """Return the fingerprint of the model in `folder`; links are followed, as caches use them.

    Raises:
        InvalidInput: there are no safetensors, a name appears twice, or a file is malformed.
    """
    tables = digest_weights(list_weights(folder), progress=progress)
    return fingerprint_tensors(tensor for table in tables.values() for tensor in table.entries)


def list_weights(folder: Path) -> dict[FilePath, Path]:
    """Return the safetensors files directly in `folder`, with links resolved.

    Raises:
        InvalidInput: `base-unknown`, there are none, or a shard is missing.
    """
    if not folder.is_dir():
        raise InvalidInput(
            "base-unknown",
            f"There is no folder {folder}: name the folder of the base model's weights.",
        )
    sources = sorted(path for path in folder.glob("*") if is_safetensors(path.name))
    if not sources:
        raise InvalidInput(
            "base-unknown",
            f"{folder} holds no safetensors file: name the folder of the base model's weights.",
        )
    _verify_complete(folder, {path.name for path in sources})
    return {FilePath(path.name): path.resolve() for path in sources}


def _verify_complete(folder: Path, names: set[str]) -> None:
    """Check that each shard is there that an index in the folder names."""
    for index in sorted(folder.glob("*.safetensors.index.json")):
        missing = sorted(_read_shards(index) - names)
        if missing:
            others = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            raise InvalidInput(
                "base-unknown",
                f"{folder} lacks {missing[0]!r:.200}{others} of the files that {index.name} names: "
                "it is not the whole base, so complete the download.",
                missing=missing[:20],
            )


def _read_shards(index: Path) -> set[str]:
    try:
        return {str(shard) for shard in canonical.loads(index.read_bytes())["weight_map"].values()}
    except (OSError, InvalidInput, KeyError, TypeError, AttributeError) as error:
        raise InvalidInput(
            "base-unknown",
            f"{index} is no index of shards, so nobody knows whether the base is whole: copy it "
            "again, or remove it.",
        ) from error


def digest_weights(
    sources: Mapping[FilePath, Path], *, progress: Progress = NO_PROGRESS
) -> dict[FilePath, TensorTable]:
    """Return the tensors of safetensors files, with the digest of each.

    Raises:
        InvalidInput: a file is malformed, or changed while it was read.
        TooLarge: a header is over the limit.
    """
    files = [_WeightFile(path, source) for path, source in sources.items()]
    progress.total(sum(file.stamp.size for file in files), what="Fingerprinting")
    try:
        run_parallel(
            [
                partial(file.digest, tensor, progress=progress)
                for file in files
                for tensor in file.layout.tensors
            ]
        )
    finally:
        progress.finish()
    return {file.path: file.finish() for file in files}


class _WeightFile:
    """A safetensors file whose tensors are being hashed, from any number of threads."""

    def __init__(self, path: FilePath, source: Path) -> None:
        self.path = path
        self._source = source
        self._digests: dict[str, ObjectId] = {}
        self._lock = threading.Lock()
        with self._open() as file:
            self.stamp = FileStamp.of(os.fstat(file.fileno()))
            self.layout, self._header_sha256 = self._read_header(file)

    def digest(self, tensor: TensorRange, stop: StopSign, *, progress: Progress) -> None:
        """Hash the bytes of one tensor."""
        digest = hashlib.sha256()
        buffer = memoryview(bytearray(min(PIECE_SIZE, tensor.size)))
        left = tensor.size
        with self._open() as file:
            file.seek(tensor.offset)
            while left:
                stop.check()
                count = file.readinto(buffer[:left])
                if not count:
                    raise self._refuse_change()
                digest.update(buffer[:count])
                left -= count
                progress.advance(count)
            if FileStamp.of(os.fstat(file.fileno())) != self.stamp:
                raise self._refuse_change()
        with self._lock:
            self._digests[tensor.name] = ObjectId(digest.hexdigest())

    def finish(self) -> TensorTable:
        """Return what was found, once all tensors are hashed."""
        return TensorTable(
            self._header_sha256,
            tuple(
                Tensor(
                    tensor.name,
                    tensor.dtype,
                    tensor.shape,
                    tensor.offset,
                    tensor.size,
                    self._digests[tensor.name],
                )
                for tensor in self.layout.tensors
            ),
        )

    @contextmanager
    def _open(self) -> Generator[io.FileIO]:
        try:
            with io.FileIO(open_regular(self.path, self._source), "rb") as file:
                yield file
        except OSError as error:
            raise InvalidInput(
                "file-changed", f"Cannot read {self.path}: {error.strerror}.", path=self.path
            ) from error

    def _read_header(self, file: io.FileIO) -> tuple[SafetensorsLayout, ObjectId]:
        size = self.stamp.size
        try:
            prefix = file.read(PREFIX_SIZE)
            end = header_size(prefix, file_size=size)
            header = prefix + file.read(end - PREFIX_SIZE)
            return parse_header(header, file_size=size), hash_bytes(header)
        except (InvalidInput, TooLarge) as error:
            # The rules of the format know bytes alone; people have to know which file it is.
            details = {**error.details, "path": self.path}
            raise type(error)(error.kind, f"{self.path}: {error.message}", **details) from error

    def _refuse_change(self) -> InvalidInput:
        return InvalidInput(
            "file-changed",
            f"{self.path} was written to while it was read: wait until it is complete.",
            path=self.path,
        )
