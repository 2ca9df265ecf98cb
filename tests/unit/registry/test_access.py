"""Who may do what: roles, scopes, and the lesser of the two."""

import pytest

from plait.errors import InvalidInput, PermissionDenied
from plait.model.address import RepositoryName
from plait_registry.domain.access import (
    RIGHT_OF_ROLE,
    SYSTEM,
    Access,
    Caller,
    Readable,
    Right,
    Role,
    Scope,
    verify_administers,
    verify_right,
)

SQL = RepositoryName("Team", "SQL")


def caller(role: Role | None = None, *scopes: str, is_admin: bool = False) -> Caller:
    return Caller(
        "ada",
        is_admin=is_admin,
        roles={} if role is None else {"team": role},
        scopes=tuple(map(Scope.parse, scopes)) or None,
    )


# --- scopes ---


@pytest.mark.parametrize(
    ("text", "target", "access"),
    [
        ("team:read", "team", Access.READ),
        ("Team/SQL:write", "team/sql", Access.WRITE),
        ("*:admin", "*", Access.ADMIN),
    ],
)
def test_scope_is_parsed_in_lower_case(text: str, target: str, access: Access) -> None:
    scope = Scope.parse(text)
    assert scope == Scope(target, access)
    assert Scope.parse(str(scope)) == scope


@pytest.mark.parametrize(
    "text",
    [
        *("", ":", "team", "team:", ":read", "team:READ", "team:own", "team:read:write", "*"),
        *("team/:read", "/sql:read", "a/b/c:read", "../x:read", "team/*:read", "**:read"),
        *("te am:read", "team\n:read", "team:read\n", "\x00:read", "ü:read", f"{'a' * 97}:read"),
        *("'; DROP TABLE tokens; --:read", "\ud800:read"),
    ],
)
def test_text_that_is_no_scope_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        Scope.parse(text)
    assert caught.value.kind == "invalid-scope"


@pytest.mark.parametrize(
    ("target", "namespace", "repository", "reaches"),
    [
        ("*", "team", "sql", True),
        ("*", "team", None, True),
        ("team", "team", "sql", True),
        ("team", "team", None, True),
        ("team", "teams", "sql", False),
        ("team/sql", "team", "sql", True),
        ("team/sql", "team", None, False),
        ("team/sql", "team", "sql2", False),
    ],
)
def test_scope_reaches_what_it_names(
    target: str, namespace: str, repository: str | None, *, reaches: bool
) -> None:
    assert Scope(target, Access.READ).reaches(namespace, repository) is reaches


# --- rights ---


@pytest.mark.parametrize("role", Role)
def test_role_gives_its_right_in_its_namespace_alone(role: Role) -> None:
    ada = caller(role)
    assert ada.right_in("TEAM") == RIGHT_OF_ROLE[role]
    assert ada.right_to(SQL, private=True) == RIGHT_OF_ROLE[role]
    assert ada.right_in("lab") == Right.NONE
    assert ada.right_to(RepositoryName("lab", "sql"), private=True) == Right.NONE


def test_what_is_not_private_is_read_by_everybody() -> None:
    assert caller().right_to(SQL, private=False) == Right.READ
    assert caller(Role.WRITER).right_to(SQL, private=False) == Right.WRITE


def test_administrator_owns_every_namespace() -> None:
    for admin in (caller(is_admin=True), SYSTEM):
        assert admin.right_in("anything") == Right.OWN
        assert admin.right_to(SQL, private=True) == Right.OWN


@pytest.mark.parametrize(
    ("scopes", "in_team", "to_sql", "to_other"),
    [
        (["team:read"], Right.READ, Right.READ, Right.READ),
        (["team:write"], Right.WRITE, Right.WRITE, Right.WRITE),
        (["team:admin"], Right.OWN, Right.OWN, Right.OWN),
        (["*:write"], Right.WRITE, Right.WRITE, Right.WRITE),
        (["team/sql:admin"], Right.NONE, Right.OWN, Right.NONE),
        (["lab:admin"], Right.NONE, Right.NONE, Right.NONE),
        (["team:read", "team/sql:write"], Right.READ, Right.WRITE, Right.READ),
    ],
)
def test_scopes_take_away_from_what_the_role_gives(
    scopes: list[str], in_team: Right, to_sql: Right, to_other: Right
) -> None:
    owner = caller(Role.OWNER, *scopes)
    assert owner.right_in("team") == in_team
    assert owner.right_to(SQL, private=True) == to_sql
    assert owner.right_to(RepositoryName("team", "other"), private=True) == to_other


