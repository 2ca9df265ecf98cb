"""A recipe with its inputs, checked before anything is computed: which modules, of what forms.

What a recipe cannot do is found here, and named by input and module: families without a delta,
shapes that do not fit, ranks out of reach, inputs that change nothing, whole tensors that differ.
Every module is read once for it and forgotten again, so that memory stays that of one module.

An input that does not adapt a module counts as a delta of zero there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from plait.algebra.adapter_tensors import AdapterTensors, BaseTensors
from plait.algebra.delta import (
    DeltaOfShape,
    Dense,
    FunctionOfBase,
    LowRank,
    ModuleChange,
    ModuleKind,
    NoDelta,
    Placement,
)
from plait.algebra.families import read_changes
from plait.errors import InvalidInput
from plait.model.recipe import Allowance, Dtype, Recipe

DTYPES = frozenset({"F32", "F16", "BF16"})
"""What an outcome may be rounded to."""
WHOLE_MODEL = "the whole model"
COPY = "base_layer."
"""Begins the parts of the module that an adapter is wrapped around, as PEFT names them."""
_COPIED_WEIGHT = f"{COPY}weight"
"""Beside a delta: the weight that the delta belongs to, which does not stand in for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleOutline:
    """What is known about a module before it is computed."""

    module: str
    present: tuple[int, ...]
    """The inputs that have a delta here."""
    placement: Placement | None
    """None where no input has a delta."""
    largest_rank: int
    """Of the inputs' own."""
    rank_bound: int
    """The highest rank that the outcome's delta can have."""
    saved: Mapping[str, tuple[int, ...]]
    """Whole tensors: by part, the inputs that have one."""
    has_bias: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Composition:
    """A recipe that can be carried out."""

    recipe: Recipe
    inputs: tuple[AdapterTensors, ...]
    changes: tuple[Mapping[str, ModuleChange], ...]
    """By input, then by module; a module's tensors are read when it is asked for."""
    base: BaseTensors | None
    modules: tuple[ModuleOutline, ...]
    """Sorted by module."""
    dtype: str
    """That factors are rounded to."""

    @property
    def has_bias(self) -> bool:
        """Whether any module gets a bias: then PEFT expects one in every linear module."""
        return any(outline.has_bias for outline in self.modules)


def plan_composition(
    recipe: Recipe, inputs: Sequence[AdapterTensors], base: BaseTensors | None = None
) -> Composition:
    """Return the recipe with its inputs, in the recipe's order, once all of it can be carried out.

    Raises:
        InvalidInput: `delta-missing`, `delta-zero`, `shape-mismatch`, `rank-invalid`,
            `tensor-not-finite`, or whatever is wrong with an input's tensors; the message names
            input and module.
    """
    _verify_base(recipe, base)
    changes = tuple(read_changes(adapter) for adapter in inputs)
    for index, change in enumerate(changes):
        recipe.verify_patterns(index, sorted(change))
    names = sorted({name for change in changes for name in change})
    zero = [True] * len(inputs)
    dtypes: set[str] = set()
    modules = []
    is_exact = True
    for name in names:
        here = [change.get(name) for change in changes]
        for index, found in enumerate(here):
            if found is not None:
                zero[index] = zero[index] and _is_zero(found)
                dtypes |= {inputs[index].kinds[tensor].dtype for tensor in found.names}
        is_exact = is_exact and _is_scaled_exactly(recipe.weights_at(name), here)
        modules.append(_outline(name, here, inputs, base=base))
    if recipe.method == "concat" and not is_exact:
        dtypes.add(Dtype.F32.value)
    composition = Composition(
        recipe=recipe,
        inputs=tuple(inputs),
        changes=changes,
        base=base,
        modules=tuple(modules),
        dtype=_choose_dtype(recipe, dtypes),
    )
    _verify_any_delta(composition)
    _verify_biases(composition)
    _verify_not_zero(composition, zero)
    _verify_rank(composition)
    return composition


@dataclass(frozen=True, slots=True)
class _Form:
    """What is known of a delta before it is computed."""

    shape: tuple[int, int]
    placement: Placement
    rank: int
    is_low_rank: bool
    is_flat: bool = False
    """It may belong to a convolution: its tensors span all of a kernel and do not tell which."""


def _outline(
    module: str,
    changes: Sequence[ModuleChange | None],
    inputs: Sequence[AdapterTensors],
    *,
    base: BaseTensors | None,
) -> ModuleOutline:
    forms = {
        index: _find_form(inputs[index].label, change, base)
        for index, change in enumerate(changes)
        if change is not None and change.delta is not None
    }
    forms = _share_kernel(forms)
    _verify_fit(module, forms, inputs)
    saved: dict[str, tuple[int, ...]] = {}
    for index, change in enumerate(changes):
        for part in change.replacements if change is not None else ():
            # A bias is the base's own with or without an adapter around it.
            kind = part if part == _COPIED_WEIGHT else part.removeprefix(COPY)
            saved[kind] = (*saved.get(kind, ()), index)
    first = next(iter(forms.values()), None)
    return ModuleOutline(
        module=module,
        present=tuple(forms),
        placement=None if first is None else first.placement,
        largest_rank=max((form.rank for form in forms.values()), default=0),
        rank_bound=_bound_rank(list(forms.values())),
        saved=dict(sorted(saved.items())),
        has_bias=any(change is not None and _changes_bias(change, base) for change in changes),
    )


