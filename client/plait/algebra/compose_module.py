"""Carrying out a recipe in one module: from the inputs' deltas to a LoRA's encoded factors.

(1) read the inputs' deltas in the recipe's order; what is a function of the base is made dense;
(2) combine them, by what the method works on: coefficients, dense elements, or factors;
(3) cut the outcome to its rank, gamma inside B;
(4) combine biases in the same way, and whole tensors as the recipe says;
(5) round once to the outcome's dtype.

The bytes depend on the recipe and the inputs alone: fixed orders in double precision throughout.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from plait.algebra.composition import Composition, ModuleOutline
from plait.algebra.counter_random import uniforms
from plait.algebra.delta import (
    Dense,
    LowRank,
    Matrix,
    ModuleKind,
    Placement,
)
from plait.algebra.dense_delta import multiply_out
from plait.algebra.dense_svd import recompress_dense
from plait.algebra.families.resolve import orient, resolve, resolve_bias
from plait.algebra.gram import gram
from plait.algebra.low_rank_svd import recompress
from plait.algebra.methods import find_combination, find_elementwise, find_factorwise
from plait.algebra.methods.options import ElementwiseOptions
from plait.algebra.module_report import Cut, report_module
from plait.algebra.outcome import ComposedModule, encode_bias, encode_factors
from plait.algebra.saved_tensors import combine_saved
from plait.algebra.truncation import Recompressed
from plait.errors import InvalidInput
from plait.model.recipe import Recipe
from plait.model.recipe_methods import MethodKind

Known: TypeAlias = LowRank | Dense
"""A delta that needs nothing but itself."""

_KEEPS_FACTORS = frozenset({"concat", "negate", "peft_cat"})
"""Methods that stack factors as they are; `convert` does so where no rank is asked for."""


@dataclass(frozen=True, slots=True)
class _Inputs:
    """What the recipe's inputs do to one module, in the recipe's order."""

    deltas: tuple[Known | None, ...]
    """None where an input does not adapt the module."""
    biases: tuple[Matrix | None, ...]
    weights: tuple[float, ...]


def compose_module(
    composition: Composition, outline: ModuleOutline, *, measure: bool = True
) -> ComposedModule:
    """Return the outcome for one module; figures about it only with `measure`.

    Raises:
        InvalidInput: as `plan_composition`, and where the method has no outcome here.
    """
    saved = combine_saved(composition, outline)
    placement = outline.placement
    if placement is None:
        return ComposedModule(module=outline.module, tensors=saved)
    # (1)
    inputs = _read_inputs(composition, outline)
    # (2) to (4)
    kind = composition.recipe.definition.kind
    step = _COMBINE[kind]
    try:
        cut, bias = step(composition, outline, inputs)
    except InvalidInput as error:
        if "module" in error.details:
            raise
        message = f"In {outline.module}: {error.message}"
        raise InvalidInput(error.kind, message, **error.details, module=outline.module) from error
    # (5)
    dtype = composition.dtype
    tensors = [*saved, *encode_factors(outline.module, (cut.B, cut.A), placement, dtype)]
    if composition.has_bias and placement.kind is not ModuleKind.EMBEDDING:
        # PEFT expects a bias in every module once one has it.
        full = np.zeros(cut.B.shape[0]) if bias is None else bias
        tensors.append(encode_bias(outline.module, full, dtype))
    report = None
    if measure:
        report = report_module(outline.module, cut, inputs.deltas, inputs.weights, dtype)
    return ComposedModule(
        module=outline.module,
        tensors=tuple(sorted(tensors, key=lambda tensor: tensor.name)),
        placement=placement,
        rank=cut.A.shape[0],
        report=report,
    )


def read_delta(
    composition: Composition, index: int, outline: ModuleOutline
) -> tuple[Known | None, Matrix | None]:
    """Return an input's delta and bias in a module, made dense where the base decides about it."""
    placement = outline.placement
    if placement is None or index not in outline.present:
        return None, None
    change = composition.changes[index][outline.module]
    base = composition.base
    weight = None if base is None else partial(base.read_weight, outline.module)
    delta = resolve(composition.inputs[index].label, change, weight)
    return delta, resolve_bias(change, base)