def test_scope_gives_nothing_that_the_role_does_not() -> None:
    reader = caller(Role.READER, "*:admin")
    assert reader.right_to(SQL, private=True) == Right.READ
    assert caller(None, "team:admin").right_to(SQL, private=True) == Right.NONE


def test_token_for_another_repository_does_not_even_read_what_is_public() -> None:
    assert caller(Role.OWNER, "team/other:admin").right_to(SQL, private=False) == Right.NONE


# --- administrators ---


@pytest.mark.parametrize(
    ("scopes", "administers"),
    [
        ([], True),
        (["*:admin"], True),
        (["team:read", "*:admin"], True),
        (["*:write"], False),
        (["team:admin"], False),
    ],
)
def test_administrator_administers_by_a_token_without_limits(
    scopes: list[str], *, administers: bool
) -> None:
    assert caller(None, *scopes, is_admin=True).administers is administers
    assert not caller(Role.OWNER, *scopes).administers


def test_who_administers_not_is_told_what_it_takes() -> None:
    verify_administers(SYSTEM)
    with pytest.raises(PermissionDenied) as caught:
        verify_administers(caller(Role.OWNER))
    assert (caught.value.kind, caught.value.details) == ("permission-denied", {"need": "admin"})


def test_missing_right_is_told_with_what_the_caller_has() -> None:
    verify_right(caller(), Right.WRITE, Right.WRITE, "team/sql")
    with pytest.raises(PermissionDenied) as caught:
        verify_right(caller(), Right.WRITE, Right.MAINTAIN, "team/sql")
    assert caught.value.details == {"need": "maintain", "have": "write"}


# --- what a database filters by ---


def test_readable_of_an_administrator_has_no_limits() -> None:
    assert Readable.by(SYSTEM) == Readable(None, None, frozenset())


def test_readable_keeps_roles_and_scopes_apart() -> None:
    found = Readable.by(caller(Role.READER, "lab:read", "team/sql:write"))
    assert found == Readable(frozenset({"team"}), frozenset({"lab"}), frozenset({"team/sql"}))
    assert found.includes(SQL, private=True)
    assert not found.includes(RepositoryName("team", "other"), private=False)
    assert not found.includes(RepositoryName("lab", "x"), private=True)
    assert found.includes(RepositoryName("lab", "x"), private=False)


# --- doing jobs ---


def test_token_for_doing_jobs_reaches_no_repository_and_lists_none() -> None:
    worker = caller(None, "*:work", is_admin=True)
    assert worker.works
    assert not worker.administers
    assert worker.right_to(SQL, private=False) is worker.right_in("team") is Right.NONE
    assert Readable.by(worker) == Readable(None, frozenset(), frozenset())
    assert worker.narrowed([Scope("team/sql", Access.WRITE)]) == ()


@pytest.mark.parametrize(
    ("scopes", "works"),
    [([], True), (["*:admin"], True), (["team:read", "*:work"], True), (["*:write"], False)],
)
def test_jobs_are_done_by_administrators_whose_token_says_so(
    scopes: list[str], *, works: bool
) -> None:
    assert caller(None, *scopes, is_admin=True).works is works
    assert not caller(Role.OWNER, *scopes).works


def test_token_for_doing_jobs_is_made_by_no_lesser_one() -> None:
    work = Scope.parse("*:work")
    assert str(work) == "*:work"
    assert work.holds(work)
    assert Scope.parse("*:admin").holds(work)
    assert not Scope.parse("*:write").holds(work)
    assert not work.holds(Scope.parse("team:read"))


def test_jobs_of_one_namespace_are_no_scope() -> None:
    with pytest.raises(InvalidInput, match=r"\*:work"):
        Scope.parse("team:work")
