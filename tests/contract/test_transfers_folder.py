"""Uploads in parts to the folder store: restarts, stalled senders, crashes and full disks."""

import contextlib
import errno
import os
import random
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from plait.errors import AlreadyExists, Integrity, InvalidInput, NotFound, Unavailable
from plait.model.ids import hash_bytes
from plait.model.part_sizes import PartSizes
from plait_registry.adapters.folder_objects import FolderObjects
from plait_registry.adapters.folder_transfers import FolderTransfers
from plait_registry.adapters.folder_uploads import PartUpload, WholeUpload
from plait_registry.adapters.url_signing import UrlSigner
from plait_registry.domain.ports import SignedPart
from served.stores import KEY, SIZES, part_digests

LARGE = random.Random(3).randbytes(5_000)
OBJECT = hash_bytes(LARGE)


@pytest.fixture
def objects(tmp_path: Path) -> FolderObjects:
    store = FolderObjects(tmp_path)
    store.prepare()
    return store


@pytest.fixture
def transfers(objects: FolderObjects) -> FolderTransfers:
    return FolderTransfers(objects, UrlSigner(KEY), SIZES)


def sign(transfers: FolderTransfers, handle: str) -> Sequence[SignedPart]:
    return transfers.sign_upload(OBJECT, len(LARGE), handle, part_digests(LARGE))


def open_part(
    transfers: FolderTransfers, part: SignedPart, body: bytes
) -> WholeUpload | PartUpload:
    assert part.request is not None
    url = urlsplit(part.request.url)
    return transfers.open_upload(url.path, url.query, part.request.headers)


def send_part(transfers: FolderTransfers, part: SignedPart) -> None:
    body = LARGE[part.offset : part.offset + part.size]
    upload = open_part(transfers, part, body)
    try:
        upload.write([body])
        upload.finish()
    finally:
        upload.close()


def read(objects: FolderObjects) -> bytes:
    return b"".join(objects.read(OBJECT))


def test_parts_that_arrived_are_known_after_a_restart(
    objects: FolderObjects, transfers: FolderTransfers
) -> None:
    handle = transfers.begin_upload(OBJECT, len(LARGE))
    send_part(transfers, sign(transfers, handle)[1])
    restarted = FolderTransfers(objects, UrlSigner(KEY), SIZES)
    parts = sign(restarted, handle)
    assert [part.request is None for part in parts] == [False, True, False, False, False]
    for part in parts:
        if part.request:
            send_part(restarted, part)
    restarted.finish_upload(OBJECT, len(LARGE), handle)
    assert read(objects) == LARGE


def test_finished_upload_leaves_nothing_but_the_object(
    objects: FolderObjects, transfers: FolderTransfers
) -> None:
    handle = transfers.begin_upload(OBJECT, len(LARGE))
    for part in sign(transfers, handle):
        send_part(transfers, part)
    transfers.finish_upload(OBJECT, len(LARGE), handle)
    assert list(objects.incoming.iterdir()) == []
    assert objects.path_of(OBJECT).stat().st_nlink == 1


def test_sender_that_stalled_cannot_write_into_the_finished_object(
    objects: FolderObjects, transfers: FolderTransfers
) -> None:
    handle = transfers.begin_upload(OBJECT, len(LARGE))
    parts = sign(transfers, handle)
    stalled = open_part(transfers, parts[0], b"\0" * parts[0].size)
    stalled.write([b"\0" * 100])
    for part in parts:
        send_part(transfers, part)
    transfers.finish_upload(OBJECT, len(LARGE), handle)
    with pytest.raises(AlreadyExists):
        stalled.write([b"\0" * 100])
    stalled.close()
    assert read(objects) == LARGE


def test_object_that_turned_out_wrong_can_be_sent_anew_while_a_sender_stalls(
    objects: FolderObjects, transfers: FolderTransfers
) -> None:
    handle = transfers.begin_upload(OBJECT, len(LARGE))
    parts = sign(transfers, handle)
    stalled = open_part(transfers, parts[0], LARGE[: parts[0].size])
    for part in parts:
        send_part(transfers, part)
    transfers.finish_upload(OBJECT, len(LARGE), handle)
    objects.delete(OBJECT)
    for part in sign(transfers, handle):
        send_part(transfers, part)
    transfers.finish_upload(OBJECT, len(LARGE), handle)
    with pytest.raises(AlreadyExists):
        stalled.write([b"other"])
    stalled.close()
    assert read(objects) == LARGE


def test_sender_that_stalled_cannot_change_a_part_that_arrived(
    objects: FolderObjects, transfers: FolderTransfers
) -> None:
    handle = transfers.begin_upload(OBJECT, len(LARGE))
    parts = sign(transfers, handle)
    stalled = open_part(transfers, parts[0], b"\0" * parts[0].size)
    send_part(transfers, parts[0])
    with pytest.raises(AlreadyExists):
        stalled.write([b"\0" * 100])
    stalled.close()
    for part in parts[1:]:
        send_part(transfers, part)
    transfers.finish_upload(OBJECT, len(LARGE), handle)
    assert read(objects) == LARGE


