"""Asking for a composition: from a recipe to a job that waits.

(1) look at everything that can be seen without weights: rights, rules, the recipe;
(2) pin the inputs, so that the outcome is what was asked for, however branches move meanwhile;
(3) make the target where it is absent and shall be made;
(4) queue the job, if there is room.

What was looked at is looked at again when the job runs, since it acts by a token of its own.
"""

from __future__ import annotations

import secrets
from dataclasses import replace

from plait.errors import AlreadyExists, InvalidInput, NotFound, PermissionDenied, PlaitError
from plait.model.address import RepositoryName
from plait.model.ids import CommitId, abbreviate
from plait.model.recipe import Recipe
from plait.model.recipe_input import RecipeInput
from plait.model.refs import HEAD, RefKind
from plait.model.revision import resolve_revision
from plait_registry.domain.access import Caller, Right, verify_right
from plait_registry.domain.accounts import UserId
from plait_registry.domain.change import Action, Change
from plait_registry.domain.composition_wish import CompositionWish
from plait_registry.domain.jobs import JobId, JobKind, JobRow, Requester
from plait_registry.domain.ports import Clock, Database, Records
from plait_registry.domain.protection import find_attesting_rule, verify_move
from plait_registry.domain.records import RepositoryRecord
from plait_registry.services.access import find_repository
from plait_registry.services.changes import record_change
from plait_registry.services.commit_source import RecordsSource
from plait_registry.services.find_job import JobView
from plait_registry.services.limits import verify_room_for_job
from plait_registry.services.repositories import CreateRepository


class SubmitComposition:
    """Queues a composition."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._create_repository = CreateRepository(database, clock)

    def __call__(
        self, caller: Caller, name: RepositoryName, wish: CompositionWish, *, create: bool
    ) -> JobView:
        """Return the job.

        Raises:
            NotFound: `repository-not-found`, the target or an input; `revision-not-found`,
                `commit-not-found`.
            InvalidInput: `invalid-recipe`, or it needs what the registry does not have.
            PermissionDenied: `permission-denied`, `ref-protected`.
            AlreadyExists: `ref-exists`, the branch is a tag.
            Conflict: `too-many-jobs`.
        """
        with self._database.read() as records:
            # (1) Look.
            is_missing = self._look(records, caller, name, wish, create=create)
            # (2) Pin.
            pinned = replace(wish, recipe=pin_recipe(records, caller, wish.recipe))
        payload = pinned.to_bytes()
        # (3) Make the target.
        if is_missing:
            self._make_repository(caller, name)
        now, key = self._clock.now(), JobId(f"job{secrets.token_hex(8)}")
        user = None if caller.user is None else UserId(caller.user)

        def submit(records: Records) -> JobView:
            repository = find_repository(records, caller, name, Right.WRITE)
            verify_branch(records, repository, wish)
            verify_room_for_job(records, repository, user)
            job = records.jobs.insert(
                JobRow(
                    id=key,
                    kind=JobKind.COMPOSITION,
                    repository=repository.id,
                    target=repository.name,
                    requester=Requester(caller.name, user, caller.token),
                    inputs=pinned.inputs,
                    ref=wish.branch,
                    created_at=now,
                    due_at=now,
                ),
                payload,
            )
            change = Change.of_repository(
                Action.JOB_SUBMIT,
                repository.name,
                job=key,
                kind=JobKind.COMPOSITION.value,
                ref=wish.branch,
            )
            record_change(records, caller, change, at=now)
            return JobView(job, payload)

        # (4) Queue.
        return self._database.transact(submit)

    def _look(
        self,
        records: Records,
        caller: Caller,
        name: RepositoryName,
        wish: CompositionWish,
        *,
        create: bool,
    ) -> bool:
        """Check what the target says; return whether it has to be made."""
        _verify_without_base(wish.recipe)
        try:
            repository = find_repository(records, caller, name, Right.WRITE)
        except NotFound:
            if not create:
                raise
            place = f"the namespace {name.namespace}"
            verify_right(caller, caller.right_in(name.namespace), Right.MAINTAIN, place)
            return True
        verify_branch(records, repository, wish)
        return False

    def _make_repository(self, caller: Caller, name: RepositoryName) -> None:
        try:
            self._create_repository(caller, name, "")
        except AlreadyExists:
            # Somebody made it since we looked.
            return


def pin_recipe(records: Records, caller: Caller, recipe: Recipe) -> Recipe:
    """Return the recipe with the commits that its inputs name now.

    Raises:
        NotFound, InvalidInput: an input names nothing that the caller may read; says which.
    """
    commits = []
    for place, item in enumerate(recipe.inputs, start=1):
        try:
            commits.append(_find_commit(records, caller, item))
        except PlaitError as error:
            message = f"Input {place} of the recipe, {item.adapter}: {error.message}"
            raise type(error)(error.kind, message, **error.details) from error
    return recipe.pin(commits)


def verify_branch(records: Records, repository: RepositoryRecord, wish: CompositionWish) -> None:
    """Check that a job, which may write and no more, can move the branch.

    Raises:
        AlreadyExists: `ref-exists`.
        PermissionDenied: `ref-protected`, `attestations-missing`.
    """
    ref = records.refs.find(repository.id, wish.branch)
    if ref is not None and ref.kind is not RefKind.BRANCH:
        raise AlreadyExists(
            "ref-exists",
            f"{wish.branch!r} is a tag of {repository.name}, and tags never move: choose another "
            "name for the branch.",
            ref=wish.branch,
            actual=ref.target,
        )
    rules = records.protections.list(repository.id)
    attesting = find_attesting_rule(rules, wish.branch)
    if attesting is not None:
        raise PermissionDenied(
            "attestations-missing",
            f"{wish.branch!r} moves only to commits that validators have attested, by the rule for "
            f"{attesting.pattern!r}, and nobody has attested what is yet to be composed: name "
            "another branch, have the outcome validated, then move this one to it.",
            ref=wish.branch,
            pattern=attesting.pattern,
        )
    try:
        verify_move(rules, wish.branch, Right.WRITE, is_forced=False)
    except PermissionDenied as error:
        raise PermissionDenied(
            error.kind,
            f"A job has the right to write and no more, whoever asks for it. {error.message}",
            **error.details,
        ) from error


def _find_commit(records: Records, caller: Caller, item: RecipeInput) -> CommitId:
    repository = find_repository(records, caller, RepositoryName.parse(item.adapter), Right.READ)
    if item.commit is None:
        return resolve_revision(item.revision or HEAD, RecordsSource(records, repository))
    if item.commit not in records.commits.load(repository.id, [item.commit]):
        raise NotFound(
            "commit-not-found",
            f"The commit {abbreviate(item.commit)} is not in {repository.name}.",
        )
    return item.commit


def _verify_without_base(recipe: Recipe) -> None:
    if recipe.definition.needs_base or recipe.base is not None:
        raise InvalidInput(
            "invalid-recipe",
            f"{recipe.method} works on the weights of the base model here, which the registry does "
            "not have: run it where they are, by `plait compose` with --base-dir.",
        )
