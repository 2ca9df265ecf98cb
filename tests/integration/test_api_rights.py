"""Who gets what from which route: the table of `served/rights.py`, and what a stranger can tell."""

import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from plait_registry.api.job_access import OPEN_TO_KIND
from plait_registry.domain.jobs import JobKind
from reference.memory_registry import Version, make_version
from served.accounts import API, FORGED, People, kind_of, peopled, succeed
from served.pushing import push_version
from served.rights import CALLERS, OPEN, REPOSITORY, ROWS, Row

VERSION = make_version("first")
_numbers = itertools.count()


@dataclass(frozen=True)
class World:
    """A registry with one client for each column of the table."""

    people: People
    clients: dict[str, httpx.Client]
    invalid: dict[str, httpx.Client]
    """By the kind of error that their tokens lead to."""

    @property
    def routes(self) -> set[tuple[str, str]]:
        """Every route, as OpenAPI has it."""
        document = succeed(self.people.admin.get("/openapi.json"))
        return {
            (method.upper(), path)
            for path, methods in document["paths"].items()
            for method in methods
        }


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with peopled(tmp_path_factory.mktemp("data")) as people:
        tokens = {"stranger": people.add("stranger")}
        for role in ("reader", "writer", "maintainer", "owner"):
            tokens[role] = people.add(role, team=role)
        tokens["admin"] = people.add("chief", admin=True)
        tokens["elsewhere"] = people.token("owner", "team/other:admin")
        tokens["reading"] = people.token("owner", "team:read")
        people.add("somebody")
        for name in ("team/sql", "team/other", "stranger/own"):
            push_version(people.admin, people.make_repository(name), VERSION)
        people.make_repository("team/open", private=False)
        push_version(people.admin, f"{API}/repositories/team/open", VERSION)
        invalid = {
            "token-missing": None,
            "token-expired": people.expired("owner"),
            "token-revoked": people.revoked("owner"),
            "unauthenticated": FORGED,
        }
        yield World(
            people,
            {name: people.client(token) for name, token in tokens.items()},
            {kind: people.client(token) for kind, token in invalid.items()},
        )


class Request:
    """A request of the table, with everything that it names in place."""

    def __init__(self, people: People, route: tuple[str, str], repository: str = "sql") -> None:
        self._people = people
        self._repository = f"{API}/repositories/team/{repository}"
        self._row: Row = ROWS[route]
        self.method = route[0]
        parameters = {"namespace": "team", "name": repository, **self._row.path}
        self.path = route[1]
        for name in ("namespace", "name", "kind", "ref"):
            self.path = self.path.replace(f"{{{name}}}", parameters.get(name, f"{{{name}}}"))
        self.path = self._fill(self.path)
        self.query = {key: self._fill(text) for key, text in self._row.query.items()}
        self.body = json.loads(self._fill(json.dumps(self._row.body)))

    def send(self, client: httpx.Client) -> httpx.Response:
        """Send it as somebody."""
        body = {} if self.body is None else {"json": self.body}
        return client.request(self.method, self.path, params=self.query, **body)

    def _fill(self, text: str) -> str:
        """Replace what is in braces, making what has to be there first."""
        makers: dict[str, Callable[[], str]] = {
            "head": lambda: VERSION.id,
            "commit": lambda: VERSION.id,
            "manifest": lambda: str(VERSION.commit["manifest"]),
            "file": lambda: str(VERSION.manifest["files"][0]["sha256"]),
            "fresh": _fresh,
            "user": lambda: "somebody",
            "repository": self._make_repository,
            "push": self._begin_push,
            "rule": self._make_rule,
            "token": self._make_token,
            "webhook": self._make_webhook,
            "delivery": self._make_delivery,
            "job": self.make_job,
        }
        for name, make in makers.items():
            if f"{{{name}}}" in text:
                text = text.replace(f"{{{name}}}", make())
        return text

    def _make_repository(self) -> str:
        name = _fresh()
        self._people.make_repository(f"team/{name}")
        return name

    def _begin_push(self) -> str:
        ref = {"kind": "branch", "name": _fresh(), "expected": None, "new": VERSION.id}
        body = {"ref": ref, "staged": {"commits": [], "manifests": []}}
        return str(
            succeed(self._people.admin.post(f"{self._repository}/pushes", json=body))["push"]
        )

    def _make_rule(self) -> str:
        name = _fresh()
        url = f"{self._repository}/protections"
        succeed(self._people.admin.put(url, json={"pattern": name}))
        return name

    def _make_token(self) -> str:
        body = {"user": "somebody", "label": "theirs"}
        made = succeed(self._people.admin.post(f"{API}/tokens", json=body))
        self._people.admin.delete(f"{API}/tokens/{made['token']['id']}")
        return str(made["token"]["id"])

    def _make_webhook(self) -> str:
        target = self._repository.removeprefix(f"{API}/repositories/")
        body = {"target": target, "url": "https://ci.example.org/plait"}
        for old in succeed(self._people.admin.get(f"{API}/webhooks", params={"target": target}))[
            "webhooks"
        ]:
            succeed(self._people.admin.delete(f"{API}/webhooks/{old['id']}"))
        return str(succeed(self._people.admin.post(f"{API}/webhooks", json=body))["webhook"]["id"])

    def _make_delivery(self) -> str:
        webhook = self._make_webhook()
        tag = {"kind": "tag", "name": _fresh(), "revision": "main"}
        succeed(self._people.admin.post(f"{self._repository}/refs", json=tag))
        url = f"{API}/webhooks/{webhook}/deliveries"
        return str(succeed(self._people.admin.get(url))["deliveries"][0]["id"])

    def make_job(self) -> str:
        """Ask for a job, in place of those that wait."""
        for old in succeed(self._people.admin.get(f"{self._repository}/jobs"))["jobs"]:
            if old["state"] == "queued":
                succeed(self._people.admin.post(f"{API}/jobs/{old['id']}/cancel"))
        body = ROWS["POST", f"{REPOSITORY}/compositions"].body
        url = f"{self._repository}/compositions"
        made = succeed(self._people.admin.post(url, json={**body, "branch": _fresh()}))
        return str(made["job"]["id"])