def _find_form(label: str, change: ModuleChange, base: BaseTensors | None) -> _Form:
    """Return the form of an input's delta.

    Raises:
        InvalidInput: `delta-missing`, there is none; `base-mismatch`.
    """
    delta, module = change.delta, change.module
    if delta is None or isinstance(delta, NoDelta):
        reason = "it is saved whole" if delta is None else delta.reason
        raise InvalidInput(
            "delta-missing",
            f"{label} has no delta in {module or WHOLE_MODEL}: {reason}. Leave it out, or list it "
            "in a stack, which a server applies as it is (method: stack).",
            input=label,
            module=module,
        )
    if isinstance(delta, LowRank):
        return _Form(delta.shape, delta.placement, delta.rank, is_low_rank=True)
    if isinstance(delta, Dense):
        return _find_dense_form(module, delta, base)
    if base is None:
        raise InvalidInput(
            "delta-missing",
            f"What {label} does to {module} depends on the base's weight: name the folder of the "
            "base model (--base-dir DIR).",
            input=label,
            module=module,
        )
    stored = base.shape_of(module)
    if len(stored) < 2:
        raise InvalidInput(
            "shape-mismatch",
            f"{label} changes {module} as a matrix, and the base's weight has the shape "
            f"{list(stored)}: name the folder of the model that it was trained on.",
            input=label,
            module=module,
        )
    placement = delta.placement
    if len(stored) > 2 and placement.kind is not ModuleKind.CONV:
        placement = Placement(ModuleKind.CONV, kernel=stored[2:])
    rows, columns = stored[0], math.prod(stored[1:])
    shape = (columns, rows) if placement.is_transposed else (rows, columns)
    if isinstance(delta, DeltaOfShape):
        given = delta.given(shape)
        return _Form(shape, placement, given.rank, isinstance(given, LowRank))
    return _Form(shape, placement, delta.rank, is_low_rank=False)


def _find_dense_form(module: str, delta: Dense, base: BaseTensors | None) -> _Form:
    """Return the form of a dense delta, with the kernel that the base's weight has.

    LoHa and LoKr flatten convolutions. Where neither the base nor another input tells the kernel,
    the delta counts as a linear module's; if it was none, PEFT refuses the outcome by its shapes.
    """
    is_flat = delta.placement == Placement()
    kind = None if base is None else base.kinds.get(f"{module}.weight")
    placement = delta.placement
    if is_flat and kind is not None and kind.shape:
        is_flat = False
        if delta.shape == (kind.shape[0], math.prod(kind.shape[1:])) and len(kind.shape) > 2:
            placement = Placement(ModuleKind.CONV, kernel=kind.shape[2:])
    return _Form(delta.shape, placement, delta.rank, is_low_rank=False, is_flat=is_flat)


def _share_kernel(forms: Mapping[int, _Form]) -> dict[int, _Form]:
    """Return the forms, the flat ones placed as the convolution that another input tells of."""
    known = next((form for form in forms.values() if form.placement.kind is ModuleKind.CONV), None)
    return {
        index: replace(form, placement=known.placement)
        if known is not None and form.is_flat and form.shape == known.shape
        else form
        for index, form in forms.items()
    }


def _changes_bias(change: ModuleChange, base: BaseTensors | None) -> bool:
    if change.bias is not None:
        return True
    delta = change.delta
    return (
        base is not None
        and isinstance(delta, FunctionOfBase)
        and delta.apply_to_bias is not None
        and base.has_bias(change.module)
    )


def _verify_fit(module: str, forms: Mapping[int, _Form], inputs: Sequence[AdapterTensors]) -> None:
    """Check that all deltas of a module belong to the same weight."""
    if not forms:
        return
    first = next(iter(forms))
    one = forms[first]
    for index, other in forms.items():
        if other.shape != one.shape or other.placement != one.placement:
            raise InvalidInput(
                "shape-mismatch",
                f"{inputs[first].label} changes {module} as a {_describe(one)} and "
                f"{inputs[index].label} as a {_describe(other)}: they do not belong to the same "
                "base.",
                module=module,
            )


