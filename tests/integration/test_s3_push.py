"""Pushes and pulls of a registry whose objects are in S3."""

import contextlib
import filecmp
import itertools
import logging
import multiprocessing
import random
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import plait
from plait.errors import Integrity, NotFound, PermissionDenied, Unavailable
from plait.model.part_sizes import MIB
from plait.registry import Registry
from plait.uploads import MOST_SIGNATURES
from plait_registry.adapters.s3_location import S3Location
from reference.pushing_processes import push_in_a_process
from reference.safetensors_writer import write
from served.faulty_proxy import Busy, CutAnswer, CutRequest, FaultyProxy, Stall, faulty_proxy
from served.running import Running, running, wait_until
from served.s3 import shared_s3_server
from served.weak_s3 import BUCKET, WeakStore, weak_s3

WEIGHTS = "adapter_model.safetensors"
CONFIG = '{"peft_type": "LORA", "r": 8, "base_model_name_or_path": "micro/base"}'


def flags(bucket: str, endpoint: str | None = None) -> dict[str, str]:
    variables = shared_s3_server().environment(bucket, endpoint=endpoint)
    return {name.removeprefix("PLAIT_"): value for name, value in variables.items()}


def weak_flags(store: WeakStore) -> dict[str, str]:
    return {
        "OBJECT_STORE": f"s3://{BUCKET}?endpoint={store.endpoint}&region=us-east-1&addressing=path",
        "S3_ACCESS_KEY": "k",
        "S3_SECRET_KEY": "s",
    }


@contextmanager
def connected(place: Running, cache: Path) -> Generator[Registry]:
    with plait.connect(place.url, token=place.token, cache_dir=cache) as registry:
        yield registry


@pytest.fixture(scope="module")
def proxy() -> Iterator[FaultyProxy]:
    with faulty_proxy(shared_s3_server().port) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def bucket() -> str:
    return shared_s3_server().new_bucket()


@pytest.fixture(scope="module")
def place(
    proxy: FaultyProxy, bucket: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Running]:
    """A registry whose store is reached through the proxy, by itself and by clients."""
    folder = tmp_path_factory.mktemp("registry")
    with running(folder, **flags(bucket, proxy.endpoint)) as place:
        yield place


@pytest.fixture
def registry(place: Running, tmp_path: Path) -> Iterator[Registry]:
    with connected(place, tmp_path / "cache") as registry:
        yield registry


@pytest.fixture
def small(micro_data: Path) -> Path:
    return micro_data / "adapters" / "cpp" / "v1"


_SEEDS = itertools.count(21)


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """An adapter whose weights go in three parts, and that no other test has."""
    folder = tmp_path / "large"
    folder.mkdir()
    (folder / "adapter_config.json").write_text(CONFIG)
    size = 66 * MIB
    data = random.Random(next(_SEEDS)).randbytes(size)
    (folder / WEIGHTS).write_bytes(write({"embedding": ("U8", (size,), data)}))
    return folder


def same(left: Path, right: Path) -> bool:
    names = sorted(path.name for path in right.iterdir())
    return filecmp.cmpfiles(left, right, names, shallow=False)[0] == names


def test_what_is_pulled_from_s3_is_what_was_pushed_there(
    registry: Registry, place: Running, small: Path
) -> None:
    pushed = registry.create("team/sql").push(small, message="First")
    assert registry.repository("team/sql").pull().commit == pushed.commit
    assert same(registry.repository("team/sql").pull().path, small)
    assert place.client.get("/healthz").status_code == 200
    assert list((place.folder.root).glob("objects")) == []


def test_token_never_goes_to_the_store(
    registry: Registry, place: Running, proxy: FaultyProxy, small: Path
) -> None:
    repository = registry.create("team/secret")
    repository.push(small, message="First")
    repository.pull()
    assert proxy.count("PUT") > 0
    assert proxy.count("GET") > 0
    assert not any(place.token.encode() in head for head in proxy.heads)


def test_gateway_of_the_folder_store_is_closed(place: Running) -> None:
    for method in ("GET", "PUT"):
        answer = place.client.request(method, "/objects/" + "0" * 64 + "?signature=x")
        assert answer.status_code == 404


@pytest.mark.slow
def test_large_weights_go_in_parts_through_what_passes(
    registry: Registry, proxy: FaultyProxy, large: Path
) -> None:
    repository = registry.create("team/large")
    before = proxy.count("PUT", "partNumber=")
    proxy.fail(CutRequest(after=3 * MIB), "PUT", "partNumber=2")
    proxy.fail(Busy(times=2), "PUT", "partNumber=3")
    proxy.fail(CutAnswer(after=3 * MIB), "GET", "/objects/sha256/")
    repository.push(large, message="Large")
    assert proxy.pending == 0
    assert proxy.count("PUT", "partNumber=") - before == 3 + 3
    assert same(repository.pull().path, large)


@pytest.mark.slow
def test_client_that_was_killed_sends_only_the_missing_parts(
    registry: Registry, place: Running, proxy: FaultyProxy, bucket: str, large: Path
) -> None:
    repository = registry.create("team/killed")
    proxy.fail(Stall(seconds=30), "PUT", "partNumber=2")
    pushing = (place.url, place.token, str(large), "team/killed")
    process = multiprocessing.get_context("spawn").Process(target=push_in_a_process, args=pushing)
    process.start()
    wait_until(lambda: count_parts(bucket) == 2)
    process.kill()
    process.join(60)
    before = proxy.count("PUT", "partNumber=")
    repository.push(large, message="Again")
    assert proxy.count("PUT", "partNumber=") - before == 1
    assert same(repository.pull().path, large)