def _read_inputs(composition: Composition, outline: ModuleOutline) -> _Inputs:
    read = [read_delta(composition, i, outline) for i in range(len(composition.inputs))]
    return _Inputs(
        tuple(delta for delta, _ in read),
        tuple(bias for _, bias in read),
        tuple(composition.recipe.weights_at(outline.module)),
    )


_Outcome: TypeAlias = tuple[Cut, Matrix | None]


def _combine_linearly(
    composition: Composition, outline: ModuleOutline, inputs: _Inputs
) -> _Outcome:
    """Return the sum of the deltas by the method's coefficients."""
    recipe = composition.recipe
    coefficients = _find_coefficients(composition, outline, inputs)
    terms = [
        (delta, factor)
        for delta, factor in zip(inputs.deltas, coefficients, strict=True)
        if delta is not None
    ]
    low = [(delta, factor) for delta, factor in terms if isinstance(delta, LowRank)]
    rank, energy = choose_size(recipe, outline)
    keeps_factors = recipe.method in _KEEPS_FACTORS or (
        recipe.method == "convert" and not {"rank", "energy"} & recipe.parameters.keys()
    )
    if len(low) == len(terms):
        if rank is not None:
            rank = min(rank, sum(delta.rank for delta, _ in low))
        cut = _stack(low) if keeps_factors else as_cut(recompress(low, rank=rank, energy=energy))
    elif recipe.method in _KEEPS_FACTORS:
        raise _lacks_factors(composition, outline, inputs)
    else:
        cut = as_cut(recompress_dense(_sum_dense(terms), rank=rank, energy=energy))
    return cut, _sum_vectors(inputs.biases, coefficients)


def _find_coefficients(
    composition: Composition, outline: ModuleOutline, inputs: _Inputs
) -> list[float]:
    """Return the factor of each input's delta."""
    recipe = composition.recipe
    method = find_combination(recipe.method)
    if recipe.definition.is_directional:
        return _find_directed(composition, outline, inputs)
    with naming(composition, outline, range(len(inputs.deltas))):
        return method(partial(_products, inputs), inputs.weights, recipe.parameters)


def _find_directed(
    composition: Composition, outline: ModuleOutline, inputs: _Inputs
) -> list[float]:
    """Return the factors where a method turns deltas: those without a direction are left out."""
    recipe = composition.recipe
    with naming(composition, outline, range(len(inputs.deltas))):
        products = _products(inputs)
    directed = [index for index in range(len(inputs.deltas)) if products[index, index] > 0.0]
    total = math.fsum(inputs.weights)
    if not total > 0.0:
        raise InvalidInput(
            "invalid-recipe",
            f"The weights of {recipe.method} add up to {total} in {outline.module}: they must be "
            "positive together.",
        )
    weights = [inputs.weights[index] for index in directed]
    found = [1.0] * len(directed)
    if len(directed) > 1:
        square = products[np.ix_(directed, directed)]
        with naming(composition, outline, directed):
            found = find_combination(recipe.method)(lambda: square, weights, recipe.parameters)
    # An input without a direction here counts as zero, with its share of the weights.
    share = math.fsum(weights) / total
    coefficients = [0.0] * len(inputs.deltas)
    for index, value in zip(directed, found, strict=True):
        coefficients[index] = share * value
    return coefficients


