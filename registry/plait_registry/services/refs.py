"""Listing, making, moving and deleting branches and tags."""

from __future__ import annotations

from collections.abc import Sequence

from plait.errors import Conflict, NotFound
from plait.model.address import RepositoryName
from plait.model.commit_graph import is_ancestor
from plait.model.ids import CommitId, abbreviate
from plait.model.refs import Ref, RefKind, RefName, RefUpdate
from plait.model.revision import resolve_revision
from plait_registry.domain.access import Caller, Right
from plait_registry.domain.change import Action, Change
from plait_registry.domain.ports import Clock, Database, Records
from plait_registry.domain.protection import verify_deletion
from plait_registry.domain.records import RepositoryRecord
from plait_registry.domain.ref_update import verify_expected, verify_fast_forward
from plait_registry.services.access import find_repository, right_to
from plait_registry.services.changes import record_change
from plait_registry.services.commit_source import RecordsSource
from plait_registry.services.guard_push import verify_commit_held
from plait_registry.services.guard_ref import verify_update_allowed
from plait_registry.services.limits import verify_room_for_ref
from plait_registry.services.trigger_validation import trigger_validation


class ListRefs:
    """Lists the refs of a repository."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def __call__(
        self, caller: Caller, name: RepositoryName
    ) -> tuple[RepositoryRecord, Sequence[Ref]]:
        """Return the repository and all of its refs, sorted by kind and name.

        They are `plait_registry.services.limits.MOST_REFS` at most, so that there are no pages.
        """
        with self._database.read() as records:
            repository = find_repository(records, caller, name, Right.READ)
            return repository, records.refs.list(repository.id)


class CreateRef:
    """Makes a branch or tag at a revision that is there."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def __call__(
        self, caller: Caller, name: RepositoryName, kind: RefKind, ref: RefName, revision: str
    ) -> Ref:
        """Return the new ref; the same one again is fine.

        Raises:
            NotFound: `revision-not-found`.
            Conflict: `ref-update-conflict`, the name points elsewhere; `tag-name-retired`.
            AlreadyExists: `ref-exists`, the name is that of a ref of the other kind.
            PermissionDenied: `ref-protected`, `attestations-missing`.
            TooLarge: `too-many-refs`.
        """
        with self._database.read() as records:
            repository = find_repository(records, caller, name, Right.WRITE)
            target = resolve_revision(revision, RecordsSource(records, repository))
        now = self._clock.now()

        def create(records: Records) -> Ref:
            repository = find_repository(records, caller, name, Right.WRITE)
            if records.refs.find(repository.id, ref) == Ref(kind, ref, target):
                return Ref(kind, ref, target)
            update = RefUpdate(kind, ref, None, target)
            verify_update_allowed(records, caller, repository, update)
            verify_commit_held(records, repository, target)
            verify_room_for_ref(records, repository, update)
            records.refs.compare_and_set(repository.id, update)
            change = Change.of_repository(
                Action.REF_CREATE, repository.name, kind=kind.value, ref=ref, new=target
            )
            record_change(records, caller, change, at=now)
            trigger_validation(records, caller, repository, update, at=now)
            return Ref(kind, ref, target)

        return self._database.transact(create)


class MoveRef:
    """Moves a branch between commits that are there."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def __call__(self, caller: Caller, name: RepositoryName, update: RefUpdate) -> Ref:
        """Return the moved ref.

        Raises:
            NotFound: `commit-not-found`.
            Conflict: `ref-update-conflict`, or `ref-not-fast-forward` without force.
            PermissionDenied: `ref-protected`, `attestations-missing`.
        """
        # Histories never change, so that only the swap itself has to keep other writers waiting.
        with self._database.read() as records:
            repository = find_repository(records, caller, name, Right.WRITE)
            verify_update_allowed(records, caller, repository, update)
            if update.new not in records.commits.load(repository.id, [update.new]):
                raise NotFound(
                    "commit-not-found",
                    f"The commit {abbreviate(update.new)} is not in {name}: push it first.",
                )
            verify_expected(update, records.refs.find(repository.id, update.name))
            if update.expected is not None and not update.force:
                source = RecordsSource(records, repository)
                forward = is_ancestor(source, update.expected, update.new)
                verify_fast_forward(update, forward=forward)
        now = self._clock.now()

        def move(records: Records) -> Ref:
            repository = find_repository(records, caller, name, Right.WRITE)
            moved = Ref(update.kind, update.name, update.new)
            if records.refs.find(repository.id, update.name) == moved:
                return moved
            verify_update_allowed(records, caller, repository, update)
            verify_commit_held(records, repository, update.new)
            records.refs.compare_and_set(repository.id, update)
            record_change(records, caller, describe_move(repository.name, update), at=now)
            trigger_validation(records, caller, repository, update, at=now)
            return moved

        return self._database.transact(move)


class DeleteRef:
    """Deletes a branch or tag; what it pointed at stays until garbage collection."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def __call__(
        self,
        caller: Caller,
        name: RepositoryName,
        kind: RefKind,
        ref: RefName,
        expected: CommitId,
    ) -> None:
        """Delete the ref if it points at `expected`.

        A tag's name is retired with it, which takes a maintainer.

        Raises:
            NotFound: `ref-not-found`, also where the name is of the other kind.
            Conflict: `ref-update-conflict`; the default branch cannot be deleted.
            PermissionDenied: `permission-denied`, `ref-protected`.
        """
        now = self._clock.now()
        need = Right.MAINTAIN if kind is RefKind.TAG else Right.WRITE

        def delete(records: Records) -> None:
            repository = find_repository(records, caller, name, need)
            current = records.refs.find(repository.id, ref)
            if current is None or current.kind is not kind:
                raise NotFound("ref-not-found", f"There is no {kind} {ref!r} in {name}.")
            if ref == repository.default_branch:
                raise Conflict(
                    "default-branch",
                    f"{ref!r} is the default branch of {name} and cannot be deleted.",
                )
            rules = records.protections.list(repository.id)
            verify_deletion(rules, ref, right_to(caller, repository))
            records.refs.delete(repository.id, ref, expected)
            change = Change.of_repository(
                Action.REF_DELETE, repository.name, kind=kind.value, ref=ref, old=expected
            )
            record_change(records, caller, change, at=now)

        self._database.transact(delete)


def describe_move(name: RepositoryName, update: RefUpdate) -> Change:
    """Return the change that a moved ref is."""
    return Change.of_repository(
        Action.REF_MOVE,
        name,
        kind=update.kind.value,
        ref=update.name,
        old=update.expected,
        new=update.new,
        force=update.force,
    )
