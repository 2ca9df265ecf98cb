"""A manifest: the files of one version and the tensors inside them (git's tree).

Its canonical JSON names it: two versions with the same files have the same manifest id. A
manifest that parses is well-formed (paths, order, tiling of tensors); whether the bytes agree
with it is for `plait.model.digesting` to say.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from plait.errors import InvalidInput, TooLarge
from plait.model import canonical
from plait.model.fields import Fields
from plait.model.ids import ManifestId, ObjectId, hash_bytes, parse_object_id
from plait.model.paths import FilePath, is_safetensors, parse_path, verify_paths_apart
from plait.model.safetensors_layout import PREFIX_SIZE, tensor_size

FORMAT = "plait.manifest/1"
LARGEST_MANIFEST = 16_000_000
MOST_FILES = 10_000
LARGEST_FILE = 50_000_000_000

_KIND = "invalid-manifest"


@dataclass(frozen=True, slots=True)
class Tensor:
    """A named range of a safetensors file."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    offset: int
    """First byte, counted from the start of the file."""
    size: int
    """Bytes."""
    sha256: ObjectId
    """Of the tensor's little-endian bytes."""


@dataclass(frozen=True, slots=True)
class TensorTable:
    """What a safetensors file holds."""

    header_sha256: ObjectId
    """Of the 8-byte prefix and the JSON."""
    entries: tuple[Tensor, ...]
    """In the order of their offsets; they tile the file from the header to its end."""

    def to_json(self) -> dict[str, Any]:
        """Return the table as it stands in a manifest."""
        return {
            "header_sha256": self.header_sha256,
            "entries": [
                {
                    "name": tensor.name,
                    "dtype": tensor.dtype,
                    "shape": list(tensor.shape),
                    "offset": tensor.offset,
                    "size": tensor.size,
                    "sha256": tensor.sha256,
                }
                for tensor in self.entries
            ],
        }

    @property
    def data_offset(self) -> int | None:
        """Where the first tensor begins, or None where there is none."""
        return self.entries[0].offset if self.entries else None


@dataclass(frozen=True, slots=True)
class File:
    """One file of a version."""

    path: FilePath
    size: int
    sha256: ObjectId
    tensors: TensorTable | None
    """For safetensors files, else None."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """The files of one version, sorted by path."""

    files: tuple[File, ...]

    @classmethod
    def of(cls, files: Iterable[File]) -> Manifest:
        """Return the manifest of `files`, sorted and checked."""
        manifest = cls(tuple(sorted(files, key=lambda file: file.path)))
        _verify(manifest)
        return manifest

    @classmethod
    def from_json(cls, value: object) -> Manifest:
        """Parse a manifest's JSON document.

        Raises:
            InvalidInput: it breaks a rule of the format.
            TooLarge: it has too many files, or a file is too large.
        """
        fields = Fields(value, kind=_KIND, where="The manifest")
        fields.only(("format", "files"))
        if fields.text("format") != FORMAT:
            raise fields.error(f"is not of the format {FORMAT!r}")
        items = fields.items("files")
        if len(items) > MOST_FILES:
            raise TooLarge(
                "too-many-files",
                f"The manifest has {len(items)} files; at most {MOST_FILES} are allowed.",
                count=len(items),
                limit=MOST_FILES,
            )
        manifest = cls(tuple(_parse_file(item) for item in items))
        _verify(manifest)
        return manifest

    @classmethod
    def from_bytes(cls, data: bytes) -> Manifest:
        """Parse canonical bytes; raises as `from_json` does, also where they are not canonical."""
        if len(data) > LARGEST_MANIFEST:
            raise TooLarge(
                "manifest-too-large",
                f"The manifest has {len(data)} bytes; at most {LARGEST_MANIFEST} are allowed.",
                size=len(data),
                limit=LARGEST_MANIFEST,
            )
        manifest = cls.from_json(canonical.loads(data))
        if manifest.to_bytes() != data:
            raise InvalidInput(_KIND, "The manifest is not in canonical JSON.")
        return manifest

    def to_json(self) -> dict[str, Any]:
        """Return the document that the manifest's id is computed from."""
        return {"format": FORMAT, "files": [_file_json(file) for file in self.files]}

    def to_bytes(self) -> bytes:
        """Return the canonical bytes."""
        return canonical.dumps(self.to_json())

    @property
    def id(self) -> ManifestId:
        """The sha256 of the canonical bytes; computed at each call."""
        return ManifestId(hash_bytes(self.to_bytes()))

    @property
    def size(self) -> int:
        """The bytes of all files together."""
        return sum(file.size for file in self.files)

    def find(self, path: str) -> File | None:
        """Return the file at `path`, or None."""
        return next((file for file in self.files if file.path == path), None)


