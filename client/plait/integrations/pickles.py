"""Converting pickled weights to safetensors, by torch's restricted unpickler.

`torch.load(weights_only=True)` builds tensors and plain containers only: a file that tries to run
code is refused. Tensors that share memory are written once each, since safetensors knows no
sharing; dtypes, shapes and values stay as they are.
"""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path
from typing import Any

from plait.describe import list_files
from plait.errors import AlreadyExists, InvalidInput, Unavailable
from plait.model.paths import FilePath, is_pickle


def convert_pickles(folder: Path, into: Path) -> list[FilePath]:
    """Write a copy of `folder` whose weights are safetensors; return the paths of those converted.

    The state that a trainer resumes from is left out, as in every version.

    Raises:
        InvalidInput: a pickle holds something other than named tensors.
        AlreadyExists: `into` holds something, or a converted file would replace another one.
        Unavailable: `extra-missing`, torch or safetensors is not installed.
    """
    if into.exists() and any(into.iterdir()):
        raise AlreadyExists("destination-exists", f"{into} is not empty: name another folder.")
    sources, _ = list_files(folder, allow_pickles=True)
    converted = []
    for path, source in sources.items():
        target = into / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if not is_pickle(path):
            shutil.copyfile(source, target)
            continue
        renamed = FilePath(str(Path(path).with_suffix(".safetensors").as_posix()))
        if renamed in sources:
            raise AlreadyExists(
                "destination-exists",
                f"Both {path} and {renamed} are there: remove the one that is out of date.",
            )
        _convert(path, source, into / renamed)
        converted.append(renamed)
    return converted


def _convert(path: FilePath, source: Path, target: Path) -> None:
    try:
        import torch
        from safetensors.torch import save_file
    except ImportError as error:
        raise Unavailable(
            "extra-missing",
            "Converting pickles needs torch and safetensors: pip install torch safetensors.",
        ) from error
    try:
        values: Any = torch.load(source, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise InvalidInput(
            "pickle-refused",
            f"{path} holds more than tensors, or is damaged: save the adapter again with PEFT's "
            "save_pretrained(..., safe_serialization=True).",
            path=path,
        ) from error
    if not isinstance(values, dict) or not all(
        isinstance(name, str) and isinstance(tensor, torch.Tensor)
        for name, tensor in values.items()
    ):
        raise InvalidInput(
            "pickle-refused",
            f"{path} is not a plain mapping of names to tensors, as PEFT writes it: save the "
            "adapter again as safetensors.",
            path=path,
        )
    tensors = {name: tensor.detach().clone().contiguous() for name, tensor in values.items()}
    save_file(tensors, target, metadata={"format": "pt"})
