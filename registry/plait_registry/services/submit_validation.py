"""Asking for a validation: from a revision to a job that waits for a validator.

A commit is validated once by each definition: whoever asks again is shown the job that waits, runs
or is done, unless they ask for another one, as somebody does who wants the word of a second
validator. What failed or was cancelled is no answer, so that asking again queues it.
"""

from __future__ import annotations

import secrets

from plait.errors import InvalidInput
from plait.model import canonical
from plait.model.address import RepositoryName
from plait.model.commit import Commit
from plait.model.ids import CommitId, ObjectId, abbreviate
from plait.model.manifest import Manifest
from plait.model.paths import is_safetensors
from plait.model.repository_kind import RepositoryKind
from plait.model.revision import resolve_revision
from plait_registry.domain.access import Caller, Readable, Right
from plait_registry.domain.accounts import UserId
from plait_registry.domain.bases import BaseQuery
from plait_registry.domain.change import Action, Change
from plait_registry.domain.jobs import (
    JobId,
    JobKind,
    JobProgress,
    JobRow,
    JobState,
    Requester,
)
from plait_registry.domain.ports import Clock, Database, Records
from plait_registry.domain.records import RepositoryRecord
from plait_registry.domain.validation_wish import (
    HeldAt,
    ValidationPayload,
    ValidationWish,
    choose_base,
)
from plait_registry.services.access import find_repository
from plait_registry.services.changes import record_change
from plait_registry.services.commit_source import RecordsSource
from plait_registry.services.end_job import write_end
from plait_registry.services.find_job import JobView, look_at
from plait_registry.services.limits import verify_room_for_job


class SubmitValidation:
    """Queues a validation, or finds the one that is there."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def __call__(self, caller: Caller, name: RepositoryName, wish: ValidationWish) -> JobView:
        """Return the job.

        Raises:
            NotFound: `repository-not-found`, `revision-not-found`.
            InvalidInput: `base-mismatch`; `not-mergeable`, the repository holds bases.
            PermissionDenied: `permission-denied`.
            Conflict: `too-many-jobs`.
        """
        now = self._clock.now()

        def submit(records: Records) -> JobView:
            repository = find_repository(records, caller, name, Right.WRITE)
            _verify_adapters(repository)
            commit = resolve_revision(wish.revision, RecordsSource(records, repository))
            named = find_base(records, caller, repository, commit)
            base = choose_base(wish.base, named)
            held = find_weights(records, caller, base)
            payload = ValidationPayload(commit, wish.definition, base, held)
            found = find_answer(records, repository, payload, again=wish.again)
            if found is not None:
                waiting = ValidationPayload.from_bytes(records.jobs.load_payload(found.id))
                if found.state is not JobState.QUEUED or not _can_end_waiting(waiting, payload):
                    return look_at(records, caller, found)
                # Since it was asked for, the base came to the registry, say: it waits in vain.
                write_end(records, found.cancelled(now), now, by=caller)
            verify_room_for_job(records, repository, find_own_requester(records, caller).user)
            return queue_validation(records, caller, repository, payload, at=now)

        return self._database.transact(submit)


def _can_end_waiting(waiting: ValidationPayload, asked: ValidationPayload) -> bool:
    """Tell whether what is asked for needs less than what waits: never more, whoever asks."""
    knows_base = waiting.base is None and asked.base is not None
    has_weights = waiting.held is None and asked.held is not None
    return has_weights or (knows_base and waiting.held is None)


def _verify_adapters(repository: RepositoryRecord) -> None:
    if repository.kind is not RepositoryKind.ADAPTER:
        raise InvalidInput(
            "not-mergeable",
            f"{repository.name} holds versions of a base model, and adapters are what is merged "
            "and validated: name a repository of those.",
        )


def find_base(
    records: Records, caller: Caller, repository: RepositoryRecord, commit: CommitId
) -> ObjectId | None:
    """Return the fingerprint of a commit's base.

    Where the commit names its base without one, it is that of the only base of this name, and of
    this revision if one is named, that the registry has for the caller.
    """
    row = records.commits.load(repository.id, [commit])[commit]
    base = Commit.from_bytes(row.body).base
    if base.fingerprint is not None:
        return base.fingerprint
    held = records.bases.search(BaseQuery(Readable.by(caller), name=base.name))
    found = {
        item.row.fingerprint
        for item in held
        if base.revision is None or item.row.revision == base.revision
    }
    return found.pop() if len(found) == 1 else None


def find_weights(records: Records, caller: Caller, base: ObjectId | None) -> HeldAt | None:
    """Return where the registry has a base's weights for the caller, beside its card."""
    if base is None:
        return None
    for held in records.bases.search(BaseQuery(Readable.by(caller), fingerprint=base)):
        repository = records.repositories.get(held.repository)
        commit = records.commits.load(repository.id, [held.row.commit])[held.row.commit]
        (body,) = records.files.load_manifests(repository.id, [commit.manifest]).values()
        manifest = Manifest.from_json(canonical.loads(body))
        if any(is_safetensors(file.path) for file in manifest.files):
            return HeldAt(held.repository, held.row.commit)
    return None


def _tell_what_is_needed(payload: ValidationPayload) -> str:
    """Return what people should know of a job that waits; empty where it waits for its turn."""
    if payload.needs is None:
        return ""
    base = "its base" if payload.base is None else f"the base {abbreviate(payload.base)}"
    return (
        f"Waiting for a worker that has {base}: run `plait-registry worker --bases DIR` where it "
        "is, push it with its weights by `plait base push`, or validate there by `plait validate "
        "--here --base DIR`"
    )


def find_own_requester(records: Records, caller: Caller) -> Requester:
    """Return who asks; for a job's process, who asked for that job."""
    if caller.job is not None:
        job = records.jobs.find_by_digest(caller.job)
        if job is not None:
            return job.requester
    user = None if caller.user is None else UserId(caller.user)
    return Requester(caller.name, user, caller.token)


def find_answer(
    records: Records, repository: RepositoryRecord, payload: ValidationPayload, *, again: bool
) -> JobRow | None:
    """Return the job that answers, or will, what another one would; None where one is needed."""
    found = records.jobs.find_latest(repository.id, payload.subject)
    if found is None:
        return None
    answers = found.state.is_open or (found.state is JobState.DONE and not again)
    return found if answers else None


def queue_validation(
    records: Records,
    caller: Caller,
    repository: RepositoryRecord,
    payload: ValidationPayload,
    *,
    at: str,
) -> JobView:
    """Queue a validation; call it last in a transaction."""
    document = payload.to_bytes()
    job = records.jobs.insert(
        JobRow(
            id=JobId(f"job{secrets.token_hex(8)}"),
            kind=JobKind.VALIDATION,
            repository=repository.id,
            target=repository.name,
            requester=find_own_requester(records, caller),
            inputs=() if payload.held is None else (payload.held.repository,),
            ref=None,
            created_at=at,
            due_at=at,
            subject=payload.subject,
            base=payload.needs,
            progress=JobProgress(what=_tell_what_is_needed(payload)),
        ),
        document,
    )
    change = Change.of_repository(
        Action.JOB_SUBMIT,
        repository.name,
        job=job.id,
        kind=JobKind.VALIDATION.value,
        commit=payload.commit,
    )
    record_change(records, caller, change, at=at)
    return JobView(job, document)
