"""A quantised base in a folder, opened as the model that its codes stand for.

The files stay as they are; weights are dequantised while they are read, block by block, so that
memory is that of a block and of one weight's scales. `plait.algebra.quantised` does the arithmetic.

A quantised base is a base of its own, with the fingerprint of its stored tensors. Whoever wants
the dequantised weights has to ask for them: they are other numbers than those that the base was
quantised from, and no digest of the one says anything about the other.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plait.adapter_folder import TensorFiles, open_tensors, read_config, read_layout
from plait.errors import InvalidInput
from plait.model.quant_state import DTYPES, LARGEST_STATE, parse_quant_state
from plait.model.quantization import Quantization, QuantizedWeight, Scheme, find_quantization
from plait.model.safetensors_layout import TensorRange, build_header, tensor_size

if TYPE_CHECKING:
    from plait.algebra.adapter_tensors import BaseTensors
    from plait.algebra.arrays import FloatArray
    from plait.algebra.quantised.dequantiser import Dequantiser

_CONFIG = "config.json"
_INDEX = ".safetensors.index.json"
_DTYPES_OF_PARTS = {
    "state": {"U8"},
    "absmax": {"F32", "U8"},
    "quant_map": {"F32"},
    "nested_absmax": {"F32"},
    "nested_quant_map": {"F32"},
    "SCB": {"F32"},
    "weight_format": {"U8"},
}
"""Codes of 4 bits may be stored as any dtype of whole bytes (`bnb_4bit_quant_storage`)."""


def read_quantization(folder: Path) -> Quantization | None:
    """Return how the base in a folder is quantised; None: it is not.

    Raises:
        InvalidInput: a safetensors file is malformed.
    """
    return find_quantization(read_config(folder), open_tensors(folder).places.keys())


def open_weights(folder: Path, *, dequantise: bool = False) -> TensorFiles | DequantisedFiles:
    """Return a base's tensors to merge into: as they are stored, or dequantised where asked for.

    Raises:
        InvalidInput: `not-mergeable`, the base is quantised, and nobody asked for dequantised
            weights, or they cannot be had; or a file is malformed.
    """
    files = open_tensors(folder)
    config = read_config(folder)
    quantization = find_quantization(config, files.places.keys())
    if quantization is None:
        return files
    kinds = f" ({', '.join(quantization.schemes)})" if quantization.schemes else ""
    about = f"{folder} holds weights quantised with {quantization.method}{kinds}"
    if quantization.obstacle is not None:
        raise _refuse(
            f"{about}, and these cannot be merged into: {quantization.obstacle}. Name the folder "
            "of the original weights (plait base match finds them)."
        )
    if not dequantise:
        raise _refuse(
            f"{about}: name the folder of the original weights (plait base match finds them), or "
            "merge into the dequantised ones with --dequantise, which gives other digests."
        )
    return DequantisedFiles(folder, files, quantization, _read_dtype(config))


class DequantisedFiles:
    """The tensors of a quantised base, by name, as its dequantised model has them.

    It reads as `TensorFiles` does. Any thread may use it.
    """

    def __init__(
        self, folder: Path, stored: TensorFiles, quantization: Quantization, dtype: str
    ) -> None:
        """Lay out the model; `dtype` is its own, for schemes that do not keep the weights'.

        Raises:
            InvalidInput: `not-mergeable`, a weight's parts contradict each other.
        """
        self.quantization = quantization
        self._folder = folder
        self._stored = stored
        self._dtype = dtype
        self._files: dict[Path, _File] = {}
        places: dict[str, tuple[Path, TensorRange]] = {}
        for path in dict.fromkeys(path for path, _ in stored.places.values()):
            self._files[path] = file = self._lay_out(path)
            places |= {tensor.name: (path, tensor) for tensor in file.tensors}
        self.places: Mapping[str, tuple[Path, TensorRange]] = places
        """Of each tensor in a dequantised model, whose files have the names of the base's."""

    @property
    def dequantised(self) -> frozenset[str]:
        """The tensors that are stored as codes, whose digests are those of the codes."""
        return frozenset(self.quantization.weights)

    @property
    def headers(self) -> Mapping[Path, bytes]:
        """The headers of a dequantised model's files."""
        return {path: file.header for path, file in self._files.items()}

    def read_blocks(self, name: str, size: int) -> Generator[tuple[int, memoryview]]:
        """Yield a tensor's bytes in blocks of `size`, a multiple of 4, each with its place.

        Raises:
            InvalidInput: `file-changed`, `not-mergeable`, `tensor-not-finite`.
        """
        weight = self.quantization.weights.get(name)
        if weight is None:
            yield from self._stored.read_blocks(name, size)
            return
        from plait.algebra.quantised.dequantiser import narrow

        opened = self._open(weight)
        total = self.places[name][1].size
        width = tensor_size(opened.dtype, (1,))
        path, codes = self._stored.places[weight.parts["codes"]]
        with path.open("rb") as file:
            for offset in range(0, total, size):
                first, count = offset // width, min(size, total - offset) // width
                place, length = opened.find_codes(first, count)
                file.seek(codes.offset + place)
                data = file.read(length)
                if len(data) != length:
                    raise InvalidInput("file-changed", f"{path} became shorter while it was read.")
                values = opened.dequantise(memoryview(data), first, count)
                yield offset, memoryview(narrow(values, opened.dtype))

    def read_bytes(self, name: str) -> bytes:
        """Return a tensor's bytes; raises as `read_blocks`."""
        if name not in self.quantization.weights:
            return self._stored.read_bytes(name)
        return b"".join(bytes(block) for _, block in self.read_blocks(name, 1 << 20))

    def read(self, name: str) -> FloatArray:
        """Return a tensor's values; raises as `read_blocks`, and for dtypes without numbers."""
        from plait.algebra.arrays import decode_for_people

        tensor = self.places[name][1]
        return decode_for_people(self.read_bytes(name), tensor.dtype, tensor.shape)

    def as_base(self) -> BaseTensors:
        """Return the dequantised model as the algebra sees a base."""
        from plait.algebra.adapter_tensors import BaseTensors, TensorKind

        kinds = {
            name: TensorKind(item.dtype, item.shape) for name, (_, item) in self.places.items()
        }
        return BaseTensors(label=str(self._folder), kinds=kinds, read=self.read)

    def rewrite_documents(self) -> dict[str, bytes]:
        """Return what a dequantised model has in place of the base's config.json and index."""
        written: dict[str, bytes] = {}
        config = read_config(self._folder)
        if config:
            config.pop("quantization_config", None)
            written[_CONFIG] = _write_json(config)
        sizes = sum(tensor.size for _, tensor in self.places.values())
        files = {name: path.name for name, (path, _) in sorted(self.places.items())}
        for index in self._folder.glob(f"*{_INDEX}"):
            document = {"metadata": {"total_size": sizes}, "weight_map": files}
            written[index.name] = _write_json(document)
        return written

    def _lay_out(self, path: Path) -> _File:
        """Return one file of the dequantised model."""
        layout = read_layout(path)
        hidden = self.quantization.stored - self.dequantised
        tensors = [self._describe(item) for item in layout.tensors if item.name not in hidden]
        header, placed = build_header(tensors, layout.metadata)
        return _File(header, placed)

    def _describe(self, stored: TensorRange) -> TensorRange:
        """Return what a tensor is once it is dequantised; its place is found later."""
        weight = self.quantization.weights.get(stored.name)
        if weight is None:
            return stored
        for part, name in weight.parts.items():
            self._verify_part(weight, part, name)
        dtype, shape = self._dtype, stored.shape
        if weight.scheme is not Scheme.INT8:
            state = parse_quant_state(weight, self._stored.read_bytes(weight.parts["state"]))
            dtype, shape = state.dtype, state.shape
        return TensorRange(stored.name, dtype, shape, 0, tensor_size(dtype, shape))

    def _verify_part(self, weight: QuantizedWeight, part: str, name: str) -> None:
        tensor = self._stored.places[name][1]
        if part == "codes":
            is_known = weight.scheme is not Scheme.INT8 or tensor.dtype == "I8"
        else:
            is_known = tensor.dtype in _DTYPES_OF_PARTS[part]
        if not is_known or (part == "state" and tensor.size > LARGEST_STATE):
            raise _refuse(
                f"The quantised weight {weight.name} in {self._folder} cannot be dequantised: "
                f"{name} is of {tensor.dtype}, {tensor.size} bytes, which bitsandbytes does not "
                "write. Name the folder of the original weights."
            )

    def _open(self, weight: QuantizedWeight) -> Dequantiser:
        """Read a weight's scales."""
        from plait.algebra.quantised.four_bit import open_4bit
        from plait.algebra.quantised.int8 import open_int8

        codes = self._stored.places[weight.parts["codes"]][1]
        parts = {
            part: self._stored.read_bytes(name)
            for part, name in weight.parts.items()
            if part != "codes"
        }
        if weight.scheme is Scheme.INT8:
            return open_int8(weight, parts, codes.shape, self._dtype)
        return open_4bit(weight, parts, codes.size)


@dataclass(frozen=True, slots=True)
class _File:
    """A safetensors file of the dequantised model."""

    header: bytes
    tensors: tuple[TensorRange, ...]


def _refuse(message: str) -> InvalidInput:
    return InvalidInput("not-mergeable", message)


def _read_dtype(config: Mapping[str, Any]) -> str:
    """Return a model's dtype; F32, which rounds no further, where its configuration tells none."""
    inner = config.get("text_config")
    for held in (config, inner if isinstance(inner, dict) else {}):
        word = held.get("dtype", held.get("torch_dtype"))
        if isinstance(word, str) and word.removeprefix("torch.") in DTYPES:
            return DTYPES[word.removeprefix("torch.")]
    return "F32"


def _write_json(document: Mapping[str, Any]) -> bytes:
    return (json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()
