"""The methods of composition by name: what each takes, as a table.

The arithmetic of each is one file in `plait.algebra.methods`; this table is what recipes, their
schema, the command line and the documentation are made from, and it needs no numpy.

- A method without a prefix is plait's own, by the formula of its paper, on the deltas.
- `peft_*` and `mergekit_*` give the numbers of those libraries, where the same name means something
  else there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TypeAlias

Value: TypeAlias = bool | int | float | str


class MethodKind(StrEnum):
    """What a method works on, which decides what it costs."""

    COMBINATION = "combination"  # a linear combination of deltas, by coefficients; never dense
    ELEMENTWISE = "elementwise"  # on the elements of dense deltas, then recompressed
    FACTORWISE = "factorwise"  # on the elements of the factors A and B, as PEFT does it
    CAST = "cast"  # every tensor as it is, in another dtype
    STACK = "stack"  # references, no arithmetic


class Unit(StrEnum):
    """What kind of value a parameter is."""

    COUNT = "count"  # a whole number of at least 1
    SEED = "seed"  # a whole number from 0 up
    FRACTION = "fraction"  # in (0, 1]
    SHARE = "share"  # in [0, 1)
    NUMBER = "number"  # any finite number
    FLAG = "flag"
    CHOICE = "choice"


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One parameter of a method."""

    unit: Unit
    summary: str
    default: Value | None = None
    """None: where it is not given, the method goes without it."""
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """One method."""

    kind: MethodKind
    summary: str
    paper: str
    """Where the formula comes from."""
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    least_inputs: int = 1
    most_inputs: int | None = None
    needs_base: bool = False
    """Works on whole weights, not on deltas."""
    is_directional: bool = False
    """Turns deltas towards each other: one that is zero has no direction and is left out."""

    @property
    def recompresses(self) -> bool:
        """Whether the outcome is cut to a rank, which `rank` or `energy` may choose."""
        return "rank" in self.parameters


RANK = Parameter(unit=Unit.COUNT, summary="the rank of the outcome; by default the inputs' largest")
ENERGY = Parameter(
    unit=Unit.FRACTION, summary="the least rank that keeps this part of the squared norm"
)
_DENSITY = Parameter(unit=Unit.FRACTION, summary="the part of the elements that is kept")
_SEED = Parameter(unit=Unit.SEED, summary="of the random masks", default=0)
_SCALE = Parameter(unit=Unit.NUMBER, summary="lambda, a factor of the outcome", default=1.0)
_EPSILON = Parameter(
    unit=Unit.SHARE, summary="how far the probabilities spread around density", default=0.1
)
_OUTLIERS = Parameter(
    unit=Unit.SHARE, summary="gamma, the part of the largest elements that is dropped", default=0.01
)
_MAJORITY = Parameter(
    unit=Unit.CHOICE,
    summary="elect signs by the sum of the values or by their number",
    default="total",
    choices=("total", "frequency"),
)
_MERGEKIT_DENSITY = replace(_DENSITY, default=1.0)
_MERGEKIT_EPSILON = replace(_EPSILON, default=0.15)
_CUT = {"rank": RANK, "energy": ENERGY}
_PEFT_CUT = {"rank": RANK}


def _normalize(*, default: bool) -> Parameter:
    return Parameter(unit=Unit.FLAG, summary="divide by the sum of the weights", default=default)


def _of_mergekit(*, normalize: bool, rescale: bool) -> Mapping[str, Parameter]:
    """Return what its methods on pruned task vectors share, with their defaults."""
    return {
        **_CUT,
        "density": _MERGEKIT_DENSITY,
        "rescale": Parameter(
            unit=Unit.FLAG, summary="restore the L1 norm after pruning", default=rescale
        ),
        "normalize": _normalize(default=normalize),
        "scale": _SCALE,
    }


