"""Compiled kernels are never older than any source that they are made from."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from plait.kernel_cache import KEPT, open_folder

CALLED = "from numba import njit\n\n@njit(cache=True)\ndef inner():\n    return {value}\n"
CALLER = """\
from numba import njit
from called import inner

@njit(cache=True)
def outer():
    return inner()
"""
RUN = """\
import sys
from pathlib import Path
import numba
from plait.kernel_cache import open_folder
sources = Path(sys.argv[1])
if sys.argv[2] == "ours":
    numba.config.CACHE_DIR = str(open_folder(sources))
sys.path.insert(0, str(sources))
from caller import outer
print(outer())
"""


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    folder = tmp_path / "sources"
    folder.mkdir()
    (folder / "called.py").write_text(CALLED.format(value=1))
    (folder / "caller.py").write_text(CALLER)
    return folder


def run_kernel(sources: Path, cache: str) -> str:
    environment = {key: value for key, value in os.environ.items() if key != "NUMBA_CACHE_DIR"}
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(sources), cache],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


@pytest.mark.parametrize(("cache", "found"), [("ours", "2"), ("numba's", "1")])
def test_a_kernel_is_compiled_anew_when_one_that_it_calls_changed(
    cache: str, found: str, sources: Path
) -> None:
    assert run_kernel(sources, cache) == "1"
    (sources / "called.py").write_text(CALLED.format(value=2))
    assert run_kernel(sources, cache) == found  # numba's own cache keeps what is stale


def test_the_same_sources_have_the_same_folder(sources: Path) -> None:
    assert open_folder(sources) == open_folder(sources)
    assert open_folder(sources).parent == sources / "__pycache__"


def test_a_folder_of_the_users_comes_first(sources: Path, tmp_path: Path) -> None:
    given = tmp_path / "given"
    folder = open_folder(sources, str(given))
    assert folder.parent == given
    # As a process finds it that was started by this one.
    assert open_folder(sources, str(folder)) == folder


def test_a_folder_that_cannot_be_written_is_passed_over(
    sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (sources / "__pycache__").write_text("a file where a folder would have to be")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert open_folder(sources).parent == tmp_path / "home/.cache/plait/kernels"
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HOME", str(tmp_path / "file"))
    assert open_folder(sources).is_dir()


def test_only_the_last_folders_are_kept(sources: Path, tmp_path: Path) -> None:
    parent = tmp_path / "given"
    other = parent / "mine"
    other.mkdir(parents=True)
    folders = []
    for number in range(KEPT + 2):
        (sources / "called.py").write_text(CALLED.format(value=number))
        folder = open_folder(sources, str(parent))
        os.utime(folder, (number, number))
        folders.append(folder)
    newest = open_folder(sources, str(parent))
    assert newest == folders[-1]
    assert sorted(parent.iterdir()) == sorted([other, *folders[-KEPT:]])
