"""`plait repo create`, `list` and `show`."""

from __future__ import annotations

import argparse

from plait.cli.arguments import add_json, add_url
from plait.cli.context import Context
from plait.cli.terminal import printable
from plait.errors import InvalidInput
from plait.model.address import RepositoryName
from plait.model.ids import abbreviate
from plait.push_folder import create_repository
from plait.registry import open_registry
from plait.wire import Repository, encode

USAGE = """plait repo create NS/NAME [--description TEXT]
plait repo list [TEXT] [--namespace NS] [--base NAME] [--type TYPE]
plait repo show NS/NAME"""
EXAMPLES = """\
  plait repo create team/sql --description 'Text to SQL'
  plait repo list --base meta-llama/Llama-3.1-8B
  plait repo show team/sql
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("action", choices=("create", "list", "show"), help="what to do")
    parser.add_argument("name", metavar="NS/NAME", nargs="?", help="the repository, or a text")
    parser.add_argument("--description", metavar="TEXT", default="", help="one line for people")
    search = parser.add_argument_group("of list")
    search.add_argument("--namespace", metavar="NS", help="only those of a namespace")
    search.add_argument("--base", metavar="NAME", help="only those for a base model")
    search.add_argument("--type", metavar="TYPE", help="only adapters of a PEFT type, as LORA")
    add_url(parser)
    add_json(parser)


def run(arguments: argparse.Namespace, context: Context) -> None:
    """Make, list or show."""
    if arguments.action == "list":
        _list(arguments, context)
        return
    if arguments.name is None:
        raise InvalidInput("usage", f"Say which: plait repo {arguments.action} NS/NAME.")
    name = RepositoryName.parse(arguments.name)
    if arguments.action == "create":
        transport = context.open_transport(arguments.url)
        made = create_repository(transport, name, description=arguments.description)
        if arguments.json:
            context.terminal.json(encode(made))
        else:
            context.terminal.print(f"Made {name} at {transport.url}")
        return
    info = context.open_repository(name, arguments.url).info()
    if arguments.json:
        context.terminal.json(encode(info))
        return
    context.terminal.table(
        [
            ["name", f"{info.namespace}/{info.name}"],
            ["description", info.description],
            ["default branch", info.default_branch],
            ["head", info.head or "(no commit yet)"],
            ["adapter", info.adapter_type or ""],
            ["base", info.base or ""],
            ["made at", info.created_at],
        ]
    )


def _list(arguments: argparse.Namespace, context: Context) -> None:
    configuration = context.configuration.override(url=context.open_url(arguments.url))
    with open_registry(configuration) as registry:
        found = list(
            registry.repositories(
                arguments.name,
                namespace=arguments.namespace,
                base=arguments.base,
                adapter_type=arguments.type,
            )
        )
    if arguments.json:
        context.terminal.json({"repositories": encode(found)})
        return
    context.terminal.table(map(_row, found))


def _row(item: Repository) -> list[str]:
    return [
        f"{item.namespace}/{item.name}",
        abbreviate(item.head or ""),
        item.adapter_type or "",
        item.base or "",
        printable(item.description),
    ]
