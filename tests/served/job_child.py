"""The process of a job, with something else to do than to compose.

    python -m served.job_child JOB

It is the registry's own program in all but that: what it does, the message of the commit says. A
validation is a real one, whose first attempt does not come to its end: it hangs before, or, where
the repository's name ends with `late`, when all but the last word is said.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

from e2e.made_adapters import write_adapter
from plait.errors import InvalidInput, Unavailable
from plait.model.address import RepositoryName
from plait.model.commit import Person
from plait.model.refs import parse_ref_name
from plait.progress import Progress
from plait.push_folder import FolderPush, push_folder
from plait.wire_jobs import JobResult
from plait_registry.worker.run_job import main
from plait_registry.worker.run_validation import execute_validation
from plait_registry.worker.work import Work


def execute(work: Work, progress: Progress) -> JobResult:
    """Do what the message says."""
    wish, is_first = work.details.message or "", work.details.job.attempts == 1
    if work.details.job.kind == "validation":
        return validate(work, progress)
    if wish == "refuse":
        raise InvalidInput("delta-missing", "team/sql has no delta in q_proj.")
    if wish == "be away":
        raise Unavailable("unavailable", "The store is away.")
    if wish == "be wrong":
        raise ZeroDivisionError
    if wish == "die":
        sys.stderr.write("about to die\n")
        sys.stderr.flush()
        os._exit(7)
    if wish == "take memory":
        sys.stderr.write(str(len(bytearray(2_000_000_000))))
    if wish == "hang" or (wish == "hang once" and is_first):
        hang(progress)
    result = push(work)
    if wish == "push, then hang once" and is_first:
        hang(progress)
    return result


def validate(work: Work, progress: Progress) -> JobResult:
    """Validate, at the second attempt."""
    is_first = work.details.job.attempts == 1
    if is_first and not work.details.job.repository.endswith("late"):
        hang(progress)
    result = execute_validation(work, progress)
    if is_first:
        hang(progress)
    return result


def hang(progress: Progress) -> None:
    """Go on for ever, and say so."""
    progress.total(100, what="Hanging")
    progress.advance(7)
    while True:
        time.sleep(1)


def push(work: Work) -> JobResult:
    """Push a made-up adapter, always the same one."""
    job = work.details.job
    with tempfile.TemporaryDirectory() as name:
        pushed = push_folder(
            work.transport,
            RepositoryName.parse(job.repository),
            FolderPush(
                folder=write_adapter(Path(name) / "adapter"),
                message="Pushed by a job",
                author=Person("A job", ""),
                time=job.created_at,
                branch=parse_ref_name(job.branch),
            ),
        )
    return JobResult(pushed.commit, pushed.manifest)


if __name__ == "__main__":
    sys.exit(main(execute=execute))