def _fresh() -> str:
    return f"fresh{next(_numbers)}"


# --- the table ---


def test_every_route_has_a_row_and_every_row_a_route(world: World) -> None:
    assert world.routes - OPEN == set(ROWS)


@pytest.mark.parametrize("caller", CALLERS)
@pytest.mark.parametrize("route", ROWS, ids=" ".join)
def test_caller_gets_from_a_route_what_the_table_says(
    world: World, route: tuple[str, str], caller: str
) -> None:
    answer = Request(world.people, route).send(world.clients[caller])
    assert answer.status_code == ROWS[route].expected(caller), answer.text
    if answer.status_code == 403:
        assert kind_of(answer) == "permission-denied"


@pytest.mark.parametrize("route", ROWS, ids=" ".join)
def test_nobody_without_a_valid_token_gets_anything(world: World, route: tuple[str, str]) -> None:
    request = Request(world.people, route)
    for kind, client in world.invalid.items():
        answer = request.send(client)
        assert (answer.status_code, kind_of(answer)) == (401, kind)


@pytest.mark.parametrize("route", ROWS, ids=" ".join)
def test_token_of_a_job_opens_what_its_process_needs_and_no_other_route(
    world: World, route: tuple[str, str]
) -> None:
    Request(world.people, ("GET", REPOSITORY)).make_job()
    jobs = world.people.server.registry.jobs
    claimed = jobs.claim()
    assert claimed is not None
    answer = Request(world.people, route).send(world.people.client(claimed.token))
    jobs.give_back(claimed.held)
    method, path = route
    if (method, path.removeprefix(API)) not in OPEN_TO_KIND[JobKind.COMPOSITION]:
        assert (answer.status_code, kind_of(answer)) == (403, "permission-denied")
        assert "The token of a job" in answer.text
    elif "{job}" in path:  # another one
        assert (answer.status_code, kind_of(answer)) == (404, "job-not-found")
    else:
        assert answer.status_code == ROWS[route].ok, answer.text


def test_every_route_that_is_open_to_jobs_is_there() -> None:
    opened = frozenset[tuple[str, str]]().union(*OPEN_TO_KIND.values())
    assert {(method, f"{API}{path}") for method, path in opened} <= set(ROWS)


@pytest.mark.parametrize("route", [r for r in ROWS if r[1].startswith(REPOSITORY)], ids=" ".join)
def test_public_repository_is_read_by_everybody_whose_token_reaches_it_and_changed_by_none(
    world: World, route: tuple[str, str]
) -> None:
    if "{repository}" in str(ROWS[route].path):
        request = Request(world.people, ("GET", REPOSITORY), "open")
        request.method = "DELETE"
    else:
        request = Request(world.people, route, "open")
    is_read = ROWS[route].cells.split()[1] == "ok"
    expected = {"stranger": ROWS[route].ok if is_read else 403, "elsewhere": 404}
    for caller, status in expected.items():
        assert request.send(world.clients[caller]).status_code == status


# --- what a stranger can tell ---


