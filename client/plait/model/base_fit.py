"""Whether an adapter can belong to a base, by the names and shapes of their tensors alone.

An adapter's tensor tells one or both lengths of the weight that it changes: a LoRA's B factor has
as many rows as the weight, its A factor as many columns. A base that lacks a module, or has another
shape there, is not the adapter's; one that fits may be it, or another model of its architecture.

- Weights that are stored transposed (GPT-2's) fit either way round.
- A quantised base packs its weights, so that only the modules' names are compared.
- What changes no module, such as a prompt, tells nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from plait.model.adapter_keys import group_by_module
from plait.model.base_card import BaseCard

Shape = tuple[int, ...]

_ROWS = ("lora_B.", "lora_magnitude_vector", "vera_lambda_b", "hada_w1_a", "hada_w2_a")
"""Parts whose first length is the number of the weight's rows."""
_COLUMNS = ("lora_A.", "hada_w1_b", "hada_w2_b")
"""Parts whose second length is the number of the weight's columns."""
_EMBEDDING_ROWS = ("lora_embedding_A",)
"""(r, rows): an embedding's factors are the other way round."""
_EMBEDDING_COLUMNS = ("lora_embedding_B",)
"""(columns, r)."""
_WHOLE = ("weight", "bias", "base_layer.weight")
"""Copies of the base's own tensors, by the base's names."""


@dataclass(frozen=True, slots=True)
class Fit:
    """What was found by comparing an adapter with a base."""

    compared: int
    """Modules of the adapter; 0 where it tells nothing."""
    misfits: tuple[str, ...]
    """Why the base is not the adapter's, a sentence for each module that does not fit."""

    @property
    def is_possible(self) -> bool:
        """Whether the base may be the adapter's, and something speaks for it."""
        return self.compared > 0 and not self.misfits


def compare_shapes(adapter: Mapping[str, Shape], card: BaseCard) -> Fit:
    """Return how the shapes of an adapter's tensors, by their names, fit to a base.

    Raises:
        InvalidInput: two of the adapter's tensors mean the same part of one module.
    """
    shapes = {tensor.name: tensor.shape for tensor in card.tensors}
    shapes.update({name: shapes[target] for name, target in card.tied.items()})
    modules = {name.rpartition(".")[0] for name in shapes}
    compared = 0
    misfits: list[str] = []
    for module, parts in group_by_module(adapter).items():
        if not module:
            continue
        compared += 1
        if module not in modules:
            misfits.append(f"the base has no module {module}")
        elif card.quantization is None:
            told = {part: adapter[name] for part, name in parts.items()}
            misfits.extend(_compare_module(module, told, shapes))
    return Fit(compared, tuple(misfits))


def _compare_module(
    module: str, parts: Mapping[str, Shape], shapes: Mapping[str, Shape]
) -> Iterator[str]:
    for part in _WHOLE:
        name = f"{module}.{part.removeprefix('base_layer.')}"
        if part in parts and parts[part] != shapes.get(name):
            yield f"{name} has the shape {_write(shapes.get(name))}, not {_write(parts[part])}"
    weight = shapes.get(f"{module}.weight")
    if weight is None or len(weight) < 2:
        return
    rows, columns = _find_lengths(parts)
    is_one_way = rows in {None, weight[0]} and columns in {None, weight[1]}
    is_transposed = rows in {None, weight[1]} and columns in {None, weight[0]}
    if not (is_one_way or is_transposed):
        told = (rows or "any", columns or "any")
        yield f"{module}.weight has the shape {_write(weight)}, not [{told[0]},{told[1]}]"


def _find_lengths(parts: Mapping[str, Shape]) -> tuple[int | None, int | None]:
    """Return the rows and columns of the weight that a module's parts change, as far as told."""
    rows = columns = None
    for part, shape in parts.items():
        if part.startswith(_ROWS) and shape:
            rows = shape[0]
        elif part.startswith(_COLUMNS) and len(shape) > 1:
            columns = shape[1]
        elif part.startswith(_EMBEDDING_ROWS) and len(shape) > 1:
            rows = shape[1]
        elif part.startswith(_EMBEDDING_COLUMNS) and shape:
            columns = shape[0]
    return rows, columns


def _write(shape: Shape | None) -> str:
    return "none" if shape is None else f"[{','.join(map(str, shape))}]"
