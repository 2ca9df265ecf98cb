"""The errors of plait, grouped by what the caller does next.

    PlaitError
    ├── Unauthenticated    log in, or send another token
    ├── PermissionDenied   ask an owner for the right
    ├── NotFound           check the name; a private repository also looks missing
    ├── AlreadyExists      choose another name, or use what is there
    ├── Conflict           fetch the new state, decide, and try again
    ├── InvalidInput       change the input
    ├── TooLarge           send less, or raise the limit
    ├── Integrity          bytes are not what they claim to be: do not use them
    ├── Unavailable        try again later
    └── Internal           report it

Every instance carries a `kind`, a stable word that programs may rely on. Kinds are append-only:
a kind never changes its meaning or its class, and is never removed. The HTTP API sends
`{"error": {"kind", "message", "details"}}` and the client raises the same class again.
"""

from __future__ import annotations

from typing import Any


class PlaitError(Exception):
    """A failure that plait foresaw: `message` says what to do, `details` holds the facts."""

    def __init__(self, kind: str, message: str, **details: Any) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.details = details

    def __reduce__(self) -> tuple[Any, ...]:
        # A worker process hands its error to the one that waits for it.
        return _rebuild, (type(self), self.kind, self.message, self.details)

    def to_json(self) -> dict[str, Any]:
        """Return the body of the HTTP answer."""
        return {"error": {"kind": self.kind, "message": self.message, "details": self.details}}


class Unauthenticated(PlaitError):
    """The caller did not prove who they are."""


class PermissionDenied(PlaitError):
    """The caller is known and may not do this."""


class NotFound(PlaitError):
    """The thing is not there, or the caller may not see it."""


class AlreadyExists(PlaitError):
    """The name is taken."""


class Conflict(PlaitError):
    """Somebody else changed the state first, or it changed since it was read."""


class InvalidInput(PlaitError):
    """The input breaks a rule."""


class TooLarge(PlaitError):
    """The input is over a limit."""


class Integrity(PlaitError):
    """Bytes do not match what was said about them."""


class Unavailable(PlaitError):
    """A service or a resource is not there now."""


class Internal(PlaitError):
    """plait is at fault."""


