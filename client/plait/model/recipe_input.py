"""One input of a recipe: an adapter, with its weights for the model and for parts of it.

    {"adapter": "team/sql", "revision": "main", "commit": "3fa9...", "weight": 0.7,
     "modules": {"q_proj": 0.5}, "layers": {"0-3": 1.0}}

The weight in a module is, of what is given, the first of:

1. the weight of the longest pattern of `modules` that PEFT would take for the module
   (`rank_pattern`'s rule: a name, the end of one, or a regular expression);
2. the weight of the range of `layers` that the module's layer lies in;
3. `weight`.

The longest, since canonical JSON sorts keys: which one was written first is lost in a commit.
Weights that the order of keys would decide about are refused.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from plait.errors import InvalidInput
from plait.model.address import RepositoryName
from plait.model.ids import CommitId, abbreviate, parse_commit_id
from plait.model.layer_ranges import LayerRange, find_layer, find_overlap
from plait.model.module_pattern import matches_module
from plait.model.recipe_fields import RecipeFields, invalid_recipe
from plait.model.refs import HEAD
from plait.model.revision import Revision

MOST_SHOWN = 5
_FIELDS = ("adapter", "revision", "commit", "weight", "modules", "layers")


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipeInput:
    """One adapter with its weights."""

    adapter: str
    """The repository, `namespace/name`."""
    revision: str | None = None
    """As it was typed; None: the default branch. Once there is a commit it only informs people."""
    commit: CommitId | None = None
    """None until the recipe is pinned."""
    weight: float = 1.0
    modules: Mapping[str, float] = field(default_factory=dict)
    """By patterns over the paths of modules."""
    layers: Mapping[str, float] = field(default_factory=dict)
    """By ranges of layers, which do not overlap."""

    @classmethod
    def from_json(cls, document: object, *, number: int) -> RecipeInput:
        """Parse the `number`-th input of a recipe, counted from 1.

        Raises:
            InvalidInput: `invalid-recipe`.
        """
        name = document.get("adapter") if isinstance(document, Mapping) else None
        shown = f" ({name!r:.200})" if isinstance(name, str) else ""
        fields = RecipeFields(document, where=f"Input {number}{shown} of the recipe")
        fields.only(_FIELDS)
        commit = fields.optional_text("commit")
        parsed = cls(
            adapter=_parse_adapter(fields),
            revision=_parse_revision(fields),
            commit=None if commit is None else _parse_commit(fields, commit),
            weight=fields.number("weight", 1.0),
            modules=fields.numbers("modules"),
            layers=fields.numbers("layers"),
        )
        _verify_patterns(fields, parsed)
        _verify_layers(fields, parsed)
        if not any((parsed.weight, *parsed.modules.values(), *parsed.layers.values())):
            raise fields.error(
                "has the weight 0 everywhere, so that it would be recorded without having a part "
                "in the outcome: leave it out"
            )
        return parsed

    def to_json(self) -> dict[str, Any]:
        """Return the document, every field written down."""
        return {
            "adapter": self.adapter,
            "revision": self.revision,
            "commit": self.commit,
            "weight": self.weight,
            "modules": dict(self.modules),
            "layers": dict(self.layers),
        }

    @property
    def label(self) -> str:
        """How messages name it, as `team/sql@main` or `team/sql@3fa9c2d41b0e`."""
        if self.commit is not None:
            return f"{self.adapter}@{abbreviate(self.commit)}"
        return f"{self.adapter}@{self.revision}" if self.revision else self.adapter

    @property
    def is_uniform(self) -> bool:
        """Whether one weight holds for the whole model."""
        return not self.modules and not self.layers

    @property
    def identity(self) -> tuple[object, ...]:
        """Equal for two inputs that are seen to be the same version without asking anybody."""
        if self.commit is not None:
            return (self.commit,)
        key = RepositoryName.parse(self.adapter).key
        return key, Revision.parse(self.revision or HEAD)

    def weight_of(self, module: str) -> float:
        """Return the weight in `module`.

        Raises:
            InvalidInput: two patterns of the same length match it and disagree.
        """
        matching = [pattern for pattern in self.modules if matches_module(pattern, module)]
        if matching:
            longest = max(map(len, matching))
            chosen = [pattern for pattern in matching if len(pattern) == longest]
            if len({self.modules[pattern] for pattern in chosen}) > 1:
                raise invalid_recipe(
                    f"The patterns {chosen[0]!r} and {chosen[1]!r} of {self.label} both match the "
                    f"module {module} and give it other weights: make the one that shall count "
                    "the longer one."
                )
            return self.modules[chosen[0]]
        layer = find_layer(module)
        if layer is not None:
            for text, weight in self.layers.items():
                if layer in LayerRange.parse(text):
                    return weight
        return self.weight

    def verify_patterns(self, modules: Collection[str]) -> None:
        """Check that every pattern and range means at least one of the input's modules.

        Raises:
            InvalidInput: one means none, so that a misspelt name would go unnoticed.
        """
        for pattern in self.modules:
            if not any(matches_module(pattern, module) for module in modules):
                raise self._unmatched(f"pattern {pattern!r}", modules)
        layers = {find_layer(module) for module in modules} - {None}
        for text in self.layers:
            found = LayerRange.parse(text)
            if not any(layer in found for layer in layers if layer is not None):
                raise self._unmatched(f"layers {text!r}", modules)

    def _unmatched(self, what: str, modules: Collection[str]) -> InvalidInput:
        shown = ", ".join(sorted(modules)[:MOST_SHOWN])
        more = len(modules) - MOST_SHOWN
        return invalid_recipe(
            f"The {what} of {self.label} fit none of its modules, which are {shown}"
            f"{f' and {more} more' if more > 0 else ''}."
        )


def _parse_adapter(fields: RecipeFields) -> str:
    text = fields.text("adapter")
    if "@" in text:
        raise fields.error(
            "has a revision in 'adapter': write it in a field of its own (revision: main)"
        )
    try:
        return str(RepositoryName.parse(text))
    except InvalidInput as error:
        raise fields.error(f"is not well-formed. {error.message.removesuffix('.')}") from error


def _parse_revision(fields: RecipeFields) -> str | None:
    text = fields.optional_text("revision")
    if text is None:
        return None
    try:
        Revision.parse(text)
    except InvalidInput as error:
        raise fields.error(f"is not well-formed. {error.message.removesuffix('.')}") from error
    return text


def _parse_commit(fields: RecipeFields, text: str) -> CommitId:
    try:
        return parse_commit_id(text)
    except InvalidInput as error:
        raise fields.error(
            f"has {text!r:.80} as 'commit', which must be all 64 digits of a commit id: write a "
            "shorter one, a branch or a tag as 'revision'"
        ) from error


def _verify_patterns(fields: RecipeFields, parsed: RecipeInput) -> None:
    for pattern in parsed.modules:
        try:
            if not pattern:
                raise fields.error("has an empty pattern in 'modules'")
            matches_module(pattern, "")
        except InvalidInput as error:
            raise fields.error(
                f"has no usable pattern in 'modules'. {error.message.removesuffix('.')}"
            ) from error


def _verify_layers(fields: RecipeFields, parsed: RecipeInput) -> None:
    for text in parsed.layers:
        try:
            LayerRange.parse(text)
        except ValueError as error:
            raise fields.error(f"has {text!r:.80} in 'layers': {error}") from error
    overlap = find_overlap(parsed.layers)
    if overlap is not None:
        raise fields.error(
            f"has a layer twice in 'layers', in {overlap[0]!r} and in {overlap[1]!r}: make the "
            "ranges disjoint"
        )
