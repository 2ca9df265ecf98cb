"""Two completions at once, made to meet at the worst moment: verified, but not yet committed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from e2e.made_adapters import lora_tensors, spoil
from e2e.raw_push import RawVersion
from plait import wire
from plait.errors import Conflict, InvalidInput, PlaitError
from plait.model.address import RepositoryName
from plait.model.ids import CommitId, ObjectId, hash_bytes
from plait.model.refs import RefKind, RefName, RefUpdate
from plait_registry.adapters.memory.database import MemoryDatabase
from plait_registry.adapters.memory_objects import MemoryObjects, MemoryTransfers
from plait_registry.domain.access import SYSTEM, Caller, Role
from plait_registry.domain.accounts import AuditQuery, TokenRecord, UserId
from plait_registry.domain.dedup import SALT_SIZE
from plait_registry.domain.ports import Records, SignedRequest
from plait_registry.domain.records import PushId
from plait_registry.services.authenticate import Authenticate
from plait_registry.services.history import ReadHistory
from plait_registry.services.push import Push
from plait_registry.services.refs import ListRefs, MoveRef
from plait_registry.services.repositories import CreateRepository
from plait_registry.services.stores import Stores
from reference.registry_drivers import FixedClock, plan_objects

NAME = RepositoryName("team", "race")
NAN = 0x7FC0
NOW = "2026-01-01T00:00:00Z"


class MeetingObjects(MemoryObjects):
    """Objects that let something happen when the first document of a push is about to be stored."""

    meeting: Callable[[], None] | None = None

    def put(self, object_id: ObjectId, data: bytes) -> None:
        """Let it happen, once; then store."""
        meeting, self.meeting = self.meeting, None
        if meeting is not None:
            meeting()
        super().put(object_id, data)


class Place:
    """The services over the twins in memory."""

    def __init__(self) -> None:
        self.database = MemoryDatabase()
        self.store, self.documents = MemoryObjects(), MeetingObjects()
        self._transfers = MemoryTransfers(self.store)
        self.push = Push(
            self.database, Stores(self.store, self.documents), self._transfers, FixedClock()
        )
        CreateRepository(self.database, FixedClock())(SYSTEM, NAME, "")

    def send(self, version: RawVersion, request: wire.NewPush, caller: Caller = SYSTEM) -> PushId:
        """Begin a push and upload all that it lacks."""
        plan = self.push.begin(caller, NAME, request)
        objects, bodies = plan_objects(plan, version.contents())
        push = PushId(plan.push)
        uploads = self.push.sign_uploads(caller, NAME, push, wire.UploadRequest(objects)).uploads
        for upload in uploads:
            for part in upload.parts:
                if part.request is not None:
                    given = part.request
                    signed = SignedRequest(given.method, given.url, given.headers)
                    self._transfers.send(signed, bodies[upload.sha256])
        return push

    def join(self) -> Caller:
        """Make a writer, and return who their token says they are."""
        with self.database.write() as records:
            user = records.users.insert("ada", is_admin=False, created_at=NOW)
            records.namespaces.set_member(NAME.namespace, user.id, Role.WRITER)
            records.tokens.insert(
                TokenRecord(
                    id="t1",
                    user=user.id,
                    label="",
                    digest=hash_bytes(b"plait_secret"),
                    scopes=None,
                    created_at=NOW,
                    expires_at=None,
                    revoked_at=None,
                    last_used_on=None,
                )
            )
        return Authenticate(self.database, FixedClock(), lambda _token: False)("plait_secret")

    def branches(self) -> list[str]:
        """Return the names of all refs."""
        return [ref.name for ref in ListRefs(self.database)(SYSTEM, NAME)[1]]


def test_refused_push_takes_nothing_from_an_accepted_one_of_the_same_bytes() -> None:
    place = Place()
    tensors = lora_tensors()
    version = RawVersion.of([*tensors[:-1], spoil(tensors[-1], NAN)])
    allowed = replace(version.request(branch="allowed"), allow_non_finite=True)
    accepted = place.send(version, allowed)
    refused = place.send(version, version.request(branch="refused"))

    def meet() -> None:
        with pytest.raises(InvalidInput) as caught:
            place.push.complete(SYSTEM, NAME, refused)
        assert caught.value.kind == "tensor-not-finite"

    place.documents.meeting = meet
    place.push.complete(SYSTEM, NAME, accepted)
    assert place.branches() == ["allowed"]
    for data in version.files.values():
        assert any(body[:-SALT_SIZE] == data for body in place.store.objects.values())


def test_completion_that_meets_itself_gives_one_answer_and_hangs_notes_once() -> None:
    place = Place()
    version = RawVersion.of()
    note = wire.PushNote(version.commit_id, "metrics", {"loss": 1.5})
    push = place.send(version, replace(version.request(), notes=[note]))
    answers: list[wire.PushResult] = []
    place.documents.meeting = lambda: answers.append(place.push.complete(SYSTEM, NAME, push))
    answers.append(place.push.complete(SYSTEM, NAME, push))
    assert answers[0] == answers[1]
    assert answers[0].bytes_stored > 0
    _, notes = ReadHistory(place.database).commit(SYSTEM, NAME, CommitId(version.commit_id))
    assert [dict(item.body) for item in notes] == [{"loss": 1.5}]


def test_of_two_pushes_that_meet_the_later_one_is_told_of_the_other() -> None:
    place = Place()
    first, second = RawVersion.of(lora_tensors(seed=1)), RawVersion.of(lora_tensors(seed=2))
    pushes = [place.send(version, version.request()) for version in (first, second)]
    answers: list[wire.PushResult] = []
    place.documents.meeting = lambda: answers.append(place.push.complete(SYSTEM, NAME, pushes[0]))
    with pytest.raises(Conflict) as caught:
        place.push.complete(SYSTEM, NAME, pushes[1])
    assert caught.value.kind == "ref-update-conflict"
    assert [answer.ref.target for answer in answers] == [first.commit_id]
    (ref,) = ListRefs(place.database)(SYSTEM, NAME)[1]
    assert ref.target == first.commit_id


def test_push_that_moves_nothing_when_it_is_checked_moves_nothing_back_later() -> None:
    place = Place()
    old, new = RawVersion.of(lora_tensors(seed=1)), RawVersion.of(lora_tensors(seed=2))
    new.parents = [old.commit_id]
    place.push.complete(SYSTEM, NAME, place.send(old, old.request()))
    place.push.complete(SYSTEM, NAME, place.send(new, new.request(expected=old.commit_id)))
    MoveRef(place.database, FixedClock())(SYSTEM, NAME, move(new.commit_id, old.commit_id))
    # Says that it finds the branch at the new commit and wants it at the old one, where it is; its
    # further commit gives others time to move the branch forward again.
    further = RawVersion.of(lora_tensors(seed=3))
    backwards = replace(
        further.request(), ref=wire.PushRef("branch", "main", new.commit_id, old.commit_id)
    )
    push = place.send(further, backwards)
    with pytest.raises(Conflict) as caught:
        place.push.complete(SYSTEM, NAME, push)
    assert caught.value.kind == "ref-not-fast-forward"


def revoke(records: Records, caller: Caller) -> None:
    records.tokens.revoke(str(caller.token), NOW)


def take_the_role(records: Records, caller: Caller) -> None:
    records.namespaces.set_member(NAME.namespace, user_of(caller), None)


def lower_the_role(records: Records, caller: Caller) -> None:
    records.namespaces.set_member(NAME.namespace, user_of(caller), Role.READER)


def disable(records: Records, caller: Caller) -> None:
    records.users.update(user_of(caller), is_admin=False, disabled_at=NOW)


def user_of(caller: Caller) -> UserId:
    assert caller.user is not None
    return UserId(caller.user)


@pytest.mark.parametrize(
    ("take", "kind"),
    [
        (revoke, "token-revoked"),
        (disable, "unauthenticated"),
        (take_the_role, "repository-not-found"),
        (lower_the_role, "permission-denied"),
    ],
)
def test_right_that_is_taken_away_while_a_push_is_verified_moves_no_ref(
    take: Callable[[Records, Caller], None], kind: str
) -> None:
    place = Place()
    caller = place.join()
    version = RawVersion.of()
    push = place.send(version, version.request(), caller)

    def meet() -> None:
        with place.database.write() as records:
            take(records, caller)

    place.documents.meeting = meet
    with pytest.raises(PlaitError) as caught:
        place.push.complete(caller, NAME, push)
    assert caught.value.kind == kind
    assert place.branches() == []


def test_push_of_a_writer_who_stays_one_is_in_the_audit_log_by_their_name() -> None:
    place = Place()
    caller = place.join()
    version = RawVersion.of()
    place.push.complete(caller, NAME, place.send(version, version.request(), caller))
    with place.database.read() as records:
        row = records.audit.search(AuditQuery(limit=1))[0]
    assert (row.action, row.actor, row.token) == ("push", "ada", "t1")


def move(expected: str, new: str) -> RefUpdate:
    return RefUpdate(RefKind.BRANCH, RefName("main"), CommitId(expected), CommitId(new), force=True)
