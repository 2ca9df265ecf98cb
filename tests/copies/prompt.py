"""A person who types `plait` in a folder; it runs in this process."""

import contextlib
import io
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from plait.cli.main import main


@dataclass(frozen=True)
class Answer:
    """What a command printed, and how it ended."""

    status: int
    out: str
    err: str

    def facts(self) -> Any:
        """Return what it printed under --json."""
        return json.loads(self.out)


class Prompt:
    """Somebody in a folder, with settings of the environment."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.folder = folder
        self.environment = environment

    def at(self, folder: Path) -> "Prompt":
        """Return the same person in another folder."""
        return Prompt(folder, **self.environment)

    def type(self, *words: str | Path, stdin: str = "") -> Answer:
        """Run `plait` with these arguments, whatever comes of it."""
        out, err = io.StringIO(), io.StringIO()
        with (
            pytest.MonkeyPatch.context() as patch,
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            patch.chdir(self.folder)
            patch.setattr(sys, "stdin", io.StringIO(stdin))
            for name, value in self.environment.items():
                patch.setenv(name, value)
            status = main([str(word) for word in words])
        return Answer(status, out.getvalue(), err.getvalue())

    def run(self, *words: str | Path, stdin: str = "") -> str:
        """Run what must succeed, and return what it printed."""
        answer = self.type(*words, stdin=stdin)
        if answer.status != 0:
            pytest.fail(f"plait {words}: status {answer.status}\n{answer.out}{answer.err}")
        return answer.out

    def ask(self, *words: str | Path) -> Any:
        """Run what must succeed with --json, and return its document."""
        return json.loads(self.run(*words, "--json"))

    def fail(self, *words: str | Path, status: int = 1) -> str:
        """Run what must fail, and return what it said on stderr."""
        answer = self.type(*words)
        if answer.status != status:
            pytest.fail(f"plait {words}: status {answer.status}\n{answer.out}{answer.err}")
        return answer.err
