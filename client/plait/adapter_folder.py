"""Adapters and base models in folders, opened for the algebra: headers now, tensors when asked.

A tensor is read from its range of the file and decoded; nothing else of the file is in memory.
Every header is parsed by the rules of the format: a range never leads outside its file.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plait.errors import InvalidInput
from plait.model.adapter import FILE_NAME, parse_adapter_config
from plait.model.manifest import Manifest
from plait.model.paths import is_safetensors
from plait.model.quantization import find_quantization
from plait.model.safetensors_layout import (
    PREFIX_SIZE,
    SafetensorsLayout,
    TensorRange,
    header_size,
    parse_header,
)

if TYPE_CHECKING:
    from plait.algebra.adapter_tensors import AdapterTensors, BaseTensors, TensorKind
    from plait.algebra.arrays import FloatArray


@dataclass(frozen=True, slots=True)
class TensorFiles:
    """Tensors of one or several safetensors files, by name."""

    places: Mapping[str, tuple[Path, TensorRange]]

    def read_bytes(self, name: str) -> bytes:
        """Return a tensor's bytes.

        Raises:
            InvalidInput: `file-changed`, the file is shorter than its header said.
        """
        path, tensor = self.places[name]
        with path.open("rb") as file:
            file.seek(tensor.offset)
            data = file.read(tensor.size)
        if len(data) != tensor.size:
            raise _became_shorter(path)
        return data

    def read_blocks(self, name: str, size: int) -> Generator[tuple[int, memoryview]]:
        """Yield a tensor's bytes in blocks of `size`, each with its place in the tensor.

        A block is good until the next one is asked for: all are in the same memory.

        Raises:
            InvalidInput: as `read_bytes`.
        """
        path, tensor = self.places[name]
        memory = memoryview(bytearray(min(size, tensor.size)))
        with path.open("rb", buffering=0) as file:
            file.seek(tensor.offset)
            for offset in range(0, tensor.size, size):
                block = memory[: tensor.size - offset]
                filled = 0
                while filled < len(block) and (count := file.readinto(block[filled:])):
                    filled += count
                if filled != len(block):
                    raise _became_shorter(path)
                yield offset, block

    def read(self, name: str) -> FloatArray:
        """Return a tensor's values; raises as `read_bytes`, and for dtypes without numbers."""
        from plait.algebra.arrays import decode_for_people

        tensor = self.places[name][1]
        return decode_for_people(self.read_bytes(name), tensor.dtype, tensor.shape)


def _became_shorter(path: Path) -> InvalidInput:
    return InvalidInput("file-changed", f"{path} became shorter while it was read.")


def open_tensors(folder: Path) -> TensorFiles:
    """Return the tensors of all safetensors files directly in a folder.

    Raises:
        InvalidInput: a file is malformed, or two hold a tensor of the same name.
    """
    places: dict[str, tuple[Path, TensorRange]] = {}
    for path in sorted(folder.glob("*")):
        if not is_safetensors(path.name):
            continue
        for tensor in read_layout(path).tensors:
            if tensor.name in places:
                raise InvalidInput(
                    "invalid-safetensors",
                    f"Both {places[tensor.name][0].name} and {path.name} in {folder} hold a tensor "
                    f"{tensor.name!r:.200}: keep one of them.",
                )
            places[tensor.name] = (path, tensor)
    return TensorFiles(places)


def read_layout(path: Path) -> SafetensorsLayout:
    """Return where the tensors of a file lie.

    Raises:
        InvalidInput: the file is malformed.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        prefix = file.read(PREFIX_SIZE)
        end = header_size(prefix, file_size=size)
        header = prefix + file.read(end - PREFIX_SIZE)
    return parse_header(header, file_size=size)


def open_adapter(label: str, folder: Path, manifest: Manifest | None = None) -> AdapterTensors:
    """Return the adapter in a folder; with its manifest, tensors' digests are known.

    Raises:
        InvalidInput: `adapter-config-missing`, or a file is malformed.
    """
    from plait.algebra.adapter_tensors import AdapterTensors

    path = folder / FILE_NAME
    if not path.is_file():
        raise InvalidInput(
            "adapter-config-missing",
            f"{label} has no {FILE_NAME}: it is no adapter that deltas can be read from.",
        )
    files = open_tensors(folder)
    return AdapterTensors(
        label=label,
        config=parse_adapter_config(path.read_bytes()),
        kinds=_list_kinds(files),
        read=files.read,
        read_bytes=files.read_bytes,
        digests={} if manifest is None else _list_digests(manifest),
    )


def open_base(folder: Path) -> BaseTensors:
    """Return the weights of the base model in a folder.

    Raises:
        InvalidInput: `base-unknown`, it holds no safetensors; `base-mismatch`, they are quantised;
            or a file is malformed.
    """
    from plait.algebra.adapter_tensors import BaseTensors

    files = open_tensors(folder)
    if not files.places:
        raise InvalidInput(
            "base-unknown",
            f"{folder} holds no safetensors file: name the folder of the base model's weights.",
        )
    quantization = find_quantization(read_config(folder), files.places.keys())
    if quantization is not None:
        raise InvalidInput(
            "base-mismatch",
            f"{folder} holds weights quantised with {quantization.method}, which are codes and no "
            "numbers to compute with: name the folder of the original weights (plait base match "
            "finds them).",
        )
    return BaseTensors(label=str(folder), kinds=_list_kinds(files), read=files.read)


def read_config(folder: Path) -> dict[str, Any]:
    """Return the `config.json` of a model; empty where there is none that can be read."""
    try:
        held = json.loads((folder / "config.json").read_bytes())
    except (OSError, ValueError):
        return {}
    return held if isinstance(held, dict) else {}


def _list_kinds(files: TensorFiles) -> dict[str, TensorKind]:
    from plait.algebra.adapter_tensors import TensorKind

    return {
        name: TensorKind(tensor.dtype, tensor.shape) for name, (_, tensor) in files.places.items()
    }


def _list_digests(manifest: Manifest) -> dict[str, str]:
    return {
        tensor.name: tensor.sha256
        for file in manifest.files
        if file.tensors is not None and "/" not in file.path
        for tensor in file.tensors.entries
    }
