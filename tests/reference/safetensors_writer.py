"""A writer of safetensors bytes that shares nothing with plait, and does not mind breaking rules.

`write` lays tensors out as they come; `assemble` joins any header to any data, so that a test can
say exactly what is wrong with its file. `read_by_library` is what the safetensors library makes
of it.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from safetensors import deserialize

Content = tuple[str, Sequence[int], bytes]
"""dtype, shape and the bytes of a tensor."""


def write(tensors: Mapping[str, Content], metadata: Mapping[str, str] | None = None) -> bytes:
    """Return a file that holds `tensors` one after the other."""
    header: dict[str, Any] = {} if metadata is None else {"__metadata__": dict(metadata)}
    position = 0
    for name, (dtype, shape, data) in tensors.items():
        header[name] = entry(dtype, shape, position, position + len(data))
        position += len(data)
    return assemble(header, b"".join(data for _, _, data in tensors.values()))


def entry(dtype: Any, shape: Any, begin: Any, end: Any) -> dict[str, Any]:
    """Return what a header says about one tensor."""
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def assemble(header: Any, data: bytes = b"", *, length: int | None = None) -> bytes:
    """Return prefix, header and data; `header` is written as JSON unless it is bytes already."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    claimed = len(text) if length is None else length
    return claimed.to_bytes(8, "little") + text + data


def read_by_library(file: bytes) -> dict[str, Content]:
    """Return the tensors that the safetensors library finds; raises its SafetensorError."""
    found: list[tuple[str, dict[str, Any]]] = deserialize(file)  # type: ignore[no-untyped-call]
    return {
        name: (tensor["dtype"], tuple(tensor["shape"]), bytes(tensor["data"]))
        for name, tensor in found
    }