def strip(answer: httpx.Response) -> tuple[int, bytes, list[tuple[str, str]]]:
    """Return all of an answer but for what differs between any two."""
    headers = [
        item for item in answer.headers.multi_items() if item[0] not in ("date", "x-request-id")
    ]
    return answer.status_code, answer.content, headers


HIDDEN = [route for route in ROWS if route[1].startswith(REPOSITORY)]


def send_to_a_missing_thing(
    client: httpx.Client, route: tuple[str, str], namespace: str, name: str
) -> httpx.Response:
    """Send a request of the table where nothing that it names is there."""
    row = ROWS[route]
    parameters = {"commit": VERSION.id, "manifest": VERSION.id, "push": "0" * 32, "kind": "branch"}
    parameters |= {"ref": "main", "namespace": namespace, "name": name, "user": "stranger"}
    filled = {key: value.replace("{head}", VERSION.id) for key, value in row.query.items()}
    body = json.loads(json.dumps(row.body).replace("{head}", VERSION.id).replace("{fresh}", "x"))
    for key in ("target", "namespace"):
        if key in filled:
            filled[key] = namespace if key == "namespace" else f"{namespace}/{name}"
    options: dict[str, Any] = {} if body is None else {"json": body}
    return client.request(route[0], route[1].format(**parameters), params=filled, **options)


def test_private_repository_and_one_that_is_not_there_answer_a_stranger_alike(
    world: World,
) -> None:
    stranger = world.clients["stranger"]
    before = {
        route: strip(send_to_a_missing_thing(stranger, route, "team", "later")) for route in HIDDEN
    }
    push_version(world.people.admin, world.people.make_repository("team/later"), VERSION)
    assert len(before) > 20
    for route, answer in before.items():
        assert strip(send_to_a_missing_thing(stranger, route, "team", "later")) == answer, route


def test_namespace_and_one_that_is_not_there_answer_a_stranger_alike(world: World) -> None:
    stranger = world.clients["stranger"]
    routes = [
        route
        for route in ROWS
        if "/namespaces/{" in route[1]
        or route in (("GET", f"{API}/audit"), ("GET", f"{API}/webhooks"))
    ]
    before = {
        route: strip(send_to_a_missing_thing(stranger, route, "later", "sql")) for route in routes
    }
    create = {"namespace": "later", "name": "sql"}
    refusal = strip(stranger.post(f"{API}/repositories", json=create))
    succeed(world.people.admin.post(f"{API}/repositories", json=create))
    assert len(before) == 7
    for route, answer in before.items():
        assert strip(send_to_a_missing_thing(stranger, route, "later", "sql")) == answer, route
    assert strip(stranger.post(f"{API}/repositories", json=create)) == refusal
    assert refusal[0] == 403


def test_private_repository_is_in_no_list_of_a_stranger(world: World) -> None:
    stranger = world.clients["stranger"]
    for params in ({}, {"query": "sql"}, {"namespace": "team"}, {"base": "org/base"}):
        found = succeed(stranger.get(f"{API}/repositories", params=params))["repositories"]
        assert {item["name"] for item in found if item["namespace"] == "team"} <= {"open"}
    elsewhere = succeed(world.clients["elsewhere"].get(f"{API}/repositories"))["repositories"]
    assert [item["name"] for item in elsewhere] == ["other"]


# --- another namespace ---


def test_push_of_one_repository_is_not_gone_on_with_in_another(world: World) -> None:
    own = f"{API}/repositories/stranger/own"
    push = Request(world.people, ("POST", f"{REPOSITORY}/pushes/{{push}}/complete")).path
    theirs = push.removesuffix("/complete").rpartition("/")[2]
    for tail, body in (
        ("commits", {"commits": [], "manifests": []}),
        ("uploads", {"objects": []}),
        ("complete", None),
    ):
        answer = world.clients["stranger"].post(f"{own}/pushes/{theirs}/{tail}", json=body)
        assert (answer.status_code, kind_of(answer)) == (404, "push-not-found")


