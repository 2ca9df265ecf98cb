"""Commands in places where nobody should be, but people are."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from copies.prompt import Prompt

LOCAL = ("status", "log", "branch", "tag")


@pytest.fixture
def ada(tmp_path: Path) -> Prompt:
    folder = tmp_path / "work"
    folder.mkdir()
    prompt = Prompt(folder, PLAIT_CONFIG=str(tmp_path / "config.toml"))
    prompt.run("init")
    return prompt


def test_folder_that_was_removed_is_said_to_be_gone(tmp_path: Path) -> None:
    script = (
        "import os, sys\n"
        "os.rmdir(os.getcwd())\n"
        "from plait.cli.main import main\n"
        "sys.exit(main(['status']))\n"
    )
    folder = tmp_path / "folder"
    folder.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=folder,
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert "`cd`" in done.stderr


@pytest.mark.parametrize("command", LOCAL)
def test_lost_refs_are_not_taken_for_an_empty_history(ada: Prompt, command: str) -> None:
    (ada.folder / ".plait" / "refs.json").unlink()
    assert "damaged" in ada.fail(command)


def test_branch_without_commits_is_not_new_a_second_time(ada: Prompt) -> None:
    assert "new branch" not in ada.run("switch", "main")
    assert json.loads(ada.run("switch", "-c", "other", "--json"))["new"]
