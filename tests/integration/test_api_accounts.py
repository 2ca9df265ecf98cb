"""Users, tokens, namespaces, rules for refs and the audit log, over real HTTP."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from plait.model.ids import hash_bytes
from served.accounts import API, People, peopled, refusal_of, succeed


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[People]:
    with peopled(tmp_path_factory.mktemp("data")) as people:
        yield people


@pytest.fixture(scope="module")
def ada(shared: People) -> httpx.Client:
    """An owner of `team`."""
    return shared.client(shared.add("Ada", team="owner"))


@pytest.fixture(scope="module")
def grace(shared: People) -> httpx.Client:
    """A maintainer of `team`."""
    return shared.client(shared.add("grace", team="maintainer"))


@pytest.fixture(scope="module")
def root(shared: People) -> httpx.Client:
    """An administrator who is a user."""
    return shared.client(shared.add("root", admin=True))


# --- users ---


def test_user_gets_a_namespace_of_the_same_name(shared: People) -> None:
    client = shared.client(shared.add("Zoe"))
    details = succeed(client.get(f"{API}/namespaces/zoe"))
    assert details["namespace"]["name"] == "Zoe"
    assert details["namespace"]["role"] == "owner"
    assert details["members"] == [{"user": "Zoe", "role": "owner"}]
    made = client.post(f"{API}/repositories", json={"namespace": "zoe", "name": "own"})
    assert succeed(made)["namespace"] == "Zoe"


@pytest.mark.parametrize(
    ("name", "status", "kind"),
    [
        ("ADA", 409, "user-exists"),
        ("Team", 409, "namespace-exists"),
        ("admin", 422, "invalid-namespace"),
        ("System", 422, "invalid-namespace"),
        ("a/b", 422, "invalid-namespace"),
        ("..", 422, "invalid-namespace"),
        ("", 422, "invalid-namespace"),
        ("x" * 97, 422, "invalid-namespace"),
    ],
)
def test_name_that_a_user_cannot_have_is_refusal_of(
    shared: People, ada: httpx.Client, name: str, status: int, kind: str
) -> None:
    assert refusal_of(shared.admin.post(f"{API}/users", json={"name": name})) == (status, kind)


def test_organisation_cannot_have_the_name_of_a_user(shared: People, ada: httpx.Client) -> None:
    answer = shared.admin.post(f"{API}/namespaces", json={"name": "ada"})
    assert refusal_of(answer) == (409, "namespace-exists")


def test_tokens_of_a_disabled_user_do_not_work_until_it_is_enabled(shared: People) -> None:
    client = shared.client(shared.add("leaver"))
    assert client.get(f"{API}/user").status_code == 200
    for disabled, status in ((True, 401), (True, 401), (False, 200)):
        answer = shared.admin.patch(f"{API}/users/LEAVER", json={"disabled": disabled})
        assert (succeed(answer)["disabled_at"] is not None) is disabled
        assert client.get(f"{API}/user").status_code == status


def test_administrator_is_made_and_unmade(shared: People) -> None:
    client = shared.client(shared.add("climber"))
    assert client.get(f"{API}/users").status_code == 403
    succeed(shared.admin.patch(f"{API}/users/climber", json={"admin": True}))
    assert "climber" in [user["name"] for user in succeed(client.get(f"{API}/users"))["users"]]
    succeed(shared.admin.patch(f"{API}/users/climber", json={"admin": False}))
    assert client.get(f"{API}/users").status_code == 403


def test_user_that_is_not_there_is_not_found(shared: People) -> None:
    for answer in (
        shared.admin.patch(f"{API}/users/nobody", json={}),
        shared.admin.get(f"{API}/tokens", params={"user": "nobody"}),
        shared.admin.post(f"{API}/tokens", json={"user": "nobody"}),
        shared.admin.put(f"{API}/namespaces/team/members/nobody", json={"role": "reader"}),
        shared.admin.post(f"{API}/namespaces", json={"name": "new", "owner": "nobody"}),
    ):
        assert refusal_of(answer) == (404, "user-not-found")


def test_caller_learns_who_it_is(shared: People, ada: httpx.Client) -> None:
    found = succeed(ada.get(f"{API}/user"))
    assert (found["name"], found["admin"]) == ("Ada", False)
    assert found["roles"] == {"ada": "owner", "team": "owner"}
    assert (found["token"]["user"], found["token"]["scopes"]) == ("Ada", None)
    scoped = shared.client(shared.token("ada", "team:read", label="ci", expires="never"))
    found = succeed(scoped.get(f"{API}/user"))
    assert found["roles"] == {"team": "owner"}
    assert found["token"]["scopes"] == ["team:read"]
    assert (found["token"]["label"], found["token"]["expires_at"]) == ("ci", None)
    folder = succeed(shared.admin.get(f"{API}/user"))
    assert folder == {"name": "admin", "admin": True, "roles": {}, "token": None}


# --- namespaces ---


def test_organisation_is_made_shown_and_deleted(shared: People, ada: httpx.Client) -> None:
    made = succeed(shared.admin.post(f"{API}/namespaces", json={"name": "Lab", "owner": "ADA"}))
    assert (made["name"], made["role"]) == ("Lab", None)
    assert succeed(ada.get(f"{API}/namespaces/LAB"))["members"] == [
        {"user": "Ada", "role": "owner"}
    ]
    names = [item["name"] for item in succeed(ada.get(f"{API}/namespaces"))["namespaces"]]
    assert names == ["Ada", "Lab", "team"]
    assert ada.delete(f"{API}/namespaces/lab").status_code == 204
    assert refusal_of(ada.get(f"{API}/namespaces/lab")) == (404, "namespace-not-found")


def test_namespace_in_use_is_not_deleted(shared: People, ada: httpx.Client) -> None:
    succeed(ada.post(f"{API}/repositories", json={"namespace": "team", "name": "stays"}))
    for name in ("team", "ada"):
        assert refusal_of(ada.delete(f"{API}/namespaces/{name}")) == (409, "namespace-in-use")


def test_namespace_without_a_role_looks_missing(shared: People) -> None:
    client = shared.client(shared.add("passer"))
    for method, tail, body in (
        ("GET", "", None),
        ("PATCH", "", {"keep_untagged_days": 1}),
        ("DELETE", "", None),
        ("PUT", "/members/passer", {"role": "owner"}),
        ("DELETE", "/members/ada", None),
    ):
        there, absent = (
            client.request(method, f"{API}/namespaces/{name}{tail}", json=body)
            for name in ("team", "meat")
        )
        assert refusal_of(there) == (404, "namespace-not-found")
        assert there.text.replace("team", "meat") == absent.text


def test_owner_changes_roles_and_a_role_works_at_once(shared: People, ada: httpx.Client) -> None:
    client = shared.client(shared.add("mover"))
    url = f"{API}/namespaces/team/members/mover"
    wish = {"namespace": "team", "name": "moved"}
    for role, status in (("reader", 403), ("writer", 403), ("maintainer", 201)):
        assert ada.put(url, json={"role": role}).status_code == 204
        assert client.post(f"{API}/repositories", json=wish).status_code == status
    for _ in range(2):
        assert ada.delete(url).status_code == 204
    assert client.get(f"{API}/namespaces/team").status_code == 404
    assert refusal_of(ada.put(url, json={"role": "king"})) == (422, "invalid-input")


def test_namespace_keeps_an_owner_unless_an_administrator_decides(shared: People) -> None:
    solo = shared.client(shared.add("solo"))
    succeed(shared.admin.post(f"{API}/namespaces", json={"name": "club", "owner": "solo"}))
    url = f"{API}/namespaces/club/members/solo"
    assert refusal_of(solo.delete(url)) == (409, "owner-required")
    assert refusal_of(solo.put(url, json={"role": "reader"})) == (409, "owner-required")
    assert solo.put(url, json={"role": "owner"}).status_code == 204
    assert shared.admin.delete(url).status_code == 204
    assert solo.get(f"{API}/namespaces/club").status_code == 404


def test_user_stays_the_owner_of_the_own_namespace(
    shared: People, ada: httpx.Client, root: httpx.Client
) -> None:
    assert ada.put(f"{API}/namespaces/ada/members/root", json={"role": "owner"}).status_code == 204
    for client in (ada, shared.admin):
        answer = client.delete(f"{API}/namespaces/ada/members/ada")
        assert refusal_of(answer) == (409, "owner-required")


def test_quota_is_for_administrators_and_retention_for_owners(
    shared: People, ada: httpx.Client, grace: httpx.Client
) -> None:
    url = f"{API}/namespaces/team"
    assert ada.patch(url, json={"quota_bytes": 10}).status_code == 403
    assert grace.patch(url, json={"keep_untagged_days": 30}).status_code == 403
    assert succeed(ada.patch(url, json={"keep_untagged_days": 30}))["keep_untagged_days"] == 30
    changed = succeed(shared.admin.patch(url, json={"quota_bytes": 5 * 10**10}))
    assert (changed["quota_bytes"], changed["keep_untagged_days"]) == (5 * 10**10, 30)
    assert succeed(ada.patch(url, json={}))["quota_bytes"] == 5 * 10**10
    lifted = succeed(shared.admin.patch(url, json={"quota_bytes": 0, "keep_untagged_days": 0}))
    assert (lifted["quota_bytes"], lifted["keep_untagged_days"]) == (None, None)
    for body in ({"quota_bytes": -1}, {"quota_bytes": 2**63}, {"keep_untagged_days": 10**9}):
        assert refusal_of(shared.admin.patch(url, json=body)) == (422, "invalid-input")


# --- rules for refs ---


def test_rules_are_set_listed_and_lifted(shared: People, grace: httpx.Client) -> None:
    url = shared.make_repository("team/ruled") + "/protections"
    rule: dict[str, Any] = {
        "pattern": "release/*",
        "role": "maintainer",
        "fast_forward_only": True,
        "attestations": 2,
    }
    for _ in range(2):
        assert succeed(grace.put(url, json=rule)) == rule
    plain = succeed(grace.put(url, json={"pattern": "main"}))
    lenient = {"role": "maintainer", "fast_forward_only": False, "attestations": 0}
    assert plain == {"pattern": "main", **lenient}
    assert succeed(grace.get(url))["protections"] == [plain, rule]
    assert grace.delete(url, params={"pattern": "release/*"}).status_code == 204
    again = grace.delete(url, params={"pattern": "release/*"})
    assert refusal_of(again) == (404, "protection-not-found")


def test_rule_for_owners_is_neither_made_changed_nor_lifted_by_maintainers(
    shared: People, ada: httpx.Client, grace: httpx.Client
) -> None:
    url = shared.make_repository("team/owned") + "/protections"
    rule = {"pattern": "main", "role": "owner"}
    assert refusal_of(grace.put(url, json=rule)) == (403, "permission-denied")
    succeed(ada.put(url, json=rule))
    soft = {"pattern": "main", "role": "writer"}
    assert refusal_of(grace.put(url, json=soft)) == (403, "permission-denied")
    lifted = grace.delete(url, params={"pattern": "main"})
    assert refusal_of(lifted) == (403, "permission-denied")


@pytest.mark.parametrize("pattern", ["", "a b", "\x00", "x" * 201])
def test_pattern_that_cannot_be_is_refusal_of(
    shared: People, grace: httpx.Client, pattern: str
) -> None:
    url = f"{API}/repositories/team/stays/protections"
    for answer in (
        grace.put(url, json={"pattern": pattern}),
        grace.delete(url, params={"pattern": pattern}),
    ):
        assert refusal_of(answer) == (422, "invalid-input")


# --- audit log ---


def test_every_change_is_in_the_log_with_who_made_it_and_by_which_token(
    shared: People, ada: httpx.Client
) -> None:
    token = succeed(ada.get(f"{API}/user"))["token"]["id"]
    url = f"{API}/repositories/team/logged"
    succeed(ada.post(f"{API}/repositories", json={"namespace": "team", "name": "logged"}))
    succeed(ada.patch(url, json={"private": False}))
    succeed(ada.put(f"{url}/protections", json={"pattern": "main"}))
    succeed(ada.delete(f"{url}/protections", params={"pattern": "main"}))
    succeed(ada.delete(url))
    rows = succeed(ada.get(f"{API}/audit", params={"subject": "team/logged"}))["rows"]
    assert [row["action"] for row in rows] == [
        "repository.delete",
        "protection.delete",
        "protection.set",
        "repository.update",
        "repository.create",
    ]
    assert {(row["actor"], row["token"], row["namespace"]) for row in rows} == {
        ("Ada", token, "team")
    }
    assert rows[2]["details"]["role"] == "maintainer"


def test_accounts_are_in_the_log_without_secrets(shared: People) -> None:
    secret = shared.add("watched", team="reader")
    succeed(shared.admin.patch(f"{API}/users/watched", json={"disabled": True}))
    answer = shared.admin.get(f"{API}/audit", params={"limit": 5})
    rows = succeed(answer)["rows"]
    assert [row["action"] for row in rows[:4]] == [
        "user.update",
        "token.create",
        "member.set",
        "user.create",
    ]
    assert {row["actor"] for row in rows[:4]} == {"admin"}
    assert secret not in answer.text
    assert hash_bytes(secret.encode()) not in answer.text


def test_what_changes_nothing_is_not_in_the_log(
    shared: People, ada: httpx.Client, root: httpx.Client
) -> None:
    def newest() -> int:
        return int(succeed(shared.admin.get(f"{API}/audit", params={"limit": 1}))["rows"][0]["id"])

    before = newest()
    succeed(ada.patch(f"{API}/namespaces/team", json={}))
    succeed(ada.put(f"{API}/namespaces/team/members/ada", json={"role": "owner"}))
    succeed(ada.delete(f"{API}/namespaces/team/members/root"))
    succeed(shared.admin.patch(f"{API}/users/ada", json={"admin": False, "disabled": False}))
    assert newest() == before


def test_owner_reads_the_own_namespaces_and_an_administrator_all(
    shared: People, ada: httpx.Client, root: httpx.Client
) -> None:
    seen = {row["namespace"] for row in succeed(ada.get(f"{API}/audit"))["rows"]}
    assert seen <= {"ada", "team"}
    everything = succeed(root.get(f"{API}/audit", params={"limit": 200}))["rows"]
    assert None in {row["namespace"] for row in everything}
    assert refusal_of(ada.get(f"{API}/audit", params={"namespace": "zoe"})) == (
        404,
        "namespace-not-found",
    )


def test_audit_log_comes_in_pages(shared: People, ada: httpx.Client) -> None:
    for number in range(4):
        shared.make_repository(f"team/paged{number}")
    params: dict[str, Any] = {"namespace": "team", "limit": 3}
    seen: list[int] = []
    while True:
        page = succeed(ada.get(f"{API}/audit", params=params))
        seen += [row["id"] for row in page["rows"]]
        if page["next"] is None:
            break
        params["cursor"] = page["next"]
    assert len(seen) > 3
    assert seen == sorted(set(seen), reverse=True)


@pytest.mark.parametrize(
    "params",
    [
        {"cursor": "x"},
        {"cursor": "-1"},
        {"cursor": "9" * 30},
        {"cursor": str(2**63)},
        {"cursor": "1; DROP TABLE audit_log"},
        {"limit": 0},
        {"limit": 201},
        {"namespace": "a/b"},
        {"subject": "\x00"},
        {"actor": "ü"},
    ],
)
def test_audit_log_refuses_what_cannot_be(shared: People, params: dict[str, Any]) -> None:
    assert shared.admin.get(f"{API}/audit", params=params).status_code == 422
