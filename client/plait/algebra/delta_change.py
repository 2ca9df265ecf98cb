"""How far two versions of an adapter are apart, module by module.

Where a module's delta is a product of thin factors, D = gamma B A, the deltas are compared, which
is what the model sees: factors that differ may well have the same product. It is never multiplied
out, see `plait.algebra.low_rank_norms`. That DoRA goes on from such a product, or PiSSA from
another base, is said in a note.

Everything else (magnitudes of DoRA, biases, whole tensors, families whose delta is no product of
two factors) is compared tensor by tensor, and named as such: it tells that something changed and
by how much, not what that does to the model.

Figures are for people: computed in double precision with BLAS and LAPACK, whose last digits
depend on the machine.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from plait.algebra.adapter_tensors import AdapterTensors
from plait.algebra.change import ONLY_NEW, ONLY_OLD, Change, NotCompared, compare_values
from plait.algebra.delta import DeltaOfShape, FunctionOfBase, LowRank, ModuleChange, NoDelta
from plait.algebra.families import find_form, read_changes
from plait.algebra.low_rank_norms import (
    as_pair,
    inner_product,
    norm_of_difference,
    norm_of_product,
)
from plait.errors import InvalidInput
from plait.model.adapter import AdapterConfig
from plait.model.adapter_keys import split_tensor_name

WHOLE_MODEL = "(the whole model)"
"""The name of what belongs to no module, such as a prompt."""

_Outcome: TypeAlias = Change | NotCompared


@dataclass(frozen=True, slots=True)
class DeltaComparison:
    """How far two versions are apart."""

    modules: tuple[Change, ...]
    """Deltas, largest change first; those that did not change are among them."""
    total: Change
    """Of all deltas in `modules`, taken as one long vector."""
    tensors: tuple[Change, ...]
    """Tensors that changed and are no factors of a compared delta, largest change first."""
    not_compared: tuple[NotCompared, ...]
    """Modules, then tensors."""

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "modules": [change.to_json() for change in self.modules],
            "total": self.total.to_json(),
            "tensors": [change.to_json() for change in self.tensors],
            "not_compared": [
                {"name": item.name, "reason": item.reason} for item in self.not_compared
            ],
        }


@dataclass(frozen=True, slots=True)
class _Side:
    """What one version does to a module, as far as two versions can be compared by it."""

    product: LowRank | None
    """None: the module has no delta, but whole tensors."""
    names: frozenset[str] = frozenset()
    """Of the tensors that it was made of."""
    note: str = ""


def compare_deltas(old: AdapterTensors, new: AdapterTensors) -> DeltaComparison:
    """Return how far `new` is from `old`.

    Raises:
        InvalidInput: two tensors of one version have names that mean the same.
    """
    # What overflows is found by its result, and named as not compared.
    with np.errstate(over="ignore", invalid="ignore"):
        deltas, factors = _compare_modules(old, new)
        values = _compare_tensors(old, new, factors)
    modules, tensors = _largest_first(deltas), _largest_first(values)
    not_compared = [*_not_compared(deltas), *_not_compared(values)]
    return DeltaComparison(modules, _total(modules), tensors, tuple(not_compared))


def _compare_modules(old: AdapterTensors, new: AdapterTensors) -> tuple[list[_Outcome], set[str]]:
    """Return what became of each delta, and the names of the tensors that they account for."""
    old_changes, new_changes = read_changes(old), read_changes(new)
    note = _note(old.config, new.config)
    outcomes: list[_Outcome] = []
    factors: set[str] = set()
    for module in old_changes.keys() | new_changes.keys():
        before, after = _find(old, module, old_changes), _find(new, module, new_changes)
        if not (_is_adapted(before) or _is_adapted(after)):
            continue
        outcome = _compare_module(module, before, after, note=note)
        outcomes.append(outcome)
        for side in (before, after):
            if isinstance(outcome, Change) and isinstance(side, _Side):
                factors |= side.names
    return outcomes, factors


def _is_adapted(side: _Side | str | None) -> bool:
    """Tell whether a version does more to a module than to hold its tensors whole."""
    return side.product is not None if isinstance(side, _Side) else side is not None


def _compare_tensors(old: AdapterTensors, new: AdapterTensors, factors: set[str]) -> list[_Outcome]:
    """Return what became of the tensors outside `factors` that changed."""
    outcomes = (
        _compare_tensor(
            name, old if name in old.kinds else None, new if name in new.kinds else None
        )
        for name in (old.kinds.keys() | new.kinds.keys()) - factors
    )
    return [outcome for outcome in outcomes if outcome is not None]


def _find(
    adapter: AdapterTensors, module: str, changes: Mapping[str, ModuleChange]
) -> _Side | str | None:
    """Return what a module can be compared by, the reason why not, or None where it is absent."""
    if module not in changes:
        return None
    try:
        change = changes[module]
        delta, note = change.delta, ""
        if isinstance(delta, DeltaOfShape) and delta.largest is not None:
            delta, note = delta.given(delta.largest), "as if the module were the model's widest"
    except InvalidInput as error:
        return error.message
    if delta is None:
        return _Side(None)
    product = delta.product if isinstance(delta, FunctionOfBase | NoDelta) else delta
    if not isinstance(product, LowRank):
        family = adapter.config.family.name
        return (
            delta.reason
            if isinstance(delta, NoDelta)
            else f"{family} has no pair of factors whose product is the delta"
        )
    beside = find_form(adapter.config).beside
    names = frozenset(name for name in change.names if split_tensor_name(name).part not in beside)
    return _Side(product, names, note)


def _compare_module(
    module: str, before: _Side | str | None, after: _Side | str | None, *, note: str
) -> Change | NotCompared:
    for side in (before, after):
        if isinstance(side, str):
            return NotCompared(module or WHOLE_MODEL, side)
        if side is not None and side.product is None:
            return NotCompared(module, "it is saved whole in one of the versions")
    old = before.product if isinstance(before, _Side) else None
    new = after.product if isinstance(after, _Side) else None
    if old is not None and new is not None and old.shape != new.shape:
        return NotCompared(module, f"its delta was {old.shape} and is {new.shape}")
    old_norm, new_norm, change_norm, product = _measure(old, new)
    if not all(map(math.isfinite, (old_norm, new_norm, change_norm, product))):
        return NotCompared(module, "its delta is too large to be measured")
    only = ONLY_NEW if old is None else ONLY_OLD if new is None else ""
    own = {side.note: None for side in (before, after) if isinstance(side, _Side)}
    return Change(
        name=module,
        old_norm=old_norm,
        new_norm=new_norm,
        change_norm=change_norm,
        product=product,
        note="; ".join(filter(None, (only, *own, note))),
    )


def _measure(old: LowRank | None, new: LowRank | None) -> tuple[float, float, float, float]:
    """Return the norms of both and of the difference, and the inner product; absent is zero."""
    before = None if old is None else as_pair(old)
    after = None if new is None else as_pair(new)
    old_norm = 0.0 if before is None else norm_of_product(*before)
    new_norm = 0.0 if after is None else norm_of_product(*after)
    if before is None or after is None:
        return old_norm, new_norm, old_norm + new_norm, 0.0
    return old_norm, new_norm, norm_of_difference(before, after), inner_product(before, after)


def _note(old: AdapterConfig, new: AdapterConfig) -> str:
    """Return what is left out when two deltas are compared by their factors."""
    if old.use_dora or new.use_dora:
        return "before DoRA rescales it"
    if old.base_changing_init != new.base_changing_init:
        return "relative to bases that the initialisation changed in different ways"
    return ""


def _compare_tensor(
    name: str, old: AdapterTensors | None, new: AdapterTensors | None
) -> Change | NotCompared | None:
    """Compare plain values; None where they did not change. A version may lack the tensor."""
    if old and new and name in old.digests and old.digests[name] == new.digests.get(name):
        return None
    try:
        before = None if old is None else old.read(name)
        after = None if new is None else new.read(name)
    except InvalidInput as error:
        return NotCompared(name, error.message)
    return compare_values(name, before, after)


def _total(changes: Sequence[Change]) -> Change:
    return Change(
        name="",
        old_norm=math.hypot(*(change.old_norm for change in changes)),
        new_norm=math.hypot(*(change.new_norm for change in changes)),
        change_norm=math.hypot(*(change.change_norm for change in changes)),
        product=math.fsum(change.product for change in changes),
    )


def _largest_first(outcomes: Iterable[_Outcome]) -> tuple[Change, ...]:
    changes = [outcome for outcome in outcomes if isinstance(outcome, Change)]
    return tuple(sorted(changes, key=lambda change: (-change.change_norm, change.name)))


def _not_compared(outcomes: Iterable[_Outcome]) -> list[NotCompared]:
    return sorted(outcome for outcome in outcomes if isinstance(outcome, NotCompared))
