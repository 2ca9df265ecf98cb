"""A merged model while it is written: its base's files, with other numbers at the same places.

Weights' files get the base's own headers, since neither names nor dtypes nor shapes change; what
else lies in the base's folder (configuration, tokenizer, index) is copied, but for other formats of
weights. All of it is written under a temporary name and renamed when it is complete.
"""

from __future__ import annotations

import os
import secrets
import shutil
from pathlib import Path
from types import TracebackType
from typing import Self

from plait.adapter_folder import TensorFiles
from plait.errors import AlreadyExists
from plait.model.paths import is_safetensors
from plait.partial_file import disk_errors
from plait.quantised_base import DequantisedFiles

_OTHER_WEIGHTS = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".gguf", ".h5", ".msgpack", ".onnx")


def verify_free(into: Path) -> None:
    """Check that a merged model can be called `into`.

    Raises:
        AlreadyExists: `destination-exists`, something lies there.
    """
    if into.exists() and (not into.is_dir() or any(into.iterdir())):
        raise AlreadyExists(
            "destination-exists",
            f"{into} is there already: name a folder that is not, or an empty one.",
            path=str(into),
        )


class MergedFolder:
    """A folder that is being written; use it in `with`, and call `finish`."""

    def __init__(self, base: Path, files: TensorFiles | DequantisedFiles, into: Path) -> None:
        """Begin a copy of `base`, whose tensors are `files`, that will be called `into`.

        Raises:
            AlreadyExists: `destination-exists`.
            Unavailable: `disk-full`.
        """
        into = into.resolve()  # a link to an empty folder is filled where it leads to
        verify_free(into)
        self._into = into
        self._folder = into.with_name(f".plait-{secrets.token_hex(8)}")
        self._source = files
        self._files: dict[Path, int] = {}
        with disk_errors(into):
            self._folder.mkdir(parents=True)
            try:
                self._begin(base)
            except BaseException:
                self._remove()
                raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._remove()

    def write(self, name: str, offset: int, data: bytes | memoryview) -> None:
        """Write a piece of a tensor, `offset` bytes from its begin; any thread may.

        Raises:
            Unavailable: `disk-full`.
        """
        path, tensor = self._source.places[name]
        file, place, rest = self._files[path], tensor.offset + offset, memoryview(data)
        with disk_errors(self._into):
            while rest:
                written = os.pwrite(file, rest, place)
                place, rest = place + written, rest[written:]

    def finish(self) -> None:
        """Give the complete folder its name; raises as `write`."""
        with disk_errors(self._into):
            for file in self._files.values():
                os.fsync(file)
            self._close()
            if self._into.is_dir():
                self._into.rmdir()  # it was empty
            self._folder.rename(self._into)

    def _begin(self, base: Path) -> None:
        documents = {}
        if isinstance(self._source, DequantisedFiles):
            documents = self._source.rewrite_documents()
        for source in sorted(base.iterdir()):
            if is_safetensors(source.name):
                self._begin_weights(source)
            elif source.name in documents:
                (self._folder / source.name).write_bytes(documents[source.name])
            elif source.is_file() and not source.name.endswith(_OTHER_WEIGHTS):
                shutil.copyfile(source, self._folder / source.name)

    def _begin_weights(self, source: Path) -> None:
        """Write a file's header, and leave room for its tensors."""
        tensors = [tensor for path, tensor in self._source.places.values() if path == source]
        if isinstance(self._source, DequantisedFiles):
            header = self._source.headers.get(source, b"")
        else:
            size = min((tensor.offset for tensor in tensors), default=source.stat().st_size)
            with source.open("rb") as opened:
                header = opened.read(size)
        target = self._folder / source.name
        file = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        self._files[source] = file
        os.pwrite(file, header, 0)
        os.ftruncate(file, len(header) + sum(tensor.size for tensor in tensors))

    def _close(self) -> None:
        while self._files:
            os.close(self._files.popitem()[1])

    def _remove(self) -> None:
        self._close()
        shutil.rmtree(self._folder, ignore_errors=True)