def test_data_file_that_a_crash_left_behind_as_an_object_takes_no_more_bytes(
    objects: FolderObjects, transfers: FolderTransfers
) -> None:
    handle = transfers.begin_upload(OBJECT, len(LARGE))
    parts = sign(transfers, handle)
    for part in parts[:-1]:
        send_part(transfers, part)
    # The process died between the link to the object's name and the removal of the upload. The
    # object's name is another one here, so that only the second link can tell.
    os.link(objects.incoming / handle / "data", objects.incoming / "an-object")
    restarted = FolderTransfers(objects, UrlSigner(KEY), SIZES)
    with pytest.raises(AlreadyExists):
        open_part(restarted, parts[-1], LARGE[-parts[-1].size :])


def test_upload_that_crashed_while_it_was_cleaned_up_is_finished_by_asking_again(
    objects: FolderObjects, transfers: FolderTransfers
) -> None:
    handle = transfers.begin_upload(OBJECT, len(LARGE))
    for part in sign(transfers, handle):
        send_part(transfers, part)
    objects.path_of(OBJECT).parent.mkdir()
    os.link(objects.incoming / handle / "data", objects.path_of(OBJECT))
    restarted = FolderTransfers(objects, UrlSigner(KEY), SIZES)
    restarted.finish_upload(OBJECT, len(LARGE), handle)
    assert list(objects.incoming.iterdir()) == []
    assert read(objects) == LARGE


def test_data_file_of_a_wrong_length_never_becomes_an_object(
    objects: FolderObjects, transfers: FolderTransfers
) -> None:
    handle = transfers.begin_upload(OBJECT, len(LARGE))
    for part in sign(transfers, handle):
        send_part(transfers, part)
    os.truncate(objects.incoming / handle / "data", 10)
    with pytest.raises(Integrity) as caught:
        transfers.finish_upload(OBJECT, len(LARGE), handle)
    assert caught.value.kind == "size-mismatch"
    assert objects.stat(OBJECT) is None


def test_upload_whose_data_file_is_gone_has_not_arrived(
    objects: FolderObjects, transfers: FolderTransfers
) -> None:
    handle = transfers.begin_upload(OBJECT, len(LARGE))
    for part in sign(transfers, handle):
        send_part(transfers, part)
    (objects.incoming / handle / "data").unlink()
    with pytest.raises(NotFound):
        transfers.finish_upload(OBJECT, len(LARGE), handle)


def test_abandoned_upload_that_was_collected_can_be_sent_anew(
    objects: FolderObjects, transfers: FolderTransfers
) -> None:
    handle = transfers.begin_upload(OBJECT, len(LARGE))
    send_part(transfers, sign(transfers, handle)[0])
    for path in (objects.incoming / handle).iterdir():
        path.unlink()
    (objects.incoming / handle).rmdir()
    parts = sign(transfers, handle)
    assert all(part.request for part in parts)
    for part in parts:
        send_part(transfers, part)
    transfers.finish_upload(OBJECT, len(LARGE), handle)
    assert read(objects) == LARGE


@pytest.mark.parametrize("call", ["pwrite", "fdatasync", "ftruncate"])
def test_part_that_meets_a_full_disk_has_not_arrived(
    transfers: FolderTransfers, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    handle = transfers.begin_upload(OBJECT, len(LARGE))
    first = sign(transfers, handle)[0]
    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        with pytest.raises(Unavailable) as caught:
            send_part(transfers, first)
    assert caught.value.kind == "disk-full"
    assert sign(transfers, handle)[0].request is not None
    send_part(transfers, first)
    assert sign(transfers, handle)[0].request is None


@pytest.mark.parametrize("length", [-1, 1])
def test_part_of_a_wrong_length_has_not_arrived(transfers: FolderTransfers, length: int) -> None:
    handle = transfers.begin_upload(OBJECT, len(LARGE))
    first = sign(transfers, handle)[0]
    body = LARGE[: first.size + length]
    upload = open_part(transfers, first, body)
    with contextlib.closing(upload), pytest.raises(Integrity) as caught:  # noqa: PT012 - either
        upload.write([body])
        upload.finish()
    assert caught.value.kind == "size-mismatch"
    assert sign(transfers, handle)[0].request is not None


@pytest.mark.parametrize("handle", ["", "..", "../objects", "a" * 31, "A" * 32, "0" * 32 + "/"])
def test_whatever_is_no_handle_never_becomes_a_path(
    transfers: FolderTransfers, handle: str
) -> None:
    with pytest.raises(InvalidInput):
        sign(transfers, handle)
    with pytest.raises(InvalidInput):
        transfers.finish_upload(OBJECT, len(LARGE), handle)


def test_sizes_of_which_an_object_in_parts_would_have_one_are_refused() -> None:
    with pytest.raises(ValueError, match="at least two"):
        PartSizes(largest_whole=10, part=20)
