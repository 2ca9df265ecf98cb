"""`plait compose --remote`: the registry carries the recipe out, and this shows how far it is."""

from __future__ import annotations

import argparse

from plait.cli.context import Context
from plait.cli.job import follow
from plait.errors import InvalidInput
from plait.jobs import Jobs, RemoteComposition
from plait.model.address import Address
from plait.model.ids import abbreviate
from plait.model.recipe import Recipe
from plait.model.refs import DEFAULT_BRANCH, parse_ref_name
from plait.wire import encode


def run_remote(recipe: Recipe, arguments: argparse.Namespace, context: Context) -> None:
    """Ask the registry for a composition, and wait for it unless `--detach` says not to.

    Raises:
        PlaitError: what the job failed with.
    """
    if arguments.output is None:
        raise InvalidInput("usage", "Say where the outcome goes: --remote -o NS/NAME[@BRANCH].")
    if arguments.base_dir is not None or arguments.threads:
        raise InvalidInput(
            "usage",
            "--base-dir and --threads are this machine's: leave them out, or compose here, "
            "without --remote.",
        )
    address = Address.parse(arguments.output)
    jobs = Jobs(context.open_transport(arguments.url))
    details = jobs.compose(
        RemoteComposition(
            recipe=recipe.to_json(),
            repository=address.repository,
            branch=parse_ref_name(address.revision or DEFAULT_BRANCH),
            message=arguments.message,
            author=context.author(arguments.author),
            create=arguments.create,
        )
    )
    if not arguments.detach:
        details = follow(context, jobs, details.job.id)
    if arguments.json:
        context.terminal.json(encode(details))
        return
    job = details.job
    if job.result is None:
        context.terminal.print(f"Queued as {job.id}: plait job show {job.id} --follow")
        return
    at = abbreviate(job.result.commit)
    context.terminal.print(f"Composed {at} to {job.repository}@{job.branch}, by the registry")
    context.terminal.print(f"Anybody can repeat it: plait reproduce {job.repository}@{at}")
