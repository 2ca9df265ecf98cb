"""Which tensors of a base several adapters change, and by what terms: planned before any merge.

Everything that cannot be merged is found here, and named by adapter and module: families without a
written definition, modules that the base lacks, shapes that do not fit, tied weights, whole tensors
that disagree. Each module's tensors are read for it and forgotten again; `TensorMerge.read_terms`
reads them once more when the tensor's turn comes, so that memory is that of one tensor.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from plait.algebra.adapter_tensors import AdapterTensors, BaseTensors
from plait.algebra.delta import Dense, LowRank, Matrix, ModuleChange, NoDelta
from plait.algebra.dense_delta import multiply_out
from plait.algebra.exact_merge import (
    DTYPES,
    DenseTerm,
    ProductTerm,
    Term,
    WeightKind,
    round_twice,
)
from plait.algebra.families import read_changes
from plait.algebra.families.reading import read_double
from plait.algebra.families.resolve import resolve, resolve_bias
from plait.errors import InvalidInput

DEFINED = frozenset({"LORA", "ADALORA", "VERA", "LOHA", "LOKR", "IA3", "LN_TUNING"})
"""PEFT's types whose merge `docs/merge-definitions.md` defines to the bit."""
_LARGEST = 2.0**512
"""Of a factor g: a sum of products with it stays below 2^1024, so that no NaN can come of it, whose
bits are each machine's own."""
_COPY = "base_layer."


@dataclass(frozen=True, slots=True)
class WeightedAdapter:
    """One adapter of a merge."""

    tensors: AdapterTensors
    weight: float
    """w, finite and not zero."""
    changes: Mapping[str, ModuleChange]
    """By module, read from the tensors when it is asked for."""

    @classmethod
    def open(cls, tensors: AdapterTensors, weight: float) -> WeightedAdapter:
        """Return an adapter whose names are sorted out once for all its modules.

        Raises:
            InvalidInput: as `read_changes`.
        """
        return cls(tensors, weight, read_changes(tensors))

    @property
    def label(self) -> str:
        """How messages name it."""
        return self.tensors.label


@dataclass(frozen=True, slots=True)
class TensorMerge:
    """What becomes of one tensor of the base."""

    kind: WeightKind
    module: str
    part: str
    """`weight` or `bias`."""
    adapters: tuple[WeightedAdapter, ...]
    """That add to it, in their order."""
    base: BaseTensors
    replacement: tuple[AdapterTensors, str] | None = None
    """An adapter and its whole tensor, which stands in for the base's."""

    def read_terms(self) -> list[Term]:
        """Return what is added, in the adapters' order, in the orientation of the stored weight."""
        return [
            _read_term(self, adapter, adapter.changes[self.module]) for adapter in self.adapters
        ]

    def read_replacement(self) -> bytes | None:
        """Return the bytes that stand in for the tensor, rounded to its dtype; None: none do."""
        if self.replacement is None:
            return None
        adapter, name = self.replacement
        if adapter.kinds[name].dtype == self.kind.dtype:
            return adapter.read_bytes(name)
        return round_twice(np.asarray(adapter.read(name), np.float64), self.kind.dtype)


@dataclass(frozen=True, slots=True)
class MergePlan:
    """A merge that can be carried out."""

    tensors: Mapping[str, TensorMerge]
    """By the base's names; a tensor that is not here keeps its bytes."""


@dataclass(slots=True)
class _Draft:
    """What is known of one tensor so far."""

    module: str
    part: str
    adding: list[WeightedAdapter] = field(default_factory=list)
    replacing: list[tuple[WeightedAdapter, str]] = field(default_factory=list)


def plan_merge(
    adapters: Sequence[WeightedAdapter], base: BaseTensors, tied: Mapping[str, str]
) -> MergePlan:
    """Return what a merge changes; `tied` are modules that share a weight, by module.

    Raises:
        InvalidInput: `not-mergeable`, `base-mismatch`, `shape-mismatch`, `tensor-not-finite`.
    """
    drafts: dict[str, _Draft] = {}
    for adapter in adapters:
        _verify_defined(adapter)
        changes = adapter.changes
        for module in changes:
            _verify_untied(adapter, module, tied)
            _draft(drafts, adapter, changes[module], base)
    return MergePlan({name: _finish(name, draft, base) for name, draft in sorted(drafts.items())})


