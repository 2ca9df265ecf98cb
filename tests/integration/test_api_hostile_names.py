"""Names, cursors, patterns and scopes that were made to break out: refused, and never a fault."""

import itertools
import json
import socket
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlsplit

import httpx
import pytest

from served.accounts import API, People, peopled, succeed
from served.postgres import shared_postgres_server
from served.rights import OPEN

HOSTILE = (
    "..",
    "../../etc/passwd",
    "a/b/../c",
    "'; DROP TABLE users; --",
    '" OR 1=1 --',
    "1) UNION SELECT digest FROM tokens --",
    "%",
    "*",
    "\x00",
    "a\x00b",
    "line\nbreak",
    "\u202egnp",
    "\U0001f600",
    "x" * 3_000,
    "-1",
    "99999999999999999999999",
    "",
)


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Iterator[People]:
    # PostgreSQL is the stricter one: it takes no NUL, and no number beyond its columns.
    url = shared_postgres_server().create_database("hostile_names")
    with peopled(tmp_path_factory.mktemp("data"), DATABASE_URL=url) as made:
        made.make_repository("team/sql")
        yield made


@pytest.fixture(scope="module")
def document(people: People) -> dict[str, Any]:
    """What the API says about itself."""
    found: dict[str, Any] = succeed(people.admin.get("/openapi.json"))
    return found


ROUTES = pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])


def find_operations(document: dict[str, Any], method: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the routes of a method that take a token."""
    for path, methods in document["paths"].items():
        if method.lower() in methods and (method, path) not in OPEN:
            yield path, methods[method.lower()]


def fill_path(path: str, values: dict[str, str]) -> str:
    for name, value in values.items():
        # What is no character of a path travels as %XX, as any client sends it.
        path = path.replace(f"{{{name}}}", quote(value, safe=""))
    return path


def harmless(operation: dict[str, Any]) -> dict[str, str]:
    """Return values of a route's path that lead to what is there, or to nothing."""
    known = {"namespace": "team", "name": "sql", "kind": "branch", "ref": "main"}
    return {
        item["name"]: known.get(item["name"], "0" * 64)
        for item in operation.get("parameters", [])
        if item["in"] == "path"
    }


def verify_refused_or_answered(answer: httpx.Response) -> None:
    assert answer.status_code < 500, (str(answer.request.url)[:300], answer.text[:300])
    if answer.status_code >= 400:
        assert set(answer.json()["error"]) == {"kind", "message", "details"}
        assert "Traceback" not in answer.text
        assert "sqlite" not in answer.text.lower()


@ROUTES
def test_hostile_text_in_a_path_is_refused(
    people: People, document: dict[str, Any], method: str
) -> None:
    for path, operation in find_operations(document, method):
        values = harmless(operation)
        for name, text in itertools.product(values, HOSTILE):
            url = fill_path(path, {**values, name: text})
            verify_refused_or_answered(people.admin.request(method, url))


@ROUTES
def test_hostile_text_in_a_query_is_refused_or_finds_nothing(
    people: People, document: dict[str, Any], method: str
) -> None:
    for path, operation in find_operations(document, method):
        url = fill_path(path, harmless(operation))
        names = [item["name"] for item in operation.get("parameters", []) if item["in"] == "query"]
        for name, text in itertools.product(names, HOSTILE):
            verify_refused_or_answered(people.admin.request(method, url, params={name: text}))


def find_texts(document: dict[str, Any], operation: dict[str, Any]) -> dict[str, list[str]]:
    """Return the fields of a route's body, each with its types."""
    content = operation.get("requestBody", {}).get("content", {})
    reference = content.get("application/json", {}).get("schema", {}).get("$ref", "")
    if not reference:
        return {}
    schema = document["components"]["schemas"][reference.rpartition("/")[2]]
    return {
        name: [item.get("type", "") for item in field.get("anyOf", [field])]
        for name, field in schema["properties"].items()
    }


@ROUTES
def test_hostile_text_in_a_body_is_refused_or_kept_as_it_is(
    people: People, document: dict[str, Any], method: str
) -> None:
    for path, operation in find_operations(document, method):
        fields = find_texts(document, operation)
        url = fill_path(path, harmless(operation))
        good = {"namespace": "team", "name": "x", "user": "nobody", "kind": "branch"}
        for name, text in itertools.product(fields, (*HOSTILE, "\ud800")):
            value = [text] if "array" in fields[name] else text
            body = {key: good[key] for key in fields if key in good} | {name: value}
            # As escapes, which is the only way to write half a surrogate pair.
            content = json.dumps(body).encode("ascii")
            headers = {"Content-Type": "application/json"}
            verify_refused_or_answered(
                people.admin.request(method, url, content=content, headers=headers)
            )


def test_everything_is_still_there_after_it(people: People) -> None:
    for text in HOSTILE:
        people.admin.get(f"{API}/repositories", params={"query": text, "namespace": text})
        people.admin.get(f"{API}/audit", params={"subject": text})
    assert succeed(people.admin.get(f"{API}/namespaces"))["namespaces"]
    assert succeed(people.admin.get(f"{API}/repositories/team/sql"))["name"] == "sql"


@pytest.mark.parametrize(
    "path",
    ["team/sql/../other", "team/../team/other", "team%2Fother", "team%2f..%2fteam/other"],
)
def test_path_that_climbs_reaches_no_other_repository(people: People, path: str) -> None:
    name = f"climber{len(path)}"
    people.add(name, team="owner")
    token = people.token(name, "team/sql:read")
    address = urlsplit(people.server.url)
    # By hand, since clients tidy a path before they send it.
    with socket.create_connection((address.hostname, address.port), timeout=30) as connection:
        connection.sendall(
            f"GET {API}/repositories/{path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
            f"Authorization: Bearer {token}\r\n\r\n".encode()
        )
        answer = b""
        while piece := connection.recv(65_536):
            answer += piece
    assert answer.split()[1] in (b"404", b"422")
