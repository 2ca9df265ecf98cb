"""`plait job`: what the registry has done by processes of its own, such as compositions."""

from __future__ import annotations

import argparse
import itertools

from plait.cli.arguments import add_json, add_url
from plait.cli.context import Context
from plait.cli.terminal import printable
from plait.errors import InvalidInput
from plait.jobs import OPEN, Jobs, verify_done
from plait.model.address import RepositoryName
from plait.model.ids import abbreviate
from plait.wire import encode
from plait.wire_jobs import Job, JobDetails

USAGE = """plait job list NS/NAME [-n COUNT]
plait job show ID [--follow]
plait job cancel ID"""
EXAMPLES = """\
  plait job list team/sql               the newest first
  plait job show job3f0c9a61d2b4e8f7    how far it is, its log, and what came of it
  plait job show job3f0c9a61d2b4e8f7 --follow
  plait job cancel job3f0c9a61d2b4e8f7

--follow waits for the end, and fails where the job does. One's own jobs can be cancelled, and by a
maintainer anybody's. What is inside of a job is for who asked for it or may read all of its inputs.
"""
ACTIONS = ("list", "show", "cancel")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("action", choices=ACTIONS, help="what to do")
    parser.add_argument("subject", metavar="NS/NAME", help="a repository, or a job's id, as above")
    parser.add_argument("-n", "--count", metavar="COUNT", type=int, default=50, help="(50)")
    parser.add_argument("-f", "--follow", action="store_true", help="of show: wait for the end")
    add_url(parser)
    add_json(parser)


def run(arguments: argparse.Namespace, context: Context) -> None:
    """List, show or cancel."""
    if arguments.follow and arguments.action != "show":
        raise InvalidInput("usage", "--follow goes with show. See --help.")
    jobs = Jobs(context.open_transport(arguments.url))
    {"list": _list, "show": _show, "cancel": _cancel}[arguments.action](arguments, context, jobs)


def follow(context: Context, jobs: Jobs, job: str) -> JobDetails:
    """Wait for the end of a job, showing how far it is, and return it.

    Raises:
        PlaitError: what it failed with, or that it was cancelled.
    """
    progress = context.terminal.progress
    phase, done = ("", -1), 0
    details: JobDetails | None = None
    try:
        for details in jobs.follow(job):
            now = details.job.progress
            if (now.what, now.total) != phase or now.done < done:
                phase, done = (now.what, now.total), 0
                progress.total(now.total, what=printable(now.what) or details.job.state)
            progress.advance(now.done - done)
            done = now.done
    finally:
        progress.finish()
    ended = jobs.get(job) if details is None else details
    verify_done(ended)
    return ended


def _list(arguments: argparse.Namespace, context: Context, jobs: Jobs) -> None:
    if arguments.count < 1:
        raise InvalidInput("usage", "-n: expected a number above 0.")
    found = jobs.list(RepositoryName.parse(arguments.subject))
    shown = list(itertools.islice(found, arguments.count))
    if arguments.json:
        context.terminal.json({"jobs": encode(shown)})
        return
    context.terminal.table(map(_row, shown))


def _show(arguments: argparse.Namespace, context: Context, jobs: Jobs) -> None:
    if arguments.follow:
        _tell(arguments, context, follow(context, jobs, arguments.subject))
    else:
        _tell(arguments, context, jobs.get(arguments.subject))


def _cancel(arguments: argparse.Namespace, context: Context, jobs: Jobs) -> None:
    details = jobs.cancel(arguments.subject)
    if arguments.json:
        context.terminal.json(encode(details))
    else:
        context.terminal.print(f"{details.job.id} is {details.job.state}")


def _tell(arguments: argparse.Namespace, context: Context, details: JobDetails) -> None:
    if arguments.json:
        context.terminal.json(encode(details))
        return
    job = details.job
    rows = [
        ["job", job.id],
        ["kind", job.kind],
        ["of", _subject(details)],
        ["asked", f"{job.created_at} by {job.requester}"],
        ["state", job.state],
        ["attempts", str(job.attempts)],
    ]
    if job.state in OPEN and job.progress.total:
        rows.append(["progress", _progress(job)])
    if job.result is not None:
        rows += [["commit", job.result.commit], ["manifest", job.result.manifest]]
    if job.result is not None and job.result.verdict is not None:
        rows.append(["verdict", job.result.verdict])
    if job.state == "queued" and job.attempts == 0 and job.progress.what:
        rows.append(["waits", printable(job.progress.what)])
    if job.error is not None:
        rows.append(["error", job.error.message or job.error.kind])
    if job.ended_at is not None:
        rows.append(["ended", job.ended_at])
    context.terminal.table(rows)
    if details.log:
        context.terminal.print(printable(details.log.rstrip("\n")))


def _subject(details: JobDetails) -> str:
    job, asked = details.job, details.validation
    return f"{job.repository}@{asked.commit if asked else job.branch}".removesuffix("@")


def _progress(job: Job) -> str:
    counted = f"{job.progress.done:,} of {job.progress.total:,}"
    return f"{job.progress.what} {counted}".strip()


def _row(job: Job) -> list[str]:
    outcome = job.result.verdict or abbreviate(job.result.commit) if job.result else ""
    return [
        job.id,
        job.created_at,
        job.kind,
        job.branch or "-",
        job.requester,
        job.state,
        job.error.kind if job.error else outcome,
    ]