def _products(inputs: _Inputs) -> Matrix:
    """Return the inner products of all deltas (k, k): zero with an input that is absent here."""
    here = [index for index, delta in enumerate(inputs.deltas) if delta is not None]
    products = np.zeros((len(inputs.deltas), len(inputs.deltas)))
    products[np.ix_(here, here)] = gram(
        [
            delta if isinstance(delta, LowRank) else delta.compute()
            for delta in inputs.deltas
            if delta is not None
        ]
    )
    if not np.isfinite(products).all():
        raise InvalidInput(
            "tensor-not-finite",
            "A delta is not finite, or too large to be squared in float64: look at its factors.",
            inputs=[index for index in here if not math.isfinite(products[index, index])],
        )
    return products


def _combine_elements(
    composition: Composition, outline: ModuleOutline, inputs: _Inputs
) -> _Outcome:
    """Return what the method makes of the dense deltas, cut to a rank."""
    recipe = composition.recipe
    combine = find_elementwise(recipe.method)
    rows, columns = next(delta.shape for delta in inputs.deltas if delta is not None)
    stacked = np.zeros((len(inputs.deltas), rows, columns))
    for index, (place, delta) in enumerate(zip(stacked, inputs.deltas, strict=True)):
        if isinstance(delta, LowRank):
            multiply_out(delta, out=place)
        elif delta is not None:
            place[:] = delta.compute()
        _verify_finite(place, composition.inputs[index].label, outline.module)
    everybody = range(len(inputs.deltas))
    options = _make_options(composition, outline, "weight")
    with naming(composition, outline, everybody):
        total = combine(stacked, inputs.weights, options)
    rank, energy = choose_size(recipe, outline)
    cut = as_cut(recompress_dense(total, rank=rank, energy=energy))
    if all(bias is None for bias in inputs.biases):
        return cut, None
    vectors = np.zeros((len(inputs.biases), 1, rows))
    for row, bias in zip(vectors, inputs.biases, strict=True):
        if bias is not None:
            row[0] = bias
    options = _make_options(composition, outline, "bias")
    with naming(composition, outline, everybody):
        return cut, combine(vectors, inputs.weights, options).reshape(rows)


def _verify_finite(delta: Matrix, label: str, module: str) -> None:
    """Check a dense delta: methods that compare magnitudes would hide what is beyond float64."""
    # The sum tells in most cases, without an array of its own.
    if not math.isfinite(float(delta.sum())) and not np.isfinite(delta).all():
        raise InvalidInput(
            "tensor-not-finite",
            f"The delta of {label} in {module} is not finite: its factors are too large for "
            "float64 when they are multiplied.",
            input=label,
            module=module,
        )


def _combine_factors(composition: Composition, outline: ModuleOutline, inputs: _Inputs) -> _Outcome:
    """Return what the method makes of the factors."""
    recipe = composition.recipe
    rows, columns = next(delta.shape for delta in inputs.deltas if delta is not None)
    placement = outline.placement or Placement()
    absent = LowRank(
        B=np.zeros((rows, 0)), A=np.zeros((0, columns)), gamma=1.0, placement=placement
    )
    low = [
        absent if delta is None else delta
        for delta in inputs.deltas
        if delta is None or isinstance(delta, LowRank)
    ]
    if len(low) < len(inputs.deltas):
        raise _lacks_factors(composition, outline, inputs)
    options = _make_options(composition, outline, "weight")
    with naming(composition, outline, range(len(low))):
        B, A = find_factorwise(recipe.method)(low, inputs.weights, options)
    return Cut(B=B, A=A), _sum_vectors(inputs.biases, inputs.weights)


def _lacks_factors(
    composition: Composition, outline: ModuleOutline, inputs: _Inputs
) -> InvalidInput:
    """Return the error that a method works on factors and a delta has none."""
    index = next(
        index
        for index, delta in enumerate(inputs.deltas)
        if delta is not None and not isinstance(delta, LowRank)
    )
    label = composition.inputs[index].label
    return InvalidInput(
        "delta-missing",
        f"{composition.recipe.method} works on factors, and the delta of {label} in "
        f"{outline.module} has none: convert it first (`plait convert`), or use a method that "
        "works on deltas, as sum with a rank.",
        input=label,
        module=outline.module,
    )


