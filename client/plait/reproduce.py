"""Carrying out again what a version was made by, to see that it gives the same bytes.

A composition's inputs are taken from the version's own repository, which holds them as its parents,
so that it does not matter what became of the repositories that they came from. An extraction's two
models are on this machine; the version knows their fingerprints.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from plait.cache import Cache
from plait.compose import ARITHMETIC
from plait.compose_folder import Workplace, compose_folder
from plait.compose_inputs import pin_recipe, pull_inputs, use_base
from plait.describe import describe_folder
from plait.errors import InvalidInput
from plait.extract import extract_again
from plait.extract_folder import ModelPair
from plait.lookup import load_commit, load_manifests, resolve
from plait.model.address import RepositoryName
from plait.model.commit import Commit, OriginKind
from plait.model.diff import ManifestDiff, diff_manifests
from plait.model.ids import CommitId, ManifestId, abbreviate
from plait.model.recipe import Recipe
from plait.progress import NO_PROGRESS, Progress
from plait.transport import Transport

_Make: TypeAlias = Callable[[Path], Mapping[str, Any]]
"""Writes the outcome into an empty folder, and returns what was carried out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReproduceWish:
    """What to reproduce, and with what."""

    repository: RepositoryName
    revision: str
    base_folder: Path | None = None
    """The base's weights, where a recipe used them; of an extraction in any case."""
    tuned_folder: Path | None = None
    """The full fine-tune's weights, of an extraction."""
    threads: int = 1


@dataclass(frozen=True, slots=True)
class Reproduced:
    """What carrying it out again gave."""

    commit: CommitId
    expected: ManifestId
    """The version's own."""
    actual: ManifestId
    recipe: Mapping[str, Any]
    """What was carried out: a recipe with its inputs pinned, or the facts of an extraction."""
    difference: ManifestDiff
    """From the version to what came out: no change where it is reproduced."""

    @property
    def is_same(self) -> bool:
        """Whether every byte is the same."""
        return self.expected == self.actual


def reproduce(
    transport: Transport,
    cache: Cache,
    wish: ReproduceWish,
    progress: Progress = NO_PROGRESS,
) -> Reproduced:
    """Return what a version's recipe gives here and now.

    Raises:
        InvalidInput: `recipe-missing`, the version was neither composed nor extracted;
            `delta-missing`, a model that it was made with was not named; `base-mismatch`, another
            one was.
        NotFound: the version is not there.
    """
    commit, manifest_id = resolve(transport, wish.repository, wish.revision)
    document = load_commit(transport, wish.repository, commit).commit
    expected = load_manifests(transport, wish.repository, [manifest_id])[manifest_id]
    if document.origin.kind is OriginKind.EXTRACTION:
        make = _plan_extraction(wish, document, progress)
    else:
        make = _plan_composition(transport, cache, wish, document, progress)
    with tempfile.TemporaryDirectory(prefix="plait-reproduce-") as name:
        recipe = make(Path(name))
        actual = describe_folder(Path(name), progress=progress).manifest
    difference = diff_manifests(expected, actual)
    return Reproduced(commit, manifest_id, actual.id, recipe, difference)


def _plan_composition(
    transport: Transport, cache: Cache, wish: ReproduceWish, document: Commit, progress: Progress
) -> _Make:
    pinned = pin_recipe(transport, read_recipe(document, document.id), home=wish.repository)
    if pinned.recipe.base is not None and wish.base_folder is None:
        raise InvalidInput(
            "delta-missing",
            f"The recipe used the weights of its base {abbreviate(pinned.recipe.base)} "
            f"({document.base.name}): name the folder of that model (--base-dir DIR).",
            base=pinned.recipe.base,
        )
    if wish.base_folder is not None:
        pinned = use_base(pinned, wish.base_folder, progress)
    inputs = pull_inputs(transport, cache, pinned, progress)

    def make(into: Path) -> Mapping[str, Any]:
        place = Workplace(into, wish.base_folder, wish.threads)
        compose_folder(pinned.recipe, inputs, place, progress)
        return pinned.recipe.to_json()

    return make


def _plan_extraction(wish: ReproduceWish, document: Commit, progress: Progress) -> _Make:
    if wish.base_folder is None or wish.tuned_folder is None:
        raise InvalidInput(
            "delta-missing",
            f"The version was extracted from a full fine-tune of {document.base.name}: name the "
            "folders of both models (--base-dir DIR --tuned-dir DIR).",
            base=document.base.fingerprint,
        )
    pair = ModelPair(wish.base_folder, wish.tuned_folder)

    def make(into: Path) -> Mapping[str, Any]:
        return extract_again(document, pair, into, threads=wish.threads, progress=progress)

    return make


def read_recipe(document: Commit, commit: CommitId) -> Recipe:
    """Return the recipe that a version was composed by.

    Raises:
        InvalidInput: `recipe-missing`, it was not composed, or by another definition.
    """
    facts = document.origin.facts
    if document.origin.kind is not OriginKind.COMPOSITION or "recipe" not in facts:
        raise InvalidInput(
            "recipe-missing",
            f"{abbreviate(commit)} was not composed (its origin is {document.origin.kind}), so "
            "that there is no recipe to carry out again: `plait log` shows which versions were.",
        )
    if facts.get("arithmetic") != ARITHMETIC:
        raise InvalidInput(
            "recipe-missing",
            f"{abbreviate(commit)} was composed by the definition {facts.get('arithmetic')!r:.80}, "
            f"and this version of plait knows {ARITHMETIC!r}: use the version that composed it.",
        )
    return Recipe.from_json(facts["recipe"])
