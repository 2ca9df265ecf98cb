"""Whole tensors that inputs bring along (`modules_to_save`, copies of embeddings): one for all.

Where every input that has one holds the same bytes, those are kept. Where they differ, the recipe
says what to do: refuse, take the first, or average by the inputs' weights in double precision.
Copies of the base's own weights (`base_layer.weight`) are treated alike. All get the names that
PEFT looks for in a LoRA, whatever the family of the input called them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np

from plait.algebra.adapter_tensors import AdapterTensors
from plait.algebra.composition import COPY, Composition, ModuleOutline
from plait.algebra.delta import Matrix
from plait.algebra.families.reading import read_double, read_tensor
from plait.algebra.outcome import PEFT_PREFIX, EncodedTensor
from plait.algebra.rounding import DTYPES, encode
from plait.errors import InvalidInput
from plait.model.recipe import SavedModules

_Held: TypeAlias = tuple[AdapterTensors, str]
"""An input, and the name that it has for a tensor."""


def combine_saved(composition: Composition, outline: ModuleOutline) -> tuple[EncodedTensor, ...]:
    """Return a module's whole tensors.

    Raises:
        InvalidInput: `saved-modules-conflict`, inputs differ and the recipe refuses that, or they
            cannot be averaged.
    """
    return tuple(_combine(composition, outline, part) for part in outline.saved)


def _combine(composition: Composition, outline: ModuleOutline, part: str) -> EncodedTensor:
    holders = outline.saved[part]
    held = [(composition.inputs[i], _find_name(composition, i, outline, part)) for i in holders]
    first, name = held[0]
    kind = first.kinds[name]
    is_wrapped = outline.placement is not None and part == "bias"
    place = f"{PEFT_PREFIX}{outline.module}.{COPY if is_wrapped else ''}{part}"
    choice = composition.recipe.saved_modules
    if choice is SavedModules.FIRST:
        held = held[:1]
    if _are_equal(held, outline.module):
        return EncodedTensor(place, kind.dtype, kind.shape, first.read_bytes(name))
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
    weights = composition.recipe.weights_at(outline.module)
    mean: Matrix | None = None
    if kind.dtype in DTYPES:
        mean = _average(held, outline, [weights[index] for index in holders])
    if mean is None:
        raise InvalidInput(
            "saved-modules-conflict",
            f"{labels} hold {what} in different shapes or as {kind.dtype}, or their weights add up "
            "to zero, so that there is no mean: take the first input's (--saved-modules first).",
            module=outline.module,
            part=part,
        )
    return EncodedTensor(place, kind.dtype, kind.shape, encode(mean, kind.dtype, name=what))


def _find_name(composition: Composition, index: int, outline: ModuleOutline, part: str) -> str:
    """Return the name of an input's tensor."""
    replacements = composition.changes[index][outline.module].replacements
    return replacements[part] if part in replacements else replacements[f"{COPY}{part}"]


def _are_equal(held: Sequence[_Held], module: str) -> bool:
    """Tell whether all inputs that hold a tensor hold the same values; raises as `read_tensor`."""
    first, *others = held
    values = read_tensor(first[0], module, first[1])
    return all(
        _is_known_equal(first, other)
        or np.array_equal(values, read_tensor(other[0], module, other[1]))
        for other in others
    )


def _is_known_equal(one: _Held, other: _Held) -> bool:
    adapter, name = one
    digest = adapter.digests.get(name)
    return (
        digest is not None
        and other[0].digests.get(other[1]) == digest
        and other[0].kinds[other[1]] == adapter.kinds[name]
    )


def _average(
    held: Sequence[_Held], outline: ModuleOutline, weights: Sequence[float]
) -> Matrix | None:
    """Return the weighted mean, in the order of the inputs; None where there is none."""
    total = 0.0
    mean: Matrix | None = None
    for (adapter, name), weight in zip(held, weights, strict=True):
        values = read_double(adapter, outline.module, name)
        if mean is not None and mean.shape != values.shape:
            return None
        term = weight * values
        mean = term if mean is None else mean + term
        total += weight
    return None if mean is None or total == 0.0 else mean / total