@contextmanager
def naming(
    composition: Composition, outline: ModuleOutline, indices: Sequence[int]
) -> Generator[None]:
    """Give a method's error the names of the inputs to blame and of the module.

    Methods know numbers alone: `indices` are the recipe's, in the order in which one saw them.
    """
    try:
        yield
    except InvalidInput as error:
        blamed = error.details.get("inputs", [])
        labels = [composition.inputs[indices[place]].label for place in blamed]
        who = f"{' and '.join(labels)}, in" if labels else "In"
        raise InvalidInput(
            error.kind,
            f"{who} {outline.module}: {error.message}",
            inputs=labels,
            module=outline.module,
        ) from error


_COMBINE: dict[MethodKind, Callable[[Composition, ModuleOutline, _Inputs], _Outcome]] = {
    MethodKind.COMBINATION: _combine_linearly,
    MethodKind.ELEMENTWISE: _combine_elements,
    MethodKind.FACTORWISE: _combine_factors,
}


def _make_options(
    composition: Composition, outline: ModuleOutline, part: str
) -> ElementwiseOptions:
    """Return what a method is told about a module's `weight` or `bias`."""
    recipe = composition.recipe
    seed = int(recipe.parameters.get("seed", 0))
    placement = outline.placement or Placement()
    name = f"{outline.module}.{part}"

    def draw(stream: int, start: int, count: int) -> NDArray[np.float64]:
        return uniforms(seed, name, stream, count, start=start)

    base: Matrix | None = None
    if recipe.definition.needs_base and composition.base is not None:
        if part == "weight":
            base = orient(composition.base.read_weight(outline.module), placement)
        elif composition.base.has_bias(outline.module):
            base = composition.base.read(name).astype(np.float64).reshape(1, -1)
    return ElementwiseOptions(
        parameters=recipe.parameters,
        uniforms=draw,
        base=base,
        is_transposed=placement.is_transposed,
    )


def choose_size(recipe: Recipe, outline: ModuleOutline) -> tuple[int | None, float | None]:
    """Return the rank or the energy that a module is cut to."""
    energy = recipe.parameters.get("energy")
    if energy is not None:
        return None, float(energy)
    rank = recipe.parameters.get("rank")
    wanted = outline.largest_rank if rank is None else int(rank)
    return min(wanted, outline.rank_bound), None


def _stack(terms: Sequence[tuple[LowRank, float]]) -> Cut:
    """Return the sum exactly, but for the product of each B with its factor."""
    B = np.concatenate(
        [(factor * delta.gamma) * delta.B.astype(np.float64) for delta, factor in terms], axis=1
    )  # (out, r1 + r2 + ...)
    A = np.concatenate([delta.A.astype(np.float64) for delta, _ in terms])  # (r1 + r2 + ..., in)
    return Cut(B=B, A=A)


def _sum_dense(terms: Sequence[tuple[Known, float]]) -> Matrix:
    total: Matrix | None = None
    for delta, factor in terms:
        term = (
            multiply_out(delta, factor) if isinstance(delta, LowRank) else factor * delta.compute()
        )
        total = term if total is None else total + term
    if total is None:
        raise AssertionError("a module that is computed has a delta")
    return total


def _sum_vectors(vectors: Sequence[Matrix | None], factors: Sequence[float]) -> Matrix | None:
    total: Matrix | None = None
    for vector, factor in zip(vectors, factors, strict=True):
        if vector is not None:
            term = factor * vector
            total = term if total is None else total + term
    return total


def as_cut(found: Recompressed) -> Cut:
    """Return what was cut to a rank, with the part that the rank keeps."""
    whole = found.kept_energy + found.discarded_energy
    return Cut(
        B=found.B,
        A=found.A,
        kept=1.0 if whole == 0.0 else found.kept_energy / whole,
        is_tied=found.is_tied,
    )