def count_parts(bucket: str) -> int:
    """Return how many parts have arrived that belong to no object yet."""
    client = shared_s3_server().client()
    uploads = client.list_multipart_uploads(Bucket=bucket).get("Uploads", ())
    lists = [
        client.list_parts(Bucket=bucket, Key=upload["Key"], UploadId=upload["UploadId"])
        for upload in uploads
    ]
    return sum(len(parts.get("Parts", ())) for parts in lists)


@pytest.mark.slow
def test_upload_that_the_bucket_dropped_begins_anew(
    registry: Registry, bucket: str, proxy: FaultyProxy, large: Path
) -> None:
    repository = registry.create("team/dropped")
    refusals = Busy(times=MOST_SIGNATURES, status="403 Forbidden", code="AccessDenied")
    proxy.fail(refusals, "PUT", "partNumber=2")
    with pytest.raises(PermissionDenied):
        repository.push(large, message="Refused")
    client = shared_s3_server().client()
    for upload in client.list_multipart_uploads(Bucket=bucket)["Uploads"]:
        client.abort_multipart_upload(Bucket=bucket, Key=upload["Key"], UploadId=upload["UploadId"])
    before = proxy.count("PUT", "partNumber=")
    repository.push(large, message="Again")
    assert proxy.count("PUT", "partNumber=") == before + 3
    assert same(repository.pull().path, large)


def test_store_that_is_away_for_a_moment_delays_a_push(
    registry: Registry, proxy: FaultyProxy, small: Path
) -> None:
    repository = registry.create("team/away")
    proxy.is_away = True
    back = threading.Timer(1.5, lambda: setattr(proxy, "is_away", False))
    back.start()
    repository.push(small, message="Late")
    back.join()
    assert same(repository.pull().path, small)


def test_readiness_tells_that_the_store_is_away(place: Running, proxy: FaultyProxy) -> None:
    proxy.is_away = True
    wait_until(lambda: place.client.get("/readyz").status_code == 503)
    proxy.is_away = False
    wait_until(lambda: place.client.get("/readyz").status_code == 200)


def test_store_that_cannot_be_used_ends_the_start_by_the_name_of_its_setting(
    tmp_path: Path,
) -> None:
    absent = flags("absent-bucket")
    forged = {**flags(shared_s3_server().new_bucket()), "S3_SECRET_KEY": "wrong-secret"}
    for number, (wrong, setting) in enumerate(
        [(absent, "PLAIT_OBJECT_STORE"), (forged, "PLAIT_S3_SECRET_KEY")]
    ):
        with (
            pytest.raises(Unavailable, match=setting) as caught,
            running(tmp_path / str(number), **wrong),
        ):
            pass
        assert "wrong-secret" not in f"{caught.value.message}{caught.value.details}"


def test_store_that_enforces_nothing_is_used_with_a_warning(
    tmp_path: Path, small: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "plait_registry.store")
    with (
        weak_s3() as store,
        running(tmp_path / "data", **weak_flags(store)) as place,
        connected(place, tmp_path / "cache") as registry,
    ):
        facts, warning = (record.getMessage() for record in caplog.records)
        assert '"checksum": "ignored"' in facts
        assert "checksum, create_only" in warning
        assert "registry's own verification" in warning
        assert not any(key.startswith("probe/") for key in store.objects)
        repository = registry.create("team/weak")
        repository.push(small, message="First")
        assert same(repository.pull().path, small)


@pytest.mark.parametrize("name", ["small", pytest.param("large", marks=pytest.mark.slow)])
def test_byte_that_a_weak_store_changed_never_becomes_visible(
    tmp_path: Path, request: pytest.FixtureRequest, name: str
) -> None:
    folder: Path = request.getfixturevalue(name)
    with (
        weak_s3() as store,
        running(tmp_path / "data", **weak_flags(store)) as place,
        connected(place, tmp_path / "cache") as registry,
    ):
        repository = registry.create("team/weak")
        store.is_corrupting = True
        with pytest.raises(Integrity) as caught:
            repository.push(folder, message="Corrupted")
        assert caught.value.kind == "digest-mismatch"
        with pytest.raises(NotFound):
            repository.pull()
        store.is_corrupting = False
        # Each attempt finds, and removes, one wrong object.
        for _ in folder.iterdir():
            with contextlib.suppress(Integrity):
                repository.push(folder, message="Right")
        assert same(repository.pull().path, folder)


def test_store_that_refuses_headers_is_not_sent_them(tmp_path: Path, small: Path) -> None:
    refused = ["x-amz-checksum-sha256", "if-none-match", "if-match", "x-amz-checksum-algorithm"]
    with weak_s3() as store:
        store.refused = frozenset(refused)
        with (
            running(tmp_path / "data", **weak_flags(store)) as place,
            connected(place, tmp_path / "cache") as registry,
        ):
            repository = registry.create("team/old")
            repository.push(small, message="First")
            assert same(repository.pull().path, small)


@pytest.mark.slow
def test_failure_in_an_answer_that_says_ok_is_tried_again(tmp_path: Path, large: Path) -> None:
    with (
        weak_s3() as store,
        running(tmp_path / "data", **weak_flags(store)) as place,
        connected(place, tmp_path / "cache") as registry,
    ):
        store.hidden_failures = 2
        repository = registry.create("team/hidden")
        repository.push(large, message="Large")
        assert store.hidden_failures == 0
        assert same(repository.pull().path, large)


def test_secret_key_is_not_shown() -> None:
    location = S3Location("bucket", secret_key="very-secret")
    assert "very-secret" not in f"{location} {location!r}"
