"""The module paths of a model, from a list that somebody wrote or from the model's own files."""

from __future__ import annotations

from pathlib import Path

from plait.adapter_folder import read_layout
from plait.errors import InvalidInput, TooLarge
from plait.model.key_layouts.forms import Component
from plait.model.paths import is_safetensors

LARGEST_LIST = 16_000_000
"""Bytes of a list of modules; SDXL's has 60,000."""


def read_module_list(path: Path) -> frozenset[str]:
    """Return the module paths in a text file, one a line; # begins a comment.

    Raises:
        InvalidInput: it is no UTF-8 text, or names nothing.
        TooLarge: it is larger than any such list.
    """
    if not path.is_file():
        raise InvalidInput("invalid-input", f"{path} is no file: name a list of modules.")
    with path.open("rb") as file:
        data = file.read(LARGEST_LIST + 1)
    if len(data) > LARGEST_LIST:
        raise TooLarge(
            "file-too-large",
            f"{path} has more than {LARGEST_LIST} bytes: is it a list of modules?",
            limit=LARGEST_LIST,
        )
    try:
        lines = data.decode().splitlines()
    except UnicodeDecodeError as error:
        raise InvalidInput(
            "invalid-input", f"{path} is no text: expected one module path a line."
        ) from error
    modules = frozenset(name for line in lines if (name := line.partition("#")[0].strip()))
    if not modules:
        raise InvalidInput("invalid-input", f"{path} names no module: expected one path a line.")
    return modules


def list_modules(folder: Path) -> frozenset[str]:
    """Return the module paths of a model, or of a pipeline with a folder for each component.

    Those of a pipeline have the component in front, as `unet.mid_block.attentions.0.proj_in`.

    Raises:
        InvalidInput: `base-unknown`, there is no safetensors file; or one is malformed.
    """
    modules = set(_list_in(folder))
    for component in Component:
        modules |= {f"{component}.{module}" for module in _list_in(folder / component)}
    if not modules:
        raise InvalidInput(
            "base-unknown",
            f"{folder} holds no safetensors file: name the folder of the base model's weights.",
        )
    return frozenset(modules)


def _list_in(folder: Path) -> set[str]:
    # Several files may hold the same names: pipelines come in two precisions side by side.
    return {
        tensor.name.rpartition(".")[0]
        for path in sorted(folder.glob("*"))
        if is_safetensors(path.name)
        for tensor in read_layout(path).tensors
    }
