"""`plait branch`, of a working copy or of a repository."""

from __future__ import annotations

import argparse

from plait.cli.arguments import add_json, add_url
from plait.cli.context import Context
from plait.cli.ref_arguments import find_repository, require, tell
from plait.model.address import RepositoryName
from plait.model.ids import abbreviate
from plait.working_copy.branch import (
    create_branch,
    delete_branch,
    list_branches,
    rename_branch,
)
from plait.working_copy.copy import WorkingCopy

USAGE = """plait branch [-a]
plait branch NEW [START]
plait branch (-d | -D) NAME...
plait branch -m [OLD] NEW
plait branch NS/NAME [NEW [START]]
plait branch -d NS/NAME NAME"""
EXAMPLES = """\
  plait branch                      list the branches, with how they stand to the remote's
  plait branch -a                   the remote's, too
  plait branch fix main~2           make one, without switching to it
  plait branch -d fix               delete one whose commits are elsewhere, too
  plait branch team/sql             list those of a repository
  plait branch team/sql fix v1.0    make one there

Inside a working copy, one or two names are about that copy; NS/NAME with a new branch then needs
its START as a third.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("names", metavar="NAME", nargs="*", help="see above")
    parser.add_argument("-a", "--all", action="store_true", help="list the remote's, too")
    action = parser.add_mutually_exclusive_group()
    action.add_argument("-d", "--delete", action="store_true", help="delete")
    action.add_argument("-D", "--force-delete", action="store_true", help="delete at any rate")
    action.add_argument("-m", "--move", action="store_true", help="rename")
    add_url(parser)
    add_json(parser)


def run(arguments: argparse.Namespace, context: Context) -> None:
    """List, make, rename or delete."""
    names = arguments.names
    is_deleting = arguments.delete or arguments.force_delete
    if find_repository(context, names, local=1 if is_deleting else 2) is not None:
        _run_remote(arguments, context)
        return
    copy = context.get_copy()
    if is_deleting:
        _delete(arguments, context, copy)
    elif arguments.move:
        _rename(arguments, context, copy)
    elif names:
        require(len(names) <= 2, "Give a name and where it starts.")
        target = create_branch(copy, names[0], start=names[1] if names[1:] else None)
        tell(
            arguments,
            context,
            f"Branch {names[0]} at {abbreviate(target)}",
            name=names[0],
            commit=target,
        )
    else:
        _list(arguments, context, copy)


def _list(arguments: argparse.Namespace, context: Context, copy: WorkingCopy) -> None:
    refs = copy.read_refs()
    branches = list_branches(copy)
    remotes = sorted(refs.remote_branches.items()) if arguments.all else []
    if arguments.json:
        context.terminal.json(
            {
                "branches": [
                    {
                        "name": item.name,
                        "commit": item.target,
                        "current": item.is_current,
                        "ahead": item.divergence.ahead if item.divergence else None,
                        "behind": item.divergence.behind if item.divergence else None,
                    }
                    for item in branches
                ],
                "remote": [{"name": name, "commit": target} for name, target in remotes],
            }
        )
        return
    rows = []
    head = copy.read_head()
    if head.commit is not None:
        rows.append(["*", "(detached)", abbreviate(head.commit), "", ""])
    for item in branches:
        subject = copy.get_commit(item.target).subject if item.target else "(no commit yet)"
        stand = str(item.divergence or "")
        rows.append(
            [
                "*" if item.is_current else " ",
                item.name,
                abbreviate(item.target or ""),
                f"[{stand}]" if stand else "",
                subject,
            ]
        )
    for name, target in remotes:
        subject = copy.get_commit(target).subject
        rows.append([" ", f"origin/{name}", abbreviate(target), "", subject])
    context.terminal.table(rows)


def _delete(arguments: argparse.Namespace, context: Context, copy: WorkingCopy) -> None:
    require(arguments.names, "Say which branch to delete.")
    deleted = []
    for name in arguments.names:
        target = delete_branch(copy, name, force=arguments.force_delete)
        deleted.append({"name": name, "commit": target})
        if not arguments.json:
            context.terminal.print(f"Deleted branch {name} (it was at {abbreviate(target)})")
    if arguments.json:
        context.terminal.json({"deleted": deleted})


def _rename(arguments: argparse.Namespace, context: Context, copy: WorkingCopy) -> None:
    require(1 <= len(arguments.names) <= 2, "Give the new name, or the old and the new one.")
    *old, new = arguments.names
    name = rename_branch(copy, old[0] if old else None, new)
    tell(arguments, context, f"Renamed to {name}", name=name)


def _run_remote(arguments: argparse.Namespace, context: Context) -> None:
    first, *names = arguments.names
    repository = context.open_repository(RepositoryName.parse(first), arguments.url)
    if arguments.delete or arguments.force_delete:
        require(len(names) == 1, "Say which branch to delete: plait branch -d NS/NAME NAME.")
        ref = repository.delete_ref(names[0], kind="branch")
        tell(
            arguments,
            context,
            f"Deleted {ref.kind} {ref.name} of {first} (it was at {abbreviate(ref.target)})",
            name=ref.name,
            commit=ref.target,
        )
    elif names:
        require(len(names) <= 2 and not arguments.move, "Give NS/NAME, a name and its start.")
        ref = repository.branch(names[0], *names[1:])
        text = f"Branch {ref.name} of {first} at {abbreviate(ref.target)}"
        tell(arguments, context, text, name=ref.name, commit=ref.target)
    else:
        refs = repository.refs()
        if arguments.json:
            context.terminal.json(
                {
                    "branches": [
                        {"name": name, "commit": target, "default": name == refs.default_branch}
                        for name, target in sorted(refs.branches.items())
                    ]
                }
            )
            return
        context.terminal.table(
            ["*" if name == refs.default_branch else " ", name, abbreviate(target)]
            for name, target in sorted(refs.branches.items())
        )
