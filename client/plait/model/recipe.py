"""A recipe: a composition as a document, which gives the same bytes wherever it runs.

    {"format": "plait.recipe/1", "method": "sum", "parameters": {"rank": 16},
     "inputs": [{"adapter": "team/sql", "revision": "main", "commit": "3fa9...", "weight": 0.7,
                 "modules": {"q_proj": 0.5}, "layers": {"0-3": 1.0}}, ...],
     "dtype": "auto", "saved_modules": "refuse", "base": null, "allow": []}

- What is not given has its default. A *pinned* recipe names every input by its commit and writes
  every default down, so that a default that changes later changes no recipe that ran.
- The order of the inputs is part of it: sums are rounded in that order. The order of keys is not.
- Everything that can be seen without weights is checked here. A field or parameter that is not
  known is refused: an outcome that quietly ignored it would be another one than was asked for.
- How weights for parts of the model are found, `plait.model.recipe_input` says.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from plait.errors import InvalidInput
from plait.model import canonical
from plait.model.commit import MOST_PARENTS
from plait.model.ids import CommitId, ObjectId, abbreviate, parse_object_id
from plait.model.module_pattern import is_plain
from plait.model.recipe_fields import RecipeFields, invalid_recipe
from plait.model.recipe_input import RecipeInput
from plait.model.recipe_methods import METHODS, Method, MethodKind, Value
from plait.model.recipe_parameters import (
    add_defaults,
    find_method,
    parse_parameters,
    verify_count,
)

FORMAT = "plait.recipe/1"
MOST_INPUTS = MOST_PARENTS - 1
"""All of them are parents of the commit, beside the version that it continues."""
MOST_SHOWN = 8
"""Inputs that one line names."""
LARGEST_RECIPE = 500_000
"""Bytes of canonical JSON: it goes into a commit, which may have twice as many."""
LARGEST_EXPRESSIONS = 20_000
"""Characters of all patterns that are more than names: reading one takes time."""

_FIELDS = (
    "format",
    "method",
    "parameters",
    "inputs",
    "dtype",
    "saved_modules",
    "base",
    "allow",
)


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

    @classmethod
    def from_json(cls, document: object) -> Recipe:
        """Parse a recipe's document.

        Raises:
            InvalidInput: `invalid-recipe`; the message names the field and the input.
        """
        fields = RecipeFields(document, where="The recipe")
        fields.only(_FIELDS)
        _verify_format(fields)
        method = fields.text("method")
        find_method(method)
        items = fields.items("inputs")
        verify_count(len(items), method, most=MOST_INPUTS)
        _verify_extent(items)
        recipe = cls(
            method=method,
            inputs=tuple(RecipeInput.from_json(item, number=n) for n, item in enumerate(items, 1)),
            parameters=parse_parameters(fields.get("parameters"), method),
            dtype=fields.word("dtype", Dtype, Dtype.AUTO),
            saved_modules=fields.word("saved_modules", SavedModules, SavedModules.REFUSE),
            base=_parse_base(fields),
            allow=fields.words("allow", Allowance),
        )
        _verify(recipe)
        return recipe

    def to_json(self) -> dict[str, Any]:
        """Return the document, every field written down; equal recipes have equal documents."""
        return {
            "format": FORMAT,
            "method": self.method,
            "parameters": dict(self.parameters),
            "inputs": [item.to_json() for item in self.inputs],
            "dtype": self.dtype.value,
            "saved_modules": self.saved_modules.value,
            "base": self.base,
            "allow": sorted(item.value for item in self.allow),
        }

    @property
    def definition(self) -> Method:
        """The method's row of the table."""
        return METHODS[self.method]

    @property
    def is_pinned(self) -> bool:
        """Whether every input is named by its commit.

        A parameter that a later version adds is absent here, and its default gives what was before.
        """
        return all(item.commit is not None for item in self.inputs)

    def pin(self, commits: Sequence[CommitId]) -> Recipe:
        """Return the recipe with the inputs' commits and with every default written down.

        Revisions stay, for people to see. Pinning a pinned recipe changes nothing.

        Raises:
            InvalidInput: two inputs turn out to be the same version, or one that has a commit
                already is given another.
        """
        inputs = []
        for item, commit in zip(self.inputs, commits, strict=True):
            if item.commit not in {None, commit}:
                raise invalid_recipe(
                    f"The input {item.label} is pinned, and was resolved to another commit, "
                    f"{abbreviate(commit)}."
                )
            inputs.append(replace(item, commit=commit))
        pinned = replace(
            self, inputs=tuple(inputs), parameters=add_defaults(self.parameters, self.method)
        )
        _verify(pinned)
        return pinned

    def summary(self) -> str:
        """Return one line for people, as `sum rank=16 of 0.7 team/sql@main + 0.3 team/chat`."""
        words = [self.method, *(f"{name}={value}" for name, value in self.parameters.items())]
        terms = [
            item.label if item.weight == 1.0 else f"{item.weight:g} {item.label}"
            for item in self.inputs[:MOST_SHOWN]
        ]
        more = len(self.inputs) - MOST_SHOWN
        return f"{' '.join(words)} of {' + '.join(terms)}{f' and {more} more' if more > 0 else ''}"

    def value(self, name: str) -> Value | None:
        """Return a parameter: as given, else its default; None where it has none."""
        return self.parameters.get(name, self.definition.parameters[name].default)

    def weight_of(self, index: int, module: str) -> float:
        """Return the weight of an input in a module.

        Raises:
            InvalidInput: two patterns of the same length match it and disagree.
        """
        return self.inputs[index].weight_of(module)

    def weights_at(self, module: str) -> list[float]:
        """Return the weights of all inputs in a module; raises as `weight_of` does."""
        return [item.weight_of(module) for item in self.inputs]

    def verify_patterns(self, index: int, modules: Collection[str]) -> None:
        """Check that an input's patterns and layers mean some of its modules, all given here.

        Raises:
            InvalidInput: one means none, so that a misspelt name would go unnoticed.
        """
        self.inputs[index].verify_patterns(modules)


