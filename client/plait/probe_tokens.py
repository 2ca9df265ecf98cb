"""Tokens that a model is asked: of the repository, or drawn where it has none.

A repository brings its own in `probe_tokens.safetensors`: each tensor is a group of rows of token
ids (rows, length), of any integer dtype, and is named for what its text is. They serve as probes
and as evaluation: the loss of each group is a figure. A repository without the file gets drawn
tokens, the same on every machine for a vocabulary, of which no loss is told.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from plait.adapter_folder import TensorFiles, read_layout
from plait.errors import InvalidInput
from plait.model.ids import ObjectId, hash_bytes

FILE_NAME = "probe_tokens.safetensors"
MOST_TOKENS = 65_536
"""Of a file: a validator's time is not the publisher's to spend."""
MOST_GROUPS = 64
LONGEST_ROW = 8_192
_WIDTHS = {"I8": 1, "U8": 1, "I16": 2, "U16": 2, "I32": 4, "U32": 4, "I64": 8, "U64": 8}
_DRAWN_ROWS = 4
_DRAWN_LENGTH = 64

Rows = tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class ProbeTokens:
    """Rows of token ids, in groups."""

    digest: ObjectId
    """Of the file, or of how the tokens were drawn."""
    groups: Mapping[str, Rows]
    """By name, in order."""
    are_text: bool
    """Whether a loss means anything: drawn tokens are no text."""

    def list_rows(self) -> list[tuple[str, tuple[int, ...]]]:
        """Return all rows with their groups' names: the first of each group, the second ..."""
        longest = max(len(rows) for rows in self.groups.values())
        return [
            (name, rows[index])
            for index in range(longest)
            for name, rows in self.groups.items()
            if index < len(rows)
        ]

    @property
    def count(self) -> int:
        """How many tokens there are."""
        return sum(len(row) for rows in self.groups.values() for row in rows)


def find_probe_tokens(folder: Path) -> ProbeTokens | None:
    """Return the tokens in a version's folder, or None where it has none.

    Raises:
        InvalidInput: as `read_probe_tokens`.
    """
    path = folder / FILE_NAME
    return read_probe_tokens(path) if path.is_file() else None


def read_probe_tokens(path: Path) -> ProbeTokens:
    """Return the tokens of a file.

    Raises:
        InvalidInput: `invalid-input`, it holds no groups of token ids, or too many.
    """
    layout = read_layout(path)
    if not 1 <= len(layout.tensors) <= MOST_GROUPS:
        raise _invalid(path, f"it needs 1 to {MOST_GROUPS} tensors, and has {len(layout.tensors)}")
    total = 0
    for tensor in layout.tensors:
        if tensor.dtype not in _WIDTHS or len(tensor.shape) != 2:
            raise _invalid(
                path,
                f"{tensor.name!r:.200} is {tensor.dtype} of {list(tensor.shape)}, and token ids "
                "are integers of two dimensions, rows and length",
            )
        rows, length = tensor.shape
        if rows < 1 or not 2 <= length <= LONGEST_ROW:
            raise _invalid(path, f"rows of {tensor.name!r:.200} need 2 to {LONGEST_ROW} tokens")
        total += rows * length
    if total > MOST_TOKENS:
        raise _invalid(path, f"it has {total} tokens, and {MOST_TOKENS} are asked at most")
    files = TensorFiles({tensor.name: (path, tensor) for tensor in layout.tensors})
    return ProbeTokens(
        digest=hash_bytes(path.read_bytes()),
        groups={name: _read_rows(path, files, name) for name in sorted(files.places)},
        are_text=True,
    )


def draw_tokens(vocabulary: int) -> ProbeTokens:
    """Return tokens for a model with so many, the same on every machine."""
    from plait.algebra.counter_random import uniforms

    name = f"model-probe-v1 of {vocabulary} tokens"
    numbers = uniforms(0, name, 0, _DRAWN_ROWS * _DRAWN_LENGTH).tolist()
    tokens = [int(number * vocabulary) for number in numbers]
    starts = range(0, len(tokens), _DRAWN_LENGTH)
    rows = tuple(tuple(tokens[start : start + _DRAWN_LENGTH]) for start in starts)
    return ProbeTokens(hash_bytes(name.encode()), {"drawn": rows}, are_text=False)


def _read_rows(path: Path, files: TensorFiles, name: str) -> Rows:
    tensor, data = files.places[name][1], files.read_bytes(name)
    width, is_signed = _WIDTHS[tensor.dtype], tensor.dtype.startswith("I")
    tokens = [
        int.from_bytes(data[start : start + width], "little", signed=is_signed)
        for start in range(0, len(data), width)
    ]
    if min(tokens) < 0:
        raise _invalid(path, f"{name!r:.200} has a negative token")
    length = tensor.shape[1]
    return tuple(tuple(tokens[start : start + length]) for start in range(0, len(tokens), length))


def _invalid(path: Path, rule: str) -> InvalidInput:
    return InvalidInput("invalid-input", f"{path.name} cannot be used as probe tokens: {rule}.")
