"""`plait pull`: the branch of a working copy, or any version in one step."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from plait.cli.arguments import add_discard, add_json, add_sides, add_url
from plait.cli.context import Context
from plait.cli.fetch import fetched_json, format_refs
from plait.cli.terminal import format_size, plural
from plait.errors import InvalidInput
from plait.model.address import Address
from plait.model.ids import abbreviate
from plait.working_copy.commit import Authorship
from plait.working_copy.pull import Outcome, PulledCopy, PullRequest, pull
from plait.working_copy.three_way import Side

if TYPE_CHECKING:
    from plait.pull import Pulled
    from plait.repository import Repository

USAGE = """plait pull [--merge [--ours | --theirs]] [--discard-changes]
plait pull NS/NAME[@REVISION] [DEST] [--only PATTERN]... [--force]
plait pull NS/STACK[@REVISION] --members"""
EXAMPLES = """\
  plait pull                        fast-forward the branch to the remote's
  plait pull --merge                join two lines of history, file by file
  plait pull team/sql@v1.0          print the folder of the cache that holds the version
  plait pull team/sql out/lora      write a copy of the default branch's version
  plait pull team/sql part --only 'layers.0.*'    some tensors, as a valid safetensors file
  plait pull team/stack --members   the weight and the folder of each adapter of a stack, in order

Without DEST the second form prints one path and nothing else. That folder is named by its
contents, read-only and never changes: a serving engine can hold it for as long as it likes.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("source", metavar="NS/NAME[@REVISION]", nargs="?", help="what to pull")
    parser.add_argument("destination", metavar="DEST", nargs="?", help="where to write a copy")
    copy = parser.add_argument_group("into a working copy")
    copy.add_argument("--merge", action="store_true", help="join diverged histories")
    add_sides(
        parser, ours="where both changed a file: keep yours", theirs="there: take the remote's"
    )
    add_discard(parser)
    copy.add_argument("--author", metavar="'NAME <EMAIL>'", help="who merges")
    version = parser.add_argument_group("of a version")
    version.add_argument(
        "--only", metavar="PATTERN", action="append", default=[], help="tensors; repeatable"
    )
    version.add_argument("--force", action="store_true", help="replace files of DEST")
    version.add_argument("--verify", action="store_true", help="read the cached files again")
    version.add_argument("--members", action="store_true", help="the adapters of a stack")
    add_url(parser)
    add_json(parser)


def run(arguments: argparse.Namespace, context: Context) -> None:
    """Pull."""
    if arguments.source is not None:
        _pull_version(arguments, context)
        return
    if arguments.only or arguments.force or arguments.verify or arguments.members:
        raise InvalidInput("usage", "--only, --force, --verify and --members need NS/NAME.")
    if arguments.prefer is not None and not arguments.merge:
        raise InvalidInput("usage", "--ours and --theirs settle conflicts of --merge: add it.")
    copy = context.get_copy()
    request = PullRequest(
        authorship=Authorship(context.author(arguments.author), context.now()),
        merge=arguments.merge,
        prefer=None if arguments.prefer is None else Side(arguments.prefer),
        discard_changes=arguments.discard_changes,
    )
    transport = context.open_transport(copy.get_remote().url)
    pulled = pull(copy, transport, request, progress=context.terminal.progress)
    if arguments.json:
        context.terminal.json(
            {
                "branch": pulled.branch,
                "outcome": pulled.outcome.value,
                "old": pulled.old,
                "new": pulled.new,
                "fetched": fetched_json(pulled.fetched),
            }
        )
        return
    for line in format_refs(pulled.fetched):
        context.terminal.print(line)
    context.terminal.print(_tell(pulled))


def _tell(pulled: PulledCopy) -> str:
    if pulled.outcome is Outcome.UP_TO_DATE:
        return f"{pulled.branch} is up to date"
    if pulled.outcome is Outcome.MERGED:
        return f"Merged origin/{pulled.branch} into {pulled.branch}: {abbreviate(pulled.new)}"
    old = abbreviate(pulled.old) if pulled.old else "nothing"
    return f"{pulled.branch}: fast-forward from {old} to {abbreviate(pulled.new)}"


def _pull_version(arguments: argparse.Namespace, context: Context) -> None:
    if arguments.merge or arguments.prefer or arguments.discard_changes:
        raise InvalidInput("usage", "--merge and its like are for a working copy, without NS/NAME.")
    address = Address.parse(arguments.source)
    repository = context.open_repository(address.repository, arguments.url)
    if arguments.members:
        _pull_members(arguments, context, repository, address.revision)
        return
    pulled = repository.pull(
        address.revision,
        dest=None if arguments.destination is None else context.path(arguments.destination),
        only=arguments.only,
        force=arguments.force,
        verify=arguments.verify,
        progress=context.terminal.progress,
    )
    if arguments.json:
        context.terminal.json(_to_json(pulled))
    elif arguments.destination is None:
        context.terminal.print(str(pulled.path))
    else:
        received = (
            f"{format_size(pulled.received)} received" if pulled.received else "from the cache"
        )
        count = plural(sum(1 for path in pulled.path.rglob("*") if path.is_file()), "file")
        context.terminal.print(
            f"Pulled {abbreviate(pulled.commit)} into {pulled.path} ({count}, {received})"
        )


def _pull_members(
    arguments: argparse.Namespace,
    context: Context,
    repository: Repository,
    revision: str | None,
) -> None:
    if arguments.destination is not None or arguments.only or arguments.force or arguments.verify:
        raise InvalidInput(
            "usage",
            "--members goes without DEST, --only, --force and --verify: each adapter of the stack "
            "has a folder of its own in the cache.",
        )
    stack = repository.pull_stack(revision, progress=context.terminal.progress)
    if not arguments.json:
        for member in stack.members:
            context.terminal.print(f"{member.weight!r} {member.pulled.path}")
        return
    context.terminal.json(
        {
            **_to_json(stack.pulled),
            "members": [
                {"adapter": member.adapter, "weight": member.weight, **_to_json(member.pulled)}
                for member in stack.members
            ],
        }
    )


def _to_json(pulled: Pulled) -> dict[str, Any]:
    return {
        "path": str(pulled.path),
        "commit": pulled.commit,
        "manifest": pulled.manifest,
        "bytes_received": pulled.received,
    }
