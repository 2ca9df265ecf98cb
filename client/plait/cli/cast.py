"""`plait cast`: one adapter in another dtype."""

from __future__ import annotations

import argparse

from plait.cli.composing import add_arithmetic, add_outcome, read_options, run_recipe
from plait.cli.context import Context
from plait.model.recipe_shorthand import recipe_from_options

USAGE = """plait cast NS/A[@REV] --dtype DTYPE -o NS/NAME[@BRANCH]
plait cast NS/A[@REV] --dtype DTYPE --to DIR"""
EXAMPLES = """\
  plait cast team/sql@v2 --dtype BF16 -o team/sql@bf16

Every float tensor is rounded once, to nearest even; everything else stays as it is. How far that
moved the values is printed, and noted on the commit.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("adapter", metavar="NS/A[@REV]", help="the adapter")
    add_outcome(parser)
    add_arithmetic(parser)


def run(arguments: argparse.Namespace, context: Context) -> None:
    """Cast."""
    recipe = recipe_from_options("cast", [arguments.adapter], read_options(arguments))
    run_recipe(recipe, arguments, context)
