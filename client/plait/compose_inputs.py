"""From what a recipe names to versions on this machine, pinned and known to fit together.

(1) pin: every revision becomes the commit that it names now, so that an input that moves later
    changes nothing;
(2) compare bases: by fingerprints where both are known, else by name;
(3) pull: every version is complete and verified in the cache.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from plait.cache import Cache
from plait.compose_folder import ComposedInput
from plait.errors import InvalidInput, NotFound, PlaitError
from plait.fingerprint import fingerprint_base
from plait.lookup import load_commit, load_manifests, resolve
from plait.model.address import RepositoryName
from plait.model.commit import Base, Commit
from plait.model.ids import CommitId, ObjectId, abbreviate
from plait.model.recipe import Allowance, Recipe
from plait.model.refs import HEAD
from plait.progress import NO_PROGRESS, Progress
from plait.pull import PullRequest, pull
from plait.transport import Transport


@dataclass(frozen=True, slots=True)
class PinnedInput:
    """One input of a recipe as the commit that it means."""

    label: str
    """How messages name it, as `team/sql@3fa9c2d41b0e`."""
    repository: RepositoryName
    id: CommitId
    commit: Commit


@dataclass(frozen=True, slots=True)
class PinnedRecipe:
    """A recipe whose inputs cannot move any more."""

    recipe: Recipe
    inputs: tuple[PinnedInput, ...]

    @property
    def base(self) -> Base:
        """The base of the outcome: the first input's that has a fingerprint, else the first's."""
        bases = [item.commit.base for item in self.inputs]
        return next((base for base in bases if base.fingerprint is not None), bases[0])


def pin_recipe(
    transport: Transport, recipe: Recipe, *, home: RepositoryName | None = None
) -> PinnedRecipe:
    """Return the recipe with the commits that its inputs name now.

    `home` is a repository that holds every input's history, where an outcome lies already: inputs
    are found there even where the repositories that they came from are gone.

    Raises:
        NotFound: an input is not there, or may not be read; the message names it.
        InvalidInput: `base-mismatch`, or two inputs are the same version.
    """
    inputs = []
    for wanted in recipe.inputs:
        repository = home or RepositoryName.parse(wanted.adapter)
        try:
            commit = wanted.commit
            if commit is None:
                commit, _ = resolve(transport, repository, wanted.revision or HEAD)
            document = load_commit(transport, repository, commit).commit
        except NotFound as error:
            raise _name_input(error, wanted.label) from error
        label = f"{wanted.adapter}@{abbreviate(commit)}"
        inputs.append(PinnedInput(label, repository, commit, document))
    pinned = recipe.pin([item.id for item in inputs])
    verify_bases(inputs, allow=Allowance.BASE_MISMATCH in recipe.allow)
    return PinnedRecipe(pinned, tuple(inputs))


def pull_inputs(
    transport: Transport,
    cache: Cache,
    pinned: PinnedRecipe,
    progress: Progress = NO_PROGRESS,
) -> list[ComposedInput]:
    """Return the inputs' folders in the cache.

    Raises:
        NotFound, Integrity, Unavailable: as `pull`; the message names the input.
    """
    found = []
    for item in pinned.inputs:
        try:
            pulled = pull(transport, item.repository, cache, PullRequest(item.id), progress)
            manifest = cache.find_manifest(pulled.manifest)
            if manifest is None:
                loaded = load_manifests(transport, item.repository, [pulled.manifest])
                manifest = loaded[pulled.manifest]
        except NotFound as error:
            raise _name_input(error, item.label) from error
        found.append(ComposedInput(item.label, pulled.path, manifest))
    return found


def use_base(pinned: PinnedRecipe, folder: Path, progress: Progress = NO_PROGRESS) -> PinnedRecipe:
    """Return the recipe with the fingerprint of the base model whose weights it may use.

    Raises:
        InvalidInput: `base-mismatch`, an input or the recipe belongs to another base.
    """
    fingerprint = fingerprint_base(folder, progress=progress)
    if pinned.recipe.base not in {None, fingerprint}:
        raise InvalidInput(
            "base-mismatch",
            f"The recipe was carried out with the base {abbreviate(str(pinned.recipe.base))} and "
            f"{folder} holds {abbreviate(fingerprint)}: name the folder of the same weights.",
            expected=pinned.recipe.base,
            actual=fingerprint,
        )
    if Allowance.BASE_MISMATCH not in pinned.recipe.allow:
        for item in pinned.inputs:
            _verify_fingerprint(item, folder, fingerprint)
    return replace(pinned, recipe=replace(pinned.recipe, base=fingerprint))


def verify_bases(inputs: Sequence[PinnedInput], *, allow: bool) -> None:
    """Check that all inputs belong to the same base.

    Raises:
        InvalidInput: `base-mismatch`, unless that is allowed.
    """
    if allow:
        return
    first = inputs[0]
    for item in inputs[1:]:
        one, other = first.commit.base, item.commit.base
        is_known = one.fingerprint is not None and other.fingerprint is not None
        if one.fingerprint == other.fingerprint if is_known else one.name == other.name:
            continue
        raise InvalidInput(
            "base-mismatch",
            f"{first.label} was trained on {_describe(one)} and {item.label} on "
            f"{_describe(other)}: what one adapter changes means nothing to the other's base. If "
            "they are the same weights under two names, say so (--allow base-mismatch).",
            inputs=[first.label, item.label],
        )


def _verify_fingerprint(item: PinnedInput, folder: Path, fingerprint: ObjectId) -> None:
    wanted = item.commit.base.fingerprint
    if wanted not in {None, fingerprint}:
        raise InvalidInput(
            "base-mismatch",
            f"{item.label} was trained on {_describe(item.commit.base)} and {folder} holds "
            f"{abbreviate(fingerprint)}: name the folder of the weights that it was trained on.",
            expected=wanted,
            actual=fingerprint,
        )


def _describe(base: Base) -> str:
    mark = "" if base.fingerprint is None else f" ({abbreviate(base.fingerprint)})"
    return f"{base.name}{mark}"


def _name_input(error: PlaitError, label: str) -> NotFound:
    return NotFound(error.kind, f"The input {label}: {error.message}", **error.details)
