"""What becomes of jobs: who sees and ends them, what their processes report, and who does them."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from care.worlds import World
from database_suite.job_rows import add_requester
from database_suite.rows import ALL
from plait.errors import Conflict, NotFound, PermissionDenied, Unauthenticated
from plait.model.address import RepositoryName
from plait.model.commit import Person
from plait.model.ids import CommitId, ManifestId
from plait.model.recipe import Recipe
from plait_registry.domain.access import SYSTEM, Access, Caller, Right, Role, Scope
from plait_registry.domain.accounts import AuditQuery
from plait_registry.domain.composition_wish import parse_wish
from plait_registry.domain.events import EventQuery
from plait_registry.domain.jobs import (
    MOST_ATTEMPTS,
    JobError,
    JobId,
    JobProgress,
    JobResult,
    JobRow,
    JobState,
)
from plait_registry.services.authenticate import Authenticate, refresh_caller
from plait_registry.services.job_services import JobServices, build_job_services
from plait_registry.services.report_job import LEASE
from plait_registry.services.repositories import CreateRepository, DeleteRepository
from plait_registry.services.run_jobs import ClaimedJob
from reference.memory_registry import make_version

SQL = RepositoryName("team", "sql")
SECRET = RepositoryName("lab", "secret")
VERSION = make_version("first")
RESULT = JobResult(VERSION.id, ManifestId(str(VERSION.commit["manifest"])))
SECOND = timedelta(seconds=1)
PASSING = JobError("unavailable", "The store is away.")
FINAL = JobError("delta-missing", "team/sql has none in q_proj.")
PROGRESS = JobProgress(1, 7, "Composing")
ADMIN = Caller("admin", is_admin=True)
READER = Caller("rose", roles={"team": Role.READER}, user=90)
MAINTAINER = Caller("mia", roles={"team": Role.MAINTAINER}, user=91)


class Place(World):
    """A registry with a private repository that a public one's job reads."""

    def __init__(self) -> None:
        super().__init__()
        self.publish(VERSION)
        CreateRepository(self.data, self.clock)(SYSTEM, SECRET, "")
        self.publish(make_version("secret"), name=SECRET)
        self.jobs: JobServices = build_job_services(self.data, self.clock, keep_days=30)
        self.authenticate = Authenticate(self.data, self.clock, lambda _token: False)
        self.requester = add_requester(self.data, "will")
        with self.data.write() as records:
            assert self.requester.user is not None
            records.namespaces.set_member("team", self.requester.user, Role.WRITER)
            records.namespaces.set_member("lab", self.requester.user, Role.READER)

    @property
    def will(self) -> Caller:
        """Who asks: a writer of `team` who reads `lab`, as the database knows them now."""
        return self.authenticate("will")

    def submit(self, caller: Caller | None = None) -> JobRow:
        """Queue a job that reads both repositories and writes the public one."""
        document = {
            "format": "plait.recipe/1",
            "method": "sum",
            "inputs": [{"adapter": "team/sql"}, {"adapter": "lab/secret"}],
        }
        wish = parse_wish(
            Recipe.from_json(document), branch="blend", message=None, author=Person("Will", "")
        )
        who = self.will if caller is None else caller
        return self.jobs.submit_composition(who, SQL, wish, create=False).job

    def claim(self) -> ClaimedJob:
        """Take the job that is due."""
        claimed = self.jobs.claim()
        assert claimed is not None
        return claimed

    def begin_job(self) -> tuple[ClaimedJob, Caller]:
        """Queue a job and take it; return it with the caller that its process is."""
        self.submit()
        claimed = self.claim()
        return claimed, self.authenticate(claimed.token)

    def get(self, job: JobId) -> JobRow:
        """Return a job as it stands."""
        with self.data.read() as records:
            return records.jobs.get(job)

    def told(self) -> list[tuple[str, str, object]]:
        """Return what the audit log says of jobs that ended: who, by which token, and the state."""
        with self.data.read() as records:
            rows = records.audit.search(AuditQuery(subject=str(SQL)))
            events = records.events.search(EventQuery(ALL))
        ends = [row for row in rows if row.action == "job.end"]
        heard = [event for event in events if event.kind == "job.ended"]
        assert [event.details for event in heard] == [row.details for row in reversed(ends)]
        return [(row.actor, str(row.token), row.details["state"]) for row in ends]


