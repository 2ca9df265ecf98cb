"""`plait compose`: several adapters become one, by a recipe."""

from __future__ import annotations

import argparse
import sys

from plait.cli.composing import (
    add_arithmetic,
    add_outcome,
    add_parameters,
    read_options,
    run_recipe,
)
from plait.cli.context import Context
from plait.errors import InvalidInput
from plait.model.recipe import Recipe
from plait.model.recipe_methods import METHODS

USAGE = """plait compose RECIPE -o NS/NAME[@BRANCH] [-m MESSAGE]
plait compose --method METHOD [PARAMETERS] NS/A[@REV][*WEIGHT]... -o NS/NAME[@BRANCH]
plait compose ... --remote [--detach]
plait compose ... --dry-run
plait compose --methods"""
EXAMPLES = """\
  plait compose blend.yaml -o team/blend
  plait compose -o team/blend --method sum --rank 16 team/sql@v2*0.7 team/prose*0.3
  plait compose -o team/blend --method ties --density 0.3 team/sql team/prose team/tests
  plait compose --dry-run --method sum --rank 16 team/sql team/prose
  plait compose --to out/blend --method concat team/sql team/prose*-1
  plait compose blend.yaml -o team/blend --remote
  plait compose -o team/stack --method stack team/sql@v2 team/style@v1*0.5

The outcome is a LoRA, whatever the inputs are, with all inputs as its parents and the recipe in its
origin. The same recipe gives the same bytes on every machine: plait reproduce checks it.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument(
        "inputs",
        metavar="INPUT",
        nargs="*",
        help="a recipe's file (- reads it from standard input), or with --method the inputs",
    )
    parser.add_argument("--method", metavar="METHOD", help="see plait compose --methods")
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="compute nothing: say what is known about the inputs, and how they interfere",
    )
    parser.add_argument("--methods", action="store_true", help="list the methods")
    parser.add_argument(
        "--remote", action="store_true", help="let the registry carry it out, as a job"
    )
    parser.add_argument(
        "--detach", action="store_true", help="of --remote: do not wait (see plait job)"
    )
    add_outcome(parser)
    add_arithmetic(parser)
    add_parameters(parser, methods=tuple(METHODS))


def run(arguments: argparse.Namespace, context: Context) -> None:
    """Compose."""
    if arguments.methods:
        _list_methods(arguments, context)
        return
    recipe = _read_recipe(arguments, context)
    if arguments.detach and not arguments.remote:
        raise InvalidInput("usage", "--detach goes with --remote.")
    if arguments.remote:
        from plait.cli.remote_composition import run_remote

        run_remote(recipe, arguments, context)
        return
    if arguments.dry_run:
        from plait.cli.interference_table import preview

        preview(recipe, arguments, context)
        return
    run_recipe(recipe, arguments, context)


def _read_recipe(arguments: argparse.Namespace, context: Context) -> Recipe:
    options = read_options(arguments)
    if arguments.method is not None:
        from plait.model.recipe_shorthand import recipe_from_options

        return recipe_from_options(arguments.method, arguments.inputs, options)
    if len(arguments.inputs) != 1:
        raise InvalidInput(
            "usage",
            "Name one recipe's file, or a method and its inputs: plait compose --method sum "
            "--rank 16 team/sql*0.7 team/prose*0.3 -o team/blend.",
        )
    if options:
        name = next(iter(options)).replace("_", "-")
        raise InvalidInput(
            "usage", f"--{name} goes with --method: a recipe's file says everything itself."
        )
    from plait.recipe_file import STANDARD_INPUT, read_recipe

    path = arguments.inputs[0]
    return read_recipe(
        path if path == STANDARD_INPUT else str(context.path(path)), sys.stdin.buffer
    )


def _list_methods(arguments: argparse.Namespace, context: Context) -> None:
    if arguments.json:
        context.terminal.json(
            {
                name: {
                    "kind": method.kind.value,
                    "summary": method.summary,
                    "paper": method.paper,
                    "parameters": sorted(method.parameters),
                }
                for name, method in METHODS.items()
            }
        )
        return
    context.terminal.table(
        [name, method.summary, " ".join(f"--{p.replace('_', '-')}" for p in method.parameters)]
        for name, method in METHODS.items()
    )
