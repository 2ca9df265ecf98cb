"""What every database remembers of jobs."""

from dataclasses import replace

import pytest

from database_suite.job_rows import (
    LATER,
    MUCH_LATER,
    PAYLOAD,
    SQL,
    add_requester,
    insert_job,
    job_row,
    lease_of,
)
from database_suite.racing import race
from database_suite.rows import NOW, digest, make_repository
from plait.errors import Internal, NotFound
from plait.model.ids import CommitId, ManifestId
from plait_registry.adapters.system_clock import SystemClock
from plait_registry.domain.jobs import (
    JobError,
    JobId,
    JobKind,
    JobOffer,
    JobProgress,
    JobResult,
    JobRow,
    JobState,
    Requester,
)
from plait_registry.domain.ports import Database
from plait_registry.domain.records import RepositoryId
from plait_registry.services.run_jobs import ClaimJob

RESULT = JobResult(CommitId(digest("commit")), ManifestId(digest("manifest")))
FAILED = JobError("internal", "The process ended by signal 9.")


@pytest.fixture
def repository(database: Database) -> RepositoryId:
    return make_repository(database)


def update(database: Database, job: JobRow) -> JobRow:
    with database.write() as records:
        records.jobs.update(job)
        return records.jobs.get(job.id)


def find_due(database: Database, now: str = NOW) -> JobId | None:
    with database.read() as records:
        return records.jobs.find_due(now)


def test_job_comes_back_as_it_was_written(database: Database, repository: RepositoryId) -> None:
    ada = add_requester(database, "ada")
    job = insert_job(database, job_row("a", repository, requester=ada))
    assert job == job_row("a", repository, requester=ada, number=job.number)
    with database.read() as records:
        assert records.jobs.get(JobId("a")) == job
        assert records.jobs.load_payload(JobId("a")) == PAYLOAD


def test_all_that_changes_about_a_job_is_written(
    database: Database, repository: RepositoryId
) -> None:
    job = insert_job(database, job_row("a", repository))
    begun = job.begun(lease_of("mine"), NOW)
    assert update(database, begun) == begun
    told = begun.reported(JobProgress(2**53 - 1, 7, "Composing"), "a line", MUCH_LATER)
    assert update(database, told) == told
    again = told.tried(FAILED, LATER, MUCH_LATER, "more")
    assert update(database, again) == again
    assert again.lease is None
    done = again.begun(lease_of("other"), LATER).done(RESULT, MUCH_LATER)
    assert update(database, done) == done
    assert (done.result, done.error, done.ended_at) == (RESULT, None, MUCH_LATER)


def test_job_is_found_by_what_it_is_about_the_newest_first(
    database: Database, repository: RepositoryId
) -> None:
    about = {"kind": JobKind.VALIDATION, "ref": None, "subject": "a commit", "base": "b" * 64}
    insert_job(database, job_row("old", repository, **about))
    new = insert_job(database, job_row("new", repository, **about))
    insert_job(database, job_row("other", repository, **{**about, "subject": "another"}))
    assert (new.ref, new.subject, new.base) == (None, "a commit", "b" * 64)
    with database.read() as records:
        assert records.jobs.find_latest(repository, "a commit") == new
        assert records.jobs.find_latest(repository, "a third") is None


def test_only_jobs_that_an_offer_takes_are_due(
    database: Database, repository: RepositoryId
) -> None:
    insert_job(database, job_row("compose", repository))
    kinds = frozenset({JobKind.VALIDATION})
    needs = {"kind": JobKind.VALIDATION, "ref": None, "base": "b" * 64}
    insert_job(database, job_row("validate", repository, **needs))

    def find(offer: JobOffer) -> JobId | None:
        with database.read() as records:
            return records.jobs.find_due(NOW, offer)

    assert find(JobOffer()) == "compose"
    assert find(JobOffer(kinds)) == "validate"
    assert find(JobOffer(kinds, frozenset({"c" * 64, "b" * 64}))) == "validate"
    assert find(JobOffer(kinds, frozenset())) is None
    assert find(JobOffer(bases=frozenset())) == "compose"


def test_verdict_of_a_validation_comes_back(database: Database, repository: RepositoryId) -> None:
    job = insert_job(database, job_row("a", repository, kind=JobKind.VALIDATION, ref=None))
    done = job.begun(lease_of("mine"), NOW).done(replace(RESULT, verdict="drift"), LATER)
    assert update(database, done).result == replace(RESULT, verdict="drift")


def test_missing_job_is_not_found(database: Database) -> None:
    with database.read() as records:
        for look in (records.jobs.get, records.jobs.load_payload):
            with pytest.raises(NotFound) as caught:
                look(JobId("absent"))
            assert caught.value.kind == "job-not-found"
        assert records.jobs.find_by_digest(digest("absent")) is None


def test_job_needs_its_repository(database: Database) -> None:
    with pytest.raises(Internal):
        insert_job(database, job_row("a", RepositoryId(99)))


def test_job_is_found_by_the_digest_of_its_last_lease(
    database: Database, repository: RepositoryId
) -> None:
    job = insert_job(database, job_row("a", repository))
    insert_job(database, job_row("b", repository))
    first, second = lease_of("first"), lease_of("second", MUCH_LATER)
    begun = update(database, job.begun(first, NOW))
    with database.read() as records:
        assert records.jobs.find_by_digest(first.digest) == begun
    taken = update(database, begun.begun(second, LATER))
    with database.read() as records:
        assert records.jobs.find_by_digest(first.digest) is None
        assert records.jobs.find_by_digest(second.digest) == taken