@pytest.fixture
def place() -> Place:
    return Place()


# --- who sees what ---


def test_who_asked_sees_what_is_inside(place: Place) -> None:
    job = place.submit()
    assert place.jobs.get(place.will, job.id).payload is not None
    assert place.jobs.get(ADMIN, job.id).payload is not None


def test_who_asked_sees_what_is_inside_only_by_a_token_that_reaches_the_inputs(
    place: Place,
) -> None:
    job = place.submit()
    scopes = (Scope("team/sql", Access.ADMIN), Scope("lab/other", Access.READ))
    narrow = replace(place.will, scopes=scopes)
    assert place.jobs.get(narrow, job.id).payload is None
    wide = replace(
        place.will, scopes=(Scope("team", Access.READ), Scope("lab/secret", Access.READ))
    )
    assert place.jobs.get(wide, job.id).payload is not None


def test_reader_of_the_target_sees_the_job_and_what_is_inside_only_if_all_inputs_are_readable(
    place: Place,
) -> None:
    job = place.submit()
    assert place.jobs.get(READER, job.id).payload is None
    both = replace(READER, roles={"team": Role.READER, "lab": Role.READER})
    assert place.jobs.get(both, job.id).payload is not None
    assert [row.id for row in place.jobs.list(READER, SQL, before=None, limit=9)] == [job.id]


def test_job_of_a_private_repository_is_missing_for_strangers(place: Place) -> None:
    job = place.submit()
    with place.data.write() as records:
        repository = records.repositories.get(SQL)
        records.repositories.update(repository.id, description="", private=True)
    eve = Caller("eve", roles={"lab": Role.OWNER})
    for look in (place.jobs.get, place.jobs.cancel):
        with pytest.raises(NotFound) as caught:
            look(eve, job.id)
        assert caught.value.kind == "job-not-found"
    with pytest.raises(NotFound):
        place.jobs.list(eve, SQL, before=None, limit=9)


# --- cancelling ---


def test_own_job_is_cancelled_and_twice_is_fine(place: Place) -> None:
    job = place.submit()
    for _ in range(2):
        assert place.jobs.cancel(place.will, job.id).job.state is JobState.CANCELLED
    assert place.jobs.claim() is None
    assert place.told() == [("will", "token-will", "cancelled")]


def test_maintainer_cancels_anybodys_job_and_others_do_not(place: Place) -> None:
    job = place.submit()
    writer = Caller("walt", roles={"team": Role.WRITER}, user=92)
    own_but_reading = replace(place.will, scopes=(Scope("team", Access.READ),))
    for caller in (READER, writer, own_but_reading):
        with pytest.raises(PermissionDenied):
            place.jobs.cancel(caller, job.id)
    assert place.jobs.cancel(MAINTAINER, job.id).job.state is JobState.CANCELLED


def test_job_that_has_ended_cannot_be_cancelled(place: Place) -> None:
    claimed, process = place.begin_job()
    place.jobs.complete(process, claimed.job.id, RESULT)
    with pytest.raises(Conflict) as caught:
        place.jobs.cancel(place.will, claimed.job.id)
    assert caught.value.kind == "job-ended"