_TIES = "TIES-Merging, https://arxiv.org/abs/2306.01708"
_DARE = "Language Models are Super Mario, https://arxiv.org/abs/2311.03099"
_DELLA = "DELLA-Merging, https://arxiv.org/abs/2406.11617"
_BREADCRUMBS = "Model Breadcrumbs, https://arxiv.org/abs/2312.06795"
_ARITHMETIC = "Editing Models with Task Arithmetic, https://arxiv.org/abs/2212.04089"
_SOUPS = "Model soups, https://arxiv.org/abs/2203.05482"
_SLERP = "Animating Rotation with Quaternion Curves, https://doi.org/10.1145/325165.325242"
_KARCHER = "Karcher, https://doi.org/10.1002/cpa.3160300502"
_PEFT = "peft 0.21, LoraModel.add_weighted_adapter"
_MERGEKIT = "mergekit 0.1.5, merge_methods"

METHODS: Mapping[str, Method] = {
    "concat": Method(
        kind=MethodKind.COMBINATION,
        summary="the weighted sum, exactly: factors stacked, ranks added",
        paper=_ARITHMETIC,
    ),
    "sum": Method(
        kind=MethodKind.COMBINATION,
        summary="the weighted sum of deltas, cut to a rank",
        paper=_ARITHMETIC,
        parameters=_CUT,
    ),
    "average": Method(
        kind=MethodKind.COMBINATION,
        summary="the weighted mean of deltas (model soup), cut to a rank",
        paper=_SOUPS,
        parameters=_CUT,
    ),
    "negate": Method(
        kind=MethodKind.COMBINATION,
        summary="what takes back what one adapter does",
        paper=_ARITHMETIC,
        most_inputs=1,
    ),
    "slerp": Method(
        kind=MethodKind.COMBINATION,
        summary="between two deltas along the arc, by the weights",
        paper=_SLERP,
        parameters=_CUT,
        least_inputs=2,
        most_inputs=2,
        is_directional=True,
    ),
    "karcher": Method(
        kind=MethodKind.COMBINATION,
        summary="the mean direction of deltas on the sphere",
        paper=_KARCHER,
        parameters={
            **_CUT,
            "iterations": Parameter(unit=Unit.COUNT, summary="at most", default=100),
            "tolerance": Parameter(unit=Unit.FRACTION, summary="of the last step", default=1e-9),
        },
        least_inputs=2,
        is_directional=True,
    ),
    "ties": Method(
        kind=MethodKind.ELEMENTWISE,
        summary="trim, elect signs, mean of those that agree",
        paper=_TIES,
        parameters={**_CUT, "density": _DENSITY, "majority": _MAJORITY, "scale": _SCALE},
    ),
    "dare": Method(
        kind=MethodKind.ELEMENTWISE,
        summary="drop elements at random and rescale the others",
        paper=_DARE,
        parameters={**_CUT, "density": _DENSITY, "seed": _SEED},
    ),
    "dare_ties": Method(
        kind=MethodKind.ELEMENTWISE,
        summary="DARE in place of trimming, then TIES",
        paper=_DARE,
        parameters={
            **_CUT,
            "density": _DENSITY,
            "majority": _MAJORITY,
            "scale": _SCALE,
            "seed": _SEED,
        },
    ),
    "della": Method(
        kind=MethodKind.ELEMENTWISE,
        summary="drop small elements more probably, then TIES",
        paper=_DELLA,
        parameters={
            **_CUT,
            "density": _DENSITY,
            "epsilon": _EPSILON,
            "majority": _MAJORITY,
            "scale": _SCALE,
            "seed": _SEED,
        },
    ),
    "breadcrumbs": Method(
        kind=MethodKind.ELEMENTWISE,
        summary="drop the smallest and the very largest elements",
        paper=_BREADCRUMBS,
        parameters={**_CUT, "density": _DENSITY, "gamma": _OUTLIERS},
    ),
    "magnitude_prune": Method(
        kind=MethodKind.ELEMENTWISE,
        summary="keep the largest elements",
        paper=_TIES,
        parameters={**_CUT, "density": _DENSITY},
    ),
    "resize": Method(
        kind=MethodKind.COMBINATION,
        summary="one adapter at another rank",
        paper="Eckart and Young, https://doi.org/10.1007/BF02288367",
        parameters=_CUT,
        most_inputs=1,
    ),
    "convert": Method(
        kind=MethodKind.COMBINATION,
        summary="any delta as a plain LoRA",
        paper="Eckart and Young, https://doi.org/10.1007/BF02288367",
        parameters=_CUT,
        most_inputs=1,
    ),
    "cast": Method(
        kind=MethodKind.CAST,
        summary="one adapter in another dtype",
        paper="IEEE 754, to nearest even",
        most_inputs=1,
    ),
    "stack": Method(
        kind=MethodKind.STACK,
        summary="an ordered list of adapters that a server applies together",
        paper="",
    ),
    "peft_linear": Method(
        kind=MethodKind.FACTORWISE, summary="factors summed by roots of weights", paper=_PEFT
    ),
    "peft_cat": Method(kind=MethodKind.FACTORWISE, summary="factors stacked", paper=_PEFT),
    "peft_ties": Method(
        kind=MethodKind.FACTORWISE,
        summary="TIES on A and on B",
        paper=_PEFT,
        parameters={"density": _DENSITY, "majority": _MAJORITY},
    ),
    "peft_dare_linear": Method(
        kind=MethodKind.FACTORWISE,
        summary="DARE on A and on B",
        paper=_PEFT,
        parameters={"density": _DENSITY, "seed": _SEED},
    ),
    "peft_dare_ties": Method(
        kind=MethodKind.FACTORWISE,
        summary="DARE and TIES on A and on B",
        paper=_PEFT,
        parameters={"density": _DENSITY, "majority": _MAJORITY, "seed": _SEED},
    ),
    "peft_magnitude_prune": Method(
        kind=MethodKind.FACTORWISE,
        summary="the largest elements of A and of B",
        paper=_PEFT,
        parameters={"density": _DENSITY},
    ),
    "peft_svd": Method(
        kind=MethodKind.COMBINATION,
        summary="the weighted sum, cut to a rank",
        paper=_PEFT,
        parameters=_PEFT_CUT,
    ),
    "peft_ties_svd": Method(
        kind=MethodKind.ELEMENTWISE,
        summary="TIES on deltas, signs elected before weights",
        paper=_PEFT,
        parameters={**_PEFT_CUT, "density": _DENSITY, "majority": _MAJORITY},
    ),
    "peft_dare_linear_svd": Method(
        kind=MethodKind.ELEMENTWISE,
        summary="DARE on deltas",
        paper=_PEFT,
        parameters={**_PEFT_CUT, "density": _DENSITY, "seed": _SEED},
    ),
    "peft_dare_ties_svd": Method(
        kind=MethodKind.ELEMENTWISE,
        summary="DARE and TIES on deltas",
        paper=_PEFT,
        parameters={**_PEFT_CUT, "density": _DENSITY, "majority": _MAJORITY, "seed": _SEED},
    ),
    "peft_magnitude_prune_svd": Method(
        kind=MethodKind.ELEMENTWISE,
        summary="the largest elements of deltas",
        paper=_PEFT,
        parameters={**_PEFT_CUT, "density": _DENSITY},
    ),
    "mergekit_linear": Method(
        kind=MethodKind.COMBINATION,
        summary="the weighted mean of models",
        paper=_MERGEKIT,
        parameters=_CUT,
    ),
    "mergekit_task_arithmetic": Method(
        kind=MethodKind.COMBINATION,
        summary="the weighted sum of task vectors",
        paper=_MERGEKIT,
        parameters={**_CUT, "normalize": _normalize(default=False), "scale": _SCALE},
    ),
    "mergekit_ties": Method(
        kind=MethodKind.ELEMENTWISE,
        summary="TIES with the weights first",
        paper=_MERGEKIT,
        parameters=_of_mergekit(normalize=True, rescale=False),
    ),
    "mergekit_dare_linear": Method(
        kind=MethodKind.ELEMENTWISE,
        summary="DARE, rescaled to the L1 norm",
        paper=_MERGEKIT,
        parameters={**_of_mergekit(normalize=False, rescale=True), "seed": _SEED},
    ),
    "mergekit_dare_ties": Method(
        kind=MethodKind.ELEMENTWISE,
        summary="DARE, rescaled to the L1 norm, then an election of signs",
        paper=_MERGEKIT,
        parameters={**_of_mergekit(normalize=False, rescale=True), "seed": _SEED},
    ),
    "mergekit_breadcrumbs": Method(
        kind=MethodKind.ELEMENTWISE,
        summary="without the smallest and the largest elements",
        paper=_MERGEKIT,
        parameters={**_of_mergekit(normalize=False, rescale=False), "gamma": _OUTLIERS},
    ),
    "mergekit_breadcrumbs_ties": Method(
        kind=MethodKind.ELEMENTWISE,
        summary="without the smallest and the largest elements, then an election of signs",
        paper=_MERGEKIT,
        parameters={**_of_mergekit(normalize=False, rescale=False), "gamma": _OUTLIERS},
    ),
    "mergekit_della_linear": Method(
        kind=MethodKind.ELEMENTWISE,
        summary="DELLA by rows, rescaled to the L1 norm, without an election",
        paper=_MERGEKIT,
        parameters={
            **_of_mergekit(normalize=False, rescale=True),
            "epsilon": _MERGEKIT_EPSILON,
            "seed": _SEED,
        },
    ),
    "mergekit_della": Method(
        kind=MethodKind.ELEMENTWISE,
        summary="DELLA by rows, rescaled to the L1 norm, then an election of signs",
        paper=_MERGEKIT,
        parameters={
            **_of_mergekit(normalize=True, rescale=True),
            "epsilon": _MERGEKIT_EPSILON,
            "seed": _SEED,
        },
    ),
    "mergekit_sce": Method(
        kind=MethodKind.ELEMENTWISE,
        summary="where inputs vary most, weighted by their squares, after an election of signs",
        paper=_MERGEKIT,
        parameters={**_CUT, "density": _MERGEKIT_DENSITY},
    ),
    "mergekit_nuslerp": Method(
        kind=MethodKind.COMBINATION,
        summary="between two task vectors along the arc",
        paper=_MERGEKIT,
        parameters=_CUT,
        least_inputs=2,
        most_inputs=2,
    ),
    "mergekit_multislerp": Method(
        kind=MethodKind.COMBINATION,
        summary="the barycentre of task vectors on the sphere",
        paper=_MERGEKIT,
        parameters={**_CUT, "normalize": _normalize(default=True)},
    ),
    "mergekit_model_stock": Method(
        kind=MethodKind.COMBINATION,
        summary="the mean of task vectors, shortened by their angles",
        paper=_MERGEKIT,
        parameters=_CUT,
        least_inputs=2,
    ),
    "mergekit_slerp": Method(
        kind=MethodKind.ELEMENTWISE,
        summary="between two whole models along the arc",
        paper=_MERGEKIT,
        parameters=_CUT,
        least_inputs=2,
        most_inputs=2,
        needs_base=True,
    ),
    "mergekit_karcher": Method(
        kind=MethodKind.ELEMENTWISE,
        summary="the mean direction of whole models on the sphere",
        paper=_MERGEKIT,
        parameters={
            **_CUT,
            "iterations": Parameter(unit=Unit.COUNT, summary="at most", default=10),
            "tolerance": Parameter(unit=Unit.FRACTION, summary="of the last step", default=1e-5),
        },
        least_inputs=2,
        needs_base=True,
    ),
}
"""Every method by the name that a recipe gives it."""