def test_commit_manifest_and_file_of_another_namespace_are_not_reached_from_the_own(
    world: World,
) -> None:
    secret = make_version("secret of the team")
    push_version(world.people.admin, world.people.make_repository("team/secret"), secret)
    stranger, own = world.clients["stranger"], f"{API}/repositories/stranger/own"
    manifest = str(secret.commit["manifest"])
    digests = [file["sha256"] for file in secret.manifest["files"]][1:]
    ref = {"kind": "branch", "name": "x", "expected": None, "new": secret.id}
    empty: dict[str, list[Any]] = {"commits": [], "manifests": []}
    for answer, kind in (
        (stranger.get(f"{own}/commits/{secret.id}"), "commit-not-found"),
        (stranger.get(f"{own}/resolve", params={"revision": secret.id}), "revision-not-found"),
        (stranger.get(f"{own}/resolve", params={"revision": secret.id[:9]}), "revision-not-found"),
        (stranger.get(f"{own}/manifests/{manifest}"), "manifest-not-found"),
        (stranger.post(f"{own}/downloads", json={"files": digests}), "file-not-found"),
        (
            stranger.post(f"{own}/refs", json={"kind": "tag", "name": "x", "revision": secret.id}),
            "revision-not-found",
        ),
    ):
        assert (answer.status_code, kind_of(answer)) == (404, kind)
    begun = stranger.post(f"{own}/pushes", json={"ref": ref, "staged": empty})
    done = stranger.post(f"{own}/pushes/{succeed(begun)['push']}/complete")
    assert (done.status_code, kind_of(done)) == (404, "commit-not-found")


def test_name_in_another_case_is_the_same_repository_with_the_same_rights(world: World) -> None:
    for path in ("TEAM/sql", "Team/SQL", "team/Sql"):
        url = f"{API}/repositories/{path}"
        assert world.clients["stranger"].get(url).status_code == 404
        assert world.clients["elsewhere"].get(url).status_code == 404
        assert world.clients["reader"].patch(url, json={"private": False}).status_code == 403
        assert succeed(world.clients["reader"].get(url))["name"] == "sql"


# --- protected refs ---


def make_branch(client: httpx.Client, url: str, name: str) -> int:
    body = {"kind": "branch", "name": name, "revision": "main"}
    return client.post(f"{url}/refs", json=body).status_code


def test_protected_ref_is_moved_by_its_role_alone_on_every_way(world: World) -> None:
    url = world.people.make_repository("team/guarded")
    push_version(world.people.admin, url, VERSION)
    owner, writer = world.clients["owner"], world.clients["writer"]
    succeed(owner.put(f"{url}/protections", json={"pattern": "rel/*"}))
    succeed(owner.put(f"{url}/protections", json={"pattern": "main", "fast_forward_only": True}))
    assert make_branch(writer, url, "rel/1") == 403
    assert make_branch(world.clients["maintainer"], url, "rel/1") == 201
    second: Version = make_version("second", VERSION.id)
    ref = {"kind": "branch", "name": "rel/1", "expected": VERSION.id, "new": second.id}
    staged = {"commits": [second.commit], "manifests": [second.manifest]}
    for answer in (
        writer.post(f"{url}/pushes", json={"ref": ref, "staged": staged}),
        writer.patch(
            f"{url}/refs/branch/rel/1", json={"expected": VERSION.id, "new": VERSION.id[:1] * 64}
        ),
        writer.delete(f"{url}/refs/branch/rel/1", params={"expected": VERSION.id}),
        owner.post(
            f"{url}/pushes", json={"ref": {**ref, "name": "main", "force": True}, "staged": staged}
        ),
    ):
        assert (answer.status_code, kind_of(answer)) == (403, "ref-protected"), answer.text
    push_version(owner, url, second, expected=VERSION.id)


def test_rule_made_while_a_push_is_under_way_holds_for_it(world: World) -> None:
    url = world.people.make_repository("team/raced")
    push_version(world.people.admin, url, VERSION)
    writer = world.clients["writer"]
    ref = {"kind": "branch", "name": "rel/2", "expected": None, "new": VERSION.id}
    empty: dict[str, list[Any]] = {"commits": [], "manifests": []}
    begun = succeed(writer.post(f"{url}/pushes", json={"ref": ref, "staged": empty}))
    succeed(world.clients["owner"].put(f"{url}/protections", json={"pattern": "rel/*"}))
    done = writer.post(f"{url}/pushes/{begun['push']}/complete")
    assert (done.status_code, kind_of(done)) == (403, "ref-protected")


def test_role_that_is_taken_away_while_a_push_is_under_way_ends_it(world: World) -> None:
    leaver = world.people.client(world.people.add("leaver", team="writer"))
    url = f"{API}/repositories/team/other"
    ref = {"kind": "branch", "name": "left", "expected": None, "new": VERSION.id}
    empty: dict[str, list[Any]] = {"commits": [], "manifests": []}
    begun = succeed(leaver.post(f"{url}/pushes", json={"ref": ref, "staged": empty}))
    succeed(world.clients["owner"].delete(f"{API}/namespaces/team/members/leaver"))
    assert leaver.post(f"{url}/pushes/{begun['push']}/complete").status_code == 404