def _verify_format(fields: RecipeFields) -> None:
    if fields.get("format") is None:
        raise fields.error(f"does not say its format: add the line `format: {FORMAT}`")
    if fields.text("format") != FORMAT:
        raise fields.error(
            f"is of the format {fields.text('format')!r:.80}, and this version of plait reads "
            f"{FORMAT!r}"
        )


def _verify_extent(items: Sequence[object]) -> None:
    """Check that what the inputs hold is worth reading: a document may be far beyond any recipe."""
    keys = [
        key
        for item in items
        if isinstance(item, Mapping)
        for name in ("modules", "layers")
        if isinstance(item.get(name), Mapping)
        for key in item[name]
        if isinstance(key, str)
    ]
    if sum(map(len, keys)) > LARGEST_RECIPE:
        raise _too_large()
    if sum(len(key) for key in keys if not is_plain(key)) > LARGEST_EXPRESSIONS:
        raise invalid_recipe(
            f"The recipe has regular expressions of over {LARGEST_EXPRESSIONS} characters in "
            "'modules': write modules' names or the ends of them, which may be many."
        )


def _too_large() -> InvalidInput:
    return invalid_recipe(
        f"The recipe has over {LARGEST_RECIPE} bytes, and must fit into a commit: give fewer "
        "patterns."
    )


def _parse_base(fields: RecipeFields) -> ObjectId | None:
    text = fields.optional_text("base")
    try:
        return None if text is None else parse_object_id(text)
    except InvalidInput as error:
        raise fields.error(
            f"has {text!r:.80} as 'base', which must be a fingerprint of 64 hexadecimal digits"
        ) from error


def _verify(recipe: Recipe) -> None:
    """Check what no field shows by itself."""
    _verify_inputs_differ(recipe)
    if recipe.parameters.keys() >= {"rank", "energy"}:
        raise invalid_recipe(
            "The recipe gives both 'rank' and 'energy', which choose the same: leave one out."
        )
    if recipe.definition.kind in {MethodKind.CAST, MethodKind.STACK}:
        _verify_no_arithmetic(recipe)
    if len(canonical.dumps(recipe.to_json())) > LARGEST_RECIPE:
        raise _too_large()


def _verify_inputs_differ(recipe: Recipe) -> None:
    places: dict[tuple[object, ...], int] = {}
    for number, item in enumerate(recipe.inputs, 1):
        earlier = places.setdefault(item.identity, number)
        if earlier != number:
            raise invalid_recipe(
                f"The inputs {earlier} and {number} of the recipe are the same version, "
                f"{recipe.inputs[earlier - 1].label} and {item.label}: give it once, with the sum "
                "of the weights."
            )


def _verify_no_arithmetic(recipe: Recipe) -> None:
    """Check that a method which adds nothing up is not told how to."""
    is_cast = recipe.definition.kind is MethodKind.CAST
    for item in recipe.inputs:
        if not item.is_uniform:
            raise invalid_recipe(
                f"The method {recipe.method} has no weights for parts of a model: leave 'modules' "
                f"and 'layers' of {item.label} out."
            )
        if is_cast and item.weight != 1.0:
            raise invalid_recipe(
                f"The method cast keeps what {item.label} does: leave its weight out."
            )
    if is_cast and recipe.dtype is Dtype.AUTO:
        raise invalid_recipe("The method cast needs a dtype: F32, F16 or BF16.")
    if not is_cast and recipe.dtype is not Dtype.AUTO:
        raise invalid_recipe("The method stack writes no tensors: leave 'dtype' out.")
    if not is_cast and recipe.saved_modules is not SavedModules.REFUSE:
        raise invalid_recipe("The method stack writes no tensors: leave 'saved_modules' out.")