CLASS_OF_KIND: dict[str, type[PlaitError]] = {
    "unauthenticated": Unauthenticated,
    "token-missing": Unauthenticated,
    "token-expired": Unauthenticated,
    "token-revoked": Unauthenticated,
    "permission-denied": PermissionDenied,
    "signed-url-invalid": PermissionDenied,
    "signed-url-expired": PermissionDenied,
    "ref-protected": PermissionDenied,
    "attestations-missing": PermissionDenied,
    "route-not-found": NotFound,
    "repository-not-found": NotFound,
    "revision-not-found": NotFound,
    "ref-not-found": NotFound,
    "commit-not-found": NotFound,
    "manifest-not-found": NotFound,
    "file-not-found": NotFound,
    "object-not-found": NotFound,
    "file-expired": NotFound,
    "push-not-found": NotFound,
    "upload-not-found": NotFound,
    "namespace-not-found": NotFound,
    "user-not-found": NotFound,
    "token-not-found": NotFound,
    "protection-not-found": NotFound,
    "working-copy-not-found": NotFound,
    "merge-base-not-found": NotFound,
    "events-expired": NotFound,
    "webhook-not-found": NotFound,
    "delivery-not-found": NotFound,
    "prerequisite-missing": NotFound,
    "job-not-found": NotFound,
    "validator-key-not-found": NotFound,
    "repository-exists": AlreadyExists,
    "ref-exists": AlreadyExists,
    "namespace-exists": AlreadyExists,
    "user-exists": AlreadyExists,
    "destination-exists": AlreadyExists,
    "object-exists": AlreadyExists,
    "validator-key-exists": AlreadyExists,
    "working-copy-exists": AlreadyExists,
    "ref-update-conflict": Conflict,
    "ref-not-fast-forward": Conflict,
    "tag-name-retired": Conflict,
    "default-branch": Conflict,
    "database-empty": Conflict,
    "database-not-empty": Conflict,
    "push-superseded": Conflict,
    "diverged": Conflict,
    "merge-conflict": Conflict,
    "uncommitted-changes": Conflict,
    "nothing-to-commit": Conflict,
    "operation-interrupted": Conflict,
    "branch-not-merged": Conflict,
    "namespace-in-use": Conflict,
    "owner-required": Conflict,
    "too-many-pushes": Conflict,
    "too-many-jobs": Conflict,
    "job-ended": Conflict,
    "job-lease-lost": Conflict,
    "job-failed": Conflict,
    "expected-digests-differ": Conflict,
    "too-many-validations": Conflict,
    "invalid-input": InvalidInput,
    "invalid-json": InvalidInput,
    "range-not-satisfiable": InvalidInput,
    "invalid-object-id": InvalidInput,
    "invalid-path": InvalidInput,
    "path-case-collision": InvalidInput,
    "invalid-manifest": InvalidInput,
    "invalid-commit": InvalidInput,
    "invalid-ref-name": InvalidInput,
    "invalid-repository-name": InvalidInput,
    "invalid-namespace": InvalidInput,
    "invalid-scope": InvalidInput,
    "invalid-revision": InvalidInput,
    "invalid-webhook-url": InvalidInput,
    "revision-ambiguous": InvalidInput,
    "parent-unknown": InvalidInput,
    "base-unknown": InvalidInput,
    "invalid-safetensors": InvalidInput,
    "tensor-not-finite": InvalidInput,
    "tensor-not-found": InvalidInput,
    "adapter-empty": InvalidInput,
    "adapter-config-missing": InvalidInput,
    "invalid-adapter-config": InvalidInput,
    "pickle-refused": InvalidInput,
    "symlink-refused": InvalidInput,
    "not-a-regular-file": InvalidInput,
    "file-changed": InvalidInput,
    "invalid-bundle": InvalidInput,
    "bundle-empty": InvalidInput,
    "invalid-recipe": InvalidInput,
    "recipe-missing": InvalidInput,
    "invalid-stack": InvalidInput,
    "base-mismatch": InvalidInput,
    "invalid-base-card": InvalidInput,
    "wrong-repository-kind": InvalidInput,
    "not-mergeable": InvalidInput,
    "invalid-validation": InvalidInput,
    "attestation-invalid": InvalidInput,
    "delta-missing": InvalidInput,
    "delta-zero": InvalidInput,
    "rank-invalid": InvalidInput,
    "shape-mismatch": InvalidInput,
    "saved-modules-conflict": InvalidInput,
    "tokenizer-conflict": InvalidInput,
    "disclosure-refused": InvalidInput,
    "usage": InvalidInput,
    "manifest-too-large": TooLarge,
    "bundle-too-large": TooLarge,
    "too-many-files": TooLarge,
    "too-many-tensors": TooLarge,
    "file-too-large": TooLarge,
    "header-too-large": TooLarge,
    "request-too-large": TooLarge,
    "quota-exceeded": TooLarge,
    "too-many-notes": TooLarge,
    "too-many-refs": TooLarge,
    "too-many-repositories": TooLarge,
    "push-too-large": TooLarge,
    "digest-mismatch": Integrity,
    "size-mismatch": Integrity,
    "bundle-incomplete": Integrity,
    "not-reproduced": Integrity,
    "not-verified": Integrity,
    "object-corrupt": Integrity,
    "unavailable": Unavailable,
    "registry-unreachable": Unavailable,
    "registry-misbehaved": Unavailable,
    "request-stalled": Unavailable,
    "disk-full": Unavailable,
    "extra-missing": Unavailable,
    "busy": Unavailable,
    "internal": Internal,
}


def _rebuild(
    error: type[PlaitError], kind: str, message: str, details: dict[str, Any]
) -> PlaitError:
    return error(kind, message, **details)


def error_from_json(body: object, *, fallback: type[PlaitError]) -> PlaitError:
    """Rebuild the error that a registry sent.

    A kind that this client does not know (a newer registry) becomes `fallback`, the class that
    belongs to the HTTP status.
    """
    error = body.get("error") if isinstance(body, dict) else None
    if not isinstance(error, dict):
        return fallback("registry-misbehaved", "The registry's error has no known form.")
    kind = str(error.get("kind", "internal"))
    details = error.get("details")
    facts = {str(key): value for key, value in details.items()} if isinstance(details, dict) else {}
    for reserved in ("kind", "message", "self"):
        facts.pop(reserved, None)
    return CLASS_OF_KIND.get(kind, fallback)(kind, str(error.get("message", kind)), **facts)
