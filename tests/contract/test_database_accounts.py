"""Users, namespaces, tokens, rules for refs and the audit log, over every database."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from database_suite.rows import NOW, digest, make_repository
from plait.errors import AlreadyExists, NotFound
from plait_registry.domain.access import Role, Scope
from plait_registry.domain.accounts import (
    AuditQuery,
    AuditRow,
    Membership,
    NamespaceRecord,
    Protection,
    TokenRecord,
    UserId,
    UserRecord,
)
from plait_registry.domain.ports import Database, Records

LATER = "2026-11-25T06:07:00Z"


def make_user(database: Database, name: str = "Ada", *, is_admin: bool = False) -> UserRecord:
    with database.write() as records:
        return records.users.insert(name, is_admin=is_admin, created_at=NOW)


def make_namespace(database: Database, name: str = "Team") -> NamespaceRecord:
    with database.write() as records:
        return records.namespaces.insert(name, NOW)


def make_token(user: UserId, word: str, *, scopes: tuple[Scope, ...] | None = None) -> TokenRecord:
    return TokenRecord(
        id=word,
        user=user,
        label=f"for {word}",
        digest=digest(word),
        scopes=scopes,
        created_at=NOW,
        expires_at=None,
        revoked_at=None,
        last_used_on=None,
    )


def audit_row(subject: str, namespace: str | None = None, actor: str = "ada") -> AuditRow:
    return AuditRow(NOW, actor, None, "ref.move", subject, namespace, {"new": "0", "force": False})


# --- users ---


def test_user_is_found_whatever_the_case(database: Database) -> None:
    made = make_user(database, is_admin=True)
    assert (made.name, made.is_admin, made.created_at, made.disabled_at) == ("Ada", True, NOW, None)
    with database.read() as records:
        assert records.users.get("ADA") == made


def test_name_of_a_user_is_taken_in_any_case(database: Database) -> None:
    make_user(database)
    with pytest.raises(AlreadyExists) as caught:
        make_user(database, "aDA")
    assert (caught.value.kind, caught.value.details) == ("user-exists", {"user": "Ada"})


def test_user_that_is_not_there_is_not_found(database: Database) -> None:
    with pytest.raises(NotFound) as caught, database.read() as records:
        records.users.get("nobody")
    assert caught.value.kind == "user-not-found"


def test_users_are_listed_by_name_and_changed_one_by_one(database: Database) -> None:
    zoe, ada, bob = (make_user(database, name) for name in ("zoe", "Ada", "bob"))
    with database.write() as records:
        records.users.update(bob.id, is_admin=True, disabled_at=LATER)
    with database.read() as records:
        assert records.users.list() == [ada, replace(bob, is_admin=True, disabled_at=LATER), zoe]


# --- namespaces ---


def test_namespace_is_found_by_its_key(database: Database) -> None:
    made = make_namespace(database)
    assert made == NamespaceRecord("team", "Team", NOW, None, None)
    with database.read() as records:
        assert records.namespaces.find("team") == made
        assert records.namespaces.find("Team") is None
        assert records.namespaces.list() == [made]


def test_name_of_a_namespace_is_taken_in_any_case(database: Database) -> None:
    make_namespace(database)
    with pytest.raises(AlreadyExists) as caught:
        make_namespace(database, "TEAM")
    assert (caught.value.kind, caught.value.details) == ("namespace-exists", {"namespace": "Team"})


def test_settings_of_a_namespace_are_set_and_lifted(database: Database) -> None:
    made = make_namespace(database)
    for quota, days in ((2**45, 90), (None, None)):
        with database.write() as records:
            records.namespaces.update(made.key, quota_bytes=quota, keep_untagged_days=days)
        with database.read() as records:
            wanted = replace(made, quota_bytes=quota, keep_untagged_days=days)
            assert records.namespaces.find(made.key) == wanted


def test_members_are_listed_by_name_each_with_one_role(database: Database) -> None:
    namespace = make_namespace(database)
    zoe, ada = make_user(database, "zoe"), make_user(database)
    with database.write() as records:
        records.namespaces.set_member(namespace.key, zoe.id, Role.READER)
        records.namespaces.set_member(namespace.key, ada.id, Role.OWNER)
        records.namespaces.set_member(namespace.key, zoe.id, Role.WRITER)
    with database.read() as records:
        assert records.namespaces.list_members(namespace.key) == [
            Membership("Ada", Role.OWNER),
            Membership("zoe", Role.WRITER),
        ]
    with database.write() as records:
        records.namespaces.set_member(namespace.key, ada.id, None)
        records.namespaces.set_member(namespace.key, ada.id, None)
    with database.read() as records:
        assert records.namespaces.list_members(namespace.key) == [Membership("zoe", Role.WRITER)]


def test_deleted_namespace_goes_with_its_memberships_and_no_others(database: Database) -> None:
    ada = make_user(database)
    team, other = make_namespace(database), make_namespace(database, "other")
    with database.write() as records:
        for namespace in (team, other):
            records.namespaces.set_member(namespace.key, ada.id, Role.OWNER)
        records.tokens.insert(make_token(ada.id, "aa"))
        records.namespaces.delete(team.key)
    with database.read() as records:
        assert records.namespaces.list() == [other]
        owner = records.tokens.find_owner(digest("aa"))
        assert owner is not None
        assert owner.roles == {"other": Role.OWNER}


# --- tokens ---


def test_token_is_found_by_its_digest_with_its_user_and_roles(database: Database) -> None:
    ada, zoe = make_user(database), make_user(database, "zoe")
    scopes = (Scope.parse("team:read"), Scope.parse("team/sql:write"))
    token = make_token(ada.id, "aa", scopes=scopes)
    with database.write() as records:
        records.tokens.insert(token)
        records.tokens.insert(make_token(zoe.id, "bb"))
        for name, user, role in (("team", ada, Role.WRITER), ("lab", ada, Role.OWNER)):
            records.namespaces.insert(name, NOW)
            records.namespaces.set_member(name, user.id, role)
        records.namespaces.set_member("lab", zoe.id, Role.READER)
    with database.read() as records:
        found = records.tokens.find_owner(digest("aa"))
        assert found is not None
        assert (found.token, found.user) == (token, ada)
        assert found.roles == {"team": Role.WRITER, "lab": Role.OWNER}
        assert records.tokens.find_owner(digest("cc")) is None


@pytest.mark.parametrize("scopes", [None, (), (Scope.parse("*:admin"),)])
def test_scopes_are_kept_also_where_there_are_none(
    database: Database, scopes: tuple[Scope, ...] | None
) -> None:
    token = make_token(make_user(database).id, "aa", scopes=scopes)
    with database.write() as records:
        records.tokens.insert(token)
    with database.read() as records:
        assert records.tokens.get("aa").scopes == scopes


def test_user_without_roles_has_none(database: Database) -> None:
    user = make_user(database)
    with database.write() as records:
        records.tokens.insert(make_token(user.id, "aa"))
    with database.read() as records:
        found = records.tokens.find_owner(digest("aa"))
    assert found is not None
    assert found.roles == {}


def test_tokens_of_a_user_are_listed_oldest_first(database: Database) -> None:
    ada, zoe = make_user(database), make_user(database, "zoe")
    tokens = [
        replace(make_token(ada.id, "cc"), created_at=NOW),
        replace(make_token(ada.id, "aa"), created_at=LATER),
        replace(make_token(ada.id, "bb"), created_at=LATER, expires_at=LATER),
    ]
    with database.write() as records:
        for token in (tokens[2], tokens[0], tokens[1], make_token(zoe.id, "dd")):
            records.tokens.insert(token)
    with database.read() as records:
        assert records.tokens.list(ada.id) == tokens


def test_revoked_token_keeps_the_moment_of_the_first_time(database: Database) -> None:
    user = make_user(database)
    with database.write() as records:
        records.tokens.insert(make_token(user.id, "aa"))
        records.tokens.insert(make_token(user.id, "bb"))
        records.tokens.revoke("aa", NOW)
        records.tokens.revoke("aa", LATER)
        records.tokens.touch("bb", "2026-11-25")
    with database.read() as records:
        found = {token.id: token for token in records.tokens.list(user.id)}
    assert (found["aa"].revoked_at, found["aa"].last_used_on) == (NOW, None)
    assert (found["bb"].revoked_at, found["bb"].last_used_on) == (None, "2026-11-25")


def test_token_that_is_not_there_is_not_found(database: Database) -> None:
    with pytest.raises(NotFound) as caught, database.read() as records:
        records.tokens.get("aa")
    assert caught.value.kind == "token-not-found"


# --- rules for refs ---


def test_rules_are_listed_by_pattern_and_replaced_by_it(database: Database) -> None:
    repository, other = make_repository(database), make_repository(database, "team/other")
    main = Protection("main", Role.MAINTAINER, fast_forward_only=False)
    tags = Protection("v*", Role.OWNER, fast_forward_only=True)
    with database.write() as records:
        for rule in (tags, main):
            records.protections.put(repository, rule)
        records.protections.put(other, replace(main, role=Role.READER))
        records.protections.put(repository, replace(main, fast_forward_only=True))
    with database.read() as records:
        assert records.protections.list(repository) == [
            replace(main, fast_forward_only=True),
            tags,
        ]


def test_lifted_rule_is_gone_and_not_found_again(database: Database) -> None:
    repository, other = make_repository(database), make_repository(database, "team/other")
    rule = Protection("main", Role.MAINTAINER, fast_forward_only=False)
    with database.write() as records:
        records.protections.put(repository, rule)
        records.protections.put(other, rule)
        records.protections.delete(repository, "main")
    with database.read() as records:
        assert records.protections.list(repository) == []
        assert records.protections.list(other) == [rule]
    with pytest.raises(NotFound) as caught, database.write() as records:
        records.protections.delete(repository, "main")
    assert caught.value.kind == "protection-not-found"


# --- audit log ---


def test_audit_rows_come_back_newest_first_with_their_facts(database: Database) -> None:
    rows = [audit_row(f"team/r{number}", "team") for number in range(3)]
    with database.write() as records:
        for row in rows:
            records.audit.append(row)
    with database.read() as records:
        found = records.audit.search(AuditQuery())
    assert [replace(row, id=0) for row in found] == rows[::-1]
    assert found[0].id > found[1].id > found[2].id > 0


@pytest.mark.parametrize(
    ("query", "subjects"),
    [
        (AuditQuery(), ["ada", "lab/x", "team/b", "team/a"]),
        (AuditQuery(namespaces=frozenset({"team"})), ["team/b", "team/a"]),
        (AuditQuery(namespaces=frozenset({"team", "lab"})), ["lab/x", "team/b", "team/a"]),
        (AuditQuery(namespaces=frozenset()), []),
        (AuditQuery(subject="team/a"), ["team/a"]),
        (AuditQuery(subject="team"), []),
        (AuditQuery(actor="zoe"), ["lab/x"]),
        (AuditQuery(namespaces=frozenset({"team"}), actor="zoe"), []),
        (AuditQuery(limit=2), ["ada", "lab/x"]),
    ],
)
def test_audit_log_is_searched_by_what_is_given(
    database: Database, query: AuditQuery, subjects: list[str]
) -> None:
    with database.write() as records:
        for row in (
            audit_row("team/a", "team"),
            audit_row("team/b", "team"),
            audit_row("lab/x", "lab", actor="zoe"),
            audit_row("ada"),
        ):
            records.audit.append(row)
    with database.read() as records:
        assert [row.subject for row in records.audit.search(query)] == subjects


def test_audit_rows_of_a_deleted_namespace_are_not_those_of_its_successor(
    database: Database,
) -> None:
    with database.write() as records:
        records.namespaces.insert("Team", NOW)
        records.audit.append(audit_row("team/old", "team"))
        records.namespaces.delete("team")
        records.namespaces.insert("team", LATER)
        records.audit.append(replace(audit_row("team/new", "team"), at=LATER))
    with database.read() as records:
        own = records.audit.search(AuditQuery(namespaces=frozenset({"team"})))
        everything = records.audit.search(AuditQuery())
    assert [row.subject for row in own] == ["team/new"]
    assert [row.subject for row in everything] == ["team/new", "team/old"]


def test_audit_log_is_read_on_before_a_row(database: Database) -> None:
    with database.write() as records:
        for number in range(5):
            records.audit.append(audit_row(str(number)))
    seen: list[str] = []
    query = AuditQuery(limit=2)
    with database.read() as records:
        while found := records.audit.search(query):
            seen += [row.subject for row in found]
            query = replace(query, before=found[-1].id)
    assert seen == ["4", "3", "2", "1", "0"]


# --- transactions ---


WRITES: dict[str, Callable[[Records], object]] = {
    "user": lambda records: records.users.insert("bob", is_admin=False, created_at=NOW),
    "namespace": lambda records: records.namespaces.insert("lab", NOW),
    "audit": lambda records: records.audit.append(audit_row("lab")),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_change_of_an_account_is_undone_with_its_transaction(
    database: Database, write: Callable[[Records], object]
) -> None:
    def work() -> None:
        with database.write() as records:
            write(records)
            raise KeyError

    with pytest.raises(KeyError):
        work()
    with database.read() as records:
        assert records.users.list() == []
        assert records.namespaces.list() == []
        assert records.audit.search(AuditQuery()) == []
