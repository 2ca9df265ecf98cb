"""Asking for a validation: who may, what it is about, and that nobody does the same work twice."""

from dataclasses import replace
from typing import Any

import pytest

from care.worlds import World
from plait.errors import Conflict, InvalidInput, NotFound, PermissionDenied
from plait.model.address import RepositoryName
from plait.model.ids import CommitId, ManifestId, ObjectId
from plait.model.merge_digests import DEFINITION
from plait.model.refs import RefKind, RefName, RefUpdate
from plait.model.repository_kind import RepositoryKind
from plait.model.validation import BaseWeights, Validation, Verdict
from plait_registry.domain.access import SYSTEM, Access, Caller, Role, Scope
from plait_registry.domain.accounts import AuditQuery
from plait_registry.domain.bases import BaseRow
from plait_registry.domain.jobs import (
    JobId,
    JobKind,
    JobOffer,
    JobResult,
    JobRow,
    JobState,
)
from plait_registry.domain.validation_wish import (
    ANY_BASE,
    HeldAt,
    ValidationPayload,
    ValidationTrigger,
    choose_base,
    offer_bases,
    parse_trigger,
    parse_wish,
)
from plait_registry.services import limits, submit_validation
from plait_registry.services.authenticate import Authenticate
from plait_registry.services.find_job import JobView
from plait_registry.services.job_services import JobServices, build_job_services
from plait_registry.services.record_validation import RecordValidation
from plait_registry.services.refs import CreateRef, MoveRef
from plait_registry.services.repositories import CreateRepository
from plait_registry.services.run_jobs import ClaimedJob
from reference.memory_registry import make_version

SQL = RepositoryName("team", "sql")
FIRST = make_version("first")
SECOND = make_version("second", FIRST.id)
WRITER = Caller("will", roles={"team": Role.WRITER})
WORKER = Caller("gpu", is_admin=True, scopes=(Scope("*", Access.WORK),), token="t1", user=7)
BASE, OTHER = ObjectId("b" * 64), ObjectId("c" * 64)
VALIDATIONS = JobOffer(frozenset({JobKind.VALIDATION}))


@pytest.fixture
def world() -> World:
    world = World()
    world.publish(FIRST)
    world.publish(SECOND)
    return world


@pytest.fixture
def jobs(world: World) -> JobServices:
    return build_job_services(world.data, world.clock, keep_days=30)


def submit(
    jobs: JobServices, revision: str = "main", caller: Caller = WRITER, **more: Any
) -> JobView:
    given = {"definition": None, "base": None, "again": False} | more
    return jobs.submit_validation(caller, SQL, parse_wish(revision, **given))


def take(jobs: JobServices, offer: JobOffer = VALIDATIONS) -> ClaimedJob:
    taken = jobs.take(WORKER, offer)
    assert taken is not None
    return taken


def process_of(world: World, taken: ClaimedJob) -> Caller:
    return Authenticate(world.data, world.clock, lambda _token: False)(taken.token)


def record(world: World, taken: ClaimedJob) -> None:
    """Record that the commit cannot be merged."""
    payload = ValidationPayload.from_bytes(taken.payload)
    seen = Validation(
        definition=payload.definition,
        commit=payload.commit,
        base=None,
        base_weights=BaseWeights.ORIGINAL,
        verdict=Verdict.NOT_MERGEABLE,
        started_at=world.clock.now(),
        ended_at=world.clock.now(),
    )
    RecordValidation(world.data, world.clock)(process_of(world, taken), SQL, seen.commit, seen)


def finish(world: World, jobs: JobServices, taken: ClaimedJob) -> JobRow:
    record(world, taken)
    manifest = ManifestId(str(SECOND.commit["manifest"]))
    outcome = JobResult(SECOND.id, manifest, "not-mergeable")
    return jobs.complete(process_of(world, taken), taken.job.id, outcome)


