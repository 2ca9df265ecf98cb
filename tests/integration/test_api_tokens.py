"""Making, using, listing and revoking tokens, over real HTTP."""

import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from plait.model.ids import hash_bytes
from plait_registry.services.tokens import MOST_TOKENS
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


def test_token_is_shown_once_and_kept_as_its_sha256(shared: People, ada: httpx.Client) -> None:
    made = succeed(ada.post(f"{API}/tokens", json={"label": "laptop"}))
    secret = made["secret"]
    assert re.fullmatch(r"plait_[A-Za-z0-9_-]{43}", secret)
    assert re.fullmatch(r"[0-9a-f]{12}", made["token"]["id"])
    assert secret not in ada.get(f"{API}/tokens").text
    kept = b"".join(
        path.read_bytes()
        for path in shared.server.folder.root.iterdir()
        if path.name.startswith("registry.db")
    )
    assert hash_bytes(secret.encode()).encode() in kept
    assert secret.encode() not in kept
    assert secret.removeprefix("plait_").encode() not in kept


def test_token_ends_by_itself_after_a_quarter_unless_told_otherwise(ada: httpx.Client) -> None:
    token = succeed(ada.post(f"{API}/tokens", json={}))["token"]
    assert token["expires_at"] > token["created_at"]
    assert token["expires_at"][10:] == token["created_at"][10:]
    for expires in ("yesterday", "0d", "2020-01-01", ""):
        answer = ada.post(f"{API}/tokens", json={"expires": expires})
        assert refusal_of(answer) == (422, "invalid-input")
    forever = succeed(ada.post(f"{API}/tokens", json={"expires": "never"}))["token"]
    assert forever["expires_at"] is None


def test_use_of_a_token_is_remembered_by_the_day(shared: People, ada: httpx.Client) -> None:
    made = succeed(ada.post(f"{API}/tokens", json={"label": "used"}))
    assert made["token"]["last_used_on"] is None
    succeed(shared.client(made["secret"]).get(f"{API}/user"))
    listed = {token["id"]: token for token in succeed(ada.get(f"{API}/tokens"))["tokens"]}
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", listed[made["token"]["id"]]["last_used_on"])


def test_expired_revoked_and_forged_tokens_are_told_apart(shared: People) -> None:
    shared.add("late")
    for token, kind in (
        (shared.expired("late"), "token-expired"),
        (shared.revoked("late"), "token-revoked"),
        ("plait_" + "A" * 43, "unauthenticated"),
    ):
        assert refusal_of(shared.client(token).get(f"{API}/user")) == (401, kind)


@pytest.mark.parametrize(
    ("have", "wanted", "may"),
    [
        (["team:write"], ["team:write"], True),
        (["team:write"], ["team:read"], True),
        (["team:write"], ["team/sql:write"], True),
        (["team:write"], ["team:admin"], False),
        (["team:write"], ["lab:read"], False),
        (["team:write"], ["*:read"], False),
        (["team:write"], ["team:read", "lab:read"], False),
        (["team:write"], None, False),
        (["team/sql:read"], ["team:read"], False),
        (["*:read", "team:write"], ["lab:read", "team:write"], True),
        (["*:admin"], ["lab:admin"], True),
        (["*:admin"], None, False),
    ],
)
def test_token_makes_none_that_may_do_more_than_itself(
    shared: People, ada: httpx.Client, have: list[str], wanted: list[str] | None, *, may: bool
) -> None:
    client = shared.client(shared.token("ada", *have))
    answer = client.post(f"{API}/tokens", json={"scopes": wanted, "expires": "1d"})
    if may:
        assert succeed(answer)["token"]["scopes"] == wanted
    else:
        assert refusal_of(answer) == (403, "permission-denied")


def test_token_with_scopes_makes_none_that_outlives_it(shared: People, ada: httpx.Client) -> None:
    client = shared.client(shared.token("ada", "team:read", expires="10d"))
    for expires, status in (("9d", 201), ("11d", 403), ("never", 403)):
        body = {"scopes": ["team:read"], "expires": expires}
        assert client.post(f"{API}/tokens", json=body).status_code == status
    unscoped = shared.client(shared.token("ada", expires="10d"))
    assert unscoped.post(f"{API}/tokens", json={"expires": "90d"}).status_code == 201


