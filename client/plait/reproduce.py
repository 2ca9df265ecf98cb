"""Carrying a version's recipe out again, to see that it gives the same bytes.

The inputs are taken from the version's own repository, which holds them as its parents, so that it
does not matter what became of the repositories that they came from.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from plait.cache import Cache
from plait.compose import ARITHMETIC
from plait.compose_folder import Workplace, compose_folder
from plait.compose_inputs import pin_recipe, pull_inputs, use_base
from plait.describe import describe_folder
from plait.errors import InvalidInput
from plait.lookup import load_commit, load_manifests, resolve
from plait.model.address import RepositoryName
from plait.model.commit import Commit, OriginKind
from plait.model.diff import ManifestDiff, diff_manifests
from plait.model.ids import CommitId, ManifestId, abbreviate
from plait.model.recipe import Recipe
from plait.progress import NO_PROGRESS, Progress
from plait.transport import Transport


@dataclass(frozen=True, slots=True, kw_only=True)
class ReproduceWish:
    """What to reproduce, and with what."""

    repository: RepositoryName
    revision: str
    base_folder: Path | None = None
    """The base's weights, where the recipe used them."""
    threads: int = 1


@dataclass(frozen=True, slots=True)
class Reproduced:
    """What carrying a recipe out again gave."""

    commit: CommitId
    expected: ManifestId
    """The version's own."""
    actual: ManifestId
    recipe: Recipe
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
        InvalidInput: `recipe-missing`, the version was not composed; `delta-missing`, the recipe
            used a base that was not named.
        NotFound: the version is not there.
    """
    commit, manifest_id = resolve(transport, wish.repository, wish.revision)
    document = load_commit(transport, wish.repository, commit).commit
    pinned = pin_recipe(transport, read_recipe(document, commit), home=wish.repository)
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
    expected = load_manifests(transport, wish.repository, [manifest_id])[manifest_id]
    with tempfile.TemporaryDirectory(prefix="plait-reproduce-") as name:
        place = Workplace(Path(name), wish.base_folder, wish.threads)
        compose_folder(pinned.recipe, inputs, place, progress)
        actual = describe_folder(Path(name), progress=progress).manifest
    difference = diff_manifests(expected, actual)
    return Reproduced(commit, manifest_id, actual.id, pinned.recipe, difference)


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
