"""What the commands that compose share: their options, and what they print.

`compose` takes any recipe; `resize`, `convert` and `cast` are recipes of one input.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from plait.cli.arguments import add_json, add_message, add_url
from plait.cli.context import Context
from plait.cli.terminal import format_size, plural, printable
from plait.errors import InvalidInput
from plait.model.address import Address
from plait.model.ids import abbreviate
from plait.model.recipe import Allowance, Dtype, Recipe, SavedModules
from plait.model.recipe_methods import METHODS, Parameter
from plait.model.refs import DEFAULT_BRANCH, parse_ref_name

if TYPE_CHECKING:
    from plait.algebra.module_report import ModuleReport
    from plait.compose import Composed, ComposeWish

MOST_SHOWN = 8
"""Modules that lost most, which are shown."""
NEARLY_ALL = 0.9999
"""A part of the squared norm that is worth no line."""


def add_outcome(parser: argparse.ArgumentParser) -> None:
    """Add where the outcome goes."""
    outcome = parser.add_argument_group("the outcome")
    outcome.add_argument(
        "-o", "--output", metavar="NS/NAME[@BRANCH]", help="push it as the branch's next version"
    )
    outcome.add_argument("--to", metavar="DIR", help="write it into a folder instead")
    outcome.add_argument("--force", action="store_true", help="replace files in that folder")
    outcome.add_argument(
        "--create", action="store_true", help="make the repository if it is absent"
    )
    add_message(parser)
    add_url(parser)
    add_json(parser)


def add_arithmetic(parser: argparse.ArgumentParser) -> None:
    """Add what every recipe may say beside its method's parameters, and how to work."""
    group = parser.add_argument_group("how")
    group.add_argument(
        "--dtype", choices=[dtype.value for dtype in Dtype], help="round the outcome to it (auto)"
    )
    group.add_argument(
        "--saved-modules",
        choices=[choice.value for choice in SavedModules],
        help="where inputs hold different whole tensors (refuse)",
    )
    group.add_argument(
        "--allow",
        action="append",
        default=[],
        choices=[allowance.value for allowance in Allowance],
        help="let pass what is refused otherwise; recorded in the recipe; repeatable",
    )
    group.add_argument(
        "--base-dir", metavar="DIR", help="the base model's folder, where its weights are needed"
    )
    add_threads(parser)


def add_threads(parser: argparse.ArgumentParser) -> None:
    """Add `--threads`, for `count_threads`."""
    parser.add_argument(
        "--threads", metavar="N", type=int, default=0, help="work in so many (one a core)"
    )


def add_parameters(parser: argparse.ArgumentParser, *, methods: tuple[str, ...]) -> None:
    """Add an option for each parameter of the methods, taken from their table."""
    group = parser.add_argument_group("parameters of the method")
    found: dict[str, list[Parameter]] = {}
    for method in methods:
        for name, parameter in METHODS[method].parameters.items():
            found.setdefault(name, []).append(parameter)
    for name, parameters in sorted(found.items()):
        group.add_argument(
            f"--{name.replace('_', '-')}",
            dest=f"parameter_{name}",
            metavar="VALUE",
            help=f"{parameters[0].summary}{_tell_default(parameters)}".replace("%", "%%"),
        )


def _tell_default(parameters: Sequence[Parameter]) -> str:
    """Return the default of methods that share a parameter, in parentheses."""
    defaults = list(dict.fromkeys(parameter.default for parameter in parameters))
    if defaults == [None]:
        return ""
    return f" ({defaults[0]})" if len(defaults) == 1 else " (each method has its own default)"


def read_options(arguments: argparse.Namespace) -> dict[str, str]:
    """Return the options that were given, as recipes in one line take them."""
    options = {
        name.removeprefix("parameter_"): value
        for name, value in vars(arguments).items()
        if name.startswith("parameter_") and value is not None
    }
    for name in ("dtype", "saved_modules"):
        if getattr(arguments, name) is not None:
            options[name] = getattr(arguments, name)
    if arguments.allow:
        options["allow"] = ",".join(sorted(set(arguments.allow)))
    return options


def count_threads(arguments: argparse.Namespace) -> int:
    """Return how many threads to compute in.

    Raises:
        InvalidInput: `usage`.
    """
    if arguments.threads < 0:
        raise InvalidInput("usage", "--threads must be at least 1.")
    if arguments.threads:
        return int(arguments.threads)
    # A container or a scheduler may allow fewer cores than the machine has.
    allowed = getattr(os, "sched_getaffinity", None)
    return len(allowed(0)) if allowed is not None else os.cpu_count() or 1