def test_token_with_scopes_sees_and_revokes_itself_alone(shared: People, ada: httpx.Client) -> None:
    other = succeed(ada.post(f"{API}/tokens", json={"label": "other"}))["token"]["id"]
    client = shared.client(shared.token("ada", "team:read"))
    (own,) = succeed(client.get(f"{API}/tokens"))["tokens"]
    assert refusal_of(client.delete(f"{API}/tokens/{other}")) == (404, "token-not-found")
    assert client.delete(f"{API}/tokens/{own['id']}").status_code == 204
    assert refusal_of(client.get(f"{API}/tokens")) == (401, "token-revoked")


def test_token_of_somebody_else_looks_missing(
    shared: People, ada: httpx.Client, grace: httpx.Client
) -> None:
    own = succeed(ada.post(f"{API}/tokens", json={}))["token"]["id"]
    theirs, absent = (grace.delete(f"{API}/tokens/{token}") for token in (own, "0" * 12))
    assert refusal_of(theirs) == refusal_of(absent) == (404, "token-not-found")
    assert theirs.text.replace(own, "0" * 12) == absent.text
    assert grace.get(f"{API}/tokens", params={"user": "ada"}).status_code == 403
    assert grace.post(f"{API}/tokens", json={"user": "ada"}).status_code == 403
    succeed(ada.get(f"{API}/tokens", params={"user": "ADA"}))


def test_administrator_makes_lists_and_revokes_tokens_of_others(
    shared: People, root: httpx.Client
) -> None:
    shared.add("service")
    made = succeed(root.post(f"{API}/tokens", json={"user": "service", "expires": "never"}))
    client = shared.client(made["secret"])
    assert succeed(client.get(f"{API}/user"))["name"] == "service"
    listed = succeed(root.get(f"{API}/tokens", params={"user": "service"}))["tokens"]
    assert made["token"]["id"] in [token["id"] for token in listed]
    for _ in range(2):
        assert root.delete(f"{API}/tokens/{made['token']['id']}").status_code == 204
    assert client.get(f"{API}/user").status_code == 401


def test_scoped_token_of_an_administrator_does_not_administer(shared: People) -> None:
    shared.add("chief", admin=True)
    limited = shared.client(shared.token("chief", "team:admin", "*:write"))
    for answer in (
        limited.get(f"{API}/users"),
        limited.post(f"{API}/users", json={"name": "fresh"}),
        limited.patch(f"{API}/users/chief", json={"admin": True}),
        limited.post(f"{API}/namespaces", json={"name": "fresh"}),
        limited.post(f"{API}/tokens", json={"user": "chief"}),
        limited.patch(f"{API}/namespaces/team", json={"quota_bytes": 1}),
    ):
        assert refusal_of(answer) == (403, "permission-denied")
    whole = shared.client(shared.token("chief", "*:admin"))
    assert whole.get(f"{API}/users").status_code == 200


def test_folder_token_has_no_tokens_of_its_own(shared: People) -> None:
    for answer in (shared.admin.get(f"{API}/tokens"), shared.admin.post(f"{API}/tokens", json={})):
        assert refusal_of(answer) == (422, "invalid-input")


@pytest.mark.parametrize(
    "wish",
    [
        {"label": "x" * 101},
        {"label": "two\nlines"},
        {"label": "\x00"},
        {"scopes": []},
        {"scopes": ["team"]},
        {"scopes": [f"a{number}:read" for number in range(101)]},
        {"user": "a/b"},
    ],
)
def test_wish_that_breaks_a_rule_is_refusal_of(ada: httpx.Client, wish: dict[str, Any]) -> None:
    assert ada.post(f"{API}/tokens", json=wish).status_code == 422


def test_scopes_are_kept_once_each_in_lower_case(ada: httpx.Client) -> None:
    body = {"scopes": ["Team/SQL:read", "team:write", "team/sql:read"]}
    made = succeed(ada.post(f"{API}/tokens", json=body))
    assert made["token"]["scopes"] == ["team/sql:read", "team:write"]


def test_user_cannot_pile_up_tokens(shared: People) -> None:
    client = shared.client(shared.add("hoarder"))
    for _ in range(MOST_TOKENS - 1):
        last = succeed(client.post(f"{API}/tokens", json={}))["token"]["id"]
    assert "revoke some" in client.post(f"{API}/tokens", json={}).text
    assert client.delete(f"{API}/tokens/{last}").status_code == 204
    succeed(client.post(f"{API}/tokens", json={}))
