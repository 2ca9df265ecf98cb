"""Changes: what the audit log says about each, and who made it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from plait.model.address import RepositoryName
from plait_registry.domain.access import Caller
from plait_registry.domain.accounts import AuditRow


class Action(StrEnum):
    """What was done; append-only, since programs search the audit log by it."""

    PUSH = "push"  # commits came, and a ref moved
    REF_CREATE = "ref.create"  # a branch or tag was made at a commit that was there
    REF_MOVE = "ref.move"
    REF_DELETE = "ref.delete"
    NOTE_ADD = "note.add"
    REPOSITORY_CREATE = "repository.create"
    REPOSITORY_UPDATE = "repository.update"
    REPOSITORY_DELETE = "repository.delete"
    PROTECTION_SET = "protection.set"
    PROTECTION_DELETE = "protection.delete"
    NAMESPACE_CREATE = "namespace.create"
    NAMESPACE_UPDATE = "namespace.update"
    NAMESPACE_DELETE = "namespace.delete"
    MEMBER_SET = "member.set"
    MEMBER_REMOVE = "member.remove"
    USER_CREATE = "user.create"
    USER_UPDATE = "user.update"
    TOKEN_CREATE = "token.create"  # noqa: S105 - an action's name
    TOKEN_REVOKE = "token.revoke"  # noqa: S105 - the same
    WEBHOOK_CREATE = "webhook.create"
    WEBHOOK_UPDATE = "webhook.update"
    WEBHOOK_DELETE = "webhook.delete"
    JOB_SUBMIT = "job.submit"
    JOB_END = "job.end"  # done, failed or cancelled
    EXPECTED_DIGESTS_STORE = "expected-digests.store"
    VALIDATION_RECORD = "validation.record"
    ATTESTATION_ADD = "attestation.add"
    VALIDATOR_KEY_REGISTER = "validator-key.register"
    VALIDATOR_KEY_REVOKE = "validator-key.revoke"


@dataclass(frozen=True, slots=True)
class Change:
    """One change, made in the transaction that records it."""

    action: Action
    subject: str
    """A repository's name, a namespace, a user's name or a token's id."""
    namespace: str | None
    """The key of the namespace whose owners may read about it."""
    details: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of_repository(cls, action: Action, name: RepositoryName, **details: Any) -> Change:
        """Return a change of a repository."""
        return cls(action, str(name), name.namespace.lower(), details)


def describe(change: Change, caller: Caller, at: str) -> AuditRow:
    """Return the audit log's row of a change."""
    return AuditRow(
        at=at,
        actor=caller.name,
        token=caller.token,
        action=change.action.value,
        subject=change.subject,
        namespace=change.namespace,
        details=change.details,
    )