def test_validation_is_of_the_commit_that_the_revision_names_then(
    world: World, jobs: JobServices
) -> None:
    view = submit(jobs, base=BASE)
    assert view.payload is not None
    payload = ValidationPayload.from_bytes(view.payload)
    assert payload == ValidationPayload(SECOND.id, DEFINITION, BASE)
    assert (view.job.kind, view.job.ref, view.job.inputs) == (JobKind.VALIDATION, None, ())
    assert (view.job.subject, view.job.base) == (f"{DEFINITION} {SECOND.id}", BASE)
    with world.data.read() as records:
        (row, *_) = records.audit.search(AuditQuery(subject=str(SQL)))
    assert (row.action, row.details["kind"]) == ("job.submit", "validation")
    assert row.details["commit"] == SECOND.id


def test_validation_takes_the_right_to_write(jobs: JobServices) -> None:
    with pytest.raises(PermissionDenied):
        submit(jobs, caller=Caller("rose", roles={"team": Role.READER}))
    with pytest.raises(NotFound) as caught:
        submit(jobs, "gone")
    assert caught.value.kind == "revision-not-found"


def test_same_validation_is_queued_once_while_it_waits_runs_or_is_done(
    world: World, jobs: JobServices
) -> None:
    first = submit(jobs)
    assert submit(jobs, SECOND.id).job.id == first.job.id
    taken = take(jobs)
    assert submit(jobs).job.state is JobState.RUNNING
    finish(world, jobs, taken)
    again = submit(jobs)
    assert (again.job.id, again.job.state) == (first.job.id, JobState.DONE)
    assert again.payload == first.payload


def test_another_commit_is_another_validation(jobs: JobServices) -> None:
    assert submit(jobs).job.id != submit(jobs, FIRST.id).job.id


def test_second_validation_is_queued_for_who_asks_for_another_one(
    world: World, jobs: JobServices
) -> None:
    first = submit(jobs)
    # Not beside one that is open.
    assert submit(jobs, again=True).job.id == first.job.id
    finish(world, jobs, take(jobs))
    assert submit(jobs, again=True).job.id != first.job.id


@pytest.mark.parametrize("ending", ["cancel", "fail"])
def test_validation_that_came_to_nothing_is_queued_again(
    world: World, jobs: JobServices, ending: str
) -> None:
    first = submit(jobs)
    if ending == "cancel":
        jobs.cancel(replace(WRITER, roles={"team": Role.OWNER}), first.job.id)
    else:
        with world.data.write() as records:
            records.jobs.update(replace(first.job, state=JobState.FAILED, ended_at="2026"))
    assert submit(jobs).job.id != first.job.id


def test_definition_that_nobody_merges_by_is_refused() -> None:
    with pytest.raises(InvalidInput, match="merge-fp64-v1"):
        parse_wish("main", definition="merge-fp16-v0", base=None, again=False)


def test_base_other_than_the_one_the_commit_names_is_refused() -> None:
    assert choose_base(None, BASE) == choose_base(BASE, None) == choose_base(BASE, BASE) == BASE
    assert choose_base(None, None) is None
    with pytest.raises(InvalidInput) as caught:
        choose_base(OTHER, BASE)
    assert caught.value.kind == "base-mismatch"


