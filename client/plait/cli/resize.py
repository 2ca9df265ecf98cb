"""`plait resize`: one adapter at another rank."""

from __future__ import annotations

import argparse

from plait.cli.composing import (
    add_arithmetic,
    add_outcome,
    add_parameters,
    read_options,
    run_recipe,
)
from plait.cli.context import Context
from plait.model.recipe_shorthand import recipe_from_options

USAGE = """plait resize NS/A[@REV] (--rank N | --energy PART) -o NS/NAME[@BRANCH]
plait resize NS/A[@REV] (--rank N | --energy PART) --to DIR"""
EXAMPLES = """\
  plait resize team/sql@v2 --rank 8 -o team/sql-small
  plait resize team/sql --energy 0.99 -o team/sql@small

Each module keeps the best approximation of its delta at that rank. With an energy, each gets the
least rank that keeps this part of its squared norm.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("adapter", metavar="NS/A[@REV]", help="the adapter")
    add_parameters(parser, methods=("resize",))
    add_outcome(parser)
    add_arithmetic(parser)


def run(arguments: argparse.Namespace, context: Context) -> None:
    """Resize."""
    recipe = recipe_from_options("resize", [arguments.adapter], read_options(arguments))
    run_recipe(recipe, arguments, context)