def test_jobs_of_a_repository_are_listed_newest_first_by_page(
    database: Database, repository: RepositoryId
) -> None:
    other = make_repository(database, "team/other")
    jobs = [insert_job(database, job_row(key, repository)) for key in "abcd"]
    insert_job(database, job_row("theirs", other, target=SQL))
    with database.read() as records:
        page = records.jobs.search(repository, limit=3)
        assert [job.id for job in page] == ["d", "c", "b"]
        assert records.jobs.search(repository, before=page[-1].number) == [jobs[0]]


def test_job_is_due_until_it_is_taken_and_again_when_its_lease_ran_out(
    database: Database, repository: RepositoryId
) -> None:
    assert find_due(database) is None
    job = insert_job(database, job_row("a", repository))
    assert find_due(database) == "a"
    update(database, job.begun(lease_of("mine"), NOW))
    assert find_due(database) is None
    assert find_due(database, LATER) == "a"


def test_job_that_is_to_be_tried_again_waits(database: Database, repository: RepositoryId) -> None:
    job = insert_job(database, job_row("a", repository))
    update(database, job.begun(lease_of("mine"), NOW).tried(FAILED, NOW, LATER))
    assert find_due(database) is None
    assert find_due(database, LATER) == "a"


@pytest.mark.parametrize("state", [JobState.DONE, JobState.FAILED, JobState.CANCELLED])
def test_job_that_has_ended_is_never_due(
    database: Database, repository: RepositoryId, state: JobState
) -> None:
    insert_job(
        database, job_row("a", repository, state=state, lease=lease_of("mine"), ended_at=NOW)
    )
    assert find_due(database, MUCH_LATER) is None


def test_job_that_is_longest_due_comes_first(database: Database, repository: RepositoryId) -> None:
    insert_job(database, job_row("late", repository, due_at=LATER))
    insert_job(database, job_row("first", repository))
    insert_job(database, job_row("second", repository))
    assert find_due(database, MUCH_LATER) == "first"


def test_who_has_fewer_jobs_running_comes_first(
    database: Database, repository: RepositoryId
) -> None:
    ada, eve = add_requester(database, "ada"), add_requester(database, "eve")
    running = insert_job(database, job_row("running", repository, requester=ada))
    update(database, running.begun(lease_of("mine", MUCH_LATER), NOW))
    for key, requester, due in (("of ada", ada, NOW), ("of eve", eve, LATER)):
        insert_job(database, job_row(key, repository, requester=requester, due_at=due))
    assert find_due(database, LATER) == "of eve"


def test_who_had_a_turn_waits_behind_who_asked_for_less(
    database: Database, repository: RepositoryId
) -> None:
    ada, eve = add_requester(database, "ada"), add_requester(database, "eve")
    rows = [
        job_row("ada 1", repository, requester=ada),
        job_row("ada 2", repository, requester=ada),
        job_row("ada retried", repository, requester=ada, due_at=MUCH_LATER),
        job_row("eve 1", repository, requester=eve, due_at="2026-11-24T06:07:30Z"),
        job_row("nobody's", repository),
    ]
    for row in rows:
        insert_job(database, row)
    with database.write() as records:
        records.jobs.postpone(ada.user, LATER)
    with database.read() as records:
        dues = {str(row.id): records.jobs.get(row.id).due_at for row in rows}
    assert dues["ada 1"] == dues["ada 2"] == LATER
    assert dues["ada retried"] == MUCH_LATER
    assert dues["nobody's"] == NOW
    with database.write() as records:
        records.jobs.postpone(None, MUCH_LATER)
    assert find_due(database, LATER) == "eve 1"


def test_open_jobs_are_counted_by_repository_and_by_user(
    database: Database, repository: RepositoryId
) -> None:
    other, ada = make_repository(database, "team/other"), add_requester(database, "ada")
    nobody = Requester("admin", None, None)
    rows = [
        job_row("a", repository, requester=ada),
        job_row("b", repository, requester=nobody, state=JobState.RUNNING),
        job_row("c", repository, requester=ada, state=JobState.DONE),
        job_row("d", repository, requester=nobody, state=JobState.CANCELLED),
        job_row("e", other, requester=ada, state=JobState.RUNNING),
    ]
    for row in rows:
        insert_job(database, row)
    with database.read() as records:
        counts = [records.tallies.count_open_jobs(key) for key in (repository, other)]
        assert counts == [2, 1]
        users = [records.tallies.count_open_jobs_of(key) for key in (ada.user, None)]
        assert users == [2, 1]


def test_jobs_are_pruned_some_time_after_their_end(
    database: Database, repository: RepositoryId
) -> None:
    ends = {"old": NOW, "young": LATER}
    for key, ended in ends.items():
        insert_job(database, job_row(key, repository, state=JobState.FAILED, ended_at=ended))
    insert_job(database, job_row("open", repository))
    with database.write() as records:
        assert records.jobs.prune(LATER) == 1
        assert [job.id for job in records.jobs.search(repository)] == ["open", "young"]
        with pytest.raises(NotFound):
            records.jobs.load_payload(JobId("old"))


def test_deleted_repository_takes_its_jobs_along(
    database: Database, repository: RepositoryId
) -> None:
    insert_job(database, job_row("a", repository))
    with database.write() as records:
        records.repositories.delete(repository)
    with database.read() as records, pytest.raises(NotFound):
        records.jobs.get(JobId("a"))
    assert find_due(database) is None


def test_job_is_taken_once_however_many_want_it(
    database: Database, repository: RepositoryId
) -> None:
    names = [f"job {number}" for number in range(12)]
    for name in names:
        insert_job(database, job_row(name, repository))

    def take(_number: int) -> list[str]:
        claim = ClaimJob(database, SystemClock())
        taken: list[str] = []
        while (claimed := claim()) is not None:
            taken.append(claimed.job.id)
        return taken

    taken = [name for names in race(4, take) for name in names]
    assert sorted(taken) == sorted(names)
