"""What every request meets before its route: token, limits, ids, and errors in one form."""

import itertools
import json
import logging
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from fastapi import FastAPI

from plait.errors import CLASS_OF_KIND, PlaitError, error_from_json
from plait_registry.adapters.prometheus_meter import PrometheusMeter
from plait_registry.api.app import create_app
from plait_registry.api.edge import Applications, Edge
from plait_registry.api.errors import STATUS_OF_CLASS, install_handlers
from plait_registry.domain.access import SYSTEM
from plait_registry.settings import Serving
from served.running import Running, running, serving, wait_until

LIMIT = 20_000
OPEN = {"/healthz", "/readyz", "/api/v1"}


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("data"), LARGEST_REQUEST=str(LIMIT)) as server:
        yield server


@pytest.fixture(scope="module")
def anonymous(registry: Running) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=registry.url) as client:
        yield client


def error_of(answer: httpx.Response) -> PlaitError:
    """Return the error as a client sees it, after checking that its status fits its class."""
    assert answer.headers["content-type"] == "application/json"
    error = error_from_json(answer.json(), fallback=PlaitError)
    assert type(error) in STATUS_OF_CLASS
    return error


@pytest.mark.parametrize(
    "head", [b"X-Endless: ", b"Transfer-Encoding: chunked\r\n\r\n0\r\nX-Endless: "]
)
def test_headers_that_never_end_are_cut_off(registry: Running, head: bytes) -> None:
    address = urlsplit(registry.url)
    with socket.create_connection((address.hostname, address.port)) as connection:
        connection.sendall(b"POST /api/v1 HTTP/1.1\r\nHost: x\r\n" + head)
        # A reset connection or a broken pipe: which one, is the system's choice.
        with pytest.raises(ConnectionError):
            connection.sendall(b"a" * 64_000_000)


# --- token ---


@pytest.mark.parametrize("path", sorted(OPEN))
def test_open_routes_need_no_token(anonymous: httpx.Client, path: str) -> None:
    assert anonymous.get(path).status_code == 200


def test_health_is_ok_while_everything_answers(anonymous: httpx.Client) -> None:
    assert anonymous.get("/healthz").json() == {"status": "ok"}


def test_server_says_what_it_is_and_what_it_accepts(anonymous: httpx.Client) -> None:
    info = anonymous.get("/api/v1").json()
    assert info["name"] == "plait"
    assert info["largest_request"] == LIMIT


