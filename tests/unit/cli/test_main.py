"""The entry: help, versions, failures, and what it takes to start."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from copies.prompt import Answer, Prompt
from copies.workshop import Workshop
from plait import __version__
from plait.cli import main as entry
from plait.cli.main import GROUPS, main

Run = Callable[..., Answer]

COMMANDS = [name for group in GROUPS.values() for name in group]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run a command outside of any working copy; it must end with the status that is expected."""

    def type_words(*words: str, status: int = 0) -> Answer:
        answer = Prompt(tmp_path).type(*words)
        assert answer.status == status, answer.out + answer.err
        return answer

    return type_words


def test_version_is_printed(run: Run) -> None:
    for option in ("--version", "-V"):
        assert run(option).out == f"plait {__version__}\n"


def test_help_lists_every_command_in_groups(run: Run) -> None:
    for arguments in (["--help"], ["help"]):
        text = run(*arguments).out
        for title, commands in GROUPS.items():
            assert title in text
            for name, summary in commands.items():
                assert any(line.split() == [name, *summary.split()] for line in text.splitlines())


def test_no_command_is_wrong_usage_and_shows_the_help(run: Run) -> None:
    assert "usage: plait COMMAND" in run(status=2).out


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_examples(run: Run, name: str) -> None:
    for arguments in ((name, "--help"), ("help", name)):
        text = run(*arguments).out
        assert f"usage: plait {name}" in text
        assert f"examples:\n  plait {name}" in text
        assert "show this help message and exit" in text
        assert all(len(line) <= 110 for line in text.splitlines())


def test_unknown_command_suggests_the_nearest(run: Run) -> None:
    assert "did you mean `plait status`?" in run("stauts", status=2).err
    assert "`plait --help`" in run("xyzzy", status=2).err


def test_wrong_arguments_end_with_status_2_and_a_hint(run: Run) -> None:
    result = run("log", "--nonsense", status=2)
    assert result.err.startswith("plait: ")
    assert "plait log --help" in result.err


def test_foreseen_failure_ends_with_status_1(run: Run) -> None:
    result = run("status", status=1)
    assert result.err.startswith("plait: ")
    assert result.out == ""


def test_failure_is_also_json_where_json_is_asked_for(run: Run) -> None:
    result = run("status", "--json", status=1)
    error = result.facts()["error"]
    assert error["kind"] == "working-copy-not-found"
    assert error["message"] in result.err


def break_with(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def fail(arguments: list[str]) -> int:
        raise error

    monkeypatch.setattr(entry, "_run", fail)


def test_bug_prints_one_line_that_says_what_to_do(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_with(monkeypatch, RuntimeError("boom"))
    result = run("log", status=70)
    assert result.err.count("\n") == 1
    assert "RuntimeError: boom" in result.err
    assert "--debug" in result.err


def test_debugging_shows_the_traceback_of_a_bug(monkeypatch: pytest.MonkeyPatch) -> None:
    break_with(monkeypatch, RuntimeError("boom"))
    with pytest.raises(RuntimeError):
        main(["log", "--debug"])
    monkeypatch.setenv("PLAIT_DEBUG", "1")
    with pytest.raises(RuntimeError):
        main(["log"])


def test_interrupt_ends_with_status_130(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    break_with(monkeypatch, KeyboardInterrupt())
    assert "interrupted" in run("log", status=130).err


def test_reader_that_goes_away_is_no_error(workshop: Workshop) -> None:
    for number in range(30):
        workshop.train_and_commit(number, "x" * 4000)
    process = subprocess.Popen(
        [sys.executable, "-m", "plait.cli.main", "log"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=workshop.folder,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.read(10)
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait(30) == 141
    process.stderr.close()


def find_imports(*arguments: str, folder: Path) -> set[str]:
    """Return the modules that are loaded when a command has run."""
    script = (
        "import sys\n"
        "from plait.cli.main import main\n"
        f"main({list(arguments)!r})\n"
        "print('\\n'.join(sys.modules), file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return set(done.stderr.split())


def test_version_loads_next_to_nothing(tmp_path: Path) -> None:
    loaded = find_imports("--version", folder=tmp_path)
    assert not loaded & {"argparse", "dataclasses", "json", "plait.errors", "plait.cli.log"}


def test_log_loads_neither_the_network_nor_other_commands(workshop: Workshop) -> None:
    workshop.train_and_commit(1)
    loaded = find_imports("log", folder=workshop.folder)
    heavy = {"plait.wire", "plait.http_transport", "ssl", "numpy", "plait.configuration"}
    assert not loaded & heavy
    assert "plait.cli.push" not in loaded
    assert "plait.cli.log" in loaded


def test_help_about_help_is_the_help(run: Run) -> None:
    for words in (("help", "help"), ("--help", "--help"), ("help", "-h")):
        assert "usage: plait COMMAND" in run(*words).out


def test_refusal_of_the_system_is_no_bug(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str, rest: list[str]) -> int:
        raise PermissionError(13, "Permission denied", "/secret")

    monkeypatch.setattr(entry, "_run_command", refuse)
    result = run("log", "--json", status=1)
    assert result.err == "plait: /secret: Permission denied\n"
    assert result.facts()["error"]["kind"] == "unavailable"


def test_memory_that_does_not_suffice_is_no_bug(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise MemoryError("Unable to allocate 14.6 TiB")

    monkeypatch.setattr(entry, "_run_command", refuse)
    result = run("log", "--json", status=1)
    assert "more memory than this machine has or gives (Unable to allocate 14.6 TiB)" in result.err
    assert result.facts()["error"]["kind"] == "unavailable"


def test_message_that_the_terminal_cannot_show_is_shown_in_escapes(workshop: Workshop) -> None:
    workshop.train_and_commit(1, "模型")
    done = subprocess.run(
        [sys.executable, "-m", "plait.cli.main", "log", "--oneline"],
        cwd=workshop.folder,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        check=True,
        timeout=60,
    )
    assert b"\\u6a21\\u578b" in done.stdout
