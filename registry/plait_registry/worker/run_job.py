"""The process of a job: `python -m plait_registry.worker.run_job JOB`, its token in PLAIT_TOKEN.

    (1) read the job from the registry, by its token
    (2) do it, as any client of the registry would: read inputs, compute, push
    (3) say how it ended

It has neither the database nor the store nor any key of theirs, and may do by its token what the
job needs and nothing else. It ends when whoever started it does.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
import threading
import traceback
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from plait import wire, wire_jobs
from plait.cache import Cache
from plait.errors import PlaitError
from plait.http_transport import HttpOptions, HttpTransport
from plait.model.address import RepositoryName
from plait.model.commit import Person
from plait.model.recipe import Recipe
from plait.model.refs import parse_ref_name
from plait.progress import Progress
from plait_registry.settings import read_job_task
from plait_registry.worker.job_reporter import JobReporter
from plait_registry.worker.work import Execute, Work

MIB = 1 << 20
NVIDIA_DRIVER = Path("/dev/nvidiactl")
"""There where a GPU can be opened."""


def execute(work: Work, progress: Progress) -> wire_jobs.JobResult:
    """Do what jobs of that kind are about."""
    if work.details.job.kind == "validation":
        from plait_registry.worker.run_validation import execute_validation

        return execute_validation(work, progress)
    return execute_composition(work, progress)


def execute_composition(work: Work, progress: Progress) -> wire_jobs.JobResult:
    """Compose, and push the outcome."""
    from plait.compose import ComposeWish, compose

    job, author = work.details.job, work.details.author
    wish = ComposeWish(
        recipe=Recipe.from_json(work.details.recipe),
        repository=RepositoryName.parse(job.repository),
        author=Person(job.requester, "") if author is None else Person(author.name, author.email),
        # When it was asked for, so that every attempt makes the same commit.
        time=job.created_at,
        branch=parse_ref_name(job.branch),
        message=work.details.message,
        threads=work.threads,
    )
    composed = compose(work.transport, work.cache, wish, progress)
    return wire_jobs.JobResult(composed.commit, composed.manifest)


def main(arguments: Sequence[str] | None = None, *, execute: Execute = execute) -> int:
    """Do one job and return the exit status: 0 where the registry knows how it ended."""
    (job,) = sys.argv[1:] if arguments is None else arguments
    threading.Thread(target=_watch_parent, daemon=True).start()
    try:
        task = read_job_task()
        if not _may_use_gpu(task.validator.device):
            _limit_memory(task.memory_mb)
        client = task.client
        options = HttpOptions(proxies=client.proxies)
        transport = HttpTransport(client.url, client.token_for(client.url), options)
        with closing(transport):
            # (1) read.
            path = f"{wire.API_PREFIX}/jobs/{job}"
            details = wire.decode(wire_jobs.JobDetails, transport.call("GET", path))
            work = Work(
                transport,
                Cache(client.cache_dir),
                details,
                task.threads,
                task.validator,
                task.memory,
            )
            run(work, execute)
    except PlaitError as error:
        print(f"{error.kind}: {error.message}", file=sys.stderr)  # noqa: T201 - to who started it
        return 1
    return 0


def run(work: Work, execute: Execute) -> None:
    """Do a job and say how it ended.

    Raises:
        PlaitError: the registry could not be told.
    """
    path = f"{wire.API_PREFIX}/jobs/{work.details.job.id}"
    reporter = JobReporter(work.transport, work.details.job.id, on_stop=_end)
    reporter.start()
    try:
        # (2) do.
        answer: wire_jobs.JobResult | wire_jobs.JobFailure = execute(work, reporter)
    except PlaitError as error:
        answer = wire_jobs.JobFailure(error.kind, error.message)
    except MemoryError:
        answer = wire_jobs.JobFailure(
            "job-failed",
            "The job needs more memory than it may have (PLAIT_JOB_MEMORY_MB): ask for less at "
            "once, as for fewer or smaller adapters, or ask whoever has jobs done for more memory.",
        )
    except Exception as error:  # noqa: BLE001 - the process's edge: nobody else could tell
        traceback.print_exc()
        answer = wire_jobs.JobFailure(
            "internal",
            f"plait failed on this job ({type(error).__name__}): the registry's log says where.",
        )
    finally:
        reporter.stop()
    # (3) say so.
    tail = "complete" if isinstance(answer, wire_jobs.JobResult) else "fail"
    work.transport.call("POST", f"{path}/{tail}", body=wire.encode(answer), repeatable=True)


def _may_use_gpu(device: str) -> bool:
    """Tell whether the job may open a CUDA context, which maps more than any limit leaves."""
    return device != "cpu" and NVIDIA_DRIVER.exists()


def _limit_memory(mebibytes: int) -> None:
    """Let an allocation beyond the limit fail here, not anything else on this machine."""
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    wanted = mebibytes * MIB
    limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))


def _watch_parent() -> None:
    """Wait for the end of whoever holds the other end of standard input."""
    while os.read(0, 1):
        pass
    _end()


def _end() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    raise SystemExit(main())