def test_process_of_a_cancelled_job_is_told_to_stop_and_can_do_nothing_more(place: Place) -> None:
    claimed, process = place.begin_job()
    place.jobs.cancel(place.will, claimed.job.id)
    assert not place.jobs.report(process, claimed.job.id, PROGRESS, "")
    again = place.authenticate(claimed.token)
    assert again.scopes == ()
    assert again.right_to(SQL, private=False) is Right.NONE
    ends: list[Callable[[], object]] = [
        lambda: place.jobs.complete(again, claimed.job.id, RESULT),
        lambda: place.jobs.fail(again, claimed.job.id, FINAL),
    ]
    for end in ends:
        with pytest.raises(Conflict) as caught:
            end()
        assert caught.value.kind == "job-ended"
    assert not place.jobs.is_held(claimed.held)


# --- the token of a job ---


def test_token_of_a_job_reads_the_inputs_and_writes_the_target_as_who_asked(place: Place) -> None:
    claimed, process = place.begin_job()
    assert (process.name, process.token, process.user) == ("will", claimed.job.id, None)
    assert process.right_to(SQL, private=True) is Right.WRITE
    assert process.right_to(SECRET, private=True) is Right.READ
    assert process.right_to(RepositoryName("team", "other"), private=False) is Right.NONE
    assert process.right_in("team") is Right.NONE
    assert claimed.token not in repr(claimed)
    assert claimed.token not in str(place.get(claimed.job.id))


def test_rights_that_are_taken_away_are_gone_for_the_job_at_once(place: Place) -> None:
    claimed, process = place.begin_job()
    with place.data.write() as records:
        assert place.requester.user is not None
        records.namespaces.set_member("lab", place.requester.user, None)
        records.namespaces.set_member("team", place.requester.user, Role.READER)
    for caller in (place.authenticate(claimed.token), refreshed(place, process)):
        assert caller.right_to(SECRET, private=True) is Right.NONE
        assert caller.right_to(SQL, private=False) is Right.READ


def refreshed(place: Place, caller: Caller) -> Caller:
    with place.data.write() as records:
        return refresh_caller(records, caller, place.clock.now())


def test_scopes_of_the_token_that_asked_bound_the_job(place: Place) -> None:
    with place.data.write() as records:
        token = records.tokens.get("token-will")
        scopes = (Scope("team/sql", Access.ADMIN), Scope("lab", Access.ADMIN))
        records.tokens.insert(replace(token, id="narrow", digest="d" * 64, scopes=scopes))
    narrow = replace(place.will, token="narrow", scopes=scopes)
    place.submit(narrow)
    process = place.authenticate(place.claim().token)
    assert sorted(map(str, process.scopes or ())) == ["lab/secret:read", "team/sql:write"]
    reading = Caller("x", scopes=(Scope("team", Access.READ),))
    assert reading.narrowed(process.scopes or ()) == (Scope("team/sql", Access.READ),)


def test_job_of_an_administrator_is_as_narrow(place: Place) -> None:
    place.submit(ADMIN)
    process = place.authenticate(place.claim().token)
    assert not process.administers
    assert process.right_to(SQL, private=True) is Right.WRITE
    assert process.right_to(SECRET, private=True) is Right.READ
    assert process.right_in("team") is Right.NONE


@pytest.mark.parametrize("how", ["revoked", "disabled"])
def test_token_of_a_job_ends_with_the_one_that_asked(place: Place, how: str) -> None:
    claimed, process = place.begin_job()
    end_requester(place, how)
    with pytest.raises(Unauthenticated):
        place.authenticate(claimed.token)
    with pytest.raises(Unauthenticated):
        refreshed(place, process)


def end_requester(place: Place, how: str) -> None:
    now = place.clock.now()
    with place.data.write() as records:
        if how == "revoked":
            records.tokens.revoke("token-will", now)
        else:
            user = records.users.get("will")
            records.users.update(user.id, is_admin=False, disabled_at=now)


@pytest.mark.parametrize("how", ["revoked", "disabled"])
def test_job_that_nobody_with_rights_asks_for_any_more_fails_instead_of_beginning(
    place: Place, how: str
) -> None:
    job = place.submit()
    end_requester(place, how)
    assert place.jobs.claim() is None
    failed = place.get(job.id)
    assert failed.state is JobState.FAILED
    assert failed.error is not None
    assert "may not any more" in failed.error.message
    assert place.told() == [("will", job.id, "failed")]


