"""Composing: a recipe becomes the next version of a branch, with all inputs as its parents.

(1) pin the inputs, see that they fit together, and pull them;
(2) see where the branch is; an absent repository is made where the caller allows that;
(3) carry the recipe out in a temporary folder;
(4) commit with the branch's version and the inputs as parents, the pinned recipe in the origin;
(5) push, with the inputs' history where the repository lacks it, expecting the branch where (2) saw
    it. A branch that has this very outcome already is left alone.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plait import wire
from plait.cache import Cache
from plait.compose_folder import Workplace, compose_folder
from plait.compose_inputs import PinnedRecipe, pin_recipe, pull_inputs, use_base
from plait.describe import Description, describe_folder
from plait.destination import write_destination
from plait.errors import Conflict, NotFound
from plait.inherited_history import (
    History,
    collect_history,
    fetch_inherited,
    verify_disclosure,
)
from plait.lookup import load_commit
from plait.model.address import RepositoryName
from plait.model.commit import Commit, Origin, OriginKind, Person, clean_message
from plait.model.ids import CommitId, ManifestId, ObjectId
from plait.model.recipe import Allowance, Recipe
from plait.model.refs import DEFAULT_BRANCH, RefKind, RefName, RefUpdate
from plait.module_figures import fit_modules
from plait.progress import NO_PROGRESS, Progress
from plait.push import PushRequest, push_commits
from plait.push_folder import explain_conflict, find_head
from plait.transport import Transport, repository_path

if TYPE_CHECKING:
    from plait.algebra.module_report import ModuleReport

ARITHMETIC = "plait-fp64/1"
"""The definition of every sum and its order; a later one gives other bytes, and another name."""
NOTE = "composition"
"""The kind of note that figures hang on a commit as."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ComposeWish:
    """What to compose, and what its commit shall say."""

    recipe: Recipe
    repository: RepositoryName
    author: Person
    time: str
    """UTC, as 2026-11-24T06:07:00Z."""
    branch: RefName = DEFAULT_BRANCH
    message: str | None = None
    """None: one that names the method and the inputs."""
    base_folder: Path | None = None
    """The base model's weights, for methods and families that need them."""
    create: bool = False
    """Make the repository where it is absent."""
    threads: int = 1


@dataclass(frozen=True, slots=True)
class Composed:
    """What a composition gave."""

    commit: CommitId
    manifest: ManifestId
    branch: RefName
    recipe: Recipe
    """Pinned."""
    result: wire.PushResult | None
    """None: the branch had this outcome already."""
    reports: tuple[ModuleReport, ...]


def compose(
    transport: Transport, cache: Cache, wish: ComposeWish, progress: Progress = NO_PROGRESS
) -> Composed:
    """Compose as the module says.

    Raises:
        InvalidInput: the recipe cannot be carried out; nothing was published.
        NotFound: an input, or the repository without `create`.
        Conflict: somebody else moved the branch meanwhile; nothing was published.
    """
    # (1) pin and pull.
    pinned = pin_recipe(transport, wish.recipe)
    if wish.base_folder is not None:
        pinned = use_base(pinned, wish.base_folder, progress)
    # (2) find the branch.
    head, is_absent = _look(transport, wish)
    _verify_readers(transport, wish.repository, pinned, is_absent=is_absent)
    inputs = pull_inputs(transport, cache, pinned, progress)
    with tempfile.TemporaryDirectory(prefix="plait-compose-") as name:
        # (3) carry out.
        place = Workplace(Path(name), wish.base_folder, wish.threads)
        reports = compose_folder(pinned.recipe, inputs, place, progress)
        description = describe_folder(Path(name), progress=progress)
        # (4) commit.
        commit = _make_commit(wish, pinned, head, description.manifest.id)
        outcome = Composed(
            commit.id, commit.manifest, wish.branch, pinned.recipe, None, tuple(reports)
        )
        if head is not None and _is_there(transport, wish.repository, head, commit):
            return replace(outcome, commit=head)
        # (5) push.
        if is_absent:
            find_head(transport, wish.repository, wish.branch, create=True)
        tips = [(item.repository, item.id) for item in pinned.inputs]
        history = collect_history(transport, wish.repository, tips)
        request = PushRequest(
            update=RefUpdate(RefKind.BRANCH, wish.branch, head, commit.id),
            commits=[*history.commits, commit],
            manifests={**history.manifests, commit.manifest: description.manifest},
            find_file=_file_finder(transport, cache, description, history),
            notes=[wire.PushNote(commit.id, NOTE, summarise(reports))],
        )
        try:
            result = push_commits(transport, wish.repository, request, progress)
        except Conflict as error:
            raise explain_conflict(error, wish.repository, wish.branch) from error
    return replace(outcome, result=result)


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderWish:
    """What to compose into a folder."""

    recipe: Recipe
    destination: Path
    force: bool = False
    """Replace files of the same names."""
    base_folder: Path | None = None
    threads: int = 1