def _verify_defined(adapter: WeightedAdapter) -> None:
    config = adapter.tensors.config
    if config.peft_type in DEFINED:
        return
    # A family that has no delta at all says why; of the others only the definition is missing.
    for change in adapter.changes.values():
        if isinstance(change.delta, NoDelta):
            raise _not_mergeable(adapter, change.module, change.delta.reason)
    raise _not_mergeable(
        adapter,
        None,
        f"{config.family.name} has no written definition of a merge that gives the same bits "
        "everywhere; `plait convert` makes a LoRA of it, which has",
    )


def _verify_untied(adapter: WeightedAdapter, module: str, tied: Mapping[str, str]) -> None:
    other = tied.get(module)
    if other is not None:
        raise _not_mergeable(
            adapter,
            module,
            f"the base ties its weight to that of {other}, so that a merge would change both, and "
            "the adapter changes one",
        )


def _draft(
    drafts: dict[str, _Draft], adapter: WeightedAdapter, change: ModuleChange, base: BaseTensors
) -> None:
    """Note what one module of an adapter does."""
    module = change.module
    if isinstance(change.delta, NoDelta):
        raise _not_mergeable(adapter, module, change.delta.reason)
    for written, tensor in change.replacements.items():
        part = written.removeprefix(_COPY)
        if part != written and not _is_trained(adapter, part):
            _verify_copy(adapter, change, base, part, tensor)
            continue
        draft = drafts.setdefault(f"{module}.{part}", _Draft(module, part))
        draft.replacing.append((adapter, tensor))
    if change.delta is not None:
        drafts.setdefault(f"{module}.weight", _Draft(module, "weight")).adding.append(adapter)
        base.shape_of(module)  # raises where the base lacks the module
    if resolve_bias(change, base) is not None:
        if not base.has_bias(module):
            raise _not_mergeable(
                adapter, module, "it adds to the module's bias, and the base's module has none"
            )
        drafts.setdefault(f"{module}.bias", _Draft(module, "bias")).adding.append(adapter)


def _is_trained(adapter: WeightedAdapter, part: str) -> bool:
    """Tell whether `base_layer.<part>` is no copy of the base's: PEFT saves trained biases so."""
    return part == "bias" and adapter.tensors.config.values.get("bias", "none") != "none"


def _verify_copy(
    adapter: WeightedAdapter, change: ModuleChange, base: BaseTensors, part: str, tensor: str
) -> None:
    """Check that an adapter's copy of the base's own tensor is one: its delta belongs to it."""
    name = f"{change.module}.{part}"
    kind, own = adapter.tensors.kinds[tensor], base.kinds.get(name)
    if own is not None and own.shape == kind.shape:
        kept, theirs = adapter.tensors.read(tensor), base.read(name)
        if np.array_equal(kept, theirs):
            return
    raise _not_mergeable(
        adapter,
        change.module,
        f"it brings a {part} of its own for its delta, which is not the base's {name}",
    )


def _finish(name: str, draft: _Draft, base: BaseTensors) -> TensorMerge:
    """Return what becomes of a tensor, once it is known that it can."""
    kind = base.kinds.get(name)
    first = (draft.adding or [adapter for adapter, _ in draft.replacing])[0]
    if kind is None:
        raise InvalidInput(
            "base-mismatch",
            f"{base.label} has no tensor {name}, which {first.label} changes: name the folder of "
            "the model that it was trained on.",
            module=draft.module,
            tensor=name,
        )
    if kind.dtype not in DTYPES:
        raise _not_mergeable(
            first,
            draft.module,
            f"the base keeps {name} as {kind.dtype}, and a merge is defined for "
            f"{', '.join(DTYPES)}",
        )
    rows = kind.shape[0] if len(kind.shape) > 1 else 1
    columns = math.prod(kind.shape) // rows if rows else 0
    merge = TensorMerge(
        kind=WeightKind(name, kind.dtype, rows, columns),
        module=draft.module,
        part=draft.part,
        adapters=tuple(draft.adding),
        base=base,
        replacement=_choose_replacement(draft, kind.shape),
    )
    for adapter in merge.adapters:
        _verify_fit(merge, adapter, adapter.changes[merge.module])
    return merge