def test_token_of_a_job_ends_with_its_lease(place: Place) -> None:
    claimed, process = place.begin_job()
    place.clock.move(LEASE)
    with pytest.raises(Unauthenticated):
        place.authenticate(claimed.token)
    with pytest.raises(Unauthenticated):
        refreshed(place, process)


def test_report_keeps_the_token_alive(place: Place) -> None:
    claimed, process = place.begin_job()
    for _ in range(5):
        place.clock.move(LEASE - SECOND)
        assert place.jobs.report(process, claimed.job.id, PROGRESS, "on\n")
    assert place.authenticate(claimed.token) == process
    assert place.get(claimed.job.id).progress == PROGRESS
    assert place.get(claimed.job.id).log == "on\n" * 5


# --- what processes report ---


def test_outcome_is_recorded_once_however_often_it_is_told(place: Place) -> None:
    claimed, process = place.begin_job()
    for _ in range(2):
        done = place.jobs.complete(process, claimed.job.id, RESULT)
        assert (done.state, done.result) == (JobState.DONE, RESULT)
    assert place.told() == [("will", claimed.job.id, "done")]


def test_outcome_that_is_not_there_is_not_believed(place: Place) -> None:
    claimed, process = place.begin_job()
    for lie in (
        replace(RESULT, commit=CommitId("a" * 64)),
        replace(RESULT, manifest=ManifestId("a" * 64)),
    ):
        with pytest.raises(NotFound) as caught:
            place.jobs.complete(process, claimed.job.id, lie)
        assert caught.value.kind == "commit-not-found"
    assert place.get(claimed.job.id).state is JobState.RUNNING


def test_failure_of_the_input_ends_the_job(place: Place) -> None:
    claimed, process = place.begin_job()
    for _ in range(2):
        failed = place.jobs.fail(process, claimed.job.id, FINAL)
        assert (failed.state, failed.error) == (JobState.FAILED, FINAL)
    assert place.told() == [("will", claimed.job.id, "failed")]
    with pytest.raises(Conflict):
        place.jobs.complete(process, claimed.job.id, RESULT)


def test_failure_that_may_pass_is_tried_again_later(place: Place) -> None:
    claimed, process = place.begin_job()
    assert place.jobs.fail(process, claimed.job.id, PASSING).state is JobState.QUEUED
    assert place.jobs.claim() is None
    place.clock.move(timedelta(seconds=10))
    second = place.claim()
    assert second.job.attempts == 2
    place.jobs.fail(place.authenticate(second.token), second.job.id, PASSING)
    place.clock.move(timedelta(seconds=10))
    assert place.jobs.claim() is None
    place.clock.move(timedelta(seconds=50))
    third = place.claim()
    failed = place.jobs.fail(place.authenticate(third.token), third.job.id, PASSING)
    assert (failed.state, failed.error) == (JobState.FAILED, PASSING)
    assert len(place.told()) == 1


def test_only_the_process_of_a_job_reports_about_it(place: Place) -> None:
    claimed, process = place.begin_job()
    job = claimed.job.id
    for caller in (ADMIN, MAINTAINER, place.will):
        with pytest.raises(PermissionDenied):
            place.jobs.report(caller, job, PROGRESS, "")
    other = place.submit()
    for call in (
        lambda: place.jobs.report(process, other.id, PROGRESS, ""),
        lambda: place.jobs.complete(process, other.id, RESULT),
        lambda: place.jobs.fail(process, other.id, FINAL),
        lambda: place.jobs.get(process, other.id),
    ):
        with pytest.raises(NotFound) as caught:
            call()
        assert caught.value.kind == "job-not-found"
    assert place.jobs.get(process, job).payload is not None


# --- who does them ---


