"""How far two versions of an adapter are apart, module by module.

For modules of the LoRA kind the deltas D = gamma B A are compared, which is what the model sees:
factors that differ may well have the same product. It is never multiplied out, see
`plait.algebra.lora_factors`.

Everything else (magnitudes of DoRA, biases, whole tensors, families whose delta is no product of
two factors) is compared tensor by tensor, and named as such: it tells that something changed and
by how much, not what that does to the model.

Figures are for people: computed in double precision with BLAS and LAPACK, whose last digits
depend on the machine.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from plait.algebra.arrays import FloatArray
from plait.algebra.change import ONLY_NEW, ONLY_OLD, Change, NotCompared, compare_values
from plait.algebra.lora_factors import (
    Factors,
    find_factors,
    inner_product,
    is_adapted,
    norm,
    norm_of_difference,
)
from plait.errors import InvalidInput
from plait.model.adapter import AdapterConfig
from plait.model.adapter_keys import group_by_module

WHOLE_MODEL = "(the whole model)"
"""The name of what belongs to no module, such as a prompt."""

_Outcome: TypeAlias = Change | NotCompared


@dataclass(frozen=True, slots=True)
class DeltaSource:
    """One version of an adapter."""

    config: AdapterConfig
    names: Sequence[str]
    """Of all its tensors."""
    read: Callable[[str], FloatArray]
    """Returns a tensor's values, in float32 or float64."""
    digests: Mapping[str, str] = field(default_factory=dict)
    """Of tensors, where they are known: those that did not change need not be read."""


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


def compare_deltas(old: DeltaSource, new: DeltaSource) -> DeltaComparison:
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


def _compare_modules(old: DeltaSource, new: DeltaSource) -> tuple[list[_Outcome], set[str]]:
    """Return what became of each delta, and the names of the tensors that they account for."""
    old_modules, new_modules = group_by_module(old.names), group_by_module(new.names)
    outcomes: list[_Outcome] = []
    factors: set[str] = set()
    for module in old_modules.keys() | new_modules.keys():
        old_parts, new_parts = old_modules.get(module, {}), new_modules.get(module, {})
        if not is_adapted([*old_parts, *new_parts]):
            continue
        before, after = _find(old, module, old_parts), _find(new, module, new_parts)
        outcome = _compare_module(module, before, after, note=_note(old.config, new.config))
        outcomes.append(outcome)
        for side in (before, after):
            if isinstance(outcome, Change) and isinstance(side, Factors):
                factors |= side.names
    return outcomes, factors


def _compare_tensors(old: DeltaSource, new: DeltaSource, factors: set[str]) -> list[_Outcome]:
    """Return what became of the tensors outside `factors` that changed."""
    old_names, new_names = frozenset(old.names), frozenset(new.names)
    outcomes = (
        _compare_tensor(
            name, old if name in old_names else None, new if name in new_names else None
        )
        for name in (old_names | new_names) - factors
    )
    return [outcome for outcome in outcomes if outcome is not None]


def _find(source: DeltaSource, module: str, parts: Mapping[str, str]) -> Factors | str | None:
    """Return a module's factors, the reason why it has none, or None where it is absent."""
    return find_factors(source.config, module, parts=parts, read=source.read) if parts else None


def _compare_module(
    module: str, before: Factors | str | None, after: Factors | str | None, *, note: str
) -> Change | NotCompared:
    if isinstance(before, str):
        return NotCompared(module or WHOLE_MODEL, before)
    if isinstance(after, str):
        return NotCompared(module or WHOLE_MODEL, after)
    old_norm = norm(before) if before is not None else 0.0
    new_norm = norm(after) if after is not None else 0.0
    if before is None or after is None:
        notes = (ONLY_NEW if before is None else ONLY_OLD, note)
        change_norm, product = old_norm + new_norm, 0.0
    elif before.shape != after.shape:
        return NotCompared(module, f"its delta was {before.shape} and is {after.shape}")
    else:
        notes = ("", note)
        change_norm, product = norm_of_difference(before, after), inner_product(before, after)
    if not all(map(math.isfinite, (old_norm, new_norm, change_norm, product))):
        return NotCompared(module, "its delta is too large to be measured")
    return Change(
        name=module,
        old_norm=old_norm,
        new_norm=new_norm,
        change_norm=change_norm,
        product=product,
        note="; ".join(filter(None, notes)),
    )


def _note(old: AdapterConfig, new: AdapterConfig) -> str:
    """Return what is left out when two deltas are compared by their factors."""
    if old.use_dora or new.use_dora:
        return "before DoRA rescales it"
    if old.base_changing_init != new.base_changing_init:
        return "relative to bases that the initialisation changed in different ways"
    return ""


def _compare_tensor(
    name: str, old: DeltaSource | None, new: DeltaSource | None
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
