"""Validations that nobody asks for: a repository has said when.

A push or a tag never fails for it: where there is no room for another job, none is queued, and
somebody can ask later.
"""

from __future__ import annotations

from plait.model.merge_digests import DEFINITION
from plait.model.refs import RefKind, RefUpdate
from plait.model.repository_kind import RepositoryKind
from plait_registry.domain.access import Caller
from plait_registry.domain.jobs import Requester
from plait_registry.domain.ports import Records
from plait_registry.domain.records import RepositoryRecord
from plait_registry.domain.validation_wish import ValidationPayload, ValidationTrigger
from plait_registry.services.limits import has_room_for_job
from plait_registry.services.submit_validation import (
    find_answer,
    find_base,
    find_own_requester,
    find_weights,
    queue_validation,
)


def trigger_validation(
    records: Records, caller: Caller, repository: RepositoryRecord, update: RefUpdate, *, at: str
) -> None:
    """Queue a validation of what a ref points at now, if the repository wants that.

    Call it last in a transaction, after whatever moved the ref.
    """
    if not _is_wanted(repository, update):
        return
    base = find_base(records, caller, repository, update.new)
    held = find_weights(records, caller, base)
    payload = ValidationPayload(update.new, DEFINITION, base, held)
    requester: Requester = find_own_requester(records, caller)
    has_room = has_room_for_job(records, repository, requester.user)
    if has_room and find_answer(records, repository, payload, again=False) is None:
        queue_validation(records, caller, repository, payload, at=at)


def _is_wanted(repository: RepositoryRecord, update: RefUpdate) -> bool:
    if repository.kind is not RepositoryKind.ADAPTER:
        return False
    if update.kind is RefKind.TAG:
        return repository.validate_on is not ValidationTrigger.NONE
    is_default = update.name == repository.default_branch
    return is_default and repository.validate_on is ValidationTrigger.PUSH