def test_job_of_a_dead_process_is_another_ones_and_the_first_is_not_heard_any_more(
    place: Place,
) -> None:
    first, process = place.begin_job()
    assert place.jobs.claim() is None
    place.clock.move(LEASE)
    second = place.claim()
    assert (second.job.id, second.job.attempts) == (first.job.id, 2)
    with pytest.raises(Unauthenticated):
        place.authenticate(first.token)
    for call in (
        lambda: place.jobs.report(process, first.job.id, PROGRESS, ""),
        lambda: place.jobs.complete(process, first.job.id, RESULT),
        lambda: place.jobs.fail(process, first.job.id, FINAL),
    ):
        with pytest.raises(Conflict) as caught:
            call()
        assert caught.value.kind == "job-lease-lost"
    place.jobs.give_back(first.held)
    place.jobs.end_attempt(first.held, FINAL)
    assert place.jobs.is_held(second.held)
    assert not place.jobs.is_held(first.held)


def test_job_whose_every_process_died_fails(place: Place) -> None:
    job = place.submit()
    for _ in range(MOST_ATTEMPTS):
        place.claim()
        place.clock.move(LEASE)
    assert place.jobs.claim() is None
    failed = place.get(job.id)
    assert (failed.state, failed.attempts) == (JobState.FAILED, MOST_ATTEMPTS)
    assert failed.error is not None
    assert "PLAIT_JOB_MEMORY_MB" in failed.error.message


def test_attempt_that_a_stop_of_the_registry_ended_does_not_count(place: Place) -> None:
    job = place.submit()
    for _ in range(MOST_ATTEMPTS + 2):
        claimed = place.claim()
        place.jobs.give_back(claimed.held)
    assert place.get(job.id).attempts == 0
    assert place.claim().job.attempts == 1


def test_process_that_ended_without_a_word_leaves_what_it_printed(place: Place) -> None:
    claimed, _ = place.begin_job()
    died = JobError("internal", "The job's process ended by signal 9.")
    place.jobs.end_attempt(claimed.held, died, "last words")
    waiting = place.get(claimed.job.id)
    assert (waiting.state, waiting.error, waiting.log) == (JobState.QUEUED, died, "last words\n")


def test_end_of_a_process_that_told_how_it_ended_changes_nothing(place: Place) -> None:
    claimed, process = place.begin_job()
    done = place.jobs.complete(process, claimed.job.id, RESULT)
    place.jobs.end_attempt(claimed.held, FINAL)
    place.jobs.give_back(claimed.held)
    assert place.get(claimed.job.id) == done


def test_job_whose_repository_is_deleted_is_gone(place: Place) -> None:
    claimed, process = place.begin_job()
    DeleteRepository(place.data, place.clock)(SYSTEM, SQL)
    assert not place.jobs.is_held(claimed.held)
    place.jobs.end_attempt(claimed.held, FINAL)
    with pytest.raises(Unauthenticated):
        place.authenticate(claimed.token)
    with pytest.raises(Conflict):
        place.jobs.report(process, claimed.job.id, PROGRESS, "")
    assert place.jobs.claim() is None


def test_jobs_are_kept_for_some_days_after_their_end(place: Place) -> None:
    job = place.submit()
    place.jobs.cancel(place.will, job.id)
    place.clock.move(timedelta(days=30))
    assert place.jobs.prune() == 0
    place.clock.move(SECOND)
    assert place.jobs.prune() == 1
    with pytest.raises(NotFound):
        place.get(job.id)


def test_one_process_does_not_do_all_jobs_of_one_user_before_those_of_others(place: Place) -> None:
    many = [place.submit().id for _ in range(3)]
    place.clock.move(SECOND)
    one = place.submit(ADMIN).id
    place.clock.move(SECOND)
    done = []
    for _ in range(4):
        claimed = place.claim()
        place.clock.move(SECOND)
        place.jobs.complete(place.authenticate(claimed.token), claimed.job.id, RESULT)
        done.append(claimed.job.id)
    assert done == [many[0], one, many[1], many[2]]
