"""What a hostile or broken client sends straight to the API is refused, and changes nothing."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import pytest

from e2e.made_adapters import (
    CONFIG,
    MIB,
    WEIGHTS,
    embedding,
    lora_tensors,
    random_tensor,
    serialize,
    spoil,
)
from e2e.programs import Registry
from e2e.raw_push import CONFIG_BYTES, Document, RawVersion, push_raw, weights_of
from plait import wire
from plait.errors import Integrity, PermissionDenied, PlaitError, Unauthenticated
from plait.http_transport import HttpTransport
from plait.model.address import RepositoryName
from plait.model.ids import hash_bytes
from plait.transport import Body
from plait_registry.adapters.url_signing import encode_checksum
from reference.registry_drivers import HttpDriver, digest_parts, plan_objects

NAN = 0x7FC0


@pytest.fixture
def transport(registry: Registry) -> Iterator[HttpTransport]:
    opened = HttpTransport(registry.url, registry.token)
    yield opened
    opened.close()


@pytest.fixture
def driver(transport: HttpTransport, name: str) -> HttpDriver:
    """A new repository with one version on `main`."""
    made = HttpDriver(transport, RepositoryName.parse(name))
    push_raw(made, RawVersion.of(lora_tensors(seed=901)))
    return made


@pytest.fixture
def refuse(driver: HttpDriver) -> Callable[[RawVersion, str], PlaitError]:
    """Push on top of `main`, which must be refused with that kind and change no ref."""

    def push(version: RawVersion, kind: str) -> PlaitError:
        before = driver.refs()
        version.parents = version.parents or [before["main"][1]]
        with pytest.raises(PlaitError) as caught:
            push_raw(driver, version, expected=before["main"][1])
        assert caught.value.kind == kind, caught.value
        assert len(caught.value.message.split()) > 4
        assert driver.refs() == before
        return caught.value

    return push


Refuse = Callable[[RawVersion, str], PlaitError]


@pytest.mark.parametrize(
    "path",
    [
        "../evil",
        "/etc/passwd",
        "a/../../b",
        "a\\b",
        "C:evil",
        ".plait/HEAD",
        "a//b",
        "x/\u0000",
        "e\u0301",
    ],
    ids=ascii,
)
def test_path_that_leaves_the_folder_is_refused(refuse: Refuse, path: str) -> None:
    def rename(manifest: Document) -> None:
        manifest["files"][0]["path"] = path
        manifest["files"].sort(key=lambda file: file["path"])

    refuse(RawVersion.of(more={"readme.md": b"hello"}).bend(rename), "invalid-path")


def test_names_that_differ_in_case_only_are_refused(refuse: Refuse) -> None:
    def rename(manifest: Document) -> None:
        manifest["files"].insert(0, {**manifest["files"][0], "path": CONFIG.upper()})

    refuse(RawVersion.of().bend(rename), "path-case-collision")


def test_commit_of_unknown_parents_is_refused(refuse: Refuse) -> None:
    version = RawVersion.of()
    version.parents = ["0" * 64]
    refuse(version, "parent-unknown")


def test_pickle_is_refused_by_the_registry_too(refuse: Refuse) -> None:
    def rename(manifest: Document) -> None:
        manifest["files"][-1]["path"] = "weights.bin"

    refuse(RawVersion.of(more={"zz": b"pickle"}).bend(rename), "pickle-refused")


def test_version_without_config_is_refused(refuse: Refuse) -> None:
    def drop(manifest: Document) -> None:
        del manifest["files"][0]

    refuse(RawVersion.of().bend(drop), "adapter-config-missing")


def test_version_without_a_tensor_is_refused(refuse: Refuse) -> None:
    refuse(RawVersion.of([]), "adapter-empty")


def test_config_that_is_no_config_is_refused(refuse: Refuse) -> None:
    weights = serialize(lora_tensors(seed=902))
    refuse(RawVersion({CONFIG: b"[1, 2]", WEIGHTS: weights}), "invalid-adapter-config")


def test_nan_is_refused_and_named(refuse: Refuse) -> None:
    tensors = lora_tensors(seed=903)
    tensors[5] = spoil(tensors[5], NAN)
    error = refuse(RawVersion.of(tensors), "tensor-not-finite")
    assert tensors[5].name in error.message


@pytest.mark.parametrize("field", ["sha256", "name", "shape", "dtype", "header"])
@pytest.mark.parametrize("is_stored", [False, True], ids=["new-file", "stored-file"])
def test_manifest_that_lies_about_a_tensor_is_refused(
    driver: HttpDriver, refuse: Refuse, field: str, *, is_stored: bool
) -> None:
    version = RawVersion.of(lora_tensors(seed=904))

    def lie(manifest: Document) -> None:
        table = weights_of(manifest)["tensors"]
        tensor = table["entries"][2]
        if field == "header":
            table["header_sha256"] = "0" * 64
        elif field == "shape":
            tensor["shape"] = [tensor["shape"][0] * tensor["shape"][1]]
        else:
            tensor[field] = {"sha256": "0" * 64, "name": "another", "dtype": "F16"}[field]

    if is_stored:
        push_raw(driver, version, branch="honest")
    refuse(version.bend(lie), "digest-mismatch")


def test_manifest_that_lies_about_the_size_of_a_stored_file_is_refused(
    driver: HttpDriver, refuse: Refuse
) -> None:
    version = RawVersion.of(more={"readme.md": b"hello"})
    push_raw(driver, version, branch="honest")

    def lie(manifest: Document) -> None:
        manifest["files"][-1]["size"] = 4

    refuse(version.bend(lie), "size-mismatch")


def test_one_digest_with_two_tables_is_refused(refuse: Refuse) -> None:
    def lie(manifest: Document) -> None:
        twin = {**weights_of(manifest), "path": "twin.safetensors"}
        entries = [dict(entry) for entry in twin["tensors"]["entries"]]
        entries[0]["name"] = "another"
        twin["tensors"] = {**twin["tensors"], "entries": entries}
        manifest["files"].append(twin)

    refuse(RawVersion.of(lora_tensors(seed=905)).bend(lie), "invalid-manifest")


def test_bytes_other_than_announced_are_refused_by_the_store(
    transport: HttpTransport, driver: HttpDriver
) -> None:
    version = RawVersion.of(lora_tensors(seed=906))
    before = driver.refs()
    version.parents = [before["main"][1]]
    plan = _begin(driver, version.request(expected=before["main"][1]))
    (part,) = (
        upload.parts[0]
        for upload in _sign(driver, plan, version.contents())
        if upload.sha256 == _object_of(plan, version)
    )
    assert part.request is not None
    wrong = b"\0" * part.size
    with pytest.raises(Integrity):
        transport.send(part.request, Body(part.size, lambda: iter([wrong])), headers={})
    checksum = encode_checksum(hash_bytes(wrong))
    forged = replace(
        part.request, headers={**part.request.headers, "x-amz-checksum-sha256": checksum}
    )
    with pytest.raises(PermissionDenied):
        transport.send(forged, Body(part.size, lambda: iter([wrong])), headers={})
    with pytest.raises(PlaitError) as caught:
        driver.call("POST", f"/pushes/{plan.push}/complete")
    assert caught.value.kind == "object-not-found"
    assert driver.refs() == before
    push_raw(driver, version, expected=before["main"][1])


@pytest.mark.slow
def test_wrong_bytes_in_parts_are_found_and_do_not_stand_in_the_way(
    transport: HttpTransport, driver: HttpDriver, registry: Registry
) -> None:
    version = RawVersion.of([random_tensor("big", (65 * MIB // 2,), 7)])
    before = driver.refs()
    version.parents = [before["main"][1]]
    right = weights_of(version.manifest)["sha256"]
    plan = _begin(driver, version.request(expected=before["main"][1]))
    objects, bodies = plan_objects(plan, version.contents())
    big = _object_of(plan, version)
    bodies[big] = b"\0" + bodies[big][1:]
    told = [replace(item, parts=digest_parts(plan, bodies[item.sha256])) for item in objects]
    body = wire.encode(wire.UploadRequest(told))
    answer = driver.call("POST", f"/pushes/{plan.push}/uploads", body=body)
    for upload in wire.decode(wire.Uploads, answer).uploads:
        for part in upload.parts:
            piece = bodies[upload.sha256][part.offset : part.offset + part.size]
            assert part.request is not None
            transport.send(part.request, Body(part.size, partial(iter, [piece])), headers={})
    with pytest.raises(PlaitError) as caught:
        driver.call("POST", f"/pushes/{plan.push}/complete")
    assert caught.value.kind in {"digest-mismatch", "invalid-safetensors"}
    assert driver.refs() == before
    assert big not in registry.objects()
    push_raw(driver, version, expected=before["main"][1])
    assert driver.read(right) == version.files[WEIGHTS]


def test_joined_ranges_with_wrong_bytes_are_found_and_can_be_sent_again(driver: HttpDriver) -> None:
    large = embedding(rows=512)
    first = RawVersion.of([large, *lora_tensors(seed=908)])
    tip = push_raw(driver, first, branch="joined")
    second = RawVersion.of([large, *lora_tensors(seed=909)])
    second.parents = [tip]
    plan = _begin(driver, second.request(branch="joined", expected=tip))
    (file,) = plan.files
    assert sum(end - begin for begin, end in file.ranges) < len(large.data)
    wrong = {file.sha256: bytes(reversed(second.files[WEIGHTS]))}
    driver.upload(plan, wrong)
    with pytest.raises(PlaitError) as caught:
        driver.call("POST", f"/pushes/{plan.push}/complete")
    assert caught.value.kind in {"digest-mismatch", "invalid-safetensors", "header-too-large"}
    push_raw(driver, second, branch="joined", expected=tip)
    assert driver.read(file.sha256) == second.files[WEIGHTS]


def test_ranges_that_leave_out_what_is_not_stored_are_refused(driver: HttpDriver) -> None:
    version = RawVersion.of(lora_tensors(seed=9010))
    plan = _begin(driver, version.request(branch="short"))
    data = version.files[WEIGHTS]
    start = weights_of(version.manifest)["tensors"]["entries"][3]["offset"]
    for ranges in ([(0, start)], [(0, start + 1)], [(5, start)], [(0, 0)], [(start, 0)]):
        body = b"".join(data[begin:end] for begin, end in ranges)
        size = sum(end - begin for begin, end in ranges)
        new = wire.NewObject(hash_bytes(data), ranges, hash_bytes(body), size)
        with pytest.raises(PlaitError) as caught:
            driver.call(
                "POST",
                f"/pushes/{plan.push}/uploads",
                body=wire.encode(wire.UploadRequest([new])),
            )
        assert caught.value.kind == "invalid-input"


def test_push_completed_twice_at_once_hangs_its_notes_once(driver: HttpDriver) -> None:
    version = RawVersion.of([random_tensor("big", (8 * MIB,), 11), *lora_tensors(seed=9011)])
    note = wire.PushNote(version.commit_id, "metrics", {"loss": 1.5})
    request = replace(version.request(branch="twice"), notes=[note])
    plan = _begin(driver, request)
    driver.upload(plan, version.contents())
    answers: list[object] = []

    def complete() -> None:
        answers.append(driver.call("POST", f"/pushes/{plan.push}/complete"))

    threads = [threading.Thread(target=complete) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(answers) == 4
    assert all(answer == answers[0] for answer in answers)
    notes = driver.call("GET", f"/commits/{version.commit_id}/notes")["notes"]
    assert [note["body"] for note in notes] == [{"loss": 1.5}]


def test_refused_push_does_not_take_away_the_bytes_of_an_accepted_one(driver: HttpDriver) -> None:
    """NaN is allowed by one push and refused by another of the same bytes at the same time."""
    tensors = [random_tensor("big", (8 * MIB,), 12), *lora_tensors(seed=9012)]
    version = RawVersion.of([*tensors[:-1], spoil(tensors[-1], NAN)])
    allowed = replace(version.request(branch="allowed"), allow_non_finite=True)
    plans = [_begin(driver, allowed), _begin(driver, version.request(branch="refused"))]
    for plan in plans:
        driver.upload(plan, version.contents())
    outcomes: dict[str, object] = {}

    def complete(push: str) -> None:
        try:
            outcomes[push] = driver.call("POST", f"/pushes/{push}/complete")
        except PlaitError as error:
            outcomes[push] = error.kind

    threads = [threading.Thread(target=complete, args=[plan.push]) for plan in plans]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert outcomes[plans[1].push] == "tensor-not-finite"
    assert set(driver.refs()) == {"main", "allowed"}
    assert driver.read(hash_bytes(version.files[WEIGHTS])) == version.files[WEIGHTS]


def test_tag_never_moves_and_its_name_is_never_used_again(driver: HttpDriver) -> None:
    tip = driver.refs()["main"][1]
    driver.create_ref("tag", "v1", "main")
    version = RawVersion.of(lora_tensors(seed=9013))
    version.parents = [tip]
    request = version.request(expected=tip)
    for kind, expected in (("tag", tip), ("tag", None), ("branch", tip), ("branch", None)):
        moved = replace(
            request, ref=wire.PushRef(kind, "v1", expected, version.commit_id, force=True)
        )
        with pytest.raises(PlaitError) as caught:
            driver.push(moved, version.contents())
        assert caught.value.kind == "ref-exists"
    driver.delete_ref("tag", "v1", tip)
    for kind in ("tag", "branch"):
        again = replace(request, ref=wire.PushRef(kind, "v1", None, version.commit_id))
        with pytest.raises(PlaitError) as caught:
            driver.push(again, version.contents())
        assert caught.value.kind == "tag-name-retired"
    assert driver.refs() == {"main": ("branch", tip)}


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/repositories/a%20b/c",
        "/api/v1/repositories/x/..",
        "/api/v1/repositories/ns/na%2fme",
        "/api/v1/repositories/ns/na%00me",
        "/api/v1/repositories/ns/" + "n" * 300,
        "/api/v1/repositories/n%C3%A4/me",
        "/api/v1/repositories/..%2f..%2fetc/passwd",
    ],
)
def test_repository_name_that_a_url_would_mangle_is_refused(
    transport: HttpTransport, path: str
) -> None:
    with pytest.raises(PlaitError) as caught:
        transport.call("GET", path)
    assert caught.value.kind in {
        "invalid-input",
        "invalid-repository-name",
        "route-not-found",
        "repository-not-found",
    }


def test_call_without_the_token_is_refused(registry: Registry, name: str) -> None:
    for token in (None, "plait_wrong", registry.token[:-1]):
        stranger = HttpTransport(registry.url, token)
        with pytest.raises(Unauthenticated):
            stranger.call("GET", "/api/v1/repositories")
        stranger.close()


def test_document_of_a_future_format_is_refused(driver: HttpDriver) -> None:
    version = RawVersion({CONFIG: CONFIG_BYTES, WEIGHTS: serialize(lora_tensors(seed=9014))})
    version.manifest["format"] = "plait.manifest/2"
    with pytest.raises(PlaitError) as caught:
        push_raw(driver, version, branch="future")
    assert caught.value.kind == "invalid-manifest"


def _begin(driver: HttpDriver, request: wire.NewPush) -> wire.PushPlan:
    return wire.decode(wire.PushPlan, driver.call("POST", "/pushes", body=wire.encode(request)))


def _sign(driver: HttpDriver, plan: wire.PushPlan, contents: dict[str, bytes]) -> list[wire.Upload]:
    objects, _ = plan_objects(plan, contents)
    asked = wire.encode(wire.UploadRequest(objects))
    answer = driver.call("POST", f"/pushes/{plan.push}/uploads", body=asked)
    return wire.decode(wire.Uploads, answer).uploads


def _object_of(plan: wire.PushPlan, version: RawVersion) -> str:
    """Return the name of the object that brings all of a version's weights."""
    return hash_bytes(version.files[WEIGHTS] + bytes.fromhex(plan.salt))
