"""What is known about a composition before it is made: refusals, interference, ranks.

Everything that would refuse the composition refuses its preview: bases, rights, families, shapes,
tokenizers, whole tensors. Nothing is written and nothing is pushed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plait.cache import Cache
from plait.compose_folder import (
    ComposedInput,
    is_identity,
    open_composition,
    verify_adapters,
)
from plait.compose_inputs import PinnedRecipe, pin_recipe, pull_inputs, use_base
from plait.kernel_cache import verify_installed
from plait.model.recipe import Recipe
from plait.model.recipe_methods import MethodKind
from plait.parallel import map_in_order
from plait.progress import NO_PROGRESS, Progress
from plait.tokenizer_files import choose_tokenizer
from plait.transport import Transport

if TYPE_CHECKING:
    from plait.algebra.composition import Composition, ModuleOutline
    from plait.algebra.interference import Interference, ModuleInterference

MOST_NAMED = 3
"""Modules that a remark names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PreviewWish:
    """What to look at."""

    recipe: Recipe
    base_folder: Path | None = None
    threads: int = 1


@dataclass(frozen=True, slots=True)
class Preview:
    """What is known."""

    recipe: Recipe
    """Pinned."""
    labels: tuple[str, ...]
    """Of the inputs."""
    dtype: str | None
    """That the outcome is rounded to; None where nothing is computed."""
    interference: Interference | None
    """None for what needs no arithmetic: a stack, a cast, one input as it is."""
    remarks: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "recipe": self.recipe.to_json(),
            "inputs": list(self.labels),
            "dtype": self.dtype,
            "interference": None if self.interference is None else self.interference.to_json(),
            "remarks": list(self.remarks),
        }


def preview_composition(
    transport: Transport, cache: Cache, wish: PreviewWish, progress: Progress = NO_PROGRESS
) -> Preview:
    """Return what is known about a composition; raises as `plait.compose.compose` would."""
    pinned = pin_recipe(transport, wish.recipe)
    if wish.base_folder is not None:
        pinned = use_base(pinned, wish.base_folder, progress)
    inputs = pull_inputs(transport, cache, pinned, progress)
    recipe = pinned.recipe
    labels = tuple(item.label for item in inputs)
    remarks = _remark_on_bases(pinned)
    verify_adapters(inputs)
    kind = recipe.definition.kind
    if kind is MethodKind.STACK:
        return Preview(recipe, labels, None, None, tuple(remarks))
    choose_tokenizer(inputs, recipe.allow)
    if kind is MethodKind.CAST:
        return Preview(recipe, labels, recipe.dtype.value, None, tuple(remarks))
    if is_identity(recipe, inputs):
        remarks.append(f"The outcome is {labels[0]} itself, byte for byte.")
        return Preview(recipe, labels, None, None, tuple(remarks))
    return _look_at_deltas(recipe, inputs, wish, remarks, progress)


def _look_at_deltas(
    recipe: Recipe,
    inputs: Sequence[ComposedInput],
    wish: PreviewWish,
    remarks: list[str],
    progress: Progress,
) -> Preview:
    verify_installed()
    from plait.algebra.interference import summarise

    composition = open_composition(recipe, inputs, wish.base_folder)

    def work(outline: ModuleOutline) -> ModuleInterference | None:
        return _look_at_module(composition, outline)

    found: list[ModuleInterference] = []
    progress.total(len(composition.modules), what="Comparing")
    try:
        for module in map_in_order(work, composition.modules, workers=wish.threads):
            found += [] if module is None else [module]
            progress.advance(1)
    finally:
        progress.finish()
    remarks += _remark_on_method(recipe)
    remarks += _remark_on_modules(composition)
    labels = tuple(item.label for item in inputs)
    return Preview(recipe, labels, composition.dtype, summarise(found), tuple(remarks))


def _look_at_module(composition: Composition, outline: ModuleOutline) -> ModuleInterference | None:
    from plait.algebra.compose_module import choose_size, read_delta
    from plait.algebra.interference import report_module
    from plait.algebra.saved_tensors import combine_saved

    combine_saved(composition, outline)
    if outline.placement is None:
        return None
    deltas = [
        read_delta(composition, index, outline)[0] for index in range(len(composition.inputs))
    ]
    rank: int | None = None
    energy: float | None = None
    if composition.recipe.definition.recompresses:
        rank, energy = choose_size(composition.recipe, outline)
    weights = composition.recipe.weights_at(outline.module)
    return report_module(outline.module, deltas, weights, rank=rank, energy=energy)


def _remark_on_bases(pinned: PinnedRecipe) -> list[str]:
    unknown = [item.label for item in pinned.inputs if item.commit.base.fingerprint is None]
    if not unknown or len(pinned.inputs) == 1:
        return []
    names = ", ".join(unknown)
    return [
        f"{names}: pushed without a fingerprint (--base-dir), so bases are compared by name alone."
    ]


def _remark_on_method(recipe: Recipe) -> list[str]:
    if recipe.definition.kind is MethodKind.COMBINATION:
        return []
    remark = (
        f"{recipe.method} gives no weighted sum: what its outcome keeps of itself at that rank is "
        "known once it is made."
    )
    return [remark]


def _remark_on_modules(composition: Composition) -> list[str]:
    remarks = []
    for index, adapter in enumerate(composition.inputs):
        absent = [
            outline.module
            for outline in composition.modules
            if outline.present and index not in outline.present
        ]
        if absent:
            remarks.append(
                f"{adapter.label} does not adapt {_name(absent)}: it counts as zero there."
            )
    saved = [outline.module for outline in composition.modules if outline.saved]
    if saved:
        remarks.append(
            f"Whole tensors are taken as they are, whatever the weights: {_name(saved)}."
        )
    return remarks


def _name(modules: Sequence[str]) -> str:
    named = ", ".join(module or "the whole model" for module in modules[:MOST_NAMED])
    more = len(modules) - MOST_NAMED
    return f"{named} and {more} more" if more > 0 else named
