"""How far the inputs of a composition agree, module by module, before they are blended.

Of the weighted deltas w_i D_i of a module:

- **cosine** of each two, <w_i D_i, w_j D_j> / (|w_i D_i| |w_j D_j|): 1 for the same direction, 0
  for unrelated ones, -1 for opposite ones;
- **overlap** of the spaces that they write to (columns) and read from (rows): the mean squared
  cosine of the principal angles, |Qi^T Qj|^2 / min(r_i, r_j), 1 where one space holds the other.
  Unrelated spaces have about max(r_i, r_j) / n. Of a dense delta, the space of its best
  approximation of the rank that a LoRA in its place would have;
- **sign conflict**: of the elements at which two inputs or more are not zero, the part at which
  their signs differ. Counted exactly in small modules; in large ones on rows that the counter
  generator draws for the module's name, so that a second report says the same;
- **energy**: the part of the squared norm of the sum that the rank keeps.

Figures are for people: computed with BLAS and LAPACK, whose last digits depend on the machine.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from plait.algebra.delta import Dense, LowRank, Matrix
from plait.algebra.low_rank_norms import as_pair, inner_product
from plait.algebra.sign_conflicts import count_conflicts
from plait.algebra.subspaces import Term, cut, find_overlap, find_spaces

Table: TypeAlias = tuple[tuple[float | None, ...], ...]
"""A figure for each two inputs; None where one of them has no delta."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleInterference:
    """The figures of one module, or of all together."""

    module: str
    products: tuple[tuple[float, ...], ...]
    """<w_i D_i, w_j D_j>; zero for an input that has no delta here."""
    written: Table
    """Overlap of the column spaces."""
    read: Table
    """Overlap of the row spaces."""
    conflicts: int
    """Elements at which signs differ."""
    compared: int
    """Elements at which two inputs or more are not zero."""
    is_sampled: bool
    """Some rows alone were looked at for the signs."""
    rank: int
    """That the outcome is cut to."""
    energy: float
    """The squared norm of the sum."""
    kept_energy: float
    """The part of it that the rank keeps, as a squared norm."""

    @property
    def norms(self) -> tuple[float, ...]:
        """Of the weighted deltas."""
        return tuple(math.sqrt(max(row[i], 0.0)) for i, row in enumerate(self.products))

    @property
    def cosines(self) -> Table:
        """Between each two weighted deltas."""
        norms = self.norms
        return tuple(
            tuple(_cosine(product, norms[i] * norms[j]) for j, product in enumerate(row))
            for i, row in enumerate(self.products)
        )

    @property
    def sign_conflict(self) -> float | None:
        """The part of the compared elements at which signs differ."""
        return self.conflicts / self.compared if self.compared else None

    @property
    def kept(self) -> float:
        """The part of the squared norm that the rank keeps; 1 where the sum is zero."""
        return self.kept_energy / self.energy if self.energy > 0.0 else 1.0

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "module": self.module,
            "norms": list(self.norms),
            "cosines": [list(row) for row in self.cosines],
            "written_overlaps": [list(row) for row in self.written],
            "read_overlaps": [list(row) for row in self.read],
            "sign_conflict": self.sign_conflict,
            "is_sampled": self.is_sampled,
            "rank": self.rank,
            "kept": self.kept,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Interference:
    """The report on all modules."""

    modules: tuple[ModuleInterference, ...]
    total: ModuleInterference
    """Deltas of all modules taken as one vector; overlaps are means by energy."""

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "modules": [module.to_json() for module in self.modules],
            "total": self.total.to_json(),
        }


def report_module(
    module: str,
    deltas: Sequence[LowRank | Dense | None],
    weights: Sequence[float],
    *,
    rank: int | None = None,
    energy: float | None = None,
) -> ModuleInterference:
    """Return the figures of a module; None stands for an input that does not adapt it.

    At least one delta is there. Where neither `rank` nor `energy` is given, nothing is cut.
    """
    terms = [
        None if delta is None else _weighted(delta, weight)
        for delta, weight in zip(deltas, weights, strict=True)
    ]
    present = [delta for delta in deltas if delta is not None]
    known = [term for term in terms if term is not None]
    spaces = [
        None if term is None or delta is None else find_spaces(term, delta.rank)
        for term, delta in zip(terms, deltas, strict=True)
    ]
    chosen, total, kept = cut(known, rank, energy)
    conflicts, compared, is_sampled = count_conflicts(module, known, present[0].shape)
    return ModuleInterference(
        module=module,
        products=tuple(tuple(_product(one, other) for other in terms) for one in terms),
        written=_overlaps([None if space is None else space[0] for space in spaces]),
        read=_overlaps([None if space is None else space[1] for space in spaces]),
        conflicts=conflicts,
        compared=compared,
        is_sampled=is_sampled,
        rank=chosen,
        energy=total,
        kept_energy=kept,
    )


def summarise(modules: Sequence[ModuleInterference]) -> Interference:
    """Return the report on modules of the same inputs; there is at least one."""
    count = range(len(modules[0].products))
    total = ModuleInterference(
        module="",
        products=tuple(
            tuple(math.fsum(module.products[i][j] for module in modules) for j in count)
            for i in count
        ),
        written=tuple(
            tuple(_mean([(m, m.written[i][j]) for m in modules]) for j in count) for i in count
        ),
        read=tuple(
            tuple(_mean([(m, m.read[i][j]) for m in modules]) for j in count) for i in count
        ),
        conflicts=sum(module.conflicts for module in modules),
        compared=sum(module.compared for module in modules),
        is_sampled=any(module.is_sampled for module in modules),
        rank=max(module.rank for module in modules),
        energy=math.fsum(module.energy for module in modules),
        kept_energy=math.fsum(module.kept_energy for module in modules),
    )
    return Interference(modules=tuple(modules), total=total)


def _mean(values: Sequence[tuple[ModuleInterference, float | None]]) -> float | None:
    """Return the mean over the modules that have a figure, by the energy of their inputs."""
    known = [
        (value, math.fsum(norm * norm for norm in module.norms))
        for module, value in values
        if value is not None
    ]
    total = math.fsum(energy for _, energy in known)
    return math.fsum(value * energy for value, energy in known) / total if total > 0.0 else None


def _weighted(delta: LowRank | Dense, weight: float) -> Term:
    if isinstance(delta, LowRank):
        B, A = as_pair(delta)
        return weight * B, A
    return weight * delta.compute()


def _product(one: Term | None, other: Term | None) -> float:
    if one is None or other is None:
        return 0.0
    if isinstance(one, tuple) and isinstance(other, tuple):
        return inner_product(one, other)
    if isinstance(one, tuple):
        one, other = other, one
    if isinstance(other, tuple):
        B, A = other
        return float(np.sum((np.asarray(one) @ A.T) * B))  # <D, B A> = sum((D A^T) * B)
    return float(np.vdot(one, other))


def _overlaps(bases: Sequence[Matrix | None]) -> Table:
    return tuple(tuple(find_overlap(one, other) for other in bases) for one in bases)


def _cosine(product: float, length: float) -> float | None:
    return None if length == 0.0 else max(-1.0, min(1.0, product / length))
