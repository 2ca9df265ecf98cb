"""Whole tensors that inputs bring along (`modules_to_save`, copies of embeddings): one for all.

Where every input that has one holds the same bytes, those are kept. Where they differ, the recipe
says what to do: refuse, take the first, or average by the inputs' weights in double precision.
Copies of the base's own weights (`base_layer.weight`) are treated alike.
"""

from __future__ import annotations

import numpy as np

from plait.algebra.composition import Composition, ModuleOutline
from plait.algebra.delta import Matrix
from plait.algebra.outcome import EncodedTensor
from plait.algebra.rounding import encode
from plait.errors import InvalidInput
from plait.model.recipe import SavedModules


def combine_saved(composition: Composition, outline: ModuleOutline) -> tuple[EncodedTensor, ...]:
    """Return a module's whole tensors.

    Raises:
        InvalidInput: `saved-modules-conflict`, inputs differ and the recipe refuses that, or they
            cannot be averaged.
    """
    return tuple(_combine(composition, outline, part) for part in outline.saved)


def _combine(composition: Composition, outline: ModuleOutline, part: str) -> EncodedTensor:
    holders = outline.saved[part]
    names = [composition.changes[index][outline.module].replacements[part] for index in holders]
    first, name = composition.inputs[holders[0]], names[0]
    kind = first.kinds[name]
    values = first.read(name)
    others = [
        composition.inputs[index].read(other)
        for index, other in zip(holders[1:], names[1:], strict=True)
        if not _is_known_equal(composition, holders[0], name, index, other)
    ]
    if all(np.array_equal(values, other) for other in others):
        return EncodedTensor(name, kind.dtype, kind.shape, first.read_bytes(name))
    choice = composition.recipe.saved_modules
    if choice is SavedModules.FIRST:
        return EncodedTensor(name, kind.dtype, kind.shape, first.read_bytes(name))
    labels = " and ".join(composition.inputs[index].label for index in holders)
    what = f"{outline.module}.{part}".removeprefix(".")
    if choice is SavedModules.REFUSE:
        raise InvalidInput(
            "saved-modules-conflict",
            f"{labels} each hold their own {what} (modules_to_save), and one module cannot be "
            "both: take the first input's (--saved-modules first) or the mean (--saved-modules "
            "average).",
            module=outline.module,
            part=part,
        )
    mean = _average(composition, outline, holders, names)
    if mean is None:
        raise InvalidInput(
            "saved-modules-conflict",
            f"{labels} hold {what} in different shapes, or their weights add up to zero, so that "
            "there is no mean: take the first input's (--saved-modules first).",
            module=outline.module,
            part=part,
        )
    return EncodedTensor(name, kind.dtype, kind.shape, encode(mean, kind.dtype))


def _is_known_equal(
    composition: Composition, first: int, name: str, index: int, other: str
) -> bool:
    digest = composition.inputs[first].digests.get(name)
    return digest is not None and composition.inputs[index].digests.get(other) == digest


def _average(
    composition: Composition, outline: ModuleOutline, holders: tuple[int, ...], names: list[str]
) -> Matrix | None:
    weights = composition.recipe.weights_at(outline.module)
    total = 0.0
    mean: Matrix | None = None
    for index, name in zip(holders, names, strict=True):
        values = composition.inputs[index].read(name).astype(np.float64)
        if mean is not None and mean.shape != values.shape:
            return None
        term = weights[index] * values
        mean = term if mean is None else mean + term
        total += weights[index]
    return None if mean is None or total == 0.0 else mean / total
