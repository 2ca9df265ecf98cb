"""Dying at a given change of the file system, as a process that is killed there."""

import os
from collections.abc import Callable
from typing import Any

import pytest

_CHANGES = ("replace", "unlink", "rmdir", "mkdir")


class Killed(BaseException):
    """What a killed process would not live to see."""


def kill_at(patch: pytest.MonkeyPatch, number: int) -> None:
    """Let the change of that number, and every later one, fail before it happens."""
    count = 0

    def count_down(change: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any, **options: Any) -> Any:
            nonlocal count
            count += 1
            if count > number:
                raise Killed
            return change(*arguments, **options)

        return run

    for name in _CHANGES:
        patch.setattr(os, name, count_down(getattr(os, name)))


def survives(patch_work: Callable[[], object], number: int) -> bool:
    """Run something that is killed at the change of that number; tell whether it got through."""
    with pytest.MonkeyPatch.context() as patch:
        kill_at(patch, number)
        try:
            patch_work()
        except Killed:
            return False
    return True
