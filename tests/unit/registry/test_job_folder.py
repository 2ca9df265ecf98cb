"""Folders of jobs: removed by whoever made them, or swept when everybody died."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from plait.errors import Unavailable
from plait_registry.worker.job_folder import JobFolder, sweep_job_folders


def fill(folder: Path) -> None:
    """Write what a job's cache holds: read-only files in read-only folders."""
    version = folder / "cache" / "versions" / "abcd"
    version.mkdir(parents=True)
    (version / "adapter_model.safetensors").write_bytes(b"weights")
    (version / "adapter_model.safetensors").chmod(0o444)
    version.chmod(0o555)


def test_folder_is_private_and_removed_with_read_only_folders_in_it(tmp_path: Path) -> None:
    root = tmp_path / "jobs"
    folder = JobFolder.make(root)
    assert folder.path.stat().st_mode & 0o777 == 0o700
    fill(folder.path)
    folder.remove()
    assert list(root.iterdir()) == []


def test_folders_do_not_meet(tmp_path: Path) -> None:
    first, second = JobFolder.make(tmp_path), JobFolder.make(tmp_path)
    assert first.path != second.path
    first.remove()
    assert second.path.is_dir()
    second.remove()


def test_sweep_leaves_what_somebody_holds(tmp_path: Path) -> None:
    held, left = JobFolder.make(tmp_path), JobFolder.make(tmp_path)
    fill(left.path)
    os.close(left.lock)
    assert sweep_job_folders(tmp_path) == 1
    assert held.path.is_dir()
    assert not left.path.exists()
    assert len(list(tmp_path.iterdir())) == 2
    held.remove()


def test_process_that_inherited_the_lock_holds_the_folder(tmp_path: Path) -> None:
    folder = JobFolder.make(tmp_path)
    command = [sys.executable, "-c", "import sys; sys.stdin.read()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=[folder.lock]) as process:
        # As if whoever started it were gone.
        os.close(folder.lock)
        assert sweep_job_folders(tmp_path) == 0
        process.communicate()
    assert sweep_job_folders(tmp_path) == 1


def test_sweep_of_a_folder_that_is_not_there_does_nothing(tmp_path: Path) -> None:
    assert sweep_job_folders(tmp_path / "absent") == 0


def test_folder_that_cannot_be_made_is_reported(tmp_path: Path) -> None:
    file = tmp_path / "jobs"
    file.write_text("in the way")
    with pytest.raises(Unavailable, match="No folder for a job"):
        JobFolder.make(file)