def _choose_replacement(draft: _Draft, shape: tuple[int, ...]) -> tuple[AdapterTensors, str] | None:
    """Return the one whole tensor that stands in for the base's."""
    if not draft.replacing:
        return None
    adapter, name = draft.replacing[0]
    if draft.adding or adapter.weight != 1.0:
        raise _not_mergeable(
            adapter,
            draft.module,
            f"it is saved whole ({draft.part}), which has no weighted sum with other changes of it",
        )
    data = adapter.tensors.read_bytes(name)
    for other, tensor in draft.replacing[1:]:
        if other.weight != 1.0 or other.tensors.read_bytes(tensor) != data:
            raise _not_mergeable(
                other,
                draft.module,
                f"{adapter.label} and it each hold their own {draft.part}, saved whole",
            )
    if adapter.tensors.kinds[name].shape != shape:
        raise InvalidInput(
            "shape-mismatch",
            f"{adapter.label} holds {draft.module}.{draft.part} whole, of the shape "
            f"{list(adapter.tensors.kinds[name].shape)}; the base's is {list(shape)}: name the "
            "folder of the model that it was trained on.",
            module=draft.module,
        )
    read_double(adapter.tensors, draft.module, name)  # raises where it is not finite
    return adapter.tensors, name


def _verify_fit(merge: TensorMerge, adapter: WeightedAdapter, change: ModuleChange) -> None:
    wanted = merge.kind.rows, merge.kind.columns
    if merge.part == "bias":
        shape = 1, _read_bias(merge, change).size
    else:
        delta = _read_delta(merge, adapter, change)
        if isinstance(delta, LowRank):
            _scale(adapter, merge.module, delta.gamma)
        shape = delta.shape[::-1] if delta.placement.is_transposed else delta.shape
    if shape != wanted:
        raise InvalidInput(
            "shape-mismatch",
            f"{adapter.label} changes {merge.kind.name} by a matrix of {shape[0]} x {shape[1]}, "
            f"and the base stores {wanted[0]} x {wanted[1]}: name the folder of the model that it "
            "was trained on.",
            module=merge.module,
            tensor=merge.kind.name,
        )


def _read_term(merge: TensorMerge, adapter: WeightedAdapter, change: ModuleChange) -> Term:
    """Return what an adapter adds to a tensor."""
    if merge.part == "bias":
        return DenseTerm(adapter.weight * _read_bias(merge, change).reshape(1, -1))
    delta = _read_delta(merge, adapter, change)
    is_transposed = delta.placement.is_transposed
    if isinstance(delta, LowRank):
        if delta.B.dtype == delta.A.dtype == np.float32:
            left, right = (delta.A.T, delta.B.T) if is_transposed else (delta.B, delta.A)
            return ProductTerm(
                np.ascontiguousarray(left, np.float32),
                np.ascontiguousarray(right, np.float32),
                _scale(adapter, merge.module, delta.gamma),
            )
        values = multiply_out(delta, adapter.weight)
    else:
        values = adapter.weight * delta.compute()
    return DenseTerm(np.ascontiguousarray(values.T) if is_transposed else values)


def _scale(adapter: WeightedAdapter, module: str, gamma: float) -> float:
    """Return g = RN64(w gamma)."""
    g = adapter.weight * gamma
    if not abs(g) <= _LARGEST:
        raise InvalidInput(
            "usage",
            f"{adapter.label} is weighted by {adapter.weight:g} and scales its change of {module} "
            f"by {gamma:g}, which together are beyond 2^512: name a smaller weight.",
            input=adapter.label,
            module=module,
        )
    return g


def _read_delta(
    merge: TensorMerge, adapter: WeightedAdapter, change: ModuleChange
) -> LowRank | Dense:
    return resolve(adapter.label, change, lambda: merge.base.read_weight(merge.module))


def _read_bias(merge: TensorMerge, change: ModuleChange) -> Matrix:
    bias = resolve_bias(change, merge.base)
    if bias is None:
        raise ValueError(f"{merge.kind.name} was planned with a change")
    return bias


def _not_mergeable(adapter: WeightedAdapter, module: str | None, reason: str) -> InvalidInput:
    # Families that change no module alone (prompts, prefixes) have the whole model as theirs.
    where = f", module {module}," if module else ""
    return InvalidInput(
        "not-mergeable",
        f"{adapter.label}{where} cannot be merged: {reason}.",
        input=adapter.label,
        module=module,
    )