def _describe(form: _Form) -> str:
    """Return what a delta belongs to, as `conv with a kernel of (3, 3) of (16, 36)`."""
    placement = form.placement
    kernel = f" with a kernel of {placement.kernel}" if placement.kernel else ""
    order = ", stored as (in, out)" if placement.fan_in_fan_out else ""
    return f"{placement.kind}{kernel} of {form.shape}{order}"


def _bound_rank(forms: Sequence[_Form]) -> int:
    if not forms:
        return 0
    smallest = min(forms[0].shape)
    if all(form.is_low_rank for form in forms):
        return min(smallest, sum(form.rank for form in forms))
    return smallest


def _is_zero(change: ModuleChange) -> bool:
    """Tell whether an input changes nothing in a module, as far as its tensors alone tell."""
    if change.replacements:
        return False
    if change.bias is not None and bool(np.any(change.bias)):
        return False
    if isinstance(change.delta, LowRank):
        return not (np.any(change.delta.B) and np.any(change.delta.A))
    return change.delta is None


def _is_scaled_exactly(weights: Sequence[float], changes: Sequence[ModuleChange | None]) -> bool:
    """Tell whether every factor of a B is a power of two, which rounds nothing in any dtype."""
    return all(
        abs(math.frexp(weight * change.delta.gamma)[0]) == 0.5
        for weight, change in zip(weights, changes, strict=True)
        if change is not None and isinstance(change.delta, LowRank)
    )


def _verify_base(recipe: Recipe, base: BaseTensors | None) -> None:
    if recipe.definition.needs_base and base is None:
        raise InvalidInput(
            "delta-missing",
            f"The method {recipe.method} works on whole weights: name the folder of the base model "
            "(--base-dir DIR).",
            method=recipe.method,
        )


def _verify_any_delta(composition: Composition) -> None:
    if not any(outline.present for outline in composition.modules):
        labels = ", ".join(adapter.label for adapter in composition.inputs)
        raise InvalidInput(
            "delta-missing",
            f"No input adds a delta to any module: {labels} hold whole tensors alone, which cannot "
            "be composed to a LoRA.",
        )
    for outline in composition.modules:
        if outline.present and "weight" in outline.saved:
            one = composition.inputs[outline.saved["weight"][0]].label
            other = composition.inputs[outline.present[0]].label
            raise InvalidInput(
                "saved-modules-conflict",
                f"{one} holds {outline.module} as a whole (modules_to_save) and {other} adds a "
                "delta to it: extract a LoRA from the first one, or leave one of them out.",
                module=outline.module,
            )


def _verify_biases(composition: Composition) -> None:
    """Check that PEFT, which wants a bias in all modules or in none, can have one in each."""
    if not composition.has_bias:
        return
    for outline in composition.modules:
        if outline.placement is not None and outline.placement.kind is ModuleKind.EMBEDDING:
            label = composition.inputs[outline.present[0]].label
            biased = next(other.module for other in composition.modules if other.has_bias)
            raise InvalidInput(
                "delta-missing",
                f"{label} adapts the embedding {outline.module}, and the bias of {biased} is "
                "adapted too (lora_bias): PEFT loads no LoRA that does both. Leave one of the "
                "inputs out, or list them in a stack (method: stack).",
                input=label,
                module=outline.module,
            )


def _verify_not_zero(composition: Composition, zero: Sequence[bool]) -> None:
    if Allowance.ZERO_DELTA in composition.recipe.allow:
        return
    for index, is_zero in enumerate(zero):
        if is_zero:
            label = composition.inputs[index].label
            module = next(iter(composition.changes[index]), None)
            reason = (
                "it holds no tensor"
                if module is None
                else f"its B is zero in {module} and in every other module, as before any training"
            )
            raise InvalidInput(
                "delta-zero",
                f"{label} changes nothing: {reason}. Leave it out, or let it pass "
                "(--allow zero-delta).",
                input=label,
                module=module,
            )


def _verify_rank(composition: Composition) -> None:
    recipe = composition.recipe
    rank = recipe.parameters.get("rank")
    if rank is None:
        if recipe.method == "resize" and "energy" not in recipe.parameters:
            raise InvalidInput(
                "rank-invalid", "Say to which size: a rank (--rank N) or an energy (--energy 0.99)."
            )
        return
    widest = max(composition.modules, key=lambda outline: outline.rank_bound)
    if int(rank) > widest.rank_bound:
        raise InvalidInput(
            "rank-invalid",
            f"The rank {rank} is above what the inputs can give: {widest.rank_bound} at most, in "
            f"{widest.module}. Ask for at most that.",
            rank=rank,
            limit=widest.rank_bound,
            module=widest.module,
        )


def _choose_dtype(recipe: Recipe, found: set[str]) -> str:
    """Return the dtype of the outcome: by default the one that all inputs' deltas share."""
    if recipe.dtype is not Dtype.AUTO:
        return recipe.dtype.value
    return next(iter(found)) if len(found) == 1 and found <= DTYPES else Dtype.F32.value