def test_repository_has_room_for_so_many_validations(
    jobs: JobServices, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MOST_OPEN_JOBS", 1)
    submit(jobs)
    with pytest.raises(Conflict) as caught:
        submit(jobs, FIRST.id)
    assert caught.value.kind == "too-many-jobs"


# --- taking ---


def test_worker_takes_the_validations_whose_base_it_has(jobs: JobServices) -> None:
    submit(jobs, base=BASE)
    assert jobs.take(WORKER, replace(VALIDATIONS, bases=frozenset({OTHER}))) is None
    taken = take(jobs, replace(VALIDATIONS, bases=frozenset({OTHER, BASE})))
    assert taken.job.base == BASE


def test_worker_with_any_base_takes_a_validation_that_names_none(jobs: JobServices) -> None:
    submit(jobs)
    assert jobs.take(WORKER, replace(VALIDATIONS, bases=frozenset())) is None
    bases = offer_bases({OTHER})
    assert take(jobs, replace(VALIDATIONS, bases=bases)).job.base == ANY_BASE


@pytest.mark.parametrize(
    "caller",
    [
        replace(WORKER, is_admin=False),
        replace(WORKER, scopes=(Scope("*", Access.WRITE),)),
        Caller("mia", roles={"team": Role.OWNER}),
    ],
    ids=["no administrator", "no such scope", "an owner"],
)
def test_jobs_are_taken_by_tokens_for_that_alone(jobs: JobServices, caller: Caller) -> None:
    submit(jobs)
    with pytest.raises(PermissionDenied, match="work"):
        jobs.take(caller, VALIDATIONS)


def test_compositions_are_not_done_elsewhere(jobs: JobServices) -> None:
    with pytest.raises(InvalidInput):
        jobs.take(WORKER, JobOffer())


def test_outcome_of_a_validation_is_a_verdict_about_its_commit(
    world: World, jobs: JobServices
) -> None:
    submit(jobs)
    taken = take(jobs)
    process = process_of(world, taken)
    assert process.job_kind == "validation"
    manifest = ManifestId(str(SECOND.commit["manifest"]))
    outcome = JobResult(SECOND.id, manifest, "not-mergeable")
    with pytest.raises(InvalidInput, match="record what was seen"):
        jobs.complete(process, taken.job.id, outcome)
    record(world, taken)
    other = JobResult(FIRST.id, ManifestId(str(FIRST.commit["manifest"])), "not-mergeable")
    for wrong in (other, replace(outcome, verdict=None), replace(outcome, verdict="verified")):
        with pytest.raises(InvalidInput):
            jobs.complete(process, taken.job.id, wrong)
    done = jobs.complete(process, taken.job.id, outcome)
    assert (done.state, done.result) == (JobState.DONE, outcome)


def test_worker_that_stops_gives_its_job_back_and_that_is_no_attempt(
    world: World, jobs: JobServices
) -> None:
    submit(jobs)
    taken = take(jobs)
    process = process_of(world, taken)
    returned = jobs.return_job(process, taken.job.id)
    assert (returned.state, returned.attempts) == (JobState.QUEUED, 0)
    assert take(jobs).job.id == JobId(taken.job.id)


# --- what nobody asks for ---


def want_validations(world: World, when: ValidationTrigger) -> None:
    with world.data.write() as records:
        found = records.repositories.get(SQL)
        records.repositories.update(
            found.id, description="", private=found.private, validate_on=when
        )


def list_validated(jobs: JobServices) -> list[str]:
    rows = jobs.list(WRITER, SQL, before=None, limit=9)
    return [str(row.subject).split()[-1] for row in rows if row.kind is JobKind.VALIDATION]


def tag(world: World, name: str, revision: str = "main") -> None:
    CreateRef(world.data, world.clock)(WRITER, SQL, RefKind.TAG, RefName(name), revision)


def move(world: World, branch: str, old: CommitId, new: CommitId) -> None:
    update = RefUpdate(RefKind.BRANCH, RefName(branch), old, new, force=True)
    MoveRef(world.data, world.clock)(WRITER, SQL, update)


def test_tag_asks_for_a_validation_where_the_repository_wants_that_and_once(
    world: World, jobs: JobServices
) -> None:
    tag(world, "v0")
    assert list_validated(jobs) == []
    want_validations(world, ValidationTrigger.TAG)
    tag(world, "v1")
    tag(world, "v2")
    move(world, "main", SECOND.id, FIRST.id)
    assert list_validated(jobs) == [SECOND.id]


def test_default_branch_that_moves_asks_for_a_validation_and_others_do_not(
    world: World, jobs: JobServices
) -> None:
    want_validations(world, ValidationTrigger.PUSH)
    CreateRef(world.data, world.clock)(WRITER, SQL, RefKind.BRANCH, RefName("try"), "main")
    move(world, "try", SECOND.id, FIRST.id)
    assert list_validated(jobs) == []
    move(world, "main", SECOND.id, FIRST.id)
    assert list_validated(jobs) == [FIRST.id]


def test_tag_is_made_also_where_there_is_no_room_for_a_job(
    world: World, jobs: JobServices, monkeypatch: pytest.MonkeyPatch
) -> None:
    want_validations(world, ValidationTrigger.TAG)
    monkeypatch.setattr(limits, "MOST_OPEN_JOBS", 0)
    tag(world, "v1")
    assert list_validated(jobs) == []
    with world.data.read() as records:
        repository = records.repositories.get(SQL)
        assert records.refs.find(repository.id, RefName("v1")) is not None


def test_trigger_that_nobody_knows_is_refused() -> None:
    assert parse_trigger("push") is ValidationTrigger.PUSH
    with pytest.raises(InvalidInput, match="validate_on"):
        parse_trigger("always")


# --- which base ---


def find_chosen(view: JobView) -> ObjectId | None:
    assert view.payload is not None
    return ValidationPayload.from_bytes(view.payload).base


def test_base_that_is_named_without_a_fingerprint_is_the_only_one_of_that_name(
    world: World, jobs: JobServices
) -> None:
    assert find_chosen(submit(jobs)) is None
    base = BaseRow(FIRST.id, "org/base", None, BASE)
    with world.data.write() as records:
        records.bases.insert([base])
    assert find_chosen(submit(jobs)) == BASE
    with world.data.write() as records:
        records.bases.insert([replace(base, commit=SECOND.id, fingerprint=OTHER)])
    assert find_chosen(submit(jobs, FIRST.id)) is None


def test_job_that_waits_in_vain_gives_way_to_one_that_can_be_done(
    world: World, jobs: JobServices
) -> None:
    first = submit(jobs, base=BASE).job
    assert submit(jobs, base=BASE).job.id == first.id
    with world.data.write() as records:
        records.bases.insert([BaseRow(FIRST.id, "org/base", None, BASE)])
    second = submit(jobs).job
    assert (second.base, second.id != first.id) == (None, True)
    assert jobs.get(WRITER, first.id).job.state is JobState.CANCELLED


def test_job_that_has_its_weights_stays_when_who_asks_again_may_not_read_them(
    world: World, jobs: JobServices, monkeypatch: pytest.MonkeyPatch
) -> None:
    with world.data.write() as records:
        records.bases.insert([BaseRow(FIRST.id, "org/base", None, BASE)])
    first = submit(jobs, base=BASE).job
    monkeypatch.setattr(submit_validation, "find_weights", lambda *_: None)
    again = submit(jobs, base=BASE)
    assert again.job.id == first.id
    assert jobs.get(WRITER, first.id).job.state is JobState.QUEUED


def test_base_whose_weights_the_registry_has_is_needed_of_no_worker(
    world: World, jobs: JobServices
) -> None:
    waiting = submit(jobs, FIRST.id, base=BASE).job
    assert "plait-registry worker --bases DIR" in waiting.progress.what
    # Any version with safetensors will do for the test.
    with world.data.write() as records:
        records.bases.insert([BaseRow(FIRST.id, "org/base", None, BASE)])
    view = submit(jobs, SECOND.id)
    assert view.payload is not None
    held = HeldAt(SQL, FIRST.id)
    assert ValidationPayload.from_bytes(view.payload).held == held
    assert (view.job.base, view.job.inputs, view.job.progress.what) == (None, (SQL,), "")
    assert take(jobs, replace(VALIDATIONS, bases=frozenset())).job.id == view.job.id


def test_repository_of_bases_has_nothing_to_validate(world: World, jobs: JobServices) -> None:
    models = RepositoryName("team", "models")
    CreateRepository(world.data, world.clock)(SYSTEM, models, "", kind=RepositoryKind.BASE)
    with pytest.raises(InvalidInput, match="base model"):
        jobs.submit_validation(
            WRITER, models, parse_wish("main", definition=None, base=None, again=False)
        )