def _file_json(file: File) -> dict[str, Any]:
    document: dict[str, Any] = {"path": file.path, "size": file.size, "sha256": file.sha256}
    if file.tensors is not None:
        document["tensors"] = file.tensors.to_json()
    return document


def _parse_file(value: object) -> File:
    fields = Fields(value, kind=_KIND, where="A file of the manifest")
    fields.only(("path", "size", "sha256", "tensors"))
    path = parse_path(fields.get("path"))
    size = fields.count("size")
    if size > LARGEST_FILE:
        raise TooLarge(
            "file-too-large",
            f"{path} has {size} bytes; at most {LARGEST_FILE} are allowed.",
            path=path,
            size=size,
            limit=LARGEST_FILE,
        )
    table = fields.get("tensors")
    return File(
        path,
        size,
        parse_object_id(fields.get("sha256")),
        None if table is None else parse_table(table, path),
    )


def parse_table(value: object, path: str) -> TensorTable:
    """Parse the tensor table of the file at `path`; that it tiles the file is not checked.

    Raises:
        InvalidInput: it breaks a rule of the format.
    """
    fields = Fields(value, kind=_KIND, where=f"The tensor table of {path!r:.200}")
    fields.only(("header_sha256", "entries"))
    where = f"A tensor of {path!r:.200}"
    return TensorTable(
        parse_object_id(fields.get("header_sha256")),
        tuple(_parse_tensor(item, where) for item in fields.items("entries")),
    )


def _parse_tensor(value: object, where: str) -> Tensor:
    fields = Fields(value, kind=_KIND, where=where)
    fields.only(("name", "dtype", "shape", "offset", "size", "sha256"))
    shape = fields.items("shape")
    if not all(isinstance(n, int) and not isinstance(n, bool) and n >= 0 for n in shape):
        raise fields.error("has a shape that is not a list of sizes")
    return Tensor(
        fields.text("name"),
        fields.text("dtype"),
        tuple(shape),
        fields.count("offset"),
        fields.count("size"),
        parse_object_id(fields.get("sha256")),
    )


def _verify(manifest: Manifest) -> None:
    paths = [file.path for file in manifest.files]
    if paths != sorted(paths):
        raise InvalidInput(_KIND, "The manifest's files are not sorted by path.")
    verify_paths_apart(paths)
    for file in manifest.files:
        if is_safetensors(file.path) != (file.tensors is not None):
            raise InvalidInput(
                _KIND, f"{file.path!r} must have a tensor table if, and only if, it is safetensors."
            )
        if file.tensors is not None:
            _verify_table(file, file.tensors)


def _verify_table(file: File, table: TensorTable) -> None:
    position = table.data_offset if table.data_offset is not None else file.size
    if position < PREFIX_SIZE + 2:  # the prefix and at least `{}`
        raise InvalidInput(_KIND, f"The tensors of {file.path!r} leave no room for a header.")
    if len({tensor.name for tensor in table.entries}) != len(table.entries):
        raise InvalidInput(_KIND, f"Two tensors of {file.path!r} have the same name.")
    for tensor in table.entries:
        if tensor.offset != position or tensor.size != tensor_size(tensor.dtype, tensor.shape):
            raise InvalidInput(
                _KIND, f"The tensor {tensor.name!r:.200} of {file.path!r} does not tile its file."
            )
        position += tensor.size
    if position != file.size:
        raise InvalidInput(_KIND, f"The tensors of {file.path!r} end at {position} of {file.size}.")
