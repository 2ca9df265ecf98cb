"""What the folder store does with its files, beyond the port's contract."""

import errno
import os
import stat
from pathlib import Path

import pytest

from plait.errors import Integrity, Unavailable
from plait.model.ids import hash_bytes
from plait_registry.adapters.folder_objects import FolderObjects, IncomingFile
from plait_registry.adapters.folder_uploads import WholeUpload

CONTENT = b"weights" * 100
OBJECT = hash_bytes(CONTENT)


@pytest.fixture
def store(tmp_path: Path) -> FolderObjects:
    objects = FolderObjects(tmp_path)
    objects.prepare()
    return objects


def list_files(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def test_object_is_a_read_only_file_named_by_its_digest(
    store: FolderObjects, tmp_path: Path
) -> None:
    store.put(OBJECT, CONTENT)
    assert list_files(tmp_path) == [f"objects/sha256/{OBJECT[:2]}/{OBJECT}"]
    assert stat.S_IMODE(store.path_of(OBJECT).stat().st_mode) == 0o444
    assert store.path_of(OBJECT).stat().st_nlink == 1


def test_object_has_no_name_before_it_is_complete(store: FolderObjects) -> None:
    upload = WholeUpload(store, OBJECT, len(CONTENT))
    upload.write([CONTENT[:300], CONTENT[300:]])
    assert store.stat(OBJECT) is None
    upload.finish()
    assert store.stat(OBJECT) == len(CONTENT)
    upload.close()


def test_upload_that_is_given_up_leaves_nothing(store: FolderObjects, tmp_path: Path) -> None:
    upload = WholeUpload(store, OBJECT, len(CONTENT))
    upload.write([CONTENT])
    upload.close()
    upload.close()
    assert list_files(tmp_path) == []


def test_file_that_was_discarded_takes_no_more_bytes(store: FolderObjects) -> None:
    file = IncomingFile(store)
    file.discard()
    with pytest.raises(ValueError, match="discarded"):
        file.write([b"late"])


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("call", ["pwrite", "fsync", "link"])
def test_full_disk_is_reported_as_such_and_leaves_nothing(
    store: FolderObjects,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    number: int,
    call: str,
) -> None:
    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        with pytest.raises(Unavailable) as caught:
            store.put(OBJECT, CONTENT)
    assert caught.value.kind == "disk-full"
    assert list_files(tmp_path) == []
    store.put(OBJECT, CONTENT)
    assert b"".join(store.read(OBJECT)) == CONTENT


def test_disk_that_fails_is_unavailable_and_not_full(
    store: FolderObjects, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put(OBJECT, CONTENT)

    def fail(*_: object) -> bytes:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "pread", fail)
        with pytest.raises(Unavailable) as caught:
            next(store.read(OBJECT))
    assert caught.value.kind == "unavailable"


def test_disk_that_takes_few_bytes_at_a_time_still_gets_them_all(
    store: FolderObjects, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.pwrite
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", lambda fd, data, offset: real(fd, data[:7], offset))
        store.put(OBJECT, CONTENT)
    assert b"".join(store.read(OBJECT)) == CONTENT


def test_short_upload_is_refused(store: FolderObjects) -> None:
    upload = WholeUpload(store, OBJECT, len(CONTENT))
    upload.write([CONTENT[:-1]])
    with pytest.raises(Integrity) as caught:
        upload.finish()
    assert caught.value.kind == "size-mismatch"
    upload.close()


def test_check_fails_where_the_folder_is_gone(store: FolderObjects, tmp_path: Path) -> None:
    store.check()
    (tmp_path / "incoming").rmdir()
    with pytest.raises(Unavailable):
        store.check()
    with pytest.raises(Unavailable):
        store.put(OBJECT, CONTENT)