def run_recipe(recipe: Recipe, arguments: argparse.Namespace, context: Context) -> None:
    """Carry a recipe out, and tell what came of it."""
    if (arguments.output is None) == (arguments.to is None):
        raise InvalidInput(
            "usage", "Say where the outcome goes: -o NS/NAME[@BRANCH], or --to DIR for a folder."
        )
    if arguments.to is not None:
        _run_to_folder(recipe, arguments, context)
        return
    from plait.compose import compose

    wish = make_wish(recipe, arguments, context)
    composed = compose(
        context.open_transport(arguments.url),
        context.open_cache(),
        wish,
        context.terminal.progress,
    )
    if arguments.json:
        context.terminal.json(_to_json(composed))
        return
    at = abbreviate(composed.commit)
    where = f"{wish.repository}@{composed.branch}"
    if composed.result is None:
        context.terminal.print(f"{where} has this outcome already, at {at}: nothing was sent")
        return
    sent = context.terminal.progress.moved("Uploading")
    context.terminal.print(f"Composed {at} to {where} ({format_size(sent)} sent)")
    show_reports(context, composed.reports)
    context.terminal.print(f"Anybody can repeat it: plait reproduce {wish.repository}@{at}")


def make_wish(recipe: Recipe, arguments: argparse.Namespace, context: Context) -> ComposeWish:
    """Return what to compose and where to."""
    from plait.compose import ComposeWish

    address = Address.parse(arguments.output)
    return ComposeWish(
        recipe=recipe,
        repository=address.repository,
        branch=parse_ref_name(address.revision or DEFAULT_BRANCH),
        author=context.author(arguments.author),
        time=context.now(),
        message=arguments.message,
        base_folder=None if arguments.base_dir is None else context.path(arguments.base_dir),
        create=arguments.create,
        threads=count_threads(arguments),
    )


def _run_to_folder(recipe: Recipe, arguments: argparse.Namespace, context: Context) -> None:
    from plait.compose import FolderWish, compose_to_folder

    if arguments.message is not None or arguments.create:
        raise InvalidInput("usage", "-m and --create are for -o: a folder has no commits.")
    wish = FolderWish(
        recipe=recipe,
        destination=context.path(arguments.to),
        force=arguments.force,
        base_folder=None if arguments.base_dir is None else context.path(arguments.base_dir),
        threads=count_threads(arguments),
    )
    written = compose_to_folder(
        context.open_transport(arguments.url),
        context.open_cache(),
        wish,
        context.terminal.progress,
    )
    if arguments.json:
        context.terminal.json(
            {
                "manifest": written.manifest,
                "path": str(wish.destination),
                "recipe": written.recipe.to_json(),
                "modules": [report.to_json() for report in written.reports],
            }
        )
        return
    context.terminal.print(f"Composed into {printable(str(wish.destination))}")
    show_reports(context, written.reports)


def show_reports(context: Context, reports: tuple[ModuleReport, ...]) -> None:
    """Say what cutting and rounding cost, and where most."""
    from plait.compose import summarise

    total = summarise(reports)
    if total["kept"] < NEARLY_ALL:
        context.terminal.print(f"The rank keeps {total['kept']:.2%} of the squared norm; least in")
        lost = sorted(reports, key=lambda report: report.kept)[:MOST_SHOWN]
        context.terminal.table(
            [f"  {printable(report.module)}", f"{report.kept:.2%}", f"rank {report.rank}"]
            for report in lost
            if report.kept < NEARLY_ALL
        )
    if total["rounding"] > 0.0:
        context.terminal.print(f"Rounding to the dtype moved the deltas by {total['rounding']:.1e}")
    tied = [report.module for report in reports if report.is_tied]
    if tied:
        context.terminal.remark(
            f"In {plural(len(tied), 'module')}, as {printable(tied[0])}, two singular values at "
            "the cut are equal: which direction is kept depends on the order of the inputs."
        )


def _to_json(composed: Composed) -> dict[str, Any]:
    return {
        "commit": composed.commit,
        "manifest": composed.manifest,
        "branch": composed.branch,
        "new": composed.result is not None,
        "recipe": composed.recipe.to_json(),
        "modules": [report.to_json() for report in composed.reports],
    }
