"""A recipe: a composition as a document, which gives the same bytes wherever it runs.

    {"format": "plait.recipe/1", "method": "sum", "parameters": {"rank": 16},
     "inputs": [{"adapter": "team/sql", "revision": "main", "commit": "3fa9...", "weight": 0.7,
                 "modules": {"q_proj": 0.5}, "layers": {"0-3": 1.0}}, ...],
     "dtype": "auto", "saved_modules": "refuse", "base": null, "allow": []}

- What is not given has its default. A *pinned* recipe names every input by its commit and writes
  every default down, so that a default that changes later changes no recipe that ran.
- The order of the inputs is part of it: sums are rounded in that order.
- `modules` (patterns as in PEFT's `rank_pattern`) and `layers` (numbers and ranges) give weights
  for parts of the model; where several match, the first of `modules` counts, then of `layers`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from plait.model.ids import CommitId, ObjectId
from plait.model.recipe_methods import METHODS, Method, Value

FORMAT = "plait.recipe/1"
MOST_INPUTS = 255
"""One less than a commit may have parents: the branch that it continues is one more."""


class SavedModules(StrEnum):
    """What becomes of whole tensors (`modules_to_save`) in which inputs differ."""

    REFUSE = "refuse"  # an error that names them
    FIRST = "first"  # the first input's that has it
    AVERAGE = "average"  # the mean by the inputs' weights


class Allowance(StrEnum):
    """What a recipe lets pass that is refused otherwise."""

    BASE_MISMATCH = "base-mismatch"  # inputs for different bases
    TOKENIZER_CONFLICT = "tokenizer-conflict"  # the first input's tokenizer is taken
    ZERO_DELTA = "zero-delta"  # an input that changes nothing
    DISCLOSURE = "disclosure"  # private inputs' history becomes readable with the outcome


class Dtype(StrEnum):
    """What the outcome's tensors are rounded to."""

    AUTO = "auto"  # the inputs' own where it is one of these, else F32
    F32 = "F32"
    F16 = "F16"
    BF16 = "BF16"


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipeInput:
    """One adapter with its weight."""

    adapter: str
    """The repository, `namespace/name`."""
    revision: str | None = None
    """As it was typed; None once it is of no further meaning."""
    commit: CommitId | None = None
    """None until the recipe is pinned."""
    weight: float = 1.0
    modules: Mapping[str, float] = field(default_factory=dict)
    layers: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A composition."""

    method: str
    inputs: tuple[RecipeInput, ...]
    parameters: Mapping[str, Value] = field(default_factory=dict)
    """Without the defaults that were not given, unless the recipe is pinned."""
    dtype: Dtype = Dtype.AUTO
    saved_modules: SavedModules = SavedModules.REFUSE
    base: ObjectId | None = None
    """The fingerprint of the base whose weights were used; None where none were."""
    allow: frozenset[Allowance] = frozenset()

    @property
    def definition(self) -> Method:
        """The method's row of the table."""
        return METHODS[self.method]
