r"""The fingerprint of a base model: which weights an adapter was trained on, as one digest.

It is the sha256 of the UTF-8 lines

    <tensor name> <dtype> <shape> <sha256>\n

one for each tensor of all safetensors files directly in the folder, sorted as text. The dtype is
safetensors' own word (`BF16`), the shape is JSON without spaces (`[256,64]`, `[]` for a scalar),
the digest is that of the tensor's little-endian bytes. How the tensors are spread over files, and
the files' metadata, do not count: a model that was resharded keeps its fingerprint.
"""

from __future__ import annotations

import hashlib
import threading
from functools import partial
from pathlib import Path

from plait.describe import FileStamp, digest_source
from plait.errors import InvalidInput
from plait.model.ids import ObjectId
from plait.model.manifest import Tensor
from plait.model.paths import FilePath, is_safetensors
from plait.parallel import StopSign, run_parallel
from plait.progress import NO_PROGRESS, Progress


def fingerprint_base(folder: Path, *, progress: Progress = NO_PROGRESS) -> ObjectId:
    """Return the fingerprint of the model in `folder`; links are followed, as caches use them.

    Raises:
        InvalidInput: there are no safetensors, a name appears twice, or a file is malformed.
    """
    sources = sorted(path for path in folder.glob("*") if is_safetensors(path.name))
    if not sources:
        raise InvalidInput(
            "base-unknown",
            f"{folder} holds no safetensors file: name the folder of the base model's weights.",
        )
    resolved = {FilePath(path.name): path.resolve() for path in sources}
    stamps = {path: FileStamp.of(source.stat()) for path, source in resolved.items()}
    tensors: list[Tensor] = []
    lock = threading.Lock()

    def digest(path: FilePath, stop: StopSign) -> None:
        file = digest_source(path, resolved[path], stamps[path], stop=stop, progress=progress)
        with lock:
            tensors.extend(file.tensors.entries if file.tensors else ())

    progress.total(sum(stamp.size for stamp in stamps.values()), what="Fingerprinting")
    try:
        run_parallel([partial(digest, path) for path in resolved])
    finally:
        progress.finish()
    return fingerprint_tensors(tensors)


def fingerprint_tensors(tensors: list[Tensor]) -> ObjectId:
    """Return the fingerprint of a model with these tensors.

    Raises:
        InvalidInput: two have the same name.
    """
    names = [tensor.name for tensor in tensors]
    if len(set(names)) != len(names):
        twice = next(name for name in sorted(names) if names.count(name) > 1)
        raise InvalidInput(
            "base-unknown",
            f"Two files of the base hold a tensor {twice!r:.200}: does the folder hold two models?",
        )
    lines = sorted(
        f"{tensor.name} {tensor.dtype} {_write_shape(tensor.shape)} {tensor.sha256}\n"
        for tensor in tensors
    )
    return ObjectId(hashlib.sha256("".join(lines).encode()).hexdigest())


def _write_shape(shape: tuple[int, ...]) -> str:
    return f"[{','.join(map(str, shape))}]"