@pytest.mark.parametrize(
    ("header", "kind"),
    [
        (None, "token-missing"),
        ("", "token-missing"),
        ("Bearer", "token-missing"),
        ("Basic dXNlcjpwYXNz", "token-missing"),
        ("Bearer plait_wrong", "unauthenticated"),
        ("Bearer ünlike", "unauthenticated"),
        ("Token {token}", "token-missing"),
        ("Bearer {token}x", "unauthenticated"),
        ("Bearer {half}", "unauthenticated"),
    ],
)
def test_request_without_the_token_is_told_to_log_in(
    registry: Running, anonymous: httpx.Client, header: str | None, kind: str
) -> None:
    token = registry.token
    headers: dict[bytes, bytes] = {}
    if header is not None:
        text = header.format(token=token, half=token[: len(token) // 2])
        headers[b"Authorization"] = text.encode("latin-1")
    for path in ("/api/v1/repositories", "/api/v1/nothing"):
        answer = anonymous.get(path, headers=headers)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"
        assert error_of(answer).kind == kind


def test_scheme_of_the_token_may_have_any_case(registry: Running, anonymous: httpx.Client) -> None:
    headers = {"Authorization": f"bEaReR  {registry.token}"}
    assert anonymous.get("/api/v1/repositories", headers=headers).status_code == 200


def test_token_given_twice_counts_as_none(registry: Running, anonymous: httpx.Client) -> None:
    bearer = ("Authorization", f"Bearer {registry.token}")
    answer = anonymous.get("/api/v1/repositories", headers=[bearer, bearer])
    assert answer.status_code == 401


def test_token_is_checked_before_the_body_is_looked_at(anonymous: httpx.Client) -> None:
    answer = anonymous.post("/api/v1/repositories", content=b"{" * 30_000)
    assert answer.status_code == 401


def test_rotated_token_works_at_once_and_the_old_one_no_longer(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        assert server.client.get("/api/v1/repositories").status_code == 200
        server.folder.rotate_token()
        assert server.client.get("/api/v1/repositories").status_code == 401
        headers = {"Authorization": f"Bearer {server.token}"}
        assert server.client.get("/api/v1/repositories", headers=headers).status_code == 200
        server.folder.token_path.unlink()
        assert server.client.get("/api/v1/repositories", headers=headers).status_code == 401


# --- errors ---


def test_every_class_of_error_has_a_status() -> None:
    assert set(STATUS_OF_CLASS) == set(CLASS_OF_KIND.values())


@pytest.fixture(scope="module")
def raising() -> Iterator[httpx.Client]:
    """Serves an application whose one route raises the kind that it is asked for."""
    api = FastAPI()
    install_handlers(api)

    def fail(kind: str) -> None:
        raise CLASS_OF_KIND[kind](kind, f"Do something about {kind}.", expected="ü", actual=None)

    api.add_api_route("/{kind}", fail)
    edge = Edge(
        behind=Applications(api=api, objects=api, health=api, metrics=api),
        authenticate=lambda _: SYSTEM,
        meter=PrometheusMeter(),
        serving=Serving(),
    )
    with serving(edge) as url, httpx.Client(base_url=url) as client:
        yield client


@pytest.mark.parametrize("kind", CLASS_OF_KIND)
def test_every_kind_of_error_arrives_as_the_class_that_was_raised(
    raising: httpx.Client, kind: str
) -> None:
    answer = raising.get(f"/{kind}")
    error = error_of(answer)
    assert type(error) is CLASS_OF_KIND[kind]
    assert answer.status_code == STATUS_OF_CLASS[type(error)]
    assert (error.kind, error.message) == (kind, f"Do something about {kind}.")
    assert error.details == {"expected": "ü", "actual": None}
    assert ("retry-after" in answer.headers) == (answer.status_code == 503)


def test_unforeseen_failure_shows_the_caller_an_id_and_the_log_the_rest(
    registry: Running, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise RuntimeError("a secret of the inside")

    app = create_app(replace(registry.registry, check=fail), Serving())
    with serving(app) as url, caplog.at_level(logging.ERROR):
        answer = httpx.get(f"{url}/readyz", headers={"X-Request-Id": "find-me"})
        wait_until(lambda: any(record.exc_info for record in caplog.records))
    assert answer.status_code == 500
    error = error_of(answer)
    assert error.kind == "internal"
    assert error.details == {"request_id": "find-me"}
    assert "secret" not in answer.text
    (record,) = [record for record in caplog.records if record.exc_info]
    assert vars(record)["request_id"] == "find-me"
    assert "a secret of the inside" in caplog.text


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/api", 404),
        ("GET", "/api/v2/repositories", 404),
        ("GET", "/api/v1/", 404),
        ("GET", "/api/v1/nothing", 404),
        ("GET", "/api/v1/repositories/", 404),
        ("GET", "/api/v1/repositories/a/b/c", 404),
        ("GET", "/docs", 404),
        ("DELETE", "/api/v1/repositories", 405),
        ("PUT", "/healthz", 404),
        ("GET", "//healthz", 404),
    ],
)
def test_unknown_route_is_told_apart_from_a_missing_thing(
    registry: Running, method: str, path: str, status: int
) -> None:
    answer = registry.client.request(method, registry.url + path)
    assert answer.status_code == status
    assert error_of(answer).kind == "route-not-found"
    assert ("allow" in answer.headers) == (status == 405)


# --- bodies ---


@pytest.mark.parametrize(
    ("content", "kind", "word"),
    [
        (b"", "invalid-input", "body"),
        (b"{", "invalid-json", "JSON"),
        (b"\xff\xfe{}", "invalid-json", "JSON"),
        (b"[" * 5_000, "invalid-json", "JSON"),
        (b"[]", "invalid-input", "body"),
        (b'"text"', "invalid-input", "body"),
        (b"{}", "invalid-input", "body.namespace"),
        (b'{"namespace": "a"}', "invalid-input", "body.name"),
        (b'{"namespace": "a", "name": 7}', "invalid-input", "body.name"),
        (b'{"namespace": "a", "name": null}', "invalid-input", "body.name"),
        (b'{"namespace": "a", "name": "b", "description": "\\ud800"}', "invalid-input", "desc"),
    ],
)
def test_body_that_is_not_what_was_asked_for_is_refused_by_the_field(
    registry: Running, content: bytes, kind: str, word: str
) -> None:
    headers = {"content-type": "application/json"}
    answer = registry.client.post("/api/v1/repositories", content=content, headers=headers)
    assert answer.status_code == 422
    error = error_of(answer)
    assert error.kind == kind
    assert word in error.message


def test_body_that_is_not_declared_as_json_is_refused(registry: Running) -> None:
    content = b'{"namespace": "a", "name": "b"}'
    answer = registry.client.post(
        "/api/v1/repositories", content=content, headers={"content-type": "text/plain"}
    )
    assert answer.status_code == 422


def test_body_over_the_limit_is_refused_by_its_declared_length(registry: Running) -> None:
    answer = registry.client.post("/api/v1/repositories", content=b" " * (LIMIT + 1))
    assert answer.status_code == 413
    error = error_of(answer)
    assert error.kind == "request-too-large"
    assert error.details == {"limit": LIMIT}


def test_body_over_the_limit_is_refused_while_it_streams(registry: Running) -> None:
    chunks = itertools.repeat(b" " * 1_000, 30)
    headers = {"content-type": "application/json"}
    answer = registry.client.post("/api/v1/repositories", content=chunks, headers=headers)
    assert answer.status_code == 413
    assert error_of(answer).kind == "request-too-large"


def test_body_at_the_limit_is_read(registry: Running) -> None:
    body = b'{"namespace": "limit", "name": "exact"'
    content = body + b" " * (LIMIT - len(body) - 1) + b"}"
    headers = {"content-type": "application/json"}
    answer = registry.client.post("/api/v1/repositories", content=content, headers=headers)
    assert answer.status_code == 201


# --- request ids and the log ---


@pytest.mark.parametrize("given", ["abc-123_X.y", "a", "a" * 64])
def test_well_formed_request_id_comes_back(anonymous: httpx.Client, given: str) -> None:
    answer = anonymous.get("/healthz", headers={"X-Request-Id": given})
    assert answer.headers["x-request-id"] == given


@pytest.mark.parametrize("given", [None, "", "a b", "a" * 65, "x\ty", '"'])
def test_other_request_ids_are_replaced(anonymous: httpx.Client, given: str | None) -> None:
    headers = {} if given is None else {"X-Request-Id": given}
    answers = [anonymous.get(path, headers=headers) for path in ("/healthz", "/nothing")]
    found = {answer.headers["x-request-id"] for answer in answers}
    assert len(found) == 2
    assert given not in found


def test_log_has_one_line_a_request_without_its_query_or_token(
    registry: Running, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="plait_registry.access"):
        registry.client.get("/api/v1/repositories", params={"query": "private"})
        registry.client.get("/objects/abc", params={"signature": "s3cr3t"})
        wait_until(lambda: len(caplog.records) >= 2)
    lines = [vars(record) for record in caplog.records if record.name == "plait_registry.access"]
    assert [(line["method"], line["path"], line["status"]) for line in lines] == [
        ("GET", "/api/v1/repositories", 200),
        ("GET", "/objects/abc", 403),
    ]
    assert all(line["milliseconds"] > 0 and line["request_id"] for line in lines)
    everything = json.dumps([vars(record) for record in caplog.records], default=str)
    for secret in ("private", "s3cr3t", registry.token):
        assert secret not in everything


def test_garbage_instead_of_http_is_answered_and_the_server_goes_on(
    registry: Running, anonymous: httpx.Client
) -> None:
    address = urlsplit(registry.url)
    with socket.create_connection((address.hostname or "", address.port or 0), 10) as raw:
        raw.sendall(b"\x16\x03\x01\x00\x00 not http at all\r\n\r\n")
        assert raw.recv(1_000).startswith(b"HTTP/1.1 400")
    assert anonymous.get("/healthz").status_code == 200


# --- documentation ---


def operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


@pytest.fixture(scope="module")
def openapi(anonymous: httpx.Client) -> dict[str, Any]:
    document: dict[str, Any] = anonymous.get("/openapi.json").json()
    return document


JOB_VERBS = ("cancel", "complete", "fail", "progress", "return")


ONE = "/api/v1/repositories/{namespace}/{name}"
ROUTES = [
    "GET /api/v1",
    "GET /api/v1/audit",
    "GET /api/v1/bases",
    "POST /api/v1/deliveries/{delivery}/redeliver",
    "GET /api/v1/events",
    "GET /api/v1/jobs/{job}",
    *(f"POST /api/v1/jobs/{{job}}/{verb}" for verb in JOB_VERBS),
    "POST /api/v1/jobs/claim",
    f"POST {ONE}/validations",
    "GET /api/v1/namespaces",
    "POST /api/v1/namespaces",
    "GET /api/v1/namespaces/{namespace}",
    "PATCH /api/v1/namespaces/{namespace}",
    "DELETE /api/v1/namespaces/{namespace}",
    "PUT /api/v1/namespaces/{namespace}/members/{user}",
    "DELETE /api/v1/namespaces/{namespace}/members/{user}",
    "GET /api/v1/tokens",
    "POST /api/v1/tokens",
    "DELETE /api/v1/tokens/{token}",
    "GET /api/v1/user",
    "GET /api/v1/users",
    "POST /api/v1/users",
    "PATCH /api/v1/users/{user}",
    "GET /api/v1/webhooks",
    "POST /api/v1/webhooks",
    "GET /api/v1/webhooks/{webhook}",
    "PATCH /api/v1/webhooks/{webhook}",
    "DELETE /api/v1/webhooks/{webhook}",
    "GET /api/v1/webhooks/{webhook}/deliveries",
    "GET /api/v1/repositories",
    "POST /api/v1/repositories",
    f"GET {ONE}",
    f"PATCH {ONE}",
    f"DELETE {ONE}",
    f"POST {ONE}/compositions",
    f"GET {ONE}/jobs",
    f"GET {ONE}/protections",
    f"PUT {ONE}/protections",
    f"DELETE {ONE}/protections",
    f"GET {ONE}/refs",
    f"POST {ONE}/refs",
    f"PATCH {ONE}/refs/{{kind}}/{{ref}}",
    f"DELETE {ONE}/refs/{{kind}}/{{ref}}",
    f"GET {ONE}/resolve",
    f"GET {ONE}/commits",
    f"GET {ONE}/commits/{{commit}}",
    *(f"{verb} {ONE}/commits/{{commit}}/expected-digests" for verb in ("GET", "PUT")),
    *(f"{verb} {ONE}/commits/{{commit}}/validations" for verb in ("GET", "POST")),
    *(f"{verb} {ONE}/commits/{{commit}}/attestations" for verb in ("GET", "POST")),
    "GET /api/v1/validator-keys",
    "POST /api/v1/validator-keys",
    "POST /api/v1/validator-keys/{keyid}/revoke",
    f"GET {ONE}/commits/{{commit}}/notes",
    f"POST {ONE}/commits/{{commit}}/notes",
    f"GET {ONE}/diff",
    f"GET {ONE}/merge-base",
    f"POST {ONE}/manifests/query",
    f"GET {ONE}/manifests/{{manifest}}",
    f"POST {ONE}/downloads",
    f"POST {ONE}/pushes",
    f"POST {ONE}/pushes/{{push}}/commits",
    f"POST {ONE}/pushes/{{push}}/uploads",
    f"POST {ONE}/pushes/{{push}}/complete",
]


def test_openapi_lists_every_route(openapi: dict[str, Any]) -> None:
    assert sorted(name for name, _ in operations(openapi)) == sorted(ROUTES)


def test_openapi_names_and_describes_every_route_and_its_errors(openapi: dict[str, Any]) -> None:
    names = [operation["operationId"] for _, operation in operations(openapi)]
    assert len(set(names)) == len(names)
    for route, operation in operations(openapi):
        assert operation["description"].endswith("."), route
        assert operation["operationId"].isidentifier(), route
        responses = operation["responses"]
        wanted = {"500", "503"}
        if route.partition(" ")[2] not in OPEN:
            assert operation["security"] == [{"HTTPBearer": []}], route
            wanted |= {"401", "413", "422"}
        assert wanted <= responses.keys(), route
        for status, response in responses.items():
            assert response["description"], (route, status)
            if int(status) >= 400:
                schema = response["content"]["application/json"]["schema"]
                assert schema == {"$ref": "#/components/schemas/ErrorBody"}, (route, status)
        for parameter in operation.get("parameters", []):
            assert parameter.get("description"), (route, parameter["name"])


def test_openapi_describes_every_field(openapi: dict[str, Any]) -> None:
    for name, schema in openapi["components"]["schemas"].items():
        assert schema.get("description"), name
        for field, shape in schema.get("properties", {}).items():
            # What stands for another schema is described there.
            assert shape.get("description") or "$ref" in shape, (name, field)
