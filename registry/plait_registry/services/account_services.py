"""All that concerns users, namespaces, tokens, rules and the audit log, put together."""

from __future__ import annotations

from dataclasses import dataclass

from plait_registry.domain.ports import Clock, Database
from plait_registry.services.audit import SearchAudit
from plait_registry.services.namespaces import (
    CreateNamespace,
    DeleteNamespace,
    GetNamespace,
    ListNamespaces,
    SetMember,
    UpdateNamespace,
)
from plait_registry.services.protections import DeleteProtection, ListProtections, SetProtection
from plait_registry.services.tokens import CreateToken, ListTokens, RevokeToken
from plait_registry.services.users import CreateUser, Identify, ListUsers, UpdateUser


@dataclass(frozen=True, slots=True)
class AccountServices:
    """The services of accounts, ready to be called."""

    identify: Identify
    create_user: CreateUser
    list_users: ListUsers
    update_user: UpdateUser
    create_namespace: CreateNamespace
    list_namespaces: ListNamespaces
    get_namespace: GetNamespace
    update_namespace: UpdateNamespace
    delete_namespace: DeleteNamespace
    set_member: SetMember
    create_token: CreateToken
    list_tokens: ListTokens
    revoke_token: RevokeToken
    list_protections: ListProtections
    set_protection: SetProtection
    delete_protection: DeleteProtection
    search_audit: SearchAudit


def build_account_services(database: Database, clock: Clock) -> AccountServices:
    """Return the services over a database."""
    return AccountServices(
        identify=Identify(database),
        create_user=CreateUser(database, clock),
        list_users=ListUsers(database),
        update_user=UpdateUser(database, clock),
        create_namespace=CreateNamespace(database, clock),
        list_namespaces=ListNamespaces(database),
        get_namespace=GetNamespace(database),
        update_namespace=UpdateNamespace(database, clock),
        delete_namespace=DeleteNamespace(database, clock),
        set_member=SetMember(database, clock),
        create_token=CreateToken(database, clock),
        list_tokens=ListTokens(database),
        revoke_token=RevokeToken(database, clock),
        list_protections=ListProtections(database),
        set_protection=SetProtection(database, clock),
        delete_protection=DeleteProtection(database, clock),
        search_audit=SearchAudit(database),
    )
