"""`plait repo`: making, listing, showing, changing and deleting repositories."""

from __future__ import annotations

import argparse
import sys

from plait.cli.arguments import add_json, add_url
from plait.cli.context import Context
from plait.cli.ref_arguments import require, tell
from plait.cli.terminal import printable
from plait.errors import InvalidInput
from plait.model.address import RepositoryName
from plait.model.ids import abbreviate
from plait.model.repository_kind import RepositoryKind
from plait.push_folder import create_repository
from plait.registry import open_registry
from plait.wire import Repository, encode

USAGE = """plait repo create NS/NAME [--description TEXT] [--public | --private] [--kind KIND]
plait repo list [TEXT] [--namespace NS] [--base NAME] [--type TYPE] [--kind KIND]
plait repo show NS/NAME
plait repo edit NS/NAME [--description TEXT] [--public | --private] [--validate-on WHEN]
plait repo delete NS/NAME [--yes]"""
EXAMPLES = """\
  plait repo create team/sql --description 'Text to SQL'
  plait repo list --base meta-llama/Llama-3.1-8B
  plait repo edit team/sql --public
  plait repo delete team/old

A private repository, as a new one is without --public, is seen only by who has a role in its
namespace; for everybody else it is not there. A public one is read by whoever has a token.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("action", choices=tuple(_RUNS), help="what to do")
    parser.add_argument("name", metavar="NS/NAME", nargs="?", help="the repository, or a text")
    parser.add_argument("--description", metavar="TEXT", help="one line for people")
    access = parser.add_mutually_exclusive_group()
    access.add_argument("--public", action="store_true", help="whoever has a token may read it")
    access.add_argument("--private", action="store_true", help="only its namespace sees it")
    parser.add_argument("--yes", action="store_true", help="of delete: do not ask")
    search = parser.add_argument_group("of list")
    search.add_argument("--namespace", metavar="NS", help="only those of a namespace")
    search.add_argument("--base", metavar="NAME", help="only those for a base model")
    search.add_argument("--type", metavar="TYPE", help="only of a PEFT type, as LORA, or STACK")
    parser.add_argument(
        "--kind",
        choices=[kind.value for kind in RepositoryKind],
        help="what its versions are; adapters, if nothing is said when it is made",
    )
    parser.add_argument(
        "--validate-on",
        choices=["tag", "push", "none"],
        help="of edit: ask for validations when a tag is made, or also when the default branch "
        "moves",
    )
    add_url(parser)
    add_json(parser)


def run(arguments: argparse.Namespace, context: Context) -> None:
    """Make, list, show, change or delete."""
    if arguments.action != "list" and arguments.name is None:
        raise InvalidInput("usage", f"Say which: plait repo {arguments.action} NS/NAME.")
    _RUNS[arguments.action](arguments, context)


def _create(arguments: argparse.Namespace, context: Context) -> None:
    name = RepositoryName.parse(arguments.name)
    transport = context.open_transport(arguments.url)
    made = create_repository(
        transport,
        name,
        description=arguments.description or "",
        private=not arguments.public,
        kind=RepositoryKind(arguments.kind or RepositoryKind.ADAPTER),
    )
    if arguments.json:
        context.terminal.json(encode(made))
    else:
        context.terminal.print(f"Made {name} at {transport.url}")


def _list(arguments: argparse.Namespace, context: Context) -> None:
    configuration = context.configuration.override(url=context.open_url(arguments.url))
    with open_registry(configuration) as registry:
        found = list(
            registry.repositories(
                arguments.name,
                namespace=arguments.namespace,
                base=arguments.base,
                adapter_type=arguments.type,
                kind=arguments.kind,
            )
        )
    if arguments.json:
        context.terminal.json({"repositories": encode(found)})
        return
    context.terminal.table(map(_row, found))


def _show(arguments: argparse.Namespace, context: Context) -> None:
    name = RepositoryName.parse(arguments.name)
    _describe(arguments, context, context.open_repository(name, arguments.url).info())


def _edit(arguments: argparse.Namespace, context: Context) -> None:
    name = RepositoryName.parse(arguments.name)
    is_about_access = arguments.public or arguments.private
    require(
        is_about_access or (arguments.description, arguments.validate_on) != (None, None),
        "Say what to change: --description, --public, --private or --validate-on.",
    )
    changed = context.open_repository(name, arguments.url).update(
        description=arguments.description,
        private=arguments.private if is_about_access else None,
        validate_on=arguments.validate_on,
    )
    _describe(arguments, context, changed)


def _delete(arguments: argparse.Namespace, context: Context) -> None:
    name = RepositoryName.parse(arguments.name)
    repository = context.open_repository(name, arguments.url)
    if not arguments.yes:
        _confirm(context, name)
    repository.delete()
    tell(arguments, context, f"Deleted {name}", deleted=str(name))


_RUNS = {"create": _create, "list": _list, "show": _show, "edit": _edit, "delete": _delete}


def _confirm(context: Context, name: RepositoryName) -> None:
    """Ask for the name, since nothing brings the repository back."""
    require(sys.stdin.isatty(), "There is nobody to ask: say --yes.")
    context.terminal.remark(
        f"This deletes all branches, tags and notes of {name}, for good. Type its name to go on:"
    )
    require(sys.stdin.readline().strip() == str(name), "That was another name: nothing was done.")


def _describe(arguments: argparse.Namespace, context: Context, info: Repository) -> None:
    if arguments.json:
        context.terminal.json(encode(info))
        return
    context.terminal.table(
        [
            ["name", f"{info.namespace}/{info.name}"],
            ["description", info.description],
            ["kind", info.kind],
            ["seen by", "its namespace" if info.private else "whoever has a token"],
            ["default branch", info.default_branch],
            ["head", info.head or "(no commit yet)"],
            ["adapter", info.adapter_type or ""],
            ["base", info.base or ""],
            ["made at", info.created_at],
        ]
    )


def _row(item: Repository) -> list[str]:
    return [
        f"{item.namespace}/{item.name}",
        "private" if item.private else "public",
        abbreviate(item.head or ""),
        item.adapter_type or "",
        item.base or "",
        printable(item.description),
    ]
