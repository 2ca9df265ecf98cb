"""The native routes over real HTTP: a push of a real adapter, and everything that reads it back."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from plait import wire
from plait.errors import PlaitError, error_from_json
from plait.model.commit import Base, Commit, Origin, OriginKind, Person
from plait.model.digesting import digest_file
from plait.model.ids import CommitId
from plait.model.manifest import Manifest
from plait.model.paths import parse_path
from reference.registry_drivers import plan_objects
from served.running import Running, running
from served.stores import checksum_headers

REPOSITORY = "/api/v1/repositories/team/cpp"


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("data")) as server:
        yield server


@pytest.fixture(scope="module")
def client(registry: Running) -> httpx.Client:
    return registry.client


@dataclass(frozen=True)
class Version:
    """One version of an adapter, as a client has it before a push."""

    files: dict[str, bytes]
    manifest: Manifest
    commit: Commit


def make_version(folder: Path, parents: tuple[CommitId, ...], message: str) -> Version:
    files = {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
    manifest = Manifest.of(
        digest_file(parse_path(name), len(data), [data]) for name, data in files.items()
    )
    commit = Commit(
        manifest=manifest.id,
        parents=parents,
        author=Person("Ada", "ada@example.org"),
        time="2026-11-24T06:07:00Z",
        message=message,
        base=Base("micro"),
        origin=Origin(OriginKind.TRAINING),
    )
    return Version(files, manifest, commit)


def ok(answer: httpx.Response, status: int = 200) -> Any:
    assert answer.status_code == status, answer.text
    return answer.json()


def kind_of(answer: httpx.Response) -> str:
    return error_from_json(answer.json(), fallback=PlaitError).kind


def push(client: httpx.Client, version: Version, ref: wire.PushRef) -> wire.PushResult:
    """Push one version as a client does."""
    staged = wire.StagedCommits([version.commit.to_json()], [version.manifest.to_json()])
    note = wire.PushNote(version.commit.id, "metrics", {"loss": 1.5})
    body = wire.encode(wire.NewPush(ref, staged, [note]))
    plan = wire.decode(wire.PushPlan, ok(client.post(f"{REPOSITORY}/pushes", json=body), 201))
    files = {hashlib.sha256(data).hexdigest(): data for data in version.files.values()}
    objects, contents = plan_objects(plan, files)
    request = wire.encode(wire.UploadRequest(objects))
    at = f"{REPOSITORY}/pushes/{plan.push}"
    uploads = wire.decode(wire.Uploads, ok(client.post(f"{at}/uploads", json=request)))
    for upload in uploads.uploads:
        for part in upload.parts:
            assert part.request is not None
            data = contents[upload.sha256]
            headers = {**checksum_headers(data), **part.request.headers}
            assert client.put(part.request.url, content=data, headers=headers).status_code == 200
    more = wire.encode(wire.StagedCommits([], []))
    assert ok(client.post(f"{at}/commits", json=more))["files"] == []
    result = ok(client.post(f"{at}/complete"))
    assert ok(client.post(f"{at}/complete")) == result
    return wire.decode(wire.PushResult, result)


@pytest.fixture(scope="module")
def history(client: httpx.Client, micro_data: Path) -> list[Version]:
    """Two versions on `main` of `team/cpp`, oldest first."""
    wish = {"namespace": "team", "name": "cpp", "description": "C++ code"}
    ok(client.post("/api/v1/repositories", json=wish), 201)
    first = make_version(micro_data / "adapters/cpp/v1", (), "first")
    second = make_version(micro_data / "adapters/cpp/v2", (first.commit.id,), "second")
    push(client, first, wire.PushRef("branch", "main", None, first.commit.id))
    result = push(client, second, wire.PushRef("branch", "main", first.commit.id, second.commit.id))
    assert result.ref == wire.Ref("branch", "main", second.commit.id)
    assert result.commits == 1
    return [first, second]


@pytest.fixture
def head(history: list[Version]) -> str:
    return history[-1].commit.id


# --- history and files ---


def test_pushed_files_are_read_back_byte_for_byte(
    client: httpx.Client, history: list[Version]
) -> None:
    version = history[-1]
    digests = [hashlib.sha256(data).hexdigest() for data in version.files.values()]
    body = wire.encode(wire.DownloadRequest(digests))
    plan = wire.decode(wire.Downloads, ok(client.post(f"{REPOSITORY}/downloads", json=body)))
    for source, data in zip(plan.files, version.files.values(), strict=True):
        read = b""
        for extent in source.extents:
            request = plan.objects[extent.object]
            span = f"bytes={extent.offset}-{extent.offset + extent.size - 1}"
            answer = httpx.get(client.base_url.join(request.url), headers={"Range": span})
            assert answer.status_code == 206
            read += answer.content
        assert read == data


def test_manifest_is_served_as_the_exact_bytes_of_its_id(
    client: httpx.Client, history: list[Version]
) -> None:
    manifest = history[0].manifest
    answer = client.get(f"{REPOSITORY}/manifests/{manifest.id}")
    assert answer.headers["content-type"] == "application/json"
    assert answer.content == manifest.to_bytes()


def test_manifests_come_in_the_order_in_which_they_were_asked_for(
    client: httpx.Client, history: list[Version]
) -> None:
    ids = [version.manifest.id for version in reversed(history)]
    found = ok(client.post(f"{REPOSITORY}/manifests/query", json={"ids": ids}))
    records = wire.decode(wire.ManifestList, found).manifests
    assert [record.id for record in records] == ids
    assert [record.manifest for record in records] == [
        version.manifest.to_json() for version in reversed(history)
    ]
    assert ok(client.post(f"{REPOSITORY}/manifests/query", json={"ids": []})) == {"manifests": []}


@pytest.mark.parametrize("revision", [None, "main", "HEAD", "{head}", "{prefix}", "main~0"])
def test_revision_is_resolved(client: httpx.Client, head: str, revision: str | None) -> None:
    text = revision and revision.format(head=head, prefix=head[:9])
    answer = client.get(f"{REPOSITORY}/resolve", params={"revision": text} if text else {})
    assert ok(answer)["commit"] == head


@pytest.mark.parametrize(
    ("revision", "status", "kind"),
    [
        ("nothing", 404, "revision-not-found"),
        ("main~9", 404, "revision-not-found"),
        ("0000000", 404, "revision-not-found"),
        ("main~x", 422, "invalid-revision"),
        ("a..b", 422, "invalid-ref-name"),
        ("\U0001f600", 422, "invalid-ref-name"),
    ],
)
def test_revision_that_names_nothing_is_told_apart_from_one_that_cannot(
    client: httpx.Client, head: str, revision: str, status: int, kind: str
) -> None:
    answer = client.get(f"{REPOSITORY}/resolve", params={"revision": revision})
    assert (answer.status_code, kind_of(answer)) == (status, kind)


def test_log_comes_in_pages_with_notes(client: httpx.Client, history: list[Version]) -> None:
    url = f"{REPOSITORY}/commits"
    first = wire.decode(wire.CommitPage, ok(client.get(url, params={"limit": 1})))
    assert [record.id for record in first.commits] == [history[1].commit.id]
    assert first.commits[0].commit == history[1].commit.to_json()
    assert first.commits[0].generation == 2
    assert first.commits[0].adapter_type == "LORA"
    assert [note.body for note in first.commits[0].notes] == [{"loss": 1.5}]
    rest = wire.decode(wire.CommitPage, ok(client.get(url, params={"cursor": first.next})))
    assert [record.id for record in rest.commits] == [history[0].commit.id]
    assert rest.next is None


def test_log_leaves_out_what_the_caller_has(client: httpx.Client, history: list[Version]) -> None:
    params = {"exclude": [history[0].commit.id, "0" * 64]}
    page = ok(client.get(f"{REPOSITORY}/commits", params=params))
    assert [record["id"] for record in page["commits"]] == [history[1].commit.id]


@pytest.mark.parametrize(
    "params", [{"limit": 0}, {"limit": 201}, {"limit": "x"}, {"cursor": "x"}, {"exclude": "x"}]
)
def test_log_refuses_parameters_that_cannot_be(
    client: httpx.Client, history: list[Version], params: dict[str, Any]
) -> None:
    answer = client.get(f"{REPOSITORY}/commits", params=params)
    assert answer.status_code == 422
    assert kind_of(answer) in ("invalid-input", "invalid-object-id")


def test_merge_base_of_a_line_is_its_older_end(
    client: httpx.Client, history: list[Version]
) -> None:
    params = {"left": "main", "right": "main~1"}
    bases = ok(client.get(f"{REPOSITORY}/merge-base", params=params))
    assert bases == {"bases": [history[0].commit.id]}
    missing = client.get(f"{REPOSITORY}/merge-base", params={"left": "main"})
    assert kind_of(missing) == "invalid-input"


def test_note_hangs_on_a_commit(client: httpx.Client, history: list[Version]) -> None:
    url = f"{REPOSITORY}/commits/{history[0].commit.id}"
    stored = ok(client.post(f"{url}/notes", json={"kind": "eval", "body": {"f1": 0.5}}), 201)
    assert stored["created_at"].endswith("Z")
    assert ok(client.get(f"{url}/notes"))["notes"][-1] == stored
    assert ok(client.get(url))["notes"][-1] == stored


@pytest.mark.parametrize(
    "content",
    [
        b'{"kind": "Eval!", "body": {}}',
        b'{"kind": "eval", "body": []}',
        b'{"kind": "eval", "body": {"x": NaN}}',
        b'{"kind": "eval", "body": {"x": "\\ud800"}}',
        b'{"kind": "eval", "body": {"x": 1e999}}',
        b'{"kind": "eval", "body": {"x": 99999999999999999999999}}',
    ],
)
def test_note_that_is_no_canonical_json_is_refused(
    client: httpx.Client, head: str, content: bytes
) -> None:
    headers = {"content-type": "application/json"}
    answer = client.post(f"{REPOSITORY}/commits/{head}/notes", content=content, headers=headers)
    assert answer.status_code == 422, answer.text


@pytest.mark.parametrize(
    ("path", "status", "kind"),
    [
        ("/commits/" + "0" * 64, 404, "commit-not-found"),
        ("/commits/" + "A" * 64, 422, "invalid-object-id"),
        ("/commits/main", 422, "invalid-object-id"),
        ("/commits/" + "0" * 64 + "/notes", 404, "commit-not-found"),
        ("/manifests/" + "0" * 64, 404, "manifest-not-found"),
        ("/manifests/%2e%2e%2fx", 404, "route-not-found"),
    ],
)
def test_missing_things_are_told_apart_from_names_that_cannot_be(
    client: httpx.Client, head: str, path: str, status: int, kind: str
) -> None:
    answer = client.get(REPOSITORY + path)
    assert (answer.status_code, kind_of(answer)) == (status, kind)


@pytest.mark.parametrize(
    ("route", "body", "status", "kind"),
    [
        ("downloads", {"files": ["0" * 64]}, 404, "file-not-found"),
        ("downloads", {"files": ["x"]}, 422, "invalid-object-id"),
        ("downloads", {"files": ["0" * 64] * 1_001}, 422, "invalid-input"),
        ("manifests/query", {"ids": ["0" * 64]}, 404, "manifest-not-found"),
        ("manifests/query", {"ids": ["0" * 64] * 101}, 422, "invalid-input"),
        ("pushes/unknown/complete", None, 404, "push-not-found"),
        ("pushes/unknown/uploads", {"objects": []}, 404, "push-not-found"),
    ],
)
def test_request_for_what_is_not_there_is_refused(
    client: httpx.Client, head: str, route: str, body: object, status: int, kind: str
) -> None:
    answer = client.post(f"{REPOSITORY}/{route}", json=body)
    assert (answer.status_code, kind_of(answer)) == (status, kind)


# --- repositories ---


def test_repository_shows_what_its_default_branch_points_at(
    client: httpx.Client, head: str
) -> None:
    shown = wire.decode(wire.Repository, ok(client.get(REPOSITORY)))
    assert (shown.namespace, shown.name, shown.description) == ("team", "cpp", "C++ code")
    assert (shown.default_branch, shown.head) == ("main", head)
    assert (shown.adapter_type, shown.base) == ("LORA", "micro")
    assert ok(client.get("/api/v1/repositories/TEAM/Cpp"))["name"] == "cpp"


def test_repository_whose_name_differs_only_in_case_is_refused(
    client: httpx.Client, head: str
) -> None:
    answer = client.post("/api/v1/repositories", json={"namespace": "Team", "name": "CPP"})
    assert (answer.status_code, kind_of(answer)) == (409, "repository-exists")


@pytest.mark.parametrize(
    ("namespace", "name"),
    [("..", "x"), (".hidden", "x"), ("a b", "x"), ("ünlike", "x"), ("a", "x.git"), ("a", "-x")],
)
def test_name_that_cannot_be_is_refused_in_paths_and_in_bodies(
    client: httpx.Client, namespace: str, name: str
) -> None:
    made = client.post("/api/v1/repositories", json={"namespace": namespace, "name": name})
    assert (made.status_code, kind_of(made)) == (422, "invalid-repository-name")
    path = f"/api/v1/repositories/{quote(namespace).replace('.', '%2E')}/{quote(name)}"
    for tail in ("", "/refs", "/commits", "/resolve"):
        read = client.get(path + tail)
        assert (read.status_code, kind_of(read)) == (422, "invalid-repository-name")


@pytest.mark.parametrize("tail", ["", "/refs", "/commits", "/resolve"])
def test_repository_that_is_not_there_is_not_found(client: httpx.Client, tail: str) -> None:
    answer = client.get(f"/api/v1/repositories/no/where{tail}")
    assert (answer.status_code, kind_of(answer)) == (404, "repository-not-found")


@pytest.mark.parametrize("text", ["two\nlines", "x" * 1_001, "\x00", "\u202e"])
def test_description_must_be_one_line(client: httpx.Client, text: str) -> None:
    body = {"namespace": "a", "name": "b", "description": text}
    answer = client.post("/api/v1/repositories", json=body)
    assert (answer.status_code, kind_of(answer)) == (422, "invalid-input")


def test_repositories_are_listed_in_pages_and_by_filters(client: httpx.Client, head: str) -> None:
    for number in range(5):
        ok(
            client.post("/api/v1/repositories", json={"namespace": "many", "name": f"n{number}"}),
            201,
        )
    url, seen = "/api/v1/repositories", []
    params: dict[str, Any] = {"namespace": "many", "limit": 2}
    while True:
        page = ok(client.get(url, params=params))
        seen.append([shown["name"] for shown in page["repositories"]])
        if page["next"] is None:
            break
        params["cursor"] = page["next"]
    assert seen == [["n0", "n1"], ["n2", "n3"], ["n4"]]
    for params in ({"query": "c++"}, {"base": "micro"}, {"adapter_type": "lora"}):
        found = ok(client.get(url, params=params))["repositories"]
        assert [shown["name"] for shown in found] == ["cpp"]
    for params in ({"limit": 0}, {"limit": 201}, {"cursor": "x"}):
        assert client.get(url, params=params).status_code == 422


# --- refs ---


@pytest.mark.parametrize("encode", [lambda name: name, lambda name: quote(name, safe="")])
def test_ref_with_slashes_is_made_moved_and_deleted(
    client: httpx.Client, history: list[Version], encode: Any
) -> None:
    old, new = (version.commit.id for version in history)
    name = "feature/x+y/z"
    url = f"{REPOSITORY}/refs/branch/{encode(name)}"
    body = {"kind": "branch", "name": name, "revision": "main~1"}
    made = ok(client.post(f"{REPOSITORY}/refs", json=body), 201)
    assert made == {"kind": "branch", "name": name, "target": old}
    moved = ok(client.patch(url, json={"expected": old, "new": new}))
    assert moved == {"kind": "branch", "name": name, "target": new}
    back = client.patch(url, json={"expected": new, "new": old})
    assert (back.status_code, kind_of(back)) == (409, "ref-not-fast-forward")
    stale = client.delete(url, params={"expected": old})
    assert (stale.status_code, kind_of(stale)) == (409, "ref-update-conflict")
    deleted = client.delete(url, params={"expected": new})
    assert (deleted.status_code, deleted.content) == (204, b"")
    gone = client.delete(url, params={"expected": new})
    assert (gone.status_code, kind_of(gone)) == (404, "ref-not-found")


def test_refs_are_listed_with_the_default_branch(client: httpx.Client, head: str) -> None:
    ok(
        client.post(f"{REPOSITORY}/refs", json={"kind": "tag", "name": "v1", "revision": "main"}),
        201,
    )
    listed = wire.decode(wire.RefList, ok(client.get(f"{REPOSITORY}/refs")))
    assert listed.default_branch == "main"
    assert wire.Ref("tag", "v1", head) in listed.refs
    assert wire.Ref("branch", "main", head) in listed.refs


def test_default_branch_cannot_be_deleted(client: httpx.Client, head: str) -> None:
    answer = client.delete(f"{REPOSITORY}/refs/branch/main", params={"expected": head})
    assert (answer.status_code, kind_of(answer)) == (409, "default-branch")


@pytest.mark.parametrize(
    ("kind", "name", "error"),
    [
        ("twig", "x", "invalid-input"),
        ("branch", "a//b", "invalid-ref-name"),
        ("branch", "a..b", "invalid-ref-name"),
        ("branch", "a b", "invalid-ref-name"),
        ("branch", "HEAD", "invalid-ref-name"),
        ("branch", "x.lock", "invalid-ref-name"),
        ("branch", "ü", "invalid-ref-name"),
        ("tag", "0" * 64, "invalid-ref-name"),
    ],
)
def test_ref_that_cannot_be_is_refused_in_paths_and_in_bodies(
    client: httpx.Client, head: str, kind: str, name: str, error: str
) -> None:
    body = {"kind": kind, "name": name, "revision": "main"}
    made = client.post(f"{REPOSITORY}/refs", json=body)
    assert (made.status_code, kind_of(made)) == (422, error)
    url = f"{REPOSITORY}/refs/{kind}/{quote(name)}"
    moved = client.patch(url, json={"expected": head, "new": head})
    assert (moved.status_code, kind_of(moved)) == (422, error)
    deleted = client.delete(url, params={"expected": head})
    assert (deleted.status_code, kind_of(deleted)) == (422, error)


def test_commit_ids_in_a_move_are_checked(client: httpx.Client, head: str) -> None:
    url = f"{REPOSITORY}/refs/branch/main"
    for body in ({"expected": "main", "new": head}, {"expected": head, "new": head[:12]}):
        answer = client.patch(url, json=body)
        assert (answer.status_code, kind_of(answer)) == (422, "invalid-object-id")
    missing = client.delete(url)
    assert (missing.status_code, kind_of(missing)) == (422, "invalid-input")


# --- pushes that are refused ---


def test_push_to_a_moved_branch_reports_the_conflict_with_its_facts(
    client: httpx.Client, history: list[Version], micro_data: Path
) -> None:
    old, head = (version.commit.id for version in history)
    version = make_version(micro_data / "adapters/cpp/v3", (old,), "late")
    ref = wire.PushRef("branch", "main", old, version.commit.id)
    staged = wire.StagedCommits([version.commit.to_json()], [version.manifest.to_json()])
    answer = client.post(f"{REPOSITORY}/pushes", json=wire.encode(wire.NewPush(ref, staged)))
    assert (answer.status_code, kind_of(answer)) == (409, "ref-update-conflict")
    details = answer.json()["error"]["details"]
    assert (details["expected"], details["actual"]) == (old, head)


def test_push_of_which_bytes_are_missing_is_not_completed(
    client: httpx.Client, history: list[Version], micro_data: Path
) -> None:
    head = history[-1].commit.id
    version = make_version(micro_data / "adapters/prose/v1", (head,), "unsent")
    ref = wire.PushRef("branch", "unsent", None, version.commit.id)
    staged = wire.StagedCommits([version.commit.to_json()], [version.manifest.to_json()])
    begun = client.post(f"{REPOSITORY}/pushes", json=wire.encode(wire.NewPush(ref, staged)))
    plan = wire.decode(wire.PushPlan, ok(begun, 201))
    answer = client.post(f"{REPOSITORY}/pushes/{plan.push}/complete")
    assert (answer.status_code, kind_of(answer)) == (404, "object-not-found")
    shown = client.get(f"{REPOSITORY}/commits/{version.commit.id}")
    assert kind_of(shown) == "commit-not-found"


def test_documents_that_break_their_format_are_refused(
    client: httpx.Client, history: list[Version]
) -> None:
    good = history[-1].commit
    for change in ({"format": "x"}, {"time": "now"}, {"parents": ["main"]}, {"extra": 1}):
        document = {**good.to_json(), **change}
        ref = wire.PushRef("branch", "x", None, good.id)
        body = wire.encode(wire.NewPush(ref, wire.StagedCommits([document], [])))
        answer = client.post(f"{REPOSITORY}/pushes", json=json.loads(json.dumps(body)))
        assert answer.status_code == 422, change