@dataclass(frozen=True, slots=True)
class ComposedFolder:
    """What a composition into a folder gave."""

    manifest: ManifestId
    recipe: Recipe
    """Pinned."""
    reports: tuple[ModuleReport, ...]


def compose_to_folder(
    transport: Transport, cache: Cache, wish: FolderWish, progress: Progress = NO_PROGRESS
) -> ComposedFolder:
    """Compose into a folder, and push nothing; raises as `compose`, and as `write_destination`."""
    pinned = pin_recipe(transport, wish.recipe)
    if wish.base_folder is not None:
        pinned = use_base(pinned, wish.base_folder, progress)
    inputs = pull_inputs(transport, cache, pinned, progress)
    with tempfile.TemporaryDirectory(prefix="plait-compose-") as name:
        place = Workplace(Path(name), wish.base_folder, wish.threads)
        reports = compose_folder(pinned.recipe, inputs, place, progress)
        description = describe_folder(Path(name), progress=progress)
        write_destination(description.sources, wish.destination, force=wish.force)
    return ComposedFolder(description.manifest.id, pinned.recipe, tuple(reports))


def summarise(reports: Sequence[ModuleReport]) -> dict[str, Any]:
    """Return what a note says of a composition: in all, and for each module."""
    norm = math.hypot(*(report.norm for report in reports))
    whole = math.hypot(*(_norm_before_cut(report) for report in reports))
    moved = math.hypot(*(report.rounding * report.norm for report in reports))
    return {
        "kept": 1.0 if whole == 0.0 else (norm / whole) ** 2,
        "rounding": 0.0 if norm == 0.0 else moved / norm,
        **fit_modules([report.to_json() for report in reports]),
    }


def _norm_before_cut(report: ModuleReport) -> float:
    return report.norm / math.sqrt(report.kept) if report.kept > 0.0 else 0.0


def _make_commit(
    wish: ComposeWish, pinned: PinnedRecipe, head: CommitId | None, manifest: ManifestId
) -> Commit:
    inputs = [item.id for item in pinned.inputs]
    parents = inputs if head is None or head in inputs else [head, *inputs]
    if head in inputs:
        # The first parent is the version that this one continues.
        parents = sorted(inputs, key=lambda commit: commit != head)
    return Commit(
        manifest=manifest,
        parents=tuple(parents),
        author=wish.author,
        time=wish.time,
        message=clean_message(wish.message or describe_recipe(pinned)),
        base=pinned.base,
        origin=Origin(
            OriginKind.COMPOSITION,
            {"recipe": pinned.recipe.to_json(), "arithmetic": ARITHMETIC},
        ),
    )


def describe_recipe(pinned: PinnedRecipe) -> str:
    """Return a commit's message that says what was composed."""
    terms = [
        f"{wanted.weight:g} {item.label}"
        for wanted, item in zip(pinned.recipe.inputs, pinned.inputs, strict=True)
    ]
    subject = f"Compose {len(terms)} adapters by {pinned.recipe.method}"
    if len(terms) == 1:
        subject = f"{pinned.recipe.method.capitalize()} {pinned.inputs[0].label}"
    return "\n".join([subject, "", *terms])


def _is_there(
    transport: Transport, repository: RepositoryName, head: CommitId, commit: Commit
) -> bool:
    """Tell whether the branch is at this outcome of this recipe already."""
    there = load_commit(transport, repository, head).commit
    return there.manifest == commit.manifest and there.origin == commit.origin


def _look(transport: Transport, wish: ComposeWish) -> tuple[CommitId | None, bool]:
    """Return where the branch is, and whether the repository has yet to be made."""
    try:
        return find_head(transport, wish.repository, wish.branch, create=False), False
    except NotFound:
        if not wish.create:
            raise
        # It is made once there is something to put into it.
        return None, True


def _verify_readers(
    transport: Transport, repository: RepositoryName, pinned: PinnedRecipe, *, is_absent: bool
) -> None:
    if Allowance.DISCLOSURE in pinned.recipe.allow:
        return
    is_private = True  # as a repository is made
    if not is_absent:
        answer = transport.call("GET", repository_path(repository))
        is_private = wire.decode(wire.Repository, answer).private
    verify_disclosure(
        transport,
        repository,
        [(item.label, item.repository) for item in pinned.inputs],
        target_is_private=is_private,
    )


def _file_finder(
    transport: Transport, cache: Cache, description: Description, history: History
) -> Callable[[ObjectId], Path]:
    own = {file.sha256: description.sources[file.path] for file in description.manifest.files}

    def find(file: ObjectId) -> Path:
        return own.get(file) or fetch_inherited(transport, cache, history, file)

    return find
