"""Reading the audit log: owners the rows of their namespaces, administrators all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from plait.errors import InvalidInput, PermissionDenied
from plait.model.address import parse_namespace
from plait_registry.domain.access import Caller, Right
from plait_registry.domain.accounts import AuditQuery, AuditRow
from plait_registry.domain.ports import Database
from plait_registry.services.access import verify_namespace_right


class SearchAudit:
    """Reads the audit log."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def __call__(
        self, caller: Caller, query: AuditQuery, *, namespace: str | None = None
    ) -> Sequence[AuditRow]:
        """Return the rows that match, newest first; with a namespace, only that one's.

        Raises:
            NotFound: `namespace-not-found`.
            PermissionDenied: `permission-denied`, the caller owns no namespace, or not this one.
        """
        _verify_text("subject", query.subject)
        _verify_text("actor", query.actor)
        wanted = replace(query, namespaces=_choose_namespaces(caller, namespace))
        with self._database.read() as records:
            return records.audit.search(wanted)


def _choose_namespaces(caller: Caller, namespace: str | None) -> frozenset[str] | None:
    if namespace is not None:
        verify_namespace_right(caller, parse_namespace(namespace), Right.OWN)
        return frozenset({namespace.lower()})
    if caller.administers:
        return None
    owned = frozenset(key for key in caller.roles if caller.right_in(key) >= Right.OWN)
    if not owned:
        raise PermissionDenied(
            "permission-denied",
            f"{caller.name} may not read the audit log by this token: it takes an owner of a "
            "namespace and a token without scopes, or with its admin scope.",
            need="own",
        )
    return owned


def _verify_text(field: str, text: str | None) -> None:
    # Nothing that is logged is named otherwise, and PostgreSQL takes no NUL.
    if text is not None and not (text.isascii() and text.isprintable()):
        raise InvalidInput("invalid-input", f"{field}: plain printable text.", field=field)
