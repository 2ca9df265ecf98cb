"""The table of role x route: what each caller gets from each route of the API.

The columns, of a private repository `team/sql`:

    stranger    owns a namespace with a repository of its own, and has no role in `team`
    reader ... owner    have that role in `team`
    admin       an administrator who is a user
    elsewhere   an owner of `team`, by a token with the scope `team/other:admin`
    reading     an owner of `team`, by a token with the scope `team:read`

404 is what hides a repository or a namespace, 403 what refuses somebody who may see it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from plait.model.ids import ObjectId
from plait.model.merge_digests import MergeDigests

CALLERS = (
    "stranger",
    "reader",
    "writer",
    "maintainer",
    "owner",
    "admin",
    "elsewhere",
    "reading",
)
REPOSITORY = "/api/v1/repositories/{namespace}/{name}"
NAMESPACE = "/api/v1/namespaces/{namespace}"

# What a right gives in a private repository; `ok` is the status of whoever has it.
READ = "404 ok ok ok ok ok 404 ok"
WRITE = "404 403 ok ok ok ok 404 403"
MAINTAIN = "404 403 403 ok ok ok 404 403"
OWN = "404 403 403 403 ok ok 404 403"
# What does not depend on a repository.
ANYBODY = "ok ok ok ok ok ok ok ok"
ADMINISTER = "403 403 403 403 403 ok 403 403"
# For the process of a job alone, which is none of these.
OF_PROCESSES = "404 403 403 403 403 403 404 403"


@dataclass(frozen=True)
class Row:
    """One route: the statuses of `CALLERS`, and a request that reaches past the check of rights.

    Texts in braces are filled in by the test: `{head}` with the commit of `main`, `{fresh}` with a
    name that nobody has used.
    """

    cells: str
    ok: int = 200
    """The status that stands for success; one that only who is let in can get."""
    body: Any = None
    query: Mapping[str, str] = field(default_factory=dict)
    path: Mapping[str, str] = field(default_factory=dict)
    """Parameters of the path that are not those of `team/sql`."""

    def expected(self, caller: str) -> int:
        """Return the status that a caller gets."""
        cell = self.cells.split()[CALLERS.index(caller)]
        return self.ok if cell == "ok" else int(cell)


OPEN = frozenset({("GET", "/api/v1"), ("GET", "/healthz"), ("GET", "/readyz")})
"""Routes that take no token."""

_REF = {"kind": "branch", "ref": "main"}
_PUSH = {
    "ref": {"kind": "branch", "name": "{fresh}", "expected": None, "new": "{head}"},
    "staged": {"commits": [], "manifests": []},
}
_RECIPE = {
    "format": "plait.recipe/1",
    "method": "resize",
    "parameters": {"rank": 2},
    "inputs": [{"adapter": "team/sql"}],
}

_COMMIT = f"{REPOSITORY}/commits/{{commit}}"
_DIGESTS = MergeDigests.of({"w": ObjectId("0" * 64)}).to_json()
_VALIDATION: dict[str, Any] = {
    "format": "plait.validation/1",
    "definition": "merge-fp64-v1",
    "commit": "{head}",
    "base": None,
    "base_weights": "original",
    "verdict": "error",
    "root": None,
    "tensors": {},
    "differing": 0,
    "differences": [],
    "health": {},
    "probes": {},
    "environment": {},
    "message": "The base is not here.",
    "started_at": "2026-11-24T06:07:00Z",
    "ended_at": "2026-11-24T06:07:01Z",
}
_UNSIGNED = {"payload": "", "payloadType": "application/vnd.in-toto+json", "signatures": [{}]}

ROWS: dict[tuple[str, str], Row] = {
    # Repositories. Making one tells nobody whether the namespace is there: 403, never 404.
    ("GET", "/api/v1/repositories"): Row(ANYBODY),
    ("GET", "/api/v1/bases"): Row(ANYBODY),
    ("POST", "/api/v1/repositories"): Row(
        "403 403 403 ok ok ok 403 403", 201, {"namespace": "team", "name": "{fresh}"}
    ),
    ("GET", REPOSITORY): Row(READ),
    ("PATCH", REPOSITORY): Row(MAINTAIN, body={"description": "new"}),
    ("DELETE", REPOSITORY): Row(OWN, 204, path={"name": "{repository}"}),
    # Refs. Moving `main` to where it is, and deleting it, changes nothing.
    ("GET", f"{REPOSITORY}/refs"): Row(READ),
    ("POST", f"{REPOSITORY}/refs"): Row(
        WRITE, 201, {"kind": "tag", "name": "{fresh}", "revision": "main"}
    ),
    ("PATCH", f"{REPOSITORY}/refs/{{kind}}/{{ref}}"): Row(
        WRITE, body={"expected": "{head}", "new": "{head}"}, path=_REF
    ),
    ("DELETE", f"{REPOSITORY}/refs/{{kind}}/{{ref}}"): Row(
        WRITE, 409, query={"expected": "{head}"}, path=_REF
    ),
    # History and files.
    ("GET", f"{REPOSITORY}/resolve"): Row(READ),
    ("GET", f"{REPOSITORY}/commits"): Row(READ),
    ("GET", f"{REPOSITORY}/commits/{{commit}}"): Row(READ),
    ("GET", f"{REPOSITORY}/merge-base"): Row(READ, query={"left": "main", "right": "main"}),
    ("GET", f"{REPOSITORY}/diff"): Row(READ, query={"old": "main"}),
    ("GET", f"{REPOSITORY}/commits/{{commit}}/notes"): Row(READ),
    ("POST", f"{REPOSITORY}/commits/{{commit}}/notes"): Row(
        WRITE, 201, {"kind": "eval", "body": {"f1": 1}}
    ),
    ("POST", f"{REPOSITORY}/manifests/query"): Row(READ, body={"ids": ["{manifest}"]}),
    ("GET", f"{REPOSITORY}/manifests/{{manifest}}"): Row(READ),
    ("POST", f"{REPOSITORY}/downloads"): Row(READ, body={"files": ["{file}"]}),
    # Pushes, by the id of one that is open.
    ("POST", f"{REPOSITORY}/pushes"): Row(WRITE, 201, _PUSH),
    ("POST", f"{REPOSITORY}/pushes/{{push}}/commits"): Row(
        WRITE, body={"commits": [], "manifests": []}
    ),
    ("POST", f"{REPOSITORY}/pushes/{{push}}/uploads"): Row(WRITE, body={"objects": []}),
    ("POST", f"{REPOSITORY}/pushes/{{push}}/complete"): Row(WRITE),
    # Rules for refs.
    ("GET", f"{REPOSITORY}/protections"): Row(READ),
    ("PUT", f"{REPOSITORY}/protections"): Row(MAINTAIN, body={"pattern": "never/*"}),
    ("DELETE", f"{REPOSITORY}/protections"): Row(MAINTAIN, 204, query={"pattern": "{rule}"}),
    # Validations. What nobody signed is looked at for who may write, and for nobody else.
    ("PUT", f"{_COMMIT}/expected-digests"): Row(
        WRITE, body={"digests": _DIGESTS, "base": "0" * 64}
    ),
    ("GET", f"{_COMMIT}/expected-digests"): Row(READ),
    ("POST", f"{_COMMIT}/validations"): Row(WRITE, 201, {"validation": _VALIDATION}),
    ("GET", f"{_COMMIT}/validations"): Row(READ),
    ("POST", f"{_COMMIT}/attestations"): Row(WRITE, 422, {"envelope": _UNSIGNED}),
    ("GET", f"{_COMMIT}/attestations"): Row(READ),
    ("GET", "/api/v1/validator-keys"): Row(ANYBODY),
    ("POST", "/api/v1/validator-keys"): Row(ADMINISTER, 422, {"public_key": "none", "name": "x"}),
    ("POST", "/api/v1/validator-keys/{keyid}/revoke"): Row(ADMINISTER, 404),
    # Users and tokens.
    ("GET", "/api/v1/user"): Row(ANYBODY),
    ("GET", "/api/v1/users"): Row(ADMINISTER),
    ("POST", "/api/v1/users"): Row(ADMINISTER, 201, {"name": "{fresh}"}),
    ("PATCH", "/api/v1/users/{user}"): Row(ADMINISTER, body={"disabled": False}),
    ("GET", "/api/v1/tokens"): Row(ANYBODY),
    # An unscoped token is made by an unscoped one only.
    ("POST", "/api/v1/tokens"): Row("ok ok ok ok ok ok 403 403", 201, {"expires": "1d"}),
    ("DELETE", "/api/v1/tokens/{token}"): Row("404 404 404 404 404 ok 404 404", 204),
    # Namespaces and the audit log; `team` holds repositories, so that it cannot be deleted.
    ("GET", "/api/v1/namespaces"): Row(ANYBODY),
    ("POST", "/api/v1/namespaces"): Row(ADMINISTER, 201, {"name": "{fresh}"}),
    ("GET", NAMESPACE): Row(READ),
    ("PATCH", NAMESPACE): Row(OWN, body={"keep_untagged_days": 30}),
    ("DELETE", NAMESPACE): Row(OWN, 409),
    ("PUT", f"{NAMESPACE}/members/{{user}}"): Row(OWN, 204, {"role": "reader"}),
    ("DELETE", f"{NAMESPACE}/members/{{user}}"): Row(OWN, 204),
    ("GET", "/api/v1/audit"): Row(OWN, query={"namespace": "team"}),
    # Events and webhooks.
    ("GET", "/api/v1/events"): Row(ANYBODY),
    ("GET", "/api/v1/webhooks"): Row(MAINTAIN, query={"target": "team/sql"}),
    ("POST", "/api/v1/webhooks"): Row(
        MAINTAIN, 201, {"target": "team/sql", "url": "https://ci.example.org/plait"}
    ),
    ("GET", "/api/v1/webhooks/{webhook}"): Row(MAINTAIN),
    ("PATCH", "/api/v1/webhooks/{webhook}"): Row(MAINTAIN, body={"active": False}),
    ("DELETE", "/api/v1/webhooks/{webhook}"): Row(MAINTAIN, 204, path={"webhook": "{webhook}"}),
    ("GET", "/api/v1/webhooks/{webhook}/deliveries"): Row(MAINTAIN),
    ("POST", "/api/v1/deliveries/{delivery}/redeliver"): Row(MAINTAIN),
    # Jobs; this one was asked for by none of the columns.
    ("POST", f"{REPOSITORY}/compositions"): Row(
        WRITE, 201, {"recipe": _RECIPE, "branch": "{fresh}"}
    ),
    ("GET", f"{REPOSITORY}/jobs"): Row(READ),
    ("GET", "/api/v1/jobs/{job}"): Row(READ),
    ("POST", "/api/v1/jobs/{job}/cancel"): Row(MAINTAIN),
    ("POST", "/api/v1/jobs/{job}/progress"): Row(
        OF_PROCESSES, body={"progress": {"done": 1, "total": 2, "what": "Composing"}}
    ),
    ("POST", "/api/v1/jobs/{job}/complete"): Row(
        OF_PROCESSES, body={"commit": "{commit}", "manifest": "{manifest}"}
    ),
    ("POST", "/api/v1/jobs/{job}/fail"): Row(
        OF_PROCESSES, body={"kind": "internal", "message": "It failed."}
    ),
    ("POST", "/api/v1/jobs/{job}/return"): Row(OF_PROCESSES),
    ("POST", "/api/v1/jobs/claim"): Row(
        ADMINISTER, body={"kinds": ["validation"], "bases": ["0" * 64]}
    ),
    ("POST", f"{REPOSITORY}/validations"): Row(WRITE, 201, {"revision": "main"}),
}
