"""State files, the lock and the objects."""

import errno
import io
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from copies.killing import Killed, kill_at
from copies.workshop import Workshop
from plait.errors import Integrity, InvalidInput, NotFound, Unavailable
from plait.model.ids import ObjectId, hash_bytes
from plait.working_copy.lock import locked
from plait.working_copy.objects import ObjectFolder
from plait.working_copy.state_files import read_json, storage_errors, write_file, write_json


def test_state_file_is_replaced_whole_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    write_json(path, {"a": 1})
    write_json(path, {"a": 2})
    assert read_json(path) == {"a": 2}
    assert [item.name for item in tmp_path.iterdir()] == ["state.json"]


def test_state_file_stays_as_it_was_when_the_writer_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "state.json"
    write_file(path, b"old")
    kill_at(monkeypatch, 0)
    with pytest.raises(Killed):
        write_file(path, b"new")
    assert path.read_bytes() == b"old"


def test_full_disk_and_other_refusals_are_told_apart(tmp_path: Path) -> None:
    for code, kind in ((errno.ENOSPC, "disk-full"), (errno.EACCES, "unavailable")):
        with pytest.raises(Unavailable) as caught, storage_errors(tmp_path):
            raise OSError(code, os.strerror(code))
        assert caught.value.kind == kind


def test_lock_is_held_by_one_at_a_time_and_names_its_holder(workshop: Workshop) -> None:
    layout = workshop.copy.layout
    with locked(layout):
        with pytest.raises(Unavailable, match=str(os.getpid())) as caught, locked(layout):
            pass
        assert caught.value.kind == "busy"
    with locked(layout):
        pass


def test_lock_of_a_dead_process_is_free(workshop: Workshop) -> None:
    script = (
        "import os, pathlib\n"
        "from plait.working_copy.layout import Layout\n"
        "from plait.working_copy.lock import locked\n"
        f"with locked(Layout(pathlib.Path({str(workshop.folder)!r}))):\n"
        "    os._exit(9)\n"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False, timeout=30).returncode == 9
    with locked(workshop.copy.layout):
        pass


@pytest.fixture
def objects(tmp_path: Path) -> ObjectFolder:
    return ObjectFolder(tmp_path / "objects", incoming=tmp_path / "incoming")


def test_object_is_read_only_and_found_again(objects: ObjectFolder) -> None:
    object_id = objects.add(b"bytes")
    assert object_id == hash_bytes(b"bytes")
    assert objects.add(b"bytes") == object_id
    assert objects.read(object_id) == b"bytes"
    assert objects.path_of(object_id).stat().st_mode & 0o777 == 0o444


def test_missing_object_says_how_to_get_it(objects: ObjectFolder) -> None:
    for read in (objects.read, objects.copy_out):
        with pytest.raises(NotFound, match="--repair"):
            read(hash_bytes(b"absent"))


def test_damaged_object_is_never_handed_out(objects: ObjectFolder, tmp_path: Path) -> None:
    object_id = objects.add(b"bytes")
    objects.path_of(object_id).chmod(0o644)
    objects.path_of(object_id).write_bytes(b"wrong")
    for read in (objects.read, objects.copy_out):
        with pytest.raises(Integrity, match="damaged"):
            read(object_id)
    assert not list((tmp_path / "incoming").iterdir())


def test_file_with_another_digest_is_not_stored(objects: ObjectFolder, tmp_path: Path) -> None:
    expected = hash_bytes(b"announced")
    with pytest.raises(InvalidInput) as caught:
        objects.add_file(io.BytesIO(b"written to meanwhile"), expected)
    assert caught.value.kind == "file-changed"
    assert not objects.has(expected)
    assert not list((tmp_path / "incoming").iterdir())


def test_copy_of_an_object_can_be_written_to(objects: ObjectFolder) -> None:
    object_id = objects.add(b"bytes")
    copied = objects.copy_out(object_id)
    copied.write_bytes(b"other")
    assert objects.read(ObjectId(object_id)) == b"bytes"


def test_lock_that_is_held_for_a_moment_is_waited_for(workshop: Workshop) -> None:
    layout = workshop.copy.layout
    held, ready = threading.Event(), threading.Event()

    def hold() -> None:
        with locked(layout):
            ready.set()
            held.wait(0.05)

    other = threading.Thread(target=hold)
    other.start()
    assert ready.wait(10)
    with locked(layout, attempts=500):
        pass
    other.join()
